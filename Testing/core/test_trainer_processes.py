"""Training in several processes, and in processes that are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from command_line_case import call
from training_case import tiny, words, write_vertebrae

from healthivert.errors import HealthiVertError
from healthivert.training.checkpoint import holds_run, load_checkpoint, save_checkpoint
from healthivert.training.distributed import Processes
from healthivert.training.stopping import STOPS
from healthivert.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Pictures take longer than these trainings; test_trainer has a test of them."""
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_vertebrae(tmp_path_factory.mktemp("shards"))


def curve(run: Path, name: str) -> list[float]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry[name] for entry in entries if entry["kind"] == "training"]


def called(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


def test_two_processes_learn_what_one_learns_from_the_same_images(folder, tmp_path):
    settings = [{"model": model, "steps": 4} for model in ("gan", "diffusion")]
    for one in settings:
        train(tiny(**one), folder, tmp_path / f"{one['model']}_alone")
    done = called(TORCHRUN + words(folder, [tmp_path / one["model"] for one in settings], settings))
    assert done.returncode == 0, done.stderr
    for model in ("gan", "diffusion"):
        alone, together = tmp_path / f"{model}_alone", tmp_path / model
        assert json.loads((together / "configuration.json").read_text())["machine"]["images_per_process"] == 1
        for name in ("total", "ct", "gradient_norm"):
            assert curve(together, name) == pytest.approx(curve(alone, name), rel=2e-4)
        expected, found = (load_checkpoint(run)[1]["validation"] for run in (alone, together))
        assert found == pytest.approx(expected, rel=1e-3)


def test_what_is_wrong_for_all_processes_is_said_once(folder, tmp_path):
    started = two_processes(folder, tmp_path / "run", batch_size=3)
    told = "".join(process.communicate(timeout=300)[1] for process in started)
    assert [process.returncode for process in started] == [2, 2]
    assert re.findall("healthivert: .*", told) == [
        "healthivert: batch_size 3: cannot be shared evenly by 2 processes; "
        "set it to a multiple of 2 in the recipe, or start fewer processes"
    ]


def test_more_processes_than_vertebrae_are_refused(folder, tmp_path, monkeypatch):
    three = Processes(rank=0, count=3)
    monkeypatch.setattr(Processes, "any", lambda self, *flags: list(flags))

    class Three:
        def __enter__(self):
            return three, torch.device("cpu")

        def __exit__(self, *_):
            return None

    monkeypatch.setattr("healthivert.training.trainer.this_process", lambda settings: Three())
    with pytest.raises(HealthiVertError, match="2 vertebrae to train on are fewer than the 3 processes; start fewer"):
        train(tiny(batch_size=3), folder, tmp_path / "run")


def test_images_that_cannot_be_shared_evenly_are_refused():
    assert [Processes(rank, 4).share(8) for rank in (0, 3)] == [range(0, 2), range(6, 8)]
    with pytest.raises(HealthiVertError, match="batch_size 6: cannot be shared evenly by 4 processes"):
        Processes(0, 4).share(6)


def test_a_process_that_loses_the_other_says_so_and_keeps_the_checkpoint(folder, tmp_path):
    run = tmp_path / "run"
    started = two_processes(folder, run, steps=10_000, checkpoint_minutes=0.0)
    wait_for_checkpoint(run, started[0])
    started[1].kill()
    _, told = started[0].communicate(timeout=120)
    started[1].communicate()
    assert started[0].returncode == 2
    assert re.search(r"process 0 of 2 has lost the others.*checkpoint\.json of step \d+.*--resume", told)
    assert load_checkpoint(run)[1]["step"] >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="children are looked up in /proc")
def test_a_killed_data_worker_of_one_process_ends_all_and_is_named(folder, tmp_path):
    run = tmp_path / "run"
    started = two_processes(folder, run, steps=10_000, checkpoint_minutes=0.0, workers=1)
    wait_for_checkpoint(run, started[0])
    for child in Path(f"/proc/{started[1].pid}/task/{started[1].pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    told = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "has lost the others" in told[0] and "prepares batches was killed" in told[1]
    assert all("checkpoint.json of step" in words and "Traceback" not in words for words in told)


def test_a_process_that_is_not_the_first_says_nothing_of_what_all_would_say(tmp_path, monkeypatch, capsys):
    train_there = "train", "--data", tmp_path, "--out", tmp_path / "run", "--recipe", tmp_path / "absent.json"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert call(*train_there) == 2 and capsys.readouterr().err == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert call(*train_there) == 2 and "absent.json" in capsys.readouterr().err


def test_what_other_programs_leave_in_the_environment_makes_no_group_of_processes(
    folder, tmp_path, monkeypatch, capsys
):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "3")
    recipe = tmp_path / "recipe.json"
    trainer = {"steps": 1, "batch_size": 2, "held_out": 0.3}
    content = {"model": "gan", "samples": {"count": 1, "seed": 0}, "trainer": trainer, "generator": {"width": 4}}
    recipe.write_text(json.dumps(content))
    command = "train", "--data", folder, "--out", tmp_path / "run", "--recipe", recipe
    assert call(*command) == 0 and (tmp_path / "run" / "gan.safetensors").exists()
    assert call(*command) == 2 and "already holds a training run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "wrong"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_PORT, MASTER_ADDR"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE, RANK, MASTER_PORT, MASTER_ADDR"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "-", "MASTER_ADDR": "here", "MASTER_PORT": "1"}, "LOCAL_RANK"),
    ],
)
def test_half_of_what_torchrun_says_is_one_line(folder, tmp_path, monkeypatch, environment, wrong):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HealthiVertError) as told:
        train(tiny(), folder, tmp_path / "run")
    size = environment["WORLD_SIZE"]
    assert str(told.value).startswith(
        f"WORLD_SIZE is {size!r}, but missing in the environment or wrong: {wrong}; start"
    )
    assert not (tmp_path / "run").exists()


