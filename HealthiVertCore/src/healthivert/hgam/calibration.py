"""How well a classifier tells fractured from spared, and how far its probabilities can be believed.

In: scores or probabilities and what is true (0 or 1), one entry a vertebra. Out: area under the ROC curve, reliability
table, expected calibration error (Naeini et al. 2015), and a scale and an offset for the logits (temperature scaling of
Guo et al. 2017 with Platt's offset).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from healthivert.types import FloatArray

BINS = 10


class Calibration(NamedTuple):
    """probability = sigmoid(scale * logit + offset)."""

    scale: float = 1.0
    offset: float = 0.0

    def probability(self, logit: ArrayLike) -> FloatArray:
        return np.asarray(expit(self.scale * np.asarray(logit, float) + self.offset))


class ReliabilityBin(NamedTuple):
    """What was said and what came true, of the vertebrae whose probability lies from low to high."""

    low: float
    high: float
    vertebrae: int
    mean_probability: float
    true_share: float


def area_under_curve(true: ArrayLike, scores: ArrayLike) -> float:
    """The chance that a fractured vertebra scores higher than a spared one, ties half (Mann and Whitney); NaN if
    either kind is missing."""
    fractured = np.asarray(true, bool)
    ones, zeros = int(fractured.sum()), int((~fractured).sum())
    if ones == 0 or zeros == 0:
        return float("nan")
    from scipy.stats import rankdata  # a second to import, and a run calibrates without ranks

    return float((rankdata(scores)[fractured].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def fit_calibration(true: ArrayLike, logits: ArrayLike) -> Calibration:
    """Scale and offset of the least log loss; the scale stays positive, so the order of the vertebrae is kept."""
    target, found = np.asarray(true, float), np.asarray(logits, float)

    def log_loss(parameters: FloatArray) -> float:
        value = np.exp(parameters[0]) * found + parameters[1]
        # a weak pull to 1 and 0: without it, logits that separate perfectly would drive the scale to infinity
        pull = 0.01 * float((parameters**2).sum()) / len(target)
        return float(np.mean(np.logaddexp(0, value) - target * value)) + pull

    scale, offset = minimize(log_loss, np.zeros(2), method="BFGS").x
    return Calibration(float(np.exp(scale)), float(offset))


def reliability(true: ArrayLike, probability: ArrayLike) -> list[ReliabilityBin]:
    """BINS equal bins over 0..1; empty ones are left out."""
    target, said = np.asarray(true, float), np.asarray(probability, float)
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    return [
        ReliabilityBin(i / BINS, (i + 1) / BINS, int(here.sum()), float(said[here].mean()), float(target[here].mean()))
        for i in range(BINS)
        if (here := place == i).any()
    ]


def expected_calibration_error(true: ArrayLike, probability: ArrayLike) -> float:
    """The mean distance of what was said from what came true, over bins weighted by their count; 0 at best."""
    rows = reliability(true, probability)
    total = sum(row.vertebrae for row in rows)
    return sum(row.vertebrae * abs(row.mean_probability - row.true_share) for row in rows) / total
