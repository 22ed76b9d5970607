"""The child process: heard without waiting, understood whatever it says, and ended with all it started."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from HealthiVertSlicerLib import runner
from HealthiVertSlicerLib.runner import CommandRun, RunResult
from patience import ANSWERED_WITHIN_S, STOPPED_WITHIN_S

SLEEPER = "import time; print(os.getpid(), flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER

Program = Callable[[str], str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes an interpreter that runs the given code, whatever it is called with."""

    def make(code: str) -> str:
        path = tmp_path / f"program_{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!{sys.executable}\nimport os, sys, json, subprocess, time\n{code}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def run(code: str, program: Program) -> RunResult:
    return CommandRun([], python=program(code)).wait(20)


def running(process: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 10.0, poll: Callable[[], None] | None = None) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        if poll is not None:
            poll()
        time.sleep(0.01)


def numbers_in(command: CommandRun, count: int) -> list[int]:
    """The first process numbers that the program printed, each on a line."""
    wait_until(lambda: sum(line.isdecimal() for line in command.log.splitlines()) >= count, poll=command.poll)
    return [int(line) for line in command.log.splitlines() if line.isdecimal()]


def step_line(fraction: float) -> str:
    return json.dumps({"stage": "bodies", "fraction": fraction, "message": "finding"})


def test_progress_is_told_in_order_and_kept_out_of_the_output(program: Program) -> None:
    code = (
        f"print({step_line(0.25)!r}); print('an answer'); print({step_line(0.5)!r}); print('a word', file=sys.stderr)"
    )
    command = CommandRun([], python=program(code))
    steps: list[tuple] = []
    ends: list[RunResult] = []
    command.on_progress = lambda *step: steps.append(step)
    command.on_done = ends.append
    result = command.wait(20)
    assert steps == [("bodies", 0.25, "finding"), ("bodies", 0.5, "finding")]
    assert (result.status, result.exit_code, result.output, result.message) == ("done", 0, "an answer", "")
    assert "a word" in result.log and "25 %  bodies  finding" in result.log
    command.poll()
    assert ends == [result], "its end is told once"


@pytest.mark.parametrize(
    "line",
    [
        b"\\xff\\xfe broken \\x80",
        b"{",
        b'{"stage": "bodies"}',
        b'{"stage": "bodies", "fraction": "half"}',
        b'{"stage": "bodies", "fraction": NaN}',
        b'{"stage": "bodies", "fraction": true}',
        b'{"stage": 1, "fraction": 0.5}',
        b'{"stage": "bodies", "fraction": 0.5, "message": 7}',
        b"[1, 2]",
        b'{"stage":' + b"[" * 50000,
    ],
    ids=lambda line: line[:40].decode(),
)
def test_a_line_that_is_no_progress_is_output(line: bytes, program: Program) -> None:
    code = f"sys.stdout.buffer.write({line.decode()!r}.encode().decode('unicode_escape').encode('latin1') + b'\\n')"
    command = CommandRun([], python=program(code))
    steps: list[tuple] = []
    command.on_progress = lambda *step: steps.append(step)
    result = command.wait(20)
    assert result.status == "done"
    assert steps == []
    assert len(result.output) > 0


def test_the_caller_never_waits_for_a_child_that_floods_it(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "OUTPUT_CHARACTERS", 10_000)
    flood = f"line = {step_line(0.5)!r}\nfor _ in range(300): print('x' * 100000); print(line)\nprint('end')"
    command = CommandRun([], python=program(flood))
    longest = 0.0
    while command.running:
        start = time.thread_time()  # what the machine does besides is no fault of ours
        command.poll()
        longest = max(longest, time.thread_time() - start)
        time.sleep(0.005)
    assert longest < ANSWERED_WITHIN_S
    assert command.result is not None
    assert len(command.result.output) <= 10_000
    assert len(command.result.log.splitlines()) <= runner.LOG_LINES


def test_the_caller_never_waits_for_a_child_that_says_nothing(program: Program) -> None:
    command = CommandRun([], python=program(SLEEPER))
    start = time.monotonic()
    command.poll()
    assert time.monotonic() - start < ANSWERED_WITHIN_S
    assert command.running
    command.cancel()
    command.wait(5)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        (SLEEPER, 1),
        (STUBBORN, 1),
        (f"subprocess.Popen([sys.executable, '-c', 'import os;{SLEEPER}'])\n{SLEEPER}", 2),
        (f"subprocess.Popen([sys.executable, '-c', 'import os;{STUBBORN}'])\n{SLEEPER}", 2),
        (f"subprocess.run([sys.executable, '-c', 'import os;{STUBBORN}'])", 1),
    ],
    ids=["obedient", "stubborn", "with a child", "with a stubborn child", "a launcher of a stubborn child"],
)
def test_cancel_ends_the_child_and_its_children_soon(code: str, count: int, program: Program) -> None:
    command = CommandRun([], python=program(code))
    processes = numbers_in(command, count)
    start = time.monotonic()
    command.cancel()
    assert time.monotonic() - start < ANSWERED_WITHIN_S, "cancel returns at once"
    result = command.wait(10)
    assert time.monotonic() - start < STOPPED_WITHIN_S
    assert (result.status, result.message) == ("cancelled", "Cancelled: nothing was changed.")
    wait_until(lambda: not any(map(running, processes)), STOPPED_WITHIN_S - (time.monotonic() - start))


