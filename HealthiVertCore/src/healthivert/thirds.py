"""The drawn vertebra brought towards the heights that the other levels expect of its thirds.

In: a drawing and its Conditioning. Out: the same, its columns stretched or squeezed. What was drawn has
the wedge of the neighbours that it was drawn from, and gets what it normally gains from their levels to the target's,
as at the lumbosacral junction. The heights of all levels, held against what is normal for each, say the same from
farther away. Both err, and not alike, so each third becomes the mean of the two (docs/decisions.md). The finer form
stays the generator's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from healthivert.bend import rebent
from healthivert.gap import GAP
from healthivert.measure import GENERATED, gap_height_map, third_heights, third_means
from healthivert.types import Conditioning, FloatArray, PseudoHealthy

ROUNDS = 3  # a column's stretch changes its neighbours' share of a third a little
LARGEST_STRETCH = 1.3
EXPECTED_SHARE = 0.5


def as_expected(vertebra: PseudoHealthy, conditioning: Conditioning) -> PseudoHealthy:
    """The vertebra with its columns stretched as expected; its mean height stays."""
    return stretched(vertebra, expected_stretch(vertebra, conditioning))


def expected_stretch(vertebra: PseudoHealthy, conditioning: Conditioning) -> FloatArray | None:
    """(AP,) factors for its columns, by which its thirds relate to each other halfway (geometric mean) as they did, but
    for thirds_growth, and as conditioning's reference_thirds do; None where nothing is expected."""
    if conditioning.reference_thirds is None:
        return None
    spacing_mm = conditioning.spacing_mm
    expected = np.array(conditioning.reference_thirds) / np.mean(conditioning.reference_thirds)
    heights = _heights(vertebra)
    drawn = _thirds(heights, spacing_mm) * conditioning.thirds_growth
    wanted = drawn ** (1 - EXPECTED_SHARE) * expected**EXPECTED_SHARE
    stretch = np.ones(len(heights))
    for _ in range(ROUNDS):
        stretch *= _missing_stretch(heights, wanted, spacing_mm)
        heights = _heights(stretched(vertebra, stretch))
    return np.clip(stretch, 1 / LARGEST_STRETCH, LARGEST_STRETCH)


def _heights(vertebra: PseudoHealthy) -> FloatArray:
    """(AP, LR) heights of the columns in rows, NaN off the body."""
    return gap_height_map(vertebra.body, 1.0, vertebra.stretch)


def _thirds(heights: FloatArray, spacing_mm: float) -> FloatArray:
    """(3,) heights of the thirds, of their mean."""
    return third_heights(heights, spacing_mm, GENERATED).form


def _missing_stretch(heights: FloatArray, wanted: FloatArray, spacing_mm: float) -> FloatArray:
    """(AP,) factors for the heights of the columns: a broken line through what the thirds lack in their middles."""
    lacking = wanted / _thirds(heights, spacing_mm)
    ap = np.arange(len(heights), dtype=float)
    middles = third_means(np.broadcast_to(ap[:, None], heights.shape), heights, spacing_mm, GENERATED)
    slopes = np.diff(lacking) / np.diff(middles)
    first = lacking[0] + slopes[0] * (ap[0] - middles[0])
    last = lacking[2] + slopes[1] * (ap[-1] - middles[2])
    line = np.interp(ap, [ap[0], *middles, ap[-1]], [first, *lacking, last])
    return np.clip(line, 1 / LARGEST_STRETCH, LARGEST_STRETCH)


def stretched(vertebra: PseudoHealthy, stretch: FloatArray | None) -> PseudoHealthy:
    """vertebra with the columns of its slab stretched by stretch (AP,) about the slab's middle; itself by None."""
    if stretch is None:
        return vertebra
    ct, body = vertebra.ct.copy(), vertebra.body.copy()
    gap = slice(*GAP)
    columns = np.broadcast_to(stretch[:, None], body.shape[1:]).astype(np.float32)
    ct[gap], body[gap] = rebent(ct[gap], body[gap], columns)
    return replace(vertebra, ct=ct, body=body)
