"""Image files, read with SimpleITK after everything that it reads without a word has been looked for.

In: a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .seg.nrrd, .nhdr) or MetaImage (.mha, .mhd) file. Out: the 3D image on its own
grid, with warnings. Raises HealthiVertError for whatever is wrong with the file or its grid.

SimpleITK fills what a truncated MetaImage lacks with zeros, takes a spacing of 0 for 1 and a negative one for its
absolute value, so its header is read here first (ITK MetaIO format description), as that of a NIfTI is in nifti.py.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from healthivert.errors import HealthiVertError, complaint
from healthivert.nifti import (
    CHUNK_BYTES,
    UNORIENTED,
    check_length,
    check_nifti,
    check_spacing_told_twice,
    with_missing_voxels,
)

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
FORMATS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd, .seg.nrrd), MetaImage (.mha, .mhd) or a folder with a DICOM series"
BIDS_SUBJECT = "sub-"  # begins the name of a person in names of files and folders
SPACING_RANGE_MM = (0.05, 10.0)  # no CT is finer or coarser: beyond it the unit is wrong
COARSE_SPACING_MM = 3.5  # beyond it thirds change by 2 mm and more: measured on VerSe 005, slices of 5 mm
DIRECTION_TOLERANCE = 1e-3
META_BYTES = {
    "MET_CHAR": 1,
    "MET_SHORT": 2,
    "MET_INT": 4,
    "MET_LONG": 4,
    "MET_LONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}


@contextmanager
def blamed_on_orientation(warnings: Sequence[str]) -> Iterator[None]:
    """Adds to what is refused in it that an image does not say how it is oriented, if one of the warnings is that."""
    try:
        yield
    except HealthiVertError as error:
        if any(UNORIENTED in warning for warning in warnings):
            raise HealthiVertError(f"{error}; or give images that say how they are oriented: not all do") from error
        raise


def suffix_of(path: Path) -> str:
    """The image suffix of a file name, lower case, "" if it is none of SUFFIXES."""
    name = path.name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def stem_of(path: Path) -> str:
    """The file name without its image suffix (ct.nii.gz -> ct, spine.seg.nrrd -> spine)."""
    stem = path.name[: -len(suffix_of(path))] if suffix_of(path) else path.name
    return stem[:-4] if stem.lower().endswith(".seg") else stem


def _check_metaimage(path: Path) -> list[str]:
    fields, start = _metaimage_fields(path)
    try:
        shape = [int(size) for size in fields["dimsize"].split()]
        spacing = [float(size) for size in fields.get("elementspacing", "1").split()]
        voxel = META_BYTES.get(fields["elementtype"].replace("_UCHAR", "_CHAR").replace("_U", "_"), 1)
        channels = int(fields.get("elementnumberofchannels", "1"))
    except (KeyError, ValueError) as error:
        raise complaint(path, f"the MetaImage header is damaged ({error})", "export the image again") from error
    if not all(np.isfinite(spacing)) or min(spacing) <= 0:
        sizes = " x ".join(f"{value:g}" for value in spacing)
        raise complaint(path, f"the voxel spacing is {sizes} mm", "correct ElementSpacing or export the image again")
    needed = int(np.prod(shape, dtype=np.int64)) * voxel * channels
    data_name = fields.get("elementdatafile", "LOCAL")
    local = data_name.upper() == "LOCAL"
    data = path if local else path.parent / data_name
    if not local and not data.is_file():
        raise complaint(path, f"its data file {data_name} is missing", "put it beside the header")
    packed = fields.get("compresseddata", "false").lower() == "true"
    offset = start if local else 0
    check_length(data, needed, _inflated_bytes(data, offset) if packed else data.stat().st_size - offset)
    return []


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """The header's "key = value" lines with lower-case keys, and where the data begin."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                raise complaint(path, "this is not a MetaImage file, whatever its name says", "export the image again")
            fields[key.strip().lower()] = value.strip()
            if key.strip().lower() == "elementdatafile":
                break
        return fields, file.tell()


def _inflated_bytes(path: Path, start: int) -> int:
    unpack, total = zlib.decompressobj(47), 0  # 47: zlib or gzip, told by the stream itself
    try:
        with path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK_BYTES):
                total += len(unpack.decompress(chunk))
    except zlib.error as error:
        raise complaint(path, f"the compressed data are damaged ({error})", "copy or export the file again") from error
    return total


def _check_nrrd(path: Path) -> list[str]:
    with path.open("rb") as file:
        if file.read(4) != b"NRRD":
            raise complaint(path, "this is not an NRRD file, whatever its name says", "export the image again")
    return []  # SimpleITK itself refuses a truncated or damaged NRRD


