"""Both stages as one generator, and its plain form for running.

Known pixels stay clean: every CT that leaves a stage is the drawing inside the gap and the scan outside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from healthivert.allowed import at_least, check_allowed
from healthivert.models.gan.coarse import CoarseStage
from healthivert.models.gan.fine import FineStage
from healthivert.models.gan.layers import add_spectral_norm
from healthivert.models.interface import GeneratorOutput, SliceBatch


@dataclass(frozen=True)
class GanSettings:
    """width: channels of the first convolution (16 as published). spectral_norm: only while training."""

    width: int = at_least(2, 16, most=1_024)
    spectral_norm: bool = False

    def __post_init__(self) -> None:
        check_allowed(self)


class GanGenerator(nn.Module):
    """SliceBatch -> GeneratorOutput."""

    name = "gan"

    def __init__(self, settings: GanSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or GanSettings()
        self.coarse = CoarseStage(self.settings.width)
        self.fine = FineStage(self.settings.width)
        if self.settings.spectral_norm:
            add_spectral_norm(self)
        # Twice to three times the speed on a CPU, and right for tensor cores as well.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def arguments(self) -> dict[str, object]:
        """What GanSettings needs to build this network again."""
        return asdict(self.settings)

    def forward(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput:
        known = 1 - batch.mask
        drawn1, coarse_logit, pred1_h = self.coarse(batch)
        coarse_seg = torch.sigmoid(coarse_logit.float())  # in half the bits a sure probability is 1, with no gradient
        x_stage1 = batch.mask * drawn1 + known * batch.ct
        drawn2, fine_logit, pred2_h, flow = self.fine(batch, x_stage1, coarse_seg)
        return GeneratorOutput(
            coarse_seg=coarse_seg,
            fine_seg=batch.mask * torch.sigmoid(fine_logit.float()),
            x_stage1=x_stage1,
            x_stage2=batch.mask * drawn2 + known * batch.ct,
            offset_flow=flow,
            pred1_h=pred1_h,
            pred2_h=pred2_h,
        )


@torch.no_grad()
def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with the weights as they act, under the names they have without spectral norm."""
    training = model.training
    model.eval()  # in training mode reading a weight would advance the power iteration
    state: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        if ".parametrizations" in f".{prefix}":
            continue
        dot = f"{prefix}." if prefix else ""
        for name, parameter in module.named_parameters(recurse=False):
            state[dot + name] = parameter.detach()
        if is_parametrized(module, "weight"):
            state[f"{dot}weight"] = module.weight.detach()  # type: ignore[operator,union-attr]
    model.train(training)
    return state


def fold_spectral_norm(model: GanGenerator) -> GanGenerator:
    """The same generator in evaluation mode with its normalised weights as plain ones: what is shipped and run."""
    plain = GanGenerator(replace(model.settings, spectral_norm=False))
    plain.load_state_dict(plain_state(model))
    return plain.eval()
