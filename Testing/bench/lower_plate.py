"""Does a regrown vertebra lie where the healthy one did? `python Testing/bench/lower_plate.py --spines 30`.

Prints the table of docs/trials.md, "Where the regrown vertebra lies": fractured levels of generated spines put together
from their neighbours alone, and how far above its true place the lower plate of each then lies, by ways of laying it on
what is left of its own. A fracture that sinks the lower plate, too, lifts what is laid on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from make_montages import truth_of_twin
from twins import FIRST_SEED, with_its_twin

from healthivert.body import plate_rows
from healthivert.gap import GAP
from healthivert.measure import generated_row_mm
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra
from healthivert.types import FloatArray, PseudoHealthy

PERCENTILES = {"median, as run": 50, "35th percentile": 35, "25th percentile": 25}
SUNK = {  # shares of the collapse that are the upper plate's
    "upper plate alone": (1.0, 1.01),
    "a quarter of it or less on the lower": (0.7, 1.0),
    "half on the lower": (0.0, 0.7),
}


class Laid(NamedTuple):
    """upper_share: of the collapse. above_mm: for each of PERCENTILES, the median of the lower plate above the true
    one."""

    upper_share: float
    above_mm: FloatArray


def laid(scan: Prepared, vertebra: PseudoHealthy, true_body: FloatArray) -> FloatArray:
    """(PERCENTILES,) mm. What is laid on what: a percentile of the distances between both plates, column by column."""
    row_mm = generated_row_mm(vertebra, scan.straight.spacing_mm)
    own = (plate_rows(scan.old_body)[0] + 0.5) * scan.straight.spacing_mm
    true = (plate_rows(true_body)[0] + 0.5) * scan.straight.spacing_mm
    drawn = (plate_rows(vertebra.body)[0] + 0.5 - GAP[0]) * row_mm
    feet = [np.nanpercentile(own - drawn, percentile) for percentile in PERCENTILES.values()]
    return np.array([np.nanmedian(foot + drawn - true) for foot in feet])


def levels(spines: int) -> Iterator[Laid]:
    for seed in range(FIRST_SEED, FIRST_SEED + spines):
        whole, twins = with_its_twin(seed)
        for level in whole:
            fracture = twins.spine.vertebra(level).fracture
            assert fracture is not None, f"{level} of spine {seed} is one of its fractured levels"
            scan = prepare(*twins.scan, level)
            above = laid(scan, prior_vertebra(scan.conditioning), truth_of_twin(twins, level, scan).body)
            yield Laid(fracture.superior_share, above)
        with_its_twin.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=30, help="generated ones")
    found = list(levels(parser.parse_args().spines))
    print(f"| sunk (levels) | {' | '.join(PERCENTILES)} |\n|---|{'---|' * len(PERCENTILES)}")
    for name, (low, high) in SUNK.items():
        above = np.array([one.above_mm for one in found if low <= one.upper_share < high])
        cells = [f"{column.mean():+.2f} ({np.abs(column).mean():.2f})" for column in above.T]
        print(f"| {name} ({len(above)}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
