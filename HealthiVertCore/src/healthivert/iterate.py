"""Iterative synthesis: neighbours that look fractured are regrown first, and the target is conditioned on the result.

In: a case, its analysis, a level and a generator. Out: Prepared of the original case, as pipeline.prepare gives it,
whose generator sees the anatomy around the target as it is after its neighbours were regrown.

What was regrown is no evidence: every expected height comes from the analysis of the original scan, in which the
fractured levels have next to no weight, and so does the prior, which shows trusted vertebrae of the patient. Only the
context around the gap is taken from the repaired scan. The repaired scan itself is thrown away: the target's generated
vertebra goes into the original one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.attention import AttentionSource, suspicion_beside
from healthivert.gap import CONTEXT_ROWS, cut_margin
from healthivert.inspection import SpineAnalysis, analyse, healthy_reference
from healthivert.pipeline import GenerateSamples, Prepared, healthy_heights, prepare
from healthivert.progress import quiet
from healthivert.restore import place
from healthivert.restore_patient import Restored, restore_patient
from healthivert.straighten import arc_extent
from healthivert.types import Conditioning, Heights, SpineCase

NEAREST, HEALTHIEST = "nearest", "healthiest"


def prepare_beside_regrown(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    generate: GenerateSamples,
    passes: int,
    progress: Callable[[str, float, str], None] = quiet,
    attend: AttentionSource = suspicion_beside,
) -> Prepared:
    """pipeline.prepare after the suspected neighbours were regrown so many times; 0 passes, or no suspected neighbour,
    give pipeline.prepare's own result.

    Raises HealthiVertError if the level's body is missing or cut by the scan's border, or if the generator fails.
    """
    prepared = prepare(case, analysis, level, attend)
    suspected = suspected_in_reach(analysis, level)
    if passes == 0 or not suspected:
        return prepared
    expected = expected_heights(analysis, (level, *suspected))
    turns = turns_of(level, in_order(analysis, level, suspected), passes)
    repaired = regrow_in_turn(case, analysis, turns, expected, generate, progress, attend)
    around = prepare(*repaired, level, attend).conditioning
    return prepared._replace(
        conditioning=with_surroundings(prepared.conditioning, around), regrown_first=tuple(suspected)
    )


def suspected_in_reach(analysis: SpineAnalysis, level: str) -> list[str]:
    """The complete levels, cranial to caudal, that look fractured and of whose body the generator sees a part."""
    return [
        other
        for other in levels_in_reach(analysis, level)
        if analysis.levels[other].suspicious and analysis.bodies[other].complete
    ]


def levels_in_reach(analysis: SpineAnalysis, level: str) -> list[str]:
    """The other levels of whose body a part lies in the rows of context on either side of a level's cut."""
    low, high = arc_extent(analysis.bodies[level], analysis.frame)
    reach_mm = cut_margin(analysis.bodies[level].voxel_mm) + CONTEXT_ROWS  # a row is a millimetre
    extents = {other: arc_extent(body, analysis.frame) for other, body in analysis.bodies.items() if other != level}
    return [other for other, (first, last) in extents.items() if first < high + reach_mm and last > low - reach_mm]


def in_order(analysis: SpineAnalysis, level: str, chosen: Sequence[str], order: str = NEAREST) -> list[str]:
    """chosen in the order in which they are regrown.

    "nearest": to the level first. "healthiest": those first whose own surroundings look least fractured, since they
    show the generator most of what is healthy; the nearest of equals.
    """
    present = list(analysis.bodies)
    nearest = sorted(chosen, key=lambda other: abs(present.index(other) - present.index(level)))
    if order == NEAREST:
        return nearest
    return sorted(nearest, key=lambda other: round(_doubt_around(analysis, other), 1))


def turns_of(level: str, neighbours: Sequence[str], passes: int) -> list[str]:
    """Which levels are regrown, one after the other. From the second pass on the level itself comes first, so that its
    neighbours do not grow beside its collapse once more."""
    return [*neighbours, *(level, *neighbours) * (passes - 1)]


