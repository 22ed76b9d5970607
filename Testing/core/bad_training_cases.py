"""Bad calls of `samples` and `train`, and the words that must be said; they join the other cases in BAD."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bad_input_cases import Good, Words, bad
from case_files import shortened
from command_line_case import write_spine
from training_case import elliptic_vertebra, write_vertebrae

from healthivert.training.samples import save_sample


@bad("--count 0", "1 or more")
def no_samples_are_to_be_made(folder: Path, good: Good) -> Words:
    return ["samples", "--out", folder / "out", "--count", "0"]


@bad("in_the_way", "this is a file, not a folder", "choose another folder")
def the_folder_for_samples_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "in_the_way").write_text("the user's own")
    return ["samples", "--out", folder / "in_the_way", "--count", "1"]


def _train(folder: Path, *more: object) -> Words:
    return ["train", "--data", folder, "--out", folder / "run", *more]


@bad("holds no samples", "0 shards", "healthivert samples", "--from")
def the_folder_to_train_on_is_empty(folder: Path, good: Good) -> Words:
    return _train(folder)


@bad("absent", "there is no such folder", "healthivert samples")
def the_folder_to_train_on_is_missing(folder: Path, good: Good) -> Words:
    return _train(folder, "--data", folder / "absent")


@bad("data.npz", "this is a file", "healthivert samples")
def the_folder_to_train_on_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "data.npz").touch()
    return _train(folder, "--data", folder / "data.npz")


@bad("holds scans, and no samples", "`healthivert samples --from")
def the_folder_to_train_on_holds_scans(folder: Path, good: Good) -> Words:
    write_spine(folder / "case")
    return _train(folder)


@bad("sample_000001_L1.npz", "log_height_ratio is not finite", "delete it and repeat")
def a_shard_to_train_on_holds_a_nan(folder: Path, good: Good) -> Words:
    for spine in (1, 2):
        save_sample(
            replace(elliptic_vertebra(spine), log_height_ratio=math.nan), folder / f"sample_00000{spine}_L1.npz"
        )
    return _train(folder)


@bad("/proc/", "cannot be worked in", "choose another folder")
def a_run_is_put_where_no_folder_can_be(folder: Path, good: Good) -> Words:
    if not Path("/proc").is_dir():
        pytest.skip("this system has no /proc")
    return ["train", "--data", write_vertebrae(folder / "data"), "--out", "/proc/healthivert"]


@bad("run", "already holds a training run", "go on with --resume")
def the_training_there_has_lost_its_record(folder: Path, good: Good) -> Words:
    (folder / "run").mkdir()
    (folder / "run" / "checkpoint_00000400.safetensors").touch()
    return _train(folder)


@bad("1 shards of 1 spines", "two spines or more")
def the_folder_to_train_on_has_one_spine(folder: Path, good: Good) -> Words:
    (folder / "sample_000001_L1.npz").write_bytes(b"PK")
    return _train(folder)


@bad("sample_000001_L1.npz", "cannot be read", "delete it and repeat")
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


@bad("gan.safetensors", "would replace this file", "another --out")
def weights_of_another_training_lie_where_its_own_would(folder: Path, good: Good) -> Words:
    (folder / "run").mkdir()
    (folder / "run" / "gan.safetensors").write_bytes(b"somebody's weights")
    return _train(folder)


@bad("run", "this is a file", "another --out")
def the_folder_of_the_training_is_a_file(folder: Path, good: Good) -> Words:
    (folder / "run").write_text("the user's own")
    return _train(folder)


@bad("recipe.json", "not a recipe", "compare it with the shipped one")
def the_recipe_is_damaged(folder: Path, good: Good) -> Words:
    (folder / "recipe.json").write_text('{"model": "gan", ')
    return _train(folder, "--recipe", folder / "recipe.json")
