"""Image grids and points: index <-> LPS millimetres, and sampling an image at points.

Here SimpleITK's grids become LPS millimetres and (SI, AP, LR) arrays, which all steps after the reading speak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.types import FloatArray

SAME_GRID_VOXELS = 0.1  # corners closer than this: one grid, rounded differently


@dataclass(frozen=True)
class Affine:
    """Index (i, j, k) -> LPS mm: point = origin + matrix @ index."""

    matrix: FloatArray  # (3, 3), columns are the steps of i, j, k in mm
    origin: FloatArray  # (3,)

    def to_lps(self, index: FloatArray) -> FloatArray:
        """(..., 3) indices (i, j, k), whole or not, -> (..., 3) LPS mm."""
        return index @ self.matrix.T + self.origin

    def to_index(self, points: FloatArray) -> FloatArray:
        """(..., 3) LPS mm -> (..., 3) indices (i, j, k), not rounded."""
        return (points - self.origin) @ np.linalg.inv(self.matrix).T


def affine_of(image: sitk.Image) -> Affine:
    """Of a 3D image's grid."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return Affine(direction * np.array(image.GetSpacing()), np.array(image.GetOrigin()))


Index = tuple[int, int, int]  # (i, j, k)


@dataclass(frozen=True)
class Patch:
    """A box cut from an image: array (k, j, i) as float32 or integers, with its own affine (index i, j, k)."""

    array: NDArray
    affine: Affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """Length of the steps of i, j, k in mm."""
        return tuple(float(length) for length in np.linalg.norm(self.affine.matrix, axis=0))


def cut_patch(image: sitk.Image, lower: Index, upper: Index, margin: int = 0) -> Patch:
    """The voxels with lower - margin <= (i, j, k) < upper + margin, clipped to the image; nothing else is copied."""
    size = image.GetSize()
    lo = [max(0, min(a - margin, s - 1)) for a, s in zip(lower, size, strict=True)]
    hi = [max(a + 1, min(b + margin, s)) for a, b, s in zip(lo, upper, size, strict=True)]
    view = sitk.GetArrayViewFromImage(image)
    array = np.array(view[lo[2] : hi[2], lo[1] : hi[1], lo[0] : hi[0]])
    affine = affine_of(image)
    return Patch(array, Affine(affine.matrix, affine.to_lps(np.array(lo, float))))


def label_boxes(labels: sitk.Image) -> dict[int, tuple[Index, Index]]:
    """Half-open index bounds (i, j, k) of each value of a uint8 image, 0 left out, without a copy of the image."""
    view = sitk.GetArrayViewFromImage(labels)
    whole = labelled_box(view)
    boxes = {}
    for value, own in enumerate(ndimage.find_objects(view[whole], max_label=255), start=1):
        if own is not None:
            # find_objects counts from the corner of the whole
            edges = [(big.start + one.start, big.start + one.stop) for big, one in zip(whole, own, strict=True)]
            (k, to_k), (j, to_j), (i, to_i) = edges
            boxes[value] = (i, j, k), (to_i, to_j, to_k)
    return boxes


def is_same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    if one.GetSize() != other.GetSize():
        return False
    return bool(np.abs(_corners(one) - _corners(other)).max() < SAME_GRID_VOXELS * min(other.GetSpacing()))


def _corners(image: sitk.Image) -> NDArray[np.float64]:
    ends = [(0, size - 1) for size in image.GetSize()]
    return np.array([image.TransformIndexToPhysicalPoint((i, j, k)) for i in ends[0] for j in ends[1] for k in ends[2]])


def labelled_box(array: NDArray) -> tuple[slice, slice, slice]:
    """The smallest box (k, j, i) around all elements but 0, empty if there are none. Plane by plane, since a mask is
    large and nearly all of it 0."""
    planes = np.flatnonzero([plane.any() for plane in array])
    if planes.size == 0:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    shadow = np.zeros(array.shape[1:], bool)
    for plane in array[planes[0] : planes[-1] + 1]:
        shadow |= plane != 0
    rows, columns = (np.flatnonzero(shadow.any(axis=axis)) for axis in (1, 0))
    k, j, i = (slice(int(edge[0]), int(edge[-1]) + 1) for edge in (planes, rows, columns))
    return k, j, i


def patch_around(image: sitk.Image, points: FloatArray, margin_mm: float) -> Patch:
    """The smallest patch that holds all points (..., 3) LPS mm and margin_mm beyond them, clipped to the image."""
    affine = affine_of(image)
    index = affine.to_index(points.reshape(-1, 3))
    margin = margin_mm / np.array(image.GetSpacing())
    i, j, k = np.floor(index.min(axis=0) - margin).astype(int).tolist()
    to_i, to_j, to_k = (np.ceil(index.max(axis=0) + margin).astype(int) + 1).tolist()
    return cut_patch(image, (i, j, k), (to_i, to_j, to_k))


