"""Does the diffusion model draw a better vertebra if it sees more around it?
`python Testing/bench/field_of_view.py --work runs/field_of_view`.

Prints the last table of docs/method.md, "Diffusion: what was tried". Samples are made with the widest field, and each
narrower one is cut out of them, so that they differ in next to nothing else. Small models are trained alike on every
field and judged as in ablate_diffusion.py: alone, on vertebrae of spines that were not trained on. Two seeds each show
how much is chance. Samples, weights and rows are kept in --work, so that a stopped script goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import ablate_diffusion
import numpy as np
import torch
from ablate_diffusion import NEIGHBOURS, Work, compared, neighbours_alone, score, shards_in, spine_of
from diffusion_variants import VARIANTS, X0, absolute_heights
from numpy.typing import NDArray
from rows import mean_and_change

from healthivert import familiarity, gap, generate, pipeline, straighten
from healthivert.gap import from_window
from healthivert.training import samples
from healthivert.training.make_samples import SampleSettings, spine_samples
from healthivert.training.samples import TrainingSample, load_sample, save_sample
from healthivert.training.slices import SliceDataset
from healthivert.types import Conditioning

VOLUMES = ("ct", "mask", "attention", "neighbours", "prior_ct", "prior_body", "outline")
SEEDS = (0, 1)
STRIDES = 3  # as many as the shipped model draws with
COLUMNS = {
    "dice": ("Dice", 4),
    "body_l1_hu": ("L1 in the body, HU", 1),
    "l1_hu": ("L1 in the gap, HU", 1),
    "height_error": ("height error, %", 2),
}


@dataclass(frozen=True)
class Field:
    """What is seen: context_rows above and below the gap, ap and lr columns; all 1 mm."""

    context_rows: int
    ap: int
    lr: int

    @property
    def gap(self) -> tuple[int, int]:
        return self.context_rows, self.context_rows + gap.GAP_ROWS

    @property
    def rows(self) -> int:
        return 2 * self.context_rows + gap.GAP_ROWS

    def __str__(self) -> str:
        return f"{self.rows} x {self.ap} x {self.lr}"


SHIPPED = Field(gap.CONTEXT_ROWS, round(straighten.AP_MM), round(straighten.LR_MM))
WIDEST = Field(64, 96, 96)
FIELDS = (SHIPPED, Field(16, 64, 72), Field(64, 64, 72), WIDEST)
# The box must hold the widest field; the scans end as near to the target as in the product's samples.
WIDE_SAMPLES = replace(SampleSettings(), box_mm=(124.0, 124.0), pitches=7.4, end_pitches=(1.9, 3.0))


@contextmanager
def seeing(field: Field) -> Iterator[None]:
    """The product as it would be with another field of view."""
    constants = [
        *((module, "GAP", field.gap) for module in (gap, samples, generate, familiarity, ablate_diffusion)),
        *((module, "CONTEXT_ROWS", field.context_rows) for module in (gap, pipeline)),
        (gap, "ROWS", field.rows),
        (pipeline, "VIEW_MARGIN_MM", field.context_rows + pipeline.VIEW_MARGIN_MM - SHIPPED.context_rows),
        (straighten, "AP_MM", float(field.ap)),
        (straighten, "LR_MM", float(field.lr)),
    ]
    with ExitStack() as patches:
        for module, name, value in constants:
            patches.enter_context(mock.patch.object(module, name, value))
        yield


def cut_out(sample: TrainingSample, field: Field) -> TrainingSample:
    """What a narrower field shows of a sample."""
    within = window(sample.target_ct.shape, field)
    given = sample.conditioning
    seen: Conditioning = replace(given, gap=field.gap, **{name: getattr(given, name)[within] for name in VOLUMES})
    return replace(
        sample, conditioning=seen, target_ct=sample.target_ct[within], target_body=sample.target_body[within]
    )


def window(shape: Sequence[int], field: Field) -> tuple[slice, ...]:
    sizes = field.rows, field.ap, field.lr
    return tuple(slice((had - has) // 2, (had + has) // 2) for had, has in zip(shape, sizes, strict=True))


def compared_alike(ct: NDArray, body: NDArray, height_mm: float, sample: TrainingSample) -> dict[str, float]:
    """ablate_diffusion's comparison in the columns that every field has; body_l1_hu: in the true body alone."""
    common = Field(sample.conditioning.gap[0], SHIPPED.ap, SHIPPED.lr)
    within = window(ct.shape, common)
    off = np.abs(ct - from_window(sample.target_ct))[sample.target_body > 0.5]
    return {**compared(ct[within], body[within], height_mm, cut_out(sample, common)), "body_l1_hu": float(off.mean())}


