"""The fracture classifier from nothing: generated spines, training, calibration and test in one command.

    python -m healthivert.hgam.train --work runs/hgam --out fracture_cnn.safetensors

Out: weights and their card. Spines that exist are kept and a run that was stopped goes on with its last epoch, so the
command may be interrupted and repeated. A spine's levels are all on one side: training, calibration or test.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from healthivert.agreement import bootstrap_interval
from healthivert.errors import HealthiVertError
from healthivert.exit_status import exit_status
from healthivert.hgam.batches import epoch_of_batches, pictures_of
from healthivert.hgam.calibration import (
    Calibration,
    area_under_curve,
    expected_calibration_error,
    fit_calibration,
    reliability,
)
from healthivert.hgam.classifier import CLASSIFIERS
from healthivert.hgam.samples import SpinePatches, load_patches, make_patches
from healthivert.models.weights import check_place, save_weights
from healthivert.progress import Progress, install_cancellation, part_of
from healthivert.training.checkpoint import (
    holds_run,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    with_prefix,
)
from healthivert.training.machine import machine
from healthivert.training.sole_use import sole_use
from healthivert.training.worker_processes import check_workers


@dataclass(frozen=True)
class ClassifierRecipe:
    """Spines are seeds: training from first_seed, calibration from first_seed + 4000, test from first_seed + 5000."""

    architecture: str = "fracture_cnn"
    first_seed: int = 40000
    training_spines: int = 36
    calibration_spines: int = 8
    test_spines: int = 16
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    seed: int = 0

    @property
    def training_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.training_spines)

    @property
    def calibration_seeds(self) -> range:
        return range(self.first_seed + 4000, self.first_seed + 4000 + self.calibration_spines)

    @property
    def test_seeds(self) -> range:
        return range(self.first_seed + 5000, self.first_seed + 5000 + self.test_spines)


def make_classifier(
    recipe: ClassifierRecipe, work: Path, out: Path, workers: int, progress: Callable[..., None]
) -> dict[str, Any]:
    """Patches into work/patches, the run into work/<architecture>, weights and card into out; returns the card.

    Raises HealthiVertError if another process trains there.
    """
    folder = work / "patches"
    seeds = [*recipe.training_seeds, *recipe.calibration_seeds, *recipe.test_seeds]
    make_patches(folder, seeds, workers, part_of(progress, 0.0, 0.7))
    run = work / recipe.architecture
    patches = load_patches(folder, recipe.training_seeds)
    begin = time.monotonic()
    with sole_use(run, "training"):
        model = train_classifier(recipe, patches, run, part_of(progress, 0.7, 1.0))
    hours = (time.monotonic() - begin) / 3600
    held_out = load_patches(folder, recipe.calibration_seeds)
    calibration = fit_calibration(held_out.fractured, level_logits(model, held_out))
    test = load_patches(folder, recipe.test_seeds)
    card = {
        "recipe": asdict(recipe),
        "input": {"channels": ["ct", "body"], "side": test.ct.shape[-1], "spacing_mm": 1.0},
        "calibration": calibration._asdict(),
        "metrics": unseen_metrics(test, level_logits(model, test), calibration, recipe.seed),
        "hours": round(hours, 3),  # of the last call's epochs
        "machines": [machine(torch.device("cpu"))],
        "licence": "Apache-2.0",
    }
    return save_weights(out, model, card)  # type: ignore[arg-type]


def train_classifier(
    recipe: ClassifierRecipe, patches: SpinePatches, run: Path, progress: Callable[..., None]
) -> nn.Module:
    """The model after recipe.epochs, from where run stopped if it holds a checkpoint.

    Each epoch has random numbers of its own, so that a run that was stopped ends as one that was not. Raises
    HealthiVertError if run holds another recipe's checkpoint, or the loss is no number any more.
    """
    if recipe.architecture not in CLASSIFIERS:
        raise HealthiVertError(f"no classifier {recipe.architecture!r}; known are {', '.join(CLASSIFIERS)}")
    torch.manual_seed(recipe.seed)
    model = CLASSIFIERS[recipe.architecture]()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    first = _resume(recipe, run, model, optimiser)
    pictures, fractured = pictures_of(patches), torch.from_numpy(patches.fractured).float()
    model.train()
    for epoch in range(first, recipe.epochs):
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / recipe.epochs))
        batches = epoch_of_batches(pictures, fractured, recipe.batch_size, (recipe.seed, epoch))
        loss = np.mean([_step(model, optimiser, *batch) for batch in batches])
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        record = {"step": epoch + 1, "settings": asdict(recipe)}
        save_checkpoint(run, {**tensors, **optimiser_tensors(optimiser, "optimiser")}, record)
        progress("train", (epoch + 1) / recipe.epochs, f"epoch {epoch + 1} of {recipe.epochs}, loss {loss:.4f}")
    return model.eval().requires_grad_(False)


def _resume(recipe: ClassifierRecipe, run: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Put the run's last checkpoint into model and optimiser; returns the number of epochs done."""
    if not holds_run(run):
        return 0
    tensors, record = load_checkpoint(run)
    changed = [name for name, value in asdict(recipe).items() if record["settings"].get(name) != value]
    if changed:
        raise HealthiVertError(
            f"{run}: the run there has another {', '.join(changed)}; give the same settings or another --work"
        )
    model.load_state_dict(with_prefix(tensors, "model"))
    restore_optimiser(optimiser, tensors, "optimiser")
    return int(record["step"])


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, pictures: Tensor, fractured: Tensor) -> float:
    loss = functional.binary_cross_entropy_with_logits(model(pictures), fractured)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


