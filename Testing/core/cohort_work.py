"""What the processes of a cohort are given to do in tests. A module of its own, so that a new process can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from healthivert.cohort import CaseTask, Row, nothing_row
from healthivert.cohort_manifest import CohortCase


def work(case: CohortCase, folder: Path) -> list[Row]:
    """The case's name says what happens to it."""
    if case.name.startswith("killed"):
        (folder / f".L1.partial-{os.getpid()}").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    if case.name.startswith("leaves"):
        os._exit(3)
    if case.name.startswith("bug"):
        raise ZeroDivisionError("one by nothing")
    if case.name.startswith("deaf"):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    if case.name.startswith(("slow", "deaf")):
        (folder / f".L1.partial-{os.getpid()}").mkdir()
        (folder / "begun").touch()
        time.sleep(60)
    return [nothing_row(case.name, 1, ())]


def task(name: str, out: Path) -> CaseTask:
    return CaseTask(CohortCase(name, out / "ct", out / "seg", ()), out / name, {"ct": name}, work)
