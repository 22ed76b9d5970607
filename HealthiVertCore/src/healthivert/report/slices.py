"""Pictures of the CT: before and after with the endplates drawn, and what the generator was given.

In: types.View, arrays (SI, AP) or (SI, LR) at spacing_mm, its conditioning in -1..1 as in types.Conditioning. Axis 0
rises to superior, so it is drawn upwards; axis 1 runs to posterior or to the patient's left, so it is drawn to the
right: anterior, or the patient's right, is on the reader's left, as radiologists are used to.
Out: matplotlib figures with square millimetres and a scale bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from healthivert.report.style import AFTER_LINE, AFTER_TEXT, BEFORE_LINE, BEFORE_TEXT, HU_WINDOW
from healthivert.report.wording import format_mm
from healthivert.types import FloatArray, HeightLoss, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL_INCHES = 3.2
SMALL_PANEL_INCHES = 1.8
SCALE_BAR_MM = 20.0
CONTEXT_SI_MM = 42.0  # a neighbour and its disc on either side of the target
CONTEXT_ACROSS_MM = 32.0
PAIR_ACROSS_MM = 64.0  # in either plane, so that both pairs have one scale and one height
WALL_SHARE = 0.07  # of the body's depth at either end, where the outline is a wall and no endplate
WALL_SLOPE = 2.0  # where a plate climbs more steeply from one column to the next, it has met a wall or a spur
DIRECTIONS = {"sagittal": ("A", "P"), "coronal": ("R", "L")}

Window = tuple[float, float, float, float]  # left, right, bottom, top in mm


def endplates(body: FloatArray, spacing_mm: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where a soft mask (SI, across) crosses one half, column by column.

    Returns (across, inferior, superior), each (N,) in mm from the array's corner, without the columns beside the walls;
    NaN from where a plate meets a wall or a spur.
    """
    inside = body >= 0.5
    columns = np.flatnonzero(inside.any(axis=0))
    trim = int(np.ceil(WALL_SHARE * columns.size)) if columns.size > 4 else 0
    columns = columns[trim : columns.size - trim]
    superior = np.array([_last_crossing(body[:, column]) for column in columns])
    inferior = np.array([body.shape[0] - 1 - _last_crossing(body[::-1, column]) for column in columns])
    plates = (_up_to_walls(inferior), _up_to_walls(superior))
    return tuple((index + 0.5) * spacing_mm for index in (columns, *plates))  # type: ignore[return-value]


def _up_to_walls(plate: FloatArray) -> FloatArray:
    """A plate's rows (N,) from its middle to where it is as steep as a wall, NaN beyond."""
    steep = np.flatnonzero(np.abs(np.diff(plate)) > WALL_SLOPE)
    middle = len(plate) // 2
    first = max((step + 1 for step in steep if step < middle), default=0)
    last = min((step for step in steep if step >= middle), default=len(plate) - 1)
    column = np.arange(len(plate))
    return np.where((column >= first) & (column <= last), plate, np.nan)


def shown_rows(views: Sequence[View]) -> tuple[float, float]:
    """Lower and upper end in mm of what the pairs show: the bodies in all planes with some context."""
    occupied = np.logical_or.reduce([np.any(_either_body(view), axis=1) for view in views])
    return _with_context(occupied, views[0].spacing_mm, CONTEXT_SI_MM)


def _either_body(view: View) -> NDArray[np.bool_]:
    return np.maximum(view.body_before, view.body_after) >= 0.5


def _pair_window(body: NDArray[np.bool_], spacing_mm: float, rows: tuple[float, float]) -> Window:
    """PAIR_ACROSS_MM around the body, never beyond the array; the whole of it if there is no body."""
    whole = body.shape[1] * spacing_mm
    if not body.any():
        return 0.0, whole, *rows
    width = min(PAIR_ACROSS_MM, whole)
    first, end = _first_and_end(np.any(body, axis=0))
    left = float(np.clip((first + end) / 2 * spacing_mm - width / 2, 0.0, whole - width))
    return left, left + width, *rows


