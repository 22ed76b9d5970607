"""A folder with DICOM files -> one CT volume on a regular, orthogonal grid in HU.

In: a folder (searched with its subfolders). Out: the largest axial CT series as a 3D image, with warnings. Raises
HealthiVertError if there is no CT, if slices are missing or if they do not line up. Geometry: ImagePositionPatient,
ImageOrientationPatient and PixelSpacing as in DICOM PS3.3 C.7.6.2; SimpleITK's GDCM reader applies the rescale slope
and intercept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from healthivert.errors import complaint
from healthivert.image_files import check_grid, check_name, short_reason

FEWEST_SLICES = 8
AXIAL_COSINE = 0.7
SAME_POSITION_MM = 0.01
EVEN_STEP_TOLERANCE = 0.05  # of the slice step: scanners round positions to 0.1 mm or worse
LARGEST_BRIDGED_STEPS = 2.1  # one missing slice is interpolated,
LARGEST_BRIDGED_MM = 6.0  # unless the gap could hide an endplate
LARGEST_TILT_DEGREES = 35.0  # scanner gantries end at 30


@dataclass(frozen=True)
class _Slice:
    file: Path
    series: str
    description: str
    modality: str
    localizer: bool
    acquisition: str
    size: tuple[int, int]  # columns, rows
    frames: int
    spacing: tuple[float, float]
    position: NDArray[np.float64]
    row: NDArray[np.float64]  # direction in which the column index grows
    column: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.row, self.column)

    @property
    def stack(self) -> tuple:
        """Slices with the same key can form one volume."""
        return self.series, self.size, self.spacing, tuple(np.round([*self.row, *self.column], 3))


def is_dicom_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom(folder: Path) -> tuple[sitk.Image, list[str]]:
    """Read the largest axial CT series of a folder. Returns the image and warnings."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    for path in (folder, *files):
        check_name(path)
    headers = {file: _read_header(file) for file in files}
    found = [one for one in headers.values() if one]
    if not found:
        raise complaint(folder, "the folder holds no DICOM image", "give the folder of a CT series or an image file")
    stack, warnings = _choose([one for one in found if one.frames == 1], found, folder)
    unread = [file.name for file, one in headers.items() if one is None and is_dicom_file(file)]
    if unread:
        words = f"{len(unread)} of the DICOM files are damaged or hold no slice, such as {unread[0]}"
        warnings.append(f"{folder.name}: {words}")
    stack = _in_order(stack, folder)
    image, more = _volume(stack, folder)
    return image, warnings + more + check_grid(image, folder)


