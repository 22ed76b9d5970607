"""A folder of training samples, a shard (.npz) for each vertebra: who writes into it, and what a training finds there.

A shard's name up to the last underscore is the spine's (spine_0012_L1.npz): all its vertebrae are of one person.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from healthivert.errors import HealthiVertError, complaint
from healthivert.image_files import suffix_of
from healthivert.output_folder import NO_SPACE
from healthivert.training.sole_use import sole_use, work_in
from healthivert.whole_file import remove_unfinished

AGAIN = "delete it and repeat `healthivert samples`"
GENERATED = re.compile(r"sample_\d+$")  # the spines of make_samples


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Within it this process alone makes samples in folder; what it has begun and not ended is gone afterwards.

    Raises HealthiVertError if another is at it, and if the folder cannot be used or its disk is full.
    """
    try:
        with sole_use(folder, "call of samples"):
            try:
                yield
            finally:
                remove_unfinished(folder, r".*\.npz")
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise HealthiVertError(
            f"{folder}: the disk is full; free some space and repeat the command, which goes on where it stopped"
        ) from error


def check_filled(folder: Path) -> None:
    """Raise HealthiVertError for a folder that another process has: a training would miss the last samples of it."""
    work = work_in(folder)
    if work is not None:
        raise complaint(folder, f"a {work} is at work there", "wait for its end")


def shards(folder: Path, held_out: float) -> tuple[list[Path], list[Path]]:
    """(training, validation) shards of a folder. All vertebrae of one spine fall on the same side.

    The last `held_out` of the sorted spines validate, of the generated and of the real ones each; at least one does,
    and at least one of each kind does not. Raises HealthiVertError if there are not two spines.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise _without_shards(folder)
    spines = sorted({spine_of(path) for path in paths})
    if len(spines) < 2:
        raise complaint(
            folder,
            f"holds {len(paths)} shards of {len(spines)} spines",
            "training needs two spines or more, one of them to validate on",
        )
    kinds = [[spine for spine in spines if bool(GENERATED.match(spine)) is generated] for generated in (True, False)]
    kept_back = {spine for kind in kinds if len(kind) > 1 for spine in _last(kind, held_out)} or {spines[-1]}
    return [p for p in paths if spine_of(p) not in kept_back], [p for p in paths if spine_of(p) in kept_back]


def _last(spines: list[str], share: float) -> list[str]:
    return spines[-min(len(spines) - 1, max(1, round(share * len(spines)))) :]


def spine_of(path: Path) -> str:
    return path.stem.rpartition("_")[0] or path.stem


def contents_of(paths: Sequence[Path]) -> dict[str, Any]:
    """What tells one training's samples from another's, wherever their folder lies: how many vertebrae of how many
    spines, and a digest of the shards' names and sizes. Raises HealthiVertError for a shard that is not there."""
    names = "".join(f"{path.name}:{_size(path)}\n" for path in sorted(paths, key=lambda path: path.name))
    return {
        "vertebrae": len(paths),
        "spines": len({spine_of(path) for path in paths}),
        "sha256": hashlib.sha256(names.encode()).hexdigest(),
    }


def _size(shard: Path) -> int:
    try:
        return shard.stat().st_size
    except OSError as error:  # a link to nothing, or a shard that was deleted meanwhile
        raise complaint(shard, f"cannot be read as a training shard ({error.strerror})", AGAIN) from None


def _without_shards(folder: Path) -> HealthiVertError:
    make = (
        "make samples with `healthivert samples`, from generated spines (--count N) or from real scans (--from FOLDER)"
    )
    if not folder.exists():
        return complaint(folder, "there is no such folder", f"give the folder of the samples, or {make}")
    if not folder.is_dir():
        return complaint(folder, "this is a file, not a folder", f"give the folder of the samples, or {make}")
    if any(suffix_of(path) for path in folder.rglob("*")):
        from_scans = f"`healthivert samples --from {shlex.quote(str(folder))} --out ANOTHER`"
        return complaint(folder, "holds scans, and no samples", f"make samples of them: {from_scans}")
    return complaint(folder, "holds no samples (.npz): 0 shards of 0 spines", make)
