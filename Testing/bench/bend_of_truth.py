"""What the bend of the spine does to heights: thirds of healthy vertebrae put into the gap exactly as they are.

Prints the table of docs/method.md, "The bend": the error of each third of the real healthy levels at hand, measured in
the rows of the straightened frame alone and with what a row is worth in each column.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from bench import HEALTHY, lumbar_case, painted_case

from healthivert.gap import GAP
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights, gap_height_map, third_heights
from healthivert.pipeline import prepare
from healthivert.prior import canonical_slab
from healthivert.types import SpineCase


def real_cases() -> Iterator[tuple[str, SpineCase, SpineAnalysis]]:
    lumbar = lumbar_case()
    for name, case in (("lumbar", lumbar), ("verse004", painted_case())):
        yield name, case, analyse(case)


def errors(case: SpineCase, analysis: SpineAnalysis, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each third in percent: in the frame's rows, and in the patient's millimetres."""
    given = prepare(case, analysis, level).conditioning
    body = np.zeros_like(given.prior_body)
    body[slice(*GAP)] = canonical_slab(case, analysis, level).body
    true = body_heights(analysis.bodies[level]).form
    found = (gap_height_map(body, 1.0, stretch) for stretch in (1.0, given.stretch))
    rows, millimetres = (100 * (third_heights(heights, given.spacing_mm).form / true - 1) for heights in found)
    return rows, millimetres


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| level | anterior, middle, posterior: rows alone, % | in the patient's millimetres, % |\n|---|---|---|")
    every = []
    for name, case, analysis in real_cases():
        for level in HEALTHY[name]:
            every.append(errors(case, analysis, level))
            told = (", ".join(f"{value:+.1f}" for value in part) for part in every[-1])
            print(f"| {name} {level} | {' | '.join(told)} |")
    means = (f"{np.abs([pair[i] for pair in every]).mean():.1f}" for i in range(2))
    print(f"| mean absolute error | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
