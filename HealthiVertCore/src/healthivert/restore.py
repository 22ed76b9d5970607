"""The generated vertebra at its predicted height, in the straightened frame.

In: the straightened spine, the conditioning's cut and a PseudoHealthy vertebra. Out: its Placement, and CT and body
after restoration. The lower edge of the cut stays where it is; what lies above moves up by what was restored.
restore_patient.py does the same on the patient's grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from healthivert.gap import GAP, GAP_ROWS, MARGIN_MM
from healthivert.geometry import rows_at
from healthivert.measure import generated_row_mm
from healthivert.types import Conditioning, FloatArray, PseudoHealthy, StraightenedSpine

FEATHER_MM = 2.0  # over which the generated tissue gives way to the patient's own
RIM_MM = 3.0  # generated tissue is shown this far around the old and the new body: no ghost of the old cortex


@dataclass(frozen=True)
class Placement:
    """Where the slab that replaces the cut rows lies in the straightened patient, all mm.

    arc_bottom: its lower end. row_mm: height of one gap row. edge_mm: tissue at either end that was cut beyond what the
    gap stands for. shift_mm: how far what lies above moves up.
    """

    arc_bottom: float
    row_mm: float
    edge_mm: float
    shift_mm: float

    @property
    def slab_mm(self) -> float:
        return self.row_mm * GAP_ROWS + 2 * self.edge_mm

    @property
    def arc_top(self) -> float:
        return self.arc_bottom + self.slab_mm

    def row_arcs(self) -> FloatArray:
        """Arc length of the middle of each gap row (GAP_ROWS,)."""
        return self.arc_bottom + self.edge_mm + (np.arange(GAP_ROWS) + 0.5) * self.row_mm

    def rows_at(self, arc: FloatArray) -> FloatArray:
        """Row of the gap frame at each arc length; across an edge, from the gap's outermost row to the first visible
        one, so that what was cut too much is bridged smoothly."""
        edge = max(self.edge_mm, 1e-3)
        arcs = [self.arc_bottom, self.arc_bottom + edge, self.arc_top - edge, self.arc_top]
        return np.interp(arc, arcs, [GAP[0] - 1, GAP[0] - 0.5, GAP[1] - 0.5, GAP[1]])


def place(straight: StraightenedSpine, conditioning: Conditioning, vertebra: PseudoHealthy) -> Placement:
    """The slab's size follows from the predicted mean body height and the body that was drawn in it."""
    row_mm = generated_row_mm(vertebra, straight.spacing_mm)
    first, last = conditioning.cut
    edge_mm = conditioning.margin_mm - MARGIN_MM  # a gap holds the body and MARGIN_MM, see training.samples
    new_mm, old_mm = row_mm * GAP_ROWS + 2 * edge_mm, (last - first) * straight.spacing_mm
    return Placement(straight.arc_start + first * straight.spacing_mm, row_mm, edge_mm, new_mm - old_mm)


def restore_straightened(
    straight: StraightenedSpine, old_body: FloatArray, vertebra: PseudoHealthy, placement: Placement
) -> tuple[FloatArray, FloatArray]:
    """CT (HU) and the target's body (0..1) on straight's own grid after restoration. old_body: (SI, AP, LR) 0..1."""
    arc = straight.arc
    old_arc = source_arc(arc, placement)
    index = (old_arc - straight.arc_start) / straight.spacing_mm - 0.5
    moved = rows_at(straight.ct, index)
    moved_body = rows_at(old_body, index)
    drawn, body, inside = _slab_rows(vertebra, arc, placement)
    share = generated_share(body, moved_body, (straight.spacing_mm,) * 3) * inside[:, None, None]
    return moved * (1 - share) + drawn * share, body


def source_arc(arc: FloatArray, placement: Placement) -> FloatArray:
    """Where on the patient's own centreline the tissue at each restored arc length comes from."""
    within = np.clip((arc - placement.arc_bottom) / placement.slab_mm, 0.0, 1.0)
    return arc - placement.shift_mm * within


def _slab_rows(
    vertebra: PseudoHealthy, arc: FloatArray, placement: Placement
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Drawn CT and body at arc (SI,), and how far inside the slab each row is (0..1 over one millimetre at its
    edges)."""
    row = placement.rows_at(arc)
    inside = np.clip(np.minimum(arc - placement.arc_bottom, placement.arc_top - arc) + 0.5, 0.0, 1.0)
    body = rows_at(vertebra.body, row) * (inside > 0)[:, None, None]
    return rows_at(vertebra.ct, row), body, inside


def generated_share(body: FloatArray, old_body: FloatArray, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Share 0..1 of the generated tissue: 1 up to RIM_MM around the new and the old body, then falling over FEATHER_MM.

    body, old_body: (SI, AP, LR) 0..1 on one grid with spacing_mm along each axis.
    """
    either = (body > 0.5) | (old_body > 0.3)
    if not either.any():
        return np.zeros(body.shape, np.float32)
    distance = ndimage.distance_transform_edt(~either, sampling=spacing_mm)
    return np.clip(1.0 - (distance - RIM_MM) / FEATHER_MM, 0.0, 1.0).astype(np.float32)