def draw_before_after(view: View, loss: HeightLoss, vertebra: str, rows: tuple[float, float]) -> Figure:
    """The scan and the regrown vertebra side by side, at one scale and one window of HU. rows: see shown_rows."""
    window = _pair_window(_either_body(view), view.spacing_mm, rows)
    figure, (left, right) = _panels(2, window, PANEL_INCHES)
    _show_ct(left, view.before, view, window, HU_WINDOW)
    _outline(left, view.body_before, view.spacing_mm, BEFORE_LINE)
    _show_ct(right, view.after, view, window, HU_WINDOW)
    if (view.body_before >= 0.5).any():
        right.contour(
            *_grid(view.body_before, view.spacing_mm), levels=[0.5], colors=[BEFORE_LINE], linestyles="dashed"
        )
    _outline(right, view.body_after, view.spacing_mm, AFTER_LINE)
    draw_scale_bar(left, window)
    titles = (
        (left, f"{vertebra} in the scan", loss.original.mean, BEFORE_TEXT),
        (right, "Pseudo-healthy", loss.pseudo_healthy.mean, AFTER_TEXT),
    )
    for axes, title, height, colour in titles:
        axes.set_title(f"{title}: {format_mm(height)} mm", color=colour, fontweight="bold")
        draw_directions(axes, view.plane)
    return figure


def draw_conditioning(view: View) -> Figure:
    """The gapped CT (window -1..1), the gap to be filled, and the attention 0..1, in the generator's own frame."""
    from matplotlib.colors import ListedColormap

    window = _window_around(view.mask >= 0.5, view.spacing_mm)
    figure, (ct, gap, attention) = _panels(3, window, SMALL_PANEL_INCHES)
    for axes, title in ((ct, "CT with the gap"), (gap, "Gap to fill"), (attention, "Attention")):
        _show_ct(axes, view.conditioning, view, window, (-1.0, 1.0))
        axes.set_title(title)
        draw_directions(axes, view.plane)
    extent = _extent(view.mask, view.spacing_mm)
    filled = np.ma.masked_less(view.mask, 0.5)
    gap.imshow(filled, cmap=ListedColormap([AFTER_LINE]), alpha=0.75, extent=extent, origin="lower")
    heat = attention.imshow(
        view.attention,
        cmap="viridis",
        vmin=0,
        vmax=1,
        alpha=0.6,
        extent=extent,
        origin="lower",
        interpolation="bilinear",
    )
    inset = attention.inset_axes((0.62, 0.05, 0.33, 0.035))
    bar = figure.colorbar(heat, cax=inset, orientation="horizontal", ticks=[0, 1])
    inset.xaxis.set_ticks_position("top")
    inset.tick_params(colors="white", labelsize=9, length=0, pad=1)
    bar.outline.set_edgecolor("white")  # type: ignore[operator]
    for axes in (gap, attention):
        axes.set(xlim=window[:2], ylim=window[2:])
    draw_scale_bar(ct, window)
    return figure


def _last_crossing(column: FloatArray) -> float:
    """The index, between two rows, at which the column falls below one half for the last time."""
    last = int(np.flatnonzero(column >= 0.5)[-1])
    if last + 1 == column.size:
        return float(last)
    return last + float((column[last] - 0.5) / (column[last] - column[last + 1]))


def _window_around(region: NDArray[np.bool_], spacing_mm: float) -> Window:
    """The region with some context, never beyond the array; the whole array if the region is empty."""
    return (
        *_with_context(np.any(region, axis=0), spacing_mm, CONTEXT_ACROSS_MM),
        *_with_context(np.any(region, axis=1), spacing_mm, CONTEXT_SI_MM),
    )


