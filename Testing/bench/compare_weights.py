"""Which weights draw better? `python Testing/bench/compare_weights.py diffusion others/diffusion.safetensors`.

Prints the table of docs/trials.md, "The width of the diffusion model": healthy levels of the real CT hidden and
regrown, and fractured levels of generated spines held against their healthy twins; every level at the reference's
height. The first weights are those that the others are held against, in brackets the 95 % interval of the difference.
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
LUMBAR = "lumbar"  # the spine of the real lumbar CT
CPU = torch.device("cpu")
Way = tuple[str, str]  # of drawing, and whose weights


class Compared(NamedTuple):
    spine: str
    shown: Prepared
    truth: Prepared


def real() -> Iterator[Compared]:
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


def lines(group: str, spines: list[str], told: list[dict[Way, dict[str, float]]], first: str) -> Iterator[str]:
    """first: whose weights the others' are held against. Intervals are over spines; of a lone one there are none."""
    for way, name in told[0]:
        against = (way, "" if way == NEIGHBOURS else first)
        cells = [cell_of_way(told, (way, name), against, metric, spines, n) for metric, n in METRICS.items()]
        yield f"| {group} ({len(told)}) | {way} | {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="a shipped model's name or a file of weights")
    parser.add_argument("--spines", type=int, default=18, help="generated ones")
    arguments = parser.parse_args()
    models = {name: load_weights(name, CPU)[0] for name in arguments.weights}
    print("| levels | drawn | weights | Dice | SSIM | PSNR, dB |\n|---|---|---|---|---|---|")
    for group, subjects in (("real", real()), ("generated, fractured", fractured(arguments.spines))):
        spines, told = [], []
        for compared in subjects:
            spines.append(compared.spine)
            told.append(told_of(compared, models))
        parts = {group: set(spines)} | ({LUMBAR: {LUMBAR}} if LUMBAR in spines else {})
        for part, people in parts.items():
            chosen = [number for number, spine in enumerate(spines) if spine in people]
            own = [spines[number] for number in chosen]
            for line in lines(part, own, [told[number] for number in chosen], arguments.weights[0]):
                print(line, flush=True)


if __name__ == "__main__":
    main()
