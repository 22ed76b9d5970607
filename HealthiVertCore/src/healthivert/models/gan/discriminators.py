"""Three patch discriminators (Isola 2017): for the CT, for the body's soft mask, for the band around the gap.

Only the rows of and beside the gap are shown to them: everything further away is the scan itself in both classes and
would cost time to learn nothing from. Spectral norm in place of batch norm makes every sample's answer its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True)
class DiscriminatorSettings:
    """width: channels of the first convolution (64 as published; 32 costs a quarter, which matters on a CPU)."""

    width: int = 32
    context_rows: int = 16  # rows of known anatomy the CT discriminator sees on each side of the gap
    band_rows: int = 4  # the same for the mask and the local discriminator


class PatchDiscriminator(nn.Module):
    """Image [B, 1, H, W] -> logits [B, 1, h, w], one for each overlapping patch (positive: real)."""

    def __init__(self, width: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for depth in range(halvings + 1):
            wider = width * min(2**depth, 8)
            stride = 2 if depth < halvings else 1
            convolution = spectral_norm(nn.Conv2d(channels, wider, 4, stride, padding=1))
            layers += [convolution, nn.LeakyReLU(0.2, inplace=True)]
            channels = wider
        layers.append(spectral_norm(nn.Conv2d(channels, 1, 4, 1, padding=1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Discriminators(nn.Module):
    """The three roles. forward: ct, body [B, 1, H, W] -> logits of (ct, mask, band).

    The band's discriminator halves once less than the others: with a smaller patch it judges texture, not anatomy.
    """

    ROLES = ("ct", "mask", "band")

    def __init__(self, settings: DiscriminatorSettings, gap: tuple[int, int]) -> None:
        super().__init__()
        self.settings = settings
        self.gap = gap
        self.ct = PatchDiscriminator(settings.width, halvings=3)
        self.mask = PatchDiscriminator(settings.width, halvings=3)
        self.band = PatchDiscriminator(settings.width, halvings=2)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, ct: Tensor, body: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Smoothed alike, or the bare fact that a true mask is binary would give it away.
        soft_body = avg_pool2d(self._rows(body, self.settings.band_rows), 3, stride=1, padding=1)
        return (
            self.ct(self._rows(ct, self.settings.context_rows)),
            self.mask(soft_body),
            self.band(self._rows(ct, self.settings.band_rows)),
        )

    def _rows(self, image: Tensor, margin: int) -> Tensor:
        first, last = self.gap
        return image[:, :, max(first - margin, 0) : last + margin]
