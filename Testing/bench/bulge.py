"""Where does the wall lie that neighbours are laid over, does a fracture widen it, and does it help to take that back?
Measured with the neighbours alone, without any model.

Prints the tables of docs/trials.md, "The mean wall" and "The narrowed footprint". How wide bodies are against what
their neighbours' widths predict, by the grade that VerSe's readers (see verse_scans) or the generator give them. Then
fractured levels of generated spines put together from their neighbours, against their healthy twins, by more and less
of the mean wall, followed more and less closely, and narrowed by more and less. What that does where nothing bulges:
healthy levels of the real CT, as run, and treated as if they surely were fractured.
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np
from mirrored_share import real_lumbar, verse
from prior_constants import ByValue, by_value, lines_by_value
from spines import scanned_twins, spine_with_fractures
from verse_scans import FRACTURED, graded_masks

from healthivert.footprint import soft_footprint
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import truth
from healthivert.prior import canonical_slab, neighbours_of, trusted_neighbours, wider_than_expected
from healthivert.types import FloatArray, SpineCase

FIRST_SEED = 46_300  # neither of training nor of the bench
TRIED = {
    "footprint.MEAN_SHARE": (0.5, 0.67, 0.8, 1.0),
    "footprint.WALL_DEGREES": (12.0, 8.0, 6.0, 4.0),
    "footprint.MEAN_SHARE_FRACTURED": (0.0, 0.33, 0.5, 0.67, 1.0),
    "prior.BULGE_SHARE": (0.0, 0.5, 0.8, 1.0),
}


def widths(case: SpineCase, analysis: SpineAnalysis, grades: dict[str, int]) -> Iterator[tuple[int, FloatArray]]:
    """Grade and widths (AP, LR) against those expected, of each complete level with healthy neighbours."""
    for level in analysis.levels:
        known = [name for name, _ in trusted_neighbours(analysis, level)]
        if analysis.bodies[level].complete and known and not any(grades.get(name, 0) for name in known):
            suspicion = analysis.suspicion[level]
            walls = soft_footprint(canonical_slab(case, analysis, level).body, suspicion)
            yield grades.get(level, 0), wider_than_expected(walls, neighbours_of(case, analysis, level), suspicion)


def width_lines(group: str, found: list[tuple[int, FloatArray]]) -> Iterator[str]:
    for grade in range(4):
        of_grade = np.array([wide for its_grade, wide in found if its_grade == grade])
        if of_grade.size:
            area = of_grade.prod(axis=1)
            cells = [f"{100 * (x.mean() - 1):+.1f} ({100 * x.std():.1f})" for x in (*of_grade.T, area)]
            yield f"| {group}, grade {grade} ({len(of_grade)}) | {' | '.join(cells)} |"


def as_if_fractured(analysis: SpineAnalysis, level: str, suspicion: float = 1.0) -> SpineAnalysis:
    suspected = replace(analysis.levels[level], suspicion=suspicion)
    return replace(analysis, levels={**analysis.levels, level: suspected})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=12, help="generated ones")
    arguments = parser.parse_args()
    real = [row for subject, case in graded_masks() for row in widths(case, analyse(case), FRACTURED[subject])]
    generated: list[tuple[int, FloatArray]] = []
    fractured: dict[str, list[ByValue]] = {constant: [] for constant in TRIED}
    units: list[Hashable] = []
    for number in range(arguments.spines):
        spine = spine_with_fractures(number, FIRST_SEED)
        twins = scanned_twins(spine, f"spine {number}")
        generated.extend(widths(*twins.scan, {row["level"]: row["genant"] for row in truth(spine)["levels"]}))
        for level in spine.fractured_levels:
            truth_of_level = twins.truth(level)
            for constant, values in TRIED.items():
                fractured[constant].append(by_value(constant, values, *twins.scan, level, truth_of_level))
            units.append(number)
    print("| wider than expected, % (standard deviation) | AP | LR | area |\n|---|---|---|---|")
    print(*width_lines("VerSe", real), *width_lines("generated", generated), sep="\n")
    healthy = [*real_lumbar(), *verse()]
    suspected = [level._replace(analysis=as_if_fractured(level.analysis, level.name)) for level in healthy]
    groups = {"real, healthy": healthy, "real, healthy, as if fractured": suspected}
    for constant, values in TRIED.items():
        print(f"\n| levels | {constant} | Dice | SSIM | PSNR, dB |\n|---|---|---|---|---|")
        print(*lines_by_value("generated, fractured", fractured[constant], units), sep="\n")
        for group, levels in groups.items():
            told = [by_value(constant, values, level.case, level.analysis, level.name) for level in levels]
            print(*lines_by_value(group, told, [level.spine for level in levels]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
