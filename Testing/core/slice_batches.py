"""What generators are given in tests: random slice batches, and a Conditioning from the arrays a test cares about."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from healthivert.models.interface import SliceBatch
from healthivert.types import Conditioning

GAP = (32, 64)


def batch_of(count: int = 2, width: int = 64, plane: float = 0.0, seed: int = 0) -> SliceBatch:
    """Random CT beside the gap; the prior is a grey block with a body in its middle third."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.zeros(count, 1, 96, width)
    mask[:, :, GAP[0] : GAP[1]] = 1
    ct = (torch.rand(mask.shape, generator=random) * 2 - 1) * (1 - mask) - mask
    outline = torch.zeros_like(mask)
    outline[:, :, GAP[0] : GAP[1], width // 3 : 2 * width // 3] = 1
    return SliceBatch(
        ct=ct,
        mask=mask,
        attention=1 - mask,
        prior_ct=ct * (1 - mask) - 0.3 * mask + 0.2 * outline,
        prior_body=0.9 * outline,
        outline=outline,
        slice_ratio=torch.full_like(ct, 0.3),
        plane=torch.full_like(ct, plane),
    )


def conditioning_of(
    ct: NDArray, neighbours: NDArray, body: NDArray | None = None, level: str = "L1", reference_mm: float = 27.0
) -> Conditioning:
    """Arrays (96, AP, LR). ct: before the gap is hidden. body: the target's, whose columns are the footprint and the
    prior's body; none where there is none."""
    mask = np.zeros(ct.shape, np.float32)
    mask[GAP[0] : GAP[1]] = 1
    outline = np.zeros_like(mask)
    if body is not None:
        outline[GAP[0] : GAP[1]] = (body > 0.5).any(axis=0)
    hidden = np.where(mask > 0, -1, ct).astype(np.float32)
    return Conditioning(
        ct=hidden,
        mask=mask,
        attention=1 - mask,
        neighbours=neighbours.astype(np.float32),
        prior_ct=np.where(mask > 0, -0.3, hidden).astype(np.float32),
        prior_body=0.9 * outline,
        outline=outline,
        gap=GAP,
        cut=(100, 128),
        level=level,
        spacing_mm=1.0,
        reference_mm=reference_mm,
    )
