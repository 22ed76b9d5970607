"""Work in threads beside the main one: what numpy and scipy do without the interpreter, and the writing of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