def read_image(path: Path, layered: bool = False) -> tuple[sitk.Image, list[str]]:
    """Read one image file.

    layered: accept several values per voxel (the layers of a Slicer segmentation).
    Returns the 3D image on its own grid, and warnings. Raises HealthiVertError (see the module).
    """
    suffix = suffix_of(path)
    check_file(path)
    if not suffix:
        raise complaint(
            path, f"the file type {''.join(path.suffixes[-2:]) or '(none)'} is not supported", f"give {FORMATS}"
        )
    missing = False
    if suffix.startswith(".ni"):
        warnings, missing = check_nifti(path)
    else:
        warnings = _check_metaimage(path) if suffix.startswith(".m") else _check_nrrd(path)
    image = sitk_read(path, layered)
    if missing:
        image = with_missing_voxels(image, path)
    image, more = single_volume(image, path)
    warnings += more
    if image.GetNumberOfComponentsPerPixel() == 1 and "complex" in image.GetPixelIDTypeAsString():
        raise complaint(path, "the voxels are complex numbers", "export the image as plain CT numbers")
    warnings += check_grid(image, path)
    if suffix.startswith(".ni"):
        check_spacing_told_twice(path)
    return image, warnings


def check_name(path: Path) -> None:
    """Raise HealthiVertError for a name that is not UTF-8, at which SimpleITK would abort the whole process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = Path(str(path).encode(errors="surrogateescape").decode(errors="replace"))
        raise complaint(shown, "the name of the file or of a folder above it is not UTF-8", "rename it") from None


def check_file(path: Path) -> None:
    """Raise HealthiVertError unless the path is a file with something in it that may be read."""
    check_name(path)
    if not path.exists():
        raise complaint(path, "there is no such file or folder", "check the path")
    if not path.is_file():
        raise complaint(path, "this is not an image file", f"give {FORMATS}")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise complaint(path, "the file is empty", "copy or export it again")
    except OSError as error:
        raise complaint(path, f"the file cannot be read ({error.strerror})", "check its permissions") from error


def sitk_read(path: Path, layered: bool) -> sitk.Image:
    """SimpleITK's reader, with its errors told in one line and refusing several values per voxel unless layered."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings would stand between the user and our line
    reader = sitk.ImageFileReader()
    with _without_its_twin(path) as file:
        reader.SetFileName(str(file))
        return _executed(reader, path, layered)


@contextmanager
def _without_its_twin(path: Path) -> Iterator[Path]:
    """A path to read an image at. Of an X.nii.gz beside an X.nii the NIfTI library would take the other's voxels."""
    if not path.name.lower().endswith(".nii.gz") or not path.with_suffix("").exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copy(path, folder))


def _executed(reader: sitk.ImageFileReader, path: Path, layered: bool) -> sitk.Image:
    try:
        reader.ReadImageInformation()
        components = reader.GetNumberOfComponents()
        if components > 1 and not layered:
            raise complaint(
                path, f"each voxel has {components} values (a colour or vector image)", "give a plain CT or label image"
            )
        return reader.Execute()
    except RuntimeError as error:
        reason = short_reason(error)
        if "orthonormal" in reason or "Bad direction" in reason:
            raise complaint(
                path, "the orientation matrix is singular or sheared", "resample or export the image again"
            ) from error
        raise complaint(path, f"the file is damaged or no image ({reason})", "copy or export it again") from error


def short_reason(error: RuntimeError) -> str:
    """What SimpleITK says is wrong, without its file names, line numbers and addresses."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if "ERROR" in line), lines[-1] if lines else "unknown reason")
    return re.sub(r"\w+\(0x[0-9a-f]+\): *", "", re.sub(r"^.*?ERROR: *", "", told))


def single_volume(image: sitk.Image, path: Path) -> tuple[sitk.Image, list[str]]:
    """The only volume of a 3D or 4D image. Raises HealthiVertError if it is 2D or has several volumes."""
    size = image.GetSize()
    if len(size) < 3 or 1 in size[:3]:
        raise complaint(path, f"this is a 2D image ({' x '.join(map(str, size))})", "give the whole 3D volume")
    if len(size) == 3:
        return image, []
    if (volumes := int(np.prod(size[3:]))) > 1:
        raise complaint(
            path, f"this is a {len(size)}D image with {volumes} volumes", "export the one volume to use as 3D"
        )
    return sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)]), [
        f"{path.name} is stored as {len(size)}D with one volume: that one is used"
    ]


def check_grid(image: sitk.Image, path: Path) -> list[str]:
    """Raise HealthiVertError for a spacing or direction that cannot be; warn of a coarse one."""
    spacing = image.GetSpacing()
    sizes = " x ".join(f"{value:g}" for value in spacing)
    low, high = SPACING_RANGE_MM
    if not all(low <= value <= high for value in spacing):
        raise complaint(
            path,
            f"the voxel spacing is {sizes} mm",
            f"CT lies between {low:g} and {high:g} mm: correct the header's unit or spacing",
        )
    direction = np.array(image.GetDirection()).reshape(3, 3)
    if not np.isfinite(direction).all() or not np.isfinite(image.GetOrigin()).all():
        raise complaint(path, "the orientation or origin holds NaN or infinity", "export the image again")
    if np.abs(direction.T @ direction - np.eye(3)).max() > DIRECTION_TOLERANCE:
        raise complaint(path, "the orientation matrix is singular or sheared", "resample or export the image again")
    if max(spacing) > COARSE_SPACING_MM:
        return [f"{path.name} has voxels of {sizes} mm: heights measured on it are coarse"]
    return []
