"""Contextual attention (Yu 2018, "Generative image inpainting with contextual attention"): copies known texture.

Every position is described by its 3 x 3 feature patch and drawn anew as a weighted mean of the patches that lie wholly
in the known region. The whole batch is one matrix product per step, and each sample is matched under its own mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, fold, max_pool2d, unfold

SHARPNESS = 10.0  # softmax scale of the publication: close to "the best match wins"
FORBIDDEN = (
    -1e4
)  # a score that no patch of the gap can win with, finite so that a sample without any known patch is defined


class ContextualAttention(nn.Module):
    """features [B, C, h, w] (h, w even), mask [B, 1, H, W] -> features [B, C, h, w], offset flow [B, 2, h/2, w/2].

    Matching runs at half of the features' size; what is copied are 4 x 4 patches at their full size. The flow says, in
    pixels of the mask's grid, how many rows and columns away the best match lies.
    """

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = features.shape[2] // 2, features.shape[3] // 2
        scale = mask.shape[2] // height
        known = known_patches(mask, scale)  # [B, L, 1], L = height * width
        patches = unfold(features[:, :, ::2, ::2], 3, padding=1)  # [B, 9 C, L]
        keys = patches / patches.norm(dim=1, keepdim=True).clamp_min(1e-4)
        scores = torch.bmm(keys.transpose(1, 2), patches)  # [B, L of keys, L of queries]
        scores = propagate(scores, height, width)
        weights = torch.softmax(scores * SHARPNESS + (1 - known) * FORBIDDEN, dim=1) * known
        values = unfold(features, 4, padding=1, stride=2)  # [B, 16 C, L]
        # Patches overlap twice along each axis, hence the quarter.
        copied = fold(torch.bmm(values, weights), features.shape[2:], 4, padding=1, stride=2) / 4
        return copied, offset_flow(weights, height, width, scale)


def known_patches(mask: Tensor, scale: int) -> Tensor:
    """1 where the 3 x 3 patch of a position holds no pixel of the gap. mask [B, 1, H, W] -> [B, L, 1]."""
    gap = max_pool2d(max_pool2d(mask, scale), 3, stride=1, padding=1)
    return (gap == 0).to(mask.dtype).flatten(1).unsqueeze(2)


def propagate(scores: Tensor, height: int, width: int) -> Tensor:
    """Neighbouring positions should copy from neighbouring places: add each score's diagonal neighbours.

    Once along rows and once along columns of the image. scores [B, L, L] -> [B, L, L].
    """
    diagonal = torch.eye(3, dtype=scores.dtype, device=scores.device).view(1, 1, 3, 3)
    size = height * width
    for rows, columns in ((height, width), (width, height)):
        scores = conv2d(scores.unsqueeze(1), diagonal, padding=1).squeeze(1)
        # Swap the fast and the slow image axis of both sides, so that the next round runs along the other one.
        scores = scores.view(-1, rows, columns, rows, columns).transpose(1, 2).transpose(3, 4).reshape(-1, size, size)
    return scores


def offset_flow(weights: Tensor, height: int, width: int, scale: int) -> Tensor:
    """Where each position's strongest source lies relative to it, in pixels: [B, L, L] -> [B, 2, height, width]."""
    best = weights.detach().argmax(dim=1)  # [B, L of queries]
    here = torch.arange(height * width, device=weights.device)
    rows = torch.div(best, width, rounding_mode="floor") - torch.div(here, width, rounding_mode="floor")
    columns = best % width - here % width
    return scale * torch.stack([rows, columns], dim=1).view(-1, 2, height, width).to(weights.dtype)