@torch.inference_mode()
def level_logits(model: nn.Module, patches: SpinePatches) -> NDArray[np.float64]:
    """(levels,) the mean logit of each level's slices."""
    pictures = pictures_of(patches)
    return np.array([float(model(slices).mean()) for slices in pictures])


def unseen_metrics(
    patches: SpinePatches, logits: NDArray[np.float64], calibration: Calibration, seed: int
) -> dict[str, Any]:
    """Discrimination and calibration on spines that neither training nor calibration has seen; intervals over spines.
    Beside the classifier stands the suspicion that the heights alone give."""
    true, probability = patches.fractured, calibration.probability(logits)

    def over_spines(scores: NDArray) -> tuple[float, float] | None:
        return bootstrap_interval(
            patches.spine.tolist(), lambda drawn: area_under_curve(true[drawn], scores[drawn]), seed
        )

    return {
        "levels": len(true),
        "fractured": int(true.sum()),
        "auc": area_under_curve(true, logits),
        "auc_interval": over_spines(logits),
        "auc_suspicion": area_under_curve(true, patches.suspicion),
        "auc_suspicion_interval": over_spines(patches.suspicion),
        "ece": expected_calibration_error(true, probability),
        "ece_uncalibrated": expected_calibration_error(true, Calibration().probability(logits)),
        "reliability": [row._asdict() for row in reliability(true, probability)],
    }


def main(argv: Sequence[str] | None = None) -> int:
    standard = ClassifierRecipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for patches and the run")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--architecture", choices=CLASSIFIERS, default=standard.architecture)
    parser.add_argument("--workers", type=int, default=2, help="processes that render spines")
    arguments = parser.parse_args(argv)
    recipe = ClassifierRecipe(architecture=arguments.architecture)
    cancellation = install_cancellation()
    progress = Progress(verbose=True, cancellation=cancellation)

    def work() -> None:
        check_workers(arguments.workers)
        check_place(arguments.out)
        metrics = make_classifier(recipe, arguments.work, arguments.out, arguments.workers, progress)["metrics"]
        print(f"{arguments.out}: AUC {metrics['auc']:.3f} on {metrics['levels']} levels of unseen spines")

    return exit_status(work, cancellation)


if __name__ == "__main__":
    sys.exit(main())
