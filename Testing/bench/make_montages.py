"""Draw docs/montages/*.png: one vertebra a picture, before, healthy truth, both models, difference, uncertainty.

Real vertebrae are healthy ones that were hidden: there the scan itself is the truth. Generated ones are fractured, and
the truth is the scan of their healthy twin. All panels are mid-sagittal cuts through the straightened spine, on one
grid; the real scan is TotalSegmentator's example CT (Apache-2.0).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from bench import REAL, ROOT, SEED, lumbar_case
from matplotlib.figure import Figure
from spines import scanned_twins

from healthivert import commands
from healthivert.inspection import analyse
from healthivert.phantom import PhantomSpine, sample_spine
from healthivert.pipeline import GenerateSamples, Prepared, prepare
from healthivert.restore import place, restore_straightened
from healthivert.types import FloatArray, PseudoHealthy
from healthivert.variation import with_spread

SAMPLES = 5
WINDOW = (-200.0, 600.0)
DIFFERENCE_HU, UNCERTAINTY_HU = 300.0, 200.0
CONTEXT_MM = 28


@dataclass(frozen=True)
class Subject:
    """A level as it is in a scan, and as it was when healthy (the same, for a level that is healthy)."""

    name: str
    shown: Prepared
    truth: Prepared


def real_subjects() -> Iterator[Subject]:
    case = lumbar_case()
    analysis = analyse(case)
    for level in ("L1", "L3", "L4"):
        shown = prepare(case, analysis, level)
        yield Subject(f"real_{level}", shown, shown)


def phantom_subjects() -> Iterator[Subject]:
    """The first unseen spine with each shape of fracture, at its most collapsed level."""
    wanted = ["wedge", "biconcave", "crush"]
    for seed in range(SEED + 700, SEED + 800):
        spine = sample_spine(seed, fractured=True)
        found = next(((shape, level) for shape in wanted if (level := level_with(spine, shape))), None)
        if found is None:
            continue
        shape, level = found
        wanted.remove(shape)
        twins = scanned_twins(spine, shape, spacing_mm=1.0, field_mm=140)
        yield Subject(f"phantom_{shape}", prepare(*twins.scan, level), twins.truth(level))
        if not wanted:
            return


def level_with(spine: PhantomSpine, shape: str) -> str | None:
    """The level whose fracture of this shape is deepest, if it is worth a picture."""
    depth = {v.level: v.fracture.depth_mm for v in spine.vertebrae if v.fracture and v.fracture.shape == shape}
    deepest = max(depth, key=depth.__getitem__, default=None)
    return deepest if deepest is not None and depth[deepest] > 6 else None


def montage(subject: Subject, models: dict[str, GenerateSamples]) -> Figure:
    prepared, truth = subject.shown, subject.truth
    drawn = {name: generate(prepared.conditioning) for name, generate in models.items()}
    restored = {name: picture_of(prepared, samples[0]) for name, samples in drawn.items()}
    answer = with_spread(drawn["gan"], prepared.straight.spacing_mm)
    uncertain = picture_of(prepared, replace(answer, ct=answer.ct_sd), background=0.0)
    healthy = view(truth, truth.straight.ct)
    before = view(prepared, prepared.straight.ct)
    rows = min(len(healthy), len(before), *(len(picture) for picture in restored.values()))
    panels = [("scan", before), ("healthy truth", healthy), *((f"regrown, {n}", p) for n, p in restored.items())]
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels) + 2)
    for axis, (title, picture) in zip(axes, panels, strict=False):
        axis.imshow(picture[:rows], cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], origin="lower")
        axis.set_title(title, fontsize=9)
    difference = restored["gan"][:rows] - healthy[:rows]
    shown = axes[-2].imshow(difference, cmap="RdBu_r", vmin=-DIFFERENCE_HU, vmax=DIFFERENCE_HU, origin="lower")
    axes[-2].set_title("gan minus truth, HU", fontsize=9)
    figure.colorbar(shown, ax=axes[-2], shrink=0.7)
    shown = axes[-1].imshow(uncertain[:rows], cmap="viridis", vmin=0, vmax=UNCERTAINTY_HU, origin="lower")
    axes[-1].set_title(f"gan, uncertainty ({SAMPLES} samples), HU", fontsize=9)
    figure.colorbar(shown, ax=axes[-1], shrink=0.7)
    for axis in axes:
        axis.set_axis_off()
    return figure


def picture_of(prepared: Prepared, vertebra: PseudoHealthy, background: float | None = None) -> FloatArray:
    """The vertebra in place. background: stands for the patient's own tissue, where only what was drawn is of
    interest."""
    straight = prepared.straight
    if background is not None:
        straight = replace(straight, ct=np.full_like(straight.ct, background))
    settled, placement = place(straight, prepared.conditioning, vertebra, prepared.old_body)
    return view(prepared, restore_straightened(straight, prepared.old_body, settled, placement)[0])


def view(prepared: Prepared, ct: FloatArray) -> FloatArray:
    """Mid-sagittal, from CONTEXT_MM below the level's cut upwards."""
    middle = round(np.argwhere(prepared.old_body > 0.5)[:, 2].mean())
    first, last = prepared.conditioning.cut
    return ct[max(0, first - CONTEXT_MM) : last + CONTEXT_MM, :, middle]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "montages")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = {
        name: commands.load_generator(commands.GeneratorChoice(name, samples=SAMPLES if name == "gan" else 1)).generate
        for name in commands.SHIPPED
    }
    subjects = [*phantom_subjects(), *(real_subjects() if (REAL / "lumbar").is_dir() else ())]
    for subject in subjects:
        montage(subject, models).savefig(arguments.out / f"{subject.name}.png", dpi=110)
        print(subject.name, flush=True)


if __name__ == "__main__":
    main()
