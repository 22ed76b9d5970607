"""Progress is read by programs as JSON lines and by people as short lines; a command can be stopped at any time."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from healthivert.progress import Progress, quiet

LONG_COMMAND = """
import sys, time
from pathlib import Path
from healthivert.output_folder import OutputFolder
from healthivert.progress import install_cancellation

cancellation = install_cancellation()
try:
    with OutputFolder(Path(sys.argv[1])) as folder:
        (folder / "report.json").write_text("half")
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("cleaning", flush=True)
            time.sleep(0.5)
except KeyboardInterrupt:
    sys.exit(128 + cancellation.signal)
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_progress_is_one_ascii_object_per_line() -> None:
    stream = io.StringIO()
    progress = Progress(json_lines=True, stream=stream)
    progress("straighten", 0.25, "Wirbelkörper\nL1")
    progress("done", 1.0)
    lines = stream.getvalue().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"stage": "straighten", "fraction": 0.25, "message": "Wirbelkörper\nL1"},
        {"stage": "done", "fraction": 1.0, "message": ""},
    ]
    assert stream.getvalue().isascii()


def test_json_progress_is_flushed_to_stdout_at_once() -> None:
    code = "from healthivert.progress import Progress; import os; Progress(True)('a', 0.5, 'b'); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"stage": "a", "fraction": 0.5, "message": "b"}


@pytest.mark.parametrize(("told", "shown"), [(-0.5, 0.0), (0.333333333, 0.3333), (1.7, 1.0)])
def test_fractions_stay_between_0_and_1(told: float, shown: float) -> None:
    stream = io.StringIO()
    Progress(True, stream)("a", told)
    assert json.loads(stream.getvalue())["fraction"] == shown


def test_people_see_a_short_line_on_a_terminal() -> None:
    stream = Terminal()
    Progress(stream=stream)("generate", 0.5, "slice 3\nof 6")
    assert stream.getvalue() == " 50 %  generate: slice 3 of 6\n"


def test_a_log_file_gets_no_lines_unless_asked() -> None:
    silent, asked = io.StringIO(), io.StringIO()
    Progress(stream=silent)("a", 0.5)
    Progress(stream=asked, verbose=True)("a", 0.5)
    assert silent.getvalue() == ""
    assert asked.getvalue() == " 50 %  a\n"


def test_a_log_file_of_a_long_command_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr("healthivert.progress.time.monotonic", lambda: clock)
    stream = io.StringIO()
    progress = Progress(stream=stream)
    for step in range(151):
        clock = float(step)
        progress("train", step / 1000, f"step {step}")
    assert stream.getvalue() == "  6 %  train: step 60\n 12 %  train: step 120\n"


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    quiet("a", 0.5, "b")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_soon_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LONG_COMMAND, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        process.send_signal(number)
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(signal.SIGINT)  # impatient: must not break the cleaning up
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + number
        assert time.monotonic() - start < 6  # at once, on a busy computer
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_was_closed_stops_no_work_and_a_reader_of_json_lines_that_is_gone_does():
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    Progress(stream=Closed(), verbose=True)("train", 0.5, "step 1")
    with pytest.raises(OSError, match="Input/output error"):
        Progress(stream=Closed(), json_lines=True)("train", 0.5, "step 1")
