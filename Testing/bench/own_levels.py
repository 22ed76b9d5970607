"""Does the diffusion model draw a vertebra better if it first learns on the other vertebrae of the patient?
`python Testing/bench/own_levels.py`.

Prints the table of docs/trials.md, "The patient's own levels": healthy levels of the real CT, hidden and regrown at the
reference's height, before and after the shipped weights were taught a few steps more on the scan's other healthy
levels, for which the hidden one was no neighbour to look at. Scans with fewer than four levels are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch
from bulge import as_if_fractured
from mirrored_share import Level, real_lumbar, verse
from rows import cell_of_way

from healthivert.evaluate import picture_metrics
from healthivert.gap import GAP
from healthivert.generate import averaged, model_share, two_planes
from healthivert.models.weights import load_weights
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra
from healthivert.training.batches import StepBatches
from healthivert.training.recipe import read_recipe
from healthivert.training.samples import sample_of_scan, save_sample
from healthivert.training.slices import SliceDataset
from healthivert.training.task import RunSettings, Task

MODEL = "diffusion"
FEWEST_LEVELS = 4
METRICS = {"dice": 4, "ssim": 3, "psnr": 2}  # and their decimals
NEIGHBOURS, AS_RUN, ALONE = "neighbours alone", "as run", "by itself"
CPU = torch.device("cpu")


def others_of(target: Level, levels: list[Level]) -> SliceDataset:
    """The scan's other healthy levels to learn from."""
    analysis = as_if_fractured(target.analysis, target.name)  # so that none of them looks at it
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name in (level.name for level in levels if level.name != target.name):
            paths.append(Path(folder) / f"{target.spine}_{name}.npz")
            save_sample(sample_of_scan(target.case, analysis, name), paths[-1])
        return SliceDataset(paths)


def taught(settings: RunSettings, data: SliceDataset, steps: list[int]) -> Iterator[tuple[int, Task]]:
    """The shipped model after each of so many steps."""
    task = settings.start(GAP, CPU)
    shipped = load_weights(MODEL, CPU)[0].state_dict()
    for network in (task.generator, task.average):  # type: ignore[attr-defined]
        network.load_state_dict(shipped)
    batches = StepBatches(data, settings.augmentation, settings.seed, range(settings.batch_size))
    for step in range(max(steps) + 1):
        if step > 0:
            task.train_step(batches[task.step])
        if step in steps:
            yield step, task


def told_of(shown: Prepared, task: Task) -> dict[str, dict[str, float]]:
    """Way of drawing -> metrics."""
    given = shown.conditioning
    planes, _ = two_planes(task.average, CPU, given, 0)  # type: ignore[arg-type]
    shares = {AS_RUN: model_share(given), ALONE: 1.0}
    return {
        way: picture_metrics(shown, averaged(planes, given.reference_mm, given, share)) for way, share in shares.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    arguments = parser.parse_args()
    settings = replace(
        read_recipe(MODEL).trainer,
        learning_rate=arguments.learning_rate,
        final_learning_rate=1.0,
        warm_up_steps=5,
        ema_decay=0.9,
    )
    told, spines = [], []
    for _, group in groupby((*real_lumbar(), *verse()), key=lambda level: level.spine):
        levels = list(group)
        for target in levels if len(levels) >= FEWEST_LEVELS else ():
            shown = prepare(target.case, target.analysis, target.name)
            ways = {(NEIGHBOURS, 0): picture_metrics(shown, prior_vertebra(shown.conditioning))}
            data = others_of(target, levels)
            for step, task in taught(settings, data, [0, *arguments.steps]):
                ways |= {(way, step): metrics for way, metrics in told_of(shown, task).items()}
            told.append(ways)
            spines.append(target.spine)
            print(f"| | {target.spine} {target.name}: {len(data)} others |", flush=True)
    print(f"| {MODEL}, {len(told)} levels of {len(set(spines))} | steps | Dice | SSIM | PSNR, dB |")
    print("|---|---|---|---|---|")
    for way, step in told[0]:
        cells = [cell_of_way(told, (way, step), (way, 0), name, spines, n) for name, n in METRICS.items()]
        print(f"| {way} | {step} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
