"""Leave-one-out on vertebrae assumed healthy: each is hidden and regrown, and compared with what was there.

In: cases and a generator. Out: rows of metrics, with what the neighbours alone would have said beside the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from healthivert.gap import to_window
from healthivert.inspection import SpineAnalysis
from healthivert.measure import body_heights
from healthivert.pipeline import GenerateSamples, Prepared, healthy_heights, prepare
from healthivert.restore import place, restore_straightened
from healthivert.types import THIRDS, FloatArray, SpineCase

BOX_MARGIN_MM = 5.0
METRICS = ("ssim", "psnr", "dice", "rhdr", "height_mae_mm", "rhdr_reference", "rhdr_two_neighbours")


def evaluate_level(case: SpineCase, analysis: SpineAnalysis, level: str, generate: GenerateSamples) -> dict:
    """One row: ssim, psnr, dice, rhdr (percent), height_mae_mm (over thirds), and the baselines' rhdr.

    Pictures are compared on the straightened 1 mm grid, in the body's bounding box and 5 mm around it, in the window
    -300..800 HU. rhdr = 100 |h_pred - h_true| / h_true on the mean body height.
    """
    prepared = prepare(case, analysis, level)
    vertebra = generate(prepared.conditioning)[0]
    true = body_heights(analysis.bodies[level])
    predicted, _ = healthy_heights(vertebra, prepared.straight.spacing_mm)
    placement = place(prepared.straight, prepared.conditioning, vertebra)
    after, body_after = restore_straightened(prepared.straight, prepared.old_body, vertebra, placement)
    beside = two_neighbours_mean(analysis, level)
    return {
        "case": case.name,
        "vertebra": level,
        **picture_metrics(prepared, after, body_after),
        "rhdr": _rhdr(predicted.mean, true.mean),
        "height_mae_mm": float(np.mean([abs(getattr(predicted, t) - getattr(true, t)) for t in THIRDS])),
        "rhdr_reference": _rhdr(prepared.reference.mean, true.mean),
        "rhdr_two_neighbours": None if beside is None else _rhdr(beside, true.mean),
    }


def picture_metrics(prepared: Prepared, after: FloatArray, body_after: FloatArray) -> dict[str, float]:
    """SSIM, PSNR (dB) in the body's bounding box and margin, and the Dice of the bodies."""
    true_body = prepared.old_body > 0.5
    margin = round(BOX_MARGIN_MM / prepared.straight.spacing_mm)
    where = np.argwhere(true_body)
    box = tuple(
        slice(max(0, low - margin), high + margin + 1) for low, high in zip(where.min(0), where.max(0), strict=True)
    )
    before, regrown = (to_window(volume[box]) for volume in (prepared.straight.ct, after))
    new_body = body_after > 0.5
    overlap = 2.0 * (true_body & new_body).sum() / max(true_body.sum() + new_body.sum(), 1)
    return {
        "ssim": float(structural_similarity(before, regrown, data_range=2.0)),
        "psnr": float(peak_signal_noise_ratio(before, regrown, data_range=2.0)),
        "dice": float(overlap),
    }


def two_neighbours_mean(analysis: SpineAnalysis, level: str) -> float | None:
    """The simplest baseline: the mean height of the levels above and below (or of the one there is)."""
    present = list(analysis.bodies)
    place = present.index(level)
    beside = [present[i] for i in (place - 1, place + 1) if 0 <= i < len(present)]
    heights = [analysis.levels[v].heights.mean for v in beside if analysis.bodies[v].complete]
    return float(np.mean(heights)) if heights else None


def _rhdr(predicted: float, true: float) -> float:
    return 100.0 * abs(predicted - true) / true


def evaluable_levels(analysis: SpineAnalysis, wanted: Sequence[str] | None) -> list[str]:
    """The wanted levels, or all complete levels that look healthy and have another complete level to be told by."""
    if wanted:
        return list(wanted)
    return [
        level
        for level, summary in analysis.levels.items()
        if analysis.bodies[level].complete and summary.neighbour_reference is not None and summary.suspicion < 0.5
    ]


def mean_row(rows: Iterable[Mapping]) -> dict[str, float | None]:
    """The mean of each metric over the rows that have it."""
    rows = list(rows)
    collected = {name: [row[name] for row in rows if row.get(name) is not None] for name in METRICS}
    return {name: float(np.mean(values)) if values else None for name, values in collected.items()}