def make(folder: Path, seeds: Sequence[int]) -> None:
    """FOLDER/FIELD/*.npz of every field."""
    for field in FIELDS:
        (folder / str(field)).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds, start=1):
        done = folder / f"{seed}.done"
        if done.exists():
            continue
        start = time.process_time()
        with seeing(WIDEST):
            spine_samples(seed, folder / str(WIDEST), WIDE_SAMPLES)
        for path in (folder / str(WIDEST)).glob(f"sample_{seed:06d}_*.npz"):
            whole = load_sample(path)
            for field in FIELDS[:-1]:
                save_sample(cut_out(whole, field), folder / str(field) / path.name)
        done.touch()
        print(f"{folder.name}: spine {number} of {len(seeds)}, {time.process_time() - start:.0f} s", flush=True)


def measure(work: Work, plan: dict[str, Any], training: Path, held_out: Path) -> None:
    for seed in SEEDS:
        for field in FIELDS:
            name = f"{field}, seed {seed}"
            if name in work.content["rows"]:
                continue
            folder = str(field)
            vertebrae = [load_sample(path) for path in shards_in(held_out / folder)]
            variant = replace(VARIANTS[X0], strides=STRIDES, seed=seed)
            alike = mock.patch.object(ablate_diffusion, "compared", compared_alike)
            with seeing(field), alike, mock.patch.dict(VARIANTS, {name: variant}):
                if NEIGHBOURS not in work.content["rows"]:
                    work.keep("rows", NEIGHBOURS, {"vertebrae": [neighbours_alone(sample) for sample in vertebrae]})
                shards = shards_in(training / folder)
                model = work.model(name, plan, SliceDataset(shards), absolute_heights(shards))
                work.keep("rows", name, {"vertebrae": [score(model, sample) for sample in vertebrae]})
            print(f"{name}: {work.content['training_s'].get(name, 0):.0f} s", flush=True)


def report(content: dict[str, Any]) -> str:
    rows, plan = content["rows"], content["made_with"]["plan"]
    spines = [spine_of(Path(shard)) for shard in content["made_with"]["held_out"]]

    def values(field: Field, key: str, seeds: Sequence[int]) -> np.ndarray:
        return np.mean([[v[key] for v in rows[f"{field}, seed {seed}"]["vertebrae"]] for seed in seeds], axis=0)

    lines = [
        f"Width {plan['width']}, {plan['steps']} steps of {plan['batch_size']} slices, {plan['spines']} spines, "
        f"{len(spines)} vertebrae of {len(set(spines))} others. In brackets: 95 % interval of the difference to "
        f"{SHIPPED}, over spines; mean of {len(SEEDS)} seeds.",
        "",
        "| field of view, mm | " + " | ".join(title for title, _ in COLUMNS.values()) + " | s of a core to train |",
        "|---" * (len(COLUMNS) + 2) + "|",
    ]
    alone = {key: np.mean([v[key] for v in rows[NEIGHBOURS]["vertebrae"]]) for key in COLUMNS}
    lines.append(f"| {NEIGHBOURS} | " + " | ".join(f"{alone[key]:.{d}f}" for key, (_, d) in COLUMNS.items()) + " | |")
    for field in FIELDS:
        cells = []
        for key, (_, decimals) in COLUMNS.items():
            found, base = values(field, key, SEEDS), values(SHIPPED, key, SEEDS)
            if field == SHIPPED:
                apart = np.diff([values(field, key, [seed]).mean() for seed in SEEDS])[0]
                cells.append(f"{found.mean():.{decimals}f} (seeds apart {abs(apart):.{decimals}f})")
            else:
                cells.append(mean_and_change(found, base, spines, f".{decimals}f", f"+.{decimals}f", 0))
        seconds = np.mean([content["training_s"][f"{field}, seed {seed}"] for seed in SEEDS])
        lines.append(f"| {field} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where samples, weights and rows are kept")
    parser.add_argument("--spines", type=int, default=40, help="to train on")
    parser.add_argument("--held-out", type=int, default=10, help="spines to judge by")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plan = {key: getattr(arguments, key) for key in ("steps", "width", "batch_size", "learning_rate", "spines")}
    training, held_out = arguments.work / "training", arguments.work / "held_out"
    make(held_out, range(30_000, 30_000 + arguments.held_out))
    make(training, range(20_000, 20_000 + arguments.spines))
    work = Work(arguments.work, plan, shards_in(held_out / str(SHIPPED)))
    measure(work, plan, training, held_out)
    print(report(work.content))


if __name__ == "__main__":
    main()
