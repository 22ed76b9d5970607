"""Self-adaptive height restoration (SHRM): the target is cut out and the anatomy on both sides moved to a gap.

In: StraightenedSpine. Out: Conditioning. One and the same function serves training and running.

The gap has the same number of rows whatever was cut out, and what lies outside it moved there rigidly, so that the
collapsed height cannot leak into what the generator sees. Rows are half-open: rows [first, last) are cut, the row below
the gap is first - 1 and the row above it is last. Inside the gap rows are canonical: a slab of any height fills them,
and the height in millimetres is a number beside the picture, not a property of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.errors import HealthiVertError
from healthivert.geometry import filled_from_nearest, rows_at
from healthivert.types import Conditioning, FloatArray, Heights, Prior, StraightenedSpine

CONTEXT_ROWS = 32  # above and below: a lumbar disc and the greater part of the neighbour's body at 1 mm
GAP_ROWS = 32
ROWS = 2 * CONTEXT_ROWS + GAP_ROWS
GAP = (CONTEXT_ROWS, CONTEXT_ROWS + GAP_ROWS)
MARGIN_MM = 1.0  # cut beyond the segmented body, at least: the blurred cortex reaches that far
LEAST_ROW_SHARE = 0.06  # of the body's largest cross-section: a row with less of it holds an osteophyte's tip
HU_WINDOW = (-300.0, 800.0)
TISSUE_HU = 40.0  # soft tissue: what stands where the prior knows nothing


def to_window(hu: FloatArray) -> FloatArray:
    """HU -> -1..1 over HU_WINDOW, clipped."""
    low, high = HU_WINDOW
    return (np.clip(hu, low, high) - low) * (2.0 / (high - low)) - 1.0


def from_window(values: FloatArray) -> FloatArray:
    """-1..1 -> HU: the inverse of to_window inside the window."""
    low, high = HU_WINDOW
    return (np.clip(values, -1.0, 1.0) + 1.0) * ((high - low) / 2.0) + low


def cut_margin(voxel_mm: float) -> float:
    """How far beyond the segmented body to cut, mm: a cortex is blurred over about a voxel of the scan."""
    return max(MARGIN_MM, float(round(voxel_mm)))


def find_cut(straight: StraightenedSpine, level: str, margin_mm: float = MARGIN_MM) -> tuple[int, int]:
    """Rows [first, last) that hold the level's body, and margin_mm more on both sides.

    Rows that hold only the tip of an osteophyte are not cut, or the disc beside it would be lost; what is left of the
    target there is withheld by the mask. Raises HealthiVertError if the straightened part does not hold the body.
    """
    area = (straight.bodies == LEVEL_NUMBER[level]).sum(axis=(1, 2))
    rows = np.flatnonzero(area > LEAST_ROW_SHARE * area.max())
    if rows.size == 0:
        raise HealthiVertError(f"{level}: its body is not inside the scan; choose a level that the scan holds in full")
    margin = int(np.ceil(margin_mm / straight.spacing_mm))
    return max(0, int(rows[0]) - margin), min(straight.bodies.shape[0], int(rows[-1]) + 1 + margin)


def open_gap(array: NDArray, cut: tuple[int, int], fill: float) -> NDArray:
    """array (SI, ...) -> (ROWS, ...): CONTEXT_ROWS below the cut, GAP_ROWS of fill, CONTEXT_ROWS above the cut.

    Rows that lie beyond the array are fill as well.
    """
    first, last = cut
    out = np.full((ROWS, *array.shape[1:]), fill, dtype=array.dtype)
    below = array[max(0, first - CONTEXT_ROWS) : first]
    above = array[last : last + CONTEXT_ROWS]
    out[CONTEXT_ROWS - len(below) : CONTEXT_ROWS] = below
    out[GAP[1] : GAP[1] + len(above)] = above
    return out


def slab_to_gap(array: FloatArray, cut: tuple[int, int]) -> FloatArray:
    """The cut rows themselves, stretched or squeezed to GAP_ROWS by linear interpolation: what a generator should
    draw."""
    first, last = cut
    return rows_at(array, first - 0.5 + (np.arange(GAP_ROWS) + 0.5) * (last - first) / GAP_ROWS)


def withheld_beside_gap(straight: StraightenedSpine, level: str, margin_mm: float) -> NDArray[np.bool_]:
    """(SI, AP, LR) on straight's grid: what a generator must not see besides the rows that are cut out."""
    target = (straight.labels == LEVEL_NUMBER[level]) | (straight.bodies == LEVEL_NUMBER[level])
    # the voxels around the label carry its partial volume
    target = ndimage.binary_dilation(target, iterations=max(1, round(margin_mm / straight.spacing_mm)))
    return target if straight.withheld is None else target | straight.withheld


def make_conditioning(
    straight: StraightenedSpine,
    level: str,
    cut: tuple[int, int],
    attention: FloatArray,
    prior: Prior,
    reference: Heights,
    reference_sd: float = 0.0,
    margin_mm: float = MARGIN_MM,
    stretch: FloatArray | float = 1.0,
) -> Conditioning:
    """What a generator may know of the target. attention: (SI, AP, LR) 0..1 on straight's grid.

    cut: find_cut's rows, with the margin_mm that they were found with. prior: what stands in the gap before a model
    draws there. reference: the heights that are expected; reference_sd: standard deviation of their mean, as a fraction
    of it. stretch: (AP, LR) of the target's slab, see bend.

    Everything labelled as the target is withheld: its body by the cut, and what remains of its arch beside the gap by
    the mask. So is what straight.withheld names besides.
    """
    number = LEVEL_NUMBER[level]
    mask = open_gap(withheld_beside_gap(straight, level, margin_mm).astype(np.float32), cut, 0.0)
    mask[GAP[0] : GAP[1]] = 1.0
    # the scan's end is no anatomy: air above a vertebra would be taken for some
    everywhere = filled_from_nearest(straight.ct, straight.seen)
    ct = open_gap(to_window(everywhere).astype(np.float32), cut, -1.0)
    healthy = open_gap(attention.astype(np.float32), cut, 0.0)
    beside = open_gap(((straight.bodies > 0) & (straight.bodies != number)).astype(np.float32), cut, 0.0)
    hidden = mask > 0
    ct[hidden] = -1.0
    healthy[hidden] = 0.0
    prior_ct = np.where(hidden, to_window(np.array(TISSUE_HU)), ct).astype(np.float32)
    prior_body, outline = np.zeros_like(ct), np.zeros_like(ct)
    prior_ct[GAP[0] : GAP[1]] = prior.ct
    prior_body[GAP[0] : GAP[1]] = prior.body
    outline[GAP[0] : GAP[1]] = prior.outline
    return Conditioning(
        ct=ct,
        mask=mask,
        attention=healthy,
        neighbours=beside,
        prior_ct=prior_ct,
        prior_body=prior_body,
        outline=outline,
        gap=GAP,
        cut=cut,
        level=level,
        spacing_mm=straight.spacing_mm,
        reference_mm=reference.mean,
        margin_mm=margin_mm,
        reference_sd=reference_sd,
        neighbour_slabs=prior.slabs,
        stretch=stretch,
        reference_thirds=reference.thirds,
        thirds_growth=prior.thirds_growth,
    )
