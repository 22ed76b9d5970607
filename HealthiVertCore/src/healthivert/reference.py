"""What the other levels say about a level's healthy height, and how suspicious each level is.

In: heights per level. Out: a reference Heights per level, how far it may be wrong, and a suspicion 0..1. No image and
no model is involved: this is the baseline that any generator has to beat, and the number its height heads are relative
to.

Heights are divided by what is normal for the level (anatomy.normal_spine), which leaves a person's size and a slow
trend along the spine. A local, robust straight line through the logarithm of that ratio, without the level itself, is
the reference. Fractures only take height away, so levels that lie below the line lose their weight and levels above
keep it, unless they are so tall that more than one vertebra must be labelled there. Where next to nothing healthy is
left, what the endplates say of the person's size takes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from healthivert.anatomy import LEVELS, NormalVertebra, normal_spine
from healthivert.types import HEIGHT_KEYS, THIRDS, FloatArray, Heights

REACH_LEVELS = 2.5  # weight of a level falls by e over this many levels
TREND_STIFFNESS = 10.0  # ridge on the slope: only a long run of agreeing levels makes a trend
# One healthy level's heights against the line through the others (standard deviation of the logarithm, in the order of
# HEIGHT_KEYS). Known before any spine is seen as if from so many levels; what the spine's own levels show is added.
LEVEL_SD, LEVEL_SD_WEIGHT = np.array([0.03, 0.045, 0.045, 0.03]), 4.0
# So many times as much where a spine ends: people differ most in the wedge of L5 and L4, and the tables of normal
# heights in the first thoracic levels. From generated spines; a population's measured L5 says the same.
MORE_AT_LEVEL = {
    "T1": np.array([1.6, 1.65, 1.4, 1.8]),
    "T2": np.array([1.25, 1.4, 1.3, 1.5]),
    "L4": np.array([1.2, 1.0, 1.1, 1.05]),
    "L5": np.array([1.5, 1.05, 1.35, 1.2]),
}
# Where most levels have collapsed, those that look healthy may have, too, but all to much the same degree: how far they
# then lie below the truth (logarithm, in the order of HEIGHT_KEYS; the posterior wall stands longest).
COLLAPSE_SD = np.array([0.25, 0.25, 0.12, 0.20])
POPULATION_SPREAD = 0.08  # the tables' coefficient of variation between people: where nothing but them is known
# What is measured here of the tables' heights (logarithm, in the order of HEIGHT_KEYS): they are walls of a man, these
# are means of thirds between hollow plates, of women, too. Between levels that cancels out, in the tables alone it does
# not. Halfway between generated spines (-0.05, -0.08, -0.13, -0.09) and seven people (-0.03, -0.05, -0.09, -0.06).
AS_MEASURED = np.array([-0.04, -0.065, -0.11, -0.07])
HEALTHY_LOSS, LOST_LOSS = 0.08, 0.18  # a level this much below the line keeps all of its weight / loses all of it
# As much taller than the person's size lets expect (logarithm), and than the middle level of the spine is: no healthy
# level is, but one whose label holds a disc or a part of the next vertebra.
TOO_TALL = 0.15
LEAST_HEALTH = 0.01  # of a level that lost all: something must stand where there is nothing else
# What endplates tell of heights (logarithm): weighs as much as a healthy level three or four levels away would with so
# little health. Levels that far below it, and HEALTHY_LOSS more, begin to lose theirs however well they agree with each
# other.
SIZE_WEIGHT, SIZE_DOUBT = 0.05, 0.20
SUSPICION_MIDDLE, SUSPICION_WIDTH = 0.19, 0.03  # logistic in the worst third's loss


@dataclass(frozen=True)
class Prediction:
    """heights: reference in mm. spread: standard deviation of what a healthy level may differ from it, a fraction."""

    heights: Heights
    spread: Heights


def normal_heights(level: str) -> Heights:
    normal: NormalVertebra = normal_spine()[level]
    return Heights(normal.height_anterior, normal.height_middle, normal.height_posterior, normal.height_mean)


def population(level: str, size: float) -> Prediction:
    """What can be said of a level where no other one is there. size: as in predictions."""
    normal = np.array([getattr(normal_heights(level), key) for key in HEIGHT_KEYS])
    spread = Heights(*[POPULATION_SPREAD] * len(HEIGHT_KEYS))
    return Prediction(Heights(*(normal * np.exp(size + AS_MEASURED)).tolist()), spread)


def predictions(heights: Mapping[str, Heights], size: float | None = None) -> dict[str, Prediction | None]:
    """Level -> what all other levels predict for it, and how surely; None where no other level of known normal size is
    there.

    size: logarithm of the ratio to normal heights that the person's endplates let expect; None where nobody measured
    it, and nothing but heights counts.
    """
    result: dict[str, Prediction | None] = dict.fromkeys(heights)
    levels = [level for level in LEVELS if level in heights and level in normal_spine()]
    if len(levels) < 2:
        return result
    place = np.array([_place(level) for level in levels])
    ratio = np.array(
        [[np.log(getattr(heights[v], k) / getattr(normal_heights(v), k)) for k in HEIGHT_KEYS] for v in levels]
    )
    health = _health(place, ratio, size)
    shares, of_size = (
        np.array(part) for part in zip(*(_shares(place, health, i, size) for i in range(len(levels))), strict=True)
    )
    fitted = shares @ ratio + (of_size * (size or 0.0))[:, None]
    # each level missed by what it varies itself and by what those that predict it do
    variance = np.array([MORE_AT_LEVEL.get(level, np.ones(len(HEIGHT_KEYS))) for level in levels]) ** 2
    widening = variance + shares**2 @ variance + (of_size[:, None] * POPULATION_SPREAD / LEVEL_SD) ** 2
    misses = (ratio - fitted) ** 2 / widening
    for i, level in enumerate(levels):
        trust = np.delete(health, i)
        own = (LEVEL_SD_WEIGHT * LEVEL_SD**2 + trust @ np.delete(misses, i, axis=0)) / (LEVEL_SD_WEIGHT + trust.sum())
        doubt = COLLAPSE_SD * _all_have_collapsed(trust) * (1 - of_size[i])
        spread = np.sqrt(own * widening[i] + doubt**2)
        normal = np.array([getattr(normal_heights(level), k) for k in HEIGHT_KEYS])
        result[level] = Prediction(Heights(*(normal * np.exp(fitted[i])).tolist()), Heights(*spread.tolist()))
    return result


def _all_have_collapsed(health: FloatArray) -> float:
    """0..1: how likely even the levels that look healthy are not. health: (N,) of all levels but the one in question.
    Each of them has collapsed as likely as any other level of the spine; the square holds where it was tried."""
    return float((1 - health.mean()) ** (2 * health.sum()))


def suspicion(heights: Heights, reference: Heights | None) -> float:
    """0..1: how surely a level has lost height against its reference; 0.5 a point below a Genant grade 1."""
    if reference is None:
        return 0.0
    worst = max(1 - getattr(heights, third) / getattr(reference, third) for third in THIRDS)
    return float(1 / (1 + np.exp(-(worst - SUSPICION_MIDDLE) / SUSPICION_WIDTH)))


def _place(level: str) -> float:
    ladder = [v for v in LEVELS if v != "T13"]
    return ladder.index("T12") + 0.5 if level == "T13" else float(ladder.index(level))


def _health(place: FloatArray, ratio: FloatArray, size: float | None) -> FloatArray:
    """(N,) weights 0..1 of the levels: each is held against the line through the others, in its worst third,
    repeatedly, and against the person's size."""
    beyond_doubt = np.full(len(place), -np.inf)
    if size is not None:
        beyond_doubt = (size - SIZE_DOUBT - ratio).max(axis=1)
        mean = ratio[:, HEIGHT_KEYS.index("mean")]
        beyond_doubt[mean - size > TOO_TALL + abs(np.median(mean) - size)] = np.inf
    if len(place) < 3:  # of two, nothing tells which one has lost
        return _health_after(beyond_doubt)
    health = np.ones(len(place))
    for _ in range(8):
        lines = (_shares(place, health, i, size) for i in range(len(place)))
        fitted = np.array([share @ ratio + of_size * (size or 0.0) for share, of_size in lines])
        loss = np.maximum((fitted - ratio).max(axis=1), beyond_doubt)
        health = 0.5 * health + 0.5 * _health_after(loss)
    return health


def _health_after(loss: FloatArray) -> FloatArray:
    return np.clip((LOST_LOSS - loss) / (LOST_LOSS - HEALTHY_LOSS), LEAST_HEALTH, 1.0)


def _shares(place: FloatArray, health: FloatArray, left_out: int, size: float | None) -> tuple[FloatArray, float]:
    """(N,) share of every level's ratio in the prediction of one of them, whose own is 0; and the share of size.

    They are those of a line fitted with weights that fall with the distance in levels and with ill health.
    """
    others = np.arange(len(place)) != left_out
    distance = place[others] - place[left_out]
    weight = health[others] * np.exp(-np.abs(distance) / REACH_LEVELS)
    design = np.stack([np.ones_like(distance), distance], axis=1)
    known = 0.0 if size is None else SIZE_WEIGHT
    normal = design.T @ (design * weight[:, None]) + np.diag([known, TREND_STIFFNESS * weight.sum()])
    at_level = np.linalg.inv(normal)[0]
    shares = np.zeros(len(place))
    shares[others] = at_level @ (design * weight[:, None]).T
    return shares, float(at_level[0] * known)
