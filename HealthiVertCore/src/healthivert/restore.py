"""The generated vertebra at its predicted height, in the straightened frame.

In: the straightened spine, the conditioning's cut and a PseudoHealthy vertebra. Out: its Placement, and CT and body
after restoration. What lies below stays where it is, the vertebra lies on its own lower plate, and what lies above
moves so far that the disc there keeps its thickness. restore_patient.py does the same on the patient's grid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import plate_rows
from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, GAP_ROWS, MARGIN_MM, TISSUE_HU
from healthivert.geometry import distance_to, rows_at
from healthivert.measure import generated_row_mm
from healthivert.types import Conditioning, FloatArray, PseudoHealthy, StraightenedSpine

# How far around the old and the new body generated tissue is shown: as far as the old cortex is blurred, or its ghost
# would stay, and over as much again it gives way to the patient's own. Farther around what one body holds and the other
# does not: there the tissue beside it moved, too.
BLUR_MM = 1.0
MOVED_MM = 2.0  # a border that moved less stayed where it was
MOVED_RIM_MM, MOVED_FEATHER_MM = 3.0, 2.0
BRIDGE_MM = 2.0  # between the gap's outermost row and the first visible one, where that much was cut beside the body
THICKEST_DISC = 25.0  # rows: a body farther away is not the next one
# A quarter of its columns are no thicker than what is called a disc's thickness. They lie near the rims: a plate that
# gave way leaves the disc thick in its middle.
DISC_PERCENTILE = 25
LEAST_COLUMNS = 40
PLATE_ROWS = 2  # beside a plate that carry its partial volume
DISC_ROWS = 12  # above a plate hold its disc at most


@dataclass(frozen=True)
class Placement:
    """Where the slab that replaces the cut rows lies in the straightened patient, all mm.

    arc_bottom: its lower end. row_mm: height of one gap row. bottom_mm, top_mm: tissue at its ends beyond the gap's
    rows. shift_mm: how far what lies above moves up.
    """

    arc_bottom: float
    row_mm: float
    bottom_mm: float
    top_mm: float
    shift_mm: float

    @property
    def slab_mm(self) -> float:
        return self.row_mm * GAP_ROWS + self.bottom_mm + self.top_mm

    @property
    def arc_top(self) -> float:
        return self.arc_bottom + self.slab_mm

    def row_arcs(self) -> FloatArray:
        """Arc length of the middle of each gap row (GAP_ROWS,)."""
        return self.arc_bottom + self.bottom_mm + (np.arange(GAP_ROWS) + 0.5) * self.row_mm

    def gap_rows(self, arc: FloatArray) -> FloatArray:
        """Row of the gap frame at each arc length; at either end, from the gap's outermost row to the first visible
        one, so that what was cut too much is bridged smoothly, and on with that one."""
        low, high = self.arc_bottom + self.bottom_mm, self.arc_top - self.top_mm
        below, above = (np.clip(end, 1e-3, BRIDGE_MM) for end in (self.bottom_mm, self.top_mm))
        return np.interp(arc, [low - below, low, high, high + above], [GAP[0] - 1, GAP[0] - 0.5, GAP[1] - 0.5, GAP[1]])


def place(
    straight: StraightenedSpine, conditioning: Conditioning, vertebra: PseudoHealthy, old_body: FloatArray
) -> tuple[PseudoHealthy, Placement]:
    """The vertebra as it is put into the patient, and where. The size of its slab follows from the predicted mean body
    height and the body that was drawn in it.

    old_body: (SI, AP, LR) 0..1 on straight's grid, the target's. Raises ValueError if a body is empty, HealthiVertError
    if they do not lie over each other.
    """
    row_mm = generated_row_mm(vertebra, straight.spacing_mm)
    edge_mm = conditioning.margin_mm - MARGIN_MM  # a gap holds the body and MARGIN_MM, see prior.canonical_slab
    cut_low, cut_high = (straight.arc_start + row * straight.spacing_mm for row in conditioning.cut)
    plates = plate_rows(old_body)
    side_above = _lower_side_above(straight, conditioning.level, plates[1])
    old_low, old_high, above = (
        straight.arc_start + (surface + 0.5) * straight.spacing_mm for surface in (*plates, side_above)
    )
    new_low, new_high = ((plate + 0.5 - GAP[0]) * row_mm for plate in plate_rows(vertebra.body))
    lower, upper = np.isfinite(old_low - new_low), np.isfinite(above - old_high - new_high)
    if not (lower.any() and upper.any()):
        raise HealthiVertError(
            f"{conditioning.level}: the generator drew its body beside the target; use other --weights"
        )
    low = float(np.median((old_low - new_low)[lower]))  # of the gap's rows, as high is
    high = low + row_mm * GAP_ROWS
    before, after = (np.percentile(gap[upper], DISC_PERCENTILE) for gap in (above - old_high, above - low - new_high))
    shift_mm = float(before - after)
    bottom, top = min(cut_low, low - edge_mm), max(cut_high + shift_mm, high + edge_mm)
    placement = Placement(bottom, row_mm, low - bottom, top - high, shift_mm)
    return _between_discs(vertebra, conditioning, _disc_hu(straight, plates[1], side_above)), placement


def _disc_hu(straight: StraightenedSpine, high: FloatArray, side_above: FloatArray) -> float:
    """Median HU of the disc above, without the rows that carry its plates' partial volume; soft tissue's, where it is
    too thin to have others. high, side_above: rows (AP, LR) of the surfaces on either side, NaN beside them."""
    row = np.arange(len(straight.ct))[:, None, None]
    end = np.minimum(side_above, high + DISC_ROWS) - PLATE_ROWS
    disc = straight.ct[(row > high + PLATE_ROWS) & (row < end) & (straight.bodies == 0) & straight.seen]
    return float(np.median(disc)) if disc.size >= LEAST_COLUMNS else TISSUE_HU


def _between_discs(vertebra: PseudoHealthy, conditioning: Conditioning, disc_hu: float) -> PseudoHealthy:
    """With disc for bone in the visible rows that adjoin the gap: a slab that is longer than the gap goes on with
    them, and would carry on a plate that reaches into them."""
    ct = vertebra.ct.copy()
    below, above = GAP[0] - 1, GAP[1]
    for row, near in ((below, slice(below - PLATE_ROWS, below + 1)), (above, slice(above, above + PLATE_ROWS + 1))):
        bone = ndimage.binary_dilation(conditioning.neighbours[near].any(axis=0), iterations=PLATE_ROWS)
        ct[row] = np.where(bone, np.minimum(ct[row], disc_hu), ct[row])
    return replace(vertebra, ct=ct)


def _lower_side_above(straight: StraightenedSpine, level: str, high: FloatArray) -> FloatArray:
    """Rows (AP, LR) at which the next body above begins, NaN where there is none. Where none is labelled, a plane: then
    distances to it tell the upper plate itself. high: rows (AP, LR) of the target's upper plate."""
    rows = len(straight.bodies)
    above = np.arange(rows)[:, None, None] > high
    above &= (straight.bodies > 0) & (straight.bodies != LEVEL_NUMBER[level])
    first = np.argmax(above, axis=0) - 0.5
    found = above.any(axis=0) & (first - high <= THICKEST_DISC)
    return np.where(found, first, np.nan) if found.sum() >= LEAST_COLUMNS else np.full(high.shape, float(rows))


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
    ct = moved * (1 - share) + drawn * share
    # the body above keeps its form where it reaches into what was cut
    index = (arc - placement.shift_mm - straight.arc_start) / straight.spacing_mm - 0.5
    above = rows_at(_bodies_above(straight, old_body), index) * (body <= 0.5)
    return ct * (1 - above) + rows_at(straight.ct, index) * above, body


