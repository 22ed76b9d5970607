"""Work that numpy and scipy do without the interpreter, two pieces at a time. More at a time need much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def two_at_a_time(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """work of every item, in the items' order. Raises what the first of them raises."""
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(work, items))
