"""Which weights draw better? `python Testing/bench/compare_weights.py diffusion others/diffusion.safetensors`.

Prints the tables of docs/training.md, "The shipped weights": healthy levels of the real CT hidden and regrown, and
fractured levels of generated spines held against their healthy twins; every level at the reference's height. The first
weights are those that the others are held against, in brackets the 95 % interval of the difference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import torch
from mirrored_share import real_lumbar, verse
from rows import cell_of_way
from twins import with_its_twin

from healthivert.evaluate import picture_metrics
from healthivert.generate import averaged, model_share, two_planes
from healthivert.models.interface import Generator
from healthivert.models.weights import load_weights
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra

FIRST_SEED = 903_300  # neither of training nor of the bench
METRICS = {"dice": 4, "ssim": 3, "psnr": 2}  # and their decimals
NEIGHBOURS, AS_RUN, ALONE = "neighbours alone", "as run", "by itself"
CPU = torch.device("cpu")
Way = tuple[str, str]  # of drawing, and whose weights


class Compared(NamedTuple):
    spine: str
    shown: Prepared
    truth: Prepared


def lumbar() -> Iterator[Compared]:
    for level in real_lumbar():
        prepared = prepare(level.case, level.analysis, level.name)
        yield Compared(level.name, prepared, prepared)  # one spine: each level counts by itself


def all_real() -> Iterator[Compared]:
    for level in (*real_lumbar(), *verse()):
        prepared = prepare(level.case, level.analysis, level.name)
        yield Compared(level.spine, prepared, prepared)


def fractured(spines: int) -> Iterator[Compared]:
    for seed in range(FIRST_SEED, FIRST_SEED + spines):
        levels, twins = with_its_twin(seed)
        for level in levels:
            yield Compared(str(seed), prepare(*twins.scan, level), twins.truth(level))
        with_its_twin.cache_clear()


def told_of(compared: Compared, models: dict[str, Generator]) -> dict[Way, dict[str, float]]:
    given = compared.shown.conditioning
    told = {(NEIGHBOURS, ""): picture_metrics(compared.truth, prior_vertebra(given))}
    for name, model in models.items():
        planes, _ = two_planes(model, CPU, given, 0)
        for way, share in ((AS_RUN, model_share(given)), (ALONE, 1.0)):
            drawn = averaged(planes, given.reference_mm, given, share)
            told[way, name] = picture_metrics(compared.truth, drawn)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="a shipped model's name or a file of weights")
    parser.add_argument("--spines", type=int, default=18, help="generated ones")
    arguments = parser.parse_args()
    models = {name: load_weights(name, CPU)[0] for name in arguments.weights}
    print("| levels | drawn | weights | Dice | SSIM | PSNR, dB |\n|---|---|---|---|---|---|")
    groups = {"lumbar CT": lumbar(), "real": all_real(), "generated, fractured": fractured(arguments.spines)}
    for group, subjects in groups.items():
        compared = list(subjects)
        spines = [one.spine for one in compared]
        told = [told_of(one, models) for one in compared]
        for way, name in told[0]:
            first = (way, "" if way == NEIGHBOURS else arguments.weights[0])
            cells = [cell_of_way(told, (way, name), first, metric, spines, n) for metric, n in METRICS.items()]
            print(f"| {group} ({len(told)}) | {way} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
