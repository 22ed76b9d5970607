"""The variants of the diffusion model that ablate_diffusion.py measures: what they draw and how they are trained.

Each is the product's own generator and training with the differences that its Variant names; with none, it trains and
draws bit for bit the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from healthivert.models.diffusion import DiffusionGenerator, DiffusionSettings
from healthivert.models.diffusion.generator import change_of, drawn, no_flow, shared_noise
from healthivert.models.diffusion.losses import OF_THE_IMAGE, min_snr_weight
from healthivert.models.diffusion.unet import Denoised
from healthivert.models.interface import GeneratorOutput, SliceBatch
from healthivert.models.losses import SliceTargets, generator_losses, masked_mean, total_loss
from healthivert.training.batches import StepBatches, TrainingBatch
from healthivert.training.diffusion_task import DiffusionRun, DiffusionTrainerSettings
from healthivert.training.distributed import ALONE
from healthivert.training.optimise import Optimiser
from healthivert.training.samples import TrainingSample, load_sample
from healthivert.training.slices import SliceDataset
from healthivert.training.task import update_average

CPU = torch.device("cpu")
ABSOLUTE_MM = 25.0  # what an absolute height head measures in
REFERENCE = "v-prediction, 11 strides"
X0, X0_FEWER = "x0-prediction", "x0-prediction, 5 strides"


@dataclass(frozen=True)
class Variant:
    """How a model differs from the reference. weights_of: the variant whose weights it draws with, if it is not
    trained itself."""

    prediction: str = "v"
    tanh: bool = False  # on the output: it cannot leave -1..1
    noise_everywhere: bool = False  # not only in the gap
    sees_anatomy: bool = True  # False: x_t, mask, attention and slice_ratio are all that the network is told
    diffuses_change: bool = True  # False: the picture itself, not its change against the prior
    absolute_height: bool = False
    noise_of_its_own: bool = False  # for every slice
    strides: int = 11
    seed: int = 0
    weights_of: str | None = None


VARIANTS = {
    REFERENCE: Variant(),
    "eps-prediction": Variant(prediction="epsilon"),
    "eps-prediction, tanh on the noise head": Variant(prediction="epsilon", tanh=True),
    X0: Variant(prediction="x0"),
    "noise everywhere, gapped CT still a channel": Variant(noise_everywhere=True),
    "noise everywhere, no anatomy in the channels": Variant(
        noise_everywhere=True, sees_anatomy=False, diffuses_change=False
    ),
    "the picture itself diffused": Variant(diffuses_change=False),
    "height head answers log(height / 25 mm)": Variant(absolute_height=True),
    "every slice its own noise": Variant(noise_of_its_own=True, weights_of=REFERENCE),
    "5 strides": Variant(strides=5, weights_of=REFERENCE),
    "25 strides": Variant(strides=25, weights_of=REFERENCE),
    X0_FEWER: Variant(prediction="x0", strides=5, weights_of=X0),
    "the same with another seed": Variant(seed=1),
}


class AblatedGenerator(DiffusionGenerator):
    """The product's generator with a variant's differences; with none it draws the very same."""

    def __init__(self, variant: Variant, width: int) -> None:
        super().__init__(DiffusionSettings(width=width, prediction=variant.prediction, steps=variant.strides))
        self.variant = variant
        self.random = torch.Generator().manual_seed(variant.seed)

    def denoise(self, sample: Tensor, timesteps: int | Tensor, batch: SliceBatch) -> Denoised:
        told = batch if self.variant.sees_anatomy else without_anatomy(batch)
        denoised = super().denoise(sample, timesteps, told)
        return replace(denoised, output=denoised.output.tanh()) if self.variant.tanh else denoised

    @torch.no_grad()
    def forward(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput:
        timesteps = self.scheduler.set_timesteps(self.settings.steps)
        sample = self.noisy(batch) * self.noise(batch, seed)
        for timestep, previous in zip(timesteps, [*timesteps[1:], -1], strict=True):
            denoised = self.denoise(sample, timestep, batch)
            step = self.scheduler.ddim_step(denoised.output, timestep, sample, previous)
            sample = self.noisy(batch) * step.previous_sample
        return output_of(denoised, self.decoded(sample, batch), batch)

    @torch.no_grad()
    def first_pass(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput:
        """What the network answers to pure noise, before anything is drawn."""
        sample, timestep = self.noisy(batch) * self.noise(batch, seed), self.settings.timesteps - 1
        denoised = self.denoise(sample, timestep, batch)
        x0 = self.scheduler.predict_x0(denoised.output, timestep, sample)
        return output_of(denoised, self.decoded(x0, batch), batch)

    def noisy(self, batch: SliceBatch) -> Tensor:
        """1 where x_t holds noise and the network's output is judged."""
        return torch.ones_like(batch.mask) if self.variant.noise_everywhere else batch.mask

    def noise(self, batch: SliceBatch, seed: int) -> Tensor:
        if self.variant.noise_of_its_own:
            return torch.randn(batch.ct.shape, generator=self.random)
        return shared_noise(batch, seed)

    def encoded(self, ct: Tensor, batch: SliceBatch) -> Tensor:
        """What is diffused of a CT."""
        return change_of(ct, batch) if self.variant.diffuses_change else self.noisy(batch) * ct

    def decoded(self, x0: Tensor, batch: SliceBatch) -> Tensor:
        """The CT in the gap, the scan itself outside it: the inverse of encoded there."""
        if self.variant.diffuses_change:
            return drawn(x0, batch)
        return batch.mask * x0.clamp(-1, 1) + (1 - batch.mask) * batch.ct


