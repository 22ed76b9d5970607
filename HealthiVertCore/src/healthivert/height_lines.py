"""Where the measured heights lie in the patient: one line per third of the body, from endplate to endplate.

In: the segmented body, or the generated vertebra and its placement. Out: {"anterior" | "middle" | "posterior": (2, 3)
LPS mm, inferior end first}. The ends are the means of the endplates over the very columns whose heights are averaged,
so that a line is as long as the height that the report gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from healthivert.body import plate_rows
from healthivert.gap import GAP
from healthivert.measure import GENERATED, Rim, gap_height_map, segmented, third_heights, third_means
from healthivert.restore import Placement
from healthivert.straighten import to_patient
from healthivert.types import THIRDS, FloatArray, PseudoHealthy, StraightFrame, VertebralBody


def original_lines(body: VertebralBody) -> dict[str, FloatArray]:
    """The lines of measure.body_heights."""
    ends = _mean_ends(body.inferior, body.superior, body.column_mm, segmented(body))
    middle = np.array(body.superior.shape)[::-1] // 2
    ends[..., :2] = (ends[..., :2] - middle) * body.column_mm
    return dict(zip(THIRDS, body.centre + ends @ body.axes, strict=True))


def regrown_lines(
    frame: StraightFrame, vertebra: PseudoHealthy, placement: Placement, spacing_mm: float
) -> dict[str, FloatArray]:
    """The lines of pipeline.healthy_heights, in the restored patient. spacing_mm: of the straightened frame.

    Raises ValueError if the generated body is empty.
    """
    _, columns, widths = vertebra.body.shape
    ends = _mean_ends(*plate_rows(vertebra.body), spacing_mm, GENERATED)
    heights = gap_height_map(vertebra.body, placement.row_mm, vertebra.stretch)
    regrown = third_heights(heights, spacing_mm, GENERATED)
    ends[..., :2] = (ends[..., :2] - (np.array([widths, columns]) - 1) / 2) * spacing_mm
    ends[..., 2] = placement.arc_bottom + placement.bottom_mm + (ends[..., 2] - GAP[0] + 0.5) * placement.row_mm
    return dict(zip(THIRDS, _as_long_as(to_patient(frame, ends), regrown.thirds), strict=True))


def _mean_ends(inferior: FloatArray, superior: FloatArray, column_mm: float, rim: Rim) -> FloatArray:
    """(3, 2, 3): of each third the inferior and the superior end as LR index, AP index, position along the height.

    inferior, superior: (AP, LR) endplate positions, NaN off the body.
    """
    height_map = superior - inferior
    back, left = np.indices(height_map.shape).astype(float)
    left, back, low, high = (
        third_means(values, height_map, column_mm, rim) for values in (left, back, inferior, superior)
    )
    return np.stack([np.stack([left, back, end], axis=-1) for end in (low, high)], axis=1)


def _as_long_as(ends: FloatArray, heights: Sequence[float]) -> FloatArray:
    """ends (N, 2, 3) about their middles, heights (N,) long: a line's ends are means over columns that differ by a
    little in direction, heights are means of their lengths."""
    middle = ends.mean(axis=1, keepdims=True)
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    return middle + (ends - middle) * (np.asarray(heights) / length)[:, None, None]
