"""Random slice batches in the gap frame, for the tests of every generator."""

from __future__ import annotations

import torch

from healthivert.models.interface import SliceBatch

GAP = (32, 64)


def batch_of(count: int = 2, width: int = 64, plane: float = 0.0, seed: int = 0) -> SliceBatch:
    random = torch.Generator().manual_seed(seed)
    mask = torch.zeros(count, 1, 96, width)
    mask[:, :, GAP[0] : GAP[1]] = 1
    ct = (torch.rand(mask.shape, generator=random) * 2 - 1) * (1 - mask) - mask
    return SliceBatch(ct, mask, 1 - mask, torch.full_like(ct, 0.3), torch.full_like(ct, plane))
