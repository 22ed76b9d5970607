"""Leave-one-out on vertebrae assumed healthy: each is hidden and regrown, and compared with what was there.

In: cases and a generator. Out: rows of metrics, with what the neighbours alone would have said beside the model.
evaluate_phantoms.py does the same where the truth behind a fracture is known; evaluation_files.py writes both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from healthivert.agreement import bootstrap_interval, resampling_units
from healthivert.anatomy import normal_spine
from healthivert.attention import AttentionSource, suspicion_beside
from healthivert.gap import to_window
from healthivert.inspection import SpineAnalysis
from healthivert.measure import body_heights
from healthivert.pipeline import GenerateSamples, Prepared, healthy_heights, prepare
from healthivert.prior import prior_vertebra
from healthivert.reference import normal_heights
from healthivert.restore import place, restore_straightened
from healthivert.types import THIRDS, Conditioning, FloatArray, Heights, PseudoHealthy, SpineCase

BOX_MARGIN_MM = 5.0
SSIM_WINDOW = 7  # voxels
METRICS = (
    *("ssim", "psnr", "dice", "rhdr", "height_mae_mm"),
    *("rhdr_reference", "height_mae_mm_reference", "rhdr_two_neighbours", "rhdr_two_healthy"),
    *("ssim_prior", "psnr_prior", "dice_prior"),
)


class Regrown(NamedTuple):
    """A level hidden and regrown: heights in mm, and the (AP, LR) map of column heights in mm."""

    prepared: Prepared
    vertebra: PseudoHealthy
    heights: Heights
    height_map: FloatArray


class TwoNeighbours(NamedTuple):
    """Mean heights in mm of the level above and the one below; of the nearest on each side that do not look fractured,
    each brought to the level by the ratio of normal heights. None without any."""

    as_they_are: float | None
    healthy: float | None


def regrow_level(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    generate: GenerateSamples,
    attend: AttentionSource = suspicion_beside,
) -> Regrown:
    """The level hidden, and the first of the samples that are drawn in its place."""
    prepared = prepare(case, analysis, level, attend)
    vertebra = generate(prepared.conditioning)[0]
    return Regrown(prepared, vertebra, *healthy_heights(vertebra, prepared.straight.spacing_mm))


def evaluate_level(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    generate: GenerateSamples,
    attend: AttentionSource = suspicion_beside,
) -> dict:
    """One row: ssim, psnr, dice, rhdr (percent), height_mae_mm (over thirds), the baselines' of each, heights in mm.

    Pictures are compared on the straightened 1 mm grid, in the body's bounding box and 5 mm around it, in the window
    -300..800 HU. rhdr = 100 |h_pred - h_true| / h_true on the mean body height.
    """
    regrown = regrow_level(case, analysis, level, generate, attend)
    true = body_heights(analysis.bodies[level])
    return {
        "case": case.name,
        "vertebra": level,
        **beside_the_prior(regrown.prepared, regrown.vertebra, regrown.prepared.conditioning),
        **height_metrics(regrown, true, two_neighbours(analysis, level)),
    }


def height_metrics(regrown: Regrown, true: Heights, simplest: TwoNeighbours) -> dict[str, float | None]:
    """How far the regrown heights are from the true ones, beside what the other levels alone say."""
    reference = regrown.prepared.reference
    return {
        "rhdr": _rhdr(regrown.heights.mean, true.mean),
        "height_mae_mm": _height_error(regrown.heights, true),
        "rhdr_reference": _rhdr(reference.mean, true.mean),
        "height_mae_mm_reference": _height_error(reference, true),
        "rhdr_two_neighbours": None if simplest.as_they_are is None else _rhdr(simplest.as_they_are, true.mean),
        "rhdr_two_healthy": None if simplest.healthy is None else _rhdr(simplest.healthy, true.mean),
        "true_mm": true.mean,
        "predicted_mm": regrown.heights.mean,
        "reference_mm": reference.mean,
    }


def beside_the_prior(truth: Prepared, vertebra: PseudoHealthy, given: Conditioning) -> dict[str, float]:
    """picture_metrics of a vertebra, and as NAME_prior those of the neighbours alone that it was drawn from, given."""
    alone = picture_metrics(truth, prior_vertebra(given))
    return {**picture_metrics(truth, vertebra), **{f"{name}_prior": value for name, value in alone.items()}}


def picture_metrics(prepared: Prepared, vertebra: PseudoHealthy) -> dict[str, float]:
    """SSIM, PSNR (dB) in the body's bounding box and margin, and the Dice of the bodies, of a vertebra put into the
    scan that `prepared` was made of."""
    after, true_body, new_body = put_back(prepared, vertebra)
    overlap = 2.0 * (true_body & new_body).sum() / max(true_body.sum() + new_body.sum(), 1)
    return {
        **likeness(prepared.straight.ct, after, true_body, prepared.straight.spacing_mm, prepared.straight.seen),
        "dice": float(overlap),
    }


def put_back(prepared: Prepared, vertebra: PseudoHealthy) -> tuple[FloatArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """The straightened scan in HU with a vertebra in place of its own, the body before and the body after; all
    (SI, AP, LR)."""
    vertebra, placement = place(prepared.straight, prepared.conditioning, vertebra, prepared.old_body)
    after, body_after = restore_straightened(prepared.straight, prepared.old_body, vertebra, placement)
    return after, prepared.old_body > 0.5, body_after > 0.5


def likeness(
    before: FloatArray,
    after: FloatArray,
    body: NDArray[np.bool_],
    spacing_mm: float,
    seen: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """SSIM and PSNR (dB) of two pictures (SI, AP, LR) in HU, in the body's bounding box and BOX_MARGIN_MM around it.

    seen: where the scan shows anything; what lies beyond its border is no picture and does not count.
    """
    margin = round(BOX_MARGIN_MM / spacing_mm)
    where = np.argwhere(body)
    box = tuple(
        slice(max(0, low - margin), high + margin + 1) for low, high in zip(where.min(0), where.max(0), strict=True)
    )
    counted = np.ones(body[box].shape, bool) if seen is None else seen[box]
    windowed = to_window(before[box]), to_window(after[box])
    _, similarity = structural_similarity(*windowed, data_range=2.0, win_size=SSIM_WINDOW, full=True)
    whole_window = ndimage.binary_erosion(counted, np.ones((SSIM_WINDOW,) * 3))
    return {
        "ssim": float(similarity[whole_window].mean()),
        "psnr": float(peak_signal_noise_ratio(*(picture[counted] for picture in windowed), data_range=2.0)),
    }


def two_neighbours(analysis: SpineAnalysis, level: str) -> TwoNeighbours:
    """The simplest baselines, of the complete levels."""
    present = list(analysis.bodies)
    place = present.index(level)
    sides = present[:place][::-1], present[place + 1 :]
    beside = [v for side in sides for v in side[:1] if analysis.bodies[v].complete]
    known = [[v for v in side if analysis.bodies[v].complete and v in normal_spine()] for side in sides]
    nearest = [v for side in known for v in [v for v in side if not analysis.levels[v].suspicious][:1]]
    as_they_are = [analysis.levels[v].heights.mean for v in beside]
    healthy = [
        analysis.levels[v].heights.mean * normal_heights(level).mean / normal_heights(v).mean
        for v in nearest
        if level in normal_spine()
    ]
    return TwoNeighbours(*(float(np.mean(found)) if found else None for found in (as_they_are, healthy)))


def _rhdr(predicted: float, true: float) -> float:
    return 100.0 * abs(predicted - true) / true


def _height_error(predicted: Heights, true: Heights) -> float:
    return float(np.mean([abs(getattr(predicted, third) - getattr(true, third)) for third in THIRDS]))


def evaluable_levels(analysis: SpineAnalysis) -> list[str]:
    """All complete levels that look healthy and have another complete level to be told by."""
    return [level for level, summary in analysis.levels.items() if summary.comparable and not summary.suspicious]


def mean_row(rows: Iterable[Mapping]) -> dict[str, float | None]:
    """The mean of each metric over the rows that have it."""
    rows = list(rows)
    collected = {name: [row[name] for row in rows if row.get(name) is not None] for name in METRICS}
    return {name: float(np.mean(values)) if values else None for name, values in collected.items()}


def summarise(rows: Sequence[Mapping], seed: int) -> dict:
    """What metrics.json says about the rows as a whole: mean, its 95 % bootstrap interval, and the mean of each level.

    Whole cases are drawn where there are several, single levels otherwise; "bootstrap" says which. Cases of one
    "person", where rows name it, are one.
    """
    units, unit = resampling_units([row.get("person") or row["case"] for row in rows])
    levels = dict.fromkeys(row["vertebra"] for row in rows)
    return {
        "mean": mean_row(rows),
        "interval": {name: mean_interval(rows, name, units, seed) for name in METRICS},
        "bootstrap": {"unit": unit, "units": len(set(units)), "seed": seed},
        "levels": [
            {"vertebra": level, "count": len(here), **mean_row(here)}
            for level in levels
            if (here := [row for row in rows if row["vertebra"] == level])
        ],
    }


def mean_interval(rows: Sequence[Mapping], name: str, units: Sequence, seed: int) -> tuple[float, float] | None:
    """The 95 % bootstrap interval of the mean of one column, over the rows that have it."""
    has = [i for i, row in enumerate(rows) if row.get(name) is not None]
    values = np.array([rows[i][name] for i in has])
    return bootstrap_interval([units[i] for i in has], lambda drawn: float(values[drawn].mean()), seed)
