"""The parameters of one phantom person: every number that decides the anatomy, and no voxels.

A spine is a chain of vertebrae from cranial to caudal. It always reaches from C7 to the sacrum, so that a scan shows a
neighbour beyond its last labelled level as a patient's would; `levels` says which of them are labelled and reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.phantom.fracture import Fracture
from healthivert.phantom.scanner import Scanner
from healthivert.phantom.tissue import Tissue

CHAIN = ("C7", *(f"T{i}" for i in range(1, 13)), *(f"L{i}" for i in range(1, 6)))


@dataclass(frozen=True)
class Osteophyte:
    """A spur on a rim: angle (rad, 0 left, pi/2 posterior), how far it grows out (mm), at the superior rim or not."""

    angle: float
    length_mm: float
    superior: bool


@dataclass(frozen=True)
class SchmorlNode:
    """A pit in an endplate: where (left, posterior mm), how deep and wide (mm), in the superior endplate or not."""

    left: float
    posterior: float
    depth_mm: float
    radius_mm: float
    superior: bool


@dataclass(frozen=True)
class Ripple:
    """An undulation of an endplate: amplitude mm, waves per mm to the left and to posterior, phase in radians."""

    amplitude_mm: float
    left: float
    posterior: float
    phase: float
    superior: bool


@dataclass(frozen=True)
class BoneIsland:
    """A dense ellipsoid in the marrow, in the vertebra's frame (mm)."""

    centre: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True)
class Vertebra:
    """One healthy vertebra in its own frame (left, posterior, superior mm from the body's centre), and its joint below.

    Lengths in mm, angles in radians. Heights are those at the anterior and the posterior rim. The dish of an endplate
    is its depth below the rim. The angles belong to the disc below: sagittal > 0 is kyphosis, coronal > 0 tilts the
    vertebra above to the right, axial > 0 turns its back to the right.
    """

    level: str
    height_anterior: float
    height_posterior: float
    width_superior: float
    width_inferior: float
    depth: float
    dish_superior: float
    dish_inferior: float
    dish_shift: float  # how far the dishes lie behind the centre, fraction of the half depth
    dish_split: float  # how far apart the inferior dish's two lobes lie, fraction of the half width
    waist: float
    posterior_concavity: float  # fraction of the half depth
    anterior_taper: float  # fraction of the half width: the heart shape of a thoracic body
    rim_radius: float
    pedicle_width: float
    canal_width: float
    canal_depth: float
    arch_scale: float
    spinous_angle: float
    disc_below: float
    sagittal: float
    coronal: float
    axial: float
    density: float  # this vertebra's trabecular bone relative to the person's
    texture_offset: tuple[float, float, float]
    ripples: tuple[Ripple, ...] = ()
    osteophytes: tuple[Osteophyte, ...] = ()
    nodes: tuple[SchmorlNode, ...] = ()
    islands: tuple[BoneIsland, ...] = ()
    screws: bool = False
    fracture: Fracture | None = None

    @property
    def height(self) -> float:
        """Mean height of the rims."""
        return (self.height_anterior + self.height_posterior) / 2

    @property
    def width(self) -> float:
        return (self.width_superior + self.width_inferior) / 2

    @property
    def number(self) -> int:
        return LEVEL_NUMBER[self.level]

    @property
    def is_lumbar(self) -> bool:
        return self.level.startswith("L")


@dataclass(frozen=True)
class PhantomSpine:
    """A person: the chain of vertebrae (cranial to caudal), the tissue around them, and the scanner they lie in.

    lean: how far the chord of the healthy spine is from vertical (sagittal, coronal; radians).
    """

    seed: int
    levels: tuple[str, ...]
    vertebrae: tuple[Vertebra, ...]
    tissue: Tissue
    scanner: Scanner
    lean: tuple[float, float] = (0.0, 0.0)

    def healthy_twin(self) -> PhantomSpine:
        """The same person before any fracture: every other number is kept."""
        return replace(self, vertebrae=tuple(replace(vertebra, fracture=None) for vertebra in self.vertebrae))

    def vertebra(self, level: str) -> Vertebra:
        return next(vertebra for vertebra in self.vertebrae if vertebra.level == level)

    @property
    def fractured_levels(self) -> tuple[str, ...]:
        return tuple(vertebra.level for vertebra in self.vertebrae if vertebra.fracture is not None)
