"""A training run's state on disk: safetensors and checkpoint.json, which names them and is replaced last.

A run that is killed at any moment leaves the last checkpoint whole. The one before it is kept as well
(checkpoint_before.json), should a disk damage the last. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from healthivert.errors import HealthiVertError
from healthivert.models.weights import STORAGE
from healthivert.output_folder import NO_SPACE
from healthivert.whole_file import remove_unfinished, write_whole

RECORD = "checkpoint.json"
RECORD_BEFORE = "checkpoint_before.json"
TENSORS = r"checkpoint_\d{8,}\.safetensors"
AVERAGE = "average"  # the prefix of what is shipped
NEW_RUN = "start a new run in another folder"


def save_checkpoint(run_dir: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> Path:
    """Write the state of a step; record must hold "step". Returns the record's path. Of older states one is kept.

    Raises HealthiVertError, with all earlier checkpoints as they were, if a value is not finite, or one of the averaged
    weights would not be once it is shipped, or the disk is full.
    """
    for name, value in tensors.items():
        kept = value.to(STORAGE) if name.startswith(f"{AVERAGE}.") else value
        if not torch.isfinite(kept).all():
            raise HealthiVertError(
                f"training diverged: {name} is not finite at step {record['step']}, which was not saved; "
                f"{last_good(run_dir, 'a lower learning rate')}"
            )
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    file = run_dir / f"checkpoint_{record['step']:08d}.safetensors"
    full = {**record, "tensors": file.name, "sha256": hashlib.sha256(content).hexdigest()}
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
        if _is_whole(run_dir, RECORD) and _read_record(run_dir / RECORD)["step"] != record["step"]:
            write_whole(run_dir / RECORD_BEFORE, (run_dir / RECORD).read_bytes())
        write_whole(run_dir / RECORD, (json.dumps(full, indent=2) + "\n").encode())
    except OSError as error:
        if not holds_run(run_dir):
            file.unlink(missing_ok=True)  # or the folder could neither be gone on with nor begun anew
        if error.errno not in NO_SPACE:
            raise
        raise HealthiVertError(
            f"{run_dir}: the disk is full, so step {record['step']} was not saved; free some space; "
            f"{last_good(run_dir)}"
        ) from error
    remove_unused(run_dir)
    return run_dir / RECORD


def load_checkpoint(
    run_dir: Path, warn: Callable[[str], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, record) of the last whole checkpoint; warn is told if that is not the last one.

    Raises HealthiVertError if there is none.
    """
    try:
        return _load(run_dir, run_dir / RECORD)
    except HealthiVertError as error:
        try:
            tensors, record = _load(run_dir, run_dir / RECORD_BEFORE)
        except HealthiVertError:
            raise error from None
        if warn is not None:
            warn(f"{str(error).rpartition(';')[0]}; going on from the one before it, step {record['step']}")
        return tensors, record


def last_good(run_dir: Path, remedy: str = "") -> str:
    """What a message says of the checkpoint that a broken run leaves. remedy: what to change, as it follows "with"."""
    whole = next((name for name in (RECORD, RECORD_BEFORE) if _is_whole(run_dir, name)), None)
    if whole is None:
        return f"there is no checkpoint yet, so start again{remedy and f' with {remedy}'}"
    step = _read_record(run_dir / whole)["step"]
    again = f"go on from it with --resume{remedy and f' and {remedy}'}"
    return f"the last good checkpoint is {run_dir / whole} of step {step}: {again}"


def holds_run(run_dir: Path) -> bool:
    """Whether there is a checkpoint to go on from, be it damaged."""
    return (run_dir / RECORD).exists() or (run_dir / RECORD_BEFORE).exists()


def holds_any_state(run_dir: Path) -> bool:
    """Whether there is a checkpoint, or what may be left of one."""
    return holds_run(run_dir) or bool(_unnamed_tensors(run_dir))


def check_free(run_dir: Path) -> None:
    """Raise HealthiVertError for a folder in which a new run would replace what another one has left."""
    if holds_run(run_dir):
        raise HealthiVertError(
            f"{run_dir}: already holds a training run; go on with --resume, or choose another folder"
        )
    left = _unnamed_tensors(run_dir) if run_dir.is_dir() else []
    if left:
        raise HealthiVertError(
            f"{run_dir}: holds {left[0].name} of a training, but no {RECORD} that names it; "
            f"put that back and resume, delete {left[0].name} if nothing else is left, or choose another folder"
        )


def remove_unused(run_dir: Path) -> None:
    """Remove older states, and what a killed process had begun to write. Tensors without any record are left alone:
    they may be all that is left of a run."""
    if holds_run(run_dir):
        for file in _unnamed_tensors(run_dir):
            file.unlink(missing_ok=True)
    for name in (TENSORS, re.escape(RECORD), re.escape(RECORD_BEFORE)):
        remove_unfinished(run_dir, name)


def _unnamed_tensors(run_dir: Path) -> list[Path]:
    """The tensors of checkpoints that no record names."""
    named = {_read_record(run_dir / record).get("tensors") for record in (RECORD, RECORD_BEFORE)}
    return [file for file in run_dir.iterdir() if re.fullmatch(TENSORS, file.name) and file.name not in named]


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


def _is_whole(run_dir: Path, record: str) -> bool:
    try:
        _load(run_dir, run_dir / record)
    except HealthiVertError:
        return False
    return True


def _read_record(path: Path) -> dict[str, Any]:
    """The record, {} if it is not there or cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _load(run_dir: Path, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise HealthiVertError(f"{path}: no such checkpoint to go on from; start a new run")
    record = _read_record(path)
    if not {"tensors", "step", "settings", "sha256"} <= set(record):
        raise HealthiVertError(f"{path}: the checkpoint cannot be read; {NEW_RUN}")
    file = run_dir / str(record["tensors"])
    try:
        content = file.read_bytes()
    except OSError as error:
        raise HealthiVertError(f"{file}: the checkpoint cannot be read ({error.strerror}); {NEW_RUN}") from None
    if hashlib.sha256(content).hexdigest() != record["sha256"]:
        raise HealthiVertError(f"{file}: the checkpoint is damaged; {NEW_RUN}")
    try:
        return load(content), record
    except SafetensorError as error:
        raise HealthiVertError(f"{file}: not a safetensors file ({error}); {NEW_RUN}") from None
