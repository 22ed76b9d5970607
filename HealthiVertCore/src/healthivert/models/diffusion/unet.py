"""The denoising U-Net: three levels down and up with skips, told the timestep in every block.

In: x_t with its known pixels clean, the timestep, and the SliceBatch that it is conditioned on. Out: Denoised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from healthivert.models.gan.layers import HeightHead
from healthivert.models.interface import SliceBatch, body_upon

INPUTS = 9  # x_t, gapped CT, mask, attention, prior_ct, prior_body, outline, slice_ratio, plane
GROUPS = 8
SINUSOIDS = 32
TIME_FEATURES = 128


@dataclass(frozen=True)
class Denoised:
    """output: [B, 1, H, W] noise, x0 or v. coarse_logit, fine_logit: [B, 1, H, W]. log_height_ratio: [B]."""

    output: Tensor
    coarse_logit: Tensor
    fine_logit: Tensor
    log_height_ratio: Tensor


class ConditionalUNet(nn.Module):
    """x_t [B, 1, H, W], timesteps [B], SliceBatch -> Denoised. H and W are multiples of 8.

    width: channels of the finest level, a multiple of 8; 2 and 4 times as many on the next two, 8 at the bottom.
    Every head starts at 0, so the untrained height is the neighbours' reference, the untrained body is theirs, and no
    output is large by chance.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        levels = (width, 2 * width, 4 * width)
        bottom = 8 * width
        self.time = nn.Sequential(
            nn.Linear(SINUSOIDS, TIME_FEATURES), nn.SiLU(), nn.Linear(TIME_FEATURES, TIME_FEATURES), nn.SiLU()
        )
        self.enter = nn.Conv2d(INPUTS, width, 3, padding=1)
        self.down = nn.ModuleList([ResidualBlock(channels, channels) for channels in levels])
        self.halve = nn.ModuleList(
            [
                nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
                for fine, coarse in zip(levels, (*levels[1:], bottom), strict=True)
            ]
        )
        self.bottom = nn.ModuleList([ResidualBlock(bottom, bottom), ResidualBlock(bottom, bottom)])
        self.up = nn.ModuleList(
            [
                ResidualBlock(coarse + fine, fine)
                for fine, coarse in zip(levels[::-1], (bottom, *levels[:0:-1]), strict=True)
            ]
        )
        self.height = HeightHead(bottom)
        self.noise_head = _zero_head(width, 1)
        self.segmentation_head = _zero_head(width, 2)

    def forward(self, x_t: Tensor, timesteps: Tensor, batch: SliceBatch) -> Denoised:
        time = self.time(sinusoids(timesteps).to(x_t))
        priors = [batch.prior_ct, batch.prior_body, batch.outline]
        known = [batch.ct, batch.mask, batch.attention, *priors, batch.slice_ratio, batch.plane]
        features = self.enter(torch.cat([x_t, *known], dim=1))
        skips = []
        for block, halve in zip(self.down, self.halve, strict=True):
            features = block(features, time)
            skips.append(features)
            features = halve(features)
        for block in self.bottom:
            features = block(features, time)
        height = self.height(features)
        for block in self.up:
            features = interpolate(features, scale_factor=2.0, mode="nearest")
            features = block(torch.cat([features, skips.pop()], dim=1), time)
        coarse_logit, fine_logit = self.segmentation_head(features).chunk(2, dim=1)
        return Denoised(self.noise_head(features), coarse_logit, body_upon(batch.prior_body, fine_logit), height)


class ResidualBlock(nn.Module):
    """features [B, inputs, h, w], time [B, TIME_FEATURES] -> [B, outputs, h, w]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _normalised_convolution(inputs, outputs)
        self.time = nn.Linear(TIME_FEATURES, outputs)
        self.second = _normalised_convolution(outputs, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor, time: Tensor) -> Tensor:
        changed = self.first(features) + self.time(time)[:, :, None, None]
        return self.shortcut(features) + self.second(changed)


def sinusoids(timesteps: Tensor) -> Tensor:
    """Timesteps [B] -> [B, SINUSOIDS] cosines and sines of periods from 2 pi to nearly 2 pi * 10000 (Vaswani 2017)."""
    exponents = torch.arange(SINUSOIDS // 2, device=timesteps.device) / (SINUSOIDS // 2)
    angles = timesteps[:, None].float() * torch.exp(-math.log(10_000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _normalised_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))


def _zero_head(inputs: int, outputs: int) -> nn.Sequential:
    head = _normalised_convolution(inputs, outputs)
    for parameter in head[-1].parameters():
        nn.init.zeros_(parameter)
    return head
