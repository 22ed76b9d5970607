"""Work for the tests of worker processes, in a module that starts fast."""

from __future__ import annotations

import os
import signal
import time


def killed_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def slow_but_for_zero(number: int) -> int:
    time.sleep(60 if number else 0)
    return number
