"""Which processor a model runs on."""

from __future__ import annotations

import torch

from healthivert.errors import HealthiVertError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """A device of DEVICES; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises HealthiVertError for an unknown name or a device this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device]))
    if name not in available:
        raise HealthiVertError(f"device {name!r} is not known; choose one of {', '.join(DEVICES)}")
    if not available[name]:
        raise HealthiVertError(f"device {name!r} is not available on this machine; choose auto or cpu")
    return torch.device(name)
