"""Work in threads beside the main one: what numpy and scipy do without the interpreter, and the writing of files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
UNAWAITED = "unawaited work"


def two_at_a_time(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """work of every item, in the items' order; more at a time would need much memory. Raises what the first of them
    raises."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, items))


@contextmanager
def one_beside() -> Iterator[Executor]:
    """A thread for work that must have ended when the block ends, also by a signal: it runs before it is handed out.

    A signal that arrives while an executor starts a thread leaves one that the executor does not wait for. It would go
    on writing into a folder that is being removed.
    """
    with ThreadPoolExecutor(1) as beside:
        beside.submit(int).result()
        yield beside


def begun(work: Callable[..., Result], *arguments: object) -> Future[Result]:
    """work(*arguments), begun in a thread that a stopped command does not wait for: it must leave nothing behind.

    A command that calls this ends by exit_status.leave.
    """
    future: Future[Result] = Future()

    def do() -> None:
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # whatever it is, who asks for the result is to meet it
            future.set_exception(error)

    threading.Thread(target=do, name=UNAWAITED, daemon=True).start()
    return future


def has_unawaited_work() -> bool:
    """Whether something begun has not ended."""
    return any(thread.name == UNAWAITED for thread in threading.enumerate())
