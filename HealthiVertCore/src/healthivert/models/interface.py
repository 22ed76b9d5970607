"""What every generator takes and gives, whatever is inside it.

In: `SliceBatch`, 2D slices through the gap frame, all of one plane. Out: `GeneratorOutput`, the seven outputs of the
method. Both the GAN and the diffusion model keep to this, so everything around them is shared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

SLICE_DIVISOR = 8  # the networks halve a slice three times
CT_ROOM = 0.98  # a starting value at the window's end could not be changed any more
DOUBT = 0.02  # likewise for a prior of 0 or 1


@dataclass(frozen=True)
class SliceBatch:
    """Float tensors [B, 1, H, W], rows rising to superior; W is AP (sagittal) or LR (coronal), H and W multiples of
    SLICE_DIVISOR.

    ct: -1..1, -1 where mask is 1: in the gap, and where more is withheld beside it. attention: 0..1, 0 in the gap.
    prior_ct (-1..1), prior_body (0..1), outline (0 or 1): what the neighbours say of the gap, see types.Conditioning.
    slice_ratio: constant per slice, the distance from the middle of the body over its half width. plane: constant, 0
    sagittal, 1 coronal.
    """

    ct: Tensor
    mask: Tensor
    attention: Tensor
    prior_ct: Tensor
    prior_body: Tensor
    outline: Tensor
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
    """A network from SliceBatch to GeneratorOutput. seed: of whatever it draws at random; one that draws nothing
    ignores it."""

    def __call__(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput: ...


def ct_upon(start: Tensor, change: Tensor) -> Tensor:
    """A CT in -1..1 that equals `start` (nearly: CT_ROOM) where `change` is 0. Both any shape; change unbounded."""
    return torch.tanh(torch.atanh(start.clamp(-1, 1) * CT_ROOM) + change)


def body_upon(prior: Tensor, change: Tensor) -> Tensor:
    """Logit of a body that has the probability `prior` where `change` is 0, short of certainty."""
    return torch.logit(prior, eps=DOUBT) + change
