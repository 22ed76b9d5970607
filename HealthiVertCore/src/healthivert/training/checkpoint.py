"""A training run's state on disk: safetensors and checkpoint.json, which names them and is replaced last.

A run that is killed at any moment leaves the last checkpoint whole. The one before it is kept as well
(checkpoint_before.json), should a disk damage the last. The tensors hold the record, too: the first ones of a run are a
checkpoint before a record names them. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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
Kinds = Mapping[str, Callable[[Any], bool]]  # of what a record must hold


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def is_section(value: Any) -> bool:
    return isinstance(value, dict)


def is_name_of_tensors(value: Any) -> bool:
    return is_text(value) and re.fullmatch(TENSORS, value) is not None


KINDS: Kinds = {"step": is_count, "settings": is_section, "tensors": is_name_of_tensors, "sha256": is_text}


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
    detached = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    file = run_dir / f"checkpoint_{record['step']:08d}.safetensors"
    # what a step has been saved as it stays, or a kill between these two writes would leave a record of other bytes
    content = save(detached, {RECORD: _text_within(file) or json.dumps(record)})
    full = {**record, "tensors": file.name, "sha256": hashlib.sha256(content).hexdigest()}
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)
        last = run_dir / RECORD
        if _is_whole(last) and _read_record(last)["step"] != record["step"]:
            write_whole(run_dir / RECORD_BEFORE, last.read_bytes())
        write_whole(last, (json.dumps(full, indent=2) + "\n").encode())
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise HealthiVertError(
            f"{run_dir}: the disk is full, so step {record['step']} was not saved; free some space; "
            f"{last_good(run_dir)}"
        ) from error
    remove_unused(run_dir)
    return run_dir / RECORD


def load_checkpoint(
    run_dir: Path, warn: Callable[[str], None] | None = None, kinds: Kinds = KINDS
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, record) of the last whole checkpoint; warn is told if that is not the last one. kinds: what its record
    must hold besides KINDS.

    Raises HealthiVertError if there is none.
    """
    first, *others = _states(run_dir) or [run_dir / RECORD]
    try:
        return _load(first, kinds)
    except HealthiVertError as error:
        for path in others:
            try:
                tensors, record = _load(path, kinds)
            except HealthiVertError:
                continue
            if warn is not None:
                warn(f"{str(error).rpartition(';')[0]}; going on from the one before it, step {record['step']}")
            return tensors, record
        raise


def last_good(run_dir: Path, remedy: str = "") -> str:
    """What a message says of the checkpoint that a broken run leaves. remedy: what to change, as it follows "with"."""
    whole = next((path for path in _states(run_dir) if _is_whole(path)), None)
    if whole is None:
        return f"there is no checkpoint yet, so start again{remedy and f' with {remedy}'}"
    again = f"go on from it with --resume{remedy and f' and {remedy}'}"
    return f"the last good checkpoint is {whole} of step {_read_record(whole)['step']}: {again}"


def holds_run(run_dir: Path) -> bool:
    """Whether there is a checkpoint to go on from, be it damaged."""
    return bool(_states(run_dir))


def check_free(run_dir: Path) -> None:
    """Raise HealthiVertError for a folder in which a new run would replace what another one has left."""
    if holds_run(run_dir):
        raise HealthiVertError(
            f"{run_dir}: already holds a training run; go on with --resume, or choose another folder"
        )


def remove_unused(run_dir: Path) -> None:
    """Remove older states, and what a killed process had begun to write. Tensors without any whole checkpoint beside
    them are left alone: they may be all that is left of a run."""
    if any(map(_is_whole, _records(run_dir))):
        for file in _unnamed_tensors(run_dir):
            file.unlink(missing_ok=True)
    for name in (TENSORS, re.escape(RECORD), re.escape(RECORD_BEFORE)):
        remove_unfinished(run_dir, name)


def _states(run_dir: Path) -> list[Path]:
    """Where a checkpoint may be found, the last one first."""
    return [*_records(run_dir), *_unnamed_tensors(run_dir)]


def _records(run_dir: Path) -> list[Path]:
    return [run_dir / name for name in (RECORD, RECORD_BEFORE) if (run_dir / name).exists()]


def _unnamed_tensors(run_dir: Path) -> list[Path]:
    """The tensors of checkpoints that no record names, the last ones first."""
    named = [_read_record(record).get("tensors") for record in _records(run_dir)]
    there = run_dir.iterdir() if run_dir.is_dir() else ()
    return sorted((path for path in there if re.fullmatch(TENSORS, path.name) and path.name not in named), reverse=True)


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


def _is_whole(path: Path) -> bool:
    try:
        _load(path)
    except HealthiVertError:
        return False
    return True


def _read_record(path: Path) -> dict[str, Any]:
    """The record in a file of _states, {} if it cannot be read."""
    try:
        if path.suffix == ".json":
            record = json.loads(path.read_text(encoding="utf-8"))
        else:
            named = {"tensors": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            record = json.loads(_text_within(path)) | named
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text_within(tensors: Path) -> str:
    """The record that a file of tensors holds, as JSON; "" if it is not there or holds none."""
    try:
        with safe_open(tensors, "pt") as file:
            return (file.metadata() or {}).get(RECORD, "")
    except (OSError, SafetensorError):
        return ""


def _load(path: Path, kinds: Kinds = KINDS) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Of a file of _states."""
    if not path.exists():
        raise HealthiVertError(f"{path}: no such checkpoint to go on from; start a new run")
    record = _read_record(path)
    wrong = [name for name, fits in {**KINDS, **kinds}.items() if not fits(record.get(name))]
    if wrong:
        found = f"missing in it or wrong: {', '.join(wrong)}"
        raise HealthiVertError(f"{path}: the checkpoint cannot be read ({found}); {NEW_RUN}")
    file = path.with_name(record["tensors"])
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
