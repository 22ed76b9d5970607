"""The drawn vertebra brought towards the heights that the other levels expect of its thirds.

In: the samples and their Conditioning. Out: the same samples, their columns stretched or squeezed. What was drawn has
the wedge of the neighbours that it was drawn from, and gets what it normally gains from their levels to the target's,
as at the lumbosacral junction. The heights of all levels, held against what is normal for each, say the same from
farther away. Both err, and not alike, so each third becomes the mean of the two (docs/decisions.md). The finer form
stays the generator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from healthivert.bend import rebent
from healthivert.gap import GAP
from healthivert.measure import GENERATED, gap_height_map, third_heights, third_means
from healthivert.types import Conditioning, FloatArray, PseudoHealthy

ROUNDS = 3  # a column's stretch changes its neighbours' share of a third a little
LARGEST_STRETCH = 1.3
EXPECTED_SHARE = 0.5


def as_expected(samples: Sequence[PseudoHealthy], conditioning: Conditioning) -> list[PseudoHealthy]:
    """The samples, all stretched alike, so that the first one's thirds relate to each other halfway (geometric mean)
    as they did, but for thirds_growth, and as conditioning's reference_thirds do; as they are where nothing is
    expected. Mean heights stay."""
    if conditioning.reference_thirds is None:
        return list(samples)
    spacing_mm = conditioning.spacing_mm
    expected = np.array(conditioning.reference_thirds) / np.mean(conditioning.reference_thirds)
    heights = _heights(samples[0])
    drawn = _thirds(heights, spacing_mm) * conditioning.thirds_growth
    wanted = drawn ** (1 - EXPECTED_SHARE) * expected**EXPECTED_SHARE
    stretch = np.ones(len(heights))
    for _ in range(ROUNDS):
        stretch *= _missing_stretch(heights, wanted, spacing_mm)
        heights = _heights(_stretched(samples[0], stretch))
    return [_stretched(sample, np.clip(stretch, 1 / LARGEST_STRETCH, LARGEST_STRETCH)) for sample in samples]


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


def _stretched(vertebra: PseudoHealthy, stretch: FloatArray) -> PseudoHealthy:
    """vertebra with the columns of its slab stretched by stretch (AP,) about the slab's middle."""
    ct, body = vertebra.ct.copy(), vertebra.body.copy()
    gap = slice(*GAP)
    columns = np.broadcast_to(stretch[:, None], body.shape[1:]).astype(np.float32)
    ct[gap], body[gap] = rebent(ct[gap], body[gap], columns)
    return replace(vertebra, ct=ct, body=body)
