"""How much of a neighbour should be its mirror image? Measured with the neighbours alone, without any model.

Prints the table of docs/decisions.md, "Neighbours are mirrored, too": healthy levels hidden and put together from
their neighbours, on the real lumbar CT, on the real CT of VerSe (see verse_scans) and on generated spines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import patch

from bench import HEALTHY, HEALTHY_LEVELS, lumbar_case, phantom_scan
from rows import cell_of_way
from verse_scans import graded_scans

from healthivert import prior
from healthivert.evaluate import picture_metrics
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.pipeline import prepare
from healthivert.prior import prior_vertebra
from healthivert.types import SpineCase

FIRST_SEED = 47_000  # neither of training nor of the bench
SHARES = (0.0, 0.15, 0.25, 0.35, 0.5)
DECIMALS = {"dice": 4, "ssim": 4, "psnr": 2}


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


def by_share(level: Level) -> dict[float, dict[str, float]]:
    told = {}
    for share in SHARES:
        with patch.object(prior, "MIRRORED_SHARE", share):
            prepared = prepare(level.case, level.analysis, level.name)
        told[share] = picture_metrics(prepared, prior_vertebra(prepared.conditioning))
    return told


def lines(group: str, levels: Iterator[Level]) -> Iterator[str]:
    """Means; in brackets the 95 % interval (bootstrap over spines; over the levels of a lone one) of the change."""
    found = [(level.spine, level.name, by_share(level)) for level in levels]
    one_spine = len({spine for spine, *_ in found}) == 1
    units = [(spine, name) if one_spine else spine for spine, name, _ in found]
    told = [shares for *_, shares in found]
    for share in SHARES:
        cells = [cell_of_way(told, share, SHARES[0], metric, units, decimals) for metric, decimals in DECIMALS.items()]
        yield f"| {group} ({len(found)}) | {share} | {' | '.join(cells)} |"


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
