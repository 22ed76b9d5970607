"""Which choices of the diffusion model earn their place? Small variants of it, trained alike and measured alike.

Prints the tables of docs/method.md, "Diffusion: what was tried". The reference is what the product's generator is with
v-prediction and 11 strides, and every variant differs from it in what its name says; data, seed, steps, learning rate
and width are the same. The same design with another seed shows how much is chance. Judged are vertebrae of spines that
were not trained on, by the two planes of the model alone: the prior is not averaged in, no small body is refused, and
the height is not limited to the neighbours' reach. In: shards of `healthivert samples`. Rows and weights are kept in
--work, so that a stopped script goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from diffusion_variants import (
    ABSOLUTE_MM,
    CPU,
    REFERENCE,
    VARIANTS,
    X0,
    AblatedGenerator,
    absolute_heights,
    trained,
    true_height,
)
from numpy.typing import NDArray
from rows import mean_and_change
from torch import Tensor

from healthivert import generate
from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, HU_WINDOW, ROWS, from_window
from healthivert.models.diffusion import DiffusionGenerator, DiffusionSettings
from healthivert.models.interface import GeneratorOutput, SliceBatch
from healthivert.models.slices_of import PLANES, plane_axis, slice_positions
from healthivert.training.samples import TrainingSample, load_sample
from healthivert.training.slices import SliceDataset
from healthivert.whole_file import write_whole

HU_PER_UNIT = (HU_WINDOW[1] - HU_WINDOW[0]) / 2
NEIGHBOURS = "neighbours alone (no model)"
BOOTSTRAP_SEED = 0
FIELDS = ((ROWS, 64), (ROWS, 72), (256, 256))
PASSES = 5  # timed, of each field of view
DECIMALS = {"dice": 4, "first_dice": 4, "height_error": 2}  # 1 of all others
OF_VARIANTS = {
    "dice": "Dice",
    "l1_hu": "L1, HU",
    "height_error": "height error, %",
    "first_dice": "Dice of the first pass",
    "first_l1_hu": "L1 of the first pass, HU",
}
OF_DRAWINGS = {
    "dice": "Dice",
    "l1_hu": "L1, HU",
    "flicker_hu": "flicker of the slices, HU",
    "fused_flicker_hu": "flicker of the fused volume, HU",
    "seconds": "s of a core each",
}


class Recorder:
    """A model that keeps what it drew of each plane, [B, H, W], in the order of drawing."""

    def __init__(self, model: AblatedGenerator) -> None:
        self.model = model
        self.drawings: dict[str, list[Tensor]] = {plane: [] for plane in PLANES}

    def __call__(self, batch: SliceBatch, seed: int = 0) -> GeneratorOutput:
        output = self.model(batch, seed)
        self.drawings[PLANES[int(batch.plane[0, 0, 0, 0])]].append(output.x_stage2[:, 0])
        return output


def score(model: AblatedGenerator, sample: TrainingSample) -> dict[str, float]:
    """One vertebra drawn and compared with its truth; NaN where the answer is not finite. refused: 1 where `run` would
    have refused it for its small body. first_*: of the first pass alone. seconds: processor time of the drawing."""
    given, recorder = sample.conditioning, Recorder(model)
    measured_in = ABSOLUTE_MM if model.variant.absolute_height else given.reference_mm
    start = time.process_time()
    with mock.patch.object(generate, "LARGEST_LOG_RATIO", math.inf):
        drawing, height_mm = generate.two_planes(recorder, CPU, replace(given, reference_mm=measured_in), seed=0)
    seconds = time.process_time() - start
    first, _ = generate.two_planes(model.first_pass, CPU, given, seed=0)
    at_first = compared(from_window(first.ct), first.body, given.reference_mm, sample)
    flickers = []
    for plane, parts in recorder.drawings.items():
        body = np.moveaxis(sample.target_body, plane_axis(plane), 0)[_near(sample, plane)]
        flickers.append(flicker(torch.cat(parts).numpy() * HU_PER_UNIT, body, 0))
    return {
        **compared(from_window(drawing.ct), drawing.body, height_mm, sample),
        **{f"first_{name}": at_first[name] for name in ("dice", "l1_hu")},
        "flicker_hu": float(np.mean(flickers)),
        "refused": float((drawing.body > 0.5).sum() < generate.LEAST_BODY_VOXELS),
        "seconds": seconds,
    }


def neighbours_alone(sample: TrainingSample) -> dict[str, float]:
    """The same of the prior and the reference height. Its slices are those of one volume."""
    given = sample.conditioning
    found = compared(from_window(given.prior_ct), given.prior_body, given.reference_mm, sample)
    first = {f"first_{name}": found[name] for name in ("dice", "l1_hu")}
    return {**found, **first, "flicker_hu": found["fused_flicker_hu"], "refused": 0.0, "seconds": 0.0}


def compared(ct: NDArray, body: NDArray, height_mm: float, sample: TrainingSample) -> dict[str, float]:
    """ct: HU. dice and l1_hu inside the gap, l1_hu where a slice of either plane was drawn; height_error in percent."""
    rows = slice(*GAP)
    truth = from_window(sample.target_ct)
    true_body, own_body = sample.target_body[rows] > 0.5, body[rows] > 0.5
    beside = _near(sample, "coronal")[:, None] | _near(sample, "sagittal")[None, :]  # [AP, LR]
    found = {
        "dice": 2 * (true_body & own_body).sum() / max(1, true_body.sum() + own_body.sum()),
        "l1_hu": np.abs(ct - truth)[rows][:, beside].mean(),
        "height_error": 100 * abs(height_mm / true_height(sample) - 1),
        "fused_flicker_hu": np.mean([flicker(ct, sample.target_body, axis) for axis in (1, 2)]),
        "true_flicker_hu": np.mean([flicker(truth, sample.target_body, axis) for axis in (1, 2)]),
    }
    finite = np.isfinite([np.abs(ct).sum(), np.abs(body).sum(), height_mm]).all()
    return {name: float(value) if finite else math.nan for name, value in found.items()}


def flicker(ct: NDArray, body: NDArray, axis: int) -> float:
    """Mean absolute difference of slices that are neighbours along an axis, where both are inside the body."""
    inside = np.moveaxis(body > 0.5, axis, 0)
    differences = np.abs(np.diff(np.moveaxis(ct, axis, 0), axis=0))
    return float(differences[inside[1:] & inside[:-1]].mean())


def _near(sample: TrainingSample, plane: str) -> NDArray[np.bool_]:
    """Which slices of a plane are drawn."""
    return slice_positions(sample.conditioning, plane)[1] <= generate.WIDEST_RATIO


def spine_of(path: Path) -> str:
    return path.stem.rpartition("_")[0]


def chosen_shards(folder: Path, levels: int) -> list[Path]:
    """`levels` shards of every spine, another level of each next spine."""
    of_spine: dict[str, list[Path]] = {}
    for path in shards_in(folder):
        of_spine.setdefault(spine_of(path), []).append(path)
    return [
        paths[(number + i * max(1, len(paths) // levels)) % len(paths)]
        for number, paths in enumerate(of_spine.values())
        for i in range(min(levels, len(paths)))
    ]


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npz"))


def seconds_per_slice(width: int) -> dict[str, float]:
    """Of one network pass, on one thread, in batches of generate.BATCH: "rows x columns" -> the fastest of PASSES."""
    model = DiffusionGenerator(DiffusionSettings(width=width)).eval()
    found: dict[str, float] = {}
    for rows, columns in FIELDS:
        image = torch.zeros(generate.BATCH, 1, rows, columns)
        for _ in range(PASSES):
            start = time.process_time()
            with torch.inference_mode():
                model.denoise(image, 500, SliceBatch(*[image] * 8))
            seconds = (time.process_time() - start) / generate.BATCH
            found[f"{rows} x {columns}"] = min(seconds, found.get(f"{rows} x {columns}", math.inf))
    return found


class Work:
    """DIR/rows.json and the weights beside it."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], held_out: Sequence[Path]) -> None:
        """Raises HealthiVertError if the folder holds rows of another plan or of other vertebrae."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.path = folder, folder / "rows.json"
        made_with = {"plan": dict(plan), "held_out": [path.stem for path in held_out]}
        self.content: dict[str, Any] = {"made_with": made_with, "rows": {}, "training_s": {}, "cost": {}}
        if self.path.is_file():
            self.content = json.loads(self.path.read_text())
        if self.content["made_with"] != made_with:
            raise HealthiVertError(f"{self.path}: holds rows of other settings or vertebrae; choose another --work")

    def keep(self, part: str, name: str, value: object) -> None:
        self.content[part][name] = value
        write_whole(self.path, (json.dumps(self.content, indent=1) + "\n").encode())

    def model(
        self, name: str, plan: Mapping[str, Any], data: SliceDataset, absolute: NDArray[np.float32]
    ) -> AblatedGenerator:
        """A variant's model, trained if its weights are not here."""
        variant = VARIANTS[name]
        source = variant.weights_of or name
        weights = self.folder / f"{re.sub('[^A-Za-z0-9]+', '-', source)}.safetensors"
        if not weights.is_file():
            start = time.process_time()
            state = trained(VARIANTS[source], plan, data, absolute).state_dict()
            write_whole(weights, safetensors.torch.save({key: value.contiguous() for key, value in state.items()}))
            self.keep("training_s", source, time.process_time() - start)
        model = AblatedGenerator(variant, plan["width"]).eval()
        model.load_state_dict(safetensors.torch.load(weights.read_bytes()))
        return model


