"""Which processor a model runs on."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from healthivert.errors import HealthiVertError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """A device of DEVICES; "auto" takes CUDA, then Apple's MPS, then the CPU: the first on which a calculation works.

    Raises HealthiVertError for an unknown name or a device this machine does not have.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(device for device in ("cuda", "mps", "cpu") if available[device] and _works(device)))
    if name not in available:
        raise HealthiVertError(f"device {name!r} is not known; choose one of {', '.join(DEVICES)}")
    if not available[name]:
        raise HealthiVertError(
            f"device {name!r} is not available on this machine: torch {torch.__version__} finds none it can use; "
            "choose auto or cpu, or install a torch that was built for it"
        )
    return torch.device(name)


def slower_device_warning(name: str, device: torch.device) -> str | None:
    """What is to be said when "auto" had to take the CPU although there is a graphics card; None else."""
    if name != "auto" or device.type != "cpu" or not _has_nvidia_driver():
        return None
    return (
        f"the graphics card was not used: its driver is there, but torch {torch.__version__} finds no CUDA device that "
        "it can use; the generator ran on the processor (cpu), which is slower"
    )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether a calculation has failed for want of memory, the processor's or the graphics card's."""
    words = "out of memory", "can't allocate memory", "not enough memory"  # torch's, of a device and of the processor
    return isinstance(error, MemoryError) or any(each in str(error) for each in words)


def _has_nvidia_driver() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _works(device: str) -> bool:
    """Whether a calculation comes to an end there: a build of torch may not have code for the card it finds."""
    try:
        return bool((torch.ones(1, device=device) + 1).item() == 2)
    except (RuntimeError, AssertionError):  # torch asserts that it was built for CUDA
        return False
