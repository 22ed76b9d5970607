"""What a run writes down while it trains: metrics.jsonl, and where its time goes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class MetricsLog:
    """One JSON line per entry. A resumed run drops the lines beyond its checkpoint, which it will write again."""

    def __init__(self, path: Path, keep_until: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= keep_until]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        entry = {"kind": kind, "step": step, **{name: float(f"{value:.6g}") for name, value in values.items()}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class Stopwatch:
    """Wall-clock time since the start, since the last checkpoint, and of the parts of the steps since the last lap."""

    def __init__(self) -> None:
        self.start = self.checkpoint = self.lap_start = time.monotonic()
        self.steps = 0
        self.parts: dict[str, float] = {"data_share": 0.0, "discriminator_share": 0.0}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time of the block to a part."""
        begin = time.monotonic()
        yield
        self.parts[name] += time.monotonic() - begin

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves the block out of the lap."""
        begin = time.monotonic()
        yield
        self.lap_start += time.monotonic() - begin

    def count_step(self) -> None:
        self.steps += 1

    def lap(self, batch_size: int) -> dict[str, float]:
        """Images per second and the parts' shares since the last lap."""
        seconds = max(time.monotonic() - self.lap_start, 1e-9)
        values = {"images_per_second": self.steps * batch_size / seconds}
        values |= {name: part / seconds for name, part in self.parts.items()}
        self.lap_start, self.steps = time.monotonic(), 0
        self.parts = dict.fromkeys(self.parts, 0.0)
        return values

    def past(self, minutes: float | None) -> bool:
        return minutes is not None and time.monotonic() - self.start > 60 * minutes

    def due(self, minutes: float) -> bool:
        """True once every so many minutes."""
        if time.monotonic() - self.checkpoint < 60 * minutes:
            return False
        self.checkpoint = time.monotonic()
        return True


def _step_of(line: str) -> float:
    """A line's step; infinity for one that a kill cut short."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
