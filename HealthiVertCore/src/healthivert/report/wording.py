"""Sentences and number formats shared by the page and its pictures. Fractions come in, percents come out as text.

RHLV is signed: what is lost is positive, and a vertebra that is taller than predicted is negative. A reader who sees
"lost -3 %" has to think twice, so the sign is turned into words wherever there is a sentence.
"""

from __future__ import annotations

import math

from healthivert.grade import grade_range
from healthivert.types import THIRDS, Genant, HeightLoss, Heights, Report

NOT_MEASURED = "–"


def format_mm(value: float | None) -> str:
    """Millimetres to one decimal, e.g. "24.9"; a dash if it was not measured."""
    if value is None or not math.isfinite(value):
        return NOT_MEASURED
    return _with_minus_sign(f"{value:.1f}")


def format_percent(fraction: float | None, decimals: int = 0) -> str:
    """A signed fraction as "46 %"; a dash if it was not measured."""
    if fraction is None or not math.isfinite(fraction):
        return NOT_MEASURED
    return _with_minus_sign(f"{100 * fraction:.{decimals}f}") + " %"


def headline(report: Report) -> str:
    """One sentence: how much height is lost, where, and the Genant grade."""
    loss = report.loss
    grade = genant_words(loss.genant)
    if not math.isfinite(loss.rhlv.mean):
        return f"The height loss of {report.vertebra} could not be measured: {grade}."
    percent = round(100 * loss.rhlv.mean)
    if percent > 0:
        finding = f"{report.vertebra} has lost {percent} % of its height"
    elif percent == 0:
        finding = f"{report.vertebra} has the height predicted for it"
    else:
        finding = f"{report.vertebra} is {-percent} % taller than predicted"
    return f"{finding} ({thirds_words(loss.rhlv, loss_is_the_topic=percent > 0)}): {grade}."


def thirds_words(rhlv: Heights, loss_is_the_topic: bool) -> str:
    """The three thirds in words: "anterior 52 %, middle 58 %, posterior 3 % taller"."""
    return ", ".join(f"{third} {_third_words(getattr(rhlv, third), loss_is_the_topic)}" for third in THIRDS)


def genant_words(genant: Genant) -> str:
    """ "Genant grade 3, wedge"; a grade 0 has no shape, and is no word on fractures that take no height."""
    return f"Genant grade {genant.grade}, {genant.shape}" if genant.grade else "Genant grade 0 by its height"


def grade_range_words(loss: HeightLoss) -> str:
    """Which grades lie within the 90 % intervals of the thirds."""
    low, high = grade_range(loss)
    return f"grade {low} only" if low == high else f"grades {low} to {high}"


def all_warnings(report: Report) -> tuple[str, ...]:
    """The run's and the measurement's warnings, each once, in order."""
    return tuple(dict.fromkeys((*report.warnings, *report.loss.warnings)))


def _third_words(fraction: float, loss_is_the_topic: bool) -> str:
    if not math.isfinite(fraction):
        return "not measured"
    percent = round(100 * fraction)
    if percent < 0:
        return f"{-percent} % taller"
    return f"{percent} %" if loss_is_the_topic else f"{percent} % lost"


def _with_minus_sign(number: str) -> str:
    """A rounded "-0" becomes "0", and the hyphen a true minus sign (a table's columns then line up)."""
    if number.startswith("-") and not number.strip("-0."):
        return number[1:]
    return number.replace("-", "−")
