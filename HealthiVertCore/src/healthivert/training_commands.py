"""What `healthivert samples` and `healthivert train` do, from paths to files. cli.py parses the arguments and calls
these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from healthivert.errors import HealthiVertError, complaint
from healthivert.models import SUFFIX
from healthivert.progress import Progress

if TYPE_CHECKING:
    from healthivert.training.task import RunSettings
    from healthivert.training.trainer import TrainingEnd


def samples(out: Path, count: int, seed: int, workers: int, progress: Progress) -> int:
    """Make what is missing of the training samples of count spines; returns how many that were."""
    from healthivert.training.make_samples import make_samples
    from healthivert.training.worker_processes import check_workers

    if count < 1:
        raise HealthiVertError(f"--count {count}: at least one spine is needed; pass 1 or more")
    check_workers(workers)
    written = make_samples(out, count, seed, workers, progress)
    progress("done", 1.0, f"{written} new samples in {out}")
    return written


def samples_of_scans(folder: Path, out: Path, workers: int, progress: Progress) -> Counter[str]:
    """Make the training samples of a folder of real scans; returns how many of their levels had which outcome."""
    from healthivert.training.scan_samples import samples_of_scans
    from healthivert.training.worker_processes import check_workers

    check_workers(workers)
    outcomes = samples_of_scans(folder, out, workers, progress)
    progress("done", 1.0, str(out))
    return outcomes


def train(
    model: str,
    data: Path,
    out: Path,
    resume: bool,
    recipe: Path | None,
    changes: Mapping[str, Any],
    progress: Progress,
) -> TrainingEnd:
    """Train on a folder of samples; the averaged weights come out as OUT/MODEL.safetensors with their card.

    changes: trainer settings that replace the recipe's. A run that a signal stops exports what it has, and can be
    resumed. Of many processes, the first exports.
    """
    from healthivert.training import trainer

    settings = _checked_settings(model, out, recipe, changes)
    end = trainer.train(settings, data, out, resume, progress)
    if end.process == 0:
        trainer.export(out, weights_of(out, model), {})
        progress("done", 1.0, str(out))
    return end


def dry_run(
    model: str,
    data: Path,
    out: Path,
    resume: bool,
    recipe: Path | None,
    changes: Mapping[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    """What train would do with the same arguments, and what a step costs; nothing is written."""
    from healthivert.training.dry_run import dry_run

    settings = _checked_settings(model, out, recipe, changes)
    found = dry_run(settings, data, out, resume, progress)
    progress("done", 1.0, "nothing was written")
    return found


def weights_of(out: Path, model: str) -> Path:
    return out / f"{model}{SUFFIX}"


def _checked_settings(model: str, out: Path, recipe: Path | None, changes: Mapping[str, Any]) -> RunSettings:
    from healthivert.training.distributed import told_once_a_machine

    with told_once_a_machine():
        settings = _settings(model, recipe, changes)
        _check_out(out, model)
        return settings


def _settings(model: str, recipe: Path | None, changes: Mapping[str, Any]) -> RunSettings:
    from healthivert.training.recipe import read_recipe

    read = read_recipe(recipe or model)
    if read.model != model:
        raise HealthiVertError(f"{recipe}: this is a recipe for --model {read.model}, not for {model}; pass that one")
    if changes.get("workers", 0) < 0:
        raise HealthiVertError(f"--workers {changes['workers']}: cannot be negative; pass 0 or more")
    return replace(read.trainer, **changes)


def _check_out(out: Path, model: str) -> None:
    """Raise HealthiVertError if a run's folder is none, or holds weights or a card of no checkpoint that is there."""
    from healthivert.training.checkpoint import holds_run

    if out.exists() and not out.is_dir():
        raise complaint(out, "this is a file, not a folder", "choose another --out")
    weights = weights_of(out, model)
    for path in (weights, weights.with_suffix(".json")):
        if path.exists() and not holds_run(out):
            found = "the training would replace this file, and there is no checkpoint that it was made from"
            raise complaint(path, found, "choose another --out")
