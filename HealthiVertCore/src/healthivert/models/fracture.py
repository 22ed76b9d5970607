"""Fracture classifiers: small networks from sagittal patches of a vertebra to the logit of a fracture.

In: [B, 2, 48, 48], CT (-1..1) and the body's mask, rows rising to superior, columns to posterior. Out: [B] logits,
before calibration. FractureCnn keeps a feature map, `features`, from which Grad-CAM++ tells where it looked;
FractureVit (Dosovitskiy et al. 2021, much smaller) is there to compare it with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

GROUPS = 4
SIDE = 48


@dataclass(frozen=True)
class CnnSettings:
    """width: channels of the first layer; the others have two and four times as many."""

    width: int = 12


@dataclass(frozen=True)
class VitSettings:
    """patch: side of a token in pixels. depth: number of blocks of self-attention."""

    patch: int = 6
    width: int = 48
    heads: int = 4
    depth: int = 3


class FractureCnn(nn.Module):
    """Seven convolutions down to 12 x 12 cells of 4 mm, whose mean decides. The last cell sees 41 mm: a whole body."""

    name = "fracture_cnn"

    def __init__(self, settings: CnnSettings) -> None:
        super().__init__()
        self.settings = settings
        w = settings.width
        channels = (2, w, 2 * w, 2 * w, 4 * w, 4 * w, 4 * w, 4 * w)
        strides = (1, 2, 1, 2, 1, 1, 1)
        layers = [_convolution(*ends, stride) for ends, stride in zip(pairwise(channels), strides, strict=True)]
        self.features = nn.Sequential(*layers)
        self.decide = nn.Linear(4 * w, 1)

    @property
    def arguments(self) -> dict[str, object]:
        return asdict(self.settings)

    def forward(self, patches: Tensor) -> Tensor:
        return self.decide(self.features(patches).mean(dim=(2, 3)))[:, 0]


class FractureVit(nn.Module):
    """Tokens of patch x patch pixels, learned positions, pre-norm self-attention; the tokens' mean decides."""

    name = "fracture_vit"

    def __init__(self, settings: VitSettings) -> None:
        super().__init__()
        self.settings = settings
        self.embed = nn.Conv2d(2, settings.width, settings.patch, stride=settings.patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, (SIDE // settings.patch) ** 2, settings.width))
        block = nn.TransformerEncoderLayer(
            settings.width, settings.heads, 2 * settings.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, settings.depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(settings.width)
        self.decide = nn.Linear(settings.width, 1)

    @property
    def arguments(self) -> dict[str, object]:
        return asdict(self.settings)

    def forward(self, patches: Tensor) -> Tensor:
        tokens = self.embed(patches).flatten(2).transpose(1, 2) + self.place
        return self.decide(self.norm(self.blocks(tokens)).mean(dim=1))[:, 0]


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(GROUPS, after), nn.ReLU())
