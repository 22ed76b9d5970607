"""Whether a regrown vertebra would pass for a healthy one: the fracture classifier looks at what a generator drew.

In: PseudoHealthy, in the gap frame. Out: its patches as patches.level_patches gives them of a scan, at its predicted
height in millimetres, and the classifier's probability of a fracture.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from healthivert.gap import CONTEXT_ROWS, GAP, GAP_ROWS, to_window
from healthivert.geometry import rows_at
from healthivert.hgam.classifier import FRACTURED, FractureClassifier
from healthivert.hgam.patches import SIDE, SLICES_MM, LevelPatches
from healthivert.measure import generated_row_mm
from healthivert.types import PseudoHealthy


def looks_healthy_to(classifier: FractureClassifier) -> Callable[[PseudoHealthy, float], bool]:
    """What generate.sampler accepts: a drawn vertebra (and its spacing in mm) that is more likely spared."""
    return lambda vertebra, spacing_mm: fracture_probability(classifier, vertebra, spacing_mm) <= FRACTURED


def fracture_probability(classifier: FractureClassifier, vertebra: PseudoHealthy, spacing_mm: float) -> float:
    """0..1, of a vertebra that a generator drew."""
    return classifier.probability(regrown_patches(vertebra, spacing_mm))


def regrown_patches(vertebra: PseudoHealthy, spacing_mm: float) -> LevelPatches:
    """The drawn vertebra and its surroundings around the middle of its body. Rows in the gap are canonical and become
    as high as the predicted height makes them; rows beside it keep their spacing."""
    half_mm = GAP_ROWS / 2 * generated_row_mm(vertebra, spacing_mm)
    from_middle = (np.arange(SIDE) + 0.5 - SIDE / 2) * spacing_mm
    within = np.clip(from_middle, -half_mm, half_mm) / half_mm * (GAP_ROWS / 2)
    beyond = (from_middle - np.clip(from_middle, -half_mm, half_mm)) / spacing_mm
    rows = GAP[0] + GAP_ROWS / 2 + within + beyond - 0.5
    body = vertebra.body > 0.5
    back, left = (np.flatnonzero(body.any(axis=others)) for others in ((0, 2), (0, 1)))
    middle = (int(back.min()) + int(back.max()) + 1) / 2, (int(left.min()) + int(left.max())) / 2
    first = int(np.clip(round(middle[0]) - SIDE // 2, 0, body.shape[1] - SIDE))
    offsets = np.round(middle[1] + np.array(SLICES_MM) / spacing_mm)
    slices = tuple(int(i) for i in np.clip(offsets, 0, body.shape[2] - 1))
    at = (slice(None), slice(first, first + SIDE), slices)
    ct = np.moveaxis(rows_at(to_window(vertebra.ct[at]), rows), 2, 0).astype(np.float32)
    own = np.moveaxis(rows_at(body[at].astype(np.float32), rows) > 0.5, 2, 0).astype(np.float32)
    return LevelPatches(ct, own, CONTEXT_ROWS * spacing_mm - half_mm, first, slices)
