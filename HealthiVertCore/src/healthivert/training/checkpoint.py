"""A training run's state on disk: one safetensors file and checkpoint.json, which names it and is replaced last.

A run that is killed at any moment leaves the previous checkpoint whole. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from healthivert.errors import HealthiVertError

RECORD = "checkpoint.json"


def save_checkpoint(run_dir: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    """Write the state of a step; record must hold "step". Returns the record's path. Older states are removed."""
    run_dir.mkdir(parents=True, exist_ok=True)
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    file = run_dir / f"checkpoint_{record['step']:08d}.safetensors"
    _replace(file, content)
    full = {**record, "tensors": file.name, "sha256": hashlib.sha256(content).hexdigest()}
    _replace(run_dir / RECORD, (json.dumps(full, indent=2) + "\n").encode())
    for old in run_dir.glob("checkpoint_*.safetensors"):
        if old != file:
            old.unlink()
    return run_dir / RECORD


def load_checkpoint(run_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, record) of the last checkpoint. Raises HealthiVertError if there is none or it is damaged."""
    path = run_dir / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        content = (run_dir / record["tensors"]).read_bytes()
    except FileNotFoundError as error:
        raise HealthiVertError(f"{error.filename}: no such checkpoint to go on from; start a new run") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise HealthiVertError(f"{path}: the checkpoint cannot be read; start a new run") from None
    if hashlib.sha256(content).hexdigest() != record.get("sha256"):
        raise HealthiVertError(f"{run_dir / record['tensors']}: the checkpoint is damaged; start a new run")
    try:
        return load(content), record
    except SafetensorError as error:
        raise HealthiVertError(f"{run_dir / record['tensors']}: not a safetensors file ({error})") from None


def optimiser_tensors(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """An optimiser's moments under flat names, prefix.<parameter number>.<key>."""
    state = optimiser.state_dict()["state"]
    return {f"{prefix}.{number}.{key}": value for number, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """The inverse of optimiser_tensors; the settings (learning rate, betas) stay those of the optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in with_prefix(tensors, prefix).items():
        number, key = name.split(".")
        # Moments in the memory order of the convolutions they belong to: the other order is correct but slow.
        state.setdefault(int(number), {})[key] = (
            value.to(memory_format=torch.channels_last) if value.dim() == 4 else value  # type: ignore[call-overload]
        )
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named prefix.<rest>, under <rest>."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")}


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
