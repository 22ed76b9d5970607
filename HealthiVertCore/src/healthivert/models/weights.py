"""Weights on disk: a safetensors file and a JSON card of the same name beside it.

The card says what the weights are for (architecture and its arguments, spacing, window, gap rows), where they come from
(recipe, data, metrics) and the safetensors file's SHA-256. What is missing, damaged or of another network is an error:
a model never runs on random weights. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from healthivert.errors import HealthiVertError, complaint
from healthivert.models import SUFFIX, shipped_weights
from healthivert.models.diffusion import DiffusionGenerator, DiffusionSettings
from healthivert.models.gan import GanGenerator, GanSettings
from healthivert.whole_file import write_together

STORAGE = torch.float16  # that weights are shipped in
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "gan": lambda **arguments: GanGenerator(GanSettings(**arguments)),
    "diffusion": lambda **arguments: DiffusionGenerator(DiffusionSettings(**arguments)),
}


class NamedModel(Protocol):
    """A generator that can say how to build it again."""

    name: str

    @property
    def arguments(self) -> dict[str, object]: ...

    def state_dict(self) -> dict[str, Tensor]: ...


def save_weights(
    path: Path, model: NamedModel, card: Mapping[str, Any], storage: torch.dtype = STORAGE
) -> dict[str, Any]:
    """Write path (.safetensors) and its card (.json), both or none; returns the card as written.

    float16 halves the file and moves a drawn pixel by less than the 4 HU that a slice is stored with. Raises
    HealthiVertError for a value that is not finite, or that the storage type cannot hold.
    """
    tensors = {name: value.detach().cpu().to(storage).contiguous() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise HealthiVertError(f"{path}: not written, {name} is not finite as {storage}; the training has diverged")
    content = save(tensors)
    full = {
        **card,
        "architecture": {"name": model.name, "arguments": dict(model.arguments)},
        "parameters": sum(value.numel() for value in tensors.values()),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_together({path: content, path.with_suffix(".json"): (json.dumps(full, indent=2) + "\n").encode()})
    return full


def check_place(path: Path) -> None:
    """Raise HealthiVertError for a place of weights from which load_weights would not take them."""
    if path.suffix != SUFFIX:
        raise complaint(path, f"weights lie in a {SUFFIX} file", f"choose {path.with_suffix(SUFFIX).name}")


def load_weights(
    name_or_path: str | Path,
    device: torch.device | str = "cpu",
    architectures: Mapping[str, Callable[..., nn.Module]] = ARCHITECTURES,
) -> tuple[nn.Module, dict[str, Any]]:
    """A shipped model by its name ("gan") or any model by its .safetensors path: (model ready to run, its card).

    architectures: what may be loaded, name -> how to build it; the generators if nothing else is said.
    Raises HealthiVertError if a file is missing, the checksum differs, the card names another architecture, or tensors
    are missing, surplus, of the wrong shape or not finite.
    """
    path = _resolve(name_or_path, architectures)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HealthiVertError(
            f"{path}: cannot read the weights ({error.strerror}); check the path, reinstall or retrain them"
        ) from None
    card = _read_card(path.with_suffix(".json"))
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise HealthiVertError(f"{path}: damaged, or its card is of other weights (SHA-256 differs); reinstall them")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise HealthiVertError(f"{path}: not a safetensors file ({error}); reinstall the weights") from None
    model = _build(card["architecture"], path, architectures)
    _check(tensors, model.state_dict(), path)
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.to(device).eval().requires_grad_(False), card


def _resolve(name_or_path: str | Path, architectures: Mapping[str, Callable[..., nn.Module]]) -> Path:
    if str(name_or_path) in architectures:
        return shipped_weights(str(name_or_path))
    path = Path(name_or_path)
    if path.suffix != SUFFIX:
        names = ", ".join(architectures)
        raise HealthiVertError(f"model {str(name_or_path)!r} is neither shipped ({names}) nor a {SUFFIX} file")
    return path


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HealthiVertError(f"{path}: cannot read the weights' card ({error.strerror}); reinstall them") from None
    except ValueError:
        raise HealthiVertError(f"{path}: the weights' card is not valid JSON; reinstall them") from None
    if not isinstance(card, dict) or not isinstance(card.get("architecture"), dict) or "sha256" not in card:
        raise HealthiVertError(f"{path}: the weights' card lacks architecture or sha256; reinstall them")
    return card


def _build(
    architecture: Mapping[str, Any], path: Path, architectures: Mapping[str, Callable[..., nn.Module]]
) -> nn.Module:
    name: Any = architecture.get("name")
    if name not in architectures:
        raise HealthiVertError(
            f"{path}: the card is of architecture {name!r}; this version knows {', '.join(architectures)}"
        )
    try:
        return architectures[name](**architecture.get("arguments", {}))
    except (TypeError, ValueError, RuntimeError):
        arguments = architecture.get("arguments")
        raise HealthiVertError(f"{path}: the card's arguments {arguments} do not describe a {name} model") from None


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    missing = [name for name in wanted if name not in found]
    surplus = [name for name in found if name not in wanted]
    if missing or surplus:
        what = f"lacks {missing[0]}" if missing else f"holds an unknown {surplus[0]}"
        count = len(missing) + len(surplus)
        raise HealthiVertError(f"{path}: {what} ({count} tensors differ from the card's architecture); reinstall it")
    for name, value in found.items():
        if value.shape != wanted[name].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
            raise HealthiVertError(f"{path}: {name} has shape {shapes}; the weights are of another model")
        if not torch.isfinite(value).all():
            raise HealthiVertError(f"{path}: {name} holds values that are not finite; retrain or reinstall the weights")
