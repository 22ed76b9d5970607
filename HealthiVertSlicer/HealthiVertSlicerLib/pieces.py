"""Work in pieces, so that Slicer answers its user in between.

Such work is written as a generator: it yields None where others may have their turn, UNBROKEN where they may but the
work must not be given up, or InThread for what needs no node of the scene, whose result it gets back. A timer takes it
from piece to piece; at_once does all of it, for scripts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any


class InThread:
    """A function without arguments that runs beside Slicer's main thread, from now on. It must not touch the scene."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="healthivert work", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Any:
        """What the function returned; waits for it, and raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:
            self._error = error


class Unbroken:
    """The class of UNBROKEN."""


UNBROKEN = Unbroken()  # half of the work would be worse than none: it is finished before Cancel is heeded

Pieces = Generator[InThread | Unbroken | None, Any, Any]


def next_piece(pieces: Generator[Any, Any, Any], piece: InThread | Unbroken | None) -> Any:
    """Take the work on after piece (None: at its beginning, too) to its next one.

    Raises StopIteration with the work's own result at its end, and whatever the work raises.
    """
    if not isinstance(piece, InThread):
        return next(pieces)
    try:
        result = piece.result()
    except Exception as error:
        return pieces.throw(error)
    return pieces.send(result)


def at_once(pieces: Pieces) -> Any:
    """All of the work without a break: its result."""
    piece = None
    while True:
        try:
            piece = next_piece(pieces, piece)
        except StopIteration as end:
            return end.value
