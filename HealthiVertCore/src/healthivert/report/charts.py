"""Charts of the measured heights: profile, loss map, whole spine.

In: types.HeightProfile, the (AP, LR) loss map of types.HeightLoss, types.LevelSummary rows; heights in mm, RHLV as
signed fractions. Out: matplotlib figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from healthivert.measure import RIM_OF_DEPTH
from healthivert.report.style import AFTER_LINE, AFTER_TEXT, BEFORE_LINE, BEFORE_TEXT, INK, MUTED, OTHER_LEVEL
from healthivert.report.wording import format_percent
from healthivert.types import THIRDS, FloatArray, HeightLoss, HeightProfile, LevelSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHART_INCHES = (4.4, 2.7)
MANY_LEVELS = 12  # beyond it level names no longer fit side by side
LOSS_SCALE = 50.0  # percent, of every map, so that two can be compared; the panel's has the same


def draw_height_profile(profile: HeightProfile, loss: HeightLoss) -> Figure:
    """Original and pseudo-healthy column heights from the anterior wall backwards, with the loss of each third."""
    figure, axes = new_chart()
    ap, before, after = profile.ap_mm, profile.original, profile.pseudo_healthy
    axes.fill_between(ap, before, after, where=before < after, color=BEFORE_LINE, alpha=0.18, linewidth=0)
    axes.fill_between(ap, before, after, where=before > after, color=AFTER_LINE, alpha=0.18, linewidth=0)
    axes.plot(ap, after, color=AFTER_TEXT, linewidth=2.2, label="pseudo-healthy")
    axes.plot(ap, before, color=BEFORE_TEXT, linewidth=2.2, linestyle=(0, (5, 1.2)), label="in the scan")
    edges = _third_edges(ap, before, after)
    for third, start, end in zip(THIRDS, edges[:-1], edges[1:], strict=True):
        middle = (start + end) / 2
        lost = format_percent(getattr(loss.rhlv, third))
        axes.text(middle, 1.0, third, transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=MUTED)
        axes.text(middle, 0.9, lost, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontweight="bold")
        if loss.neighbour_reference is not None:
            reference = getattr(loss.neighbour_reference, third)
            label = "neighbours' reference" if third == THIRDS[0] else None
            axes.plot([start, end], [reference] * 2, color=INK, linewidth=1.2, linestyle=":", label=label)
    for edge in edges[1:-1]:
        axes.axvline(edge, ymax=0.88, color=OTHER_LEVEL, linewidth=1, zorder=0)
    tallest = np.nanmax(np.concatenate([before, after]))
    axes.set(
        xlim=(edges[0], edges[-1]), ylim=(0, 1.3 * tallest), xlabel="from the anterior wall (mm)", ylabel="height (mm)"
    )
    axes.legend(loc="lower center", ncols=2, fontsize=9, handlelength=2.2, columnspacing=1.2)
    return figure


def draw_loss_map(loss_map: FloatArray) -> Figure:
    """Signed loss over the footprint seen from below: anterior up, the patient's right on the reader's left."""
    figure, axes = new_chart()
    rows, columns = np.nonzero(np.isfinite(loss_map))
    shown = 100 * loss_map[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    depth, width = shown.shape
    image = axes.imshow(
        np.ma.masked_invalid(shown), cmap="RdBu_r", vmin=-LOSS_SCALE, vmax=LOSS_SCALE, interpolation="nearest"
    )
    left, back = np.arange(-1, width + 1), np.arange(-1, depth + 1)  # so that the outline closes at the map's edges
    axes.contour(left, back, np.pad(np.isfinite(shown), 1).astype(float), levels=[0.5], colors=[MUTED], linewidths=1)
    for share in (1 / 3, 2 / 3):
        axes.axhline(depth * share - 0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xticks=[], yticks=[], xlim=(-1, width), ylim=(depth, -1))
    for spine in axes.spines.values():
        spine.set_visible(False)
    for letter, x, y in (("A", 0.5, 1.04), ("P", 0.5, -0.05), ("R", -0.04, 0.5), ("L", 1.04, 0.5)):
        axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", fontweight="bold")
    ticks = np.linspace(-LOSS_SCALE, LOSS_SCALE, 5)
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.1, ticks=ticks)
    bar.ax.set_yticklabels([format_percent(tick / 100) for tick in ticks])
    bar.ax.set_title("lost", fontsize=9)
    bar.ax.set_xlabel("taller", fontsize=9)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def draw_spine(spine: Sequence[LevelSummary], vertebra: str, pseudo_healthy_mm: float) -> Figure:
    """Mean body height of every level, cranial to caudal, against what its neighbours predict."""
    figure, axes = new_chart()
    for index, row in enumerate(spine):
        target = row.level == vertebra
        if target:
            axes.bar(
                index,
                pseudo_healthy_mm,
                width=0.78,
                facecolor="none",
                edgecolor=AFTER_TEXT,
                linewidth=1.6,
                label=f"{vertebra}, pseudo-healthy",
            )
        axes.bar(
            index,
            row.heights.mean,
            width=0.78,
            color=BEFORE_LINE if target else OTHER_LEVEL,
            alpha=1.0 if row.complete else 0.4,
            label=f"{vertebra}, in the scan" if target else None,
        )
        if not row.complete:
            axes.text(index, 0.6, "cut", ha="center", va="bottom", fontsize=9, rotation=90)
        if row.genant.grade and row.complete and not target:
            axes.text(index, 0.6, f"grade {row.genant.grade}?", ha="center", va="bottom", fontsize=9, rotation=90)
    with_reference = [
        (index, row.neighbour_reference.mean) for index, row in enumerate(spine) if row.neighbour_reference
    ]
    if with_reference:
        places, heights = zip(*with_reference, strict=True)
        axes.hlines(
            heights,
            np.array(places) - 0.45,
            np.array(places) + 0.45,
            color=INK,
            linewidth=2,
            label="neighbours' reference",
        )
    tallest = max(
        value
        for _, value in [*with_reference, (0, pseudo_healthy_mm), *((0, row.heights.mean) for row in spine)]
        if np.isfinite(value)
    )
    axes.set_xticks(range(len(spine)), [row.level for row in spine], rotation=0 if len(spine) <= MANY_LEVELS else 90)
    for tick, row in zip(axes.get_xticklabels(), spine, strict=True):
        if row.level == vertebra:
            tick.set(color=BEFORE_TEXT, fontweight="bold")
    axes.tick_params(axis="x", length=0)
    axes.set(ylim=(0, 1.32 * tallest), ylabel="mean height (mm)", xlim=(-0.7, len(spine) - 0.3))
    axes.legend(loc="upper left", ncols=2, fontsize=9, handlelength=1.4, columnspacing=1.2)
    return figure


def new_chart() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=CHART_INCHES, layout="constrained")
    return figure, figure.add_subplot()


def _third_edges(ap_mm: FloatArray, before: FloatArray, after: FloatArray) -> FloatArray:
    """The ends of the profile and, between them, the borders of the thirds, (4,) mm: without the rims at both walls."""
    measured = ap_mm[np.isfinite(before) | np.isfinite(after)]
    first, last = measured.min(), measured.max()
    rim = RIM_OF_DEPTH * (last - first)
    return np.array([first, *np.linspace(first + rim, last - rim, 4)[1:-1], last])
