"""Bad scans, masks and levels: how `run` is called with each of them, and the words that must be said.

BAD collects them, and what test_bad_input.py adds about places, generators and the other commands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from case_files import SHAPE, as_image, lumbar_hu, lumbar_numbers, patched, shortened, write
from command_line_case import write_spine
from conftest import Block

Words = list[object]


@dataclass(frozen=True)
class Good:
    """What nothing is wrong with: boxes (good enough to be read) and a spine (good enough to be regrown)."""

    ct: Path
    seg: Path
    spine_ct: Path
    spine_seg: Path
    weights: Words

    def run(self, folder: Path, *more: object, ct: Path | None = None, seg: Path | None = None) -> Words:
        """`run` on the boxes, with something else in the place of one of them; later options win."""
        given = ["run", ct or self.ct, seg or self.seg, "--vertebra", "L3", "--out", folder / "out"]
        return [*given, *self.weights, *more]

    def run_spine(self, folder: Path, *more: object) -> Words:
        return self.run(folder, *more, ct=self.spine_ct, seg=self.spine_seg)


Maker = Callable[[Path, Good], Words]
BAD: dict[str, tuple[Maker, tuple[str, ...]]] = {}  # what is wrong -> how it is called, words of the line


def bad(*words: str) -> Callable[[Maker], Maker]:
    """The words that must be in the line: the file or the argument, and what was found or is to be done."""

    def register(maker: Maker) -> Maker:
        BAD[maker.__name__.replace("_", " ")] = maker, words
        return maker

    return register


# The CT


@bad("absent.nii.gz", "no such file")
def the_ct_is_missing(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=folder / "absent.nii.gz")


@bad("bad.nii.gz", "empty", "export it again")
def the_ct_is_empty(folder: Path, good: Good) -> Words:
    (folder / "bad.nii.gz").touch()
    return good.run(folder, ct=folder / "bad.nii.gz")


def _truncated(suffix: str) -> Maker:
    def the_ct_is_truncated(folder: Path, good: Good) -> Words:
        return good.run(folder, ct=shortened(write(lumbar_hu(), folder / f"bad{suffix}", suffix == ".nii.gz")))

    the_ct_is_truncated.__name__ += suffix
    return the_ct_is_truncated


for _suffix, _found in ((".nii.gz", "truncated"), (".nii", "truncated"), (".nrrd", "damaged"), (".mha", "truncated")):
    bad(f"bad{_suffix}", _found, "copy or export it again")(_truncated(_suffix))


@bad("bad.nii.gz", "not a NIfTI file")
def the_ct_is_a_text(folder: Path, good: Good) -> Words:
    (folder / "bad.nii.gz").write_text("no voxels")
    return good.run(folder, ct=folder / "bad.nii.gz")


@bad("bad.png", "not supported", "NIfTI")
def the_ct_is_a_picture_file(folder: Path, good: Good) -> Words:
    sitk.WriteImage(sitk.Image(32, 32, sitk.sitkUInt8), str(folder / "bad.png"))
    return good.run(folder, ct=folder / "bad.png")


@bad("bad.nii.gz", "2D image")
def the_ct_is_2d(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=write(as_image(lumbar_hu())[:, :, 30], folder / "bad.nii.gz"))


@bad("bad.nii.gz", "3 volumes")
def the_ct_is_4d(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=write(sitk.JoinSeries([as_image(lumbar_hu())] * 3), folder / "bad.nii.gz"))


@bad("bad.nrrd", "colour")
def the_ct_is_rgb(folder: Path, good: Good) -> Words:
    grey = as_image(lumbar_numbers())
    return good.run(folder, ct=write(sitk.Compose(grey, grey, grey), folder / "bad.nrrd"))


@bad("bad.nrrd", "every voxel is NaN")
def the_ct_is_nan(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=write(np.full(SHAPE, np.nan, np.float32), folder / "bad.nrrd"))


@bad("bad.nrrd", "every voxel of the CT is 0")
def the_ct_is_all_zero(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=write(lumbar_hu() * 0, folder / "bad.nrrd"))


@bad("boxes_seg.nrrd", "give a CT in Hounsfield units for it, and the mask as the segmentation")
def the_ct_is_a_mask(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=good.seg)


@bad("bad.nrrd", "not in Hounsfield units", "rescale slope and intercept")
def the_ct_lacks_its_rescale(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=write((lumbar_hu().astype(np.int32) + 1000) * 7, folder / "bad.nrrd"))


@bad("bad.nii", "spacing is 0")
def the_spacing_is_zero(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=patched(write(lumbar_hu(), folder / "bad.nii"), "<f", 80, 0.0))


@bad("bad.nii", "spacing is -2")
def the_spacing_is_negative(folder: Path, good: Good) -> Words:
    return good.run(folder, ct=patched(write(lumbar_hu(), folder / "bad.nii"), "<f", 80, -2.0))


@bad("bad.nii", "singular")
def the_direction_is_singular(folder: Path, good: Good) -> Words:
    path = patched(write(lumbar_hu(), folder / "bad.nii"), "<2h", 252, 0, 1)
    return good.run(folder, ct=patched(path, "<12f", 280, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 2.5, 0))


@bad("no_dicom", "no DICOM image")
def the_ct_folder_holds_no_dicom(folder: Path, good: Good) -> Words:
    (folder / "no_dicom").mkdir()
    return good.run(folder, ct=folder / "no_dicom")


@bad("absent.nrrd", "no such file")
def the_ct_to_inspect_is_missing(folder: Path, good: Good) -> Words:
    return ["inspect", folder / "absent.nrrd", good.seg]


# The mask


@bad("absent.nii.gz", "no such file")
def the_mask_is_missing(folder: Path, good: Good) -> Words:
    return good.run(folder, seg=folder / "absent.nii.gz")


@bad("bad.nii.gz", "truncated")
def the_mask_is_truncated(folder: Path, good: Good) -> Words:
    return good.run(folder, seg=shortened(write(lumbar_numbers(), folder / "bad.nii.gz")))


@bad("bad.nrrd", "the mask is empty", "segment the vertebrae")
def the_mask_is_all_zero(folder: Path, good: Good) -> Words:
    return good.run(folder, seg=write(lumbar_numbers() * 0, folder / "bad.nrrd"))


@bad("boxes_ct.nrrd", "looks like a CT", "give CT first, then the mask")
def the_mask_is_a_ct(folder: Path, good: Good) -> Words:
    return good.run(folder, seg=good.ct)


@bad("bad.nrrd", "does not overlap")
def the_mask_lies_elsewhere(folder: Path, good: Good) -> Words:
    image = as_image(lumbar_numbers())
    image.SetOrigin((500.0, 0.0, 0.0))
    return good.run(folder, seg=write(image, folder / "bad.nrrd"))


@bad("bad.nrrd", "% of the labelled volume lies in the CT")
def the_mask_touches_the_ct_only(folder: Path, good: Good) -> Words:
    image = as_image(lumbar_numbers())
    image.SetOrigin(image.TransformIndexToPhysicalPoint((0, 0, 54)))
    return good.run(folder, seg=write(image, folder / "bad.nrrd"))


@bad("masks", "vertebrae_L1.nii.gz")
def the_mask_folder_has_no_vertebra(folder: Path, good: Good) -> Words:
    write(lumbar_numbers(), folder / "masks" / "liver.nii.gz")
    return good.run(folder, seg=folder / "masks")


@bad("bad.nrrd", "--level-map")
def the_mask_does_not_tell_the_levels(folder: Path, good: Good) -> Words:
    return good.run(folder, seg=write((lumbar_numbers() > 0).astype(np.uint8), folder / "bad.nrrd"))


# The level


@bad("T5", "it has L1, L2, L3, L4, L5", "give one of them")
def the_level_is_absent(folder: Path, good: Good) -> Words:
    return good.run(folder, "--vertebra", "T5")


@bad("'Q9'", "not the name of a vertebra", "give one of them")
def the_level_has_an_unknown_name(folder: Path, good: Good) -> Words:
    return good.run(folder, "--vertebra", "Q9")


@bad("L3", "cut by the border", "choose a level that lies inside")
def the_level_is_cut_by_the_border(folder: Path, good: Good) -> Words:
    ct, seg = (sitk.ReadImage(str(path)) for path in (good.spine_ct, good.spine_seg))
    _, _, low = _first_voxel_of(seg, 22)
    cut = [write(image[:, :, low + 5 :], folder / f"{name}.nrrd") for name, image in (("ct", ct), ("seg", seg))]
    return good.run(folder, ct=cut[0], seg=cut[1])


@bad("seg.nii.gz", "L3 is the only vertebra", "segment its neighbours")
def only_one_vertebra_is_labelled(folder: Path, good: Good) -> Words:
    ct, seg = write_spine(folder, [Block("L3", 0.0, 27.0, 27.0)])
    return good.run(folder, ct=ct, seg=seg)


@bad("seg.nii.gz", "L3 is the only vertebra", "segment its neighbours")
def only_one_vertebra_is_labelled_for_an_evaluation(folder: Path, good: Good) -> Words:
    ct, seg = write_spine(folder, [Block("L3", 0.0, 27.0, 27.0)])
    return ["evaluate", ct, seg, "--levels", "L3", "--out", folder / "out", *good.weights]


@bad("L3", "no vertebral body was found in it", "check its label")
def the_label_of_the_level_is_a_speck(folder: Path, good: Good) -> Words:
    seg = sitk.ReadImage(str(good.spine_seg))
    numbers = sitk.GetArrayFromImage(seg)
    rows, places, columns = np.nonzero(numbers == 22)
    numbers[numbers == 22] = 0
    numbers[rows[0] : rows[0] + 4, places[0], columns[0]] = 22
    speck = sitk.GetImageFromArray(numbers)
    speck.CopyInformation(seg)
    return good.run(folder, ct=good.spine_ct, seg=write(speck, folder / "bad.nrrd"))


@bad("--level-map", "'20' is not VALUE=LEVEL", "1=L5,2=L4")
def the_level_map_is_malformed(folder: Path, good: Good) -> Words:
    return good.run(folder, "--level-map", "20")


@bad("level map", "'Q9'", "20=L1")
def the_level_map_names_no_vertebra(folder: Path, good: Good) -> Words:
    return good.run(folder, "--level-map", "20=Q9")


@bad("--level-map", "20 is given twice")
def the_level_map_gives_a_value_twice(folder: Path, good: Good) -> Words:
    return good.run(folder, "--level-map", "20=L1,20=L2")


@bad("level map", "20, 21, 22, 23, 24", "map the values that are there")
def the_level_map_has_other_values(folder: Path, good: Good) -> Words:
    return good.run(folder, "--level-map", "1=L1")


def _first_voxel_of(image: sitk.Image, value: int) -> tuple[int, int, int]:
    low = np.argwhere(sitk.GetArrayViewFromImage(image) == value).min(axis=0)
    return int(low[2]), int(low[1]), int(low[0])


def _structures(folder: Path) -> Path:
    """Two of the boxes, a file for each."""
    masks = folder / "masks"
    for level, value in (("L3", 22), ("L4", 23)):
        write((lumbar_numbers() == value).astype(np.uint8), masks / f"vertebrae_{level}.nii.gz")
    return masks


@bad("masks", "--level-map is for the values of a label image", "drop it")
def a_level_map_is_given_for_a_folder_of_structures(folder: Path, good: Good) -> Words:
    return good.run(folder, "--level-map", "1=L3", seg=_structures(folder))


@bad("vertebrae_L4.nii.gz", "another grid than the other structures", "export all of them on one grid")
def one_of_the_structures_has_other_voxels(folder: Path, good: Good) -> Words:
    masks = _structures(folder)
    one = sitk.ReadImage(str(masks / "vertebrae_L4.nii.gz"))
    one.SetSpacing([1.1 * length for length in one.GetSpacing()])
    write(one, masks / "vertebrae_L4.nii.gz")
    return good.run(folder, seg=masks)
