"""The losses of the diffusion model: the denoising itself, and the GAN's judgements of the image it reconstructs.

In: a model, a batch with its truth, timesteps and noise. Out: one value per sample, [B], under the names of
DiffusionLossWeights; healthivert.models.losses.total_loss reduces them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from healthivert.models.diffusion.generator import DiffusionGenerator, change_of, drawn, no_flow
from healthivert.models.diffusion.scheduler import DDPMScheduler
from healthivert.models.interface import GeneratorOutput, SliceBatch
from healthivert.models.losses import LossWeights, SliceTargets, generator_losses, masked_mean

SNR_CEILING = 5.0  # gamma of Hang 2023
OF_THE_IMAGE = ("ct", "gradient")  # the terms that see the reconstruction's error multiplied


@dataclass(frozen=True)
class DiffusionLossWeights(LossWeights):
    """denoising: of the network's own target, by min-SNR at most SNR_CEILING times the image's squared error."""

    denoising: float = 1.0


def diffusion_losses(
    model: DiffusionGenerator, batch: SliceBatch, targets: SliceTargets, timesteps: Tensor, noise: Tensor
) -> dict[str, Tensor]:
    """Every term unreduced, [B]: `denoising`, and those of generator_losses on the reconstructed x0.

    timesteps: [B], one for each sample. noise: [B, 1, H, W]. One network plays both stages, so both are judged by the
    same reconstruction. The image's terms are divided by the gain with which the output's error enters it: with noise
    prediction it passes 100 at late timesteps and would drown everything else.
    """
    scheduler = model.scheduler
    truth = change_of(targets.ct, batch)
    sample = batch.mask * scheduler.add_noise(truth, noise, timesteps)
    denoised = model.denoise(sample, timesteps, batch)
    wanted = scheduler.target(truth, noise, timesteps)
    error = masked_mean((denoised.output - wanted).square(), batch.mask)
    x0 = drawn(scheduler.predict_x0(denoised.output, timesteps, sample), batch)
    output = GeneratorOutput(
        coarse_seg=torch.sigmoid(denoised.coarse_logit),
        fine_seg=batch.mask * torch.sigmoid(denoised.fine_logit),
        x_stage1=x0,
        x_stage2=x0,
        offset_flow=no_flow(batch),
        pred1_h=denoised.log_height_ratio,
        pred2_h=denoised.log_height_ratio,
    )
    losses = generator_losses(output, targets, batch.mask)
    damping = 1 / scheduler.x0_gain(timesteps).clamp_min(1.0).to(error)
    losses |= {name: losses[name] * damping for name in OF_THE_IMAGE}
    return {"denoising": min_snr_weight(scheduler, timesteps).to(error) * error, **losses}


def min_snr_weight(scheduler: DDPMScheduler, timesteps: Tensor) -> Tensor:
    """[B] float64: weights the squared error of the output as min(SNR, SNR_CEILING) does that of x0 (Hang 2023 eq. 5).

    At every timestep the product is bounded, whatever the network predicts.
    """
    gain = scheduler.x0_gain(timesteps)
    return scheduler.snr(timesteps).clamp_max(SNR_CEILING) * gain.square()
