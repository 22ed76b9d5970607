"""Whose wedge has a regrown vertebra: `python Testing/bench/end_thirds.py --spines 10`.

Prints the table of docs/trials.md, "The wedge of the last level": healthy levels put together from their neighbours
alone, and by how much their thirds, each over the mean of all three, then differ from the true ones; by ways of
weighing the neighbours' form against the reference's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import numpy as np
from bench import HEALTHY, lumbar_case, painted_case, phantom_scan
from bend_of_truth import form
from verse_scans import graded_scans

from healthivert import thirds
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights
from healthivert.pipeline import healthy_heights, prepare
from healthivert.prior import prior_vertebra
from healthivert.types import Conditioning, SpineCase

SEED = 46_700
GENERATED_LEVELS = ("T8", "T12", "L3", "L5")
AS_RUN = "half of each, grown"
WAYS = {  # share of the reference, whether the neighbours' form grows as is normal from their levels to the target's
    "neighbours": (0.0, False),
    "neighbours, grown": (0.0, True),
    "reference": (1.0, False),
    "half of each": (0.5, False),
    AS_RUN: (0.5, True),
}


def levels(spines: int) -> Iterator[tuple[str, SpineCase, SpineAnalysis, str]]:
    for name, case in (("lumbar", lumbar_case()), ("verse004", painted_case())):
        analysis = analyse(case)
        yield from ((f"real {name}", case, analysis, level) for level in HEALTHY[name])
    for scan in graded_scans():
        yield from ((f"real {scan.subject}", scan.case, scan.analysis, level) for level in scan.healthy)
    for seed in range(SEED, SEED + spines):
        scan = phantom_scan(seed, fractured=False)
        yield from ((f"generated {seed}", scan.case, scan.analysis, level) for level in GENERATED_LEVELS)
        phantom_scan.cache_clear()


def errors(given: Conditioning, true: np.ndarray) -> list[float]:
    """For each of WAYS the mean absolute error of the three thirds, in percent of the mean height."""
    found = []
    for share, grown in WAYS.values():
        told = given if grown else replace(given, thirds_growth=(1.0, 1.0, 1.0))
        with mock.patch.object(thirds, "EXPECTED_SHARE", share):
            drawn = form(healthy_heights(prior_vertebra(told), given.spacing_mm)[0])
        found.append(100 * float(np.abs(drawn - true).mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=10, help="generated ones")
    arguments = parser.parse_args()
    told: dict[str, list[list[float]]] = {}
    for name, case, analysis, level in levels(arguments.spines):
        true = form(body_heights(analysis.bodies[level]))
        last = "L5" if level == "L5" else "other levels"
        told.setdefault(f"{name.split()[0]}, {last}", []).append(
            errors(prepare(case, analysis, level).conditioning, true)
        )
    print(f"| thirds off by, % (levels) | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for group, rows in told.items():
        print(f"| {group} ({len(rows)}) | {' | '.join(f'{value:.2f}' for value in np.mean(rows, axis=0))} |")


if __name__ == "__main__":
    main()
