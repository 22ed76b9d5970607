"""Generated spines as the benchmarks scan them: with fractures in a row, or beside their healthy twins."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from healthivert.anatomy import LEVELS
from healthivert.healthy_twin import in_columns_of
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import PhantomSpine, render, sample_spine, standing, whole_spine_grid
from healthivert.pipeline import Prepared, prepare
from healthivert.training.samples import case_from_images
from healthivert.types import SpineCase

UPPERMOST = ("T12", "T8", "L1", "T10", "L2", "T7", "T11")  # of the fractures in a row, in turn
BEYOND = 3  # healthy levels above and below the fractures
SPACING_MM, FIELD_MM = 1.5, 130.0
Scan = tuple[SpineCase, SpineAnalysis]


def spine_with_fractures(number: int, first_seed: int) -> PhantomSpine:
    """Two fractures in a row in even spines, three in odd ones."""
    ladder = [level for level in LEVELS if level != "T13"]
    first, count = ladder.index(UPPERMOST[number % len(UPPERMOST)]), 2 + number % 2
    row = ladder[first : first + count]
    broken = sample_spine(first_seed + number, True, row, fracture_count=(count, count), no_grade=0.0)
    seen = ladder[first - BEYOND : min(first + count + BEYOND, ladder.index("L5") + 1)]
    return replace(broken, levels=tuple(seen))


def scanned(spine: PhantomSpine, name: str, spacing_mm: float = SPACING_MM, field_mm: float = FIELD_MM) -> Scan:
    picture = render(spine, whole_spine_grid(spine, spacing_mm, field_mm), spine.scanner)
    case = case_from_images(picture.ct, picture.labels, name)
    return case, analyse(case)


class Twins(NamedTuple):
    """A generated spine, scanned, and the very same person without fractures, scanned the same way."""

    spine: PhantomSpine
    scan: Scan
    healthy: Scan

    def truth(self, level: str) -> Prepared:
        """The level as it was when healthy, in the columns of the scan."""
        case, analysis = self.healthy
        return prepare(case, in_columns_of(self.scan[1], analysis, level, *standing(self.spine, level)), level)


def scanned_twins(spine: PhantomSpine, name: str, spacing_mm: float = SPACING_MM, field_mm: float = FIELD_MM) -> Twins:
    scans = (scanned(one, name, spacing_mm, field_mm) for one in (spine, spine.healthy_twin()))
    return Twins(spine, *scans)
