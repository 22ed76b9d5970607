"""Small scans written to disk, for the tests that read cases: five box-shaped lumbar vertebrae in soft tissue."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

SHAPE = (66, 40, 44)  # SI, AP, LR
SPACING = (2.0, 2.0, 2.5)  # LR, AP, SI in mm
ORIGIN = (-41.0, 12.5, -300.25)
VERTEBRA_ROWS, STEP_ROWS = 9, 13


def lumbar_numbers(values: tuple[int, ...] = (20, 21, 22, 23, 24)) -> NDArray[np.uint8]:
    """(SI, AP, LR) labels, first value at the top. Off the middle, so that no flip goes unnoticed."""
    labels = np.zeros(SHAPE, np.uint8)
    for index, value in enumerate(values):
        top = SHAPE[0] - 1 - STEP_ROWS * index
        labels[top - VERTEBRA_ROWS : top, 22:34, 12:28] = value
    return labels


def lumbar_hu(labels: NDArray | None = None) -> NDArray[np.int16]:
    """(SI, AP, LR) HU: air, soft tissue with noise, bone."""
    labels = lumbar_numbers() if labels is None else labels
    noise = np.random.default_rng(3).normal(0, 12, SHAPE)
    hu = np.full(SHAPE, -1000.0)
    hu[:, 4:38, 3:41] = 40 + noise[:, 4:38, 3:41]
    hu[labels > 0] = 220 + noise[labels > 0]
    return np.rint(hu).astype(np.int16)


def as_image(array: NDArray, orientation: str = "LPS", direction: NDArray | None = None) -> sitk.Image:
    """An image of an (SI, AP, LR) array on the common grid, in an orientation."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    if direction is not None:
        image.SetDirection(direction.ravel().tolist())
    return sitk.DICOMOrient(image, orientation)


def oblique_direction(degrees: float = 12.0) -> NDArray[np.float64]:
    """A rotation about two axes."""
    a, b = np.radians([degrees, degrees / 2])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_x @ about_z


def write(image: sitk.Image | NDArray, path: Path, compress: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(as_image(image) if isinstance(image, np.ndarray) else image, str(path), compress)
    return path


def shortened(path: Path, share: float = 0.6) -> Path:
    """The file cut off after a share of its bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def patched(path: Path, form: str, at: int, *values: float) -> Path:
    """The file with numbers of a struct format written over its bytes."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, at, *values)
    path.write_bytes(bytes(data))
    return path


def shaded_hu() -> NDArray[np.int16]:
    """With as many different values as a real CT."""
    return lumbar_hu() + np.arange(SHAPE[1], dtype=np.int16)[:, None] * np.int16(13)


def edited(path: Path, old: bytes, new: bytes) -> Path:
    """The file with its first `old` replaced."""
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def write_case(folder: Path, suffix: str = ".nii.gz", orientation: str = "LPS") -> tuple[Path, Path]:
    """A good CT and its VerSe mask."""
    ct = write(as_image(lumbar_hu(), orientation), folder / f"ct{suffix}")
    return ct, write(as_image(lumbar_numbers(), orientation), folder / f"seg{suffix}")


def write_slicer_segmentation(path: Path, layers: list[NDArray], segments: list[dict[str, str]]) -> Path:
    """A .seg.nrrd as 3D Slicer writes it: segments is a list of the fields after "SegmentN_"."""
    image = as_image(layers[0]) if len(layers) == 1 else sitk.Compose([as_image(layer) for layer in layers])
    for number, fields in enumerate(segments):
        for key, value in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    return write(image, path)


def write_dicom(
    folder: Path,
    hu: NDArray,
    *,
    tilt_degrees: float = 0.0,
    z: NDArray | None = None,
    series: int = 1,
    description: str = "spine",
    modality: str = "CT",
    stored_offset: int = 1024,
    image_type: str = "AXIAL",
    frames: int = 1,
) -> Path:
    """One CT series, a file per slice, with rescale intercept -stored_offset. z: mm of each slice along the table."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    tilt = np.radians(tilt_degrees)
    positions = np.arange(len(hu)) * SPACING[2] if z is None else z
    for index, (plane, along) in enumerate(zip(hu, positions, strict=True)):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{series}.{index + 1}"
        one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        one.PatientID, one.StudyInstanceUID = "P", "1.2.826.0.1.3680043.10.9"
        one.SeriesInstanceUID, one.SeriesDescription = f"1.2.826.0.1.3680043.10.2.{series}", description
        one.Modality, one.InstanceNumber, one.AcquisitionNumber = modality, index + 1, 1
        one.ImageType = ["ORIGINAL", "PRIMARY", image_type]
        one.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + float(along)]
        one.ImageOrientationPatient = [1, 0, 0, 0, np.cos(tilt), np.sin(tilt)]
        one.PixelSpacing, one.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        one.Rows, one.Columns = plane.shape[0] // frames, plane.shape[1]
        if frames > 1:
            one.NumberOfFrames = frames
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleSlope, one.RescaleIntercept = 1, -stored_offset
        one.PixelData = (plane.astype(np.int32) + stored_offset).astype(np.uint16).tobytes()
        pydicom.dcmwrite(folder / f"{series}_{index:03d}.dcm", one, enforce_file_format=True)
    return folder
