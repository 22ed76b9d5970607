"""Whether another process is still running, asked in the way of each system."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def running_test(process: int) -> Callable[[], bool]:
    """A function that says whether the process of that id is running. On Windows it holds the process's handle: signal
    0, which asks elsewhere, would be Ctrl-C there."""
    if sys.platform == "win32":
        import ctypes

        synchronize, timed_out = 0x00100000, 0x102
        handle = ctypes.windll.kernel32.OpenProcess(synchronize, False, process)
        return lambda: bool(handle) and ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == timed_out

    def is_running() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    return is_running
