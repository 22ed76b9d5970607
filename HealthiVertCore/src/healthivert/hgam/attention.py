"""HealthiVert-guided attention by the fracture classifier: Grad-CAM++ reversed, so that healthy tissue is high.

In: a case, its analysis, the straightened spine around the target, the target. Out: (SI, AP, LR) 0..1 on the
straightened grid, as attention.attention_from_suspicion gives it. Unlike that map, it dims the place in a vertebra at
which the fracture was seen, and not the whole of it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.attention import SOFTNESS_MM, AttentionSource
from healthivert.hgam.classifier import FractureClassifier
from healthivert.hgam.patches import LevelPatches, level_patches
from healthivert.inspection import SpineAnalysis
from healthivert.types import FloatArray, SpineCase, StraightenedSpine


def attention_by(classifier: FractureClassifier) -> AttentionSource:
    """1 - probability of a fracture x where it was seen, on the bodies beside the target; 1 elsewhere, soft edges.

    The probability is in it because a map on its own is as bright on a healthy vertebra, where the strongest place
    means nothing. The target is left out: it is withheld, and its collapse is not to be told.
    """

    def attend(case: SpineCase, analysis: SpineAnalysis, straight: StraightenedSpine, target: str) -> FloatArray:
        doubt = np.zeros(straight.bodies.shape, np.float32)
        for level, body in analysis.bodies.items():
            own = straight.bodies == LEVEL_NUMBER[level]
            if level == target or not body.complete or not own.any():
                continue
            patches = level_patches(case, analysis, level)
            probability, seen_at = classifier.seen_at(patches)
            place_into(doubt, probability * seen_at, patches, straight, own)
        return 1.0 - ndimage.gaussian_filter(doubt, SOFTNESS_MM / straight.spacing_mm)

    return attend


def place_into(
    volume: FloatArray, maps: FloatArray, patches: LevelPatches, straight: StraightenedSpine, where: np.ndarray
) -> None:
    """Put maps (slices, SI, AP) of a level's patches into volume (SI, AP, LR) on straight's grid, in place, where the
    mask says; between the slices by linear interpolation, beside the outermost as in them."""
    width = volume.shape[2]
    place = np.interp(np.arange(width), patches.slices, np.arange(len(patches.slices)))
    before = np.minimum(place.astype(int), len(patches.slices) - 2)
    part = (place - before).astype(np.float32)
    across = np.moveaxis(maps, 0, 2)
    slab = across[:, :, before] * (1 - part) + across[:, :, before + 1] * part
    row = round((patches.arc_start - straight.arc_start) / straight.spacing_mm)
    first, last = max(0, row), min(len(volume), row + len(slab))
    if first >= last:
        return
    rows, columns = slice(first, last), slice(patches.columns, patches.columns + slab.shape[1])
    part_of_slab = np.where(where[rows, columns], slab[first - row : last - row], 0.0)
    volume[rows, columns] = np.maximum(volume[rows, columns], part_of_slab)
