"""A CT and a segmentation on disk -> a SpineCase, and images of its grid back to disk.

In: image files or folders in any orientation, spacing and number type. Out: SpineCase (types.py). Raises
HealthiVertError, in one line, for everything that is wrong with them. Results are written in the CT's own orientation.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from isal import igzip
from numpy.typing import NDArray

from healthivert.anatomy import LEAST_BODY_MM3, LEVEL_NUMBER
from healthivert.contact import contact_warnings
from healthivert.dicom import is_dicom_file, read_dicom
from healthivert.errors import HealthiVertError, complaint
from healthivert.geometry import is_same_grid, label_boxes, labelled_box
from healthivert.hounsfield import (
    HU_RANGE,
    cement_warnings,
    in_hounsfield_units,
    metal_warning,
    place_warning,
    to_int16,
)
from healthivert.image_files import blamed_on_orientation, read_image, short_reason, stem_of, suffix_of
from healthivert.image_memory import writable_view
from healthivert.labelled_field import labelled_field
from healthivert.labels import oddities
from healthivert.orientation import orientation_of, oriented, orienting_steps
from healthivert.segmentation import Segmentation, read_segmentation
from healthivert.types import SpineCase

FEWEST_VOXELS = 8
SHORTEST_EDGE_MM = 20.0
SMALLEST_OVERLAP = 0.2  # of the labelled volume must lie in the CT
WHOLE_OVERLAP = 0.98
METAL_MARGIN_MM = 10.0
COARSE_MM = 2.0
FAST_GZIP_LEVEL = 1  # SimpleITK's own: half the time of level 6 for 3 % more bytes on CT

ProgressCallback = Callable[[str, float, str], None]


def load_case(
    ct: Path,
    seg: Path,
    level_map: Mapping[int, str] | None = None,
    progress: ProgressCallback | None = None,
    withhold: Path | None = None,
) -> SpineCase:
    """Read a CT and its vertebra segmentation.

    level_map: value of the segmentation -> level name, overriding what it says of itself.
    progress: called with (stage, fraction, message).
    withhold: a mask of what a generator must not look at besides the target, such as cement in a neighbour.
    """
    ct, seg = Path(ct), Path(seg)
    tell = progress or (lambda stage, fraction, message: None)
    tell("case", 0.0, f"reading {ct.name} and {seg.name}")
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(read_segmentation, seg, level_map)
        image, warnings = _read_ct(ct)
        orientation = orientation_of(image)
        for step in orienting_steps(image, "LPS"):
            image = step(image)
        segmentation = other.result()
    warnings += segmentation.warnings
    with blamed_on_orientation(warnings):
        label_image, values, more = _on_grid_of(segmentation, image, ct, seg)
    warnings += more
    box = labelled_box(sitk.GetArrayViewFromImage(label_image))
    field = labelled_field(segmentation.image, label_image, image, box)
    numbers, hounsfield = (sitk.GetArrayViewFromImage(one)[box] for one in (label_image, image))
    labelled = numbers > 0
    image, more = in_hounsfield_units(image, hounsfield[labelled], ct, seg)
    warnings += more + _label_warnings(numbers, values, label_image)
    margin = _widened(box, image)
    warnings += metal_warning(sitk.GetArrayViewFromImage(image)[margin], float(np.prod(image.GetSpacing())) / 1000)
    warnings += _tissue_warnings(image, label_image, margin, values)
    withheld = None
    if withhold is not None:
        withheld, more = _read_withheld(Path(withhold), image, ct)
        warnings += more
    tell("case", 1.0, f"{ct.name}: {len(values)} vertebrae")
    return SpineCase(image, label_image, case_name(ct), orientation, values, tuple(warnings), withheld, field)


def load_labels(seg: Path, level_map: Mapping[int, str] | None = None) -> SpineCase:
    """Read a segmentation that has no CT: the same as load_case, on the segmentation's grid, with air for a CT."""
    seg = Path(seg)
    read = read_segmentation(seg, level_map)
    air = sitk.Image(read.image.GetSize(), sitk.sitkInt16) + HU_RANGE[0]
    air.CopyInformation(read.image)
    view = sitk.GetArrayViewFromImage(read.image)
    box = labelled_box(view)
    warnings = (*read.warnings, *_label_warnings(view[box], read.label_values, read.image))
    field = labelled_field(read.image, read.image, air, box)
    return SpineCase(
        air, read.image, case_name(seg), read.orientation, read.label_values, warnings, labelled_field=field
    )


def case_name(path: Path) -> str:
    """The file's name, or its folder's where the file has that of every case (SUBJECT/ct.nii.gz)."""
    if not path.is_file():
        return path.resolve().name
    stem = stem_of(path)
    return path.resolve().parent.name if stem.lower() == "ct" else stem


