"""The 2D slices of a conditioning, and where each of them lies in the body. One rule for training and running.

In: a Conditioning, arrays (SI, AP, LR). Out: slice indices along LR (sagittal) or AP (coronal) and their slice_ratio,
|index - centre| / half extent of the body. Centre and extent are read off the neighbours, never off the hidden target,
whose true width no run could know. Free of torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from healthivert.anatomy import normal_spine
from healthivert.types import Conditioning

PLANES = ("sagittal", "coronal")  # the place in this tuple is the value of the plane channel
LARGEST_RATIO = 1.5  # beyond this a slice is simply "outside the body": the network needs no finer answer there
# A column counts as body when it holds this share of the fullest column's voxels: stray voxels and osteophyte tips
# would otherwise widen the extent.
LEAST_SHARE = 0.15


def plane_axis(plane: str) -> int:
    """The array axis that a plane's slices are counted along: LR for sagittal, AP for coronal."""
    if plane not in PLANES:
        raise ValueError(f"plane must be one of {PLANES}, got {plane!r}")
    return 2 if plane == "sagittal" else 1


def slice_positions(conditioning: Conditioning, plane: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Every slice index of a plane, and its slice_ratio clipped to 0..LARGEST_RATIO (0 in the middle, 1 at the rim).

    The centre and half extent are means over the neighbours found above and below the gap; without any, the grid's
    centre and the level's normal size stand in. Raises ValueError for an unknown plane.
    """
    axis = plane_axis(plane)
    first, last = conditioning.gap
    sides = (conditioning.neighbours[:first], conditioning.neighbours[last:])
    extents = [extent for side in sides if (extent := _extent(side, axis)) is not None]
    count = conditioning.neighbours.shape[axis]
    if extents:
        centre, half = np.mean(extents, axis=0)
    else:
        normal = normal_spine().get(conditioning.level)
        millimetres = 40.0 if normal is None else (normal.width if plane == "sagittal" else normal.depth)
        centre, half = (count - 1) / 2, millimetres / 2 / conditioning.spacing_mm
    indices = np.arange(count)
    ratios = np.abs(indices - centre) / max(float(half), 1.0)
    return indices, np.clip(ratios, 0.0, LARGEST_RATIO).astype(np.float32)


def _extent(neighbours: NDArray[np.floating], axis: int) -> tuple[float, float] | None:
    """Centre and half extent (index units) of the body voxels along an axis; None where there are none."""
    others = tuple(other for other in range(3) if other != axis)
    profile = (neighbours > 0.5).sum(axis=others)
    if profile.size == 0 or profile.max() == 0:
        return None
    inside = np.flatnonzero(profile >= LEAST_SHARE * profile.max())
    return (inside[0] + inside[-1]) / 2, (inside[-1] - inside[0] + 1) / 2
