"""A DICOM folder gives the CT that was scanned: right series, right order, HU, a right-angled and even grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_files import ORIGIN, SHAPE, SPACING, as_image, lumbar_hu, lumbar_numbers, write, write_dicom

from healthivert.case import load_case, write_image
from healthivert.dicom import read_dicom
from healthivert.errors import HealthiVertError


def test_a_series_is_read_in_hu_and_in_its_place(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "scan", lumbar_hu())
    case = load_case(folder, write(lumbar_numbers(), tmp_path / "seg.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(case.ct), lumbar_hu())
    assert case.ct.GetSpacing() == pytest.approx(SPACING)
    assert case.ct.GetOrigin() == pytest.approx(ORIGIN)
    assert case.name == "scan"
    assert not case.warnings
    write_image(case.ct, tmp_path / "back.nii.gz", case)
    assert sitk.ReadImage(str(tmp_path / "back.nii.gz")).GetOrigin() == pytest.approx(ORIGIN, abs=1e-4)


def test_slices_are_ordered_by_place_not_by_name(tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(len(lumbar_hu()))
    folder = write_dicom(tmp_path / "scan", lumbar_hu()[order], z=order * SPACING[2])
    image, _ = read_dicom(folder)
    assert np.array_equal(sitk.GetArrayFromImage(image), lumbar_hu())


def test_the_largest_ct_series_is_chosen_and_said(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "study" / "a", lumbar_hu()[:20], series=1, description="thick").parent
    write_dicom(folder / "b", lumbar_hu(), series=2, description="thin")
    write_dicom(folder / "c", lumbar_hu(), series=3, modality="MR")
    (folder / "DICOMDIR").write_text("not an image")
    image, warnings = read_dicom(folder)
    assert image.GetSize()[2] == SHAPE[0]
    assert "'thin' (66 slices" in warnings[0]
    assert "'thick' (20)" in warnings[0]


@pytest.mark.parametrize("tilt", [15.0, -15.0])
def test_gantry_tilt_is_corrected_and_said(tmp_path: Path, tilt: float) -> None:
    """A ball-like block stored in sheared slices comes back where it is in the patient."""
    normal = np.array([0, -np.sin(np.radians(tilt)), np.cos(np.radians(tilt))])
    column = np.array([0, np.cos(np.radians(tilt)), np.sin(np.radians(tilt))])
    hu = np.full(SHAPE, 0, np.int16)
    centre = np.array([ORIGIN[0] + 40, ORIGIN[1] + 45, ORIGIN[2] + 80])
    for k in range(SHAPE[0]):
        rows = np.array(ORIGIN) + [0, 0, k * SPACING[2]] + np.arange(SHAPE[1])[:, None] * SPACING[1] * column
        x = ORIGIN[0] + np.arange(SHAPE[2]) * SPACING[0]
        points = np.stack(np.broadcast_arrays(x, rows[:, 1:2], rows[:, 2:3]), axis=-1)
        hu[k] = np.where(np.linalg.norm(points - centre, axis=-1) < 22, 1000, 0)
    image, warnings = read_dicom(write_dicom(tmp_path / "tilted", hu, tilt_degrees=tilt))
    assert "15.0 degrees" in warnings[0]
    axes = np.array(image.GetDirection()).reshape(3, 3)
    assert axes[:, 2] == pytest.approx(normal, abs=1e-6)
    assert image.GetSpacing()[2] == pytest.approx(SPACING[2] * np.cos(np.radians(tilt)))
    inside = np.argwhere(sitk.GetArrayFromImage(image) > 500)[:, ::-1]
    points = np.array([image.TransformIndexToPhysicalPoint(index.tolist()) for index in inside])
    assert points.mean(axis=0) == pytest.approx(centre, abs=0.3)
    for k in (0, SHAPE[0] - 1):
        for j in (0, SHAPE[1] - 1):
            corner = np.array(ORIGIN) + [0, 0, k * SPACING[2]] + j * SPACING[1] * column
            index = image.TransformPhysicalPointToContinuousIndex(corner.tolist())
            assert -0.5 <= index[1] <= image.GetSize()[1] - 0.5, "no part of a slice is lost"
    assert np.ptp(points, axis=0) == pytest.approx([44, 44, 44], abs=4.5)


def test_one_missing_slice_is_interpolated_and_said(tmp_path: Path) -> None:
    keep = np.delete(np.arange(66), 30)
    hu = np.broadcast_to((np.arange(66) * 10 - 300)[:, None, None], SHAPE).astype(np.int16)
    image, warnings = read_dicom(write_dicom(tmp_path / "gap", hu[keep], z=keep * 2.5))
    assert np.array_equal(sitk.GetArrayFromImage(image), hu)
    assert "resampled every 2.50 mm" in warnings[0]


def test_rounded_slice_positions_are_no_irregularity(tmp_path: Path) -> None:
    z = np.round(np.arange(66) * 2.53, 1)
    image, warnings = read_dicom(write_dicom(tmp_path / "rounded", lumbar_hu(), z=z))
    assert not warnings
    assert image.GetSpacing()[2] == pytest.approx(2.53, abs=0.01)


def test_slices_that_wander_sideways_are_refused(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "a", lumbar_hu()[:33])
    import pydicom

    for file in sorted(folder.iterdir())[15:]:
        one = pydicom.dcmread(file)
        one.ImagePositionPatient = [one.ImagePositionPatient[0] + 30, *one.ImagePositionPatient[1:]]
        one.save_as(file)
    with pytest.raises(HealthiVertError, match="on one line"):
        read_dicom(folder)


def test_a_damaged_slice_is_interpolated_and_said(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "cut", lumbar_hu())
    file = folder / "1_010.dcm"
    file.write_bytes(file.read_bytes()[:1500])
    case = load_case(folder, write(as_image(lumbar_numbers()), tmp_path / "seg.nrrd"))
    assert case.ct.GetSize()[2] == SHAPE[0]
    assert any("1_010.dcm" in words for words in case.warnings)
    assert any("resampled every 2.50 mm" in words for words in case.warnings)
