"""How much of a neighbour should be its mirror image? Measured with the neighbours alone, without any model.

Prints the table of docs/trials.md, "Mirrored neighbours": healthy levels hidden and put together from their neighbours,
on the real lumbar CT, on the real CT of VerSe (see verse_scans) and on generated spines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from bench import HEALTHY, HEALTHY_LEVELS, lumbar_case, phantom_scan
from prior_constants import by_value, lines_by_value
from verse_scans import graded_scans

from healthivert.inspection import SpineAnalysis, analyse
from healthivert.types import SpineCase

FIRST_SEED = 47_000  # neither of training nor of the bench
SHARES = (0.0, 0.15, 0.25, 0.35, 0.5)


class Level(NamedTuple):
    spine: str
    case: SpineCase
    analysis: SpineAnalysis
    name: str


def real_lumbar() -> Iterator[Level]:
    case = lumbar_case()
    analysis = analyse(case)
    yield from (Level("lumbar", case, analysis, name) for name in HEALTHY["lumbar"])


def verse() -> Iterator[Level]:
    yield from (Level(s.subject, s.case, s.analysis, name) for s in graded_scans() for name in s.healthy)


def generated(spines: int) -> Iterator[Level]:
    for seed in range(FIRST_SEED, FIRST_SEED + spines):
        scan = phantom_scan(seed, False)
        yield from (Level(str(seed), scan.case, scan.analysis, name) for name in HEALTHY_LEVELS)


def lines(group: str, levels: Iterator[Level]) -> Iterator[str]:
    """Intervals are over spines, over the levels of a lone one."""
    found = list(levels)
    one_spine = len({level.spine for level in found}) == 1
    units = [(level.spine, level.name) if one_spine else level.spine for level in found]
    told = [by_value("prior.MIRRORED_SHARE", SHARES, level.case, level.analysis, level.name) for level in found]
    yield from lines_by_value(group, told, units)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=8, help="generated ones")
    arguments = parser.parse_args()
    print("| levels | share of the mirror image | Dice | SSIM | PSNR, dB |\n|---|---|---|---|---|")
    groups = {"lumbar CT": real_lumbar(), "VerSe": verse(), "generated": generated(arguments.spines)}
    for group, levels in groups.items():
        for line in lines(group, levels):
            print(line, flush=True)


if __name__ == "__main__":
    main()
