"""Where each vertebra of a phantom stands: its pose in LPS mm, built up joint by joint from the lowest vertebra.

A collapsed body keeps its inferior endplate; everything above comes down with its superior rim and tilts with it, as
the patient's spine does. The healthy chain is balanced over its base, and the fractured one starts from the same base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from healthivert.phantom.shape import endplates, footprint_ratio
from healthivert.phantom.spine import PhantomSpine, Vertebra
from healthivert.types import FloatArray


@dataclass(frozen=True, eq=False)
class Pose:
    """A vertebra's frame: centre (3,) LPS mm, axes (3, 3) rows left, posterior, superior."""

    centre: FloatArray
    axes: FloatArray

    def as_dict(self) -> dict[str, list]:
        """As truth.json holds it."""
        return {"centre_mm": self.centre.tolist(), "axes": self.axes.tolist()}

    @classmethod
    def from_dict(cls, said: Mapping[str, ArrayLike]) -> Pose:
        """The inverse of as_dict. Raises KeyError, TypeError or ValueError if that is no pose."""
        return cls(np.reshape(said["centre_mm"], 3), np.reshape(said["axes"], (3, 3)))


def _turn(sagittal: float, coronal: float = 0.0, axial: float = 0.0) -> FloatArray:
    """(4, 4) rotation in a frame (left, posterior, superior). sagittal > 0 tips the superior axis to anterior."""
    cs, ss, cc, sc, ca, sa = (f(x) for x in (sagittal, coronal, axial) for f in (np.cos, np.sin))
    about_left = np.array([[1, 0, 0], [0, cs, -ss], [0, ss, cs]])
    about_posterior = np.array([[cc, 0, -sc], [0, 1, 0], [sc, 0, cc]])
    about_superior = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]])
    turn = np.eye(4)
    turn[:3, :3] = about_left @ about_posterior @ about_superior
    return turn


def _shift(left: float = 0.0, posterior: float = 0.0, superior: float = 0.0) -> FloatArray:
    shift = np.eye(4)
    shift[:3, 3] = left, posterior, superior
    return shift


def rim_slope(vertebra: Vertebra) -> float:
    """Sagittal angle (radians) of each healthy endplate in the body: > 0 where the posterior rim is higher."""
    return float(np.arctan((vertebra.height_posterior - vertebra.height_anterior) / (2 * vertebra.depth)))


def _settled_rim(vertebra: Vertebra) -> tuple[float, float, float]:
    """How the collapse moved the superior rim: lowered by (mm), tilted sagittally and coronally (radians)."""
    if vertebra.fracture is None:
        return 0.0, 0.0, 0.0
    axis = np.linspace(-0.6, 0.6, 41)
    posterior, left = np.meshgrid(axis * vertebra.depth, axis * vertebra.width, indexing="ij")
    ratio = footprint_ratio(vertebra, left, posterior, vertebra.width)
    rim = (ratio > 0.7) & (ratio < 1)
    before = endplates(replace(vertebra, fracture=None), left, posterior)[0]
    lowered = (before - endplates(vertebra, left, posterior)[0])[rim]
    columns = np.stack([np.ones(rim.sum()), posterior[rim], left[rim]], axis=1)
    offset, along_posterior, along_left = np.linalg.lstsq(columns, lowered, rcond=None)[0]
    follow = vertebra.fracture.kyphosis
    return float(offset), float(-np.arctan(along_posterior) * follow), float(-np.arctan(along_left) * follow)


def _joint(below: Vertebra, above: Vertebra) -> FloatArray:
    """(4, 4) pose of the vertebra above in the frame of the one below."""
    lowered, tilt, coronal_tilt = _settled_rim(below)
    half_disc = above.disc_below / 2
    return (
        # posterior walls stay in line, because the canal does
        _shift(0, (below.depth - above.depth) / 2, below.height / 2 - lowered)
        @ _turn(rim_slope(below) + tilt, coronal_tilt)
        @ _shift(0, 0, half_disc)
        @ _turn(above.sagittal, above.coronal, above.axial)
        @ _shift(0, 0, half_disc)
        @ _turn(rim_slope(above))
        @ _shift(0, 0, above.height / 2)
    )


def _chain(spine: PhantomSpine, base: FloatArray) -> dict[str, FloatArray]:
    """Level -> (4, 4) pose, from the lowest vertebra (at `base`) upwards; "S1" is the sacrum's upper endplate."""
    lowest = spine.vertebrae[-1]
    half_disc = _shift(0, 0, -lowest.disc_below / 2)
    matrices = {lowest.level: base}
    for above, below in zip(spine.vertebrae[-2::-1], spine.vertebrae[:0:-1], strict=True):
        matrices[above.level] = matrices[below.level] @ _joint(below, above)
    joint = (
        _shift(0, 0, -lowest.height / 2) @ _turn(-rim_slope(lowest)) @ half_disc @ _turn(-lowest.sagittal) @ half_disc
    )
    return {**matrices, "S1": base @ joint}


def standing(spine: PhantomSpine, level: str) -> tuple[Pose, Pose]:
    """A level's pose, and the one it had before any fracture."""
    return poses(spine)[level], poses(spine.healthy_twin())[level]


@lru_cache(maxsize=16)
def poses(spine: PhantomSpine) -> dict[str, Pose]:
    """Level -> pose in LPS mm, with "S1" for the sacrum. The healthy chain is near vertical, around the origin."""
    healthy = _chain(spine.healthy_twin(), np.eye(4))
    top, bottom = (healthy[v.level][:3, 3] for v in (spine.vertebrae[0], spine.vertebrae[-1]))
    chord = top - bottom
    upright = _turn(np.arctan2(chord[1], chord[2]) + spine.lean[0], np.arctan2(chord[0], chord[2]) + spine.lean[1])
    middle = upright @ np.append((top + bottom) / 2, 1.0)
    base = _shift(*-middle[:3]) @ upright
    # a rotation matrix's columns are the frame's axes in LPS
    return {level: Pose(m[:3, 3], m[:3, :3].T.copy()) for level, m in _chain(spine, base).items()}
