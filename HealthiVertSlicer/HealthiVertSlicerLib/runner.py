"""The core in a process of its own: started, listened to without waiting, and ended with everything that it started.

In: the words of a `healthivert` command. Out: progress while it runs, then a RunResult. Slicer's main thread only ever
calls poll(), which returns at once: two threads read what the child says.

Whatever the child prints, memory stays bounded and nothing raises: only lines that are progress in JSON are taken for
progress, everything else is kept as its output and in the log, up to a limit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

KILL_AFTER_S = 1.0  # from the request to end to the order to
READERS_LINGER_S = 0.5  # a process outside our reach may hold the pipe open for ever
LONGEST_LINE = 1 << 16
LOG_LINES = 5000
LOG_LINE_CHARACTERS = 1000
OUTPUT_CHARACTERS = 1 << 24
PENDING_STEPS = 64
SIGNALS_OF_A_CRASH = (4, 6, 7, 8, 11)
TOLD_LAST = 8  # lines of an error in which its cause is looked for: torch adds advice to CUDA's own words
OUT_OF_GRAPHICS_MEMORY = r"CUDA out of memory|CUDA error: out of memory|MPS backend out of memory|OutOfMemoryError"
GRAPHICS_FAILED = r"CUDA error|CUDA driver error|cuDNN error|CUDNN_STATUS|CUBLAS_STATUS|for the MPS device"


@dataclass(frozen=True)
class RunResult:
    """How a command ended.

    status: "done", "cancelled" or "failed". exit_code: None if it could not be started. output: what it printed on
    standard output that was no progress. log: all it said. message: "" if done, else one sentence with the remedy.
    graphics_failure: what the graphics processor failed of, in a sentence: the same command may succeed on the
    processor. "" for any other end.
    """

    status: str
    exit_code: int | None
    output: str
    log: str
    message: str
    graphics_failure: str = ""


class CommandRun:
    """A command of the core in a child process, which starts at once.

    arguments: e.g. ["run", ct, segmentation, "--vertebra", "L1", "--out", folder, "--json-progress"].
    environment: variables to set besides the usual ones. python: the interpreter (None: PythonSlicer).
    folder: the folder of this run, which the child removes should Slicer die before it.
    on_progress(stage, fraction, message) and on_done(result) are called from poll(), in the thread that calls it.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        python: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self.on_progress: Callable[[str, float, str], None] = lambda stage, fraction, message: None
        self.on_done: Callable[[RunResult], None] = lambda result: None
        self.result: RunResult | None = None
        self._steps: deque[tuple[str, float, str]] = deque(maxlen=PENDING_STEPS)
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._output: list[str] = []
        self._room = OUTPUT_CHARACTERS
        self._errors: deque[str] = deque(maxlen=200)
        self._cancelled = False
        self._ended_at: float | None = None
        self._reaping = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        words = [python or python_executable(), "-m", "healthivert.child", "--parent", str(os.getpid())]
        words += ["--folder", str(folder)] if folder else []
        self._start([*words, *map(str, arguments)], child_environment(environment))

    @property
    def running(self) -> bool:
        return self.result is None

    @property
    def log(self) -> str:
        return "\n".join(list(self._log))

    def poll(self) -> None:
        """Pass on what the child said since the last call, and its end. Call it from a timer; it does not wait."""
        if self.result is not None:
            return
        self._pass_on_progress()
        if self._process is None:
            return self._finish(None)
        with self._reaping:
            code = self._process.poll()
            if code is None:
                return
            if self._ended_at is None:
                self._ended_at = time.monotonic()
                self._signal_group("SIGKILL")  # whatever it started and left behind
        lingering = any(reader.is_alive() for reader in self._readers)
        if lingering and time.monotonic() - self._ended_at < READERS_LINGER_S:
            return
        self._pass_on_progress()
        self._finish(code)

    def cancel(self) -> None:
        """Ask the child to end, and see to it a second later. Returns at once; poll() tells when it is over."""
        if self._cancelled or self.result is not None:
            return
        self._cancelled = True
        if self._process is None:
            return
        with self._reaping:
            if self._process.returncode is None:
                self._signal_group("SIGTERM")
        timer = threading.Timer(KILL_AFTER_S, self._end_by_force)  # works even if nobody polls any more
        timer.daemon = True
        timer.start()

    def wait(self, timeout: float | None = None) -> RunResult:
        """For scripts: poll until the end. Raises TimeoutError after timeout seconds; the command then still runs."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self.poll()
            if self.result is not None:
                return self.result
            if time.monotonic() > end:
                raise TimeoutError(f"the command did not end within {timeout:g} s")
            time.sleep(0.02)

    def _start(self, words: list[str], environment: dict[str, str]) -> None:
        self._log.append(" ".join(words))
        options: dict = {"start_new_session": True}
        if sys.platform == "win32":
            hidden = subprocess.STARTUPINFO()
            hidden.dwFlags = subprocess.STARTF_USESHOWWINDOW
            options = {"startupinfo": hidden}
        try:
            self._process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **options,
            )
        except OSError as error:
            self._errors.append(f"cannot start {words[0]}: {error.strerror}")
            self._log.append(self._errors[-1])
            return
        for stream, hear in ((self._process.stdout, self._hear_output), (self._process.stderr, self._hear_error)):
            reader = threading.Thread(target=_read_lines, args=(stream, hear), name="healthivert reader", daemon=True)
            reader.start()
            self._readers.append(reader)

    def _hear_output(self, line: str) -> None:
        step = progress_of(line)
        if step is not None:
            self._steps.append(step)
            self._log.append(f"{100 * step[1]:3.0f} %  {step[0]}  {step[2]}".rstrip())
            return
        self._log.append(line[:LOG_LINE_CHARACTERS])
        self._room -= len(line) + 1
        if self._room >= 0:
            self._output.append(line)

    def _hear_error(self, line: str) -> None:
        self._log.append(line[:LOG_LINE_CHARACTERS])
        self._errors.append(line[:LOG_LINE_CHARACTERS])

    def _pass_on_progress(self) -> None:
        for _step in range(len(self._steps)):
            _guarded(self.on_progress, *self._steps.popleft())

    def _finish(self, code: int | None) -> None:
        status = "cancelled" if self._cancelled else "done" if code == 0 else "failed"
        errors = [line.strip() for line in self._errors if line.strip()]
        message = "" if status == "done" else _sentence(status, code, errors)
        graphics = _graphics_failure(errors) if status == "failed" else ""
        self.result = RunResult(status, code, "\n".join(self._output), self.log, message, graphics)
        _guarded(self.on_done, self.result)

    def _end_by_force(self) -> None:
        with self._reaping:
            if self._process is not None and self._process.returncode is None:
                self._signal_group("SIGKILL")

    def _signal_group(self, name: str) -> None:
        """To the child and all its children. PythonSlicer is a launcher: the child itself would not be enough."""
        assert self._process is not None
        if sys.platform == "win32":
            if self._process.returncode is None:
                subprocess.Popen(
                    ["taskkill", "/PID", str(self._process.pid), "/T", "/F"],
                    creationflags=subprocess.CREATE_NO_WINDOW,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            return
        # macOS: PermissionError for a group of which none is left
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, getattr(signal, name))


def progress_of(line: str) -> tuple[str, float, str] | None:
    """(stage, fraction, message) of a line that healthivert.progress wrote; None for any other."""
    if not line.startswith("{"):
        return None
    try:
        step = json.loads(line)
        stage, fraction, message = step["stage"], step["fraction"], step.get("message", "")
    except (ValueError, KeyError, RecursionError):
        return None
    if not isinstance(stage, str) or not isinstance(message, str) or isinstance(fraction, bool):
        return None
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        return None
    return stage, float(fraction), message


def python_executable() -> str:
    """Slicer's own Python as a program; this interpreter where there is no Slicer application."""
    return shutil.which("PythonSlicer") or sys.executable


