"""Stage 1: a first guess of the missing anatomy, a segmentation of the neighbours, and a height."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from healthivert.models.gan.layers import HeightHead, atrous_pyramid, change_head, convolution
from healthivert.models.interface import SliceBatch, ct_upon


class CoarseStage(nn.Module):
    """SliceBatch [B, 1, H, W] -> CT in -1..1, neighbours' logit [B, 1, H, W], log height ratio [B].

    Six convolutions down to a quarter of the size, the atrous pyramid, and a decoder that the attention map joins at
    half and at full size, so that it steers what is drawn without shaping the encoder's features. What is drawn is a
    change of the neighbours' picture; before any training there is none.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            convolution(7, width, kernel=5),
            convolution(width, 2 * width, stride=2),
            convolution(2 * width, 2 * width),
            convolution(2 * width, 4 * width, stride=2),
            convolution(4 * width, 4 * width),
            convolution(4 * width, 4 * width),
        )
        self.pyramid = atrous_pyramid(4 * width)
        self.height = HeightHead(4 * width)
        self.middle = nn.Sequential(convolution(4 * width, 4 * width), convolution(4 * width, 4 * width))
        self.half_size = nn.Sequential(
            convolution(4 * width + 1, 4 * width),
            convolution(4 * width, 2 * width),
            convolution(2 * width, 2 * width),
        )
        self.full_size = nn.Sequential(
            convolution(2 * width + 1, 2 * width), convolution(2 * width, width), convolution(width, width // 2)
        )
        self.ct_head = change_head(width // 2)
        self.seg_head = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, batch: SliceBatch) -> tuple[Tensor, Tensor, Tensor]:
        known = [batch.ct, batch.slice_ratio, batch.mask, batch.plane, batch.prior_ct, batch.prior_body, batch.outline]
        features = self.pyramid(self.encoder(torch.cat(known, dim=1)))
        height = self.height(features)
        features = interpolate(self.middle(features), scale_factor=2.0, mode="nearest")
        attention = interpolate(batch.attention, size=features.shape[2:], mode="nearest")
        features = self.half_size(torch.cat([features, attention], dim=1))
        features = interpolate(features, scale_factor=2.0, mode="nearest")
        features = self.full_size(torch.cat([features, batch.attention], dim=1))
        return ct_upon(batch.prior_ct, self.ct_head(features)), self.seg_head(features), height
