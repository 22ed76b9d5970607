"""What a run writes down while it trains: metrics.jsonl (and TensorBoard's files), and where its time goes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthivert.whole_file import write_whole

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"  # the folder in the run's


class MetricsLog:
    """One JSON line per entry. A resumed run drops the lines beyond its checkpoint, which it will write again.

    TensorBoard gets the same numbers where it is installed; warn is told if it is and cannot be used.
    """

    def __init__(self, path: Path, keep_until: int, warn: Callable[[str], None]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= keep_until]
        write_whole(path, "".join(f"{line}\n" for line in kept).encode())
        self._tensorboard = _tensorboard(path.parent / TENSORBOARD, keep_until, warn)

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        entry = {"kind": kind, "step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()


def _tensorboard(folder: Path, keep_until: int, warn: Callable[[str], None]) -> Any:
    """A writer of TensorBoard's files that hides what a resumed run writes again, None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    except Exception as error:  # of whatever kind: beside another version of what it is made of, its import fails
        warn(f"TensorBoard cannot be used ({type(error).__name__}: {error}); the numbers are in {METRICS} alone")
        return None
    return SummaryWriter(str(folder), purge_step=keep_until + 1)


class Stopwatch:
    """Wall-clock time since the start and since the last checkpoint, and of the steps: all of them, and the last lap's.

    What lies between the steps (validation, checkpoints) does not count.
    """

    def __init__(self) -> None:
        self.start = self.checkpoint = time.monotonic()
        self._all, self._lap = _Steps(), _Steps()

    @contextmanager
    def step(self) -> Iterator[None]:
        """A block that makes a step; waiting for its data is part of it."""
        begin = time.monotonic()
        yield
        for steps in (self._all, self._lap):
            steps.count += 1
            steps.seconds += time.monotonic() - begin

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The part of a step's block that waits for data."""
        begin = time.monotonic()
        yield
        for steps in (self._all, self._lap):
            steps.waited += time.monotonic() - begin

    def lap(self, batch_size: int) -> dict[str, float]:
        """Images per second and the share of time waiting for data, since the last lap."""
        lap, self._lap = self._lap, _Steps()
        return lap.rates(batch_size)

    def whole(self, batch_size: int) -> dict[str, float]:
        """The same of all steps, and their seconds."""
        return {"seconds": self._all.seconds, **self._all.rates(batch_size)}

    @property
    def hours(self) -> float:
        """Of all steps."""
        return self._all.seconds / 3600

    def past(self, minutes: float | None) -> bool:
        return minutes is not None and time.monotonic() - self.start > 60 * minutes

    def due(self, minutes: float) -> bool:
        return time.monotonic() - self.checkpoint >= 60 * minutes

    def saved(self) -> None:
        """A checkpoint was made, whichever process it was due for."""
        self.checkpoint = time.monotonic()


@dataclass
class _Steps:
    """So many steps, their seconds, and how many of the seconds were spent waiting for data."""

    count: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def rates(self, batch_size: int) -> dict[str, float]:
        seconds = max(self.seconds, 1e-9)
        return {"images_per_second": self.count * batch_size / seconds, "data_share": self.waited / seconds}


def _step_of(line: str) -> float:
    """A line's step; infinity for one that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
