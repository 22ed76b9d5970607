"""What every training has in common, whatever is trained: settings, a place in the loop, batches, the average.

A Task is one model in training. The loop (trainer.train) asks it for steps and for its state, and knows nothing else
of it. RunSettings are the settings the loop reads; each Task adds its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from healthivert.models.gan import plain_state
from healthivert.models.interface import SliceBatch
from healthivert.models.losses import SliceTargets
from healthivert.models.slices_of import PLANES
from healthivert.training.metrics import Stopwatch
from healthivert.training.slices import Augmentation, SliceDataset


class Task(Protocol):
    """A model in training: its networks, their optimisers, the average that is shipped, and the step it is at."""

    name: str  # of the architecture
    step: int

    @property
    def average(self) -> nn.Module:
        """The model that is validated and shipped."""

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, under flat names, for a checkpoint."""

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """The inverse of tensors, at a step."""

    def train_step(self, data: SliceDataset, watch: Stopwatch) -> dict[str, float]:
        """One update, on a batch that (seed, step) determine; the mean of every loss before it, `ct` among them."""


@dataclass(frozen=True)
class RunSettings(ABC):
    """A run's recipe, as far as every task shares it. One step is one batch of one plane; the planes take turns."""

    steps: int = 20_000
    batch_size: int = 16  # as fast per image as 32 on a CPU, and more updates
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warm_up_steps: int = 200
    final_learning_rate: float = 0.02  # share of the learning rate that the cosine ends at
    clip_norm: float = 5.0  # early norms are 5 to 20; Adam ignores a constant scale, so this only evens batches out
    ema_decay: float = 0.999
    held_out: float = 0.05  # of the spines
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    # What follows may differ when a run is resumed: it changes when things happen, not what is learnt.
    log_every: int = 50
    validate_every: int = 1_000
    checkpoint_minutes: float = 5.0
    wall_clock_minutes: float | None = None
    device: str = "cpu"
    threads: int | None = None

    @abstractmethod
    def start(self, gap: tuple[int, int], device: torch.device) -> Task:
        """The task of these settings at step 0. gap: rows [first, last) of the slices' gap."""


FREE_ON_RESUME = (
    "log_every",
    "validate_every",
    "checkpoint_minutes",
    "wall_clock_minutes",
    "device",
    "threads",
    "steps",
)


def next_batch(
    settings: RunSettings, step: int, data: SliceDataset, device: torch.device, watch: Stopwatch
) -> tuple[SliceBatch, SliceTargets, np.random.Generator]:
    """The step's batch and truth, and its random numbers, for what else the step has to draw."""
    random = np.random.default_rng([settings.seed, step])
    plane = PLANES[step % len(PLANES)]
    with watch.part("data_share"):
        batch, targets = data.draw(plane, settings.batch_size, random, settings.augmentation)
        return batch.to(device), targets.to(device), random


def learning_rate(settings: RunSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to final_learning_rate."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up_steps))
    way = min(1.0, max(0, step - settings.warm_up_steps) / max(1, settings.steps - settings.warm_up_steps))
    floor = settings.final_learning_rate
    return settings.learning_rate * warm * (floor + (1 - floor) * (1 + math.cos(math.pi * way)) / 2)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


@torch.no_grad()
def update_average(average: nn.Module, trained: nn.Module, settings: RunSettings, step: int) -> None:
    """Exponential moving average of the weights as they act; it starts fast, or it would remember the random start."""
    decay = min(settings.ema_decay, step / (step + 10))
    current = plain_state(trained)
    for name, value in average.named_parameters():
        value.lerp_(current[name], 1 - decay)
