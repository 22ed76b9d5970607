"""Every level of a spine at a glance: bodies, heights, what the neighbours say, suspicion. No generator is involved.

In: SpineCase. Out: SpineAnalysis, from which `inspect` prints its table and `run` starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from healthivert.anatomy import LEVELS, levels_between, normal_spine
from healthivert.body import ASTRAY, find_bodies
from healthivert.errors import HealthiVertError
from healthivert.grade import GRADE_LIMITS, genant_grade
from healthivert.measure import body_heights, hollowness, relative_height_loss, spurs_mm
from healthivert.reference import Prediction, population, predictions, suspicion
from healthivert.straighten import centreline
from healthivert.types import Genant, Heights, LevelSummary, SpineCase, StraightFrame, VertebralBody

IMPLAUSIBLE_EXCESS = 0.15  # no healthy level differs so much from what the others predict
# Of five people, single labels had up to 1.13 times the volume of the larger one beside them, two in one at least 1.48.
TWO_IN_ONE, ALIKE_LEVELS = 1.3, 2
LONG_SPUR_MM = 6.0
GRAZED = 0.2  # share of a body's largest section at the border: a strip along the wall, not the bend of a round one
NECK, TALLEST_NECK_MM = ("C3", "C4", "C5", "C6", "C7"), 18.0  # they have 10 to 16
ORDER_TOLERANCE_MM = 8.0  # a spine bent to a right angle brings neighbours to one height


@dataclass(frozen=True)
class SpineAnalysis:
    """A case's bodies and what their heights say of each other; both by level, from cranial to caudal. frame: of the
    line through the bodies."""

    bodies: Mapping[str, VertebralBody]
    frame: StraightFrame
    levels: Mapping[str, LevelSummary]
    warnings: tuple[str, ...]

    @property
    def suspicion(self) -> dict[str, float]:
        return {level: summary.suspicion for level, summary in self.levels.items()}


def analyse(case: SpineCase) -> SpineAnalysis:
    """Find and measure every body, and hold it against the others. Bodies cut by the scan's border are no reference."""
    bodies = find_bodies(case)
    check_order(bodies)
    heights = {level: body_heights(body) for level, body in bodies.items()}
    check_neck(heights)
    whole = {level: value for level, value in heights.items() if bodies[level].complete}
    size = endplate_size(bodies.values())
    predicted = predictions(whole, size)
    summaries = {}
    for level, own in heights.items():
        prediction = predicted.get(level) if level in whole else predictions({**whole, level: own}, size)[level]
        reference = None if prediction is None else prediction.heights
        comparable = reference is not None and bodies[level].complete
        grade = genant_grade(relative_height_loss(own, reference)) if reference and comparable else Genant(0, "normal")
        doubt = suspicion(own, reference) if comparable else 0.0
        warnings = (*_level_warnings(level, bodies, own, reference), *hollow_warnings(bodies[level], grade))
        summaries[level] = LevelSummary(
            level,
            case.label_values[level],
            own,
            reference,
            doubt,
            grade,
            warnings,
            None if prediction is None else prediction.spread,
            bodies[level].complete,
        )
    return SpineAnalysis(bodies, centreline(bodies), summaries, (*case.warnings, *_spine_warnings(case, bodies)))


def check_order(bodies: Mapping[str, VertebralBody]) -> None:
    """Raise HealthiVertError if a level lies below the one that its name puts it above: labels are exchanged."""
    for upper, lower in pairwise(bodies):
        below = float(bodies[lower].centre[2] - bodies[upper].centre[2])
        if below > ORDER_TOLERANCE_MM:
            raise HealthiVertError(
                f"{upper} lies {below:.0f} mm below {lower}, so their labels are exchanged; correct the segmentation, "
                "or say with --level-map which label is which level"
            )