def test_a_signal_that_reaches_one_process_ends_all_and_is_named_by_the_first(folder, tmp_path, monkeypatch):
    # of the step: SIGINT elsewhere, the other signals, the time limit, a checkpoint
    asked = len(STOPS) + 2
    seen = iter([[True] + [False] * (asked - 1)])
    of_all = Processes.any

    def any_of(self: Processes, *flags: bool) -> list[bool]:
        return of_all(self, *flags) if len(flags) != asked else next(seen)

    monkeypatch.setattr(Processes, "any", any_of)
    end = train(tiny(), folder, tmp_path / "run")
    assert (end.step, end.signal, end.exit_status) == (1, signal.SIGINT, 128 + signal.SIGINT)


def two_processes(folder: Path, run: Path, **settings: object) -> list[subprocess.Popen[str]]:
    """Started as torchrun would, but without it: it would end the one when the other is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return [
        subprocess.Popen(
            [sys.executable, *words(folder, [run], [settings])],
            env=ENVIRONMENT | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def wait_for_checkpoint(run: Path, process: subprocess.Popen[str]) -> None:
    while not (run / "checkpoint.json").exists():
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)


@pytest.mark.parametrize("model", ["gan", "diffusion"])
def test_a_run_that_is_killed_twice_and_resumed_is_the_uninterrupted_one_to_the_bit(folder, tmp_path, model):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = {"model": model, "steps": 16, "checkpoint_minutes": 0.0}
    train(tiny(**settings), folder, whole)
    steps = []
    for more in ([], ["--resume"]):
        command = [sys.executable, *words(folder, [killed], [settings], *more)]
        with subprocess.Popen(command, env=ENVIRONMENT) as process:
            if more:
                wait_for_step(killed, steps[0] + 2, process)
            else:
                wait_for_checkpoint(killed, process)
            time.sleep(random.uniform(0.0, 0.1))  # any moment: in a step, in the middle of a file
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        steps.append(load_checkpoint(killed)[1]["step"])
    assert 1 <= steps[0] < steps[1] < 16
    train(tiny(**settings), folder, killed, resume=True)
    (expected, _), (found, record) = load_checkpoint(whole), load_checkpoint(killed)
    assert record["step"] == 16 and set(expected) == set(found)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert curve(killed, "total") == curve(whole, "total")
    assert not list(killed.glob("*.partial-*")), "what the killed processes had begun is gone"


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while json.loads((run / "checkpoint.json").read_text())["step"] < step:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("saved", "call"),
    [(saved, call) for saved, calls in (((), 4), ((1,), 6), ((1, 2), 7), ((1, 3), 4)) for call in range(1, calls + 1)],
)
def test_a_checkpoint_is_whole_wherever_its_writing_is_cut_off(tmp_path, monkeypatch, saved, call):
    """Every replacement and every removal of a file in turn is the last thing that a process did."""
    record = {"settings": {}, "validation": {}}
    for step in saved:
        save_checkpoint(tmp_path, {"weight": torch.full((3,), float(step))}, record | {"step": step})
    calls = 0

    class Killed(BaseException):
        pass

    def counted(real):
        def cut_off(*arguments, **more):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Killed
            return real(*arguments, **more)

        return cut_off

    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    killed = False
    try:
        save_checkpoint(tmp_path, {"weight": torch.full((3,), 3.0)}, record | {"step": 3, "validation": {"dice": 1}})
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed, "there were so many places to be cut off"
    if not holds_run(tmp_path):
        assert not saved
        return
    tensors, found = load_checkpoint(tmp_path, warn=pytest.fail)
    assert found["step"] in (3, *saved[-1:]) and torch.equal(tensors["weight"], torch.full((3,), float(found["step"])))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes to send a signal to")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_workers_too_ends_the_step_in_hand_and_saves_it(folder, tmp_path, number):
    """As torchrun stops its processes, and timeout, and a terminal."""
    run = tmp_path / "run"
    started = [sys.executable, *words(folder, [run], [{"workers": 1, "steps": 10_000, "checkpoint_minutes": 60}])]
    with subprocess.Popen(started, env=ENVIRONMENT, stderr=subprocess.PIPE, start_new_session=True) as process:
        while not ((run / "metrics.jsonl").exists() and len(curve(run, "total")) >= 2):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
    assert load_checkpoint(run)[1]["step"] >= 2


@pytest.mark.filterwarnings("ignore:This DataLoader")
def test_a_killed_data_worker_stops_the_training_and_keeps_its_checkpoint(folder, tmp_path):
    def kill_workers(stage: str, fraction: float, message: str) -> None:
        if message.startswith("step 2,"):
            for process in multiprocessing.active_children():
                process.kill()

    settings = tiny(workers=1, steps=1000, checkpoint_minutes=0.0)
    with pytest.raises(HealthiVertError, match=r"prepares batches was killed.*checkpoint\.json of step \d.*--resume"):
        train(settings, folder, tmp_path / "run", progress=kill_workers)
    assert load_checkpoint(tmp_path / "run")[1]["step"] >= 1
