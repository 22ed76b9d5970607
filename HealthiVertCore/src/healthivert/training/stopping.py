"""How a training is told to end: by a signal, which it heeds when the step in hand is done."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from healthivert.progress import SIGNALS

STOPS = SIGNALS + ((signal.SIGHUP,) if sys.platform != "win32" else ())  # the last is of a terminal that is closed


class StopRequest:
    """Which signal asked for the end, None if none did."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def wanted(self) -> bool:
        return self.signal is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Within it SIGTERM, Ctrl-C and a closed terminal only leave a note, so that the step in hand ends and is saved."""
    request = StopRequest()
    try:
        before = {number: signal.signal(number, request) for number in STOPS if not _is_under_nohup(number)}
    except ValueError:  # only the main thread may listen to signals; elsewhere the caller ends the run
        before = {}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_under_nohup(number: int) -> bool:
    """Whether it is of a terminal that is closed, and this process was started so as to outlive that."""
    return number not in SIGNALS and signal.getsignal(number) is signal.SIG_IGN
