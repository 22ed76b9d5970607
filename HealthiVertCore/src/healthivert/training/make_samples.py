"""Making the shards: phantoms rendered around single levels, hidden and paired with their truth.

In: a seed and a number of spines. Out: OUT/sample_SSSSSS_LEVEL.npz. What is already there is kept, so that an
interrupted call goes on where it stopped; two calls with one seed make the same files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from healthivert.anatomy import normal_spine
from healthivert.errors import HealthiVertError
from healthivert.phantom import PhantomSpine, level_grid, render, sample_spine
from healthivert.training.samples import TrainingSample, case_from_images, make_sample, save_sample

TRUTH_SPACING_MM = 1.0


@dataclass(frozen=True)
class SampleSettings:
    """levels_per_spine: how many levels of one person are used. fractured_share: spines with fractures.
    bodies_only_share: segmentations without posterior elements, as some tools make them."""

    levels_per_spine: int = 4
    fractured_share: float = 0.6
    bodies_only_share: float = 0.25
    box_mm: tuple[float, float] = (100.0, 100.0)
    pitches: float = 5.4  # height of the box in vertebrae: two whole neighbours on both sides
    spacings_mm: tuple[float, ...] = (0.8, 1.0, 1.0, 1.5, 2.0, 3.0)


def make_samples(out: Path, count: int, seed: int, workers: int, progress: Callable[..., None]) -> int:
    """Write the samples of count spines into out; returns how many samples were written now."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HealthiVertError(
            f"{out}: cannot be used as a folder for samples ({error.strerror}); choose another --out"
        ) from None
    work = partial(spine_samples, out=out, settings=SampleSettings())
    seeds = range(seed, seed + count)
    written = 0
    try:
        # leaving the pool's block ends its processes at once, so that a cancelled call does not wait for their spines
        with get_context("spawn").Pool(workers, initializer=_worker) if workers > 1 else nullcontext() as pool:
            results = map(work, seeds) if pool is None else pool.imap_unordered(work, seeds)
            for done, samples in enumerate(results, start=1):
                written += samples
                progress("samples", done / count, f"spine {done} of {count}")
    finally:
        for unfinished in out.glob("*.partial-*.npz"):
            unfinished.unlink(missing_ok=True)
    return written


def _worker() -> None:
    """One thread each, and Ctrl-C is the parent's business."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def spine_samples(seed: int, out: Path, settings: SampleSettings) -> int:
    """All samples of one spine. A level that the pipeline refuses (not found, cut) is skipped: a run would refuse it
    too."""
    random = np.random.default_rng([seed, 77])
    spine = sample_spine(seed, fractured=bool(random.random() < settings.fractured_share))
    levels = random.permutation([level for level in spine.levels if level not in ("T1", "T2", "T3")])
    written = 0
    for level in levels[: settings.levels_per_spine]:
        path = out / f"sample_{seed:06d}_{level}.npz"
        spacing = float(random.choice(settings.spacings_mm))
        bodies_only = bool(random.random() < settings.bodies_only_share)
        if path.exists():
            continue
        sample = _sample_at(spine, str(level), spacing, bodies_only, settings)
        if sample is not None:
            save_sample(sample, path)
            written += 1
    return written


def _sample_at(
    spine: PhantomSpine, level: str, spacing_mm: float, bodies_only: bool, settings: SampleSettings
) -> TrainingSample | None:
    normal = normal_spine()[level]
    box = (*settings.box_mm, settings.pitches * (normal.height_mean + normal.disc_below))

    scanner = replace(spine.scanner, slice_mm=spacing_mm)
    twin = spine.healthy_twin()
    scan = render(spine, level_grid(spine, level, box, spacing_mm), scanner)
    healthy = render(twin, level_grid(twin, level, box, spacing_mm), scanner)
    # the truth's picture is what this scanner would have made of it, its outline is better than any scanner's
    outline = render(twin, level_grid(twin, level, box, TRUTH_SPACING_MM), None).bodies
    given = case_from_images(scan.ct, scan.bodies if bodies_only else scan.labels, level)
    truth = case_from_images(healthy.ct, outline, level)
    try:
        return make_sample(given, truth, level)
    except HealthiVertError:
        return None
