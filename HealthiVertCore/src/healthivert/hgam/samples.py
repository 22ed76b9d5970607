"""Patches of generated spines with their truth, to train the fracture classifier on and to test it.

In: seeds. Out: DIR/spine_SSSSSS.npz, one for each spine, so that every split can keep a spine on one side. Files that
are there are kept: an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from healthivert.errors import HealthiVertError
from healthivert.hgam.patches import level_patches
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import Grid, PhantomSpine, render, sample_spine, truth
from healthivert.phantom.posture import poses
from healthivert.training.samples import case_from_images
from healthivert.training.sole_use import sole_use
from healthivert.training.worker_processes import results_of
from healthivert.types import SpineCase
from healthivert.whole_file import write_whole

MOST_FRACTURES = 5  # drawn evenly from none: the classifier must know whole healthy spines and rows of fractures
SPACINGS_MM = (1.0, 1.5, 2.0, 3.0)  # of the slices; the pixels are no larger than PIXEL_MM
PIXEL_MM = 1.5
AROUND_MM = (38.0, 42.0, 30.0)  # scanned beyond the bodies' centres to each side (LPS): the patches and the arches


class SpinePatches(NamedTuple):
    """ct, body: (levels, slices, SI, AP) uint8 of patches.LevelPatches. fractured: (levels,) 1 from Genant grade 1 up.
    loss: (levels,) true loss of the worst third. suspicion: (levels,) of the heights alone. spine: (levels,) seed."""

    ct: NDArray[np.uint8]
    body: NDArray[np.uint8]
    fractured: NDArray[np.uint8]
    loss: NDArray[np.float32]
    suspicion: NDArray[np.float32]
    spine: NDArray[np.int64]


def make_patches(out: Path, seeds: Sequence[int], workers: int, progress: Callable[..., None]) -> None:
    """Write the patches of every seed's spine that is not in out yet. Raises HealthiVertError if another call does."""
    missing = [seed for seed in seeds if not patches_path(out, seed).exists()]
    with (
        sole_use(out, "call that makes patches"),
        closing(results_of(partial(_write_spine, out=out), missing, workers)) as results,
    ):
        for done, seed in enumerate(results, start=1):
            progress("patches", done / len(missing), f"spine {seed}, {done} of {len(missing)}")


def load_patches(folder: Path, seeds: Sequence[int]) -> SpinePatches:
    """The patches of all seeds, in one. Raises HealthiVertError if a file is missing or damaged."""
    parts = []
    for seed in seeds:
        path = patches_path(folder, seed)
        try:
            with np.load(path, allow_pickle=False) as file:
                count = len(file["fractured"])
                fields = {name: file[name] for name in SpinePatches._fields[:-1]}
                parts.append(SpinePatches(**fields, spine=np.full(count, seed)))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            raise HealthiVertError(f"{path}: no whole file of patches; remove it and repeat the command") from None
    return SpinePatches(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def patches_path(folder: Path, seed: int) -> Path:
    return folder / f"spine_{seed:06d}.npz"


def scanned_spine(seed: int) -> tuple[PhantomSpine, SpineCase, SpineAnalysis]:
    """One person with 0 to MOST_FRACTURES fractures, scanned from T1 to L5 in a field just around the spine."""
    random = np.random.default_rng([seed, 9])
    count = int(random.integers(MOST_FRACTURES + 1))
    spacing = float(random.choice(SPACINGS_MM))
    spine = sample_spine(seed, fractured=count > 0, fracture_count=(count, count))
    rendered = render(spine, _grid_around(spine, spacing), replace(spine.scanner, slice_mm=spacing))
    case = case_from_images(rendered.ct, rendered.labels, f"spine {seed}")
    return spine, case, analyse(case)


def _grid_around(spine: PhantomSpine, slice_mm: float) -> Grid:
    stand = poses(spine)
    centres = np.array([stand[level].centre for level in spine.levels])
    low, high = centres.min(axis=0) - AROUND_MM, centres.max(axis=0) + AROUND_MM
    pixel = min(slice_mm, PIXEL_MM)
    spacing = np.array([pixel, pixel, slice_mm])
    size = np.ceil((high - low) / spacing).astype(int)
    i, j, k = (int(n) for n in size)
    x, y, z = (float(v) for v in low + spacing / 2)
    return Grid((i, j, k), (pixel, pixel, slice_mm), (x, y, z))


def _write_spine(seed: int, out: Path) -> int:
    spine, case, analysis = scanned_spine(seed)
    rows = {row["level"]: row for row in truth(spine)["levels"]}
    levels = [level for level, body in analysis.bodies.items() if body.complete]
    patches = [level_patches(case, analysis, level) for level in levels]
    losses = [max(value for key, value in rows[level]["rhlv"].items() if key != "mean") for level in levels]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        ct=np.round((np.stack([p.ct for p in patches]) + 1) * 127.5).astype(np.uint8),
        body=np.stack([p.body for p in patches]).astype(np.uint8),
        fractured=np.array([rows[level]["genant"] > 0 for level in levels], np.uint8),
        loss=np.array(losses, np.float32),
        suspicion=np.array([analysis.suspicion[level] for level in levels], np.float32),
    )
    write_whole(patches_path(out, seed), content.getvalue())
    return seed