def without_anatomy(batch: SliceBatch) -> SliceBatch:
    nothing = torch.zeros_like(batch.ct)
    return replace(batch, ct=nothing, prior_ct=nothing, prior_body=nothing, outline=nothing, plane=nothing)


def output_of(denoised: Denoised, ct: Tensor, batch: SliceBatch) -> GeneratorOutput:
    """Both stages from one pass, as in training."""
    return GeneratorOutput(
        coarse_seg=torch.sigmoid(denoised.coarse_logit),
        fine_seg=batch.mask * torch.sigmoid(denoised.fine_logit),
        x_stage1=ct,
        x_stage2=ct,
        offset_flow=no_flow(batch),
        pred1_h=denoised.log_height_ratio,
        pred2_h=denoised.log_height_ratio,
    )


def ablated_losses(
    model: AblatedGenerator, batch: SliceBatch, targets: SliceTargets, timesteps: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """diffusion_losses, but what is diffused, and where, is the variant's."""
    scheduler, noisy = model.scheduler, model.noisy(batch)
    truth = model.encoded(targets.ct, batch)
    sample = noisy * scheduler.add_noise(truth, noise, timesteps)
    denoised = model.denoise(sample, timesteps, batch)
    error = masked_mean((denoised.output - scheduler.target(truth, noise, timesteps)).square(), noisy)
    x0 = model.decoded(scheduler.predict_x0(denoised.output, timesteps, sample), batch)
    losses = generator_losses(output_of(denoised, x0, batch), targets, batch.mask)
    damping = 1 / scheduler.x0_gain(timesteps).clamp_min(1.0).to(error)
    losses |= {name: losses[name] * damping for name in OF_THE_IMAGE}
    return {"denoising": min_snr_weight(scheduler, timesteps).to(error) * error, **losses}


class AblatedRun(DiffusionRun):
    """The product's training of a variant."""

    def __init__(self, settings: DiffusionTrainerSettings, variant: Variant) -> None:
        super().__init__(settings, CPU)
        torch.manual_seed(settings.seed)
        self.generator: AblatedGenerator = AblatedGenerator(variant, settings.generator.width)
        self.average: AblatedGenerator = (
            AblatedGenerator(variant, settings.generator.width).eval().requires_grad_(False)
        )
        self.average.load_state_dict(self.generator.state_dict())
        self.optimiser = Optimiser(self.generator, settings, self.precision, CPU, ALONE)

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        losses = ablated_losses(self.generator, batch.slices, batch.targets, *self._draw(batch))
        loss = total_loss(losses, self.settings.weights)
        self.optimiser.update(loss, self.step, self.settings.clip_norm)
        self.step += 1
        update_average(self.average, self.generator, self.settings, self.step)
        return {"total": loss.detach()}


def settings_of(variant: Variant, plan: Mapping[str, Any]) -> DiffusionTrainerSettings:
    """plan: what all variants share, see `main`."""
    return DiffusionTrainerSettings(
        steps=plan["steps"],
        batch_size=plan["batch_size"],
        learning_rate=plan["learning_rate"],
        warm_up_steps=plan["steps"] // 10,
        ema_decay=0.99,  # the average must forget the start within a short training
        seed=variant.seed,
        generator=DiffusionSettings(width=plan["width"], prediction=variant.prediction),
    )


def trained(
    variant: Variant, plan: Mapping[str, Any], data: SliceDataset, absolute: NDArray[np.float32]
) -> AblatedGenerator:
    """The averaged model. absolute: log(true height / ABSOLUTE_MM) of every vertebra.

    Raises FloatingPointError at the first loss that is not finite.
    """
    settings = settings_of(variant, plan)
    run = AblatedRun(settings, variant)
    batches = StepBatches(data, settings.augmentation, settings.seed, range(settings.batch_size))
    heights = absolute if variant.absolute_height else data.log_height_ratios
    with mock.patch.object(data, "log_height_ratios", heights):
        for step in range(settings.steps):
            if not torch.isfinite(run.train_step(batches[step])["total"]):
                raise FloatingPointError(f"training diverged at step {run.step}")
    return run.average


def absolute_heights(paths: Sequence[Path]) -> NDArray[np.float32]:
    """log(true height / ABSOLUTE_MM) of shards."""
    samples = (load_sample(path) for path in paths)
    return np.array([math.log(true_height(sample) / ABSOLUTE_MM) for sample in samples], np.float32)


def true_height(sample: TrainingSample) -> float:
    return sample.conditioning.reference_mm * math.exp(sample.log_height_ratio)
