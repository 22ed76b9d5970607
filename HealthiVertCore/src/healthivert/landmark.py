"""What can be said of a labelled vertebra before its frame is known: what it fills, and where it is thickest.

In: the label image and the box of a level in it. Out: a Landmark, from which body.py finds the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from healthivert.anatomy import LEAST_BODY_MM3, LEVEL_NUMBER
from healthivert.geometry import Index, Patch, cut_patch, distance_to
from healthivert.types import FloatArray

VERTEBRA_MM = 75.0  # from its middle to its farthest process
PADDING = 2  # voxels around a landmark's patch: all that lies beyond the label where the scan's border clipped its box


@dataclass(frozen=True)
class Landmark:
    """What can be said of one level before its frame is known. Points LPS mm."""

    level: str
    patch: Patch  # occupancy 0..1 of the level
    body_centre: FloatArray
    centroid: FloatArray
    thickness_mm: float  # of its thickest part
    voxel_mm: float
    volume_mm3: float
    cut_off: bool


def find_landmark(labels: sitk.Image, level: str, lower: Index, upper: Index) -> Landmark | None:
    """lower, upper: half-open index box of the level's label. None if the label is too small to hold a body."""
    number = LEVEL_NUMBER[level]
    size = labels.GetSize()
    lower, upper = _without_strays(labels, number, lower, upper)
    patch = cut_patch(labels, lower, upper, margin=4)
    mask = _filled(patch.array == number)
    spacing = np.array(labels.GetSpacing())[::-1]
    volume_mm3 = float(mask.sum() * spacing.prod())
    if volume_mm3 < LEAST_BODY_MM3:
        return None
    depth = distance_to(~np.pad(mask, 1), spacing)[1:-1, 1:-1, 1:-1]
    core = depth > 0.6 * depth.max()
    padded = np.pad(mask, PADDING).astype(np.float32)
    # half a voxel takes the staircase off and leaves flat faces where they are
    occupancy = ndimage.gaussian_filter(padded, 0.5)
    affine = type(patch.affine)(patch.affine.matrix, patch.affine.to_lps(np.full(3, -float(PADDING))))
    return Landmark(
        level,
        Patch(occupancy, affine),
        patch.affine.to_lps(_weighted_mean_index(core, depth)),
        patch.affine.to_lps(_weighted_mean_index(mask, np.ones_like(depth))),
        2 * float(depth.max()),
        float(spacing.max()),
        volume_mm3,
        any(a == 0 or b == s for a, b, s in zip(lower, upper, size, strict=True)),
    )


def _without_strays(labels: sitk.Image, number: int, lower: Index, upper: Index) -> tuple[Index, Index]:
    """The box of a label, but no farther than a vertebra reaches from where most of it lies: a stray voxel at the other
    end of the scan would make all of the scan its box."""
    reach = np.ceil(VERTEBRA_MM / np.array(labels.GetSpacing())).astype(int)
    if all(b - a <= 2 * n for a, b, n in zip(lower, upper, reach, strict=True)):
        return lower, upper
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))[::-1]
    middle = np.median(np.argwhere(sitk.GetArrayViewFromImage(labels)[box] == number), axis=0)[::-1].astype(int)
    nearest, farthest = np.array(lower) + middle - reach, np.array(lower) + middle + reach
    return tuple(np.maximum(lower, nearest).tolist()), tuple(np.minimum(upper, farthest).tolist())


def _filled(mask: np.ndarray) -> np.ndarray:
    """mask with its enclosed holes: a segmentation's hole is no collapse."""
    beside, _ = ndimage.label(~np.pad(mask, 1))
    return (beside != beside[0, 0, 0])[1:-1, 1:-1, 1:-1]


def _weighted_mean_index(mask: np.ndarray, weight: FloatArray) -> FloatArray:
    where = np.argwhere(mask)
    w = weight[mask]
    return ((where * w[:, None]).sum(axis=0) / w.sum())[::-1]
