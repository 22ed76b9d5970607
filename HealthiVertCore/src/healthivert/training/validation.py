"""How good a generator is on vertebrae it was not trained on, in numbers and in a picture."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from healthivert.gap import HU_WINDOW
from healthivert.models.interface import Generator
from healthivert.models.losses import SliceTargets, masked_l1, soft_dice_loss
from healthivert.models.slices_of import PLANES
from healthivert.training.distributed import ALONE, Processes
from healthivert.training.slices import SliceDataset
from healthivert.whole_file import write_whole

FIGURES = "figures"  # the folder in the run's
SCORED = 24  # vertebrae on the way; at the end of a training, all
PICTURED = 4  # vertebrae in a montage
COLUMNS = ("given", "truth", "drawn", "difference")
GAIN = "height_gain_at_least"
FAR_WORSE = 2  # times as wrong as the neighbours, though every model begins with nearly what they tell
ONE_SIDED = 0.975  # so sure is the least gain
LARGEST_DIFFERENCE = 0.5  # of -1..1, white or black in the picture: 275 HU


class VertebraScore(NamedTuple):
    """Of one held-out vertebra: mean absolute difference in the gap in HU, Dice 0..1, and by how many percent the
    height is wrong; of the model, and of the neighbours alone."""

    l1_hu: float
    dice: float
    height_error: float
    baseline_l1_hu: float
    baseline_dice: float
    baseline_height_error: float


@torch.no_grad()
@np.errstate(over="ignore", invalid="ignore")  # of a training that has diverged: it looks whether the result is finite
def validate(
    generator: Generator,
    dataset: SliceDataset,
    device: torch.device,
    processes: Processes = ALONE,
    stopped: Callable[[], bool] = lambda: False,
    vertebrae: int | None = SCORED,
    slices: int = 6,
) -> dict[str, float] | None:
    """Means over up to `vertebrae` vertebrae (None: all), `slices` of each plane; None if it was stopped before that.

    l1_hu: of the CT inside the gap. dice: of the thresholded body. height_error: |predicted - true| / true of the mean
    body height in percent. baseline_...: the same for the neighbours' body and reference alone;
    height_gain_at_least: see least_gain, left out where one spine is all there is. vertebrae: how many those were. The
    processes score every other vertebra each.
    """
    count = min(vertebrae or len(dataset), len(dataset))
    chosen = np.linspace(0, len(dataset) - 1, count).round().astype(int)
    scores = np.zeros((count, len(VertebraScore._fields)))
    for number in range(processes.rank, count, processes.count):
        if stopped():
            break
        scores[number] = _score(generator, dataset, device, int(chosen[number]), slices)
    if any(processes.any(stopped())):
        return None
    scores = processes.total(scores).astype(float)
    found = dict(zip(VertebraScore._fields, scores.mean(axis=0).tolist(), strict=True)) | {"vertebrae": count}
    own, baseline = (scores[:, VertebraScore._fields.index(name)] for name in ("height_error", "baseline_height_error"))
    gain = least_gain(baseline - own, [dataset.spines[vertebra] for vertebra in chosen])
    return found if gain is None else {**found, GAIN: gain}


def poorer_than_neighbours(found: Mapping[str, float]) -> str:
    """What a model of such a validation does far worse than the neighbours alone, in words; "" if nothing."""
    wrong = {
        "dice": (1 - found["dice"], 1 - found["baseline_dice"]),
        **{name: (found[name], found[f"baseline_{name}"]) for name in ("l1_hu", "height_error")},
    }
    return ", ".join(
        f"{name} {found[name]:.3g} instead of {found[f'baseline_{name}']:.3g}"
        for name, (own, baseline) in wrong.items()
        if own > FAR_WORSE * baseline
    )


def least_gain(gains: NDArray[np.float64], spines: Sequence[str]) -> float | None:
    """By how much a model is better than the baseline at least: the lower end of the 95 % interval (Student's t) of the
    mean gain of a spine. Whole spines, because what is said of the vertebrae of one spine is wrong together.

    gains: of each vertebra, in any unit; spines: whose it is. None for a single spine.
    """
    names = np.array(spines)
    each = np.array([gains[names == spine].mean() for spine in np.unique(names)])
    if len(each) < 2:
        return None
    reach = stats.t.ppf(ONE_SIDED, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return float(each.mean() - reach)


def _score(
    generator: Generator, dataset: SliceDataset, device: torch.device, vertebra: int, slices: int
) -> VertebraScore:
    rows, heights = [], []
    for plane in PLANES:
        batch, targets = dataset.middle_slices(vertebra, plane, slices)
        output = generator(batch.to(device))
        drawings = (output.x_stage2.cpu(), output.fine_seg.cpu()), (batch.prior_ct, batch.mask * batch.prior_body)
        rows.append([_differences(ct, body, batch.mask, targets) for ct, body in drawings])
        heights.append(output.pred2_h.cpu())
    (l1_hu, dice), (other_l1_hu, other_dice) = np.mean(rows, axis=0).tolist()
    true = float(dataset.log_height_ratios[vertebra])
    predicted = float(torch.cat(heights).mean())
    own_height, reference = (100 * abs(float(np.expm1(h - true))) for h in (predicted, 0.0))
    return VertebraScore(l1_hu, dice, own_height, other_l1_hu, other_dice, reference)


def _differences(ct: Tensor, body: Tensor, mask: Tensor, targets: SliceTargets) -> tuple[float, float]:
    """l1_hu and dice of some slices."""
    hu_per_unit = (HU_WINDOW[1] - HU_WINDOW[0]) / 2
    dice = 1 - soft_dice_loss((body > 0.5).float(), (targets.body > 0.5).float())
    return float(masked_l1(ct, targets.ct, mask).mean()) * hu_per_unit, float(dice.mean())


def draw_validation(
    generator: Generator, dataset: SliceDataset, device: torch.device, run_dir: Path, step: int
) -> None:
    """RUN/figures/validation_STEP.png, where matplotlib is installed: middle slices of a few held-out vertebrae."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(PICTURED, len(dataset))).round().astype(int))
    rows = [
        [one for plane in PLANES for one in _middle(generator, dataset, device, int(vertebra), plane)]
        for vertebra in chosen
    ]
    (run_dir / FIGURES).mkdir(parents=True, exist_ok=True)
    write_whole(run_dir / FIGURES / f"validation_{step:08d}.png", _montage(rows, f"held-out vertebrae, step {step}"))


@torch.no_grad()
def _middle(
    generator: Generator, dataset: SliceDataset, device: torch.device, vertebra: int, plane: str
) -> list[NDArray[np.float32]]:
    """The COLUMNS of a vertebra's middle slice, superior at the top."""
    batch, targets = dataset.middle_slices(vertebra, plane, 3)
    middle = int(batch.slice_ratio[:, 0, 0, 0].argmin())
    drawn = generator(batch.to(device)).x_stage2.cpu()
    pictures = (batch.ct, targets.ct, drawn, (drawn - targets.ct) / LARGEST_DIFFERENCE)
    return [picture[middle, 0].flip(0).numpy() for picture in pictures]


def _montage(rows: list[list[NDArray[np.float32]]], title: str) -> bytes:
    """PNG: a row for each vertebra, COLUMNS for each plane."""
    from matplotlib.figure import Figure

    names = [f"{plane}, {column}" for plane in PLANES for column in COLUMNS]
    height = 0.8 + 2.2 * len(rows)
    figure = Figure(figsize=(1.6 * len(names), height))
    axes = figure.subplots(len(rows), len(names), squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.6 / height, wspace=0.03, hspace=0.03)
    for number, (pictures, line) in enumerate(zip(rows, axes, strict=True)):
        for name, picture, place in zip(names, pictures, line, strict=True):
            place.imshow(picture, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            if number == 0:
                place.set_title(name, fontsize="small")
    figure.suptitle(title)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return png.getvalue()
