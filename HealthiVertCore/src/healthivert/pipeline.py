"""One vertebra from the case to its height loss: the steps of the data's way in their order.

In: SpineCase, a level, a loaded generator. Out: Outcome (the height loss, pictures, and images on the patient's grid).
Making a report of it and writing it is the business of commands and of the report package.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from healthivert.anatomy import normal_spine
from healthivert.attention import AttentionSource, suspicion_beside
from healthivert.bend import column_stretch
from healthivert.errors import HealthiVertError
from healthivert.familiarity import features
from healthivert.gap import CONTEXT_ROWS, cut_margin, find_cut, make_conditioning
from healthivert.grade import genant_grade
from healthivert.height_lines import original_lines, regrown_lines
from healthivert.inspection import (
    SpineAnalysis,
    body_warnings,
    healthy_reference,
    hollow_warnings,
    neighbour_warnings,
    reference_warnings,
)
from healthivert.measure import (
    GENERATED,
    body_heights,
    body_profile,
    gap_height_map,
    generated_row_mm,
    height_loss_map,
    mid_sagittal_profile,
    published_rhlv,
    relative_height_loss,
    six_point,
    third_heights,
    without_rim,
)
from healthivert.prior import neighbours_prior, trusted_neighbours
from healthivert.restore import place, restore_straightened
from healthivert.restore_patient import Restored, conditioning_on_patient, restore_patient
from healthivert.straighten import body_occupancy, grid_points, straighten_around
from healthivert.types import (
    HEIGHT_KEYS,
    THIRDS,
    Conditioning,
    FloatArray,
    HeightLines,
    HeightLoss,
    HeightProfile,
    Heights,
    PseudoHealthy,
    SpineCase,
    StraightenedSpine,
    VertebralBody,
    View,
)
from healthivert.variation import with_spread

VIEW_MARGIN_MM = CONTEXT_ROWS + 12.0  # around the target: what the generator needs and a little more for the pictures
NINE_OF_TEN = 1.645  # standard deviations to either side of a normal error's mean that hold 90 % of it
LITTLE_KNOWN = 0.08  # standard deviation of the reference: as much as between people whose spine nobody has seen
DISAGREEMENT = 0.10  # model and neighbours differ by more than this fraction of height: said in the report

GenerateSamples = Callable[[Conditioning], list[PseudoHealthy]]


class Prepared(NamedTuple):
    """The target straightened, its own body on the same grid (0..1), and what the generator may know. regrown_first:
    the neighbours that it sees regrown (iterate.py)."""

    straight: StraightenedSpine
    old_body: FloatArray
    attention: FloatArray
    conditioning: Conditioning
    reference: Heights
    reference_spread: Heights
    has_reference: bool
    regrown_first: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of one vertebra: its loss, the restored scan, and what pictures and report show of it."""

    loss: HeightLoss
    restored: Restored
    withheld: sitk.Image  # 1 where the generator saw nothing, on a part of the patient's grid
    attention: sitk.Image  # 0..1 on the same part
    views: tuple[View, ...]
    profile: HeightProfile
    height_lines: Mapping[str, HeightLines]  # "original" in the scan, "pseudo_healthy" in the restored one
    features: Mapping[str, float]  # what the generator was shown, in numbers: see familiarity
    rejected_samples: int = 0  # drawings thrown away because they looked fractured


def prepare(
    case: SpineCase, analysis: SpineAnalysis, level: str, attend: AttentionSource = suspicion_beside
) -> Prepared:
    """Straighten around the target, dim what looks fractured, and open the gap.

    Raises HealthiVertError if the level's body is missing or cut by the scan's border.
    """
    body = complete_body(analysis, level, case)
    straight = straighten_around(case, analysis.bodies, analysis.frame, level, VIEW_MARGIN_MM)
    old_body = body_occupancy(body, grid_points(analysis.frame, straight.arc, straight.spacing_mm))
    attention = attend(case, analysis, straight, level)
    expected = healthy_reference(analysis, level)
    known, spread = expected.heights, expected.spread
    has_reference = analysis.levels[level].neighbour_reference is not None
    margin_mm = cut_margin(body.voxel_mm)
    cut = find_cut(straight, level, margin_mm)
    bottom = straight.arc_start + cut[0] * straight.spacing_mm
    stretch = column_stretch(analysis.frame, bottom, bottom + known.mean, straight.spacing_mm)
    prior = neighbours_prior(case, analysis, level, old_body, stretch)
    conditioning = make_conditioning(straight, level, cut, attention, prior, known, spread.mean, margin_mm, stretch)
    return Prepared(straight, old_body, attention, conditioning, known, spread, has_reference)


