"""Training batches for the fracture classifier: one slice of each level, varied.

In: patches of many spines. Out: tensors [B, 2, SI, AP] and [B]. Turned, moved, stretched, brighter or darker, noisier,
but never mirrored: front and back, top and bottom of a vertebra differ.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from healthivert.hgam.samples import SpinePatches

TURN, STRETCH, SHIFT = 0.09, 0.12, 0.12  # radians, logarithm, half widths of the patch
GAIN, OFFSET, NOISE = 0.15, 0.1, 0.06  # of a CT in -1..1


def pictures_of(patches: SpinePatches) -> Tensor:
    """[levels, slices, 2, SI, AP] float32, as the network takes them."""
    ct = torch.from_numpy(patches.ct).float() / 127.5 - 1
    return torch.stack([ct, torch.from_numpy(patches.body).float()], dim=2)


def epoch_of_batches(
    pictures: Tensor, fractured: Tensor, batch_size: int, seed: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every level once, in random order, with a random one of its slices. seed: of the run, and the epoch."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    order = torch.randperm(len(pictures), generator=generator)
    for chosen in order.split(batch_size):
        slices = torch.randint(pictures.shape[1], (len(chosen),), generator=generator)
        yield vary(pictures[chosen, slices], generator), fractured[chosen]


def vary(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """pictures [B, 2, SI, AP] changed in ways that leave what is true of them."""

    def draw(reach: float, *more: int) -> Tensor:
        return (2 * torch.rand(len(pictures), *more, generator=generator) - 1) * reach

    angle, scale = draw(TURN), torch.exp(draw(STRETCH))
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cosine, -sine, draw(SHIFT)], 1), torch.stack([sine, cosine, draw(SHIFT)], 1)]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(pictures.shape), align_corners=False)
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    gain, offset, noise = (value[:, None, None] for value in (1 + draw(GAIN), draw(OFFSET), draw(NOISE).abs()))
    ct = moved[:, 0] * gain + offset + noise * torch.randn(moved[:, 0].shape, generator=generator)
    return torch.stack([ct.clamp(-1, 1), moved[:, 1]], dim=1)
