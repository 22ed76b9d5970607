"""All pictures of a report, as PNG bytes with a caption and an alternative text.

In: types.Report. Out: Picture objects; what the report does not hold (views, profile, other levels) is left out.
matplotlib is an optional dependency, so it is imported inside the functions; its figures are drawn without a display.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from healthivert.errors import not_installed
from healthivert.measure import without_rim
from healthivert.report.charts import draw_height_profile, draw_loss_map, draw_spine
from healthivert.report.slices import draw_before_after, draw_conditioning, shown_rows
from healthivert.report.style import PNG_DPI, STYLE
from healthivert.report.wording import format_mm, format_percent
from healthivert.types import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """name: the file's stem. caption: what stands under it. alt: what it shows, for those who cannot see it."""

    name: str
    png: bytes
    caption: str
    alt: str


def check_can_draw() -> None:
    """Raise HealthiVertError, telling what to install, if matplotlib is not there. To import it would take as long as
    to refuse bad input."""
    if importlib.util.find_spec("matplotlib") is None:
        raise not_installed("matplotlib", "report", "the report's pictures need")


def draw_pictures(report: Report) -> tuple[Picture, ...]:
    """Every picture the report allows, in the order of the page. Raises HealthiVertError without matplotlib."""
    check_can_draw()
    import matplotlib

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        return (*_before_after_pictures(report), *_chart_pictures(report), *_conditioning_pictures(report))


def _before_after_pictures(report: Report) -> Iterator[Picture]:
    loss = report.loss
    heights = f"mean height {format_mm(loss.original.mean)} mm before, {format_mm(loss.pseudo_healthy.mean)} mm after"
    rows = shown_rows(report.views) if report.views else (0.0, 0.0)
    for view in report.views:
        yield Picture(
            view.plane,
            png_of(draw_before_after(view, loss, report.vertebra, rows)),
            f"{view.plane.capitalize()} cut through the straightened spine: the scan (orange) and {report.vertebra} "
            "regrown healthy (blue). Thick lines are the endplates; the dashed line is the body before.",
            f"{view.plane.capitalize()} CT of {report.vertebra} before and after regrowth, bodies outlined: {heights}.",
        )


def _chart_pictures(report: Report) -> Iterator[Picture]:
    loss, vertebra = report.loss, report.vertebra
    profile = report.profile
    if profile is not None and (np.isfinite(profile.original) | np.isfinite(profile.pseudo_healthy)).any():
        yield Picture(
            "height_profile",
            png_of(draw_height_profile(profile, loss)),
            "Body height from the anterior to the posterior wall, mean of the mid-sagittal band (30 % of the width). "
            "What was measured in the scan is drawn over the regrown body's depth.",
            f"Line chart of the body height of {vertebra}. Loss: anterior {format_percent(loss.rhlv.anterior)}, middle "
            f"{format_percent(loss.rhlv.middle)}, posterior {format_percent(loss.rhlv.posterior)}.",
        )
    loss_map = without_rim(loss.loss_map)
    if np.isfinite(loss_map).any():
        least, most = (format_percent(float(extreme(loss_map))) for extreme in (np.nanmin, np.nanmax))
        yield Picture(
            "height_loss_map",
            png_of(draw_loss_map(loss_map)),
            "Height loss over the body, seen from below, as axial slices are: red has lost height, blue is taller than "
            "predicted. Rims and osteophytes of either body are left out.",
            f"Map of the height loss over the body of {vertebra}, from {least} to {most}.",
        )
    if report.spine:
        levels = ", ".join(f"{row.level} {format_mm(row.heights.mean)} mm" for row in report.spine)
        yield Picture(
            "spine",
            png_of(draw_spine(report.spine, vertebra, loss.pseudo_healthy.mean)),
            f"Mean body height of every level in the scan; {vertebra} is orange. Dark ticks: what the other levels "
            "predict.",
            f"Bar chart of mean body heights: {levels}.",
        )


def _conditioning_pictures(report: Report) -> Iterator[Picture]:
    """One plane is enough: the other shows the same gap."""
    for view in report.views[:1]:
        yield Picture(
            "conditioning",
            png_of(draw_conditioning(view)),
            f"What the model was given: the scan with {report.vertebra} cut out, the gap it had to fill, and how far "
            "it could trust the tissue around it.",
            f"Three {view.plane} pictures: the CT with a gap in the place of {report.vertebra}, the same with the gap "
            "marked, and the attention map from 0 to 1.",
        )


def png_of(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI)
    return buffer.getvalue()