def core_folder() -> Path | None:
    """The folder to import healthivert from: beside the module when installed, HealthiVertCore/src in the sources,
    None if it is to be found among the installed packages."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1], here.parents[2] / "HealthiVertCore" / "src"):
        if (folder / "healthivert" / "child.py").is_file():
            return folder
    return None


def child_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables for the child: those that Slicer was started with, as PythonSlicer sets up Slicer's own itself."""
    import slicer

    application = getattr(slicer, "app", None)
    in_slicer = application is not None and hasattr(application, "startupEnvironment")
    variables = slicer.util.startupEnvironment() if in_slicer else dict(os.environ)
    folders = [str(core_folder() or ""), variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(folder for folder in folders if folder)
    variables["PYTHONIOENCODING"] = "utf-8"
    variables["PYTHONSAFEPATH"] = "1"  # nothing is imported from the folder that Slicer happens to run in
    return {**variables, **(more or {})}


def _read_lines(stream: IO[bytes], hear: Callable[[str], None]) -> None:
    """To the end of the stream. A line without end comes in pieces, bytes that are no UTF-8 as question marks."""
    with stream:
        while line := stream.readline(LONGEST_LINE):
            hear(line.decode("utf-8", errors="replace").rstrip("\r\n"))


def _guarded(call: Callable[..., None], *arguments: object) -> None:
    """A mistake in a listener must not keep the run from being followed to its end."""
    try:
        call(*arguments)
    except Exception:
        logging.exception("HealthiVert: a listener to a run failed")


def _sentence(status: str, code: int | None, errors: Sequence[str]) -> str:
    """Why a run did not end well, and what to do. errors: what it said on standard error, without empty lines."""
    from slicer.i18n import tr as _

    if status == "cancelled":
        return words_after_cancelling()
    last = errors[-1] if errors else ""
    if code is None:
        return _("The calculation could not be started ({reason}). Install HealthiVert again.").format(reason=last)
    told = next((found[1] for line in reversed(errors) if (found := re.match(r"healthivert[^:]*: (.+)", line))), None)
    graphics = _graphics_failure(errors)
    if graphics:
        return _("{cause} Choose the device cpu, or close other programs that use it, and try again.").format(
            cause=graphics
        )
    known = _known_cause("\n".join(errors[-TOLD_LAST:]))
    if known:
        return known
    if code == 2 and told:
        return told
    if code in (-9, 137):
        return _(
            "The system ended the calculation, most likely as memory ran out. Close other programs or crop the CT "
            "around the spine, and try again."
        )
    if -code in SIGNALS_OF_A_CRASH or code > 0x7FFFFFFF:
        return _("The calculation crashed (exit code {code}). Choose the device cpu and try again.").format(code=code)
    return _(
        "The calculation failed ({reason}). Try again; if it fails again, report it with the log, as it is a fault of "
        "the program."
    ).format(reason=last or _("exit code {code}, without a word").format(code=code))


def words_after_cancelling(kept: Sequence[str] = ()) -> str:
    """kept: names of what had been done before, and stays."""
    from slicer.i18n import tr as _

    if kept:
        return _("Cancelled. What was done before is kept: {names}.").format(names=", ".join(kept))
    return _("Cancelled: nothing was changed.")


def _graphics_failure(errors: Sequence[str]) -> str:
    """What the graphics processor failed of, or ""."""
    from slicer.i18n import tr as _

    text = "\n".join(errors[-TOLD_LAST:])
    if re.search(OUT_OF_GRAPHICS_MEMORY, text):
        return _("The graphics processor ran out of memory.")
    return _("The graphics processor failed.") if re.search(GRAPHICS_FAILED, text) else ""


def _known_cause(text: str) -> str | None:
    """The sentence for what goes wrong on a computer rather than in the images."""
    from slicer.i18n import tr as _

    missing = re.search(r"No module named '?([\w.]+)|(matplotlib), which is not installed", text)
    if missing:
        return _(
            "The Python package {name} is missing. Press Apply in the panel, which offers to install what is needed, "
            "and agree."
        ).format(name=(missing[1] or missing[2]).split(".")[0])
    if re.search(r"MemoryError|DefaultCPUAllocator|bad_alloc|not enough memory", text):
        return _("The memory ran out. Close other programs or crop the CT around the spine, and try again.")
    if re.search(r"No space left on device|disk is full|Errno 28|Disk quota", text):
        return _(
            "The disk with the temporary folder is full. Free some space on it, or choose another temporary folder in "
            "Slicer's application settings, and try again."
        )
    if re.search(r"\.partial-|cannot be written|Read-only file system", text):
        return _(
            "The temporary folder cannot be written. Correct its permissions, or choose another temporary folder in "
            "Slicer's application settings, and try again."
        )
    return None
