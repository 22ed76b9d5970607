"""What a NIfTI file says of itself, and whether all of it is there.

SimpleITK fills what a truncated file lacks with zeros, takes a spacing of 0 for 1, a negative one for its absolute
value, and NaN for 0, so the header is read here first. By nifti1.h and nifti2.h of the NIfTI-1/2 standard.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from isal import igzip, isal_zlib

from healthivert.errors import complaint

SPACING_TOLERANCE = 0.01  # between the two places of a NIfTI header that tell it; beyond it a height is wrong
UNORIENTED = "does not say how it is oriented"
CHUNK_BYTES = 1 << 20
NIFTI_FLOATS = {16: "f4", 64: "f8"}  # datatype of the header: the voxels that can be NaN
GZIP_MAGIC = b"\x1f\x8b"
# what reading raises of a file that is not what it should be; isal's stubs take its class for an exception
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error, struct.error)  # type: ignore[assignment]


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed of a NIfTI header; extension holds the bytes between it and the voxels."""

    shape: tuple[int, ...]
    number: str  # numpy's name of the voxels' number type where it is a float's, else ""
    voxel_bytes: int
    spacing: tuple[float, ...]
    data_offset: int
    quaternion: tuple[float, ...]  # with its offsets; () where it is not in use
    rows: tuple[float, ...]  # of the matrix, 3 x 4; () where it is not in use
    extension: bytes


