"""Whatever is wrong with what the command is given is said in one line, with exit status 2, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from case_files import SHAPE, as_image, lumbar_hu, lumbar_numbers, patched, shortened, write
from command_line_case import call, usable_weights, write_spine, write_weights
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


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    ct, seg = write(lumbar_hu(), folder / "boxes_ct.nrrd"), write(lumbar_numbers(), folder / "boxes_seg.nrrd")
    return Good(ct, seg, *write_spine(folder), usable_weights(folder))


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


@bad("boxes_seg.nrrd", "give the CT first, then the mask")
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


# The place for the results


@bad("in_the_way", "this is a file", "another --out")
def the_out_folder_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "in_the_way").write_text("the user's own")
    return good.run(folder, "--out", folder / "in_the_way")


@bad("in_the_way", "is a file", "another --out")
def the_out_folder_lies_below_a_file(folder: Path, good: Good) -> Words:
    (folder / "in_the_way").write_text("the user's own")
    return good.run(folder, "--out", folder / "in_the_way" / "below")


@bad("out", "report.json", "--force")
def results_are_there_already(folder: Path, good: Good) -> Words:
    (folder / "out").mkdir()
    (folder / "out" / "report.json").write_text("old")
    return good.run(folder)


@bad("out", "levels.csv", "--force")
def one_file_of_results_is_there_already(folder: Path, good: Good) -> Words:
    (folder / "out").mkdir()
    (folder / "out" / "levels.csv").write_text("old")
    return good.run(folder)


@bad("old", "absent.nrrd")
def results_are_there_already_and_the_forced_run_fails(folder: Path, good: Good) -> Words:
    (folder / "old").mkdir()
    (folder / "old" / "report.json").write_text("old")
    return good.run(folder, "--force", "--out", folder / "old", ct=folder / "old" / "absent.nrrd")


@bad("/proc/", "choose another --out")
def the_out_folder_cannot_be_made(folder: Path, good: Good) -> Words:
    if not Path("/proc/self").exists():
        pytest.skip("needs /proc, in which nobody can make a folder")
    return good.run(folder, "--out", "/proc/nowhere/out")


@bad("xxxxx", "choose another")
def the_out_folder_has_too_long_a_name(folder: Path, good: Good) -> Words:
    return good.run(folder, "--out", folder / ("x" * 300))


# The generator and the numbers


@bad("absent.json", "No such file")
def the_weights_are_missing(folder: Path, good: Good) -> Words:
    return good.run(folder, "--weights", folder / "absent.safetensors")


@bad("w.json", "cannot read the weights' card")
def the_card_of_the_weights_is_missing(folder: Path, good: Good) -> Words:
    weights = write_weights(folder / "w.safetensors")
    weights.with_suffix(".json").unlink()
    return good.run(folder, "--weights", weights)


@bad("w.safetensors", "damaged", "reinstall")
def the_weights_are_damaged(folder: Path, good: Good) -> Words:
    weights = write_weights(folder / "w.safetensors")
    return good.run(folder, "--weights", patched(weights, "B", weights.stat().st_size - 9, 0x55))


@bad("w.safetensors", "its card is of other weights", "reinstall")
def the_weights_are_swapped(folder: Path, good: Good) -> Words:
    weights, others = write_weights(folder / "w.safetensors"), write_weights(folder / "others.safetensors", seed=1)
    weights.write_bytes(others.read_bytes())
    return good.run(folder, "--weights", weights)


@bad("w.pt", "not a .safetensors file")
def the_weights_are_of_another_format(folder: Path, good: Good) -> Words:
    (folder / "w.pt").write_bytes(b"\x80\x04K\x01.")
    return good.run(folder, "--weights", folder / "w.pt")


@bad("'cuda'", "not available", "choose auto or cpu")
def cuda_is_asked_for_without_cuda(folder: Path, good: Good) -> Words:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    return good.run(folder, "--device", "cuda")


@bad("--samples 0", "pass 1 or more")
def no_samples_are_asked_for(folder: Path, good: Good) -> Words:
    return good.run(folder, "--samples", "0")


@bad("--samples", "'two'", "--help")
def the_samples_are_no_number(folder: Path, good: Good) -> Words:
    return good.run(folder, "--samples", "two")


@bad("--seed", "'-1'", "--help")
def the_seed_is_negative(folder: Path, good: Good) -> Words:
    return good.run(folder, "--seed", "-1")


@bad("--model", "'vae'", "--help")
def the_model_is_unknown(folder: Path, good: Good) -> Words:
    return good.run(folder, "--model", "vae")


@bad("--vertebra", "--help")
def the_level_is_not_given(folder: Path, good: Good) -> Words:
    return ["run", good.ct, good.seg, "--out", folder / "out"]


@bad("'rum'", "--help")
def the_command_is_unknown(folder: Path, good: Good) -> Words:
    return ["rum"]


@bad("COMMAND", "--help")
def no_command_is_given(folder: Path, good: Good) -> Words:
    return []


@bad("--json", "--json-progress", "give one of them")
def two_things_are_wanted_on_standard_output(folder: Path, good: Good) -> Words:
    return ["inspect", good.ct, good.seg, "--json", "--json-progress"]


# The other commands


@bad("3 files given", "a CT and its segmentation in turn")
def evaluate_gets_an_odd_number_of_files(folder: Path, good: Good) -> Words:
    return ["evaluate", good.ct, good.seg, good.ct, "--out", folder / "out", *good.weights]


@bad("T5", "give one of them")
def evaluate_gets_a_level_that_is_absent(folder: Path, good: Good) -> Words:
    return ["evaluate", good.spine_ct, good.spine_seg, "--levels", "T5", "--out", folder / "out", *good.weights]


@bad("absent.nrrd", "no such file")
def the_last_mask_to_evaluate_is_missing(folder: Path, good: Good) -> Words:
    files = [good.spine_ct, good.spine_seg, good.ct, folder / "absent.nrrd"]
    return ["evaluate", *files, "--out", folder / "out", *good.weights]


@bad("--count 0", "pass 1 or more")
def no_phantoms_are_asked_for(folder: Path, good: Good) -> Words:
    return ["phantom", "--out", folder / "out", "--count", "0"]


@bad("case_0001", "there is a case already", "another --out")
def the_second_phantom_is_there_already(folder: Path, good: Good) -> Words:
    (folder / "out" / "case_0001").mkdir(parents=True)
    return ["phantom", "--out", folder / "out", "--count", "2"]


@bad("in_the_way", "is a file", "another --out")
def the_phantoms_folder_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "in_the_way").write_text("the user's own")
    return ["phantom", "--out", folder / "in_the_way", "--count", "1"]


@bad("ct.jpg", "not written in this format", ".nii.gz")
def a_ct_is_painted_into_a_picture_file(folder: Path, good: Good) -> Words:
    return ["paint", good.seg, "--out", folder / "ct.jpg"]


@bad("ct.nrrd", "already", "--force")
def the_painted_ct_is_there_already(folder: Path, good: Good) -> Words:
    (folder / "ct.nrrd").write_text("the user's own")
    return ["paint", good.seg, "--out", folder / "ct.nrrd"]


@bad("absent.nrrd", "no such file")
def the_labels_to_paint_are_missing(folder: Path, good: Good) -> Words:
    return ["paint", folder / "absent.nrrd", "--out", folder / "deep" / "ct.nrrd"]


@bad("--count 0", "1 or more")
def no_samples_are_to_be_made(folder: Path, good: Good) -> Words:
    return ["samples", "--out", folder / "out", "--count", "0"]


@bad("in_the_way", "another --out")
def the_folder_for_samples_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "in_the_way").write_text("the user's own")
    return ["samples", "--out", folder / "in_the_way", "--count", "1"]


def _train(folder: Path, *more: object) -> Words:
    return ["train", "--data", folder, "--out", folder / "run", *more]


@bad("0 shards of 0 spines", "two spines or more")
def the_folder_to_train_on_is_empty(folder: Path, good: Good) -> Words:
    return _train(folder)


@bad("1 shards of 1 spines", "two spines or more")
def the_folder_to_train_on_has_one_spine(folder: Path, good: Good) -> Words:
    (folder / "sample_000001_L1.npz").write_bytes(b"PK")
    return _train(folder)


@bad("sample_000001_L1.npz", "cannot be read", "make it again")
def a_shard_to_train_on_is_half_written(folder: Path, good: Good) -> Words:
    for spine in (1, 2):
        np.savez(folder / f"sample_00000{spine}_L1.npz", ct=np.zeros((9, 9, 9)))
        shortened(folder / f"sample_00000{spine}_L1.npz", 0.5)
    return _train(folder)


@bad("checkpoint.json", "start a new run")
def there_is_no_training_to_resume(folder: Path, good: Good) -> Words:
    return _train(folder, "--resume")


@bad("run", "already holds a training run", "choose another folder")
def the_training_is_there_already(folder: Path, good: Good) -> Words:
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint.json").write_text("{}")
    return _train(folder)


@bad("run", "this is a file", "another --out")
def the_folder_of_the_training_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "run").write_text("the user's own")
    return _train(folder)


@bad("recipe.json", "not a recipe", "compare it with the shipped one")
def the_recipe_is_damaged(folder: Path, good: Good) -> Words:
    (folder / "recipe.json").write_text('{"model": "gan", ')
    return _train(folder, "--recipe", folder / "recipe.json")


def test_at_least_forty_things_are_wrong() -> None:
    assert len(BAD) >= 40


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_clear_line_and_nothing_is_written(
    tmp_path: Path, good: Good, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    maker, words = BAD[name]
    arguments = maker(tmp_path, good)
    there = contents(tmp_path)
    capfd.readouterr()
    status = call(*arguments)
    shown = capfd.readouterr()
    assert_one_clear_line(status, shown.err, words)
    assert shown.out == ""
    assert contents(tmp_path) == there


@pytest.mark.parametrize("name", ["the ct is truncated.nii.gz", "the weights are damaged", "the level is not given"])
def test_the_installed_command_says_it_alike(tmp_path: Path, good: Good, name: str) -> None:
    maker, words = BAD[name]
    arguments = [str(word) for word in maker(tmp_path, good)]
    there = contents(tmp_path)
    done = subprocess.run([sys.executable, "-m", "healthivert", *arguments], capture_output=True, text=True)
    assert_one_clear_line(done.returncode, done.stderr, words)
    assert done.stdout == ""
    assert contents(tmp_path) == there


def assert_one_clear_line(status: int, told: str, words: tuple[str, ...]) -> None:
    assert status == 2, told
    line = told.removesuffix("\n")
    assert line.startswith("healthivert") and "\n" not in line
    assert "Traceback" not in line
    assert all(word in line for word in words), line
    assert line.partition("; ")[2], f"the remedy is missing: {line}"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below folder, hidden ones too, and what is in the files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk with the given options; unmounts it after the test."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root on Linux may mount a small disk")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("this machine does not let a small disk be mounted")
        mounted.append(place)
        return place

    yield mount
    for one in mounted:
        subprocess.run(["umount", str(one)], check=True)


@pytest.mark.parametrize("size", ["60k", "400k"])
def test_a_full_disk_is_one_clear_line_and_is_left_as_it_was(
    disk: Callable[[str], Path], good: Good, size: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place = disk(f"size={size}")
    status = call(*good.run_spine(place))
    assert_one_clear_line(status, capfd.readouterr().err, ("the disk is full", "another --out"))
    assert contents(place) == {}


def test_a_disk_that_is_full_for_a_painted_ct_is_one_clear_line(
    disk: Callable[[str], Path], good: Good, capfd: pytest.CaptureFixture[str]
) -> None:
    place = disk("size=40k")
    status = call("paint", good.spine_seg, "--out", place / "ct.nii.gz")
    assert_one_clear_line(status, capfd.readouterr().err, ("the disk is full", "another --out"))
    assert contents(place) == {}


def test_a_disk_that_can_only_be_read_is_one_clear_line(
    disk: Callable[[str], Path], good: Good, capfd: pytest.CaptureFixture[str]
) -> None:
    place = disk("ro,size=60k")
    for arguments in (
        good.run(place),
        ["samples", "--out", place / "out", "--count", 1],
        ["paint", good.seg, "--out", place / "ct.nrrd"],
    ):
        status = call(*arguments)
        assert_one_clear_line(status, capfd.readouterr().err, (str(place), "choose another"))
