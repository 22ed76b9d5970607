"""The batch of every step, the same whoever prepares it: this process, a worker beside it, or one on another node.

In: a SliceDataset. Out: TrainingBatch, the images of a step that one process learns from. Every image draws its
randomness from (seed, step, its number in the step) alone. So a step can be prepared ahead and in parallel, a resumed
run needs no random state but the step's number, and two processes see together what one alone would have seen.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from healthivert.models.interface import SliceBatch
from healthivert.models.losses import SliceTargets
from healthivert.models.slices_of import PLANES
from healthivert.training.lost_worker import from_workers
from healthivert.training.slices import Augmentation, SliceDataset
from healthivert.training.stopping import STOPS

IMAGE, NOISE, STEP, NETWORK = range(1, 5)  # what a stream of random numbers is for
AHEAD = 4  # steps that a worker prepares in advance
Slices = TypeVar("Slices", SliceBatch, SliceTargets)


@dataclass(frozen=True)
class TrainingBatch:
    """share: which images of the step's batch these are."""

    step: int
    share: range
    slices: SliceBatch
    targets: SliceTargets

    def to(self, device: torch.device) -> TrainingBatch:
        return TrainingBatch(self.step, self.share, self.slices.to(device), self.targets.to(device))

    def pin_memory(self) -> TrainingBatch:
        """In memory that a GPU can fetch from; the DataLoader calls it."""
        return TrainingBatch(self.step, self.share, _pinned(self.slices), _pinned(self.targets))


def random_stream(purpose: int, seed: int, step: int, image: int = 0) -> np.random.Generator:
    """purpose first: numpy fills short seeds with zeros, so (seed, step) and (seed, step, 0) would be one stream."""
    return np.random.default_rng([purpose, seed, step, image])


@dataclass(frozen=True)
class StepBatches(Dataset):
    """Step -> TrainingBatch. share: the images of each step that are prepared here."""

    data: SliceDataset
    augmentation: Augmentation
    seed: int
    share: range

    def __getitem__(self, step: int) -> TrainingBatch:
        plane = PLANES[step % len(PLANES)]
        drawn = [
            self.data.draw(plane, 1, random_stream(IMAGE, self.seed, step, image), self.augmentation)
            for image in self.share
        ]
        slices, targets = zip(*drawn, strict=True)
        return TrainingBatch(step, self.share, _joined(slices), _joined(targets))


def batches_of(batches: StepBatches, steps: range, workers: int, pinned: bool) -> Iterator[TrainingBatch]:
    """The batches of the steps in their order. Raises RuntimeError if a worker is killed."""
    ahead: dict[str, Any] = {"prefetch_factor": AHEAD, "worker_init_fn": _leave_signals_to_parent} if workers else {}
    loader = DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pinned, **ahead)
    return from_workers(iter(loader)) if workers else iter(loader)


def _leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and its closing reach all processes of a terminal, and whoever ends a group of processes (torchrun,
    timeout) sends SIGTERM to all of them, but the step in hand still needs its workers. They end with their parent."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _joined(parts: Sequence[Slices]) -> Slices:
    kind = type(parts[0])
    return kind(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(kind)})


def _pinned(slices: Slices) -> Slices:
    return type(slices)(**{f.name: getattr(slices, f.name).pin_memory() for f in fields(slices)})
