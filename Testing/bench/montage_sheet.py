"""The sheet that a montage is drawn on: four columns, CT above and maps below, each map over the scale of its colours.

Pictures are (SI, AP) in HU at spacing_mm; axis 0 rises to superior, so anterior is on the reader's left. Bodies are
colour -> soft mask (SI, AP) 0..1, to be outlined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib import cm, colors, patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from healthivert.report.slices import draw_directions, draw_scale_bar
from healthivert.report.style import HU_WINDOW, INK, MUTED
from healthivert.types import FloatArray

WIDTH_INCHES, DPI = 10.0, 120
# The tube's depth; the body with its neighbours' nearer halves; and the body with what may be changed around it.
DEPTH_MM, CT_MM, MAP_MM = 64.0, 84.0, 52.0
TRUTH_LINE = "#B8E62E"  # yellower than the report's blue and lighter than its orange, whatever the colour blindness
NO_VALUE = "#DDE2E7"

Bodies = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Scale:
    """A colour scale in HU, from its first tick to its last. extend: the ends that clip, as colorbar takes them."""

    colours: str
    ticks: tuple[int, ...]
    extend: str = "neither"

    @property
    def mappable(self) -> cm.ScalarMappable:
        return cm.ScalarMappable(colors.Normalize(self.ticks[0], self.ticks[-1]), self.colours)


CT = Scale("gray", (int(HU_WINDOW[0]), 200, int(HU_WINDOW[1])))
DIFFERENCE = Scale("RdBu_r", (-300, 0, 300), "both")
UNCERTAINTY = Scale("viridis", (0, 150, 300), "max")


class Sheet:
    """Lengths are inches on the sheet, from its lower left corner."""

    GUTTER, TITLE, HEAD, BARS = 0.1, 0.36, 0.26, 0.42
    PANEL = (WIDTH_INCHES - 5 * GUTTER) / 4

    def __init__(self, title: str, spacing_mm: float) -> None:
        self.spacing_mm = spacing_mm
        self.low, self.high = (self.PANEL * height / DEPTH_MM for height in (MAP_MM, CT_MM))
        self.height = self.TITLE + 2 * self.HEAD + self.high + self.low + self.BARS
        self.figure = Figure(figsize=(WIDTH_INCHES, self.height))
        corner = self.GUTTER / WIDTH_INCHES, 1 - self.GUTTER / self.height
        self.figure.text(*corner, title, weight="bold", size=12, va="top")

    def show_ct(self, column: int, title: str, picture: FloatArray, bodies: Bodies) -> None:
        axes = self._axes(column, self.BARS + self.low + self.HEAD, self.high)
        self._show(axes, title, picture, CT, bodies, "bilinear")
        draw_directions(axes, "sagittal")
        if column == 0:
            draw_scale_bar(axes, (*axes.get_xlim(), *axes.get_ylim()))

    def show_map(self, column: int, title: str, picture: FloatArray, scale: Scale, bodies: Bodies) -> None:
        """picture: masked where it has no value."""
        self._show(self._axes(column, self.BARS, self.low), title, picture, scale, bodies, "nearest")
        self._bar(column, scale)

    def show_key(self, column: int, lines: Mapping[str, str], no_value: str) -> None:
        """lines: label -> colour of an outline. no_value: what the grey of the panels means. The scale is the CT's."""
        axes = self._axes(column, self.BARS, self.low)
        axes.set_axis_off()
        look = {"linewidth": 1.6, "path_effects": _edge(2.4)}
        handles: list[Line2D | Patch] = [
            Line2D([], [], color=colour, linestyle=_style(colour, lines), label=label, **look)
            for label, colour in lines.items()
        ]
        handles += [Patch(color=NO_VALUE, label=no_value)]
        place = {"loc": "upper left", "bbox_to_anchor": (0, 1), "borderpad": 0}
        axes.legend(handles=handles, labelspacing=0.7, fontsize=10, **place)
        axes.text(0, 0.02, "CT", transform=axes.transAxes, size=11)
        self._bar(column, CT)

    def _show(
        self, axes: Axes, title: str, picture: FloatArray, scale: Scale, bodies: Bodies, interpolation: str
    ) -> None:
        extent = (0.0, picture.shape[1] * self.spacing_mm, 0.0, picture.shape[0] * self.spacing_mm)
        placed = {"extent": extent, "origin": "lower"}
        colour = {"cmap": scale.mappable.cmap, "norm": scale.mappable.norm}
        axes.imshow(picture, interpolation=interpolation, **colour, **placed)
        for line, body in bodies.items():
            style = {"colors": [line], "linestyles": _style(line, bodies), "linewidths": 1.0}
            axes.contour(body, levels=[0.5], **style, **placed).set_path_effects(_edge(1.7))
        axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], facecolor=NO_VALUE)
        axes.set_title(title, size=11, pad=4)
        axes.spines[:].set_visible(False)

    def _bar(self, column: int, scale: Scale) -> None:
        axes = self._axes(column, self.BARS - 0.18, 0.1)
        kind = {"orientation": "horizontal", "ticks": scale.ticks, "extend": scale.extend}
        self.figure.colorbar(scale.mappable, cax=axes, **kind).outline.set_edgecolor(MUTED)
        labels = [f"{tick}".replace("-", "−") for tick in scale.ticks]
        axes.set_xticklabels([*labels[:-1], f"{labels[-1]} HU"])
        axes.tick_params(labelsize=10, length=2, pad=2)
        for at, side in ((0, "left"), (-1, "right")):
            axes.get_xticklabels()[at].set_horizontalalignment(side)

    def _axes(self, column: int, bottom: float, height: float) -> Axes:
        left = self.GUTTER + column * (self.PANEL + self.GUTTER)
        shares = left / WIDTH_INCHES, bottom / self.height, self.PANEL / WIDTH_INCHES, height / self.height
        return self.figure.add_axes(shares)


def _style(colour: str, lines: Mapping) -> str:
    """The truth is dashed beside another line, so that the two are told apart without colours."""
    return "dashed" if colour == TRUTH_LINE and len(lines) > 1 else "solid"


def _edge(width: float) -> list[patheffects.AbstractPathEffect]:
    """A dark edge keeps light lines and letters visible on bone."""
    return [patheffects.withStroke(linewidth=width, foreground=INK)]
