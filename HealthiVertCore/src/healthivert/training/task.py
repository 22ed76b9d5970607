"""What every training has in common, whatever is trained: settings, a place in the loop, the average that is shipped.

A Task is one model in training. The loop (trainer.train) asks it for steps and for its state, and knows nothing else
of it. RunSettings are the settings the loop reads; each Task adds its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from healthivert.allowed import above, at_least, between, check_allowed, from_to, one_of, random_seed
from healthivert.models.devices import DEVICES
from healthivert.models.gan import plain_state
from healthivert.training.batches import TrainingBatch
from healthivert.training.distributed import ALONE, Processes
from healthivert.training.numerics import PRECISIONS
from healthivert.training.slices import Augmentation


class Task(Protocol):
    """A model in training: its networks, their optimisers, the average that is shipped, and the step it is at."""

    name: str  # of the architecture
    step: int

    @property
    def average(self) -> nn.Module:
        """The model that is validated and shipped."""

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, under flat names, for a checkpoint."""

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """The inverse of tensors, at a step. Raises RuntimeError or KeyError for the state of another network."""

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """One update; the mean of every loss over this process's images before it, `ct` among them."""


@dataclass(frozen=True)
class RunSettings(ABC):
    """A run's recipe, as far as every task shares it. One step is one batch of one plane; the planes take turns.

    Raises ValueError, as the settings of the generators do, for a value that its field does not allow.
    """

    steps: int = at_least(1, 20_000)
    # of all processes together; as fast per image as 32 on a CPU, and more updates
    batch_size: int = at_least(1, 16, most=65_536)
    learning_rate: float = above(0, 2e-4)
    betas: tuple[float, float] = (0.9, 0.999)
    warm_up_steps: int = at_least(0, 200)
    final_learning_rate: float = from_to(0, 1, 0.02)  # share of the learning rate that the cosine ends at
    # early norms are 5 to 20; Adam ignores a constant scale, so this only evens batches out
    clip_norm: float = above(0, 5.0)
    ema_decay: float = from_to(0, 1, 0.999)
    held_out: float = between(0, 1, 0.05)  # of the spines
    seed: int = random_seed(0)
    augmentation: Augmentation = field(default_factory=Augmentation)
    precision: str = one_of(PRECISIONS, "float32")  # of the networks' passes (see numerics)
    # What follows may differ when a run is resumed: it changes when and where things happen, not what is learnt.
    log_every: int = at_least(1, 50)
    validate_every: int = at_least(1, 1_000)
    checkpoint_minutes: float = at_least(0, 5.0)
    wall_clock_minutes: float | None = at_least(0, None)
    device: str = one_of(DEVICES, "auto")
    threads: int | None = at_least(1, None, most=1_024)
    workers: int | None = at_least(0, None, most=1_024)  # that prepare batches; None: see worker_count
    deterministic: bool = False  # the same to the bit in every call, at some cost on a GPU; a CPU is it anyway

    def __post_init__(self) -> None:
        check_allowed(self)

    def at_full_cost(self) -> RunSettings:
        """With everything there from the first step that would join later."""
        return self

    @abstractmethod
    def start(self, gap: tuple[int, int], device: torch.device, processes: Processes = ALONE) -> Task:
        """The task of these settings at step 0. gap: rows [first, last) of the slices' gap."""


FREE_ON_RESUME = (
    "log_every",
    "validate_every",
    "checkpoint_minutes",
    "wall_clock_minutes",
    "device",
    "threads",
    "workers",
    "deterministic",
    "steps",
    "learning_rate",  # what a run that diverged has to change
)


def learning_rate(settings: RunSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to final_learning_rate."""
    warm = min(1.0, (step + 1) / max(1, settings.warm_up_steps))
    way = min(1.0, max(0, step - settings.warm_up_steps) / max(1, settings.steps - settings.warm_up_steps))
    floor = settings.final_learning_rate
    return settings.learning_rate * warm * (floor + (1 - floor) * (1 + math.cos(math.pi * way)) / 2)


@torch.no_grad()
def update_average(average: nn.Module, trained: nn.Module, settings: RunSettings, step: int) -> None:
    """Exponential moving average of the weights as they act; it starts fast, or it would remember the random start."""
    decay = min(settings.ema_decay, step / (step + 10))
    current = plain_state(trained)
    for name, value in average.named_parameters():
        value.lerp_(current[name], 1 - decay)
    buffers = dict(trained.named_buffers())
    for name, statistic in average.named_buffers():
        statistic.copy_(buffers[name])  # running statistics are averages already
