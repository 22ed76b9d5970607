"""Results that are there as a whole or not at all.

Everything is written into a hidden folder beside the final one and moved into place when it is complete. Whatever ends
the work before - an error, Ctrl-C, a full disk - removes the hidden folder and leaves earlier results as they were.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from healthivert.errors import HealthiVertError

REPORT_NAME = "report.json"


class OutputFolder:
    """Context manager: `with OutputFolder(out, force) as folder:` write into `folder`, an empty hidden folder.

    names: what will be written at the top of out; without force none of these may be there already.
    Raises HealthiVertError before any work if out cannot be used, and when the disk is full.
    """

    def __init__(self, out: Path, force: bool = False, names: tuple[str, ...] = (REPORT_NAME,)) -> None:
        self.out = Path(os.path.abspath(out))
        self.force = force
        self.names = names
        self.partial = self.out.parent / f".{self.out.name}.partial-{os.getpid()}"

    def __enter__(self) -> Path:
        self._check()
        made: list[Path] = []
        try:
            made = _make_parents(self.partial.parent)
            _remove_stale(self.out)
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir()
        except OSError as error:
            _remove_empty(made)
            raise HealthiVertError(
                f"{self.out}: the folder cannot be made ({error.strerror}); choose another --out"
            ) from error
        self._made = made
        return self.partial

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._move_into_place()
        except OSError as failure:
            error = failure
            raise self._told(failure) from failure
        finally:
            self._remove_partial()
            if error is not None:
                _remove_empty(self._made)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise self._told(error) from error

    def _check(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise HealthiVertError(f"{self.out}: this is a file, not a folder; choose another --out")
        there = [name for name in self.names if (self.out / name).exists()]
        if there and not self.force:
            raise HealthiVertError(
                f"{self.out}: results are there already ({there[0]}); pass --force to replace them or choose another --out"
            )
        for folder in (self.out, *self.out.parents):
            if folder.exists():
                break
        if not folder.is_dir():
            raise HealthiVertError(f"{self.out}: {folder} is a file, not a folder; choose another --out")
        needed = {folder, self.out.parent} if folder == self.out else {folder}
        for place in needed:
            if not os.access(place, os.W_OK | os.X_OK):
                raise HealthiVertError(
                    f"{self.out}: {place} cannot be written; correct its permissions or choose another --out"
                )

    def _move_into_place(self) -> None:
        """Old entries are set aside first and come back if any move fails."""
        self.out.mkdir(exist_ok=True)
        aside = self.partial / ".replaced"
        entries = [entry for entry in self.partial.iterdir()]
        aside.mkdir()
        moved: list[tuple[Path, Path]] = []
        try:
            for entry in entries:
                target = self.out / entry.name
                if os.path.lexists(target):
                    os.replace(target, aside / entry.name)
                    moved.append((aside / entry.name, target))
                os.replace(entry, target)
                moved.append((target, entry))
        except BaseException:
            for now, before in reversed(moved):
                os.replace(now, before)
            raise

    def _told(self, error: OSError) -> HealthiVertError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return HealthiVertError(f"{self.out}: the disk is full; free some space or choose another --out")
        return HealthiVertError(f"{self.out}: the results cannot be written ({error.strerror}); choose another --out")

    def _remove_partial(self) -> None:
        """Try again when a second Ctrl-C falls into the removal itself."""
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
        except KeyboardInterrupt:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and its parents. Returns those that were made, innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_stale(out: Path) -> None:
    """Remove what killed processes left: hidden folders of this output whose process is gone."""
    for folder in out.parent.glob(f".{out.name}.partial-*"):
        number = re.fullmatch(r".*\.partial-(\d+)", folder.name)
        if number and not _is_running(int(number[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
