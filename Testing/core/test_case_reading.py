"""A case reads the same whatever its format, orientation, number type or grid, and goes back as it came."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_files import (
    SHAPE,
    as_image,
    lumbar_hu,
    lumbar_numbers,
    oblique_direction,
    patched,
    shaded_hu,
    write,
    write_case,
)
from command_line_case import write_spine
from conftest import block_spine, lumbar_blocks

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import find_bodies
from healthivert.case import load_case, load_labels, write_image
from healthivert.image_files import read_image
from healthivert.types import SpineCase

LUMBAR = ("L1", "L2", "L3", "L4", "L5")
ORIENTATIONS = ["".join(o) for axes in permutations(("RL", "AP", "IS")) for o in product(*axes)]


def same_grid(one: sitk.Image, other: sitk.Image, tolerance: float = 1e-4) -> bool:
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, what)(), getattr(other, what)(), atol=tolerance)
        for what in ("GetSpacing", "GetOrigin", "GetDirection")
    )


def arrays(case: SpineCase) -> tuple[np.ndarray, np.ndarray]:
    return sitk.GetArrayFromImage(case.ct), sitk.GetArrayFromImage(case.labels)


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_the_same_case_and_goes_back_to_its_own_grid(tmp_path: Path, orientation: str) -> None:
    ct, seg = write_case(tmp_path, ".nrrd", orientation)
    case = load_case(ct, seg)
    hu, numbers = arrays(case)
    assert case.orientation == orientation
    assert same_grid(case.ct, as_image(lumbar_hu()))
    assert np.array_equal(hu, lumbar_hu())
    assert np.array_equal(numbers, lumbar_numbers())
    write_image(case.ct, tmp_path / "back.nii.gz", case)
    before, after = sitk.ReadImage(str(ct)), sitk.ReadImage(str(tmp_path / "back.nii.gz"))
    assert same_grid(before, after)
    assert np.array_equal(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_every_format_gives_the_same_case(tmp_path: Path, suffix: str) -> None:
    case = load_case(*write_case(tmp_path, suffix))
    assert case.levels == LUMBAR
    assert case.name == tmp_path.name  # every case's CT may be called ct
    assert not case.warnings
    assert np.array_equal(arrays(case)[0], lumbar_hu())


@pytest.mark.parametrize("pixel", [sitk.sitkInt32, sitk.sitkFloat32, sitk.sitkFloat64])
def test_every_ct_number_type_gives_int16_hu(tmp_path: Path, pixel: int) -> None:
    _, seg = write_case(tmp_path)
    ct = write(sitk.Cast(as_image(lumbar_hu()), pixel), tmp_path / "typed.nii.gz")
    case = load_case(ct, seg)
    assert case.ct.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(arrays(case)[0], lumbar_hu())


def test_float_values_are_rounded_to_the_nearest_hu(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    ct = write(lumbar_hu().astype(np.float32) + np.float32(0.4), tmp_path / "fraction.nrrd")
    assert np.array_equal(arrays(load_case(ct, seg))[0], lumbar_hu())


def test_values_beyond_the_scale_are_clipped(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    hu = lumbar_hu()
    hu[0, 0, 0], hu[0, 0, 1] = -3024, 30000
    seen, _ = arrays(load_case(write(hu, tmp_path / "wide.nrrd"), seg))
    assert (seen.min(), seen.max()) == (-1024, 3071)


def test_a_ct_stored_without_its_intercept_is_shifted_and_said(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    hu = lumbar_hu()
    hu[40:50, 10:14, 5:10] = 1200
    case = load_case(write((hu + 1024).clip(0).astype(np.uint16), tmp_path / "stored.nrrd"), seg)
    assert np.array_equal(arrays(case)[0], hu)
    assert any("1024 was subtracted" in words for words in case.warnings)


def test_an_oblique_scan_keeps_its_grid_there_and_back(tmp_path: Path) -> None:
    ct = write(as_image(lumbar_hu(), "LAS", oblique_direction()), tmp_path / "ct.nii.gz")
    seg = write(as_image(lumbar_numbers(), "LAS", oblique_direction()), tmp_path / "seg.nii.gz")
    case = load_case(ct, seg)
    assert not case.warnings
    write_image(case.ct, tmp_path / "back.nii.gz", case)
    write_image(case.labels, tmp_path / "labels.nii.gz", case, labels=True)
    for name, original in (("back", ct), ("labels", seg)):
        before, after = sitk.ReadImage(str(original)), sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))
        assert same_grid(before, after)
        assert np.array_equal(sitk.GetArrayFromImage(before), sitk.GetArrayFromImage(after))


def test_a_mask_on_another_grid_is_brought_to_the_ct_and_said(tmp_path: Path) -> None:
    ct, _ = write_case(tmp_path)
    seg = write(as_image(lumbar_numbers())[5:40, 10:38, 2:], tmp_path / "cropped.nii.gz")
    case = load_case(ct, seg)
    assert np.array_equal(arrays(case)[1][2:], lumbar_numbers()[2:])
    assert any("another grid" in words for words in case.warnings)


def test_a_mask_on_a_rotated_grid_lands_on_the_same_anatomy(tmp_path: Path) -> None:
    ct, _ = write_case(tmp_path)
    straight = as_image(lumbar_numbers())
    finer = sitk.Image(110, 110, 190, sitk.sitkUInt8)
    finer.SetSpacing((1.0, 1.0, 1.0))
    finer.SetDirection(oblique_direction(8).ravel().tolist())
    centre = np.array(straight.TransformContinuousIndexToPhysicalPoint([s / 2 for s in straight.GetSize()]))
    half = np.array(finer.GetDirection()).reshape(3, 3) @ (np.array(finer.GetSize()) / 2)
    finer.SetOrigin((centre - half).tolist())
    seg = write(sitk.Resample(straight, finer, sitk.Transform(), sitk.sitkNearestNeighbor), tmp_path / "turned.nrrd")
    numbers = arrays(load_case(ct, seg))[1]
    both = np.count_nonzero((numbers == lumbar_numbers()) & (numbers > 0))
    assert 2 * both / (np.count_nonzero(numbers) + np.count_nonzero(lumbar_numbers())) > 0.9


def test_a_4d_file_with_one_volume_is_read_and_said(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    ct = write(sitk.JoinSeries(as_image(lumbar_hu())), tmp_path / "4d.mha")
    case = load_case(ct, seg)
    assert np.array_equal(arrays(case)[0], lumbar_hu())
    assert any("4D" in words for words in case.warnings)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_a_few_nan_become_air_and_are_said(tmp_path: Path, suffix: str, number: type) -> None:
    _, seg = write_case(tmp_path)
    hu = lumbar_hu().astype(number)
    hu[:2, :3] = np.nan
    hu[2, :3] = np.inf
    case = load_case(write(hu, tmp_path / f"holes{suffix}"), seg)
    assert (arrays(case)[0][:3, :3] == -1024).all()
    assert np.array_equal(arrays(case)[0][3:], lumbar_hu()[3:])
    assert any("NaN" in words for words in case.warnings)


def test_a_packed_nifti_is_read_itself_where_its_unpacked_namesake_lies_beside_it(tmp_path: Path) -> None:
    ct, seg = write_case(tmp_path)
    write(np.zeros_like(lumbar_hu()), tmp_path / "ct.nii")
    write(np.zeros_like(lumbar_numbers()), tmp_path / "seg.nii")
    case = load_case(ct, seg)
    assert np.array_equal(arrays(case)[0], lumbar_hu()) and np.array_equal(arrays(case)[1], lumbar_numbers())


def test_a_nifti_without_orientation_is_said(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    ct = patched(write(lumbar_hu(), tmp_path / "plain.nii"), "<2h", 252, 0, 0)
    image, warnings = read_image(ct)
    assert "does not say how it is oriented" in warnings[0]
    assert image.GetSize() == sitk.ReadImage(str(seg)).GetSize()


def test_coarse_voxels_are_said(tmp_path: Path) -> None:
    image = as_image(lumbar_hu())
    image.SetSpacing((2.0, 2.0, 6.0))
    assert "coarse" in read_image(write(image, tmp_path / "thick.nrrd"))[1][0]


def test_metal_near_the_vertebrae_is_said(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path)
    hu = lumbar_hu()
    hu[30:36, 24:28, 14:18] = 3000
    case = load_case(write(hu, tmp_path / "screw.nrrd"), seg)
    assert any("metal" in words for words in case.warnings)


def changed(path: Path, change: Callable[[np.ndarray], None]) -> None:
    """An image file with its array changed in place."""
    image = sitk.ReadImage(path)
    array = sitk.GetArrayFromImage(image)
    change(array)
    after = sitk.GetImageFromArray(array)
    after.CopyInformation(image)
    sitk.WriteImage(after, path)


def test_cement_within_a_vertebra_is_said_with_its_level(tmp_path: Path) -> None:
    ct, seg = write_spine(tmp_path, lumbar_blocks())
    rows, *_ = np.nonzero(sitk.GetArrayFromImage(sitk.ReadImage(seg)) == LEVEL_NUMBER["L3"])
    middle = (rows.min() + rows.max()) // 2

    def cement(hu: np.ndarray) -> None:
        hu[middle - 3 : middle + 4, 17:24, 19:26] = 1800  # 2.7 ml

    assert load_case(ct, seg).warnings == ()
    changed(ct, cement)
    (told,) = load_case(ct, seg).warnings
    assert told.startswith("L3 holds 2.7 ml above 1000 HU") and "--withhold" in told


def test_a_mask_that_lies_beside_the_spine_is_said(tmp_path: Path) -> None:
    ct, seg = write_spine(tmp_path, lumbar_blocks())
    changed(seg, lambda numbers: np.copyto(numbers, np.roll(numbers[:, ::-1], 14, axis=1)))
    assert any("it may not lie on the spine" in words for words in load_case(ct, seg).warnings)


def test_few_thick_slices_are_enough(tmp_path: Path) -> None:
    """A sagittal spine series may have twelve."""
    case = block_spine(lumbar_blocks(), spacing=(7.0, 1.0, 1.0))
    ct, seg = tmp_path / "ct.nii.gz", tmp_path / "seg.nii.gz"
    for image, path in ((case.ct, ct), (case.labels, seg)):
        sitk.WriteImage(image, path)
    changed(ct, lambda hu: hu[:, :4].fill(-1000))
    assert case.ct.GetSize()[0] == 13
    assert load_case(ct, seg).levels == case.levels


def test_a_part_of_the_grid_is_written_where_it_lies_in_the_patient(tmp_path: Path) -> None:
    case = load_case(*write_case(tmp_path, ".nii.gz", "PIR"))
    part = case.ct[5:20, 6:30, 10:40]
    write_image(part, tmp_path / "part.nii.gz", case)
    after = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "part.nii.gz")), "LPS")
    assert same_grid(part, after)
    assert np.array_equal(sitk.GetArrayFromImage(part), sitk.GetArrayFromImage(after))


def test_labels_go_back_with_the_users_own_values(tmp_path: Path) -> None:
    ct, _ = write_case(tmp_path)
    own = lumbar_numbers().astype(np.uint16)
    own[own > 0] += 480
    seg = write(own, tmp_path / "own.nii.gz")
    case = load_case(ct, seg, {500 + i: level for i, level in enumerate(LUMBAR)})
    assert case.label_values["L1"] == 500
    assert (arrays(case)[1][own == 500] == LEVEL_NUMBER["L1"]).all()
    write_image(case.labels, tmp_path / "back.nii.gz", case, labels=True)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "back.nii.gz"))), own)


def test_a_segmentation_without_ct_is_read_in_its_own_orientation(tmp_path: Path) -> None:
    _, seg = write_case(tmp_path, ".nii.gz", "PIR")
    case = load_labels(seg)
    assert (case.levels, case.orientation, case.name) == (LUMBAR, "PIR", "seg")
    assert (arrays(case)[0] == -1024).all()


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float, str]] = []
    load_case(*write_case(tmp_path), progress=lambda *words: told.append(words))
    assert [fraction for _, fraction, _ in told] == sorted(fraction for _, fraction, _ in told)
    assert told[-1][1] == 1.0


def test_a_picture_that_is_filled_up_ends_where_the_filling_begins(tmp_path: Path) -> None:
    """As a reformatted or registered CT is: L1 and L5 are cut by the filling as by the scan's own border."""
    ct, labels = shaded_hu(), lumbar_numbers()
    for filled in (slice(0, 7), slice(SHAPE[0] - 5, None)):
        ct[filled], labels[filled] = -1024, 0
    case = load_case(write(ct, tmp_path / "ct.nrrd"), write(labels, tmp_path / "seg.nrrd"))
    assert case.labelled_field == ((0, 0, 7), (SHAPE[2], SHAPE[1], SHAPE[0] - 5))
    complete = {level: body.complete for level, body in find_bodies(case).items()}
    assert complete == {"L1": False, "L2": True, "L3": True, "L4": True, "L5": False}


