"""A cleft (of a pseudarthrosis, of a fracture's line) is a part of the vertebral body, though no label covers it.

In: what of a vertebra's label lies in front of the canal, (SI, AP, LR) occupancy 0..1 in the body's frame. Out: the
body within its outer surface, so that heights are from plate to plate, whether a cleft parts the body or opens to its
wall.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from healthivert.anatomy import LEAST_BODY_MM3
from healthivert.types import FloatArray

# Another piece belongs to the body if it has this share of the largest one, and that share of its own section lies over
# or under it. Two vertebrae under one label are together taller than so many times the normal height.
PIECE_SHARE, PIECE_OVERLAP, TOO_TALL = 0.1, 0.7, 1.5
# A gap in a column is a cleft up to so many mm and that share of the column: between two lips of the wall it is higher.
# A claw of bone above the plate makes a column higher than so many times the upper quartile of all.
CLEFT_MM, CLEFT_SHARE, TALL_COLUMN = 8.0, 1 / 3, 1.2
# Share of a body's columns: what is smaller are pores, and lips of a low body; up to the second an opening for vessels,
# which is closed, too, but worth no word.
LEAST_CLEFT, WIDE_CLEFT = 0.015, 0.1


def over_clefts(occupancy: FloatArray, step_mm: float, normal_mm: float) -> FloatArray:
    """The body alone, its clefts filled, without what else is in the box. normal_mm: the level's usual height."""
    least = LEAST_BODY_MM3 / step_mm**3  # what a scan's border has left of a body says nothing of clefts
    body = _pieces_of_body(occupancy, TOO_TALL * normal_mm / step_mm, least)
    filled = body > 0.5
    columns = filled.any(axis=0)
    if filled.sum() < least:
        return body
    reach = _reach(filled)
    gap = reach - filled.sum(axis=0)
    cleft = (gap > 0) & (gap <= np.minimum(CLEFT_MM / step_mm, CLEFT_SHARE * reach))
    cleft &= reach <= TALL_COLUMN * np.percentile(reach[columns], 75)
    cleft &= reach <= TOO_TALL * normal_mm / step_mm  # else a disc between two vertebrae under one label
    if cleft.sum() < LEAST_CLEFT * columns.sum():
        return body
    inside = np.logical_or.accumulate(filled) & np.logical_or.accumulate(filled[::-1])[::-1]
    return np.where(inside & cleft, np.maximum(body, inside), body)


def cleft_mm(labelled: FloatArray, body: FloatArray, step_mm: float) -> float:
    """Height in mm of the cleft that was filled in body, and that `labelled` (SI, AP, LR) leaves open; 0 if there is
    none, or none that is wide."""
    gap = ((body > 0.5) & (labelled <= 0.5)).sum(axis=0) * step_mm
    wide = (gap > 0).sum() >= max(1.0, WIDE_CLEFT * (body > 0.5).any(axis=0).sum())
    return float(np.median(gap[gap > 0])) if wide else 0.0


def _pieces_of_body(occupancy: FloatArray, tallest: float, least: float) -> FloatArray:
    """The largest piece, and those above and below that a cleft has parted from it. tallest: rows that a body can have.
    least: voxels of the largest piece, or it stands alone."""
    labelled, count = ndimage.label(occupancy > 0.5)
    if count < 2:
        return occupancy
    sizes = np.bincount(labelled.ravel())[1:]
    by_size = 1 + np.argsort(sizes)[::-1]
    keep = labelled == by_size[0]
    others = by_size[1:] if sizes.max() >= least else by_size[:0]
    for number in others:
        if sizes[number - 1] < PIECE_SHARE * sizes.max():
            break
        piece = labelled == number
        shared = piece.any(axis=0) & keep.any(axis=0)
        enough = shared.sum() >= PIECE_OVERLAP * piece.any(axis=0).sum()
        if enough and np.median(_reach((keep | piece)[:, shared])) <= tallest:
            keep |= piece
    return np.where(ndimage.binary_dilation(keep, iterations=1), occupancy, 0.0)


def _reach(filled: np.ndarray) -> np.ndarray:
    """Rows from the first to the last filled one of each column; 0 where none is."""
    first, last = filled.argmax(axis=0), len(filled) - 1 - filled[::-1].argmax(axis=0)
    return np.where(filled.any(axis=0), last - first + 1, 0)
