"""Whatever is wrong with an image is said in one line that names the file and what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_files import (
    SHAPE,
    as_image,
    edited,
    lumbar_hu,
    lumbar_numbers,
    patched,
    shaded_hu,
    shortened,
    write,
    write_case,
    write_dicom,
)
from command_line_case import call

from healthivert.case import load_case, write_image
from healthivert.errors import HealthiVertError
from healthivert.output_folder import OutputFolder

Paths = tuple[Path, Path]
Maker = Callable[[Path], Paths]
BAD: dict[str, tuple[Maker, str, str]] = {}  # name -> what makes it, the file that is named, words of the message


def bad(file: str, words: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        BAD[maker.__name__.replace("_", " ")] = maker, file, words
        return maker

    return register


def with_ct(folder: Path, ct: Path) -> Paths:
    return ct, write(lumbar_numbers(), folder / "good_seg.nrrd")


def with_seg(folder: Path, seg: Path) -> Paths:
    return write(lumbar_hu(), folder / "good_ct.nrrd"), seg


def plain_nifti(folder: Path) -> Path:
    return write(lumbar_hu(), folder / "bad.nii")


@bad("absent.nii.gz", "no such file")
def the_ct_is_missing(folder: Path) -> Paths:
    return with_ct(folder, folder / "absent.nii.gz")


@bad("absent.nii.gz", "no such file")
def the_mask_is_missing(folder: Path) -> Paths:
    return with_seg(folder, folder / "absent.nii.gz")


@bad("bad.nii.gz", "empty")
def the_ct_file_is_empty(folder: Path) -> Paths:
    (folder / "bad.nii.gz").touch()
    return with_ct(folder, folder / "bad.nii.gz")


@bad("bad.nrrd", "empty")
def the_mask_file_is_empty(folder: Path) -> Paths:
    (folder / "bad.nrrd").touch()
    return with_seg(folder, folder / "bad.nrrd")


@pytest.mark.skipif(sys.platform == "win32", reason="names there are Unicode")
@pytest.mark.parametrize("words", [("inspect",), ("run", "--vertebra", "L3", "--out", "nowhere")])
def test_a_name_that_is_not_utf_8_is_one_clear_line(tmp_path: Path, words: tuple[str, ...], capfd) -> None:
    plain, folder = tmp_path / "Mueller", Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    names = [path.name for path in write_case(plain)]
    plain.rename(folder)
    command, *more = words
    assert call(command, *(folder / name for name in names), *more) == 2
    told = capfd.readouterr().err
    assert "the name of the file or of a folder above it is not UTF-8; rename it" in told and told.count("\n") == 1
    with pytest.raises(HealthiVertError, match="not UTF-8"), OutputFolder(folder):
        pass
    write_dicom(tmp_path / "series", lumbar_hu()[:12])
    (tmp_path / "series" / "1_003.dcm").rename(os.fsdecode(os.fsencode(tmp_path) + b"/series/\xfc.dcm"))
    with pytest.raises(HealthiVertError, match="not UTF-8"):
        load_case(tmp_path / "series", write(lumbar_numbers(), tmp_path / "seg.nrrd"))


def _text_file(suffix: str) -> Maker:
    def a_text_file_is_named_as_an_image(folder: Path) -> Paths:
        (folder / f"bad{suffix}").write_text("these are not voxels\nat all\n")
        return with_ct(folder, folder / f"bad{suffix}")

    a_text_file_is_named_as_an_image.__name__ += suffix
    return a_text_file_is_named_as_an_image


for _suffix in (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"):
    bad(f"bad{_suffix}", "this is not a")(_text_file(_suffix))


def _truncated(suffix: str, compress: bool) -> Maker:
    def the_ct_is_truncated(folder: Path) -> Paths:
        return with_ct(folder, shortened(write(as_image(lumbar_hu()), folder / f"bad{suffix}", compress)))

    the_ct_is_truncated.__name__ += f"{suffix}{'_compressed' if compress else '_raw'}"
    return the_ct_is_truncated


for _suffix, _compress in (
    (".nii", False),
    (".nii.gz", True),
    (".nrrd", False),
    (".nrrd", True),
    (".mha", False),
    (".mha", True),
):
    bad(f"bad{_suffix}", "truncated" if _suffix != ".nrrd" else "damaged")(_truncated(_suffix, _compress))


@bad("bad.nii.gz", "truncated")
def the_mask_lacks_its_last_bytes(folder: Path) -> Paths:
    return with_seg(folder, shortened(write(lumbar_numbers(), folder / "bad.nii.gz"), 0.995))


@bad("bad.nii.gz", "damaged")
def a_byte_in_the_compressed_voxels_is_wrong(folder: Path) -> Paths:
    path = write(lumbar_hu(), folder / "bad.nii.gz")
    at = path.stat().st_size * 2 // 3
    return with_ct(folder, patched(path, "B", at, path.read_bytes()[at] ^ 0xFF))


@bad("bad.mha", "damaged")
def a_byte_in_a_compressed_metaimage_is_wrong(folder: Path) -> Paths:
    path = write(lumbar_hu(), folder / "bad.mha")
    at = path.stat().st_size * 2 // 3
    return with_ct(folder, patched(path, "B", at, path.read_bytes()[at] ^ 0xFF))


@bad("bad.mhd", "missing")
def the_voxels_of_a_header_are_missing(folder: Path) -> Paths:
    path = write(lumbar_hu(), folder / "bad.mhd", compress=False)
    (folder / "bad.raw").unlink()
    return with_ct(folder, path)


@bad("bad.png", "not supported")
def the_file_type_is_not_supported(folder: Path) -> Paths:
    sitk.WriteImage(sitk.Image(32, 32, sitk.sitkUInt8), str(folder / "bad.png"))
    return with_ct(folder, folder / "bad.png")


@bad("flat.nii.gz", "2D")
def the_ct_is_2d(folder: Path) -> Paths:
    return with_ct(folder, write(as_image(lumbar_hu())[:, :, 30], folder / "flat.nii.gz"))


@bad("flat.nrrd", "2D")
def the_mask_is_one_slice(folder: Path) -> Paths:
    return with_seg(folder, write(as_image(lumbar_numbers())[:, :, 30:31], folder / "flat.nrrd"))


@bad("bad.nii.gz", "3 volumes")
def the_ct_is_4d(folder: Path) -> Paths:
    return with_ct(folder, write(sitk.JoinSeries([as_image(lumbar_hu())] * 3), folder / "bad.nii.gz"))


@bad("bad.nrrd", "3 values")
def the_ct_is_a_colour_image(folder: Path) -> Paths:
    grey = sitk.Cast(as_image(lumbar_numbers()), sitk.sitkUInt8)
    return with_ct(folder, write(sitk.Compose(grey, grey, grey), folder / "bad.nrrd"))


@bad("bad.nii.gz", "every voxel is NaN")
def every_voxel_of_a_nifti_is_nan(folder: Path) -> Paths:
    return with_ct(folder, write(np.full(SHAPE, np.nan, np.float32), folder / "bad.nii.gz"))


@bad("bad.nrrd", "every voxel is NaN")
def every_voxel_is_nan(folder: Path) -> Paths:
    return with_ct(folder, write(np.full(SHAPE, np.nan, np.float32), folder / "bad.nrrd"))


@bad("bad.nrrd", "infinite")
def most_voxels_are_infinite(folder: Path) -> Paths:
    hu = lumbar_hu().astype(np.float32)
    hu[:50] = np.inf
    return with_ct(folder, write(hu, folder / "bad.nrrd"))


@bad("bad.nrrd", "every voxel of the CT is 0")
def the_ct_is_all_zero(folder: Path) -> Paths:
    return with_ct(folder, write(lumbar_hu() * 0, folder / "bad.nrrd"))


@bad("bad.nrrd", "every voxel of the CT is -1000")
def the_ct_is_constant(folder: Path) -> Paths:
    return with_ct(folder, write(lumbar_hu() * 0 - 1000, folder / "bad.nrrd"))


@bad("bad.nrrd", "mask")
def the_ct_is_a_mask(folder: Path) -> Paths:
    return with_ct(folder, write(lumbar_numbers(), folder / "bad.nrrd"))


@bad("bad.nrrd", "looks like a CT")
def the_mask_is_a_ct(folder: Path) -> Paths:
    return with_seg(folder, write(lumbar_hu(), folder / "bad.nrrd"))


@bad("bad.nrrd", "looks like a CT")
def the_mask_has_thousands_of_values(folder: Path) -> Paths:
    return with_seg(folder, write((shaded_hu() + 1024).clip(0).astype(np.uint16), folder / "bad.nrrd"))


@bad("bad.nrrd", "not whole numbers")
def the_mask_is_a_probability_map(folder: Path) -> Paths:
    return with_seg(folder, write(lumbar_numbers().astype(np.float32) / 30, folder / "bad.nrrd"))


@bad("bad.nrrd", "a grey picture")
def the_ct_is_windowed_to_8_bits(folder: Path) -> Paths:
    grey = np.clip((shaded_hu().astype(float) + 1000) / 6, 0, 255)
    return with_ct(folder, write(grey.astype(np.uint8), folder / "bad.nrrd"))


@bad("bad.nrrd", "not in Hounsfield units")
def the_ct_has_an_unknown_scale(folder: Path) -> Paths:
    return with_ct(folder, write(((lumbar_hu().astype(np.int32) + 1000) * 7).astype(np.int32), folder / "bad.nrrd"))


@bad("bad.nrrd", "the CT goes from 0 to 1: it was rescaled")
def the_ct_is_scaled_for_a_network(folder: Path) -> Paths:
    hu = lumbar_hu().astype(np.float32)
    return with_ct(folder, write((hu - hu.min()) / np.ptp(hu), folder / "bad.nrrd"))


@bad("bad.nii", "spacing is 0")
def the_spacing_is_zero(folder: Path) -> Paths:
    return with_ct(folder, patched(plain_nifti(folder), "<f", 80, 0.0))


@bad("bad.nii", "spacing is -2")
def the_spacing_is_negative(folder: Path) -> Paths:
    return with_ct(folder, patched(plain_nifti(folder), "<f", 80, -2.0))


@bad("bad.nii", "spacing is nan")
def the_spacing_is_nan(folder: Path) -> Paths:
    return with_ct(folder, patched(plain_nifti(folder), "<f", 80, float("nan")))


@bad("bad.mha", "spacing is 0")
def the_metaimage_spacing_is_zero(folder: Path) -> Paths:
    path = write(as_image(lumbar_hu()), folder / "bad.mha", compress=False)
    return with_ct(folder, edited(path, b"ElementSpacing = 2 2 2.5", b"ElementSpacing = 0 2 2.5"))


@bad("bad.nrrd", "voxel spacing is 2000")
def the_spacing_is_in_micrometres(folder: Path) -> Paths:
    image = as_image(lumbar_hu())
    image.SetSpacing([value * 1000 for value in image.GetSpacing()])
    return with_ct(folder, write(image, folder / "bad.nrrd"))


@bad("bad.nrrd", "voxel spacing is 0.002")
def the_spacing_is_in_metres(folder: Path) -> Paths:
    image = as_image(lumbar_hu())
    image.SetSpacing([value / 1000 for value in image.GetSpacing()])
    return with_ct(folder, write(image, folder / "bad.nrrd"))


def _with_rows(folder: Path, rows: list[float]) -> Path:
    """A NIfTI whose only orientation is the given affine (sform)."""
    return patched(patched(plain_nifti(folder), "<2h", 252, 0, 1), "<12f", 280, *rows)


@bad("bad.nii", "singular")
def the_direction_is_singular(folder: Path) -> Paths:
    return with_ct(folder, _with_rows(folder, [2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2.5, 0]))


@bad("bad.nii", "sheared")
def the_direction_is_sheared(folder: Path) -> Paths:
    return with_ct(folder, _with_rows(folder, [2, 1, 0, 0, 0, 2, 0, 0, 0, 0, 2.5, 0]))


@bad("bad.nii", "contradicts itself: voxels of 2 x 2 x 2.5 mm by pixdim, of 2 x 2 x 3.125 mm by its matrix")
def the_header_tells_two_spacings(folder: Path) -> Paths:
    return with_ct(folder, _with_rows(folder, [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3.125, 0]))


BLAMED = "; or give images that say how they are oriented"


@bad("bad.nii", "fit neither VerSe nor TotalSegmentator numbering; pass --level-map with the level of each value")
def the_levels_are_out_of_order(folder: Path) -> Paths:
    return with_seg(folder, write(lumbar_numbers((24, 23)), folder / "bad.nii"))


@bad("bad.nii", BLAMED)
def the_levels_of_a_mask_without_orientation_are_out_of_order(folder: Path) -> Paths:
    return with_seg(folder, patched(write(lumbar_numbers((24, 23)), folder / "bad.nii"), "<2h", 252, 0, 0))


@bad("bad.nii", BLAMED)
def a_mask_without_orientation_lies_elsewhere(folder: Path) -> Paths:
    return with_seg(folder, patched(write(lumbar_numbers(), folder / "bad.nii"), "<2h", 252, 0, 0))


@bad("bad.nrrd", "as where a CT lies 1024 HU too high")
def the_ct_is_stored_1024_too_high_with_a_padding_below(folder: Path) -> Paths:
    hu = lumbar_hu() + np.int16(1024)
    hu[:, :2] = -1024
    return with_ct(folder, write(hu, folder / "bad.nrrd"))


@bad("bad.nii", "NaN")
def the_direction_is_nan(folder: Path) -> Paths:
    return with_ct(folder, _with_rows(folder, [float("nan")] * 12))


@bad("bad.mha", "singular or sheared")
def the_metaimage_direction_is_singular(folder: Path) -> Paths:
    path = write(as_image(lumbar_hu()), folder / "bad.mha", compress=False)
    return with_ct(folder, edited(path, b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 1 0 0"))


@bad("bad.mha", "singular or sheared")
def the_metaimage_direction_is_sheared(folder: Path) -> Paths:
    path = write(as_image(lumbar_hu()), folder / "bad.mha", compress=False)
    return with_ct(folder, edited(path, b"TransformMatrix = 1 0 0 0 1 0", b"TransformMatrix = 1 0 0 .6 .8 0"))


@bad("bad.nrrd", "does not overlap")
def the_mask_lies_elsewhere(folder: Path) -> Paths:
    image = as_image(lumbar_numbers())
    image.SetOrigin((500.0, 0.0, 0.0))
    return with_seg(folder, write(image, folder / "bad.nrrd"))


@bad("bad.nrrd", "% of the labelled volume lies in the CT")
def the_mask_touches_the_ct_only(folder: Path) -> Paths:
    image = as_image(lumbar_numbers())
    image.SetOrigin(image.TransformIndexToPhysicalPoint((0, 0, 54)))
    return with_seg(folder, write(image, folder / "bad.nrrd"))


@bad("bad.nrrd", "lies in air or fat")
def the_mask_is_upside_down(folder: Path) -> Paths:
    numbers = np.zeros_like(lumbar_numbers())
    numbers[:20, 0:3], numbers[20:40, 0:3] = 24, 23
    return with_seg(folder, write(numbers, folder / "bad.nrrd"))


@bad("bad.nrrd", "7 x 40 x 66 voxels")
def the_ct_has_too_few_voxels(folder: Path) -> Paths:
    return with_ct(folder, write(as_image(lumbar_hu())[:7], folder / "bad.nrrd"))


@bad("bad.nrrd", "mm; give a CT of at least")
def the_ct_is_too_small_in_mm(folder: Path) -> Paths:
    image = as_image(lumbar_hu())
    image.SetSpacing((0.3, 0.3, 0.3))
    return with_ct(folder, write(image, folder / "bad.nrrd"))


@bad("bad.nrrd", "the mask is empty")
def the_mask_is_all_zero(folder: Path) -> Paths:
    return with_seg(folder, write(lumbar_numbers() * 0, folder / "bad.nrrd"))


@bad("bad.nrrd", "only the value 1")
def the_mask_does_not_tell_the_levels(folder: Path) -> Paths:
    return with_seg(folder, write((lumbar_numbers() > 0).astype(np.uint8), folder / "bad.nrrd"))


@bad("bad.nrrd", "fit neither")
def the_mask_has_no_vertebra(folder: Path) -> Paths:
    return with_seg(folder, write(lumbar_numbers((60, 51, 55, 90, 52)), folder / "bad.nrrd"))


@bad("seg_folder", "no vertebra files")
def the_mask_folder_has_no_vertebra(folder: Path) -> Paths:
    write(lumbar_numbers(), folder / "seg_folder" / "liver.nii.gz")
    return with_seg(folder, folder / "seg_folder")


@bad("seg_folder", "empty")
def every_file_of_the_mask_folder_is_empty(folder: Path) -> Paths:
    write(lumbar_numbers() * 0, folder / "seg_folder" / "vertebrae_L1.nii.gz")
    return with_seg(folder, folder / "seg_folder")


@bad("no_dicom", "no DICOM image")
def the_ct_folder_has_no_dicom(folder: Path) -> Paths:
    (folder / "no_dicom").mkdir()
    (folder / "no_dicom" / "notes.txt").write_text("nothing")
    return with_ct(folder, folder / "no_dicom")


@bad("mr", "no CT series")
def the_dicom_folder_holds_another_modality(folder: Path) -> Paths:
    return with_ct(folder, write_dicom(folder / "mr", lumbar_hu()[:12], modality="MR"))


@bad("localizer", "no CT series")
def the_dicom_folder_holds_a_localizer(folder: Path) -> Paths:
    return with_ct(folder, write_dicom(folder / "localizer", lumbar_hu()[:12], image_type="LOCALIZER"))


@bad("frames", "multi-frame")
def the_dicom_file_is_multi_frame(folder: Path) -> Paths:
    return with_ct(folder, write_dicom(folder / "frames", np.tile(lumbar_hu()[:1], (1, 12, 1)), frames=12))


@bad("1_003", "one DICOM file")
def the_ct_is_one_dicom_slice(folder: Path) -> Paths:
    one = write_dicom(folder / "series", lumbar_hu()[:12]) / "1_003.dcm"
    return with_ct(folder, one.rename(one.with_suffix("")))


@bad("gap", "slices are missing")
def dicom_slices_are_missing(folder: Path) -> Paths:
    keep = np.r_[0:20, 26:66]
    return with_ct(folder, write_dicom(folder / "gap", lumbar_hu()[keep], z=keep * 2.5))


@bad("twice", "same place")
def dicom_slices_are_there_twice(folder: Path) -> Paths:
    return with_ct(folder, write_dicom(folder / "twice", lumbar_hu(), z=np.arange(66) // 2 * 2.5))


def test_at_least_35_things_are_wrong() -> None:
    assert len(BAD) >= 35


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_clear_line(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    maker, file, words = BAD[name]
    ct, seg = maker(tmp_path)
    capfd.readouterr()
    with pytest.raises(HealthiVertError) as caught:
        load_case(ct, seg)
    message = str(caught.value)
    assert file in message
    assert words in message
    assert "\n" not in message
    assert "; " in message, "the remedy follows the finding"
    assert capfd.readouterr().err == "", "nothing else is printed"


def test_results_are_not_written_in_an_unknown_format(tmp_path: Path) -> None:
    case = load_case(*write_case(tmp_path))
    with pytest.raises(HealthiVertError, match="not written in this format"):
        write_image(case.ct, tmp_path / "out.tiff", case)


def test_results_that_cannot_be_written_are_a_clear_line(tmp_path: Path) -> None:
    case = load_case(*write_case(tmp_path))
    with pytest.raises(HealthiVertError, match="cannot be written"):
        write_image(case.ct, tmp_path / "absent" / "out.nrrd", case)
