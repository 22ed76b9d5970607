"""Training the diffusion model: one network, one optimiser, a random timestep for every slice."""

from __future__ import annotations

import math
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
from healthivert.models.losses import total_loss
from healthivert.training.checkpoint import optimiser_tensors, restore_optimiser, with_prefix
from healthivert.training.metrics import Stopwatch
from healthivert.training.slices import SliceDataset
from healthivert.training.task import RunSettings, learning_rate, next_batch, set_learning_rate, update_average


@dataclass(frozen=True)
class DiffusionTrainerSettings(RunSettings):
    generator: DiffusionSettings = field(default_factory=DiffusionSettings)
    weights: DiffusionLossWeights = field(default_factory=DiffusionLossWeights)

    def start(self, gap: tuple[int, int], device: torch.device) -> DiffusionRun:
        return DiffusionRun(self, device)


class DiffusionRun:
    """The Task of the diffusion model."""

    name = DiffusionGenerator.name

    def __init__(self, settings: DiffusionTrainerSettings, device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.generator = DiffusionGenerator(settings.generator).to(device)
        self.average = DiffusionGenerator(settings.generator).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(self.generator.state_dict())
        self.optimiser = torch.optim.Adam(self.generator.parameters(), settings.learning_rate, settings.betas)

    def tensors(self) -> dict[str, Tensor]:
        modules = {"generator": self.generator, "average": self.average}
        tensors = {f"{part}.{name}": value for part, m in modules.items() for name, value in m.state_dict().items()}
        return tensors | optimiser_tensors(self.optimiser, "optimiser")

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        self.generator.load_state_dict(with_prefix(tensors, "generator"))
        self.average.load_state_dict(with_prefix(tensors, "average"))
        restore_optimiser(self.optimiser, tensors, "optimiser")
        self.step = step

    def train_step(self, data: SliceDataset, watch: Stopwatch) -> dict[str, float]:
        settings = self.settings
        batch, targets, random = next_batch(settings, self.step, data, self.device, watch)
        set_learning_rate(self.optimiser, learning_rate(settings, self.step))
        timesteps = spread_timesteps(random, batch.ct.shape[0], settings.generator.timesteps)
        noise = torch.from_numpy(random.standard_normal(tuple(batch.ct.shape), dtype=np.float32)).to(self.device)

        losses = diffusion_losses(self.generator, batch, targets, timesteps, noise)
        loss = total_loss(losses, settings.weights)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.generator.parameters(), settings.clip_norm)
        means = {name: float(value.detach().mean()) for name, value in losses.items()}
        means |= {"total": float(loss.detach()), "gradient_norm": float(norm)}
        if math.isfinite(means["gradient_norm"]):
            self.optimiser.step()
        self.step += 1
        update_average(self.average, self.generator, settings, self.step)
        watch.count_step()
        return means


def spread_timesteps(random: np.random.Generator, count: int, timesteps: int) -> Tensor:
    """[count] timesteps, one from each of `count` equal parts of the process, shuffled.

    The low-discrepancy sampler of Kingma 2021 (Variational diffusion models): every batch sees the whole process, so
    the loss of a step says more about the model than about its draw.
    """
    drawn = (np.arange(count) + random.random()) / count * timesteps
    return torch.from_numpy(random.permutation(drawn.astype(np.int64)))
