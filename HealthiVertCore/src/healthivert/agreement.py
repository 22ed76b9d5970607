"""How well two readings of the same vertebrae agree: grades, and numbers on one scale.

In: arrays of grades or of numbers, one entry a vertebra. Out: Cohen's kappa (1960) with linear or quadratic weights
(1968), macro-F1, Bland and Altman's limits of agreement (1986), the intraclass correlation ICC(2,1) of Shrout and
Fleiss (1979), and bootstrap intervals for any of them. What is undefined is NaN: a kappa of readings that are all the
same grade, a spread of a single number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from healthivert.types import FloatArray

RESAMPLES = 2000
CONFIDENCE = 0.95
NORMAL_95 = 1.96  # standard deviations on either side that hold 95 % of a normal distribution


@dataclass(frozen=True)
class Limits:
    """Bland and Altman: the mean difference and the range that holds 95 % of the differences, in their unit."""

    bias: float
    low: float
    high: float


def confusion_matrix(true: ArrayLike, found: ArrayLike, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are the true grades 0..classes - 1, columns the found ones."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(true, int), np.asarray(found, int)), 1)
    return counts


def weighted_kappa(confusion: NDArray, weights: str = "linear") -> float:
    """Agreement beyond chance, 1 at best. weights: a disagreement of n grades counts n ("linear") or n squared
    ("quadratic")."""
    power = {"linear": 1, "quadratic": 2}[weights]
    grades = np.arange(len(confusion))
    penalty = np.abs(grades[:, None] - grades[None, :]) ** power
    by_chance = np.outer(confusion.sum(axis=1), confusion.sum(axis=0)) / max(confusion.sum(), 1)
    expected = float((penalty * by_chance).sum())
    return float("nan") if expected == 0 else 1.0 - float((penalty * confusion).sum()) / expected


def macro_f1(confusion: NDArray) -> float:
    """The mean F1 of the grades that occur in either reading: a rare grade counts as much as a common one."""
    hits = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurs = total > 0
    return float(np.mean(2.0 * hits[occurs] / total[occurs])) if occurs.any() else float("nan")


def limits_of_agreement(differences: ArrayLike) -> Limits:
    """Bias and 95 % limits of found - true."""
    values = np.asarray(differences, float)
    if values.size < 2:
        return Limits(float(values.mean()) if values.size else float("nan"), float("nan"), float("nan"))
    bias, reach = float(values.mean()), NORMAL_95 * float(values.std(ddof=1))
    return Limits(bias, bias - reach, bias + reach)


def intraclass_correlation(readings: FloatArray) -> float:
    """ICC(2,1), absolute agreement of single readings. readings: (subjects, readers)."""
    subjects, readers = readings.shape
    if subjects < 2 or readers < 2:
        return float("nan")
    grand = readings.mean()
    by_subject, by_reader = readings.mean(axis=1), readings.mean(axis=0)
    between_subjects = readers * ((by_subject - grand) ** 2).sum() / (subjects - 1)
    between_readers = subjects * ((by_reader - grand) ** 2).sum() / (readers - 1)
    rest = readings - by_subject[:, None] - by_reader[None, :] + grand
    residual = (rest**2).sum() / ((subjects - 1) * (readers - 1))
    spread = between_subjects + (readers - 1) * residual + readers * (between_readers - residual) / subjects
    return float("nan") if spread == 0 else float((between_subjects - residual) / spread)


def bootstrap_interval(
    units: Sequence[Hashable],
    statistic: Callable[[NDArray[np.intp]], float],
    seed: int,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic.

    units: what each row belongs to; whole units are drawn, because the vertebrae of one spine are no independent
    observations. statistic: of the indices of the drawn rows. None for a single unit, or if no draw had a value.
    """
    names = list(dict.fromkeys(units))
    if len(names) < 2:
        return None
    rows_of = [np.array([i for i, unit in enumerate(units) if unit == name]) for name in names]
    random = np.random.default_rng(seed)
    draws = random.integers(len(names), size=(RESAMPLES, len(names)))
    values = np.array([statistic(np.concatenate([rows_of[i] for i in draw])) for draw in draws])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return None
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resampling_units(cases: Sequence[Hashable]) -> tuple[list[Hashable], str]:
    """What a bootstrap draws, per row, and its name: whole cases if there are several, else single levels."""
    if len(set(cases)) > 1:
        return list(cases), "case"
    return list(range(len(cases))), "level"
