"""What stops a training: each of it is one clear line, and the last good checkpoint is still there."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line_case import call
from training_case import TINY, TINY_DIFFUSION, elliptic_vertebra, write_vertebrae

from healthivert.errors import HealthiVertError
from healthivert.models.gan import GanGenerator, GanSettings
from healthivert.models.weights import load_weights
from healthivert.progress import Progress, quiet
from healthivert.training.checkpoint import holds_run, load_checkpoint, save_checkpoint
from healthivert.training.configuration import as_json, check_unchanged
from healthivert.training.diffusion_task import DiffusionTrainerSettings
from healthivert.training.dry_run import dry_run
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.make_samples import make_samples
from healthivert.training.metrics import METRICS
from healthivert.training.samples import save_sample
from healthivert.training.slices import SliceDataset
from healthivert.training.trainer import export, train
from healthivert.training.validation import poorer_than_neighbours
from healthivert.whole_file import write_whole

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Pictures take longer than these trainings; test_trainer has a test of them."""
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_vertebrae(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def run(folder, tmp_path) -> Path:
    """A run of two steps."""
    train(replace(TINY, steps=2), folder, tmp_path / "run")
    return tmp_path / "run"


def files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def refusal(*arguments: object, **more: object) -> str:
    """The line with which a training ends."""
    with pytest.raises(HealthiVertError) as told:
        train(*arguments, **more)  # type: ignore[arg-type]
    assert "\n" not in str(told.value)
    return str(told.value)


def test_there_must_be_a_run_to_resume_and_none_to_overwrite(folder, run, tmp_path):
    assert "no such checkpoint to go on from; start a new run" in refusal(TINY, folder, tmp_path / "no", resume=True)
    before = files(run)
    assert "already holds a training run; go on with --resume, or choose another folder" in refusal(TINY, folder, run)
    assert files(run) == before and not (tmp_path / "no").exists()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew_with_resume(folder, tmp_path):
    run, told = tmp_path / "run", []
    train(TINY, folder, run)
    before = (run / METRICS).read_text()
    for left in run.glob("checkpoint*"):
        left.unlink()
    end = train(TINY, folder, run, resume=True, progress=lambda stage, _, text: told.append((stage, text)))
    assert end.step == TINY.steps and any(stage == "warning" and "begins anew" in text for stage, text in told)
    assert holds_run(run) and len((run / METRICS).read_text().splitlines()) == len(before.splitlines())


def test_a_changed_configuration_is_refused_and_every_difference_shown(folder, run):
    before = files(run)
    changed = replace(TINY, batch_size=3, generator=replace(TINY.generator, width=8))
    line = refusal(changed, folder, run, resume=True)
    assert "was trained with other settings (batch_size 2, not 3; generator.width 4, not 8)" in line
    assert "keep them or start a new run" in line and files(run) == before


def test_what_does_not_change_what_is_learnt_may_differ_and_so_may_a_diverged_run_learning_rate(folder, run):
    changed = replace(TINY, steps=3, log_every=2, validate_every=9, deterministic=True, learning_rate=1e-5)
    assert train(changed, folder, run, resume=True).step == 3


def test_a_setting_that_an_old_checkpoint_does_not_know_is_the_default_one(tmp_path):
    settings = GanTrainerSettings()
    record = {"settings": {"batch_size": settings.batch_size}, "model": "gan", "step": 0}
    check_unchanged(settings, "gan", record, tmp_path)
    with pytest.raises(HealthiVertError, match=r"precision float32, not bfloat16"):
        check_unchanged(replace(settings, precision="bfloat16"), "gan", record, tmp_path)


def test_a_loss_weight_that_is_no_more_is_not_compared(tmp_path):
    """Cards and checkpoints of diffusion models named the weight of an adversarial term that they do not have."""
    settings = as_json(DiffusionTrainerSettings())
    settings["weights"]["adversarial"] = 0.01
    check_unchanged(
        DiffusionTrainerSettings(), "diffusion", {"settings": settings, "model": "diffusion", "step": 0}, tmp_path
    )


def test_a_checkpoint_of_another_model_is_refused(folder, run):
    line = refusal(TINY_DIFFUSION, folder, run, resume=True)
    assert "holds the training of a gan model, not of a diffusion one; pass --model gan" in line


def test_a_checkpoint_of_another_architecture_is_refused(folder, run):
    tensors, record = load_checkpoint(run)
    name = next(name for name, value in tensors.items() if name.startswith("generator.") and value.dim() == 4)
    save_checkpoint(run, tensors | {name: torch.zeros(1, 1, 3, 3)}, record)
    before = files(run)
    line = refusal(TINY, folder, run, resume=True)
    assert "the checkpoint is of another gan architecture than this version's" in line
    assert name.removeprefix("generator.") in line and "start a new run" in line and files(run) == before


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(folder, tmp_path):
    run, said = tmp_path / "run", []
    train(replace(TINY, steps=2, checkpoint_minutes=0.0), folder, run)
    tensors = run / "checkpoint_00000002.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    train(replace(TINY, steps=3), folder, run, resume=True, progress=lambda *words: said.append(words[2]))
    assert any("is damaged; going on from the one before it, step 1" in line for line in said)
    train(replace(TINY, steps=3), folder, tmp_path / "whole")
    one, other = load_checkpoint(run)[0], load_checkpoint(tmp_path / "whole")[0]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_damaged_checkpoint_is_said_where_no_terminal_is(folder, tmp_path):
    run, log = tmp_path / "run", io.StringIO()
    train(replace(TINY, steps=2, checkpoint_minutes=0.0), folder, run)
    tensors = run / "checkpoint_00000002.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    train(replace(TINY, steps=3), folder, run, resume=True, progress=Progress(stream=log))
    line = log.getvalue().splitlines()[0]
    assert "warning: " in line and "is damaged; going on from the one before it, step 1" in line


def test_a_full_disk_is_no_traceback_of_a_thread_that_writes_beside_the_training(folder, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def write_beside(stage: str, fraction: float, message: str) -> None:
        for error in (OSError(errno.ENOSPC, "No space left on device"), ValueError("a bug")):
            thread = threading.Thread(target=partial(throw, error))
            thread.start()
            thread.join()

    train(replace(TINY, steps=1), folder, tmp_path / "run", progress=write_beside)
    assert seen and {told.exc_type for told in seen} == {ValueError}
    assert threading.excepthook == seen.append


def throw(error: Exception) -> None:
    raise error


def test_where_the_last_checkpoint_is_damaged_the_one_before_it_is_the_last_good_one(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(replace(TINY, steps=2, checkpoint_minutes=0.0), folder, run)
    tensors = run / "checkpoint_00000002.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    monkeypatch.setattr("healthivert.training.trainer._step", lambda *_: {"ct": torch.tensor(float("nan"))})
    assert f"the last good checkpoint is {run / 'checkpoint_before.json'} of step 1: go on" in refusal(
        TINY, folder, run, resume=True
    )


def test_samples_of_another_version_are_refused(tmp_path):
    for spine in range(2):
        sample = elliptic_vertebra(spine)
        other = replace(sample, conditioning=replace(sample.conditioning, gap=(30, 62)))
        save_sample(other, tmp_path / f"sample_{spine:06d}_L1.npz")
    assert "its samples have the gap (30, 62), this version's have (32, 64); make them again" in refusal(
        TINY, tmp_path, tmp_path / "run"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ct": np.zeros((96, 64), np.uint8)}, "ct has the shape (96, 64)"),
        ({"ct": np.zeros((9, 9, 9), np.uint8)}, "ct has the shape (9, 9, 9)"),
        ({"mask": np.zeros((96, 64, 8), np.uint8)}, "mask is no volume of 8 bit like the others"),
        ({"target_ct": np.zeros((96, 64, 72))}, "target_ct is no volume of 8 bit like the others"),
        ({"reference_mm": np.ones(2)}, "reference_mm is no single number"),
        ({"log_height_ratio": np.array("tall")}, "log_height_ratio is no single number"),
        ({"spacing_mm": np.float32(0)}, "spacing_mm is 0.0"),
        ({"gap": np.array(3)}, "gap is no pair of rows"),
        ({"gap": np.array([64, 32])}, "gap is [64, 32], of 96 rows"),
        ({"cut": np.array([1.5, 2.5])}, "cut is no pair of rows"),
    ],
)
def test_a_shard_that_can_be_read_but_is_no_sample_is_named(tmp_path, changes, said):
    data = write_vertebrae(tmp_path / "data", spines=2)
    shard = data / "sample_0000_L1.npz"
    with np.load(shard) as stored:
        np.savez(shard.with_suffix(""), **{**stored, **changes})
    line = refusal(TINY, data, tmp_path / "run")
    assert f"sample_0000_L1.npz: cannot be read as a training shard ({said}); delete it and repeat" in line


@pytest.mark.parametrize(
    ("spines", "width", "said"),
    [
        ([1], 64, "its samples to train on have the shape (96, 64, 72), those held out (96, 64, 64); make them again"),
        ([0, 1], 60, "its samples have the shape (96, 64, 60), but lengths must be multiples of 8; make them again"),
    ],
)
def test_samples_that_no_network_takes_are_refused(tmp_path, spines, width, said):
    data = write_vertebrae(tmp_path / "data", spines=2)
    for spine in spines:
        shard = data / f"sample_{spine:04d}_L1.npz"
        with np.load(shard) as stored:
            narrower = {name: values[..., :width] if values.ndim == 3 else values for name, values in stored.items()}
        np.savez(shard.with_suffix(""), **narrower)
    assert said in refusal(TINY, data, tmp_path / "run")


def test_a_shard_that_is_a_link_to_nothing_is_named(tmp_path):
    data = write_vertebrae(tmp_path / "data")
    (data / "sample_0001_L2.npz").symlink_to(tmp_path / "nowhere")
    line = refusal(TINY, data, tmp_path / "run")
    assert "sample_0001_L2.npz: cannot be read as a training shard (No such file or directory); delete it" in line


@pytest.mark.parametrize("command", [train, partial(dry_run, progress=quiet)])
def test_a_folder_that_no_training_can_work_in_is_refused_by_a_dry_run_too(folder, tmp_path, command):
    (tmp_path / "run").symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises(HealthiVertError, match="cannot be worked in"):
        command(TINY, folder, tmp_path / "run", resume=False)


def test_a_signal_while_the_samples_are_read_ends_the_command_and_leaves_nothing(folder, tmp_path, monkeypatch):
    def interrupted(paths: object) -> SliceDataset:
        signal.raise_signal(signal.SIGINT)
        return SliceDataset(paths)  # type: ignore[arg-type]

    monkeypatch.setattr("healthivert.training.trainer.SliceDataset", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(TINY, folder, tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_without_one_before_it_is_refused(folder, run):
    tensors = next(run.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    assert "damaged; start a new run in another folder" in refusal(TINY, folder, run, resume=True)


def test_what_is_not_the_trainers_stays_and_what_it_left_goes(folder, run):
    foreign = [run / "checkpoint_best.safetensors", run / "notes.partial-1", run / "checkpoint_1.safetensors"]
    left = [run / f"{name}.partial-1" for name in ("checkpoint_00000009.safetensors", "metrics.jsonl", "gan.json")]
    for path in (*foreign, *left, run / "checkpoint_00000001.safetensors"):
        path.touch()
    train(replace(TINY, steps=3), folder, run, resume=True)
    export(run, run / "gan.safetensors", {})
    assert all(path.exists() for path in foreign) and not any(path.exists() for path in left)
    assert {path.name for path in run.glob("checkpoint_0*")} == {
        f"checkpoint_0000000{step}.safetensors" for step in (2, 3)
    }


def test_a_run_that_lost_its_record_is_not_replaced_by_a_new_one_and_can_be_gone_on_with(folder, run):
    (run / "checkpoint.json").unlink()
    before = files(run)
    assert "already holds a training run; go on with --resume" in refusal(TINY, folder, run)
    assert files(run) == before
    assert train(replace(TINY, steps=3), folder, run, resume=True).step == 3
    assert [json.loads(line)["step"] for line in (run / METRICS).read_text().splitlines()][:2] == [1, 2]


def test_tensors_that_are_all_that_is_left_stay_until_there_is_a_newer_checkpoint(folder, run, monkeypatch):
    (run / "checkpoint.json").write_text('{"step": 9}')
    before = next(run.glob("*.safetensors")).read_bytes()
    monkeypatch.setattr("healthivert.training.trainer._step", lambda *_: {"ct": torch.tensor(float("nan"))})
    line = refusal(TINY, folder, run, resume=True)
    assert f"the last good checkpoint is {run / 'checkpoint_00000002.safetensors'} of step 2: go on" in line
    assert next(run.glob("*.safetensors")).read_bytes() == before


def test_tensors_that_are_of_no_run_are_neither_gone_on_with_nor_removed(folder, run):
    for left in run.glob("checkpoint*"):
        left.unlink()
    (run / "checkpoint_00000400.safetensors").write_bytes(b"something else")
    assert "checkpoint_00000400.safetensors: the checkpoint cannot be read" in refusal(TINY, folder, run, resume=True)
    assert (run / "checkpoint_00000400.safetensors").read_bytes() == b"something else"


def test_a_training_that_was_killed_while_it_read_its_data_begins_anew_with_resume(folder, tmp_path):
    run = tmp_path / "run"
    code = "import os; from healthivert.training import trainer; trainer.SliceDataset = lambda *_: os._exit(9); "
    code += f"from training_case import *; train(TINY, Path({str(folder)!r}), Path({str(run)!r}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 9
    assert [path.name for path in run.iterdir()] == [".in-use"]
    told = []
    end = train(replace(TINY, steps=1), folder, run, resume=True, progress=lambda stage, _, text: told.append(text))
    assert end.step == 1 and any("ended before its first checkpoint, so it begins anew" in text for text in told)


@pytest.mark.parametrize("name", ["metrics.jsonl", "configuration.json"])
@pytest.mark.parametrize("command", [train, partial(dry_run, progress=quiet)])
def test_a_file_of_others_is_not_replaced_by_a_new_run(folder, tmp_path, name, command):
    run = tmp_path / "run"
    run.mkdir()
    (run / name).write_text('{"the user": "s own"}')
    with pytest.raises(HealthiVertError, match=f"{name}: the training would replace this file, which is not of a"):
        command(TINY, folder, run, resume=False)
    assert files(run) == {name: b'{"the user": "s own"}'}


@pytest.mark.parametrize("words", [(), ("--resume",), ("--dry-run", "--resume")])
@pytest.mark.parametrize("name", ["gan.safetensors", "gan.json"])
def test_finished_weights_whose_checkpoints_are_gone_are_never_replaced(folder, run, capsys, words, name):
    export(run, run / "gan.safetensors", {})
    kept = {path.name: path.read_bytes() for path in (run / name, run / METRICS, run / "configuration.json")}
    for path in run.iterdir():
        if path.name not in kept:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    assert call("train", "--data", folder, "--out", run, *words) == 2
    assert f"{name}: the training would replace this file, and there is no checkpoint" in capsys.readouterr().err
    assert files(run) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "two"),
        ("step", -1),
        ("settings", []),
        ("settings", {}),
        ("tensors", ["a"]),
        ("tensors", "../a"),
        ("sha256", None),
        ("model", 1),
        ("vertebrae", 2.5),
        ("data", {}),
        ("data", {"vertebrae": "3", "spines": 3, "sha256": ""}),
        ("validation", {"dice": math.inf}),
        ("validation", None),
        ("hours", "1"),
        ("hours", math.nan),
        ("machines", [{}]),
        ("seen", 1),
    ],
)
def test_a_record_with_something_missing_or_of_another_kind_is_one_line(folder, run, name, value):
    record = json.loads((run / "checkpoint.json").read_text())
    for path in run.glob("*.safetensors"):
        path.rename(run / "elsewhere") if name == "tensors" else None
    for changed in (record | {name: value}, {key: record[key] for key in record if key != name}):
        (run / "checkpoint.json").write_text(json.dumps(changed))
        line = refusal(TINY, folder, run, resume=True)
        assert (
            f"checkpoint.json: the checkpoint cannot be read (missing in it or wrong: {name}); start a new run" in line
        )


def test_other_data_than_the_runs_are_refused_wherever_they_lie(folder, run, tmp_path):
    before = files(run)
    more = write_vertebrae(tmp_path / "more", spines=4)
    line = refusal(TINY, more, run, resume=True)
    assert (
        f"{run}: was trained on 3 vertebrae of 3 spines, not on 4 vertebrae of 4 spines; give the same --data" in line
    )
    others = shutil.copytree(folder, tmp_path / "others")
    (others / "sample_0000_L1.npz").rename(others / "sample_0007_L1.npz")
    line = refusal(TINY, others, run, resume=True)
    assert "was trained on other samples, though 3 vertebrae of 3 spines as well" in line and files(run) == before
    assert train(TINY, shutil.copytree(folder, tmp_path / "mounted_elsewhere"), run, resume=True).step == 6


def test_fewer_steps_than_a_run_has_made_are_refused(folder, run):
    before = files(run)
    line = refusal(replace(TINY, steps=1), folder, run, resume=True)
    assert "is at step 2 already, beyond the 1 steps of the recipe; give it 2 steps or more" in line
    assert files(run) == before


def test_one_spine_at_least_is_left_to_train_on(folder, tmp_path):
    assert train(replace(TINY, steps=1, held_out=0.95), folder, tmp_path / "run").step == 1


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_checkpoint(folder, run, monkeypatch):
    draw = SliceDataset.draw

    def spoilt(self, *arguments):
        batch, targets = draw(self, *arguments)
        return replace(batch, ct=batch.ct * float("nan")), targets

    monkeypatch.setattr(SliceDataset, "draw", spoilt)
    line = refusal(TINY, folder, run, resume=True)
    assert line.startswith("training diverged at step 3 (") and "ct" in line and "not finite" in line
    assert f"the last good checkpoint is {run / 'checkpoint.json'} of step 2" in line and "lower learning rate" in line
    tensors, record = load_checkpoint(run)
    assert record["step"] == 2 and all(torch.isfinite(value).all() for value in tensors.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("height", [1e5, float("nan")])
def test_a_validation_that_is_not_finite_stops_the_run_and_leaves_its_files_valid(folder, run, monkeypatch, height):
    forward = GanGenerator.forward

    def far_off(self, *given):
        output = forward(self, *given)
        return output if self.training else replace(output, pred2_h=output.pred2_h + height)

    monkeypatch.setattr(GanGenerator, "forward", far_off)
    line = refusal(TINY, folder, run, resume=True)
    assert line.startswith("training diverged at step 6 (height_error not finite); the last good checkpoint is ")
    assert "of step 2: go on from it with --resume and a lower learning rate" in line
    assert "Infinity" not in (run / METRICS).read_text() and "NaN" not in (run / METRICS).read_text()


def test_a_finished_model_that_is_far_worse_than_the_neighbours_is_told_so(folder, tmp_path):
    told = []
    for rate in (TINY.learning_rate, 0.1):
        settings = replace(TINY, learning_rate=rate)
        train(settings, folder, tmp_path / str(rate), progress=lambda *words: told.append(words))
    (line,) = [text for stage, _, text in told if stage == "warning"]
    assert line.startswith("the model is far worse than the neighbours alone (dice 0.00") and "lower learning" in line


def test_a_model_is_poorer_than_the_neighbours_if_it_is_twice_as_wrong():
    equal = {"dice": 0.9, "l1_hu": 60.0, "height_error": 3.0}
    baseline = {f"baseline_{name}": value for name, value in equal.items()}
    assert poorer_than_neighbours(equal | baseline) == ""
    assert poorer_than_neighbours(equal | baseline | {"dice": 0.81, "l1_hu": 110.0, "height_error": 5.9}) == ""
    assert poorer_than_neighbours(equal | baseline | {"dice": 0.79}) == "dice 0.79 instead of 0.9"
    assert poorer_than_neighbours(equal | baseline | {"l1_hu": 130.0}) == "l1_hu 130 instead of 60"
    assert poorer_than_neighbours(equal | baseline | {"height_error": 7.0}) == "height_error 7 instead of 3"


def test_weights_that_are_not_finite_never_replace_a_good_checkpoint(run):
    tensors, record = load_checkpoint(run)
    before = files(run)
    with pytest.raises(HealthiVertError, match=r"diverged: generator.* is not finite at step 3.*of step 2"):
        name = next(name for name in tensors if name.startswith("generator."))
        save_checkpoint(run, {name: torch.tensor([1.0, float("inf")])}, record | {"step": 3})
    assert files(run) == before


def test_averaged_weights_that_could_not_be_shipped_never_replace_a_good_checkpoint(run):
    """1e6 is finite, but not in the float16 of the weights' file."""
    tensors, record = load_checkpoint(run)
    before = files(run)
    name = next(name for name in tensors if name.startswith("average."))
    with pytest.raises(HealthiVertError, match=r"diverged: average.* is not finite at step 3.*lower learning rate"):
        save_checkpoint(run, tensors | {name: torch.tensor([1e6])}, record | {"step": 3})
    assert files(run) == before


def test_a_run_that_diverges_before_its_first_checkpoint_is_told_to_start_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("healthivert.training.trainer._step", lambda *_: {"ct": torch.tensor(float("nan"))})
    line = refusal(TINY, folder, tmp_path / "run")
    assert "there is no checkpoint yet, so start again with a lower learning rate" in line


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_too_little_memory_is_one_line_that_says_what_to_change(folder, run, tmp_path, monkeypatch, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("healthivert.training.trainer._step", fail)
    line = refusal(TINY, folder, run, resume=True)
    assert "ran out of memory" in line and "of step 2: go on from it with --resume and more processes" in line
    line = refusal(TINY, folder, tmp_path / "new")
    assert "start again with more processes" in line and "a smaller batch_size" in line
    monkeypatch.setattr("healthivert.training.gan_task.GanRun.train_step", fail)
    with pytest.raises(HealthiVertError, match="ran out of memory"):
        dry_run(TINY, folder, tmp_path / "new", False, quiet)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_the_steps_since_the_last_checkpoint_and_no_more(folder, run, monkeypatch):
    before = load_checkpoint(run)[1]
    monkeypatch.setattr(os, "fsync", full_disk)
    line = refusal(TINY, folder, run, resume=True)
    monkeypatch.undo()
    assert "the disk is full" in line and "free some space" in line and "of step 2: go on from it with --resume" in line
    assert load_checkpoint(run)[1] == before and not list(run.glob("*.partial-*"))
    assert train(TINY, folder, run, resume=True).step == 6


def test_a_disk_that_is_full_for_the_first_record_costs_no_step(folder, tmp_path, monkeypatch):
    def full_for_records(path: Path, content: bytes) -> None:
        full_disk() if path.name == "checkpoint.json" else write_whole(path, content)

    monkeypatch.setattr("healthivert.training.checkpoint.write_whole", full_for_records)
    line = refusal(TINY, folder, tmp_path / "run")
    assert "checkpoint_00000006.safetensors of step 6: go on from it with --resume" in line
    monkeypatch.undo()
    assert train(TINY, folder, tmp_path / "run", resume=True).step == 6


def test_a_disk_that_fills_up_in_the_middle_of_a_run_is_one_line_too(folder, run, monkeypatch):
    def tell(stage: str, fraction: float, message: str) -> None:
        if message.startswith("step 4,"):
            monkeypatch.setattr(os, "fsync", full_disk)

    line = refusal(TINY, folder, run, resume=True, progress=tell)
    assert "the disk is full" in line and "of step 2: go on from it with --resume" in line


def test_a_disk_that_is_full_for_the_weights_costs_no_step_and_leaves_nothing_half_written(folder, run, monkeypatch):
    before = files(run)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(HealthiVertError) as told:
        export(run, run / "gan.safetensors", {})
    assert f"the disk is full, so {run / 'gan.safetensors'} was not written; free some space; " in str(told.value)
    assert "of step 2: go on from it with --resume" in str(told.value) and files(run) == before


def test_a_disk_that_is_full_for_the_card_leaves_the_weights_and_card_that_were_there(folder, run, monkeypatch):
    export(run, run / "gan.safetensors", {})
    train(replace(TINY, steps=3), folder, run, resume=True)
    before = files(run)
    calls = iter([None])
    monkeypatch.setattr(os, "fsync", lambda _: next(calls, 0) is None or full_disk())
    with pytest.raises(HealthiVertError, match=r"the disk is full, so .*gan\.safetensors was not written"):
        export(run, run / "gan.safetensors", {})
    assert files(run) == before
    load_weights(run / "gan.safetensors")


def test_a_disk_that_is_full_for_samples_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("healthivert.training.make_samples.spine_samples", full_disk)
    with pytest.raises(HealthiVertError, match=r"data: the disk is full; free some space and repeat the command"):
        make_samples(tmp_path / "data", 1, 0, 1, lambda *_: None)
    assert not (tmp_path / "data").exists()


def test_the_command_says_how_to_go_on_after_a_wall_clock_limit(folder, tmp_path, capsys):
    recipe = tmp_path / "recipe.json"
    trainer = {"steps": 5, "batch_size": 2, "held_out": 0.3, "wall_clock_minutes": 0.0}
    content = {"model": "gan", "samples": {"count": 1, "seed": 0}, "trainer": trainer, "generator": {"width": 4}}
    recipe.write_text(json.dumps(content))
    assert call("train", "--data", folder, "--out", tmp_path / "run", "--recipe", recipe) == 0
    shown = capsys.readouterr()
    assert "(1 steps, " in shown.out and "of the time waiting for data" in shown.out
    assert "stopped by the wall-clock limit at step 1 of 5; it is saved: go on with the same command" in shown.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workers", "-1"), "--workers -1: cannot be negative; pass 0 or more"),
        (("--model", "diffusion"), "this is a recipe for --model gan, not for diffusion"),
        (("--device", "mps"), "device 'mps' is not available on this machine"),
        (("--out", ""), "argument --out: '' is no folder; name one, or . for this one"),
    ],
)
def test_a_wrong_option_is_one_line(folder, tmp_path, capsys, words, said):
    if torch.backends.mps.is_available():
        pytest.skip("this machine has what the test takes for missing")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"model": "gan", "samples": {"count": 1, "seed": 0}, "trainer": {}}))
    assert call("train", "--data", folder, "--out", tmp_path / "run", "--recipe", recipe, *words) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not (tmp_path / "run").exists()


def test_a_generator_without_spectral_norm_is_another_configuration(folder, run):
    line = refusal(replace(TINY, generator=GanSettings(width=4)), folder, run, resume=True)
    assert "generator.spectral_norm True, not False" in line
