"""How fast is a step of the training beside the origin's?
`python Testing/bench/throughput.py --origin CLONE --data SAMPLES`.

CLONE: a checkout of https://github.com/zhibaishouheilab/HealthiVert-GAN. SAMPLES: a folder of `healthivert samples`.
Prints the table of docs/training.md, "Beside the origin's code": one update of the generator and of its three
discriminators, with the same number of slices and the same width, the origin's and ours by turns in one process.

The origin's step is its own (`set_input`, `optimize_parameters`) with the settings of its README, on slices of its
size. What its modules import and a step does not use is replaced by stand-ins, and where there is no CUDA its calls of
`.cuda()` do nothing. Its batch is random numbers with a plausible gap, already in memory; ours is drawn and augmented.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from healthivert.gap import GAP, ROWS
from healthivert.models.gan import DiscriminatorSettings
from healthivert.training.batches import StepBatches, TrainingBatch
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.machine import machine
from healthivert.training.sample_folder import shards
from healthivert.training.slices import SliceDataset

SIDE = 256  # pixels of the origin's slices
GAP_THERE = (108, 148)  # rows of a gap of the origin's usual 40
DISCRIMINATOR_WIDTH = 64  # the origin's
UNUSED = ("torchvision", "torchvision.transforms", "torchvision.utils")  # by a step


def origins_model(clone: Path) -> Any:
    """Its networks, losses and optimisers, with the settings of its README."""
    sys.modules.update({name: MagicMock() for name in UNUSED if name not in sys.modules})
    gpus = [0] if torch.cuda.is_available() else []
    if not gpus:
        nn.Module.cuda = Tensor.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    sys.path.insert(0, str(clone))
    settings = SimpleNamespace(
        isTrain=True,
        gpu_ids=gpus,
        checkpoints_dir="",
        name="",
        preprocess="none",
        direction="BtoA",
        input_nc=1,
        ndf=DISCRIMINATOR_WIDTH,
        netD="basic",
        n_layers_D=3,
        norm="batch",
        init_type="normal",
        init_gain=0.02,
        gan_mode="vanilla",
        lr=2e-4,
        beta1=0.5,
        lambda_L1=200.0,
    )
    return importlib.import_module("models.pix2pix_model").Pix2PixModel(settings)


def origins_batch(images: int) -> dict[str, Any]:
    """As its data set gives it: ct, masks and attention (images, 1, SIDE, SIDE), and the rows of vertebra and gap."""
    random = torch.Generator().manual_seed(0)

    def picture() -> Tensor:
        return torch.rand((images, 1, SIDE, SIDE), generator=random)

    def each(value: float, kind: torch.dtype = torch.int64) -> Tensor:
        return torch.full((images,), value, dtype=kind)

    first, last = GAP_THERE
    mask = torch.zeros((images, 1, SIDE, SIDE))
    mask[:, :, first:last] = 1.0
    ct, body = 2 * picture() - 1, (picture() > 0.5).float()
    pictures = {"A": ct, "B": ct * (1 - mask), "A_mask": body, "normal_vert": body, "mask": mask, "CAM": picture()}
    rows = {"height": each(30), "x1": each(first + 5), "x2": each(last - 5), "h2": each(last - first)}
    return {**pictures, **rows, "slice_ratio": each(0.5, torch.float32), "A_paths": "", "B_paths": ""}


def as_large_as_the_origins(batch: TrainingBatch) -> TrainingBatch:
    """The same slices, drawn larger."""

    def enlarged(part: Any) -> Any:
        parts = {f.name: getattr(part, f.name) for f in fields(part)}
        larger = {name: functional.interpolate(one, (SIDE, SIDE)) for name, one in parts.items() if one.ndim == 4}
        return replace(part, **larger)

    return replace(batch, slices=enlarged(batch.slices), targets=enlarged(batch.targets))


def parameters(*networks: nn.Module) -> float:
    """In millions."""
    return sum(p.numel() for network in networks for p in network.parameters()) / 1e6


def seconds_of(step: Callable[[], object]) -> float:
    begin = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--origin", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4, help="timed steps of each; one before them warms up")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = SliceDataset(shards(arguments.data, 0.05)[1])
    settings = GanTrainerSettings(batch_size=arguments.batch, adversarial_start=0)
    batches = StepBatches(data, settings.augmentation, settings.seed, range(arguments.batch))
    origin, batch = origins_model(arguments.origin), origins_batch(arguments.batch)
    ours = settings.start(GAP, device)
    wide = replace(settings, discriminators=replace(DiscriminatorSettings(), width=DISCRIMINATOR_WIDTH))
    scale = SIDE / ROWS
    large = wide.start((round(GAP[0] * scale), round(GAP[1] * scale)), device)

    def origins_step() -> None:
        origin.set_input(batch)
        origin.optimize_parameters()

    def our_step() -> None:
        ours.train_step(batches[ours.step].to(device))

    def large_step() -> None:
        large.train_step(as_large_as_the_origins(batches[large.step]).to(device))

    steps = {
        "the origin's": (f"{SIDE} x {SIDE}", origin.netG, (origin.netD_1, origin.netD_2, origin.netD_3), origins_step),
        "ours, on the origin's slices": (f"{SIDE} x {SIDE}", large.generator, (large.discriminators,), large_step),
        "ours, as it trains": (f"{ROWS} x 64, {ROWS} x 72", ours.generator, (ours.discriminators,), our_step),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(1 + arguments.rounds):
        for name, (*_, step) in steps.items():
            seconds[name].append(seconds_of(step))
            print(f"  {name}: {seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)
    print(
        f"{machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.batch} slices a step\n"
    )
    print("| step | slices | million weights: generator, discriminators | s (fastest to slowest) | slices a second |")
    print("|---|---|---|---|---|")
    for name, (size, generator, judges, _) in steps.items():
        timed = np.array(seconds[name][1:])
        weights = f"{parameters(generator):.2f}, {parameters(*judges):.2f}"
        spread = f"{np.median(timed):.2f} ({timed.min():.2f} to {timed.max():.2f})"
        print(f"| {name} | {size} | {weights} | {spread} | {arguments.batch / np.median(timed):.1f} |")


if __name__ == "__main__":
    main()