def rows_at(array: FloatArray, index: FloatArray) -> FloatArray:
    """Rows of array (SI, AP, LR) at fractional indices, (N,), or of each column its own, (N, AP, LR), by linear
    interpolation; the end rows beyond the ends."""
    index = np.clip(index, 0, len(array) - 1)
    lower = np.minimum(index.astype(int), len(array) - 2)
    part = (index - lower).astype(np.float32)
    if index.ndim == 1:
        return array[lower] * (1 - part[:, None, None]) + array[lower + 1] * part[:, None, None]
    below, above = (np.take_along_axis(array, lower + n, axis=0) for n in (0, 1))
    return below * (1 - part) + above * part


def filled_from_nearest(values: NDArray, valid: NDArray[np.bool_]) -> NDArray:
    """values with each invalid element given the value of the nearest valid one; unchanged if none or all are valid."""
    if valid.all() or not valid.any():
        return values
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def distance_to(voxels: NDArray[np.bool_], spacing_mm: Sequence[float] | FloatArray) -> FloatArray:
    """Distance in mm of every voxel's middle from that of the nearest of voxels, 0 in these; infinite if there is none.

    voxels: of spacing_mm along each axis. Maurer, Qi, Raghavan 2003 as ITK has it: exact, and in several threads.
    """
    if not voxels.any():
        return np.full(voxels.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(voxels.astype(np.uint8))
    image.SetSpacing([float(length) for length in spacing_mm][::-1])
    signed = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayViewFromImage(signed), 0.0)


def thinned(patch: Patch, step_mm: float) -> Patch:
    """Every n-th voxel along each axis, n as large as keeps the steps at step_mm or below (1 where they are longer)."""
    stride = [max(1, int(step_mm / length + 1e-6)) for length in patch.spacing]
    array = patch.array[:: stride[2], :: stride[1], :: stride[0]]
    return Patch(array, Affine(patch.affine.matrix * np.array(stride), patch.affine.origin))


def sample(patch: Patch, points: FloatArray, order: int = 1, outside: float = 0.0) -> FloatArray:
    """Values of patch at points (..., 3) LPS mm; linear (order 1), cubic (3) or nearest (0); outside beyond the
    patch."""
    index = patch.affine.to_index(points.reshape(-1, 3))[:, ::-1].T
    values = ndimage.map_coordinates(
        patch.array, index, order=order, mode="constant", cval=outside, prefilter=order > 1
    )
    return values.reshape(points.shape[:-1])


def sample_box(
    patch: Patch, centre: FloatArray, axes: FloatArray, size_mm: tuple[float, float, float], step_mm: float
) -> FloatArray:
    """Linear samples (SI, AP, LR) of a box centred on centre whose edges lie along axes (rows left, posterior,
    superior).

    size_mm is (SI, AP, LR); the number of samples on each axis is odd, so that the centre is a sample. 0 off the patch.
    """
    half = np.array([int(np.ceil(length / 2 / step_mm)) for length in size_mm])
    step = np.linalg.inv(patch.affine.matrix) @ axes[::-1].T * step_mm  # patch index (i, j, k) per box index
    matrix = step[::-1]
    start = patch.affine.to_index(centre)[::-1] - matrix @ half
    return ndimage.affine_transform(patch.array, matrix, start, tuple(2 * half + 1), order=1, cval=0.0)


def shifted_slice(array: np.ndarray, k: int, step: FloatArray, outside: float) -> np.ndarray:
    """Slice k (j, i) of an array (k, j, i) whose content has moved as one piece: voxel q is read at q + step, linearly.

    outside: the value of voxels read beyond the array. One step for all voxels, so it goes axis by axis, ten times as
    fast as resampling that asks every voxel for its place.
    """
    start = np.array([k, 0, 0]) + step
    whole = np.floor(start).astype(int)
    plane = array
    for axis, (first, share) in enumerate(zip(whole, start - whole, strict=True)):
        wanted = np.arange(first, first + (1 if axis == 0 else array.shape[axis]))
        lower = np.take(plane, wanted, axis=axis, mode="clip")
        if share > 0:
            upper = np.take(plane, wanted + 1, axis=axis, mode="clip")
            lower = lower * np.float32(1 - share) + upper * np.float32(share)
        plane = lower
        beyond = (wanted + share < -0.5) | (wanted + share >= array.shape[axis] - 0.5)
        plane[(slice(None),) * axis + (beyond,)] = outside
    return plane[0] if plane.dtype == array.dtype else np.rint(plane[0]).astype(array.dtype)
