"""What every generator takes and gives, whatever is inside it.

In: `SliceBatch`, 2D slices through the gap frame, all of one plane. Out: `GeneratorOutput`, the seven outputs of the
method. Both the GAN and the diffusion model keep to this, so everything around them is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class SliceBatch:
    """Float tensors [B, 1, H, W], rows rising to superior; W is AP (sagittal) or LR (coronal), H and W multiples of 8.

    ct: -1..1, -1 in the gap. mask: 1 in the gap. attention: 0..1, 0 in the gap. slice_ratio: constant per slice, the
    distance from the middle of the body over its half width. plane: constant, 0 sagittal, 1 coronal.
    """

    ct: Tensor
    mask: Tensor
    attention: Tensor
    slice_ratio: Tensor
    plane: Tensor

    def to(self, device: torch.device | str) -> SliceBatch:
        return SliceBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class GeneratorOutput:
    """The seven outputs.

    coarse_seg: [B, 1, H, W] probability of the neighbours' bodies. fine_seg: probability of the regrown body, 0 outside
    the gap. x_stage1, x_stage2: [B, 1, H, W] CT in -1..1; outside the gap they are the input's own pixels.
    offset_flow: [B, 2, h, w], (rows, columns) in input pixels from where attention copied, relative to each position.
    pred1_h, pred2_h: [B] log(healthy mean body height / the neighbours' reference height).
    """

    coarse_seg: Tensor
    fine_seg: Tensor
    x_stage1: Tensor
    x_stage2: Tensor
    offset_flow: Tensor
    pred1_h: Tensor
    pred2_h: Tensor


class Generator(Protocol):
    """A network from SliceBatch to GeneratorOutput."""

    def __call__(self, batch: SliceBatch) -> GeneratorOutput: ...
