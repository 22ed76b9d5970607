"""Making the shards: phantoms rendered around single levels, hidden and paired with their truth.

In: a seed and a number of spines. Out: OUT/sample_SSSSSS_LEVEL.npz. What is already there is kept, so that an
interrupted call goes on where it stopped; two calls with one seed make the same files.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from healthivert.anatomy import normal_spine
from healthivert.errors import HealthiVertError
from healthivert.phantom import PhantomSpine, Rendered, level_grid, render, sample_spine, standing
from healthivert.training.sample_folder import filling
from healthivert.training.samples import TrainingSample, case_from_images, make_sample, save_sample
from healthivert.training.worker_processes import results_of


@dataclass(frozen=True)
class SampleSettings:
    """levels_per_spine: how many levels of one person are used, fractured_first of them fractured where there are so
    many: a run is mostly asked for those. fractured_share: spines with fractures.
    bodies_only_share: segmentations without posterior elements, as some tools make them. end_share: of either end of
    the scan, which then cuts a neighbour or takes it away."""

    levels_per_spine: int = 4
    fractured_first: int = 2
    fractured_share: float = 0.75
    bodies_only_share: float = 0.25
    end_share: float = 0.12
    end_pitches: tuple[float, float] = (0.9, 2.0)  # taken off the box's 2.7 on either side of the target
    box_mm: tuple[float, float] = (100.0, 100.0)
    pitches: float = 5.4  # height of the box in vertebrae: two whole neighbours on both sides
    spacings_mm: tuple[float, ...] = (0.8, 1.0, 1.0, 1.5, 2.0, 3.0)


def make_samples(out: Path, count: int, seed: int, workers: int, progress: Callable[..., None]) -> int:
    """Write the samples of count spines into out; returns how many samples were written now.

    Raises HealthiVertError if another call does, or if out cannot be used or is full.
    """
    work = partial(spine_samples, out=out, settings=SampleSettings())
    written = 0
    with filling(out), closing(results_of(work, range(seed, seed + count), workers)) as results:
        for done, samples in enumerate(results, start=1):
            written += samples
            progress("samples", done / count, f"spine {done} of {count}")
    return written


def spine_samples(seed: int, out: Path, settings: SampleSettings) -> int:
    """All samples of one spine. A level that the pipeline refuses (not found, cut) is skipped: a run would refuse it
    too."""
    random = np.random.default_rng([seed, 77])
    spine = sample_spine(seed, fractured=bool(random.random() < settings.fractured_share))
    written = 0
    for level in levels_to_hide(spine, settings, random):
        path = out / f"sample_{seed:06d}_{level}.npz"
        spacing = float(random.choice(settings.spacings_mm))
        bodies_only = bool(random.random() < settings.bodies_only_share)
        ends = random.uniform(*settings.end_pitches, 2) * (random.random(2) < settings.end_share)
        if path.exists():
            continue
        sample = _sample_at(spine, level, spacing, bodies_only, ends, settings)
        if sample is not None:
            save_sample(sample, path)
            written += 1
    return written


def levels_to_hide(spine: PhantomSpine, settings: SampleSettings, random: np.random.Generator) -> list[str]:
    """So many of its levels as settings say, by chance, some of the fractured ones first."""
    shuffled = random.permutation([level for level in spine.levels if level not in ("T1", "T2", "T3")]).tolist()
    first = [level for level in shuffled if level in spine.fractured_levels][: settings.fractured_first]
    return [*first, *(level for level in shuffled if level not in first)][: settings.levels_per_spine]


def _sample_at(
    spine: PhantomSpine, level: str, spacing_mm: float, bodies_only: bool, ends: np.ndarray, settings: SampleSettings
) -> TrainingSample | None:
    normal = normal_spine()[level]
    pitch = normal.height_mean + normal.disc_below
    box = (*settings.box_mm, settings.pitches * pitch)

    scanner = replace(spine.scanner, slice_mm=spacing_mm)

    def seen(person: PhantomSpine) -> Rendered:
        return render(person, level_grid(person, level, box, spacing_mm), scanner)

    scan = seen(spine)
    healthy = seen(spine.healthy_twin()) if spine.fractured_levels else scan
    labels, healthy_labels = (picture.bodies if bodies_only else picture.labels for picture in (scan, healthy))
    given = case_from_images(_without_ends(scan.ct, ends * pitch), _without_ends(labels, ends * pitch), level)
    # on the same voxels and with the same pedicle roots: by bodies as they are segmented a run is judged
    truth = case_from_images(healthy.ct, healthy_labels, level)
    try:
        return make_sample(given, truth, level, *standing(spine, level))
    except HealthiVertError:
        return None


def _without_ends(image: sitk.Image, ends_mm: np.ndarray) -> sitk.Image:
    """The image without so much of its lowest and of its uppermost slices."""
    below, above = (round(float(mm) / image.GetSpacing()[2]) for mm in ends_mm)
    return image[:, :, below : image.GetSize()[2] - above]
