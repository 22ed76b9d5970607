"""How much of a regrown vertebra should be the model's, and how much the neighbours'?
`python Testing/bench/model_share.py --model MODEL --spines 12`.

Prints the table of docs/trials.md, "The share of the model": healthy levels of the real spines and of generated ones,
hidden and regrown, and fractured levels in a row, beside which few healthy neighbours are in the scan, held against
their healthy twins. Every level at the reference's height.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from bench import HEALTHY, lumbar_case, painted_case, phantom_scan
from spines import scanned_twins, spine_with_fractures

from healthivert.evaluate import picture_metrics
from healthivert.generate import averaged, model_share, two_planes
from healthivert.inspection import analyse
from healthivert.models.interface import Generator
from healthivert.models.weights import load_weights
from healthivert.pipeline import Prepared, prepare
from healthivert.types import PseudoHealthy

FIRST_HEALTHY, FIRST_FRACTURED = 47_000, 46_300  # seeds; neither of training nor of the bench
LEVELS_ALONE = ("T9", "L1", "L4")
BEYOND = (3, 1, 0)  # levels above and below the fractures that are labelled, in turn
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
METRICS = ("dice", "ssim", "psnr")
RULE = "by neighbours"
Found = TypeVar("Found")


class Subject(NamedTuple):
    group: str
    shown: Prepared
    truth: Prepared


def healthy(spines: int) -> Iterator[Subject]:
    for name, case in (("lumbar", lumbar_case()), ("verse004", painted_case())):
        analysis = analyse(case)
        for level in HEALTHY[name]:
            prepared = prepare(case, analysis, level)
            yield Subject(name, prepared, prepared)
    for seed in range(FIRST_HEALTHY, FIRST_HEALTHY + spines):
        scan = phantom_scan(seed, fractured=False)
        for level in LEVELS_ALONE:
            prepared = prepare(scan.case, scan.analysis, level)
            yield Subject("generated, healthy", prepared, prepared)


def fractured(spines: int) -> Iterator[Subject]:
    for number in range(spines):
        spine = spine_with_fractures(number, FIRST_FRACTURED)
        row, ladder, beyond = spine.fractured_levels, spine.levels, BEYOND[number % len(BEYOND)]
        first, last = ladder.index(row[0]), ladder.index(row[-1])
        spine = replace(spine, levels=ladder[max(0, first - beyond) : last + beyond + 1])
        twins = scanned_twins(spine, f"spine {number}")
        for level in row:
            yield Subject(f"fractured in a row, {beyond} beyond", prepare(*twins.scan, level), twins.truth(level))


def measured(model: Generator, subject: Subject) -> tuple[float, dict[str, dict[str, float]]]:
    """The rule's share, and share -> metrics."""
    given = subject.shown.conditioning
    planes, _ = two_planes(model, torch.device("cpu"), given, 0)

    def told(share: float) -> dict[str, float]:
        vertebra: PseudoHealthy = averaged(planes, given.reference_mm, given, share)
        return picture_metrics(subject.truth, vertebra)

    by_rule = model_share(given)
    return by_rule, {**{f"{share:g}": told(share) for share in SHARES}, RULE: told(by_rule)}


def by_group(subjects: Iterable[Subject], measure: Callable[[Subject], Found]) -> dict[str, list[Found]]:
    """What is measured of each group's subjects, one after the other: a spine is let go before the next is made."""
    found: dict[str, list[Found]] = {}
    for subject in subjects:
        found.setdefault(subject.group, []).append(measure(subject))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gan")
    parser.add_argument("--spines", type=int, default=12)
    args = parser.parse_args()
    model, _ = load_weights(args.model, torch.device("cpu"))
    subjects = chain(healthy(args.spines // 2), fractured(args.spines))
    rows = by_group(subjects, partial(measured, model))
    print(f"| {args.model} | share by neighbours | " + " | ".join((*map("{:g}".format, SHARES), RULE)) + " |")
    print("|---" * (len(SHARES) + 3) + "|")
    for group, found in rows.items():
        shares = [share for share, _ in found]
        cells = []
        for key in found[0][1]:
            dice, ssim, psnr = (np.mean([ways[key][metric] for _, ways in found]) for metric in METRICS)
            cells.append(f"{dice:.3f}, {ssim:.3f}, {psnr:.2f}")
        print(f"| {group} ({len(found)}) | {min(shares):.2f} to {max(shares):.2f} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
