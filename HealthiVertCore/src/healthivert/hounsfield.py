"""CT voxels in any number type -> int16 Hounsfield units, and what tells that they are none.

In: the image as it was read. Out: int16 in [-1024, 3071] HU. Raises HealthiVertError for an image that is no CT (a
mask, a constant, a windowed picture) or whose unit cannot be told. Whole-body CT has hundreds of MB: no function here
makes a floating-point copy, and statistics are taken on a subsample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from healthivert.errors import complaint
from healthivert.geometry import distance_to

HU_RANGE = (-1024, 3071)
AIR_HU = HU_RANGE[0]
STORED_OFFSET = 1024  # the rescale intercept of nearly every CT is -1024
INT16 = np.iinfo(np.int16)
SAMPLE_VOXELS = 2_000_000
MOST_MASK_VALUES = 150  # a whole-body segmentation has about 120 values; a CT has thousands
LARGEST_MISSING_SHARE = 0.5
SMALLEST_RANGE = 20.0  # of fractions: networks take 0 to 1, -1 to 1, or some standard deviations
NO_FAT_OR_AIR_HU = -20  # every CT that shows some fat or air goes below it
VERTEBRA_HU = (-100, 900)  # plausible medians of a vertebra's voxels; beyond them lies air, fat or metal
METAL_HU = 2500
METAL_ML = 0.2
# Cement in a vertebra: bone so dense lies this deep below its surface in less volume (0.6 ml at most in six people).
CEMENT_HU, CEMENT_ML, DEEP_MM = 1000, 1.5, 3.0
# A vertebra is so much brighter (median) than the tissue around it: those that were tried by 90 to 210 HU, masks
# that lie 15 mm and more beside the spine by 80 at most, mostly by less than 55.
BRIGHTER_HU, AROUND_MM = 60, (4.0, 10.0)


def subsample(array: NDArray) -> NDArray:
    """Every n-th voxel along each axis, so that about SAMPLE_VOXELS are left."""
    step = max(1, int(np.ceil((array.size / SAMPLE_VOXELS) ** (1 / array.ndim))))
    return array[tuple(slice(None, None, step) for _ in range(array.ndim))]


def to_int16(image: sitk.Image, path: Path) -> tuple[sitk.Image, list[str]]:
    """The voxels rounded to int16 (not yet clipped to HU), NaN and infinity taken as air; warnings."""
    view = sitk.GetArrayViewFromImage(image)
    if view.dtype.kind == "f":
        return _rounded(image, path)
    _check_looks_like_ct(view, path)
    if view.dtype == np.int16:
        return image, []
    return sitk.Clamp(image, sitk.sitkInt16, INT16.min, INT16.max), []


def _rounded(image: sitk.Image, path: Path) -> tuple[sitk.Image, list[str]]:
    view = sitk.GetArrayViewFromImage(image)
    _check_not_rescaled(view, path)
    values = np.empty(view.shape, np.int16)
    missing = 0
    for plane, out in zip(view, values, strict=True):
        finite = np.isfinite(plane)
        missing += plane.size - int(np.count_nonzero(finite))
        out[:] = np.rint(np.clip(np.where(finite, plane, AIR_HU), INT16.min, INT16.max))
    share = missing / view.size
    if share > LARGEST_MISSING_SHARE:
        found = "every voxel" if share == 1 else f"{100 * share:.0f} % of the voxels"
        raise complaint(path, f"{found} is NaN or infinite", "export the CT again")
    _check_looks_like_ct(values, path)
    rounded = sitk.GetImageFromArray(values)
    rounded.CopyInformation(image)
    words = f"{path.name}: {missing} voxels are NaN or infinite and were taken as air"
    return rounded, [words] if missing else []


def _check_not_rescaled(values: NDArray, path: Path) -> None:
    """Raise for fractions: a CT that was scaled for a network, of which rounding would leave a few values."""
    sample = subsample(values)
    sample = sample[np.isfinite(sample)]
    if sample.size and np.ptp(sample) < SMALLEST_RANGE and (sample != np.rint(sample)).any():
        found = f"the CT goes from {sample.min():.3g} to {sample.max():.3g}: it was rescaled"
        raise complaint(path, found, "export it in Hounsfield units")


def _check_looks_like_ct(values: NDArray, path: Path) -> None:
    sample = subsample(values)
    low, high = int(sample.min()), int(sample.max())
    if low == high and (values == low).all():
        raise complaint(path, f"every voxel of the CT is {low}", "export the CT again")
    different = len(np.unique(sample))
    if low >= 0 and (high <= 255 or (high < STORED_OFFSET - 24 and different <= MOST_MASK_VALUES)):
        found = f"the CT has only {different} different values from {low} to {high}, as a mask or a grey picture has"
        raise complaint(path, found, "give a CT in Hounsfield units for it, and the mask as the segmentation")


def in_hounsfield_units(
    image: sitk.Image, vertebra_values: NDArray, path: Path, seg_path: Path
) -> tuple[sitk.Image, list[str]]:
    """Clip an int16 CT to HU_RANGE, after making sure that its unit is HU.

    vertebra_values: the CT's values under the mask. A CT stored without its rescale intercept has no negative value and
    its vertebrae lie 1024 above where bone and marrow can be: then the intercept is applied, and said.
    """
    view = sitk.GetArrayViewFromImage(image)
    low, high = int(view.min()), int(view.max())
    median = float(np.median(subsample(vertebra_values)))
    warnings = []
    if low > NO_FAT_OR_AIR_HU:
        if low < 0 or not VERTEBRA_HU[0] <= median - STORED_OFFSET <= VERTEBRA_HU[1] or high < 2 * STORED_OFFSET - 24:
            remedy = "export it with its rescale slope and intercept applied (air -1000, water 0)"
            raise complaint(path, f"the CT goes from {low} to {high}, so it is not in Hounsfield units", remedy)
        image, low, high, median = (
            image - STORED_OFFSET,
            low - STORED_OFFSET,
            high - STORED_OFFSET,
            median - STORED_OFFSET,
        )
        warnings.append(f"{path.name} is stored without its rescale intercept (water near 1000): 1024 was subtracted")
    if not VERTEBRA_HU[0] <= median <= VERTEBRA_HU[1]:
        if VERTEBRA_HU[0] <= median - STORED_OFFSET <= VERTEBRA_HU[1]:
            found = f"the vertebrae have a median of {median:.0f} HU, as where a CT lies {STORED_OFFSET} HU too high"
            raise complaint(path, found, "export it with its rescale slope and intercept applied (air -1000, water 0)")
        tissue = "air or fat" if median < VERTEBRA_HU[0] else "metal"
        found = f"the mask lies in {tissue} of the CT {path.name} (median {median:.0f} HU)"
        raise complaint(seg_path, found, "give the CT and the mask that belong together, in Hounsfield units")
    if low < HU_RANGE[0] or high > HU_RANGE[1]:
        image = sitk.Clamp(image, sitk.sitkInt16, *HU_RANGE)
    return image, warnings


def metal_warning(values: NDArray, voxel_ml: float) -> list[str]:
    """values: HU around the vertebrae. Implants and cement spoil what is measured near them."""
    metal = int(np.count_nonzero(values > METAL_HU))
    if metal * voxel_ml < METAL_ML:
        return []
    share = 100 * metal / values.size
    volume = f"{metal * voxel_ml:.1f} ml ({share:.2g} % of the voxels)"
    return [f"metal or cement near the vertebrae: {volume} above {METAL_HU} HU; heights beside it are unreliable"]


def place_warning(values: NDArray, labelled: NDArray[np.bool_], spacing_mm: Sequence[float]) -> list[str]:
    """values: HU in a box that holds the labelled voxels and what is around them. Whether the mask lies on a spine."""
    distance = distance_to(labelled, spacing_mm)
    around = (distance > AROUND_MM[0]) & (distance < AROUND_MM[1])
    if not around.any():
        return []
    brighter = float(np.median(values[labelled]) - np.median(values[around]))
    if brighter >= BRIGHTER_HU:
        return []
    return [
        f"what the mask labels is only {brighter:.0f} HU brighter than what lies around it: it may not lie on the "
        "spine; look whether CT and mask belong together"
    ]


def cement_warnings(
    values: NDArray, numbers: NDArray, levels: Mapping[int, str], spacing_mm: Sequence[float]
) -> list[str]:
    """values: HU of voxels of spacing_mm; numbers: their labels; levels: what these mean. Cement or metal deep in a
    vertebra, which a regrown neighbour would inherit."""
    deep = distance_to(numbers == 0, spacing_mm) > DEEP_MM
    dense = np.bincount(numbers[deep & (values > CEMENT_HU)], minlength=256) * float(np.prod(spacing_mm)) / 1000
    return [
        f"{level} holds {dense[number]:.1f} ml above {CEMENT_HU} HU, as cement is: no healthy vertebra does, so hide "
        "it from the generator with --withhold"
        for number, level in levels.items()
        if dense[number] >= CEMENT_ML
    ]
