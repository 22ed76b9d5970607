"""What a training would do, before the hours it takes: everything is checked, and two steps are made and thrown away.

In: the arguments of trainer.train. Out: the resolved configuration with what a step costs. Nothing is written.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from healthivert.training.batches import StepBatches
from healthivert.training.task import RunSettings
from healthivert.training.trainer import Progress, alone_in, ready_run, this_process, told_plainly


def dry_run(settings: RunSettings, data_dir: Path, run_dir: Path, resume: bool, progress: Progress) -> dict[str, Any]:
    """The resolved configuration and "step": {seconds, preparing_seconds, images_per_second, memory_mb, hours_left}.
    preparing_seconds: of the seconds, what this process took to prepare the images; workers take it over. A step costs
    what the last ones will: what joins later is there from the first.

    Raises HealthiVertError for whatever train would refuse before its first step.
    """
    with this_process(settings) as (processes, device), told_plainly(run_dir), ExitStack() as folder:
        killed = alone_in(run_dir, processes, folder)
        with processes.all_or_none():
            ready = ready_run(settings, data_dir, run_dir, resume, killed, processes, device, progress, trial=True)
        task, share = ready.task, processes.share(settings.batch_size)
        batches = StepBatches(ready.data, settings.augmentation, settings.seed, share)
        before, seconds, preparing = task.step, 0.0, 0.0
        for _ in range(2):  # the first one also sets up what all the others use
            progress("train", 0.0, "trying a step")
            begin = time.monotonic()
            batch = batches[task.step]
            preparing = time.monotonic() - begin
            processes.mean(task.train_step(batch.to(device)))
            seconds = time.monotonic() - begin
        cost = {
            "seconds": round(seconds, 3),
            "preparing_seconds": round(preparing, 3),
            "images_per_second": round(settings.batch_size / seconds, 1),
            "memory_mb": _peak_memory_mb(device),
            "hours_left": round((settings.steps - before) * seconds / 3600, 2),
        }
        return {**ready.configuration, "starts_at_step": before, "step": cost}


def _peak_memory_mb(device: torch.device) -> float | None:
    """The most memory so far: of the GPU, or of this process; None where the system does not tell."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
