"""The diffusion model as a generator: from noise in the gap to a vertebra, in a few deterministic strides.

What is diffused is not the picture but its change against the neighbours' (SliceBatch.prior_ct): the easy part need not
be drawn out of noise. Known pixels stay clean: in every x_t that the network sees, only the gap holds noise, and a
change of 0 is everywhere else. All slices start from one noise field, whatever batch they are in, so that neighbouring
slices differ only where their anatomy does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from healthivert.allowed import at_least, multiple_of, one_of
from healthivert.models.diffusion.scheduler import PREDICTIONS, DDPMScheduler, SchedulerSettings, last_signal
from healthivert.models.diffusion.unet import GROUPS, ConditionalUNet, Denoised
from healthivert.models.interface import GeneratorOutput, SliceBatch

FLOW_SCALE = 8  # the offset flow's grid is this much coarser than the image, as the GAN's
MOST_SIGNAL = 0.05  # of the picture in the noisiest timestep
LARGEST_CHANGE = 0.6  # 330 HU, bone against soft tissue: a change this large is 1 where it is diffused


@dataclass(frozen=True)
class DiffusionSettings(SchedulerSettings):
    """width: channels of the U-Net's finest level; half of it was measured, too (docs/trials.md). steps: timesteps
    visited when a slice is drawn. The defaults are what was measured to be best (docs/method.md)."""

    width: int = multiple_of(GROUPS, 32, most=1_024)
    steps: int = at_least(2, 3)  # odd, so that the middle of the process is one of them
    prediction: str = one_of(PREDICTIONS, "x0")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps > self.timesteps:
            raise ValueError(f"steps is {self.steps}; it must be {self.timesteps} (timesteps) or less")
        left = last_signal(self)
        if left > MOST_SIGNAL:
            raise ValueError(
                f"timesteps is {self.timesteps}: the noisiest one still holds {100 * left:.0f} % of the picture, but "
                "drawing begins with noise alone; take more of them, a larger beta_last or the cosine schedule"
            )


class DiffusionGenerator(nn.Module):
    """SliceBatch -> GeneratorOutput, the same for the same seed.

    Stage 1 is what the network believes half-way (the visited timestep nearest T/2), stage 2 at t = 0: x_stage the
    clean image it expects, the segmentations and the height from the same pass. offset_flow is all 0: no pixel of a
    diffusion's drawing is copied from a place that a flow could name; the field keeps the interface's shape.
    """

    name = "diffusion"

    def __init__(self, settings: DiffusionSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or DiffusionSettings()
        self.scheduler = DDPMScheduler(self.settings)
        self.unet = ConditionalUNet(self.settings.width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def arguments(self) -> dict[str, object]:
        """What DiffusionSettings needs to build this network again."""
        return asdict(self.settings)

    @torch.no_grad()
    def forward(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput:
        """Draw. Without gradient: a loop of this length is not trained through, see losses.diffusion_losses."""
        timesteps = self.scheduler.set_timesteps(self.settings.steps)
        middle = min(timesteps, key=lambda timestep: abs(2 * timestep - self.settings.timesteps))
        sample = batch.mask * shared_noise(batch, seed)
        for timestep, previous in zip(timesteps, [*timesteps[1:], -1], strict=True):
            denoised = self.denoise(sample, timestep, batch)
            step = self.scheduler.ddim_step(denoised.output, timestep, sample, previous)
            sample = batch.mask * step.previous_sample
            if timestep == middle:
                half_way, x_stage1 = denoised, drawn(step.x0, batch)
        return GeneratorOutput(
            coarse_seg=torch.sigmoid(half_way.coarse_logit),
            fine_seg=batch.mask * torch.sigmoid(denoised.fine_logit),
            x_stage1=x_stage1,
            x_stage2=drawn(sample, batch),
            offset_flow=no_flow(batch),
            pred1_h=half_way.log_height_ratio,
            pred2_h=denoised.log_height_ratio,
        )

    def denoise(self, sample: Tensor, timesteps: int | Tensor, batch: SliceBatch) -> Denoised:
        """One pass of the network over x_t, [B, 1, H, W]; timesteps: one for all, or [B]."""
        if isinstance(timesteps, int):
            timesteps = torch.full((sample.shape[0],), timesteps)
        return self.unet(sample, timesteps.to(sample.device), batch)


def change_of(ct: Tensor, batch: SliceBatch) -> Tensor:
    """A CT's change against the neighbours' picture, -1..1 in units of LARGEST_CHANGE; 0 outside the gap."""
    return batch.mask * ((ct - batch.prior_ct) / LARGEST_CHANGE).clamp(-1, 1)


def drawn(change: Tensor, batch: SliceBatch) -> Tensor:
    """The CT of a change in the gap, the scan itself outside it: the inverse of change_of, within its range."""
    ct = (batch.prior_ct + LARGEST_CHANGE * change).clamp(-1, 1)
    return batch.mask * ct + (1 - batch.mask) * batch.ct


def shared_noise(batch: SliceBatch, seed: int) -> Tensor:
    """Standard normal [B, 1, H, W], the same for every slice; drawn on the processor, so that all devices agree."""
    random = torch.Generator().manual_seed(seed)
    field = torch.randn((1, 1, *batch.ct.shape[2:]), generator=random)
    return field.to(batch.ct).expand_as(batch.ct)


def no_flow(batch: SliceBatch) -> Tensor:
    """[B, 2, H / FLOW_SCALE, W / FLOW_SCALE] zeros."""
    count, _, rows, columns = batch.ct.shape
    return batch.ct.new_zeros(count, 2, rows // FLOW_SCALE, columns // FLOW_SCALE)