def complete_body(analysis: SpineAnalysis, level: str, case: SpineCase) -> VertebralBody:
    if level not in analysis.bodies:
        raise HealthiVertError(
            f"{case.name}: {level} is labelled, but no vertebral body was found in it; check its label"
        )
    if level not in normal_spine():
        raise HealthiVertError(
            f"{case.name}: {level} is cervical, and its healthy height is not known here; choose a level from T1 down"
        )
    body = analysis.bodies[level]
    if not body.complete:
        raise HealthiVertError(
            f"{case.name}: {level} is cut by the border of the scan or of its mask, so its height cannot be measured; "
            "choose a level that lies inside the scan"
        )
    return body


def regrow(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    generate: GenerateSamples,
    progress: Callable[..., None],
    clock: Clock | None = None,
    prepared: Prepared | None = None,
    attend: AttentionSource = suspicion_beside,
) -> Outcome:
    """Hide one vertebra, regrow it, put it back and measure what was lost. clock: takes the time of each step.
    prepared: of the same case and level, where it is already there; else it is made with attend."""
    clock = clock or Clock()
    progress("straighten", 0.30, f"straightening around {level}")
    prepared = prepared or prepare(case, analysis, level, attend)
    clock.lap("straighten")
    progress("generate", 0.40, f"regrowing {level}")
    samples = generate(prepared.conditioning)
    vertebra = with_spread(samples, prepared.straight.spacing_mm)
    vertebra, placement = place(prepared.straight, prepared.conditioning, vertebra, prepared.old_body)
    clock.lap("generate")
    progress("measure", 0.65, "measuring")
    body = analysis.bodies[level]
    after, body_after = restore_straightened(prepared.straight, prepared.old_body, vertebra, placement)
    loss, profile = _measure(body, analysis, prepared, samples, vertebra, body_after)
    views = _views(prepared, after, body_after)
    clock.lap("measure")
    progress("restore", 0.70, "back to the patient")
    loss_map = without_rim(loss.loss_map)
    restored = restore_patient(case, prepared.straight, body, vertebra, placement, loss_map)
    withheld, attention = conditioning_on_patient(case, prepared.straight, prepared.conditioning, prepared.attention)
    clock.lap("restore")
    lines = {
        "original": original_lines(body),
        "pseudo_healthy": regrown_lines(prepared.straight.frame, vertebra, placement, prepared.straight.spacing_mm),
    }
    rejected = sum(sample.rejected for sample in samples)
    shown = features(prepared.conditioning)
    return Outcome(loss, restored, withheld, attention, views, profile, lines, shown, rejected)


class Clock:
    """Seconds from one lap to the next, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self.start, 3)
        self.start = now


def healthy_heights(vertebra: PseudoHealthy, spacing_mm: float) -> tuple[Heights, FloatArray]:
    """Heights of a generated vertebra and its (AP, LR) height map in mm, scaled so that the mean is its height_mm."""
    height_map = gap_height_map(vertebra.body, generated_row_mm(vertebra, spacing_mm), vertebra.stretch)
    return third_heights(height_map, spacing_mm, GENERATED), height_map


def _measure(
    body: VertebralBody,
    analysis: SpineAnalysis,
    prepared: Prepared,
    samples: list[PseudoHealthy],
    vertebra: PseudoHealthy,
    body_after: FloatArray,
) -> tuple[HeightLoss, HeightProfile]:
    """The loss, and both bodies' mid-sagittal profiles. body_after: the restored body on the straightened grid."""
    spacing = prepared.straight.spacing_mm
    original = body_heights(body)
    healthy, healthy_map = healthy_heights(vertebra, spacing)
    rhlv = relative_height_loss(original, healthy)
    drawn = [healthy, *(healthy_heights(other, spacing)[0] for other in samples[1:])]
    as_tall = [Heights(*(getattr(h, k) * healthy.mean / h.mean for k in HEIGHT_KEYS)) for h in drawn]
    spread, form_spread = (_spread([relative_height_loss(original, h) for h in hs]) for hs in (drawn, as_tall))
    own_ap, own = body_profile(body)
    ap, regrown = mid_sagittal_profile(healthy_map, spacing, GENERATED)
    genant = genant_grade(rhlv)
    loss = HeightLoss(
        original=original,
        pseudo_healthy=healthy,
        neighbour_reference=prepared.reference if prepared.has_reference else None,
        rhlv=rhlv,
        rhlv_sd=spread,
        rhlv_interval=loss_interval(rhlv, form_spread, prepared.reference_spread),
        rhlv_reference=published_rhlv(prepared.old_body > 0.5, body_after > 0.5, spacing),
        six_point={"original": six_point(own_ap, own), "pseudo_healthy": six_point(ap, regrown)},
        loss_map=height_loss_map(body.height_map, healthy_map, spacing),
        genant=genant,
        warnings=(
            *body_warnings(body.level, analysis.bodies),
            *_loss_warnings(body.level, analysis, prepared, healthy),
            *hollow_warnings(body, genant),
            *_realism_warnings(body.level, vertebra, sum(sample.rejected for sample in samples)),
        ),
    )
    # against the healthy body's depth; the original's is scaled onto it
    return loss, HeightProfile(ap, np.interp(ap / ap[-1], own_ap / own_ap[-1], own), regrown)