def check_neck(heights: Mapping[str, Heights]) -> None:
    """Raise HealthiVertError if what is labelled as the neck is as tall as a back: masks numbered 1, 2, 3, ... are."""
    neck = {level: heights[level].mean for level in NECK if level in heights}
    if neck and (middle := float(np.median(list(neck.values())))) > TALLEST_NECK_MM:
        raise HealthiVertError(
            f"the labels mean cervical vertebrae ({', '.join(neck)}), but their bodies are {middle:.0f} mm tall; say "
            "with --level-map which label is which level"
        )


def _level_warnings(
    level: str, bodies: Mapping[str, VertebralBody], own: Heights, reference: Heights | None
) -> tuple[str, ...]:
    warnings = []
    if not bodies[level].complete:
        warnings.append(f"{level} is cut by the border of the scan or of its mask: its height is not its whole height")
    if reference is None:
        known = level in normal_spine()
        why = "no other complete level to compare with" if known else "cervical heights are not known here"
        warnings.append(f"{level}: {why}, so no grade can be guessed")
    elif bodies[level].complete:
        warnings += _excess_warnings(level, own, reference)
    return (*warnings, *body_warnings(level, bodies))


def _excess_warnings(level: str, own: Heights, reference: Heights) -> list[str]:
    excess = own.mean / reference.mean - 1
    if excess <= IMPLAUSIBLE_EXCESS:
        return []
    return [
        f"{level} is {100 * excess:.0f} % taller than the other levels predict: either they have lost height, or "
        f"more than {level} is labelled as it"
    ]


def reference_warnings(target: str, analysis: SpineAnalysis) -> list[str]:
    """What makes the other levels a doubtful reference: one whose label may hold more than its vertebra."""
    warnings = []
    for level, found in analysis.levels.items():
        if level != target and found.complete and found.neighbour_reference is not None:
            warnings += _excess_warnings(level, found.heights, found.neighbour_reference)
            warnings += _merged_warnings(analysis.bodies[level], analysis.bodies)
    return warnings


def body_warnings(level: str, bodies: Mapping[str, VertebralBody]) -> tuple[str, ...]:
    """What in a level's label makes it doubtful what its body is: another vertebra, a cleft, a long low stretch."""
    body = bodies[level]
    return (*_merged_warnings(body, bodies), *_cleft_warnings(body), *_spur_warnings(body), *_border_warnings(body))


def _border_warnings(body: VertebralBody) -> list[str]:
    """A tilted body loses a wedge of its wall to a tight crop, too little of any section to count as cut."""
    if not body.complete or body.border_share <= GRAZED:
        return []
    return [
        f"the border of the scan or of its mask takes a part of {body.level}'s wall: heights there may be too small"
    ]


def _cleft_warnings(body: VertebralBody) -> list[str]:
    if body.cleft_mm <= 0:
        return []
    return [
        f"the label of {body.level} has a cleft of {body.cleft_mm:.0f} mm: heights are from plate to plate, over it; "
        "look whether it is a fracture's or the segmentation's"
    ]


def _spur_warnings(body: VertebralBody) -> list[str]:
    """Low stretches so long that they may be a part of the body that gave way instead."""
    return [
        f"{body.level}: {length:.0f} mm at the {wall} wall, less than half as high as what lies behind, were taken for "
        "an osteophyte and not measured; look whether the body has collapsed there"
        for wall, length in zip(("anterior", "posterior"), spurs_mm(body), strict=True)
        if length >= LONG_SPUR_MM
    ]


def _merged_warnings(body: VertebralBody, bodies: Mapping[str, VertebralBody]) -> list[str]:
    """A label so much larger than those around it that it may hold two vertebrae, of which one would be measured."""
    around = [
        other.label_mm3
        for level, other in bodies.items()
        if other.complete and 0 < levels_between(level, body.level) <= ALIKE_LEVELS and level in normal_spine()
    ]
    if len(around) < 2 or body.level not in normal_spine() or body.label_mm3 <= TWO_IN_ONE * max(around):
        return []
    return [
        f"the label of {body.level} is {body.label_mm3 / max(around):.1f} times as large as the largest around it: it "
        "may hold two vertebrae, of which one was measured; check the segmentation"
    ]


