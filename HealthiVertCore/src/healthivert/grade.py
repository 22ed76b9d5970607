"""Genant's semi-quantitative grade and shape from height loss, by thresholds.

Grades (Genant 1993, J Bone Miner Res 8:1137; cut-offs as used by Buckens 2013, PLOS ONE): the worst of the three
thirds has lost less than 20 % (0), 20-25 % (1), 25-40 % (2), more than 40 % (3).
"""

from __future__ import annotations

from healthivert.types import THIRDS, Genant, Heights

GRADE_LIMITS = (0.20, 0.25, 0.40)
BICONCAVE_MARGIN = 0.05  # the middle third lost this much more than both others


def genant_grade(rhlv: Heights) -> Genant:
    """Grade 0-3 and shape (normal, wedge, biconcave, crush) from signed RHLV fractions per third."""
    losses = {third: getattr(rhlv, third) for third in THIRDS}
    grade = sum(max(losses.values()) >= limit for limit in GRADE_LIMITS)
    return Genant(grade, "normal" if grade == 0 else _shape(losses))


def _shape(losses: dict[str, float]) -> str:
    """Crush: the posterior wall is down as well; biconcave: the middle is worst; wedge: the anterior wall is."""
    if losses["middle"] >= max(losses["anterior"], losses["posterior"]) + BICONCAVE_MARGIN:
        return "biconcave"
    if losses["posterior"] >= GRADE_LIMITS[0] or losses["posterior"] >= losses["anterior"]:
        return "crush"
    return "wedge"
