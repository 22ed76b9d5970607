"""Stage 2: redraws the gap with texture borrowed from the visible anatomy, and segments the regrown body."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from healthivert.models.gan.contextual_attention import ContextualAttention
from healthivert.models.gan.layers import HeightHead, atrous_pyramid, change_head, convolution
from healthivert.models.interface import SliceBatch, body_upon, ct_upon


class FineStage(nn.Module):
    """SliceBatch, x_stage1, coarse_seg [B, 1, H, W] -> CT, body logit [B, 1, H, W], log ratio [B], flow.

    x_stage1 is the composite (first guess in the gap, the scan elsewhere), so the encoder sees the known anatomy clean
    and the first guess at once. This stage corrects: its CT is a change of x_stage1, its body one of the neighbours'.
    Two branches at a quarter of the size: one draws with an atrous pyramid, one copies by contextual attention.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.drawing = nn.Sequential(
            convolution(7, width, kernel=5),
            convolution(width, width, stride=2),
            convolution(width, 2 * width),
            convolution(2 * width, 2 * width, stride=2),
            convolution(2 * width, 4 * width),
            convolution(4 * width, 4 * width),
            atrous_pyramid(4 * width),
        )
        self.describing = nn.Sequential(
            convolution(7, width, kernel=5),
            convolution(width, width, stride=2),
            convolution(width, 2 * width),
            convolution(2 * width, 4 * width, stride=2),
            convolution(4 * width, 4 * width),
        )
        # Rectified, so that matching compares what is present and not what is absent.
        self.describing_last = nn.Conv2d(4 * width, 4 * width, 3, padding=1)
        self.attention = ContextualAttention()
        self.copying = nn.Sequential(convolution(4 * width, 4 * width), convolution(4 * width, 4 * width))
        self.merge = convolution(8 * width, 4 * width)
        self.height = HeightHead(4 * width)
        self.quarter_size = convolution(4 * width, 4 * width)
        self.half_size = nn.Sequential(convolution(4 * width, 2 * width), convolution(2 * width, 2 * width))
        self.full_size = nn.Sequential(convolution(2 * width, width), convolution(width, width // 2))
        self.ct_head = change_head(width // 2 + 3)
        self.seg_head = change_head(width // 2 + 3)

    def forward(self, batch: SliceBatch, x_stage1: Tensor, coarse_seg: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        priors = [batch.prior_body, batch.outline]
        inputs = torch.cat([x_stage1, coarse_seg, batch.mask, batch.slice_ratio, batch.plane, *priors], dim=1)
        drawn = self.drawing(inputs)
        described = torch.relu(self.describing_last(self.describing(inputs)))
        copied, flow = self.attention(described, batch.mask)
        features = self.merge(torch.cat([drawn, self.copying(copied)], dim=1))
        height = self.height(features)
        features = interpolate(self.quarter_size(features), scale_factor=2.0, mode="nearest")
        features = interpolate(self.half_size(features), scale_factor=2.0, mode="nearest")
        features = torch.cat([self.full_size(features), x_stage1, *priors], dim=1)
        body_logit = body_upon(batch.prior_body, self.seg_head(features))
        return ct_upon(x_stage1, self.ct_head(features)), body_logit, height, flow
