"""The building blocks both stages share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution with zero padding that keeps the size (or halves it, stride 2), then ELU."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.ELU(inplace=True))


def atrous_pyramid(channels: int) -> nn.Sequential:
    """Dilations 2, 4, 8, 16 in a row: at a quarter of the resolution they see across the whole gap."""
    return nn.Sequential(*(convolution(channels, channels, dilation=dilation) for dilation in (2, 4, 8, 16)))


class HeightHead(nn.Module):
    """Features [B, C, h, w] -> log height ratio [B].

    Starts at exactly 0, "as tall as the neighbours say": training can only add to that baseline.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features.mean(dim=(2, 3))).squeeze(1)


def change_head(channels: int) -> nn.Conv2d:
    """Features to one map [B, 1, H, W] that is 0 before any training."""
    head = nn.Conv2d(channels, 1, 3, padding=1)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    return head


def add_spectral_norm(stage: nn.Module) -> None:
    """Bound every convolution of a stage (Miyato 2018), except those named *_head.

    The heads stay free: with a bounded gain a sigmoid cannot turn into a sharp mask, nor a CT reach the window's ends.
    """
    for name, module in list(stage.named_modules()):
        if isinstance(module, nn.Conv2d) and not name.endswith("_head"):
            spectral_norm(module)