def table(content: Mapping[str, dict], names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Means over vertebrae; in brackets the 95 % interval (bootstrap over spines) of the difference to REFERENCE.

    A vertebra with an answer that is not finite counts in the last column and nowhere else.
    """
    rows = content["rows"]
    lines = ["| " + " | ".join(["", *columns.values(), "failed"]) + " |", "|---" * (len(columns) + 2) + "|"]
    spines = [spine_of(Path(shard)) for shard in content["made_with"]["held_out"]]
    for name in (name for name in names if name in rows):
        cells = [_cell(rows, spines, name, key) for key in columns]
        lines.append("| " + " | ".join([name, *cells, _failures(rows[name])]) + " |")
    return lines


def _cell(rows: Mapping[str, dict], spines: Sequence[str], name: str, key: str) -> str:
    found, shipped = (
        np.array([v[key] for v in rows.get(n, {}).get("vertebrae", [])], float) for n in (name, REFERENCE)
    )
    if not np.isfinite(found).any():
        return "-"
    decimals = DECIMALS.get(key, 1)
    if name == REFERENCE or key == "seconds" or not shipped.size:
        return f"{np.nanmean(found):.{decimals}f}"
    return mean_and_change(found, shipped, spines, f".{decimals}f", f"+.{decimals}f", BOOTSTRAP_SEED)


def _failures(row: dict) -> str:
    if row.get("diverged"):
        return row["diverged"]
    infinite = sum(not math.isfinite(vertebra["dice"]) for vertebra in row["vertebrae"])
    refused = sum(int(vertebra["refused"]) for vertebra in row["vertebrae"])
    parts = [f"{infinite} not finite"] * bool(infinite) + [f"{refused} no body"] * bool(refused)
    return ", ".join(parts) or "0"


def report(content: Mapping[str, dict]) -> str:
    plan, held_out, cost = content["made_with"]["plan"], content["made_with"]["held_out"], content["cost"]
    minutes = np.mean(list(content["training_s"].values()) or [0.0]) / 60
    truth = np.mean([vertebra["true_flicker_hu"] for vertebra in content["rows"][NEIGHBOURS]["vertebrae"]])
    trained_ones = [name for name, variant in VARIANTS.items() if variant.weights_of is None]
    drawn_otherwise = [name for name, variant in VARIANTS.items() if name in (REFERENCE, X0) or variant.weights_of]
    lines = [
        f"Width {plan['width']}, {plan['steps']} steps of {plan['batch_size']} slices, learning rate "
        f"{plan['learning_rate']:g}, about {minutes:.1f} minutes of a core each; {len(held_out)} vertebrae of "
        f"{len({spine_of(Path(shard)) for shard in held_out})} other spines, drawn by the model alone. In brackets: "
        f"95 % interval of the difference to {REFERENCE}, over spines.",
        "",
        *table(content, [NEIGHBOURS, *trained_ones], OF_VARIANTS),
        *("", f"The same weights drawn in other ways. The truth's own flicker is {truth:.1f} HU.", ""),
        *table(content, drawn_otherwise, OF_DRAWINGS),
        *("", f"Field of view, cost only (nothing was trained at 256 x 256), width {plan['width']}:", ""),
        *("| pixels | ms of a core per network pass and slice | times |", "|---|---|---|"),
        *(f"| {name} | {1000 * s:.1f} | {s / min(cost.values()):.1f} |" for name, s in cost.items()),
    ]
    return "\n".join(lines)


def measure(
    work: Work, plan: Mapping[str, Any], names: Sequence[str], training: Sequence[Path], held_out: Sequence[Path]
) -> None:
    samples = [load_sample(path) for path in held_out]
    if NEIGHBOURS not in work.content["rows"]:
        work.keep("rows", NEIGHBOURS, {"vertebrae": [neighbours_alone(sample) for sample in samples]})
    for field, seconds in ({} if work.content["cost"] else seconds_per_slice(plan["width"])).items():
        work.keep("cost", field, seconds)
    missing = [name for name in names if name not in work.content["rows"]]
    if not missing:
        return
    data, absolute = SliceDataset(training), absolute_heights(training)
    for name in missing:
        start = time.perf_counter()
        try:
            model = work.model(name, plan, data, absolute)
        except FloatingPointError as error:
            work.keep("rows", name, {"vertebrae": [], "diverged": str(error)})
            continue
        work.keep("rows", name, {"vertebrae": [score(model, sample) for sample in samples]})
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="shards to train on")
    parser.add_argument("--held-out", type=Path, required=True, help="shards of other spines")
    parser.add_argument("--work", type=Path, required=True, help="where rows and weights are kept")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--levels", type=int, default=1, help="vertebrae of each held-out spine")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    plan = {key: getattr(arguments, key) for key in ("steps", "width", "batch_size", "learning_rate", "levels")}
    training, held_out = shards_in(arguments.data), chosen_shards(arguments.held_out, arguments.levels)
    seen = {spine_of(path) for path in training} & {spine_of(path) for path in held_out}
    if seen or not training or not held_out:
        found = f"{len(training)} shards to train on and {len(held_out)} others, {len(seen)} spines in both"
        parser.error(f"{found}; --data and --held-out need shards of different spines")
    work = Work(arguments.work, plan, held_out)
    measure(work, plan, arguments.only, training, held_out)
    print(report(work.content))


if __name__ == "__main__":
    main()
