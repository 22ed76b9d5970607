"""A folder of training samples, a shard (.npz) for each vertebra: who writes into it, and what a training finds there.

A shard's name up to the last underscore is the spine's (spine_0012_L1.npz): all its vertebrae are of one person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from healthivert.errors import HealthiVertError
from healthivert.image_files import complaint, suffix_of
from healthivert.output_folder import NO_SPACE
from healthivert.training.sole_use import sole_use
from healthivert.whole_file import remove_unfinished


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


def shards(folder: Path, held_out: float) -> tuple[list[Path], list[Path]]:
    """(training, validation) shards of a folder. All vertebrae of one spine fall on the same side.

    The last `held_out` of the sorted spines validate, at least one, and at least one does not. Raises HealthiVertError
    if there are not two spines.
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
    kept_back = set(spines[-min(len(spines) - 1, max(1, round(held_out * len(spines)))) :])
    return [p for p in paths if spine_of(p) not in kept_back], [p for p in paths if spine_of(p) in kept_back]


def spine_of(path: Path) -> str:
    return path.stem.rpartition("_")[0] or path.stem


def contents_of(paths: Sequence[Path]) -> dict[str, Any]:
    """What tells one training's samples from another's, wherever their folder lies: how many vertebrae of how many
    spines, and a digest of the shards' names and sizes."""
    names = "".join(f"{path.name}:{path.stat().st_size}\n" for path in sorted(paths, key=lambda path: path.name))
    return {
        "vertebrae": len(paths),
        "spines": len({spine_of(path) for path in paths}),
        "sha256": hashlib.sha256(names.encode()).hexdigest(),
    }


def _without_shards(folder: Path) -> HealthiVertError:
    make = (
        "make samples with `healthivert samples`, from generated spines (--count N) or from real scans (--from FOLDER)"
    )
    if not folder.exists():
        return complaint(folder, "there is no such folder", f"give the folder of the samples, or {make}")
    if not folder.is_dir():
        return complaint(folder, "this is a file, not a folder", f"give the folder of the samples, or {make}")
    if any(suffix_of(path) for path in folder.rglob("*")):
        from_scans = f"`healthivert samples --from {folder} --out ANOTHER`"
        return complaint(folder, "holds scans, and no samples", f"make samples of them: {from_scans}")
    return complaint(folder, "holds no samples (.npz): 0 shards of 0 spines", make)