def _with_context(occupied: NDArray[np.bool_], spacing_mm: float, context_mm: float) -> tuple[float, float]:
    """Both ends in mm of what is occupied along one axis with some context; of the whole axis if nothing is."""
    whole = len(occupied) * spacing_mm
    if not occupied.any():
        return 0.0, whole
    first, end = _first_and_end(occupied)
    return max(first * spacing_mm - context_mm, 0.0), min(end * spacing_mm + context_mm, whole)


def _first_and_end(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    indices = np.flatnonzero(occupied)
    return int(indices[0]), int(indices[-1]) + 1


def _panels(count: int, window: Window, panel_inches: float) -> tuple[Figure, list[Axes]]:
    """Panels side by side that keep millimetres square and fill the figure but for the titles."""
    from matplotlib.figure import Figure

    gutter, titles = 0.08, 0.32
    panel_height = panel_inches * (window[3] - window[2]) / (window[1] - window[0])
    width, height = count * panel_inches + (count - 1) * gutter, panel_height + titles
    figure = Figure(figsize=(width, height))
    lefts = [index * (panel_inches + gutter) / width for index in range(count)]
    return figure, [figure.add_axes((left, 0, panel_inches / width, panel_height / height)) for left in lefts]


def _extent(image: FloatArray, spacing_mm: float) -> Window:
    return 0.0, image.shape[1] * spacing_mm, 0.0, image.shape[0] * spacing_mm


def _grid(image: FloatArray, spacing_mm: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    rows, columns = image.shape
    return (np.arange(columns) + 0.5) * spacing_mm, (np.arange(rows) + 0.5) * spacing_mm, image


def _show_ct(axes: Axes, image: FloatArray, view: View, window: Window, values: tuple[float, float]) -> None:
    axes.imshow(
        image,
        cmap="gray",
        vmin=values[0],
        vmax=values[1],
        extent=_extent(image, view.spacing_mm),
        origin="lower",
        interpolation="bilinear",
    )
    axes.set(xlim=window[:2], ylim=window[2:], xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, body: FloatArray, spacing_mm: float, colour: str) -> None:
    """The body's outline thin, its two endplates thick with a dark edge that keeps them visible on cortical bone."""
    from matplotlib import patheffects

    if not (body >= 0.5).any():
        return
    axes.contour(*_grid(body, spacing_mm), levels=[0.5], colors=[colour], linewidths=0.9)
    across, inferior, superior = endplates(body, spacing_mm)
    edge = [patheffects.Stroke(linewidth=3.0, foreground="black", alpha=0.45), patheffects.Normal()]
    for plate in (inferior, superior):
        axes.plot(across, plate, color=colour, linewidth=1.9, solid_capstyle="round", path_effects=edge)


def draw_scale_bar(axes: Axes, window: Window) -> None:
    """SCALE_BAR_MM in the lower right corner of a window in mm."""
    from matplotlib import patheffects

    right, bottom = window[1] - 4, window[2] + 4
    axes.plot(
        [right - SCALE_BAR_MM, right],
        [bottom, bottom],
        color="white",
        linewidth=2.5,
        path_effects=[patheffects.Stroke(linewidth=4.5, foreground="black"), patheffects.Normal()],
    )
    axes.text(
        right,
        bottom + 1.5,
        f"{SCALE_BAR_MM:.0f} mm",
        color="white",
        ha="right",
        va="bottom",
        fontsize=9,
        path_effects=[patheffects.withStroke(linewidth=3, foreground="black")],
    )


def draw_directions(axes: Axes, plane: str) -> None:
    """The patient's directions at the two sides of the picture."""
    from matplotlib import patheffects

    for letter, x, side in zip(DIRECTIONS[plane], (0.02, 0.98), ("left", "right"), strict=True):
        axes.text(
            x,
            0.98,
            letter,
            transform=axes.transAxes,
            color="white",
            ha=side,
            va="top",
            fontweight="bold",
            path_effects=[patheffects.withStroke(linewidth=3, foreground="black")],
        )
