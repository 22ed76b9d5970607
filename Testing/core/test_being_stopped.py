"""Ctrl-C and SIGTERM stop the command within two seconds and leave nothing under the final names."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line_case import command, usable_weights, write_shards, write_spine

from healthivert.progress import Cancellation, Progress

STOPPED_WITHIN_S = 6.0  # promised are 2 s; the tests may have a busy computer


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return usable_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """T12 to L5, L1 wedged, 2 mm."""
    return write_spine(tmp_path_factory.mktemp("scan"))


def test_a_cancellation_that_python_swallowed_is_heard_at_the_next_step() -> None:
    cancellation = Cancellation()
    progress = Progress(json_lines=True, stream=io.StringIO(), cancellation=cancellation)
    progress("load", 0.0)
    with pytest.raises(KeyboardInterrupt):
        cancellation(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        progress("write", 0.5)


def test_a_training_that_is_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    shards, out = write_shards(tmp_path / "shards"), tmp_path / "run"
    words = command("train", "--data", shards, "--out", out)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not (out / "metrics.jsonl").exists():
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.05)
        time.sleep(0.5)  # the handlers of the training are in place
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, "a script can tell it from a finished training"
    assert "training stopped by SIGTERM at step" in told and "with the same command and --resume" in told
    assert {"checkpoint.json", "gan.safetensors", "gan.json"} <= {entry.name for entry in out.iterdir()}


def start_run(scan, out: Path, weights: list[object]) -> subprocess.Popen[str]:
    words = command("run", *scan, "--vertebra", "L1", "--out", out, "--json-progress", *weights)
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(stage: str, stream: io.TextIOBase) -> None:
    for line in stream:
        if json.loads(line)["stage"] == stage:
            return
    pytest.fail(f"the command ended before its stage '{stage}'")


@pytest.mark.parametrize(
    ("stage", "numbers"),
    [
        ("case", [signal.SIGTERM]),
        ("generator", [signal.SIGINT]),
        ("generate", [signal.SIGTERM, signal.SIGTERM]),
        ("restore", [signal.SIGINT, signal.SIGTERM]),
        ("report", [signal.SIGTERM]),
    ],
)
def test_a_signal_stops_a_run_at_once_and_leaves_nothing(
    stage: str, numbers: list[signal.Signals], scan, weights, tmp_path: Path
) -> None:
    with start_run(scan, tmp_path / "out", weights) as process:
        assert process.stdout is not None and process.stderr is not None
        wait_for(stage, process.stdout)
        start = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.02)  # two signals at once would be one
        process.stdout.read()
        told = process.stderr.read()
        assert process.wait(60) == 128 + numbers[0]
        assert time.monotonic() - start < STOPPED_WITHIN_S
    assert told == "healthivert: cancelled; no unfinished results were left behind\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_does_not_wait_for_the_generator(scan, weights, tmp_path: Path) -> None:
    """Nor for the import of torch, which takes seconds and can stand in a thread."""
    words = command("run", *scan, "--vertebra", "L1", "--out", tmp_path / "out", "--json-progress", *weights)
    lines = (
        "import sys, time",
        "from healthivert import commands",
        "from healthivert.__main__ import command",
        "commands.load_generator = lambda choice: time.sleep(60)",
        "command()",
    )
    alone = [words[0], "-c", "\n".join(lines), *words[words.index("run") :]]
    with subprocess.Popen(alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        wait_for("bodies", process.stdout)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
        assert time.monotonic() - start < STOPPED_WITHIN_S
        assert process.stderr.read() == "healthivert: cancelled; no unfinished results were left behind\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_keeps_the_results_that_were_there(scan, weights, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("old")
    with start_run(scan, tmp_path / "out", ["--force", *weights]) as process:
        assert process.stdout is not None
        wait_for("write", process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert (tmp_path / "out" / "report.json").read_text() == "old"
    assert [entry.name for entry in tmp_path.rglob("*")] == ["out", "report.json"]
