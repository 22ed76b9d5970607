"""Training the diffusion model: one network, one optimiser, a random timestep for every slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from healthivert.models.diffusion import (
    DiffusionGenerator,
    DiffusionLossWeights,
    DiffusionSettings,
    diffusion_losses,
)
from healthivert.models.diffusion.unet import Denoised
from healthivert.models.interface import SliceBatch
from healthivert.models.losses import total_loss
from healthivert.training.batches import NOISE, STEP, TrainingBatch, random_stream
from healthivert.training.checkpoint import AVERAGE, with_prefix
from healthivert.training.distributed import ALONE, Processes
from healthivert.training.numerics import choose_precision, in_float32, passes_in
from healthivert.training.optimise import Optimiser
from healthivert.training.task import RunSettings, update_average


@dataclass(frozen=True)
class DiffusionTrainerSettings(RunSettings):
    generator: DiffusionSettings = field(default_factory=DiffusionSettings)
    weights: DiffusionLossWeights = field(default_factory=DiffusionLossWeights)

    def start(self, gap: tuple[int, int], device: torch.device, processes: Processes = ALONE) -> DiffusionRun:
        return DiffusionRun(self, device, processes)


class DiffusionRun:
    """The Task of the diffusion model."""

    name = DiffusionGenerator.name

    def __init__(self, settings: DiffusionTrainerSettings, device: torch.device, processes: Processes = ALONE) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.generator = DiffusionGenerator(settings.generator).to(device)
        self.average = DiffusionGenerator(settings.generator).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.precision = choose_precision(settings.precision, device)
        self.optimiser = Optimiser(self.generator, settings, self.precision, device, processes)

    def tensors(self) -> dict[str, Tensor]:
        modules = {"generator": self.generator, AVERAGE: self.average}
        tensors = {f"{part}.{name}": value for part, m in modules.items() for name, value in m.state_dict().items()}
        return tensors | self.optimiser.tensors("optimiser")

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        self.generator.load_state_dict(with_prefix(tensors, "generator"))
        self.average.load_state_dict(with_prefix(tensors, AVERAGE))
        self.optimiser.restore(tensors, "optimiser")
        self.step = step

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        settings = self.settings
        timesteps, noise = self._draw(batch)
        losses = diffusion_losses(_Denoiser(self), batch.slices, batch.targets, timesteps, noise)  # type: ignore[arg-type]
        loss = total_loss(losses, settings.weights)
        norm = self.optimiser.update(loss, self.step, settings.clip_norm)
        self.step += 1
        update_average(self.average, self.generator, settings, self.step)
        means = {name: value.detach().mean() for name, value in losses.items()}
        return means | {"total": loss.detach(), "gradient_norm": norm}

    def _draw(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Timesteps [B] on the processor and noise [B, 1, H, W] of the images."""
        settings, shape = self.settings, tuple(batch.slices.ct.shape[1:])
        random = random_stream(STEP, settings.seed, batch.step)
        timesteps = spread_timesteps(random, settings.batch_size, settings.generator.timesteps)
        noise = [
            random_stream(NOISE, settings.seed, batch.step, image).standard_normal(shape, dtype=np.float32)
            for image in batch.share
        ]
        return timesteps[batch.share.start : batch.share.stop], torch.from_numpy(np.stack(noise)).to(self.device)


class _Denoiser:
    """What diffusion_losses asks of a model, with the network's passes in the run's precision."""

    def __init__(self, run: DiffusionRun) -> None:
        self.scheduler = run.generator.scheduler
        self._run = run

    def denoise(self, sample: Tensor, timesteps: int | Tensor, batch: SliceBatch) -> Denoised:
        with passes_in(self._run.precision, self._run.device):
            denoised = self._run.generator.denoise(sample, timesteps, batch)
        return in_float32(denoised)


def spread_timesteps(random: np.random.Generator, count: int, timesteps: int) -> Tensor:
    """[count] timesteps, one from each of `count` equal parts of the process, shuffled.

    The low-discrepancy sampler of Kingma 2021 (Variational diffusion models): every batch sees the whole process, so
    the loss of a step says more about the model than about its draw.
    """
    drawn = (np.arange(count) + random.random()) / count * timesteps
    return torch.from_numpy(random.permutation(drawn.astype(np.int64)))