def _read_header(file: Path) -> _Slice | None:
    """The slice's header, None if the file is no DICOM image with a place in the patient."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None  # other files lie in such folders: DICOMDIR, reports, viewers

    def tag(key: str) -> str:
        return reader.GetMetaData(key).strip().strip("\0") if reader.HasMetaDataKey(key) else ""

    def numbers(key: str) -> list[float]:
        return [float(part) for part in tag(key).split("\\") if part.strip()]

    size, spacing = (*reader.GetSize(), 1), reader.GetSpacing()
    position, axes = numbers("0020|0032"), numbers("0020|0037")
    if size[2] == 1 and (len(position) != 3 or len(axes) != 6):
        return None
    return _Slice(
        file=file,
        series=tag("0020|000e"),
        description=tag("0008|103e") or "no description",
        modality=tag("0008|0060"),
        localizer="LOCALIZER" in tag("0008|0008").upper(),
        acquisition=tag("0020|0012"),
        size=(size[0], size[1]),
        frames=size[2],
        spacing=(spacing[0], spacing[1]),
        position=np.array(position),
        row=np.array(axes[:3]),
        column=np.array(axes[3:]),
    )


def _choose(slices: Sequence[_Slice], found: Sequence[_Slice], folder: Path) -> tuple[list[_Slice], list[str]]:
    """The largest stack of CT slices, an axial one if there is any."""
    stacks: dict[tuple, list[_Slice]] = defaultdict(list)
    for one in slices:
        if one.modality in ("CT", "") and not one.localizer:
            stacks[one.stack].append(one)
    usable = [stack for stack in stacks.values() if len(stack) >= FEWEST_SLICES]
    if not usable and len(slices) < len(found):
        raise complaint(
            folder, "the DICOM image is multi-frame", "convert it to NIfTI (dcm2niix) or to one file per slice"
        )
    if not usable:
        kinds = ", ".join(sorted({one.modality or "unknown" for one in found}))
        found_words = (
            f"no CT series of at least {FEWEST_SLICES} slices among its {len(found)} images (modality {kinds})"
        )
        raise complaint(folder, found_words, "give the folder of the axial CT series, not of a localizer or one slice")
    best = max(usable, key=lambda stack: (abs(stack[0].normal[2]) > AXIAL_COSINE, len(stack)))
    if len(usable) == 1:
        return best, []
    names = ", ".join(f"'{stack[0].description}' ({len(stack)})" for stack in usable if stack is not best)
    used = f"'{best[0].description}' ({len(best)} slices, series {best[0].series})"
    return best, [f"{folder.name} holds {len(usable)} CT series: {used} was used, not {names}"]


def _in_order(stack: list[_Slice], folder: Path) -> list[_Slice]:
    """From first to last along the normal. A place that is there twice is settled by the acquisition number."""
    stack = sorted(stack, key=lambda one: float(one.position @ stack[0].normal))
    if _steps(stack).min() > SAME_POSITION_MM:
        return stack
    acquisitions: dict[str, list[_Slice]] = defaultdict(list)
    for one in stack:
        acquisitions[one.acquisition].append(one)
    stack = max(acquisitions.values(), key=len)
    if len(stack) < FEWEST_SLICES or _steps(stack).min() <= SAME_POSITION_MM:
        raise complaint(
            folder, "slices of one CT series lie at the same place", "keep one reconstruction in the folder"
        )
    return stack


def _along(stack: Sequence[_Slice]) -> NDArray[np.float64]:
    return np.array([(one.position - stack[0].position) @ stack[0].normal for one in stack])


def _steps(stack: Sequence[_Slice]) -> NDArray[np.float64]:
    return np.diff(_along(stack))


def _volume(stack: Sequence[_Slice], folder: Path) -> tuple[sitk.Image, list[str]]:
    """Pixels, regular along the normal, and without the shear of a tilted gantry."""
    step, warnings = _even_step(stack, folder)
    shear = _shear(stack, folder)
    image = _pixels([one.file for one in stack], folder)
    if warnings:
        image = _resampled_evenly(image, _along(stack), step)
    image.SetOrigin(stack[0].position.tolist())
    image.SetDirection(np.column_stack([stack[0].row, stack[0].column, stack[0].normal]).ravel().tolist())
    image.SetSpacing([*stack[0].spacing, step])
    drift = np.abs(shear).max() * _along(stack)[-1]
    if drift > 0.5 * min(stack[0].spacing):
        degrees = float(np.degrees(np.arctan(np.linalg.norm(shear))))
        warnings.append(
            f"{folder.name}: the gantry was tilted by {degrees:.1f} degrees; resampled to a right-angled grid"
        )
        image = _without_shear(image, stack[0], shear)
    return image, warnings


def _even_step(stack: Sequence[_Slice], folder: Path) -> tuple[float, list[str]]:
    """The slice step in mm, with a warning if slices must be interpolated to get it. Raises for gaps too large."""
    steps = _steps(stack)
    step = float(np.median(steps))
    if np.abs(steps - step).max() <= EVEN_STEP_TOLERANCE * step:
        return float(steps.mean()), []
    largest = int(np.argmax(steps))
    at = f"between {stack[largest].file.name} and {stack[largest + 1].file.name}"
    if steps[largest] > min(LARGEST_BRIDGED_STEPS * step, LARGEST_BRIDGED_MM):
        found = f"slices are missing: {steps[largest]:.1f} mm {at}, {step:.1f} mm elsewhere"
        raise complaint(folder, found, "copy the whole series again or resample it to even slices")
    return step, [
        f"{folder.name}: slices lie unevenly (up to {steps[largest]:.1f} mm {at}); resampled every {step:.2f} mm"
    ]


def _shear(stack: Sequence[_Slice], folder: Path) -> NDArray[np.float64]:
    """In-plane drift (3,) in mm of the slice origin per mm along the normal: the tangent of the gantry's tilt."""
    along = _along(stack)
    offsets = np.array([one.position - stack[0].position for one in stack]) - along[:, None] * stack[0].normal
    shear = offsets[-1] / along[-1]
    if np.abs(offsets - along[:, None] * shear).max() > max(1.0, max(stack[0].spacing)):
        raise complaint(
            folder, "the slices do not lie behind each other on one line", "keep one series with one table position"
        )
    if np.degrees(np.arctan(np.linalg.norm(shear))) > LARGEST_TILT_DEGREES:
        raise complaint(
            folder, "the slices are sheared by more than a gantry can tilt", "export the CT again as a volume"
        )
    return shear


def _pixels(files: Sequence[Path], folder: Path) -> sitk.Image:
    try:
        reader = sitk.ImageSeriesReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileNames([str(file) for file in files])
        return reader.Execute()
    except RuntimeError as error:
        raise complaint(
            folder, f"its DICOM pixels cannot be read ({short_reason(error)})", "copy the series again"
        ) from error


def _resampled_evenly(image: sitk.Image, along: NDArray[np.float64], step: float) -> sitk.Image:
    """Linear interpolation between the slices at `along` mm to slices every `step` mm."""
    planes = sitk.GetArrayViewFromImage(image)
    targets = np.arange(0, along[-1] + SAME_POSITION_MM, step)
    below = np.clip(np.searchsorted(along, targets, side="right") - 1, 0, len(along) - 2)
    weight = np.clip((targets - along[below]) / (along[below + 1] - along[below]), 0, 1)
    even = np.empty((len(targets), *planes.shape[1:]), planes.dtype)
    for out, first, part in zip(even, below, weight, strict=True):
        mixed = (1 - part) * planes[first] + part * planes[first + 1]
        out[:] = np.rint(mixed) if even.dtype.kind in "iu" else mixed
    return sitk.GetImageFromArray(even)


def _without_shear(image: sitk.Image, first: _Slice, shear: NDArray[np.float64]) -> sitk.Image:
    """Resample a stack whose slices drift by `shear` onto the right-angled grid that holds all of it.

    A point p of the patient is stored at p - shear * (distance of p along the normal): one affine transform. Beyond the
    stack is what is lowest in it: air, in Hounsfield units or not.
    """
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((np.eye(3) - np.outer(shear, first.normal)).ravel().tolist())
    transform.SetCenter(first.position.tolist())
    spacing, size, origin = image.GetSpacing(), list(image.GetSize()), first.position.copy()
    depth = (size[2] - 1) * spacing[2]
    for axis, direction in enumerate((first.row, first.column)):
        drift = float(shear @ direction) * depth
        origin += min(0.0, drift) * direction
        size[axis] += int(np.ceil(abs(drift) / spacing[axis]))
    return sitk.Resample(
        image,
        size,
        transform,
        sitk.sitkLinear,
        origin.tolist(),
        spacing,
        image.GetDirection(),
        float(sitk.GetArrayViewFromImage(image).min()),
        image.GetPixelID(),
    )
