"""Where two vertebrae touch, a part of one may have the other's number.

In: the level numbers of a mask. Out: warnings. Nothing is corrected: the mask does not tell which of the two is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from healthivert.anatomy import LEVEL_NUMBER, LEVELS, normal_spine

LARGEST_CONTACT = 0.5  # of a plate; 0.3 at most in real masks, where facets and lips meet: a disc lies between plates


def contact_warnings(numbers: NDArray[np.uint8], levels: Collection[str], spacing_mm: Sequence[float]) -> list[str]:
    """numbers: (SI, AP, LR) level numbers, superior last. spacing_mm: (LR, AP, SI) of a voxel."""
    lower, upper = numbers[:-1], numbers[1:]
    touching = (lower != upper) & (lower > 0) & (upper > 0)
    above, below = upper[touching], lower[touching]
    warnings = []
    for high, low in pairwise(level for level in LEVELS if level in levels and level in normal_spine()):
        normal = normal_spine()[low]
        area = ((above == LEVEL_NUMBER[high]) & (below == LEVEL_NUMBER[low])).sum() * spacing_mm[0] * spacing_mm[1]
        if area > LARGEST_CONTACT * np.pi / 4 * normal.width * normal.depth:
            warnings.append(
                f"the labels of {high} and {low} touch where a disc should lie between them: look whether a part of "
                "one has the other's number, for then the heights of both may be wrong"
            )
    return warnings
