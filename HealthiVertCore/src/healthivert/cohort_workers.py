"""Where the cases of a cohort are done: in processes of this machine, or on a Dask cluster.

In: CaseTask objects. Out: (task, rows) as they end, in any order. A case whose process dies is a failed row, and the
others go on: every case has a process of its own, which also gives back all its memory.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from healthivert.cohort import CaseTask, Row, do_case, rows_of_lost
from healthivert.errors import HealthiVertError, not_installed
from healthivert.parent_watch import ParentWatch
from healthivert.progress import install_cancellation

UNWIND_S = 0.5  # a cancelled case needs less to remove what it began; then it is ended by force
CONNECT_S = 10

Ended = Generator[tuple[CaseTask, list[Row]], None, None]


def in_processes(tasks: Sequence[CaseTask], workers: int) -> Ended:
    """At most `workers` cases at a time. Leaving the loop ends the running ones within UNWIND_S and a little."""
    processes = _Processes()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="case")  # a thread waits for each process
    try:
        futures: dict[Future, CaseTask] = {pool.submit(processes.run, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        processes.stop()
        pool.shutdown(wait=True, cancel_futures=True)


class _Processes:
    """The processes that are running, so that all of them can be stopped."""

    def __init__(self) -> None:
        self._context = get_context("spawn")  # a fork would inherit locks of this process's threads
        self._running: dict[int, BaseProcess] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, task: CaseTask) -> list[Row]:
        """The rows of a case from a process of its own; one of them failed if that dies."""
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_case_process, args=(task, sender), name=f"case {task.case.name}")
        with self._lock:
            if self._stopped:
                return []
            process.start()
            self._running[process.pid or 0] = process
        sender.close()  # the child's is now the only one, so its death ends the waiting
        rows: list[Row] | None = None
        with suppress(EOFError), receiver:
            rows = receiver.recv()
        process.join()
        with self._lock:
            del self._running[process.pid or 0]
        if rows is None:
            _remove_unfinished(task.folder, process.pid or 0)
            return rows_of_lost(task, _how_it_died(process.exitcode))
        return rows

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            running = list(self._running.values())
        for process in running:
            process.terminate()
        waiting = {process.sentinel for process in running}
        deadline = time.monotonic() + UNWIND_S
        while waiting and time.monotonic() < deadline:
            waiting -= set(wait(waiting, deadline - time.monotonic()))
        for process in running:
            if process.sentinel in waiting:
                process.kill()


def _case_process(task: CaseTask, sender: Connection) -> None:
    """The whole life of a case's process."""
    install_cancellation()
    try:
        with ParentWatch(os.getppid()):
            sender.send(do_case(task))
    except KeyboardInterrupt:
        os._exit(1)  # everything was put away on the way here, and Python's own exit takes its time


def _how_it_died(status: int | None) -> str:
    if status is not None and status < 0:
        return (
            f"its process was ended by signal {-status}"
            f"{', perhaps for want of memory; try fewer --workers' if status == -9 else ''}; the other cases went on"
        )
    return f"its process ended with status {status} before it was done; the other cases went on"


def _remove_unfinished(folder: Path, process: int) -> None:
    """What a process that died by force could not remove itself."""
    for left in folder.glob(f".*.partial-{process}"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def on_cluster(tasks: Sequence[CaseTask], scheduler: str) -> Ended:
    """On the workers of a Dask scheduler, which must see the same files under the same paths.

    Leaving the loop takes back what has not begun; a case that a worker is at ends there. Raises HealthiVertError
    without dask.distributed, and if no scheduler answers.
    """
    try:
        from dask.distributed import Client
        from dask.distributed import as_completed as completed
    except ImportError:
        raise not_installed("dask.distributed", "cluster", "--scheduler needs") from None
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, ImportError):
        raise HealthiVertError(
            f"--scheduler {scheduler}: no Dask scheduler answers there; give the address that `dask scheduler` prints, "
            "for example tcp://10.0.0.1:8786"
        ) from None
    futures = {}
    try:
        futures = {client.submit(do_case, task, pure=False): task for task in tasks}
        for future in completed(list(futures), loop=client.loop):
            task, error = futures[future], future.exception()
            yield task, future.result() if error is None else rows_of_lost(task, _cluster_error(error))
    finally:
        with suppress(Exception):  # the cluster may be gone, and that was said already
            client.cancel(list(futures), asynchronous=False)
            client.close(timeout=UNWIND_S)


def _cluster_error(error: BaseException) -> str:
    return f"its worker was lost ({type(error).__name__}: {' '.join(str(error).split())}); the other cases went on"