def test_a_picture_of_what_is_labelled_alone_has_no_border_there(tmp_path: Path) -> None:
    labels = lumbar_numbers()
    ct = np.where(labels > 0, shaded_hu(), -1024).astype(np.int16)
    case = load_case(write(ct, tmp_path / "ct.nrrd"), write(labels, tmp_path / "seg.nrrd"))
    assert case.labelled_field is None
    assert all(body.complete for body in find_bodies(case).values())


@pytest.mark.parametrize(("slice_mm", "seen"), [(1.0, True), (2.0, False)])
def test_labels_that_end_in_a_plane_are_cut_there(tmp_path: Path, slice_mm: float, seen: bool) -> None:
    """As those of a mask of a part of the scan, put on the grid of the whole. In thick slices any plate may."""
    height = np.arange(0, 140, slice_mm)[:, None, None]
    across = (np.arange(50)[:, None] - 25) ** 2 + (np.arange(50) - 25) ** 2
    balls = np.zeros((len(height), 50, 50), np.uint8)
    for number, middle in ((21, 95), (22, 60), (23, 25)):
        balls[(height - middle) ** 2 * 2 + across < 20**2] = number

    def field_of(labels: np.ndarray) -> object:
        image = sitk.GetImageFromArray(labels)
        image.SetSpacing((1.0, 1.0, slice_mm))
        return load_labels(write(image, tmp_path / "seg.nii.gz")).labelled_field

    assert field_of(balls) is None
    upper = np.where(height >= 100, 0, balls)
    assert field_of(upper) == (((0, 0, 0), (50, 50, 100)) if seen else None)
    both = np.where(height < 22, 0, upper)
    assert field_of(both) == (((0, 0, 22), (50, 50, 100)) if seen else None)