def _read_ct(path: Path) -> tuple[sitk.Image, list[str]]:
    """The CT as int16 on its own grid."""
    if path.is_dir():
        image, warnings = read_dicom(path)
    elif path.is_file() and not suffix_of(path) and is_dicom_file(path):
        raise complaint(path, "this is one DICOM file", "give the folder of its series")
    else:
        image, warnings = read_image(path)
    image, more = to_int16(image, path)
    size, spacing = image.GetSize(), image.GetSpacing()
    extent = [count * step for count, step in zip(size, spacing, strict=True)]
    if min(size) < FEWEST_VOXELS or min(extent) < SHORTEST_EDGE_MM:
        found = f"the CT has {' x '.join(map(str, size))} voxels, {' x '.join(f'{edge:.0f}' for edge in extent)} mm"
        raise complaint(
            path, found, f"give a CT of at least {FEWEST_VOXELS} voxels and {SHORTEST_EDGE_MM:.0f} mm along each axis"
        )
    return image, warnings + more


def _on_grid_of(
    segmentation: Segmentation, ct: sitk.Image, ct_path: Path, seg_path: Path
) -> tuple[sitk.Image, dict[str, int], list[str]]:
    """The labels on the CT's grid, the levels that are left, and what was done."""
    labels, warnings = segmentation.image, []
    if is_same_grid(labels, ct):
        labels.CopyInformation(ct)
        moved = labels
    else:
        moved = sitk.Resample(labels, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
        inside = _volume_mm3(moved) / _volume_mm3(labels)
        hint = "give the CT and the mask that belong together"
        if inside == 0:
            raise complaint(seg_path, f"the mask does not overlap the CT {ct_path}", hint)
        if inside < SMALLEST_OVERLAP:
            raise complaint(
                seg_path, f"only {100 * inside:.0f} % of the labelled volume lies in the CT {ct_path}", hint
            )
        warnings.append(
            f"{seg_path.name} lies on another grid than {ct_path.name}: resampled to the CT's (nearest neighbour)"
        )
        if inside < WHOLE_OVERLAP:
            warnings.append(f"{100 * (1 - inside):.0f} % of the labelled volume of {seg_path.name} lies outside the CT")
    present = label_boxes(moved)
    values = {level: value for level, value in segmentation.label_values.items() if LEVEL_NUMBER[level] in present}
    lost = [level for level in segmentation.label_values if level not in values]
    return moved, values, warnings + ([f"outside the CT: {', '.join(lost)}"] if lost else [])


def _label_warnings(numbers: NDArray, levels: Collection[str], labels: sitk.Image) -> list[str]:
    """What is odd about the levels and where they lie. numbers: the image's labelled box."""
    present = _more_than_specks(levels, numbers[numbers > 0], labels)
    return [*oddities(present), *contact_warnings(numbers, levels, labels.GetSpacing())]


def _more_than_specks(levels: Iterable[str], numbers: NDArray, labels: sitk.Image) -> list[str]:
    """The levels of which there is enough for a body: a stray bit of a number's label is no vertebra. numbers: (N,) of
    the image's labelled voxels."""
    volumes = np.bincount(numbers, minlength=256) * float(np.prod(labels.GetSpacing()))
    return [level for level in levels if volumes[LEVEL_NUMBER[level]] >= LEAST_BODY_MM3]


def _read_withheld(path: Path, ct: sitk.Image, ct_path: Path) -> tuple[sitk.Image, list[str]]:
    """Where a mask is above 0, as 1 on the part of the CT's grid that holds it, and what is to be said of it."""
    if not path.is_file():
        raise complaint(path, "there is no such file", "give the mask of what is to be withheld, or leave it out")
    mask, warnings = read_image(path)
    for step in orienting_steps(mask, "LPS"):
        mask = step(mask)
    if not sitk.GetArrayViewFromImage(mask).max() > 0:
        raise complaint(path, "the mask is empty", "paint what is to be withheld, or leave the mask out")
    mask = sitk.Cast(mask > 0, sitk.sitkUInt8)
    if is_same_grid(mask, ct):
        mask.CopyInformation(ct)
    else:
        mask = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
        warnings.append(f"{path.name} lies on another grid than {ct_path.name}: resampled to the CT's")
    if not sitk.GetArrayViewFromImage(mask).any():
        raise complaint(path, f"the mask does not overlap the CT {ct_path}", "give the mask that belongs to the CT")
    box = labelled_box(sitk.GetArrayViewFromImage(mask))[::-1]
    corner, size = [part.start for part in box], [part.stop - part.start for part in box]
    volume_ml = _volume_mm3(mask) / 1000
    warnings.append(f"{volume_ml:.1f} ml besides the target were withheld from the generator ({path.name})")
    return sitk.RegionOfInterest(mask, size, corner), warnings


def _volume_mm3(labels: sitk.Image) -> float:
    return int(np.count_nonzero(sitk.GetArrayViewFromImage(labels))) * float(np.prod(labels.GetSpacing()))


def _tissue_warnings(image: sitk.Image, labels: sitk.Image, box: tuple[slice, ...], levels: Iterable[str]) -> list[str]:
    """What the CT shows under the mask and around it, on every n-th voxel: about COARSE_MM are enough."""
    steps = [max(1, round(COARSE_MM / step)) for step in image.GetSpacing()[::-1]]
    coarse = tuple(slice(edge.start, edge.stop, step) for edge, step in zip(box, steps, strict=True))
    values, numbers = (sitk.GetArrayViewFromImage(one)[coarse] for one in (image, labels))
    spacing = [step * edge for step, edge in zip(steps, image.GetSpacing()[::-1], strict=True)]
    named = {LEVEL_NUMBER[level]: level for level in levels}
    return [*place_warning(values, numbers > 0, spacing), *cement_warnings(values, numbers, named, spacing)]


def _widened(box: tuple[slice, slice, slice], image: sitk.Image) -> tuple[slice, ...]:
    margins = [int(np.ceil(METAL_MARGIN_MM / step)) for step in image.GetSpacing()[::-1]]
    return tuple(
        slice(max(0, edge.start - margin), edge.stop + margin) for edge, margin in zip(box, margins, strict=True)
    )


def check_can_write(path: Path) -> None:
    """Raise HealthiVertError unless the name is one that write_image can write to."""
    if suffix_of(path) not in (".nii", ".nii.gz", ".nrrd", ".mha"):
        raise complaint(path, "images are not written in this format", "name it .nii.gz, .nii, .nrrd or .mha")
    if path.is_dir():
        raise complaint(path, "this is a folder", "give the name of a file")


def write_image(image: sitk.Image, path: Path, case: SpineCase, labels: bool = False) -> None:
    """Write an image that lies on the case's grid, or on a part of it, in the orientation of the CT's own file.

    A whole-grid image gets the CT file's size, spacing, origin and direction. The suffix says the format.
    labels: the image holds level numbers, which are written as the values of the user's own segmentation.
    """
    path = Path(path)
    check_can_write(path)
    write_volume(oriented(_with_users_values(image, case) if labels else image, case.orientation), path)


def write_volume(image: sitk.Image, path: Path) -> None:
    """Write an image on its own grid, in one of the formats of check_can_write.

    Raises OSError if the disk is full, HealthiVertError if the image cannot be written for another reason.
    """
    if suffix_of(path) == ".nii.gz":
        _write_nifti_fast(image, path)
    else:
        _write(image, path, compress=suffix_of(path) != ".nii")


def _with_users_values(labels: sitk.Image, case: SpineCase) -> sitk.Image:
    if all(value == LEVEL_NUMBER[level] for level, value in case.label_values.items()):
        return labels
    largest = max(case.label_values.values(), default=0)
    table = np.zeros(256, np.uint8 if largest < 256 else np.uint16)
    image = sitk.Image(labels.GetSize(), sitk.sitkUInt8 if largest < 256 else sitk.sitkUInt16)
    image.CopyInformation(labels)
    for level, value in case.label_values.items():
        table[LEVEL_NUMBER[level]] = value
    for plane, out in zip(sitk.GetArrayViewFromImage(labels), writable_view(image), strict=True):
        np.take(table, plane, out=out)
    return image


def _write(image: sitk.Image, path: Path, compress: bool) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.SetUseCompression(compress)
    writer.SetCompressionLevel(FAST_GZIP_LEVEL)
    if not compress and shutil.disk_usage(path.parent).free < sitk.GetArrayViewFromImage(image).nbytes:
        # SimpleITK takes no notice when the disk fills up under a NIfTI file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    try:
        writer.Execute(image)
    except RuntimeError as error:
        reason = short_reason(error)
        raise HealthiVertError(
            f"{path}: the image cannot be written ({reason}); check the disk's space and permissions"
        ) from error


def _write_nifti_fast(image: sitk.Image, path: Path) -> None:
    """SimpleITK packs NIfTI at level 6 whatever it is asked, so it writes plain NIfTI, and ISA-L packs that: in a
    quarter of the time of gzip's fastest level, for 4 % more bytes on CT."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".nii", dir=path.parent)
    os.close(handle)
    try:
        _write(image, Path(name), compress=False)
        with open(name, "rb") as plain, igzip.GzipFile(path, "wb", mtime=0) as packed:
            shutil.copyfileobj(plain, packed, 1 << 22)
    finally:
        os.unlink(name)