def _doubt_around(analysis: SpineAnalysis, level: str) -> float:
    """Sum of the suspicions of the levels that a generator would see around a level."""
    return sum(analysis.suspicion[other] for other in levels_in_reach(analysis, level))


def expected_heights(analysis: SpineAnalysis, levels: Sequence[str]) -> dict[str, Heights]:
    """What the original scan says of the healthy height of each level, mm, as pipeline.prepare takes it."""
    return {level: healthy_reference(analysis, level).heights for level in levels}


def regrow_in_turn(
    case: SpineCase,
    analysis: SpineAnalysis,
    turns: Sequence[str],
    expected: Mapping[str, Heights],
    generate: GenerateSamples,
    progress: Callable[[str, float, str], None] = quiet,
    attend: AttentionSource = suspicion_beside,
) -> tuple[SpineCase, SpineAnalysis]:
    """The case with the levels of turns regrown one after the other, each beside what was regrown before it, and its
    analysis. expected: of every level that must stay whole, those of turns among them.

    A level whose regrowth would push one of these out of the scan stays as it is.
    """
    repaired = case, analysis
    for number, level in enumerate(turns):
        progress("neighbours", number / len(turns), f"regrowing {level} first")
        regrown = _regrown(*repaired, level, expected[level], generate, attend)
        if _all_complete(regrown[1], expected):
            repaired = regrown
    return repaired


def _all_complete(analysis: SpineAnalysis, levels: Mapping[str, Heights]) -> bool:
    return all(level in analysis.bodies and analysis.bodies[level].complete for level in levels)


def _regrown(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    expected: Heights,
    generate: GenerateSamples,
    attend: AttentionSource,
) -> tuple[SpineCase, SpineAnalysis]:
    """The case with one level regrown to what is expected of it in the original scan, and its analysis."""
    prepared = prepare(case, analysis, level, attend)
    conditioning = replace(prepared.conditioning, reference_mm=expected.mean, reference_thirds=expected.thirds)
    vertebra = generate(conditioning)[0]
    vertebra, placement = place(prepared.straight, conditioning, vertebra, prepared.old_body)
    healthy_map = healthy_heights(vertebra, prepared.straight.spacing_mm)[1]
    no_loss = np.where(np.isfinite(healthy_map), 0.0, np.nan)
    restored = restore_patient(case, prepared.straight, analysis.bodies[level], vertebra, placement, no_loss)
    withheld = _withheld_after(case, restored, level)
    regrown = replace(case, ct=restored.ct, labels=restored.labels, withheld=withheld)
    return regrown, analyse(regrown)


def _withheld_after(case: SpineCase, restored: Restored, level: str) -> sitk.Image | None:
    """What is withheld moves with its tissue; in a vertebra that was regrown nothing is left to withhold."""
    if case.withheld is None:
        return None
    to_original = sitk.DisplacementFieldTransform(sitk.Cast(restored.displacement, sitk.sitkVectorFloat64))
    moved = sitk.Resample(case.withheld, restored.labels, to_original, sitk.sitkNearestNeighbor, 0)
    return moved & (restored.labels != LEVEL_NUMBER[level])


def with_surroundings(own: Conditioning, around: Conditioning) -> Conditioning:
    """own with everything beside its gap taken from around, whose rows beside the gap show the same anatomy repaired.
    The gap's prior, the cut and the expected height stay its own."""
    first, last = own.gap

    def joined(inside: np.ndarray, beside: np.ndarray) -> np.ndarray:
        out = beside.copy()
        out[first:last] = inside[first:last]
        return out

    return replace(
        own,
        ct=around.ct,
        mask=around.mask,
        attention=around.attention,
        neighbours=around.neighbours,
        prior_ct=joined(own.prior_ct, around.prior_ct),
    )
