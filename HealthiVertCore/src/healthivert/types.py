"""The typed objects that pass from step to step of the data's way.

case -> body -> straighten -> attention -> prior -> gap -> generate -> restore -> measure -> grade -> report

Conventions, everywhere in the package:
  * points and vectors are LPS millimetres (x to the patient's left, y to posterior, z to superior), float64;
  * arrays of an image are (SI, AP, LR): axis 0 rises to superior, axis 1 to posterior, axis 2 to the patient's left
    (the order SimpleITK gives for an image in LPS orientation);
  * heights are millimetres; RHLV is a signed fraction, (healthy - original) / healthy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from healthivert.anatomy import LEVELS

FloatArray = NDArray[np.floating]

THIRDS = ("anterior", "middle", "posterior")
HEIGHT_KEYS = (*THIRDS, "mean")
SUSPICIOUS = 0.5  # a suspicion from which on a level is held to be fractured

HeightLines = Mapping[str, FloatArray]  # third -> (2, 3) LPS mm, from the inferior to the superior endplate


@dataclass(frozen=True)
class SpineCase:
    """A CT and its vertebra labels on one grid.

    ct, labels: same grid, oriented to the nearest LPS axes (a permutation and flips of the file's grid, so that no
    value was interpolated). ct is int16 HU; labels is uint8 with our level numbers (anatomy.LEVEL_NUMBER), 0 elsewhere.
    """

    ct: sitk.Image
    labels: sitk.Image
    name: str
    orientation: str  # the CT file's own axes, e.g. "RAS": results are written back in it
    label_values: Mapping[str, int]  # level name -> value the user's own segmentation has for it
    warnings: tuple[str, ...] = ()
    withheld: sitk.Image | None = None  # 1 where a generator must not look, besides the target: a part of the ct's grid
    # half-open index box (i, j, k) of that grid in which there could have been labels; None: everywhere
    labelled_field: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None

    @property
    def levels(self) -> tuple[str, ...]:
        """The level names present, from cranial to caudal."""
        return tuple(level for level in LEVELS if level in self.label_values)


@dataclass(frozen=True)
class Heights:
    """Body heights in mm: the mean of the columns of each AP third in the mid-sagittal band, rims left out; mean is
    that of the three thirds."""

    anterior: float
    middle: float
    posterior: float
    mean: float

    @property
    def thirds(self) -> tuple[float, float, float]:
        return self.anterior, self.middle, self.posterior

    @property
    def form(self) -> FloatArray:
        """(3,) each third over the mean of all three: how the body is wedged, whatever its size."""
        return np.array(self.thirds) / self.mean

    def as_dict(self) -> dict[str, float]:
        return {key: float(getattr(self, key)) for key in HEIGHT_KEYS}


@dataclass(frozen=True)
class VertebralBody:
    """One vertebral body without its posterior elements, in its own frame.

    centre: (3,) LPS mm. axes: (3, 3), rows are unit vectors to the patient's left, to posterior, to superior
    (right-handed: left x posterior = superior). superior: the centreline's tangent turned by body.ENDPLATE_SHARE
    towards the bisector of the two endplates; the bisector itself where no other level is
    whole, or none lies beside.
    superior, inferior: (AP, LR) endplate positions in mm along the superior axis from centre, NaN outside the body's
    footprint; columns are column_mm apart, the middle column is at the centre.
    occupancy: (SI, AP, LR) 0..1 of the body in the same frame and step, its middle voxel at the centre.
    voxel_mm: largest voxel edge of the segmentation: how far a rim may be rounded by it.
    complete: False if the scan's border cuts the body.
    label_mm3: volume of the whole label, arch included; 0 where nobody has measured it.
    border_share: how much of its largest section the one at the scan's border has, along the wall; 0 where none is.
    cleft_mm: height of the cleft in it that its label leaves open; 0 where there is none, or a small one. The body is
    that within its outer surface, cleft included.
    """

    level: str
    centre: FloatArray
    axes: FloatArray
    superior: FloatArray
    inferior: FloatArray
    occupancy: FloatArray
    column_mm: float
    voxel_mm: float = 1.0
    complete: bool = True
    label_mm3: float = 0.0
    border_share: float = 0.0
    cleft_mm: float = 0.0

    @property
    def height_map(self) -> FloatArray:
        """(AP, LR) column heights in mm, NaN outside the footprint."""
        return self.superior - self.inferior


@dataclass(frozen=True)
class StraightFrame:
    """The smooth body centreline and the frame carried along it: patient LPS mm <-> (left, posterior, arc length) mm.

    arc: (N,) mm, rising to superior; points, left, posterior, tangent: (N, 3).
    """

    arc: FloatArray
    points: FloatArray
    left: FloatArray
    posterior: FloatArray
    tangent: FloatArray


@dataclass(frozen=True)
class StraightenedSpine:
    """A part of the spine resampled along its centreline. All arrays (SI, AP, LR) at spacing_mm isotropic.

    Row i holds arc length arc_start + (i + 0.5) * spacing_mm; column j, k are centred on the centreline.
    """

    frame: StraightFrame
    arc_start: float
    spacing_mm: float
    ct: FloatArray  # HU
    seen: NDArray[np.bool_]  # False beyond the scan's border, where ct is air
    labels: NDArray[np.uint8]  # level numbers, whole vertebrae
    bodies: NDArray[np.uint8]  # level numbers, bodies without posterior elements
    withheld: NDArray[np.bool_] | None = None  # True where a generator must not look, besides the target

    @property
    def arc(self) -> FloatArray:
        """Arc length of the middle of each row (SI,), mm."""
        return self.arc_start + (np.arange(len(self.ct)) + 0.5) * self.spacing_mm


class NeighbourSlab(NamedTuple):
    """One neighbour laid over the target's footprint: ct (-1..1) and body (0..1), (rows of the gap, AP, LR).
    weight: for how many healthy vertebrae right beside the target it counts."""

    ct: FloatArray
    body: FloatArray
    weight: float


@dataclass(frozen=True)
class Prior:
    """What the neighbours say of the slab. ct (-1..1) and body (0..1): (rows of the gap, AP, LR), their weighted mean;
    outline: (AP, LR), 1 on the target's own footprint; slabs: what each of them says. thirds_growth: by how much the
    heights of the thirds, of their mean, grow from those neighbours to the target in a normal spine."""

    ct: FloatArray
    body: FloatArray
    outline: FloatArray
    slabs: tuple[NeighbourSlab, ...] = ()
    thirds_growth: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Conditioning:
    """What a generator may know: the anatomy on both sides of a gap of fixed height. Arrays (SI, AP, LR), float32.

    ct: -1..1 (window -300..800 HU), 0-information (-1) inside mask. mask: 1 where the generator must draw.
    attention: 0..1, high where tissue is believed healthy, 0 in the gap. neighbours: 1 on the bodies of the vertebrae
    beside the target (coarse stage's target). prior_ct (-1..1), prior_body (0..1): in the gap, the neighbours laid over
    the target's footprint; elsewhere ct (soft tissue where that is hidden) and 0. outline: 1 in the gap's rows over
    that footprint. gap: rows [first, last) of the gap. cut: the straightened rows [first, last) that were taken out:
    the body and margin_mm more on both sides. reference_mm: body height expected from the other levels; reference_sd:
    its standard deviation, as a fraction; reference_thirds: mm, what is expected of the anterior, middle and posterior
    third, None where nothing is. neighbour_slabs: of which the prior in the gap is the mean. thirds_growth: see Prior.
    stretch: the bend of the straightened frame at the target, (AP, LR), see bend; 1 where it is straight.
    """

    ct: FloatArray
    mask: FloatArray
    attention: FloatArray
    neighbours: FloatArray
    prior_ct: FloatArray
    prior_body: FloatArray
    outline: FloatArray
    gap: tuple[int, int]
    cut: tuple[int, int]
    level: str
    spacing_mm: float
    reference_mm: float
    margin_mm: float = 1.0
    reference_sd: float = 0.0
    neighbour_slabs: tuple[NeighbourSlab, ...] = ()
    stretch: FloatArray | float = 1.0
    reference_thirds: tuple[float, float, float] | None = None
    thirds_growth: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class PseudoHealthy:
    """A generated vertebra in the gap frame: ct in HU, body as soft mask 0..1 (SI, AP, LR), its mean height in mm.
    ct_sd: how far the truth is expected to be from it (standard deviation, HU); None for a single sample. rejected: how
    often it was drawn and looked fractured; accepted: False if it still does.

    The rows of the gap are canonical: the vertebra's slab fills them whatever its height; height_mm says what the mean
    body height is in the patient. stretch: (AP, LR), what a row is worth in each column, see bend.
    """

    ct: FloatArray
    body: FloatArray
    height_mm: float
    ct_sd: FloatArray | None = None
    rejected: int = 0
    accepted: bool = True
    stretch: FloatArray | float = 1.0


@dataclass(frozen=True)
class Genant:
    grade: int  # 0..3
    shape: str  # normal, wedge, biconcave, crush
    by: str = "thresholds"


@dataclass(frozen=True)
class HeightLoss:
    """What was measured at one vertebra."""

    original: Heights
    pseudo_healthy: Heights
    neighbour_reference: Heights | None
    rhlv: Heights  # signed fractions
    rhlv_sd: Heights | None
    rhlv_interval: Mapping[str, tuple[float, float]]  # holds the true loss in nine of ten cases
    rhlv_reference: Mapping[str, float]  # the publication's own formula
    six_point: Mapping[str, Mapping[str, float]]  # {"original": {"anterior", "middle", "posterior"}, ...} in mm
    loss_map: FloatArray  # (AP, LR) signed fractions on the healthy body's footprint, NaN outside
    genant: Genant
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class LevelSummary:
    """One row of `inspect`: a level's heights against what its neighbours say."""

    level: str
    label: int
    heights: Heights
    neighbour_reference: Heights | None
    suspicion: float  # 0..1
    genant: Genant
    warnings: tuple[str, ...] = ()
    reference_spread: Heights | None = None  # standard deviation of the reference, as a fraction of it
    complete: bool = True  # False: the scan's border cuts the body, so its heights are not its whole heights

    @property
    def comparable(self) -> bool:
        """Whether its whole heights are known, and the other levels say how high it should be."""
        return self.complete and self.neighbour_reference is not None

    @property
    def suspicious(self) -> bool:
        """Whether it looks fractured: it tells no other level what is healthy, and is regrown if none was asked for."""
        return self.suspicion >= SUSPICIOUS


@dataclass(frozen=True)
class View:
    """One cut through the straightened spine around the target, before and after, for pictures.

    plane: "sagittal" or "coronal". Arrays (SI, AP) or (SI, LR) at spacing_mm: HU, and bodies as soft masks 0..1 of the
    target. mask and attention show what the generator was given, in its own gap frame (rows differ from before/after).
    """

    plane: str
    spacing_mm: float
    before: FloatArray
    after: FloatArray
    body_before: FloatArray
    body_after: FloatArray
    conditioning: FloatArray
    mask: FloatArray
    attention: FloatArray


@dataclass(frozen=True)
class HeightProfile:
    """Mid-sagittal column heights from the anterior to the posterior wall. All (N,) in mm, NaN outside the body."""

    ap_mm: FloatArray
    original: FloatArray
    pseudo_healthy: FloatArray


@dataclass(frozen=True)
class Report:
    """Everything `run` found, as it is written to report.json and drawn in report.html."""

    case: str
    vertebra: str
    model: Mapping[str, str]  # {"name", "sha256"}
    device: str  # that the model ran on: "cpu", "cuda" or "mps"
    seed: int
    samples: int
    attention: str  # which source told the generator what to trust: "suspicion", "hgam" or "none"
    loss: HeightLoss
    spine: tuple[LevelSummary, ...]
    warnings: tuple[str, ...]
    timing_s: Mapping[str, float]
    versions: Mapping[str, str]
    views: tuple[View, ...] = ()
    profile: HeightProfile | None = None
    height_lines: Mapping[str, HeightLines] = field(default_factory=dict)  # "original" and "pseudo_healthy"
    rejected_samples: int = 0  # drawings thrown away because they looked fractured
    passes: int = 0  # how often suspected neighbours were regrown first
