"""One process at a time writes into a folder, and nothing is left to stop the next one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line_case import call
from training_case import tiny, words, write_vertebrae

from healthivert.errors import HealthiVertError
from healthivert.hgam.samples import make_patches
from healthivert.progress import quiet
from healthivert.training.checkpoint import load_checkpoint
from healthivert.training.sole_use import sole_use
from healthivert.training.trainer import train

HOLD = """
import sys
from pathlib import Path
from healthivert.training.sole_use import sole_use
with sole_use(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(folder: Path, work: str = "training") -> Iterator[subprocess.Popen[str]]:
    """The folder is in use by another process, which ends with the block."""
    command = [sys.executable, "-c", HOLD, str(folder), work]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process


@pytest.mark.parametrize(
    ("work", "named"), [("training", "another training"), ("call of samples", "a call of samples")]
)
def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path, work, named):
    with held(tmp_path / "run", work) as process:
        with pytest.raises(HealthiVertError) as told, sole_use(tmp_path / "run", "training"):
            pass
        who = f"process {process.pid} on {socket.gethostname()}"
        assert str(told.value).startswith(f"{tmp_path / 'run'}: {named} ({who}) is at work there; wait for its end")
    with sole_use(tmp_path / "run", "training"):
        pass
    assert list(tmp_path.iterdir()) == [], "a folder that was made for nothing goes again"


def test_no_training_begins_on_samples_that_are_still_being_made(tmp_path):
    data = write_vertebrae(tmp_path / "data")
    with (
        held(data, "call of samples"),
        pytest.raises(HealthiVertError, match=r"data: a call of samples \(process \d+ on .*\) is at work there; wait"),
    ):
        train(tiny(steps=1), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(tiny(steps=1), data, tmp_path / "run").step == 1


def test_a_folder_that_was_there_or_has_something_in_it_stays(tmp_path):
    (tmp_path / "there").mkdir()
    with sole_use(tmp_path / "there", "training"), sole_use(tmp_path / "deep" / "made", "training"):
        (tmp_path / "deep" / "made" / "result").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "made", "result", "there"]


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    with held(tmp_path / "run") as process:
        process.kill()
    with sole_use(tmp_path / "run", "training") as killed:
        assert killed
    with sole_use(tmp_path / "run", "training") as killed:
        assert not killed


def test_a_second_training_is_refused_and_the_first_goes_on_even_to_be_killed_and_resumed(tmp_path):
    data, run = write_vertebrae(tmp_path / "data"), tmp_path / "run"
    settings = {"steps": 10_000, "checkpoint_minutes": 0.0, "workers": 1}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, *words(data, [run], [settings])], env=environment) as process:
        while not (run / "checkpoint.json").exists():
            assert process.poll() is None, "it ended by itself"
        for resume in (False, True):
            with pytest.raises(
                HealthiVertError, match=f"another training \\(process {process.pid} on .*\\) is at work there"
            ):
                train(tiny(**settings), data, run, resume=resume)
        assert process.poll() is None
        process.kill()  # its data worker outlives it a little, and holds nothing
    step = load_checkpoint(run)[1]["step"]
    assert train(tiny(steps=step + 1), data, run, resume=True).step == step + 1
    assert not list(run.glob("*.partial-*")) and not (run / ".in-use").exists()


def test_patches_for_the_classifier_are_made_by_one_call_at_a_time(tmp_path):
    work = "call that makes patches"
    with held(tmp_path, work), pytest.raises(HealthiVertError, match=f"another {work} .* is at work there"):
        make_patches(tmp_path, [1], 1, quiet)
    assert not list(tmp_path.glob("*.npz"))


def test_a_second_call_of_samples_is_refused_and_spoils_nothing_of_the_first(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    begun = tmp_path / "data" / "sample_000001_L1.npz.partial-1"
    begun.touch()
    with held(tmp_path / "data", "call of samples"):
        assert call("samples", "--out", tmp_path / "data", "--count", 1) == 2
        assert "data: another call of samples (process " in capsys.readouterr().err
        assert begun.exists()
