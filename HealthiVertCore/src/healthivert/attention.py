"""Attention: where the anatomy around the target is believed to be healthy.

In: StraightenedSpine and the suspicion of each level. Out: (SI, AP, LR) 0..1, high where healthy; it moves with the
anatomy through the gap (gap.make_conditioning).

The map here needs no classifier: a level whose heights are suspicious against the rest of the spine is dimmed over its
whole body. An attention source is any function of AttentionSource's signature; that of the publication (HGAM),
Grad-CAM++ of a fracture classifier, is hgam.attention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.inspection import SpineAnalysis
from healthivert.types import FloatArray, SpineCase, StraightenedSpine

SOFTNESS_MM = 2.0

# of a case, its analysis, the part of it around the target and the target's level: attention on that part's grid
AttentionSource = Callable[[SpineCase, SpineAnalysis, StraightenedSpine, str], FloatArray]


def suspicion_beside(case: SpineCase, analysis: SpineAnalysis, straight: StraightenedSpine, target: str) -> FloatArray:
    """The standard AttentionSource: attention_from_suspicion of all levels but the target, which is withheld."""
    return attention_from_suspicion(
        straight, {level: value for level, value in analysis.suspicion.items() if level != target}
    )


def everywhere(case: SpineCase, analysis: SpineAnalysis, straight: StraightenedSpine, target: str) -> FloatArray:
    """The AttentionSource that trusts everything."""
    return np.ones(straight.bodies.shape, np.float32)


def attention_from_suspicion(straight: StraightenedSpine, suspicion: Mapping[str, float]) -> FloatArray:
    """1 - suspicion over each body, 1 elsewhere, with soft edges. suspicion: level -> 0..1 (levels left out count as
    0)."""
    doubt = np.zeros(straight.bodies.shape, np.float32)
    for level, value in suspicion.items():
        doubt[straight.bodies == LEVEL_NUMBER[level]] = value
    return 1.0 - ndimage.gaussian_filter(doubt, SOFTNESS_MM / straight.spacing_mm)
