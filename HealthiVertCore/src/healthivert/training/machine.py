"""What a measurement or a training was made on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

CPU = torch.device("cpu")


def machine(device: torch.device = CPU) -> str:
    """Cores, processor, system and Python; the graphics processor in front, if the device is one."""
    about = f"{os.cpu_count()} cores, {_processor()}, {platform.system()}, Python {platform.python_version()}"
    return about if device.type == "cpu" else f"{_graphics_processor(device)}, {about}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # of Linux, whose platform.processor() is empty or the architecture only
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _graphics_processor(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
