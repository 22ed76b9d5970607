"""A folder that one process at a time writes into.

The lock is the system's: it vanishes with the process, however that ends, so none is ever left behind.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from healthivert.errors import complaint
from healthivert.output_folder import NO_SPACE, make_parents, remove_empty

LOCK = ".in-use"
FAR_BEHIND = 1 << 30  # Windows forbids others to read what is locked: they must be able to read who locked it


@contextmanager
def sole_use(folder: Path, work: str) -> Iterator[bool]:
    """Within it no other process is let in; folder is made if need be, and goes again if it stays empty. Yields whether
    a process that had it before was killed.

    work: what is done there, as it follows "a". Raises HealthiVertError if another process is at it, or if the
    folder cannot be made or written; OSError for a full disk.
    """
    if folder.exists() and not folder.is_dir():
        raise complaint(folder, "this is a file, not a folder", "choose another folder")
    made: list[Path] = []
    try:
        made = make_parents(folder, folder)
        lock, killed = _locked(folder / LOCK, work)
    except OSError as error:
        remove_empty(made)
        if error.errno in NO_SPACE:
            raise
        raise complaint(folder, f"cannot be worked in ({error.strerror})", "choose another folder") from None
    try:
        yield killed
    finally:
        _let_go(lock, folder / LOCK)
        remove_empty(made)


def work_in(folder: Path) -> str | None:
    """What another process that is in sole_use of a folder does there, with its number; None if there is none. Writes
    nothing."""
    try:
        file = (folder / LOCK).open("r+b", buffering=0)
    except OSError:
        return None  # there is no lock, or it is not ours to look at
    with file:
        return None if _try_to_lock(file) else _note(file)


def _locked(path: Path, work: str) -> tuple[FileIO, bool]:
    """The file, locked until it is let go, with a note of who this is; and whether a killed process has left it."""
    while True:
        file = path.open("a+b", buffering=0)
        if not _try_to_lock(file):
            with file:
                other = _note(file)
            which = "another" if other.startswith(f"{work} (") else "a"
            raise complaint(path.parent, f"{which} {other} is at work there", "wait for its end or stop it")
        if os.fstat(file.fileno()).st_nlink > 0:
            break
        file.close()  # whoever had it has removed it meanwhile: others would lock a new one
    killed = os.fstat(file.fileno()).st_size > 0
    with suppress(OSError):  # a full disk: then others are told of no process, but held off all the same
        file.truncate(0)
        file.write(f"{work} (process {os.getpid()} on {socket.gethostname()})".encode())
    return file, killed


def _note(file: FileIO) -> str:
    """Who has the lock, as it follows "a"."""
    file.seek(0)
    return file.read().decode(errors="replace") or "process that has just begun"


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(file: FileIO) -> bool:
        file.seek(FAR_BEHIND)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _let_go(file: FileIO, path: Path) -> None:
        with file, suppress(OSError):
            file.seek(FAR_BEHIND)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        with suppress(OSError):  # another has it open already: it is that one's now
            path.unlink()

else:
    import fcntl

    def _try_to_lock(file: FileIO) -> bool:
        """Of the process, not of the open file: a worker that it forked, and that outlives it, must hold nothing."""
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a file system without locks: better to work there unguarded than not at all
        return True

    def _let_go(file: FileIO, path: Path) -> None:
        """Removed while it is locked: later, another might have locked it already."""
        with file, suppress(OSError):
            path.unlink()
