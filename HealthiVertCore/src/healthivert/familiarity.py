"""Whether a vertebra looks like those a model was trained on: a few plain numbers against the range it has seen.

In: Conditioning. Out: features by name, their range over a training set (it travels in the weights' card), and a
sentence for every feature outside it. No model is asked: one that is out of its depth seldom knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from healthivert.gap import GAP, from_window
from healthivert.types import Conditioning

# name -> (what it is, in words that follow "the"; unit)
WORDS = {
    "bone_hu": ("bone of the neighbouring bodies", "HU"),
    "noise_hu": ("change from slice to slice within the neighbouring bodies", "HU"),
    "footprint_mm2": ("target's footprint in its mask", "mm²"),
    "reference_mm": ("expected height", "mm"),
    "voxel_mm": ("scan's voxel", "mm"),
}
SEEN_PERCENTILES = (0.5, 99.5)
ALLOWANCE = 0.15  # of the range, on either side: the ends of a few hundred vertebrae are not the ends of what works


def features(conditioning: Conditioning) -> dict[str, float]:
    """Feature -> value; without visible neighbours there are none of them to describe."""
    found = {
        "footprint_mm2": float(conditioning.outline[GAP[0]].sum()) * conditioning.spacing_mm**2,
        "reference_mm": float(conditioning.reference_mm),
        "voxel_mm": float(conditioning.margin_mm),
    }
    neighbours = conditioning.neighbours > 0.5
    within = neighbours[1:] & neighbours[:-1]
    if within.any():
        hu = from_window(conditioning.ct)
        found["bone_hu"] = float(np.median(hu[neighbours]))
        found["noise_hu"] = float(np.median(np.abs(np.diff(hu, axis=0)[within])))
    return found


def seen_range(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Feature -> (lowest, highest) of the features of a training set, without its outermost percent."""
    result = {}
    for name in WORDS:
        values = [row[name] for row in rows if name in row]
        if values:
            low, high = np.percentile(values, SEEN_PERCENTILES)
            result[name] = (round(float(low), 2), round(float(high), 2))
    return result


def unfamiliar(found: Mapping[str, float], card: Mapping[str, Any]) -> list[str]:
    """A sentence for every feature outside what the card's model has seen; none for a card that does not say."""
    sentences = []
    for name, (low, high) in card.get("seen", {}).items():
        room = ALLOWANCE * (high - low)
        if name in WORDS and name in found and not low - room <= found[name] <= high + room:
            what, unit = WORDS[name]
            sentences.append(
                f"unlike what the model was trained on: the {what} is {_plain(found[name])} {unit}, in training "
                f"{_plain(low)} to {_plain(high)} {unit}; look whether what it has drawn fits"
            )
    return sentences


def _plain(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