def _bodies_above(straight: StraightenedSpine, old_body: FloatArray) -> FloatArray:
    """(SI, AP, LR) 1 in the bodies above the target and in the voxel around them that carries their partial volume."""
    rows = np.flatnonzero((old_body > 0.5).any(axis=(1, 2)))
    above = (straight.bodies > 0) & (old_body <= 0.5)
    above[: (rows[0] + rows[-1]) // 2] = False
    return (ndimage.binary_dilation(above) & (old_body <= 0.5)).astype(np.float32)


def source_arc(arc: FloatArray, placement: Placement) -> FloatArray:
    """Where on the patient's own centreline the tissue at each restored arc length comes from."""
    within = np.clip((arc - placement.arc_bottom) / placement.slab_mm, 0.0, 1.0)
    return arc - placement.shift_mm * within


def _slab_rows(
    vertebra: PseudoHealthy, arc: FloatArray, placement: Placement
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Drawn CT and body at arc (SI,), and how far inside the slab each row is (0..1 over one millimetre at its
    edges)."""
    row = placement.gap_rows(arc)
    inside = np.clip(np.minimum(arc - placement.arc_bottom, placement.arc_top - arc) + 0.5, 0.0, 1.0)
    body = rows_at(vertebra.body, row) * (inside > 0)[:, None, None]
    return rows_at(vertebra.ct, row), body, inside


def generated_share(body: FloatArray, old_body: FloatArray, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Share 0..1 of the generated tissue: 1 in and around both bodies, farther where the border moved, then falling.

    body, old_body: (SI, AP, LR) 0..1 on one grid with spacing_mm along each axis.
    """
    new, old = body > 0.5, old_body > 0.5
    moved = (new & (distance_to(old, spacing_mm) > MOVED_MM)) | (old & (distance_to(new, spacing_mm) > MOVED_MM))
    from_either = distance_to(new | (old_body > 0.3), spacing_mm)
    around = 1.0 - (from_either - BLUR_MM) / BLUR_MM
    from_moved = distance_to(moved, spacing_mm)
    farther = 1.0 - (np.maximum(from_moved - MOVED_MM, from_either) - MOVED_RIM_MM) / MOVED_FEATHER_MM
    return np.clip(np.maximum(around, farther), 0.0, 1.0).astype(np.float32)
