"""The `healthivert` command called in this process, on a small spine and weights that lie on disk."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import Block, block_spine, lumbar_blocks

from healthivert.cli import main
from healthivert.models.gan import GanGenerator, GanSettings
from healthivert.models.weights import save_weights
from healthivert.progress import SIGNALS
from healthivert.training import make_samples

SPACING_MM = 2.0


def call(*words: object) -> int:
    """The exit status of `healthivert WORDS`."""
    return status_of(main, *words)


def status_of(command: Callable[[list[str]], int], *words: object) -> int:
    """The exit status of a command with words. The signal handlers that it installs do not outlive it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        return command([str(word) for word in words])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_spine(folder: Path, blocks: list[Block] | None = None) -> tuple[Path, Path]:
    """ct.nii.gz and seg.nii.gz of a spine of blocks at 2 mm, air in front of it and noise on it: T12 to L5 with L1
    wedged, unless told otherwise."""
    case = block_spine(blocks or lumbar_blocks(L1=(15.0, 25.0)), (SPACING_MM,) * 3)
    hu = sitk.GetArrayFromImage(case.ct) + np.random.default_rng(0).normal(0, 15, case.ct.GetSize()[::-1])
    hu[:, :4] = -1000
    ct = sitk.GetImageFromArray(np.rint(hu).astype(np.int16))
    ct.CopyInformation(case.ct)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "ct.nii.gz", folder / "seg.nii.gz"
    for image, path in zip((ct, case.labels), paths, strict=True):
        sitk.WriteImage(image, str(path))
    return paths


def write_weights(path: Path, seed: int = 0) -> Path:
    """Weights of a small untrained generator that draws a body into the whole gap."""
    torch.manual_seed(seed)
    model = GanGenerator(GanSettings(width=4))
    torch.nn.init.zeros_(model.fine.seg_head.weight)
    torch.nn.init.constant_(model.fine.seg_head.bias, 5.0)
    save_weights(path, model, {"spacing_mm": 1.0})
    return path


def usable_weights(folder: Path) -> list[object]:
    """The options that choose weights: none if the package has its own, else those of an untrained generator."""
    if resources.files("healthivert").joinpath("weights/gan.safetensors").is_file():
        return []
    return ["--weights", write_weights(folder / "untrained.safetensors")]


def write_shards(folder: Path) -> Path:
    """One vertebra of one generated spine through `samples`, and the same under the name of a second spine."""
    quick = partial(make_samples.SampleSettings, levels_per_spine=1, spacings_mm=(3.0,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_samples, "SampleSettings", quick)
        assert call("samples", "--out", folder, "--count", 1, "--seed", 6) == 0
    made = list(folder.iterdir())
    assert len(made) == 1 and made[0].name.startswith("sample_000006_")
    shutil.copy(made[0], folder / made[0].name.replace("000006", "000007"))
    return folder


def command(*words: object) -> list[str]:
    """The command as a process of its own."""
    return [sys.executable, "-m", "healthivert", *map(str, words)]
