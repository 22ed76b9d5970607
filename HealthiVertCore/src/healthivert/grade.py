"""Genant's semi-quantitative grade and shape from height loss, by thresholds.

Grades (Genant 1993, J Bone Miner Res 8:1137; cut-offs as used by Buckens 2013, PLOS ONE 8:e71204): the worst of the
three thirds has lost less than 20 % (0), 20-25 % (1), 25-40 % (2), 40 % or more (3). svm_grading.py grades by a fit.
"""

from __future__ import annotations

from healthivert.types import THIRDS, Genant, HeightLoss, Heights

GRADE_LIMITS = (0.20, 0.25, 0.40)
GRADES = len(GRADE_LIMITS) + 1
BICONCAVE_MARGIN = 0.05  # the middle third lost this much more than both others


def genant_grade(rhlv: Heights) -> Genant:
    """Grade 0-3 and shape (normal, wedge, biconcave, crush) from signed RHLV fractions per third."""
    worst = max(getattr(rhlv, third) for third in THIRDS)
    grade = _grade_of(worst)
    return Genant(grade, genant_shape(rhlv, grade))


def _grade_of(worst_loss: float) -> int:
    return sum(worst_loss >= limit for limit in GRADE_LIMITS)


def grade_range(loss: HeightLoss) -> tuple[int, int]:
    """The lowest and the highest grade that the intervals of the thirds allow, the grade itself included."""
    low, high = (_grade_of(max(loss.rhlv_interval[third][end] for third in THIRDS)) for end in (0, 1))
    return min(low, loss.genant.grade), max(high, loss.genant.grade)


def genant_shape(rhlv: Heights, grade: int) -> str:
    """Normal: grade 0; crush: the posterior wall is down as well; biconcave: the middle is worst; wedge: the anterior
    wall is."""
    if grade == 0:
        return "normal"
    if rhlv.middle >= max(rhlv.anterior, rhlv.posterior) + BICONCAVE_MARGIN:
        return "biconcave"
    if rhlv.posterior >= GRADE_LIMITS[0] or rhlv.posterior >= rhlv.anterior:
        return "crush"
    return "wedge"
