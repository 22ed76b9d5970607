"""A process that prepared batches and was killed: how that shows in the process that waits for them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar

Batch = TypeVar("Batch")
WORDS = "DataLoader worker"  # torch's, wherever the main thread is at that moment
PINNING_WORDS = "Pin memory thread exited"  # torch's, where batches are pinned for a GPU as they come


def from_workers(batches: Iterator[Batch]) -> Iterator[Batch]:
    """batches, with one kind of error for a worker that dies, also while it hands a batch over."""
    try:
        yield from batches
    except (OSError, EOFError) as error:  # of the connection to it: batches themselves touch no file
        raise RuntimeError(f"{WORDS} is gone: {error}") from error


def is_of_lost_worker(error: BaseException) -> bool:
    return any(words in str(error) for words in (WORDS, PINNING_WORDS))


def let_go_of_workers() -> None:
    """From here on the end of a worker interrupts nothing, as torch lets it do, not even while Python shuts down."""
    if hasattr(signal, "SIGCHLD"):
        with suppress(ValueError):  # not in the main thread, where signals arrive
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
