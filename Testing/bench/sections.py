"""Sections of the benchmark are kept as they are finished: it can be stopped, and goes on where it was.

A section is a JSON file of one model's rows, with the weights, the commit and the number of spines that they were
measured with; they are committed beside the results, which are written from all sections that were measured with the
weights that are shipped now: measuring one anew leaves the others as they are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rows import Subject

from healthivert.whole_file import write_whole


@dataclass(frozen=True)
class Section:
    """rows: lines of a Markdown table."""

    model: str
    name: str
    weights: str  # sha256
    commit: str
    machine: str
    phantoms: int
    rows: tuple[str, ...]

    def measured_with(self, subject: Subject) -> bool:
        return self.weights == subject.weights and self.phantoms == subject.phantoms

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(_path(folder, self.model, self.name), (json.dumps(asdict(self), indent=1) + "\n").encode())


def kept(folder: Path, model: str, name: str) -> Section | None:
    path = _path(folder, model, name)
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return Section(**{**found, "rows": tuple(found["rows"])})


def _path(folder: Path, model: str, name: str) -> Path:
    return folder / f"{model}_{name.replace(' ', '_')}.json"


def markdown(sections: Sequence[Section], names: Sequence[str], seed: int) -> str:
    """The results of sections that stand in the order of their models and names. names: all sections there are."""
    usual = Counter(section.commit for section in sections).most_common(1)[0][0]
    machines = " and ".join(dict.fromkeys(section.machine for section in sections))
    lines = ["# Results", "", "Written by `make bench`. Nothing here was typed by hand.", ""]
    lines += [f"- commit {usual}, if not said otherwise below; {machines}"]
    lines += [f"- phantom seeds from {seed}; sampling seed 0"]
    for model in dict.fromkeys(section.model for section in sections):
        own = {section.name: section for section in sections if section.model == model}
        about = [f"Weights with sha256 {own[next(iter(own))].weights[:16]}..."]
        for commit in dict.fromkeys(section.commit for section in own.values() if section.commit != usual):
            about += [f"at commit {commit}: {_listed(name for name in own if own[name].commit == commit)}"]
        if missing := [name for name in names if name not in own]:
            about += [f"not measured: {_listed(missing)}"]
        lines += ["", f"## {model}", "", "; ".join(about), "", "| what | target | measured | |", "|---|---|---|---|"]
        lines += [row for section in own.values() for row in section.rows]
    return "\n".join(lines) + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"*{name}*" for name in names)
