"""A training that is as small as one can be: its shards, its settings, and itself as a process of its own.

python training_case.py DATA RUN '{"steps": 4}' [--resume]      alone, or under torchrun
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from slice_batches import conditioning_of

from healthivert.errors import HealthiVertError
from healthivert.models.diffusion import DiffusionSettings
from healthivert.models.gan import DiscriminatorSettings, GanSettings
from healthivert.training.diffusion_task import DiffusionTrainerSettings
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.samples import TrainingSample, save_sample
from healthivert.training.task import RunSettings
from healthivert.training.trainer import train

SHAPE = (96, 64, 72)
TINY = GanTrainerSettings(
    steps=6,
    batch_size=2,
    warm_up_steps=2,
    adversarial_start=2,
    held_out=0.3,
    generator=GanSettings(width=4, spectral_norm=True),
    discriminators=DiscriminatorSettings(width=4),
    log_every=1,
    validate_every=100,
)
TINY_DIFFUSION = DiffusionTrainerSettings(
    steps=4,
    batch_size=2,
    warm_up_steps=2,
    held_out=0.3,
    generator=DiffusionSettings(width=8, steps=2, prediction="x0"),
    log_every=1,
    validate_every=100,
)
TINY_OF = {"gan": TINY, "diffusion": TINY_DIFFUSION}


def elliptic_vertebra(seed: int) -> TrainingSample:
    """Three elliptic bodies above each other; the middle one is the truth in the gap."""
    random = np.random.default_rng(seed)
    rows, depth, side = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    inside = ((depth - 30) / random.uniform(14, 18)) ** 2 + ((side - 36) / random.uniform(18, 24)) ** 2 < 1
    target = inside & (rows >= 34) & (rows < 62)
    neighbours = inside & ((rows < 28) | (rows >= 68))
    ct = np.where(target | neighbours, 0.1, -0.6) + random.normal(0, 0.02, SHAPE)
    given = conditioning_of(ct, neighbours, target)
    return TrainingSample(given, ct.astype(np.float32), target.astype(np.float32), 0.04 * (-1) ** seed)


def write_vertebrae(folder: Path, spines: int = 3) -> Path:
    """One vertebra of each spine. The last spine is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    for spine in range(spines):
        save_sample(elliptic_vertebra(spine), folder / f"sample_{spine:04d}_L1.npz")
    return folder


def tiny(**changes: object) -> RunSettings:
    """The tiny settings with changes; "model" chooses gan (if it is left out) or diffusion."""
    return replace(TINY_OF[str(changes.pop("model", "gan"))], **changes)  # type: ignore[arg-type]


def words(data: Path, runs: Sequence[Path], settings: Sequence[Mapping[str, object]], *more: str) -> list[str]:
    """The words after `python` or `torchrun` that start trainings, one after the other, as a process."""
    given = [word for run, changes in zip(runs, settings, strict=True) for word in (str(run), json.dumps(changes))]
    return [str(Path(__file__)), str(data), *given, *more]


def main() -> None:
    data, *given = (word for word in sys.argv[1:] if word != "--resume")
    torch.set_num_threads(1)
    try:
        for run, changes in zip(given[::2], given[1::2], strict=True):
            train(tiny(**json.loads(changes)), Path(data), Path(run), resume="--resume" in sys.argv)
    except HealthiVertError as error:
        print(f"healthivert: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