def open_maybe_gzip(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return igzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read a NIfTI-1 or -2 header of either byte order. Raises HealthiVertError if it is none."""
    try:
        with open_maybe_gzip(path) as file:
            head = file.read(540)
            order = next(
                (o for o in "<>" if len(head) >= 352 and struct.unpack(o + "i", head[:4])[0] in (348, 540)), ""
            )
            if not order:
                raise complaint(path, "this is not a NIfTI file, whatever its name says", "export the image again")
            header = _nifti_fields(head, order)
            extension = file.read(min(max(header["offset"] - len(head), 0), CHUNK_BYTES))
    except DAMAGED as error:
        raise complaint(path, f"the file is damaged ({error})", "copy or export it again") from error
    dim = header["dim"]
    if not 1 <= dim[0] <= 7 or min(dim[1 : 1 + dim[0]]) < 1:
        raise complaint(path, f"the NIfTI header has impossible sizes {dim[1:]}", "export the image again")
    return NiftiHeader(
        shape=tuple(dim[1 : 1 + dim[0]]),
        number=order + NIFTI_FLOATS[header["kind"]] if header["kind"] in NIFTI_FLOATS else "",
        voxel_bytes=header["bits"] // 8,
        spacing=header["pixdim"][1:4],
        data_offset=header["offset"],
        quaternion=header["quaternion"] if header["qform"] > 0 else (),
        rows=header["rows"] if header["sform"] > 0 else (),
        extension=head[352:] + extension if len(head) == 540 else extension,
    )


def _nifti_fields(head: bytes, order: str) -> dict:
    """The header's numbers by name, from the byte offsets of nifti1.h and nifti2.h."""
    second = struct.unpack(order + "i", head[:4])[0] == 540

    def numbers(form: str, at: int) -> tuple:
        return struct.unpack_from(order + form, head, at)

    if second:
        layout = {
            "dim": ("8q", 16),
            "bits": ("h", 14),
            "kind": ("h", 12),
            "pixdim": ("8d", 104),
            "offset": ("q", 168),
            "qform": ("i", 344),
        }
        layout |= {"sform": ("i", 348), "quaternion": ("6d", 352), "rows": ("12d", 400)}
    else:
        layout = {"dim": ("8h", 40), "bits": ("h", 72), "pixdim": ("8f", 76), "offset": ("f", 108), "qform": ("h", 252)}
        layout |= {"kind": ("h", 70), "sform": ("h", 254), "quaternion": ("6f", 256), "rows": ("12f", 280)}
    fields: dict = {name: numbers(*where) for name, where in layout.items()}
    for name in ("bits", "kind", "offset", "qform", "sform"):
        fields[name] = int(fields[name][0])
    return fields


def check_nifti(path: Path) -> tuple[list[str], bool]:
    """Warnings, and whether voxels are NaN or infinite: SimpleITK gives 0 for them. Raises HealthiVertError for a file
    that is damaged, or cut short, or whose header cannot be."""
    header = read_nifti_header(path)
    if not all(np.isfinite(header.spacing)) or min(header.spacing[: len(header.shape)]) <= 0:
        sizes = " x ".join(f"{value:g}" for value in header.spacing)
        raise complaint(
            path, f"the voxel spacing is {sizes} mm", "correct pixdim in the header or export the image again"
        )
    if not all(np.isfinite(header.quaternion + header.rows)):
        raise complaint(path, "the orientation matrix holds NaN or infinity", "export the image again")
    needed = header.data_offset + int(np.prod(header.shape, dtype=np.int64)) * header.voxel_bytes
    present, missing = _unpacked(path, header)
    check_length(path, needed, present)
    if header.quaternion or header.rows:
        return [], missing
    return [f"{path.name} {UNORIENTED} (qform and sform codes are 0): LPS axes of its grid are assumed"], missing


def check_length(path: Path, needed: int, present: int) -> None:
    """Raises HealthiVertError for an image file of fewer bytes than its header says."""
    if present < needed:
        share = 100 * present / needed
        raise complaint(
            path, f"the file is truncated: {share:.0f} % of its {needed} bytes are there", "copy or export it again"
        )


def check_spacing_told_twice(path: Path) -> None:
    """Raises HealthiVertError where the header's pixdim, which SimpleITK takes, and its matrix, which others take, tell
    different spacings: nobody knows which heights are right."""
    header = read_nifti_header(path)
    if not header.rows:
        return
    of_matrix = np.linalg.norm(np.reshape(header.rows, (3, 4))[:, :3], axis=0)
    if np.abs(of_matrix / header.spacing - 1).max() > SPACING_TOLERANCE:
        pixdim, matrix = (" x ".join(f"{value:.4g}" for value in sizes) for sizes in (header.spacing, of_matrix))
        found = f"the header contradicts itself: voxels of {pixdim} mm by pixdim, of {matrix} mm by its matrix (sform)"
        raise complaint(path, found, "correct the header or export the image again")


def _unpacked(path: Path, header: NiftiHeader) -> tuple[int, bool]:
    """Bytes in the file after unpacking, and whether one of its voxels is not finite. Reading to the end is what finds
    a cut or damaged gzip stream (its CRC)."""
    if not isinstance(file := open_maybe_gzip(path), gzip.GzipFile) and not header.number:
        file.close()
        return path.stat().st_size, False
    total, missing, voxels = 0, False, bytearray()
    try:
        with file:
            while content := file.read(CHUNK_BYTES):
                if header.number:
                    voxels += content[max(0, header.data_offset - total) :]
                    whole = len(voxels) // header.voxel_bytes * header.voxel_bytes
                    missing |= not np.isfinite(np.frombuffer(voxels[:whole], header.number)).all()
                    del voxels[:whole]
                total += len(content)
    except EOFError as error:
        raise complaint(
            path, "the file is truncated (its compressed data break off)", "copy or export it again"
        ) from error
    except DAMAGED as error:
        raise complaint(path, f"the compressed data are damaged ({error})", "copy or export the file again") from error
    return total, missing


def with_missing_voxels(image: sitk.Image, path: Path) -> sitk.Image:
    """image with NaN wherever the NIfTI file has NaN or infinity."""
    header = read_nifti_header(path)
    with open_maybe_gzip(path) as file:
        file.seek(header.data_offset)
        stored = np.frombuffer(file.read(int(np.prod(header.shape)) * header.voxel_bytes), header.number)
    voxels = sitk.GetArrayFromImage(image).astype(np.float32)
    voxels[~np.isfinite(stored).reshape(voxels.shape)] = np.nan
    told = sitk.GetImageFromArray(voxels, isVector=False)
    told.CopyInformation(image)
    return told
