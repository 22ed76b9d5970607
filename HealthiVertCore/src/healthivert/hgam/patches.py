"""What the fracture classifier sees of a level: parallel sagittal patches around its body in the straightened frame.

In: a case, its analysis and a level. Out: LevelPatches at 1 mm. The same function serves training and running.

The patch holds the CT and the body's own mask. The CT alone leaves open which of the vertebrae in the field is meant,
and a mask looks the same in every scanner, which a classifier that has only seen generated pictures needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from healthivert.gap import to_window
from healthivert.geometry import filled_from_nearest
from healthivert.inspection import SpineAnalysis
from healthivert.straighten import straighten, to_straightened
from healthivert.types import FloatArray, SpineCase

SIDE = 48  # rows and columns at 1 mm: the tallest and the deepest body, and the endplates beside it
SLICES_MM = (-8.0, -4.0, 0.0, 4.0, 8.0)  # across the middle of the body, where fractures are read
SPACING_MM = 1.0


class LevelPatches(NamedTuple):
    """ct: (slices, SI, AP), -1..1 (window -300..800 HU). body: the same shape, 1 on the level's own body.

    arc_start: arc length of the first row's lower edge, mm. columns: AP index of the first column in the straightened
    tube. slices: LR index of each slice in it.
    """

    ct: FloatArray
    body: FloatArray
    arc_start: float
    columns: int
    slices: tuple[int, ...]


def level_patches(case: SpineCase, analysis: SpineAnalysis, level: str) -> LevelPatches:
    """The patches of one level whose body was found, SIDE by SIDE at 1 mm around the body's middle."""
    body = analysis.bodies[level]
    left, back, arc = to_straightened(analysis.frame, body.centre)
    arc_start = float(arc) - SIDE * SPACING_MM / 2
    straight = straighten(case, {level: body}, analysis.frame, arc_start, SIDE, SPACING_MM)
    ct = to_window(filled_from_nearest(straight.ct, straight.seen))
    _, depth, width = ct.shape
    first = int(np.clip(round(back / SPACING_MM + depth / 2) - SIDE // 2, 0, depth - SIDE))
    offsets = (left + np.array(SLICES_MM)) / SPACING_MM + (width - 1) / 2
    slices = tuple(int(i) for i in np.clip(np.round(offsets), 0, width - 1))
    at = (slice(None), slice(first, first + SIDE), slices)
    seen, own = (np.moveaxis(volume[at], 2, 0).astype(np.float32) for volume in (ct, straight.bodies > 0))
    return LevelPatches(seen, own, arc_start, first, slices)
