"""Does what a fracture leaves of a vertebra tell how high it was? Measured on the healthy levels of real spines.

Prints the table of docs/trials.md, "The target's own anatomy". A collapse hardly changes the widths of a body or its
pedicles, so these could be used without telling the collapse. They would have to tell by how much a level is higher
than the reference expects, from how much larger it is than its two neighbours. Each spine is corrected by what all
others show.

A wedge or a biconcave fracture spares the posterior wall, too. A wall that is higher than expected would have to tell
that the front and the middle are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from bench import HEALTHY, REAL
from rows import mean_and_change
from verse_scans import FRACTURED, MOST, graded_masks

from healthivert.anatomy import LEVEL_NUMBER, LEVELS
from healthivert.case import load_labels
from healthivert.geometry import Index, Patch, cut_patch, label_boxes, sample_box
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.types import FloatArray, SpineCase, VertebralBody

ARCH_BOX_MM, STEP_MM = (60.0, 110.0, 90.0), 1.0  # SI, AP, LR around a body, with its pedicles
BEHIND_MM, BESIDE_MM = (3, 6), (8, 26)  # where pedicles are: from the posterior wall, from the middle
LEAST_PEDICLE_MM = 5.0
QUANTITIES = ("width", "depth", "footprint", "pedicle height")
WALL = "posterior wall"
SEED = 0


class Level(NamedTuple):
    """excess: log of height over what the reference expects. larger: for each of some quantities the log of its ratio
    to what is expected of it, NaN where one cannot be measured."""

    spine: str
    name: str
    excess: float
    larger: FloatArray


def spines() -> Iterator[tuple[str, SpineCase, set[str]]]:
    """Segmentations, and the names of their fractured levels. VerSe 004 is in both collections, counted once."""
    for name, labels in graded_masks():
        if name != "sub-verse004":
            yield name, labels, {level for level, grade in FRACTURED[name].items() if grade > MOST}
    for name, healthy in HEALTHY.items():
        yield name, load_labels(REAL / name / "seg.nii.gz"), set(LEVELS) - set(healthy)


def sizes(labels: sitk.Image, box: tuple[Index, Index], body: VertebralBody) -> FloatArray:
    """QUANTITIES in mm; pedicle height NaN where the segmentation has none. box: of the body's label."""
    footprint = np.isfinite(body.height_map)
    depth, width = (footprint.sum(axis=axis).max() * body.column_mm for axis in (0, 1))
    return np.array([width, depth, np.sqrt(footprint.sum()) * body.column_mm, pedicle_height(labels, box, body)])


def pedicle_height(labels: sitk.Image, box: tuple[Index, Index], body: VertebralBody) -> float:
    """Of both sides' tallest columns behind the posterior wall, in mm."""
    cut = cut_patch(labels, *box, margin=2)
    vertebra = Patch((cut.array == LEVEL_NUMBER[body.level]).astype(np.float32), cut.affine)
    whole = sample_box(vertebra, body.centre, body.axes, ARCH_BOX_MM, STEP_MM)
    wall = np.flatnonzero(np.isfinite(body.height_map).any(axis=1))[-1] - body.height_map.shape[0] // 2
    first, last = (whole.shape[1] // 2 + wall + round(mm / STEP_MM) for mm in BEHIND_MM)
    thickness = (whole[:, first:last] > 0.5).sum(axis=0).mean(axis=0) * STEP_MM
    middle = len(thickness) // 2
    near, far = (round(mm / STEP_MM) for mm in BESIDE_MM)
    sides = thickness[middle - far : middle - near].max(), thickness[middle + near : middle + far].max()
    return float(np.mean(sides)) if min(sides) >= LEAST_PEDICLE_MM else np.nan


def levels_of(name: str, case: SpineCase, analysis: SpineAnalysis, fractured: set[str]) -> Iterator[Level]:
    """Of the inner levels: mean height, told by QUANTITIES, of which the mean of the two neighbours is expected."""
    whole = [level for level, body in analysis.bodies.items() if body.complete and level not in fractured]
    boxes = label_boxes(case.labels)
    own = {v: np.log(sizes(case.labels, boxes[LEVEL_NUMBER[v]], analysis.bodies[v])) for v in whole}
    for above, level, below in zip(whole, whole[1:], whole[2:], strict=False):
        found = analysis.levels[level]
        if LEVELS.index(below) - LEVELS.index(above) > 2 or found.neighbour_reference is None:
            continue
        excess = np.log(found.heights.mean / found.neighbour_reference.mean)
        yield Level(name, level, float(excess), own[level] - (own[above] + own[below]) / 2)


def walls_of(name: str, analysis: SpineAnalysis, fractured: set[str]) -> Iterator[Level]:
    """Of every whole level: height of the anterior and middle third, told by that of the posterior one."""
    for level, found in analysis.levels.items():
        expected = found.neighbour_reference
        if analysis.bodies[level].complete and level not in fractured and expected is not None:
            front, middle, wall = np.log(np.array(found.heights.thirds) / expected.thirds)
            yield Level(name, level, (front + middle) / 2, np.array([wall]))


def corrected(excess: FloatArray, larger: FloatArray, spine: list[str]) -> FloatArray:
    """excess less what a straight line through all other spines' levels tells of it."""
    left = np.empty_like(excess)
    for name in set(spine):
        held = np.array([other == name for other in spine])
        slope, offset = np.polyfit(larger[~held], excess[~held], 1)
        left[held] = excess[held] - slope * larger[held] - offset
    return left


def table(levels: list[Level], quantities: Sequence[str]) -> str:
    lines = [
        "| told by | levels | spines | correlation | reference's error, % | corrected, % |",
        "|---|---|---|---|---|---|",
    ]
    for number, quantity in enumerate(quantities):
        seen = [level for level in levels if np.isfinite(level.larger[number])]
        spine = [level.spine for level in seen]
        excess = np.array([level.excess for level in seen])
        larger = np.array([level.larger[number] for level in seen])
        before, after = 100 * np.abs(excess), 100 * np.abs(corrected(excess, larger, spine))
        change = mean_and_change(after, before, spine, ".2f", "+.2f", SEED)
        correlation = np.corrcoef(larger, excess)[0, 1]
        lines.append(
            f"| {quantity} | {len(seen)} | {len(set(spine))} | {correlation:+.2f} | {before.mean():.2f} | {change} |"
        )
    return "\n".join(lines)


def main() -> None:
    seen = [(name, case, analyse(case), fractured) for name, case, fractured in spines()]
    print(table([level for spine in seen for level in levels_of(*spine)], QUANTITIES))
    print(table([level for name, _, *found in seen for level in walls_of(name, *found)], (WALL,)))


if __name__ == "__main__":
    main()
