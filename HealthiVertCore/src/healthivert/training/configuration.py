"""The resolved configuration of a run: what was asked for, what was found, and what therefore happens.

It is saved as configuration.json in the run's folder, printed by a dry run, and held against a checkpoint's before a
run is resumed.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from healthivert import __version__
from healthivert.errors import HealthiVertError, complaint
from healthivert.training.checkpoint import NEW_RUN, Kinds, is_count, is_number, is_section, is_text
from healthivert.training.distributed import Processes
from healthivert.training.metrics import METRICS
from healthivert.training.numerics import choose_precision
from healthivert.training.slices import SliceDataset
from healthivert.training.task import FREE_ON_RESUME, RunSettings, Task

CONFIGURATION = "configuration.json"
PARTS = {"model", "parameters", "settings", "data", "machine", "versions"}
MOST_WORKERS = 4  # beyond it the loading of one GPU's batches gains nothing


def worker_count(settings: RunSettings, device: torch.device) -> int:
    """How many processes prepare batches. Beside a CPU none by themselves: they would take its cores."""
    if settings.workers is not None:
        return settings.workers
    return 0 if device.type == "cpu" else min(MOST_WORKERS, max(1, (os.cpu_count() or 1) - 1))


def resolved_configuration(
    settings: RunSettings, task: Task, data_dir: Path, data: SliceDataset, held_out: SliceDataset, processes: Processes
) -> dict[str, Any]:
    device = next(task.average.parameters()).device
    return {
        "model": task.name,
        "parameters": sum(parameter.numel() for parameter in task.average.parameters()),
        "settings": as_json(settings),
        "data": {
            "folder": str(data_dir),
            "training_vertebrae": len(data),
            "held_out_vertebrae": len(held_out),
            "shape": list(data.volumes.shape[1:4]),
            "gap": list(data.gap),
            "memory_mb": round((data.volumes.nbytes + held_out.volumes.nbytes) / 1e6, 1),
        },
        "machine": {
            "device": str(device),
            "precision": str(choose_precision(settings.precision, device)).removeprefix("torch."),
            "processes": processes.count,
            "process": processes.rank,
            "images_per_process": len(processes.share(settings.batch_size)),
            "workers_per_process": worker_count(settings, device),
            "threads": torch.get_num_threads(),
        },
        "versions": {"healthivert": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _is_data(value: Any) -> bool:
    """What contents_of says of the samples."""
    kinds: Kinds = {"vertebrae": is_count, "spines": is_count, "sha256": is_text}
    return is_section(value) and all(fits(value.get(name)) for name, fits in kinds.items())


RECORDED: Kinds = {  # of a training, in its checkpoints
    "model": is_text,
    "settings": lambda value: is_section(value) and is_section(value.get("generator")),
    "vertebrae": is_count,
    "data": _is_data,
    "validation": lambda value: is_section(value) and all(map(is_number, value.values())),
    "seen": is_section,
    "hours": is_number,
    "machines": lambda value: isinstance(value, list) and all(map(is_text, value)),
}


def is_begun(run_dir: Path) -> bool:
    """Whether the folder holds the configuration of a run."""
    try:
        content = json.loads((run_dir / CONFIGURATION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and set(content) >= PARTS


def check_not_foreign(run_dir: Path) -> None:
    """Raise HealthiVertError if a run that begins would replace a file that is not of a run before it."""
    foreign = [] if is_begun(run_dir) else [run_dir / name for name in (CONFIGURATION, METRICS)]
    for path in foreign:
        if path.exists():
            raise complaint(
                path, "the training would replace this file, which is not of a training", "choose another --out"
            )


def as_json(settings: RunSettings) -> dict[str, Any]:
    """The settings as they come back from a JSON file (tuples are lists there)."""
    return json.loads(json.dumps(asdict(settings)))


def check_unchanged(settings: RunSettings, model: str, record: Mapping[str, Any], run_dir: Path) -> None:
    """Raise HealthiVertError, showing every difference, unless a checkpoint's run is the one that settings describe."""
    trained = record["model"]
    if trained != model:
        raise HealthiVertError(
            f"{run_dir}: holds the training of a {trained} model, not of a {model} one; pass --model {trained} or "
            "choose another folder"
        )
    wanted, standard = as_json(settings), as_json(type(settings)())
    for name in FREE_ON_RESUME:
        wanted.pop(name)
    before = {name: record["settings"].get(name, standard[name]) for name in wanted}
    changes = list(_differences(before, wanted))
    if changes:
        raise HealthiVertError(
            f"{run_dir}: was trained with other settings ({'; '.join(changes)}); keep them or {NEW_RUN}"
        )
    if record["step"] > settings.steps:
        raise HealthiVertError(
            f"{run_dir}: is at step {record['step']} already, beyond the {settings.steps} steps of the recipe; "
            f"give it {record['step']} steps or more, or {NEW_RUN}"
        )


def check_same_data(contents: Mapping[str, Any], record: Mapping[str, Any], run_dir: Path) -> None:
    """Raise HealthiVertError unless a checkpoint's run had these samples (sample_folder.contents_of)."""
    before = record["data"]
    if before == contents:
        return
    had, found = (f"{data['vertebrae']} vertebrae of {data['spines']} spines" for data in (before, contents))
    what = f"{had}, not on {found}" if had != found else f"other samples, though {had} as well"
    raise HealthiVertError(f"{run_dir}: was trained on {what}; give the same --data or {NEW_RUN}")


def _differences(before: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """ "batch_size 2, not 3" for every value in which two nests of dictionaries differ, as far as wanted knows it."""
    if isinstance(before, dict) and isinstance(wanted, dict):
        for key in wanted:
            yield from _differences(before.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
    elif before != wanted:
        yield f"{name} {before}, not {wanted}"
