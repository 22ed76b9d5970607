"""How far a long command is, for people and for programs, and how it is stopped.

JSON mode prints one object per step on stdout, {"stage", "fraction", "message"}, in ASCII and flushed; text mode prints
a short line on stderr when somebody looks at it, and a line a minute into a log file.
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WARNING = "warning"  # the stage of a message that must not be lost, wherever the others go
LOG_EVERY_S = 60.0  # so that a command of hours says how far it is where nobody looks, and a short one nothing


class Progress:
    """Callable: progress(stage, fraction, message). fraction is of the whole command, 0 to 1.

    With a cancellation, the step after it raises KeyboardInterrupt: Python swallows the first one where it falls into a
    finaliser.
    """

    def __init__(
        self,
        json_lines: bool = False,
        stream: TextIO | None = None,
        verbose: bool = False,
        cancellation: Cancellation | None = None,
    ) -> None:
        self.json_lines = json_lines
        self.stream = stream or (sys.stdout if json_lines else sys.stderr)
        self.shown = json_lines or verbose or self.stream.isatty()
        self.cancellation = cancellation
        self._logged = time.monotonic()

    def __call__(self, stage: str, fraction: float, message: str = "") -> None:
        if self.cancellation is not None and self.cancellation.signal is not None:
            raise KeyboardInterrupt
        if not self.shown and stage != WARNING and not self._log_is_due():
            return
        fraction = round(min(1.0, max(0.0, float(fraction))), 4)
        if self.json_lines:
            line = json.dumps({"stage": stage, "fraction": fraction, "message": message})
        else:
            line = f"{100 * fraction:3.0f} %  {stage}{': ' if message else ''}{' '.join(message.split())}"
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except OSError as error:
            if self.json_lines or error.errno != errno.EIO:  # of a terminal that was closed: nobody looks any more
                raise

    def _log_is_due(self) -> bool:
        """True once in LOG_EVERY_S."""
        if time.monotonic() - self._logged < LOG_EVERY_S:
            return False
        self._logged = time.monotonic()
        return True


def quiet(stage: str, fraction: float, message: str = "") -> None:
    """The progress of library use: none."""


def part_of(
    progress: Callable[[str, float, str], None], first: float, last: float
) -> Callable[[str, float, str], None]:
    """The progress of a step that takes a command from fraction first to fraction last."""
    return lambda stage, fraction, message: progress(stage, first + fraction * (last - first), message)


class Cancellation:
    """Which signal stopped the command: None, SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt once: later signals must not interrupt the cleaning up."""
        if self.signal is None:
            self.signal = number
            raise KeyboardInterrupt


def install_cancellation() -> Cancellation:
    """Let SIGINT and SIGTERM unwind the main thread as KeyboardInterrupt. Call it in the main thread."""
    cancellation = Cancellation()
    for number in SIGNALS:
        signal.signal(number, cancellation)
    return cancellation


def ignore_signals() -> None:
    """From here on SIGINT and SIGTERM do nothing, not even while Python shuts down."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
