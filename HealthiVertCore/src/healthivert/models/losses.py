"""The losses of the models. Each gives one value per sample, [B]; only `total_loss` reduces, to a weighted mean.

Everything the generator is judged by is differentiable: masks stay soft. What lies outside the gap, where the output is
the scan itself, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, smooth_l1_loss

from healthivert.models.interface import GeneratorOutput

HEIGHT_TOLERANCE = 0.05  # log ratio (5 %, about the spread between people) below which the height loss is quadratic


@dataclass(frozen=True)
class LossWeights:
    """Of the terms that every model is trained by: the published weights, divided by 16.7 so that the CT's L1 is 1, and
    freed of their batch size and image area.

    Published, at batch 12 on 256 x 256: L1 200 / 12 per masked pixel, for each stage; Dice 15 (fine) and 10 (coarse);
    edge 800 on the image's mean, which is 125 on the gap's; height 40 per stage. The edge term is lowered: now that it
    has a gradient it would drown the others. So is the height's, a little: it is of a logarithm of a ratio here.
    """

    ct: float = 1.0  # each stage
    gradient: float = 0.5  # fine stage: against blur
    # Soft Dice is won by a body that is too large wherever it is uncertain (docs/trials.md, "The volume of the body");
    # cross entropy, which is not published, asks for the likelihood itself. Nor is it blind to slices without any body,
    # and it leaves an endplate its partial volume, from which its height is read.
    fine_dice: float = 0.0
    coarse_dice: float = 0.6
    fine_cross_entropy: float = 2.0
    coarse_cross_entropy: float = 0.6
    edge: float = 2.0
    boundary: float = 0.5
    height: float = 2.0  # each stage


@dataclass(frozen=True)
class GanLossWeights(LossWeights):
    """adversarial: of each discriminator; 1/6 is published, divided likewise."""

    adversarial: float = 0.01


@dataclass(frozen=True)
class SliceTargets:
    """What the generator should have drawn. Tensors [B, 1, H, W], log_height_ratio and height_weight [B].

    ct: -1..1, the whole slice. body: 0..1, the healthy body in the gap. neighbours: 0..1. body_distance: signed
    distance to the body's outline, negative inside, -1..1. height_weight: 0 for a slice that misses the body.
    """

    ct: Tensor
    body: Tensor
    neighbours: Tensor
    body_distance: Tensor
    log_height_ratio: Tensor
    height_weight: Tensor

    def to(self, device: torch.device | str) -> SliceTargets:
        return SliceTargets(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked pixels of each sample: [B, 1, H, W] -> [B]; 0 where the mask is empty."""
    return (values * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3)).clamp_min(1.0)


def masked_l1(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """[B]: mean absolute difference of [B, 1, H, W] where mask is 1, in their unit."""
    return masked_mean((predicted - target).abs(), mask)


def soft_dice_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of soft masks. One pixel more in both makes "both empty" a perfect answer."""
    both = (predicted * target).sum(dim=(1, 2, 3))
    either = predicted.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3))
    return 1 - (2 * both + 1) / (either + 1)


def mask_cross_entropy(predicted: Tensor, target: Tensor, region: Tensor) -> Tensor:
    """Cross entropy of soft masks in a region, from probabilities kept off 0 and 1, where its gradient is infinite."""
    likely = predicted.clamp(1e-4, 1 - 1e-4)
    # Written out: torch's own stops with an assertion where a diverging run should be named as such.
    return masked_mean(-(target * likely.log() + (1 - target) * (1 - likely).log()), region)


def sobel_magnitude(image: Tensor) -> Tensor:
    """Gradient magnitude of [B, 1, H, W], scaled so that a straight step of 1 gives 0.5 on both of its sides."""
    kernel = torch.tensor(
        [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=image.dtype, device=image.device
    )
    kernels = torch.stack([kernel, kernel.T]).unsqueeze(1) / 8
    gradients = conv2d(pad(image, (1, 1, 1, 1), mode="replicate"), kernels)
    return (gradients.square().sum(dim=1, keepdim=True) + 1e-6).sqrt()


def edge_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared difference of the outlines of two SOFT masks inside the gap; a thresholded mask has no gradient."""
    return masked_mean((sobel_magnitude(predicted) - sobel_magnitude(target)).square(), mask)


def boundary_loss(predicted: Tensor, target: Tensor, target_distance: Tensor, mask: Tensor) -> Tensor:
    """Kervadec 2019: each wrong pixel costs its distance to the true outline. 0 when predicted equals target."""
    return masked_mean((predicted - target) * target_distance, mask)


def gradient_difference_loss(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mathieu 2016: differences between neighbouring pixels should be as large as the truth's, whatever their sign.

    L1 alone answers uncertain texture with its median, a blur; this asks for the texture's strength back.
    """
    total = predicted.new_zeros(predicted.shape[0])
    for axis in (2, 3):
        wanted = target.diff(dim=axis).abs()
        drawn = predicted.diff(dim=axis).abs()
        total = total + masked_mean((drawn - wanted).abs(), mask.narrow(axis, 1, mask.shape[axis] - 1))
    return total / 2


def height_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Huber on the log ratio, [B]: linear with slope 1 beyond HEIGHT_TOLERANCE, weighted by sample."""
    return smooth_l1_loss(predicted, target, reduction="none", beta=HEIGHT_TOLERANCE) * weight


def hinge_discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Per sample, summed over the discriminators: real patches should score above 1, drawn ones below -1."""
    losses = [
        (torch.relu(1 - r).mean(dim=(1, 2, 3)) + torch.relu(1 + f).mean(dim=(1, 2, 3))) / 2
        for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).sum(dim=0)


def hinge_generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """Per sample, summed over the discriminators: drawn patches should score high."""
    return torch.stack([-f.mean(dim=(1, 2, 3)) for f in fake]).sum(dim=0)


def generator_losses(
    output: GeneratorOutput, targets: SliceTargets, mask: Tensor, fake: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """Every term under its name in GanLossWeights, unreduced [B]. `fake`: the discriminators' logits of the drawing."""
    losses = {
        "ct": masked_l1(output.x_stage1, targets.ct, mask) + masked_l1(output.x_stage2, targets.ct, mask),
        "gradient": gradient_difference_loss(output.x_stage2, targets.ct, mask),
        "fine_dice": soft_dice_loss(output.fine_seg, targets.body),
        "coarse_dice": soft_dice_loss(output.coarse_seg, targets.neighbours),
        "fine_cross_entropy": mask_cross_entropy(output.fine_seg, targets.body, mask),
        "coarse_cross_entropy": mask_cross_entropy(output.coarse_seg, targets.neighbours, torch.ones_like(mask)),
        "edge": edge_loss(output.fine_seg, targets.body, mask),
        "boundary": boundary_loss(output.fine_seg, targets.body, targets.body_distance, mask),
        "height": height_loss(output.pred1_h, targets.log_height_ratio, targets.height_weight)
        + height_loss(output.pred2_h, targets.log_height_ratio, targets.height_weight),
    }
    if fake is not None:
        losses["adversarial"] = hinge_generator_loss(fake)
    return losses


def total_loss(losses: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """The weighted sum of the terms [B], averaged over the samples."""
    factor = asdict(weights)
    return torch.stack([factor[name] * value for name, value in losses.items()]).sum(dim=0).mean()