def hollow_warnings(body: VertebralBody, grade: Genant) -> tuple[str, ...]:
    """Plates so hollow that they alone would make a grade, in a body whose heights make none: where all levels are
    hollow, the others expect it. Cervical bodies have another form (an uncus, a dens), and no grade at all."""
    if grade.grade > 0 or not body.complete or body.level not in normal_spine():
        return ()
    if (hollow := hollowness(body)) < GRADE_LIMITS[0]:
        return ()
    return (
        f"{body.level} is {100 * hollow:.0f} % lower in its middle than at its rim, though by the thresholds of height "
        "loss it has no grade: a reader may call it a biconcave fracture",
    )


def _spine_warnings(case: SpineCase, bodies: Mapping[str, VertebralBody]) -> list[str]:
    warnings = []
    lost = [level for level in case.levels if level not in bodies]
    if lost:
        warnings.append(
            f"no vertebral body was found in {', '.join(lost)} (too small a part of it is labelled, or in the scan)"
        )
    posterior = np.mean([body.axes[1] for body in bodies.values()], axis=0)
    if posterior[1] < ASTRAY * np.linalg.norm(posterior):
        warnings.append(
            "the arches of the vertebrae do not lie to the scan's posterior: the orientation in its header is wrong; "
            "heights follow the arches, but left and right may be exchanged"
        )
    present = list(bodies)
    for level, body in bodies.items():
        if body.complete:
            others = [bodies[v].centre for v in present if v != level]
            if others and min(float(np.linalg.norm(body.centre - c)) for c in others) < 8.0:
                warnings.append(f"{level} lies within 8 mm of another level: check the labels")
    return warnings


def healthy_reference(analysis: SpineAnalysis, level: str) -> Prediction:
    """What the other levels say of a level's healthy heights; where there is none, what people with endplates of this
    size have."""
    found = analysis.levels[level]
    if found.neighbour_reference is None or found.reference_spread is None:
        return population(level, endplate_size([analysis.bodies[level]]) or 0.0)
    return Prediction(found.neighbour_reference, found.reference_spread)


def endplate_size(bodies: Iterable[VertebralBody]) -> float | None:
    """Logarithm of the ratio to normal heights that the size of the bodies' endplates, which a fracture hardly changes,
    lets expect; None if no body has a normal size.

    Only a third of the difference in size is believed: between people, heights vary much less than widths do.
    """
    found = []
    for body in bodies:
        normal = normal_spine().get(body.level)
        if normal is not None:
            area = float(np.isfinite(body.superior).sum()) * body.column_mm**2
            side = float(np.sqrt(area / (0.85 * normal.width * normal.depth)))  # 0.85: a kidney in its bounding box
            found.append(believed_size(side))
    return float(np.mean(found)) if found else None


def believed_size(side: float) -> float:
    """What an endplate of `side` times the normal length lets expect of heights, as a logarithm."""
    return float(np.log(min(max(side, 0.75), 1.25)) / 3)


def neighbour_warnings(level: str, analysis: SpineAnalysis) -> list[str]:
    """What is missing beside a target: `run` says it before it trusts the neighbours."""
    ladder = [v for v in LEVELS if v != "T13" or v in analysis.bodies]
    place = ladder.index(level)
    lowest = "L6" if "L6" in analysis.bodies else "L5"
    warnings = []
    for side, other in (("above", place - 1), ("below", place + 1)):
        if side == "below" and level == lowest:
            warnings.append(
                f"below {level} lies the sacrum, which does not tell how {level}'s wedge goes on: the form of its "
                "lower plate is a guess"
            )
            continue
        name = ladder[other]
        if name not in analysis.bodies:
            warnings.append(f"{name}, the neighbour {side} {level}, has no body in the segmentation")
        elif not analysis.bodies[name].complete:
            warnings.append(f"{name}, the neighbour {side} {level}, is cut by the border of the scan or of its mask")
        elif analysis.levels[name].suspicious:
            warnings.append(f"{name}, the neighbour {side} {level}, looks fractured itself")
    return warnings