def _spread(losses: list[Heights]) -> Heights | None:
    """Root mean square of how far the others lie from the first (the answer); None without others."""
    if len(losses) < 2:
        return None
    table = np.array([[getattr(loss, key) for key in HEIGHT_KEYS] for loss in losses])
    return Heights(*np.sqrt(np.mean((table[1:] - table[0]) ** 2, axis=0)).tolist())


def loss_interval(rhlv: Heights, form_sd: Heights | None, reference_spread: Heights) -> dict[str, tuple[float, float]]:
    """Key -> the signed fractions between which the true loss lies in nine of ten cases.

    What the neighbours cannot know of each healthy height; or, if that is more, what the samples' forms differ by at
    one and the same mean height. Measured on generated spines: docs/results.md.
    """
    interval = {}
    for key in HEIGHT_KEYS:
        loss = getattr(rhlv, key)
        drawn = 0.0 if form_sd is None else getattr(form_sd, key)
        reach = NINE_OF_TEN * max((1 - loss) * getattr(reference_spread, key), drawn)
        interval[key] = (loss - reach, loss + reach)
    return interval


def _loss_warnings(level: str, analysis: SpineAnalysis, prepared: Prepared, healthy: Heights) -> list[str]:
    warnings = [*neighbour_warnings(level, analysis), *reference_warnings(level, analysis)]
    if prepared.regrown_first:
        warnings.append(f"regrown before {level}, because they look fractured: {', '.join(prepared.regrown_first)}")
    if not prepared.has_reference:
        plain = "" if trusted_neighbours(analysis, level) else "; what is drawn in its place is a plain column of bone"
        warnings.append(
            f"no complete level beside {level}: the expected height is the population's, scaled by {level}'s "
            f"endplates{plain}"
        )
    elif len(others := _others(level, analysis)) == 1:
        warnings.append(
            f"{others[0]} alone tells {level}'s healthy height: which of the two has lost some is not known"
        )
    elif prepared.reference_spread.mean > LITTLE_KNOWN:
        warnings.append(
            f"the other levels say little of {level}'s healthy height: too few look healthy, and these may have "
            "lost height, too; its loss may be larger than it is found to be"
        )
    worst = max(THIRDS, key=lambda third: abs(getattr(healthy, third) / getattr(prepared.reference, third) - 1))
    difference = getattr(healthy, worst) / getattr(prepared.reference, worst) - 1
    if abs(difference) > DISAGREEMENT:
        warnings.append(
            f"model and neighbours disagree by {100 * difference:+.0f} points on {level}'s healthy {worst} height: "
            f"{getattr(healthy, worst):.1f} mm against {getattr(prepared.reference, worst):.1f} mm"
        )
    return warnings


def _others(level: str, analysis: SpineAnalysis) -> list[str]:
    """The levels that another one's healthy height is predicted from."""
    return [
        other for other, body in analysis.bodies.items() if other != level and body.complete and other in normal_spine()
    ]


def _realism_warnings(level: str, vertebra: PseudoHealthy, rejected: int) -> list[str]:
    """rejected: drawings that were thrown away, of all samples."""
    if vertebra.accepted:
        how_often = "once" if rejected == 1 else f"{rejected} times"
        return [f"{level} was drawn again {how_often}, because it looked fractured"] if rejected else []
    return [
        f"the regrown {level} looks fractured itself, in each of {vertebra.rejected} drawings: "
        "its healthy heights are in doubt"
    ]


def _views(prepared: Prepared, after: FloatArray, body_after: FloatArray) -> tuple[View, ...]:
    """Pictures before and after on one grid, through the middle of the restored body."""
    ap, lr = np.round(np.argwhere(body_after > 0.5)[:, 1:].mean(axis=0)).astype(int)
    return (
        _view("sagittal", (slice(None), slice(None), lr), prepared, after, body_after),
        _view("coronal", (slice(None), ap, slice(None)), prepared, after, body_after),
    )


def _view(plane: str, at, prepared: Prepared, after: FloatArray, body_after: FloatArray) -> View:
    given = prepared.conditioning
    return View(
        plane,
        prepared.straight.spacing_mm,
        prepared.straight.ct[at],
        after[at],
        prepared.old_body[at],
        body_after[at],
        given.ct[at],
        given.mask[at],
        given.attention[at],
    )
