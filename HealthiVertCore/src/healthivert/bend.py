"""The bend of the spine at a vertebra: how much longer a column is in the patient than along the centreline.

The straightened frame has rows at equal distances along the centreline. Where that is bent, a row is thicker on the
outer side than on the inner: in a lordosis a body looks lower in front than it is, by up to a tenth. Heights are told
in the patient's millimetres, and a vertebra that is laid beside one from another place of the spine is first brought
from its own bend to that one's.
"""

from __future__ import annotations

import numpy as np

from healthivert.geometry import rows_at
from healthivert.straighten import grid_points
from healthivert.types import FloatArray, StraightFrame


def column_stretch(frame: StraightFrame, first_mm: float, last_mm: float, spacing_mm: float) -> FloatArray:
    """(AP, LR) millimetres in the patient per millimetre of centreline, of each column of the tube between two arc
    lengths: above 1 on the outer side of a bend, below 1 on the inner."""
    ends = grid_points(frame, np.array([first_mm, last_mm]), spacing_mm)
    return (np.linalg.norm(ends[1] - ends[0], axis=-1) / (last_mm - first_mm)).astype(np.float32)


def rebent(ct: FloatArray, body: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A slab's CT and body (0..1), both (rows, AP, LR), with every column scaled about the middle row, and all of them
    then once more so that the body keeps its lowest and its highest row. scale: (AP, LR), column_stretch where it comes
    from over that where it goes."""
    place = _source_rows(body, scale)
    beyond = (place < -0.5) | (place > len(body) - 0.5)
    return rows_at(ct, place), np.where(beyond, 0.0, rows_at(body, place)).astype(np.float32)


def _source_rows(body: FloatArray, scale: FloatArray) -> FloatArray:
    """(rows, AP, LR): where each voxel of what rebent gives comes from."""
    inside = body > 0.5
    columns = inside.any(axis=0)
    middle = (len(body) - 1) / 2
    rows = np.arange(len(body), dtype=np.float32)
    if columns.any():
        low = np.argmax(inside, axis=0)[columns] - 0.5
        high = len(body) - np.argmax(inside[::-1], axis=0)[columns] - 0.5
        new_low = (middle + (low - middle) * scale[columns]).min()
        new_high = (middle + (high - middle) * scale[columns]).max()
        rows = new_low + (rows - low.min()) * ((new_high - new_low) / (high.max() - low.min()))
    return (middle + (rows[:, None, None] - middle) / scale).astype(np.float32)
