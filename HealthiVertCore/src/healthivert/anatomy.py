"""Vertebral levels: their names, their numbers in our arrays, and what is normal for each of them.

Numbers are VerSe's (Sekuboyina 2021): C1-C7 1-7, T1-T12 8-19, L1-L5 20-24, L6 25, sacrum 26, T13 28.
Normal dimensions come from data/normal_spine.csv; its header says how each column was taken from the literature.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

LEVEL_NUMBER: dict[str, int] = {
    **{f"C{i}": i for i in range(1, 8)},
    **{f"T{i}": 7 + i for i in range(1, 13)},
    "T13": 28,
    **{f"L{i}": 19 + i for i in range(1, 7)},
}
LEVELS: tuple[str, ...] = tuple(LEVEL_NUMBER)  # cranial to caudal; T13 lies between T12 and L1
LEVEL_NAME: dict[int, str] = {number: level for level, number in LEVEL_NUMBER.items()}
SACRUM = 26
LEAST_BODY_MM3 = 1500.0  # what is smaller is no vertebral body; the smallest thoracic one has about 5000


@dataclass(frozen=True)
class NormalVertebra:
    """Normal dimensions of one level in mm (see data/normal_spine.csv)."""

    level: str
    height_anterior: float
    height_middle: float
    height_posterior: float
    width: float
    depth: float
    disc_below: float
    pedicle_width: float
    canal_width: float
    canal_depth: float

    @property
    def height_mean(self) -> float:
        return (self.height_anterior + self.height_middle + self.height_posterior) / 3


@cache
def normal_spine() -> dict[str, NormalVertebra]:
    """Level name -> normal dimensions, for T1-T12 and L1-L5 (T13 and L6 borrow from their neighbours)."""
    text = resources.files("healthivert").joinpath("data/normal_spine.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    names = [f.name for f in fields(NormalVertebra) if f.name != "level"]
    table = {row["level"]: NormalVertebra(row["level"], *(float(row[name]) for name in names)) for row in rows}
    table["T13"] = table["T12"]
    table["L6"] = table["L5"]
    return table


def levels_between(first: str, second: str) -> int:
    """How many levels apart two levels are, in the order of LEVELS (T12 to L1 is 1: T13 is counted only if asked
    for)."""
    ladder = [level for level in LEVELS if level != "T13" or level in (first, second)]
    return abs(ladder.index(first) - ladder.index(second))
