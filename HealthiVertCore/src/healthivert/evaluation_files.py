"""What `evaluate` found: metrics.json, metrics.csv, levels.csv and figures for a folder, and a table for people.

In: the content of metrics.json. Out: files, UTF-8; a number that is undefined is null in JSON, empty in CSV and a dash
in the table.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from healthivert.report.evaluation_charts import draw_evaluation
from healthivert.report.report_files import json_ready

FILES = ("metrics.json", "metrics.csv", "levels.csv", "figures")
# what a line of the table says: its name, unit, decimals, and the metric of the model and of the baselines
BASELINES = ("reference", "two healthy ones", "two neighbours")
TABLE = (
    ("RHDR", "%", 1, ("rhdr", "rhdr_reference", "rhdr_two_healthy", "rhdr_two_neighbours")),
    ("height error", "mm", 2, ("height_mae_mm", "height_mae_mm_reference", None, None)),
    ("Dice", "", 3, ("dice", "dice_prior", None, None)),
    ("SSIM", "", 3, ("ssim", "ssim_prior", None, None)),
    ("PSNR", "dB", 1, ("psnr", "psnr_prior", None, None)),
)
GRADING_TABLE = (
    ("kappa, linear", "kappa_linear"),
    ("kappa, quadratic", "kappa_quadratic"),
    ("macro-F1", "macro_f1"),
    ("exact", "accuracy"),
)


def write_evaluation(metrics: Mapping[str, Any], folder: Path) -> None:
    """All files of an evaluation into folder, which is there. Raises HealthiVertError without matplotlib."""
    text = json.dumps(json_ready(metrics), indent=1)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    _write_csv(folder / "metrics.csv", metrics["rows"])
    _write_csv(folder / "levels.csv", metrics["levels"])
    figures = folder / "figures"
    figures.mkdir()
    for name, png in draw_evaluation(metrics):
        (figures / f"{name}.png").write_bytes(png)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a row; lists (the features of a grading) are for programs, which read metrics.json."""
    rows = [{key: value for key, value in row.items() if not isinstance(value, list)} for row in json_ready(rows)]
    header = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def evaluation_table(metrics: Mapping[str, Any]) -> list[str]:
    """The lines that people read: every metric with its interval, and what the other levels alone would have said."""
    mean, interval = metrics["mean"], metrics["interval"]
    header = "  ".join(f"{baseline:>16}" for baseline in BASELINES)
    lines = [f"{'':<16} {metrics['model']['name']:>9}  {'95 % interval':<18} {header}"]
    for name, unit, decimals, (own, *baselines) in TABLE:
        if mean[own] is None:
            continue
        others = "  ".join(f"{_number(None if key is None else mean[key], decimals):>16}" for key in baselines)
        words = f"{name} {unit}".strip()
        between = _between(interval[own], decimals)
        lines.append(f"{words:<16} {_number(mean[own], decimals):>9}  {between:<18} {others}")
    unit, units = metrics["bootstrap"]["unit"], metrics["bootstrap"]["units"]
    lines.append(f"{_counted(len(metrics['rows']), 'level')}; intervals by bootstrap over {_counted(units, unit)}")
    if "grading" in metrics:
        lines += [*_loss_lines(metrics["rhlv"]), *_grading_lines(metrics["grading"])]
    return lines


def _loss_lines(rhlv: Mapping[str, Any]) -> Iterable[str]:
    for part, found in rhlv.items():
        (low, high), worst = found["limits"], found["worst_third"]
        yield (
            f"RHLV, {part} levels ({found['count']}): mean absolute error {found['mean_absolute_error']:.1f} points "
            f"{_between(found['interval'], 1)}, reference {found['mean_absolute_error_reference']:.1f}; "
            f"bias {found['bias']:+.1f}, limits {_number(low, 1)} to {_number(high, 1)}; worst third "
            f"{worst['mean_absolute_error']:.1f} points, limits {' to '.join(_number(x, 1) for x in worst['limits'])}; "
            f"height of the body {found['original_height_mae_mm']:.2f} mm"
        )


def _grading_lines(grading: Mapping[str, Any]) -> Iterable[str]:
    for way, found in grading.items():
        numbers = (
            f"{name} {_number(found[key], 2)} {_between(found['interval'][key], 2)}" for name, key in GRADING_TABLE
        )
        yield f"grade by {way}: {'; '.join(numbers)}"
        for grade, row in enumerate(found["confusion"]):
            yield f"  true {grade}: " + " ".join(f"{count:>4}" for count in row)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None or value != value else f"{value:.{decimals}f}"


def _between(interval: tuple[float, float] | None, decimals: int) -> str:
    return "" if interval is None else f"[{interval[0]:.{decimals}f}, {interval[1]:.{decimals}f}]"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
