"""Where does the wall lie that neighbours are laid over, does a fracture widen it, and does it help to take that back?
Measured with the neighbours alone, without any model.

Prints the tables of docs/trials.md, "The wall of a fracture". How wide bodies are against what their neighbours' widths
predict, by the grade that VerSe's readers (see verse_scans) or the generator give them. Then levels put together from
their neighbours in several ways: fractured ones of generated spines against their healthy twins, fractures made in real
scans (see broken_scans) against what was there before, and healthy levels of the real CT, as run, and treated as if
they surely were fractured, which tells what narrowing costs where nothing bulges.
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from bench import REAL
from broken_scans import broken_scans
from mirrored_share import real_lumbar, verse
from prior_constants import Told, by_way, lines_by_value
from scipy import ndimage
from spines import scanned_twins, spine_with_fractures
from verse_scans import FRACTURED, graded_masks

from healthivert.body import inner_footprint, plate_rows
from healthivert.footprint import LEAST_ROWS, footprint, mean_section, soft_footprint
from healthivert.healthy_twin import in_columns_of
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import Pose, truth
from healthivert.phantom.truth import POSES
from healthivert.pipeline import prepare
from healthivert.prior import Neighbour, bulge, canonical_slab, neighbours_of, trusted_neighbours, wider_than_expected
from healthivert.types import FloatArray, SpineCase

FIRST_SEED = 46_300  # neither of training nor of the bench


def outermost(body: FloatArray) -> FloatArray:
    """As soft_footprint, of the section with the farthest wall at any height."""
    near = ndimage.binary_dilation(footprint(body) > 0)
    return (np.partition(body, -LEAST_ROWS, axis=0)[-LEAST_ROWS] * near).astype(np.float32)


def halfway(body: FloatArray) -> FloatArray:
    return (outermost(body) + soft_footprint(body)) / 2


def with_holes(body: FloatArray) -> FloatArray:
    """As soft_footprint, of sections with the holes that sunken plates leave in them."""
    plates = plate_rows(body)
    near = ndimage.binary_dilation(footprint(body) > 0)
    return (mean_section(body, plates, inner_footprint(plates[1] - plates[0])) * near).astype(np.float32)


def no_bulge(*_: Any) -> FloatArray:
    return np.ones(2)


def most_of_the_bulge(walls: FloatArray, neighbours: Sequence[Neighbour], suspicion: float) -> FloatArray:
    """Four fifths of what is more than 2 %."""
    return np.maximum(bulge(walls, neighbours, suspicion) / 1.02, 1.0) ** 0.8


WAYS: dict[str, dict[str, Any]] = {
    "as run": {},
    "outermost wall": {"prior.soft_footprint": outermost},
    "halfway to the outermost wall": {"prior.soft_footprint": halfway},
    "mean wall with holes": {"prior.soft_footprint": with_holes},
    "smooth over 12 degrees": {"footprint.WALL_DEGREES": 12.0},
    "not narrowed": {"prior.bulge": no_bulge},
    "narrowed by 0.8 of what is more than 2 %": {"prior.bulge": most_of_the_bulge},
}


def widths(case: SpineCase, analysis: SpineAnalysis, grades: dict[str, int]) -> Iterator[tuple[int, FloatArray]]:
    """Grade and widths (AP, LR) against those expected, of each complete level with healthy neighbours."""
    for level in analysis.levels:
        known = [name for name, _ in trusted_neighbours(analysis, level)]
        if analysis.bodies[level].complete and known and not any(grades.get(name, 0) for name in known):
            walls = soft_footprint(canonical_slab(case, analysis, level).body)
            yield grades.get(level, 0), wider_than_expected(walls, neighbours_of(case, analysis, level))


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


def made_in_real_scans() -> Iterator[tuple[Hashable, Told[str]]]:
    """Person, and what each way makes of a fracture."""
    for scan, level in broken_scans(REAL / "lumbar"):
        facts = scan.truth[level]
        if facts["fractured"]:
            pose = Pose.from_dict(facts[POSES[0]])
            case, twin = scan.twin
            healthy = prepare(case, in_columns_of(scan.analysis, twin, level, pose, pose), level)
            yield scan.case.name, by_way(WAYS, scan.case, scan.analysis, level, healthy)


def lines(group: str, found: Iterator[tuple[Hashable, Told[str]]]) -> None:
    people, told = zip(*found, strict=True)
    print(*lines_by_value(group, told, people), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=12, help="generated ones")
    arguments = parser.parse_args()
    real = [row for subject, case in graded_masks() for row in widths(case, analyse(case), FRACTURED[subject])]
    generated: list[tuple[int, FloatArray]] = []
    fractured: list[tuple[Hashable, Told[str]]] = []
    for number in range(arguments.spines):
        spine = spine_with_fractures(number, FIRST_SEED)
        twins = scanned_twins(spine, f"spine {number}")
        generated.extend(widths(*twins.scan, {row["level"]: row["genant"] for row in truth(spine)["levels"]}))
        for level in spine.fractured_levels:
            fractured.append((number, by_way(WAYS, *twins.scan, level, twins.truth(level))))
    print("| wider than expected, % (standard deviation) | AP | LR | area |\n|---|---|---|---|")
    print(*width_lines("VerSe", real), *width_lines("generated", generated), sep="\n")
    print("\n| levels | way | Dice | SSIM | PSNR, dB |\n|---|---|---|---|---|")
    lines("generated, fractured", iter(fractured))
    lines("fractures made in real scans", made_in_real_scans())
    healthy = [*real_lumbar(), *verse()]
    lines("real, healthy", ((level.spine, by_way(WAYS, level.case, level.analysis, level.name)) for level in healthy))
    suspected = ((level, as_if_fractured(level.analysis, level.name)) for level in healthy)
    found = ((level.spine, by_way(WAYS, level.case, analysis, level.name)) for level, analysis in suspected)
    lines("real, healthy, as if fractured", found)


if __name__ == "__main__":
    main()