def test_cancel_needs_nobody_who_polls(program: Program) -> None:
    command = CommandRun([], python=program(STUBBORN))
    (process,) = numbers_in(command, 1)
    command.cancel()
    wait_until(lambda: not running(process), STOPPED_WITHIN_S)
    assert command.wait(5).status == "cancelled"


def test_cancel_may_come_at_any_moment_and_twice(program: Program) -> None:
    command = CommandRun([], python=program(SLEEPER))
    command.cancel()
    command.cancel()
    assert command.wait(5).status == "cancelled"
    command.cancel()
    assert command.wait(5).status == "cancelled"


def test_what_a_finished_child_leaves_behind_is_ended(program: Program) -> None:
    child = f"subprocess.Popen([sys.executable, '-c', 'import os;{STUBBORN}'], stdout=subprocess.PIPE)"
    command = CommandRun([], python=program(f"print({child}.stdout.readline().decode(), flush=True)"))
    (process,) = numbers_in(command, 1)
    assert command.wait(5).status == "done"
    wait_until(lambda: not running(process), 1.0)


def test_a_process_out_of_reach_that_holds_the_pipe_does_not_hold_up_the_end(program: Program) -> None:
    code = f"subprocess.Popen([sys.executable, '-c', 'import os;{SLEEPER}'], start_new_session=True)"
    command = CommandRun([], python=program(code))
    (process,) = numbers_in(command, 1)
    try:
        assert command.wait(3).status == "done"
    finally:
        os.kill(process, signal.SIGKILL)


def test_a_mistake_of_a_listener_does_not_stop_the_run(program: Program) -> None:
    command = CommandRun([], python=program(f"print({step_line(0.5)!r})"))

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    command.on_progress = command.on_done = fail
    assert command.wait(10).status == "done"


def test_waiting_has_a_limit(program: Program) -> None:
    command = CommandRun([], python=program(SLEEPER))
    with pytest.raises(TimeoutError):
        command.wait(0.2)
    command.cancel()
    command.wait(5)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("healthivert: ct.nrrd: the file is empty; copy it again", 2, "ct.nrrd: the file is empty; copy it again"),
        ("healthivert: device 'cuda' is not available on this machine; choose auto or cpu", 2, "choose auto or cpu"),
        ("ModuleNotFoundError: No module named 'torch'", 1, "package torch is missing. Press Apply"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 1, "Choose the device cpu"),
        ("RuntimeError: MPS backend out of memory (MPS allocated: 9 GB)", 1, "Choose the device cpu"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", 1, "graphics processor failed. Choose"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", 1, "crop the CT around the spine"),
        ("MemoryError", 1, "crop the CT around the spine"),
        ("healthivert: /tmp/x/L1: the disk is full; free some space or choose another --out", 2, "Free some space"),
        ("OSError: [Errno 28] No space left on device", 1, "Free some space"),
        ("healthivert: /x/L1: /x cannot be written; correct its permissions", 2, "Correct its permissions"),
        ("KeyError: 'surprise'", 1, "failed (KeyError: 'surprise'). Try again; if it fails again, report it"),
        ("", 3, "exit code 3, without a word"),
    ],
)
def test_a_failure_is_told_in_a_sentence_with_the_remedy(error: str, code: int, told: str, program: Program) -> None:
    result = run(f"print({error!r}, file=sys.stderr); sys.exit({code})", program)
    assert (result.status, result.exit_code) == ("failed", code)
    assert told in result.message
    assert "\n" not in result.message
    assert error in result.log


@pytest.mark.parametrize(("number", "told"), [(9, "memory ran out"), (11, "crashed")])
def test_a_child_that_the_system_ended_is_told_as_such(number: int, told: str, program: Program) -> None:
    result = run(f"os.kill(os.getpid(), {number})", program)
    assert result.status == "failed"
    assert told in result.message


def test_an_interpreter_that_is_not_there_is_a_failure_and_no_exception(tmp_path: Path) -> None:
    result = CommandRun([], python=str(tmp_path / "no-python")).wait(5)
    assert (result.status, result.exit_code) == ("failed", None)
    assert "Install HealthiVert again" in result.message


def test_the_core_answers_from_its_own_folder_whatever_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('not me')")
    monkeypatch.chdir(tmp_path)
    result = CommandRun(["inspect", "--help"]).wait(30)
    assert result.status == "done", result.log
    assert result.output.startswith("usage: healthivert inspect")


def test_the_child_ends_with_slicer_and_takes_the_folder_with_it(tmp_path: Path) -> None:
    """A parent is killed without a chance to say so: the real child of the core notices by itself."""
    folder = tmp_path / "copies"
    folder.mkdir()
    (folder / "ct.nrrd").write_text("of a patient")
    core = runner.core_folder()
    words = [sys.executable, "-m", "healthivert.child"]
    training = ["samples", "--out", str(tmp_path / "samples"), "--count", "50"]  # longer than any test
    parent_code = (
        "import os, subprocess, sys, time\n"
        f"words = {words!r} + ['--parent', str(os.getpid()), '--folder', {str(folder)!r}] + {training!r}\n"
        "quiet = subprocess.DEVNULL\n"
        "child = subprocess.Popen(words, start_new_session=True, stdout=quiet, stderr=quiet)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(core)}
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until(lambda: (tmp_path / "samples").exists())
        assert running(child)
        parent.kill()
    wait_until(lambda: not running(child), 5.0)
    assert not folder.exists()
