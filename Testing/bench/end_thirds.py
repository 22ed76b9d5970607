"""Whose wedge has a regrown vertebra: `python Testing/bench/end_thirds.py --spines 150`.

Prints the table of docs/trials.md, "The wedge of the last level": by how much the thirds of a healthy level, each over
the mean of all three, differ from the true ones, by ways of weighing the neighbours' form against the reference's. Real
levels are put together from their neighbours alone; of generated spines the true heights are enough, so there are more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import numpy as np
from bench import HEALTHY, lumbar_case, painted_case
from verse_scans import graded_scans

from healthivert import thirds
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights
from healthivert.phantom import sample_spine
from healthivert.phantom.truth import true_heights
from healthivert.pipeline import healthy_heights, prepare
from healthivert.prior import ON_EACH_SIDE, prior_vertebra
from healthivert.reference import normal_heights, predictions
from healthivert.types import Conditioning, FloatArray, SpineCase

SEED = 46_700
LAST, FIRST_GENERATED = "L5", "T6"
WAYS = {  # share of the reference, whether the neighbours' form grows as is normal from their levels to the target's
    "neighbours": (0.0, False),
    "neighbours, grown": (0.0, True),
    "reference": (1.0, False),
    "half of each, as before": (0.5, False),
    "half of each, grown, as run": (0.5, True),
}


def real_levels() -> Iterator[tuple[SpineCase, SpineAnalysis, str]]:
    for name, case in (("lumbar", lumbar_case()), ("verse004", painted_case())):
        analysis = analyse(case)
        yield from ((case, analysis, level) for level in HEALTHY[name])
    for scan in graded_scans():
        yield from ((scan.case, scan.analysis, level) for level in scan.healthy)


def of_real(case: SpineCase, analysis: SpineAnalysis, level: str) -> list[float]:
    """For each of WAYS the mean absolute error of the three thirds, in percent of the mean height."""
    given, true = prepare(case, analysis, level).conditioning, body_heights(analysis.bodies[level]).form
    return [_off(_drawn(given, *way), true) for way in WAYS.values()]


def _drawn(given: Conditioning, share: float, grown: bool) -> FloatArray:
    told = given if grown else replace(given, thirds_growth=(1.0, 1.0, 1.0))
    with mock.patch.object(thirds, "EXPECTED_SHARE", share):
        return healthy_heights(prior_vertebra(told), given.spacing_mm)[0].form


def of_generated(seed: int) -> dict[str, list[float]]:
    """Level -> the same, by the true heights of the others."""
    spine = sample_spine(seed, fractured=False)
    heights = {level: true_heights(spine.vertebra(level)) for level in spine.levels}
    expected, present = predictions(heights), list(heights)
    found = {}
    for place, level in enumerate(present):
        prediction = expected[level]
        if place < present.index(FIRST_GENERATED) or prediction is None:
            continue
        near = [n for n in range(len(present)) if 1 <= abs(n - place) <= ON_EACH_SIDE]
        weights = [1 / abs(n - place) for n in near]
        own = np.average([np.log(heights[present[n]].form) for n in near], axis=0, weights=weights)
        normal = np.average([np.log(normal_heights(present[n]).form) for n in near], axis=0, weights=weights)
        growth, reference = np.log(normal_heights(level).form) - normal, np.log(prediction.heights.form)
        ways = [np.exp((1 - share) * (own + grown * growth) + share * reference) for share, grown in WAYS.values()]
        found[level] = [_off(way / way.mean(), heights[level].form) for way in ways]
    return found


def _off(found: FloatArray, true: FloatArray) -> float:
    return 100 * float(np.abs(found - true).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=150, help="generated ones")
    arguments = parser.parse_args()
    told: dict[tuple[str, bool], list[list[float]]] = {}
    for case, analysis, level in real_levels():
        told.setdefault(("real", level == LAST), []).append(of_real(case, analysis, level))
    for seed in range(SEED, SEED + arguments.spines):
        for level, row in of_generated(seed).items():
            told.setdefault(("generated", level == LAST), []).append(row)
    print(f"| thirds off by, % (levels) | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for (kind, last), rows in told.items():
        cells = " | ".join(f"{value:.2f}" for value in np.mean(rows, axis=0))
        print(f"| {kind}, {LAST if last else 'other levels'} ({len(rows)}) | {cells} |")


if __name__ == "__main__":
    main()
