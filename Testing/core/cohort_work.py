"""What the processes of a cohort are given to do in tests. A module of its own, so that a new process can import it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from healthivert.cohort import DONE, CaseTask, Row, as_source, failed_row, nothing_row
from healthivert.cohort_manifest import CohortCase


def done(case: CohortCase, level: str, folder: Path) -> Row:
    """A level's row and as much of its results as a cohort looks for."""
    (folder / level).mkdir(exist_ok=True)
    (folder / level / "report.html").touch()
    return failed_row(case.name, level, "") | {"status": DONE, "report": f"{case.name}/{level}/report.html"}


def work(case: CohortCase, folder: Path, kept: Mapping[str, Row]) -> Iterator[Row]:
    """The case's name says what happens to it."""
    if case.name.startswith("late"):
        yield done(case, "L1", folder)
        os.kill(os.getpid(), signal.SIGKILL)
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
    yield nothing_row(case.name, 1, ())


def task(name: str, out: Path, *levels: str, scan: str = "scan", seed: int = 0) -> CaseTask:
    case = CohortCase(name, out / scan / "ct", out / scan / "seg", levels)
    return CaseTask(case, out / name, as_source(case, {"seed": seed}), work)
