"""A process that does not outlive the one that started it, however that one died."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType

from healthivert.running_processes import running_test

LOOK_EVERY_S = 0.5
UNWIND_S = 2.0  # a cancelled command needs less to remove what it began


class ParentWatch:
    """Context manager: while it is open, the end of the parent cancels this process, and soon ends it by force.

    folder: removed then, with everything in it.
    """

    def __init__(self, parent: int, folder: Path | None = None, look_every_s: float = LOOK_EVERY_S) -> None:
        self.parent = parent
        self.folder = folder
        self.look_every_s = look_every_s
        self.own_group = _has_group_of_its_own(parent)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="parent watch", daemon=True)

    def __enter__(self) -> ParentWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()

    def _watch(self) -> None:
        is_running = running_test(self.parent)
        while not self._finished.wait(self.look_every_s):
            if not is_running():
                break
        else:
            return
        _thread.interrupt_main(signal.SIGTERM)
        self._finished.wait(UNWIND_S)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.own_group:
            os.killpg(os.getpgrp(), signal.SIGKILL)  # with whatever it has started, and what has started it
        os._exit(128 + signal.SIGTERM)


def _has_group_of_its_own(parent: int) -> bool:
    """Whether the parent put this process (or a launcher of it) into a new process group."""
    if sys.platform == "win32":
        return False
    try:
        return os.getpgrp() != os.getpgid(parent)
    except OSError:  # the parent is gone already, so its group cannot be told from ours
        return False
