"""What `healthivert` prints for people: one vertebra, or every level of a spine, as text. Heights in mm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from healthivert.report.wording import grade_range_words
from healthivert.types import HEIGHT_KEYS, Report


def _signed(fraction: float) -> str:
    """Percent to a tenth with its sign, and never -0.0."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def result_table(report: Report) -> str:
    """What `run` found: thirds before and after, the grade, the warnings."""
    loss = report.loss
    lines = [f"{report.vertebra}        original  healthy   loss     90 % interval"]
    for key in HEIGHT_KEYS:
        original, healthy = getattr(loss.original, key), getattr(loss.pseudo_healthy, key)
        low, high = (_signed(end) for end in loss.rhlv_interval[key])
        lines.append(
            f"{key:<10} {original:6.1f} mm {healthy:6.1f} mm {_signed(getattr(loss.rhlv, key)):>5} %"
            f"  {low:>5} to {high:>5} %"
        )
    grade, within = loss.genant, grade_range_words(loss)
    lines.append(f"Genant grade {grade.grade} ({grade.shape}), by {grade.by}; within the intervals: {within}")
    lines.extend(f"warning: {warning}" for warning in report.warnings)
    return "\n".join(lines)


def spine_table(found: Mapping[str, Any]) -> str:
    """What `inspect` found, a line for each level. found: of commands.inspection_as_dict."""
    lines = ["level  label  anterior  middle  posterior  mean mm   neighbours say  loss %  suspicion  grade"]
    for row in found["levels"]:
        own, reference = row["heights_mm"], row["neighbour_reference"]
        expected = f"{reference['mean']:14.1f}" if reference else f"{'-':>14}"
        comparable = reference and row["complete"]
        loss = f"{_signed(1 - own['mean'] / reference['mean']):>7}" if comparable else f"{'-':>7}"
        grade = row["grade"] if comparable else "-"
        lines.append(
            f"{row['level']:<6} {row['label']:>5} {own['anterior']:9.1f} {own['middle']:7.1f} {own['posterior']:10.1f}"
            f" {own['mean']:8.1f}   {expected} {loss}  {row['suspicion']:9.2f}  {grade:>5}"
        )
        lines.extend(f"       warning: {warning}" for warning in row["warnings"])
    lines.extend(f"warning: {warning}" for warning in found["warnings"])
    return "\n".join(lines)
