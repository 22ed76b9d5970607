"""The figures of an evaluation: heights, RHDR per level, height loss against the truth, grades against the truth.

In: the content of metrics.json. Out: PNG bytes by name. matplotlib is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from healthivert.anatomy import LEVELS
from healthivert.report.charts import new_chart
from healthivert.report.figures import check_can_draw, png_of
from healthivert.report.style import AFTER_LINE, AFTER_TEXT, BEFORE_TEXT, INK, MUTED, OTHER_LEVEL, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_evaluation(metrics: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each figure. Raises HealthiVertError without matplotlib."""
    check_can_draw()
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield "heights", png_of(draw_heights(metrics["rows"]))
        yield "rhdr_by_level", png_of(draw_rhdr(metrics["levels"]))
        if "grading" in metrics:
            yield "height_loss", png_of(draw_loss_agreement(metrics["rows"], metrics["rhlv"]["all"]["limits"]))
            for way, found in metrics["grading"].items():
                yield f"grades_by_{way}", png_of(draw_confusion(found["confusion"], way))


def draw_heights(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Predicted against true mean body height, model and reference."""
    figure, axes = new_chart()
    true = np.array([row["true_mm"] for row in rows])
    ends = np.array([true.min() - 1, true.max() + 1])
    axes.plot(ends, ends, color=MUTED, linewidth=1)
    for key, colour, marker, name in (
        ("reference_mm", INK, "x", "neighbours' reference"),
        ("predicted_mm", AFTER_LINE, "o", "model"),
    ):
        axes.scatter(true, [row[key] for row in rows], s=22, color=colour, marker=marker, linewidths=1, label=name)
    axes.set(xlabel="true mean height (mm)", ylabel="predicted (mm)")
    axes.legend(loc="upper left", fontsize=9)
    return figure


def draw_rhdr(levels: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean RHDR of each level, cranial to caudal, beside that of the reference."""
    figure, axes = new_chart()
    ordered = sorted(levels, key=lambda row: LEVELS.index(row["vertebra"]))
    places = np.arange(len(ordered))
    for shift, key, colour, name in (
        (-0.2, "rhdr", AFTER_LINE, "model"),
        (0.2, "rhdr_reference", OTHER_LEVEL, "neighbours' reference"),
    ):
        axes.bar(places + shift, [row[key] for row in ordered], width=0.38, color=colour, label=name)
    axes.set_xticks(places, [row["vertebra"] for row in ordered], rotation=90 if len(ordered) > 12 else 0)
    axes.margins(y=0.25)
    axes.set(ylabel="RHDR (%)")
    axes.legend(loc="upper left", ncols=2, fontsize=9)
    return figure


def draw_loss_agreement(rows: Sequence[Mapping[str, Any]], limits: Sequence[float]) -> Figure:
    """The error of each height loss against the true one, with Bland and Altman's limits (their plot has the mean of
    both readings below, which would tilt the spared levels, whose true loss is 0)."""
    figure, axes = new_chart()
    for fractured, colour, name in ((False, AFTER_TEXT, "spared"), (True, BEFORE_TEXT, "fractured")):
        here = [row for row in rows if row["fractured"] == fractured]
        found, true = (100 * np.array([row[key] for row in here]) for key in ("rhlv_mean", "rhlv_mean_true"))
        axes.scatter(true, found - true, s=22, color=colour, label=name)
    for value, style in (*((limit, "--") for limit in limits), (float(np.mean(limits)), "-")):
        if np.isfinite(value):
            axes.axhline(value, color=MUTED, linewidth=1, linestyle=style)
            axes.text(1.0, value, f" {value:+.1f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set(xlabel="true height loss (%)", ylabel="found - true (points)")
    axes.legend(loc="best", fontsize=9)
    return figure


def draw_confusion(confusion: Sequence[Sequence[int]], way: str) -> Figure:
    """Counts of true (rows) and found (columns) Genant grades, shaded by the share of each true grade."""
    figure, axes = new_chart()
    counts = np.array(confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (true, found), count in np.ndenumerate(counts):
        axes.text(found, true, str(count), ha="center", va="center", color="white" if share[true, found] > 0.5 else INK)
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel=f"grade by {way}", ylabel="true grade")
    axes.tick_params(length=0)
    return figure
