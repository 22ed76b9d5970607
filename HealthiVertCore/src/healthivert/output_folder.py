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

from healthivert.errors import HealthiVertError
from healthivert.image_files import check_name
from healthivert.running_processes import running_test

RESULT_NAMES = (  # of `run`; uncertainty.nii.gz with several samples only
    *("report.json", "heights.csv", "levels.csv", "report.html", "figures", "conditioning"),
    *("pseudo_healthy_ct.nii.gz", "pseudo_healthy_seg.nii.gz", "displacement.nii.gz", "height_loss_map.nii.gz"),
    "uncertainty.nii.gz",
)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputFolder:
    """Context manager: `with OutputFolder(out, force) as folder:` write into `folder`, an empty hidden folder.

    names: what may be written at the top of out. Without force none of these may be there already; with it all of them
    are replaced, those that the new results lack are removed, and nothing else in out is touched.
    Raises HealthiVertError before any work if out cannot be used, and when the disk is full.
    """

    def __init__(self, out: Path, force: bool = False, names: tuple[str, ...] = RESULT_NAMES) -> None:
        self.out = Path(os.path.abspath(out))
        self.force = force
        self.names = names
        self.partial = self._place() / f".{self.out.name}.partial-{os.getpid()}"
        self._made: list[Path] = []

    def __enter__(self) -> Path:
        self._check()
        try:
            self._made = make_parents(self.partial.parent, self.out)
            _remove_stale(self.partial.parent, self.out.name)
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir()
        except OSError as error:
            self._remove_partial(failed=True)
            raise self._told(error) from error
        return self.partial

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = True
        try:
            if error is None:
                self._move_into_place()
                failed = False
        except OSError as failure:
            raise self._told(failure) from failure
        finally:
            self._remove_partial(failed)
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise self._told(error) from error

    def _place(self) -> Path:
        """Where the hidden folder goes: beside out, or in it if out is a disk of its own or its parent is read-only."""
        parent = self.out.parent
        if not self.out.is_dir():
            return parent
        beside = self.out.stat().st_dev == parent.stat().st_dev and os.access(parent, os.W_OK | os.X_OK)
        return parent if beside else self.out

    def _check(self) -> None:
        elsewhere = "choose another --out"
        check_name(self.out)
        if self.out.exists() and not self.out.is_dir():
            raise HealthiVertError(f"{self.out}: this is a file, not a folder; {elsewhere}")
        there = [name for name in self.names if os.path.lexists(self.out / name)]
        if there and not self.force:
            found = f"results are there already ({there[0]})"
            raise HealthiVertError(f"{self.out}: {found}; pass --force to replace them or {elsewhere}")
        nearest = next(folder for folder in (self.partial.parent, *self.out.parents) if folder.exists())
        if not nearest.is_dir():
            raise HealthiVertError(f"{self.out}: {nearest} is a file, not a folder; {elsewhere}")
        for folder in (nearest, self.out):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise HealthiVertError(
                    f"{self.out}: {folder} cannot be written; correct its permissions or {elsewhere}"
                )

    def _move_into_place(self) -> None:
        """What is replaced is set aside first, and comes back if a move fails or is interrupted."""
        aside = self.partial / ".replaced"
        names = dict.fromkeys([*(entry.name for entry in self.partial.iterdir()), *self.names])
        aside.mkdir()
        self.out.mkdir(exist_ok=True)
        moves: list[tuple[Path, Path]] = []
        try:
            for name in names:
                target = self.out / name
                for source, goal in ((target, aside / name), (self.partial / name, target)):
                    if os.path.lexists(source):
                        moves.append((source, goal))  # noted before it is made: an interruption may fall between
                        os.replace(source, goal)
        except BaseException:
            for source, goal in reversed(moves):
                if not os.path.lexists(source):
                    os.replace(goal, source)
            raise

    def _told(self, error: OSError) -> HealthiVertError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return HealthiVertError(f"{self.out}: the disk is full; free some space or choose another --out")
        return HealthiVertError(f"{self.out}: the results cannot be written ({error.strerror}); choose another --out")

    def _remove_partial(self, failed: bool) -> None:
        """Remove the hidden folder and, after a failure, the folders that were made for it.

        Once more if an interruption falls into the removal itself.
        """
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
        except KeyboardInterrupt:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise
        finally:
            if failed:
                remove_empty(self._made)


def make_parents(folder: Path, out: Path) -> list[Path]:
    """Make a folder and its parents. Returns what of them and of out was not there, innermost first."""
    missing = [place for place in dict.fromkeys((out, folder, *folder.parents)) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_stale(place: Path, name: str) -> None:
    """Remove what killed processes left: hidden folders of this output whose process is gone."""
    for folder in place.iterdir():
        number = re.fullmatch(re.escape(f".{name}.partial-") + r"(\d+)", folder.name)
        if number and not running_test(int(number[1]))():
            shutil.rmtree(folder, ignore_errors=True)
