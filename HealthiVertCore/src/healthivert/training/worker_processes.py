"""Many pieces of work at once in processes of their own, with an end that is noticed.

In: a function and its arguments. Out: its results as they come. A process that is killed (by the system, for want of
memory) is an error here; multiprocessing.Pool would wait for its result for ever.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

from healthivert.errors import HealthiVertError

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def check_workers(workers: int) -> None:
    """Raise HealthiVertError for fewer processes than one."""
    if workers < 1:
        raise HealthiVertError(f"--workers {workers}: at least one process is needed; pass 1 or more")


def results_of(
    work: Callable[[Argument], Result], arguments: Sequence[Argument], workers: int
) -> Generator[Result, None, None]:
    """work(argument) for every argument, in any order; in this process if workers is 1.

    Closing the generator ends the processes at once. Raises HealthiVertError if one of them is killed.
    """
    if workers == 1:
        yield from map(work, arguments)
        return
    others = set(active_children())
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_settle)
    try:
        for future in as_completed([pool.submit(work, argument) for argument in arguments]):
            yield future.result()
    except BrokenProcessPool:
        raise HealthiVertError(
            "one of the worker processes was killed, most often for want of memory; what was finished is kept: "
            "repeat the command with fewer --workers"
        ) from None
    finally:
        for process in set(active_children()) - others:
            process.kill()  # what they have in hand is written whole or not at all
        pool.shutdown(wait=True, cancel_futures=True)


def _settle() -> None:
    """One thread each, and Ctrl-C is the parent's business."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
