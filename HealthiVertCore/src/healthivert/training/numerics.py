"""How exactly a training computes: the precision of its passes, and whether it may take fast paths that differ by call.

Weights, losses, optimisers and averages are float32 always. In bfloat16 or float16 only the networks' passes run, under
torch.autocast, and what comes out of them is float32 again: a probability of 1 - 1e-4 is 1 in bfloat16, and its
logarithm would be lost. float16 needs its gradients scaled up; see optimise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from healthivert.errors import HealthiVertError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
Outputs = TypeVar("Outputs", bound="DataclassInstance")


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """A precision of PRECISIONS on a device. "auto": bfloat16 or else float16 on a CUDA GPU, float32 elsewhere, where
    half the bits are not faster.

    Raises HealthiVertError for an unknown name, or what the device does not have.
    """
    if name not in PRECISIONS:
        raise HealthiVertError(f"precision {name!r} is not known; choose one of {', '.join(PRECISIONS)}")
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    if dtype is not torch.float32 and not torch.amp.is_autocast_available(device.type):
        raise HealthiVertError(f"precision {name!r} is not available on {device.type}; choose float32 or auto")
    if dtype is torch.bfloat16 and device.type == "cuda" and not _computes_bfloat16(device):
        raise HealthiVertError("precision 'bfloat16' is not available on this GPU; choose float16 or auto")
    return dtype


def _computes_bfloat16(device: torch.device) -> bool:
    """Of a GPU. torch.cuda.is_bf16_supported also counts cards older than Ampere, which only imitate it, slowly."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def passes_in(precision: torch.dtype, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which networks are called."""
    return torch.autocast(device.type, precision, enabled=precision is not torch.float32)


def in_float32(outputs: Outputs) -> Outputs:
    """A dataclass of tensors as float32."""
    return type(outputs)(**{field.name: getattr(outputs, field.name).float() for field in fields(outputs)})


def scores_in_float32(scores: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(score.float() for score in scores)


@contextmanager
def determinism(wanted: bool, device: torch.device) -> Iterator[None]:
    """Within it the device computes the same to the bit in every call; without `wanted`, a GPU may choose by speed."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS refuses; read at its first use
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
