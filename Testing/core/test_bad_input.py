"""Whatever is wrong with what the command is given is said in one line, with exit status 2, and nothing is written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bad_training_cases  # noqa: F401 - adds its cases to BAD
import pytest
import torch
from bad_input_cases import BAD, Good, Words, bad
from case_files import lumbar_hu, lumbar_numbers, patched, write
from command_line_case import call, usable_weights, write_spine, write_weights

from healthivert.exit_status import exit_status
from healthivert.progress import Cancellation


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    ct, seg = write(lumbar_hu(), folder / "boxes_ct.nrrd"), write(lumbar_numbers(), folder / "boxes_seg.nrrd")
    return Good(ct, seg, *write_spine(folder), usable_weights(folder))


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


@bad("absent.safetensors", "No such file")
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
    # it is said before anything else is done, even the loading of the weights
    return ["evaluate", *files, "--out", folder / "out", "--weights", folder / "other.safetensors"]


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


def test_at_least_forty_things_are_wrong() -> None:
    assert len(BAD) >= 40 and "the folder to train on is empty" in BAD


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


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EIO, errno.EINVAL])
def test_a_place_that_fails_while_it_is_written_is_one_clear_line(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise OSError(number, os.strerror(number), "/there/out")

    assert_one_clear_line(exit_status(work, Cancellation()), capfd.readouterr().err, ("/there/out", "another path"))


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
