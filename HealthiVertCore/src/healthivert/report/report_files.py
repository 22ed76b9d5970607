"""report.json and heights.csv for programs, report.html and its pictures for people.

In: types.Report. Out: files in a folder, UTF-8. Heights are mm, RHLV in report.json a signed fraction, in the CSV files
a percent (the column names say so). A number that could not be measured is null in JSON and empty in CSV, never NaN.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from healthivert.grade import grade_range
from healthivert.report.figures import check_can_draw, draw_pictures
from healthivert.report.page import page_html
from healthivert.report.wording import all_warnings, headline
from healthivert.types import HEIGHT_KEYS, THIRDS, HeightLines, HeightProfile, Heights, LevelSummary, Report

SCHEMA = "healthivert-report-1"
HEIGHTS_HEADER = (
    "vertebra",
    "region",
    "method",
    "original_mm",
    "pseudo_healthy_mm",
    "neighbour_reference_mm",
    "rhlv_percent",
    "rhlv_sd_percent",
    "rhlv_reference_percent",
    "rhlv_interval_90_low_percent",
    "rhlv_interval_90_high_percent",
)
LEVELS_HEADER = (
    "level",
    "label",
    *(f"{key}_mm" for key in HEIGHT_KEYS),
    *(f"neighbour_reference_{key}_mm" for key in HEIGHT_KEYS),
    "suspicion",
    "genant_grade",
    "shape",
    "warnings",
)


def write_report(report: Report, folder: Path) -> None:
    """Write report.json, heights.csv, levels.csv, figures/*.png and report.html in folder (made if it is not there).

    Everything is made in memory first, so that an error leaves no half-written report.
    Raises HealthiVertError before anything is written if matplotlib is not installed.
    """
    check_can_draw()
    pictures = draw_pictures(report)
    files: dict[str, bytes] = {
        "report.json": (json.dumps(report_as_dict(report), indent=2, ensure_ascii=False) + "\n").encode(),
        "heights.csv": _csv(HEIGHTS_HEADER, heights_rows(report)).encode(),
        "levels.csv": _csv(LEVELS_HEADER, [_level_row(summary) for summary in report.spine]).encode(),
        **{f"figures/{picture.name}.png": picture.png for picture in pictures},
        "report.html": page_html(report, pictures).encode(),
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def report_as_dict(report: Report) -> dict[str, Any]:
    """The content of report.json; numbers that are not finite are None."""
    loss = report.loss
    content = {
        "schema": SCHEMA,
        "case": report.case,
        "vertebra": report.vertebra,
        "headline": headline(report),
        "model": report.model,
        "device": report.device,
        "seed": report.seed,
        "samples": report.samples,
        "attention": report.attention,
        "passes": report.passes,
        "rejected_samples": report.rejected_samples,
        "heights_mm": {
            "original": loss.original.as_dict(),
            "pseudo_healthy": loss.pseudo_healthy.as_dict(),
            "neighbour_reference": _optional(loss.neighbour_reference),
        },
        "rhlv": loss.rhlv.as_dict(),
        "rhlv_sd": _optional(loss.rhlv_sd),
        "rhlv_interval_90": loss.rhlv_interval,
        "rhlv_reference": loss.rhlv_reference,
        "six_point_mm": loss.six_point,
        "height_profile_mm": _profile(report.profile),
        "height_lines_lps_mm": {body: _points(lines) for body, lines in report.height_lines.items()},
        "genant": {"grade": loss.genant.grade, "shape": loss.genant.shape, "by": loss.genant.by},
        "genant_grade_range_90": grade_range(loss),
        "spine": [level_as_dict(summary) for summary in report.spine],
        "warnings": all_warnings(report),
        "timing_s": report.timing_s,
        "versions": report.versions,
    }
    return json_ready(content)


def level_as_dict(summary: LevelSummary) -> dict[str, Any]:
    """One level as `inspect --json` and report.json print it; numbers that are not finite are None."""
    row = {
        "level": summary.level,
        "label": summary.label,
        "heights_mm": summary.heights.as_dict(),
        "neighbour_reference": _optional(summary.neighbour_reference),
        "neighbour_reference_spread": _optional(summary.reference_spread),
        "suspicion": summary.suspicion,
        "grade": summary.genant.grade,
        "shape": summary.genant.shape,
        "complete": summary.complete,
        "warnings": summary.warnings,
    }
    return json_ready(row)


def heights_rows(report: Report) -> list[tuple[Any, ...]]:
    """The rows of heights.csv: the mean of each third and of the whole body, then the six-point heights."""
    loss = report.loss
    rows: list[tuple[Any, ...]] = []
    for key in HEIGHT_KEYS:
        rows.append(
            (
                report.vertebra,
                key,
                "mean of columns",
                _rounded(getattr(loss.original, key)),
                _rounded(getattr(loss.pseudo_healthy, key)),
                _rounded(_value(loss.neighbour_reference, key)),
                _percent(getattr(loss.rhlv, key)),
                _percent(_value(loss.rhlv_sd, key)),
                _percent(loss.rhlv_reference.get(key)),
                *(_percent(end) for end in loss.rhlv_interval[key]),
            )
        )
    original, healthy = (loss.six_point.get(name, {}) for name in ("original", "pseudo_healthy"))
    for key in THIRDS:
        before, after = original.get(key), healthy.get(key)
        lost = (after - before) / after if before is not None and after else None
        heights = _rounded(before), _rounded(after), None
        rows.append((report.vertebra, key, "six-point", *heights, _percent(lost), None, None, None, None))
    return rows


def _level_row(summary: LevelSummary) -> tuple[Any, ...]:
    return (
        summary.level,
        summary.label,
        *(_rounded(getattr(summary.heights, key)) for key in HEIGHT_KEYS),
        *(_rounded(_value(summary.neighbour_reference, key)) for key in HEIGHT_KEYS),
        _rounded(summary.suspicion),
        summary.genant.grade,
        summary.genant.shape,
        "; ".join(summary.warnings),
    )


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _optional(heights: Heights | None) -> dict[str, float] | None:
    return None if heights is None else heights.as_dict()


def _profile(profile: HeightProfile | None) -> dict[str, list[float]] | None:
    """Mid-sagittal column heights by their distance from the healthy body's anterior wall."""
    if profile is None:
        return None
    return {
        "from_anterior_wall": profile.ap_mm.tolist(),
        "original": profile.original.tolist(),
        "pseudo_healthy": profile.pseudo_healthy.tolist(),
    }


def _points(lines: HeightLines) -> dict[str, list[list[float]]]:
    """{third: [[x, y, z] of the inferior end, [x, y, z] of the superior end]}."""
    return {third: ends.tolist() for third, ends in lines.items()}


def _value(heights: Heights | None, key: str) -> float | None:
    return None if heights is None else float(getattr(heights, key))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3)


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else _rounded(100 * fraction)


def json_ready(value: Any) -> Any:
    """Plain Python values only, with None where a number is not finite (JSON knows no NaN)."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
