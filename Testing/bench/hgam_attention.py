"""What does attention add to the result? Measured on unseen phantoms, on healthy levels beside fractured ones.

Prints the table of docs/trials.md, "Attention maps". Every level is regrown from one and the same conditioning with
five maps of attention: of the heights' suspicion, of the fracture classifier, none (trust everywhere), the
classifier's with its blocks shuffled, and the classifier's upside down, which dims as much in the wrong places. Every
row is kept in --rows, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rows import cell_of_way
from spines import scanned

from healthivert import commands
from healthivert.anatomy import LEVELS
from healthivert.attention import AttentionSource, everywhere, suspicion_beside
from healthivert.case import load_case
from healthivert.evaluate import picture_metrics
from healthivert.gap import open_gap
from healthivert.hgam.attention import attention_by
from healthivert.hgam.classifier import FRACTURED, FractureClassifier, load_classifier
from healthivert.hgam.patches import level_patches
from healthivert.hgam.realism import fracture_probability
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import sample_spine, truth
from healthivert.pipeline import GenerateSamples, Prepared, prepare
from healthivert.types import Conditioning, FloatArray, SpineCase

SEED = 45_500
BEYOND = 2  # levels scanned above and below the target
SPACING_MM, FIELD_MM = 1.5, 120.0
METRICS = ("dice", "ssim", "psnr")
DECIMALS = {"dice": 4, "ssim": 4, "psnr": 2}
SUSPICION, HGAM, NONE, SHUFFLED, TURNED = "suspicion", "hgam", "none", "hgam shuffled", "hgam upside down"
BLOCK_MM = 8  # edge of the blocks that are shuffled: small against a body, large against what smooths a map
LADDER = [level for level in LEVELS if level != "T13"]


def level_beside_fractures(number: int) -> tuple[SpineCase, SpineAnalysis, str]:
    """A scanned spine, and its healthy level with most fractured levels within reach."""
    for seed in range(SEED + 100 * number, SEED + 100 * (number + 1)):
        spine = sample_spine(seed, True, LADDER[10:24], fracture_count=(3, 5), no_grade=0.0)
        broken = {row["level"] for row in truth(spine)["levels"] if row["genant"] > 0}
        levels = spine.levels[BEYOND:-BEYOND]
        beside = {
            level: sum(LADDER[LADDER.index(level) + step] in broken for step in (-1, 1))
            for level in levels
            if level not in broken
        }
        level = max(beside, key=lambda name: beside[name])
        if beside[level] == 0:
            continue
        place = LADDER.index(level)
        seen = replace(spine, levels=tuple(LADDER[place - BEYOND : place + BEYOND + 1]))
        case, analysis = scanned(seen, f"spine {seed}", SPACING_MM, FIELD_MM)
        if level in analysis.bodies and analysis.bodies[level].complete:
            return case, analysis, level
    raise RuntimeError(f"no healthy level beside a fractured one in a hundred spines from {SEED + 100 * number}")


def with_attention(given: Conditioning, attention: FloatArray) -> Conditioning:
    """attention: (SI, AP, LR) on the straightened grid, moved with the anatomy to the gap as prepare does it."""
    seen = open_gap(attention.astype(np.float32), given.cut, 0.0)
    seen[given.mask > 0] = 0.0
    return replace(given, attention=seen)


def attention_maps(case: SpineCase, analysis: SpineAnalysis, level: str, prepared: Prepared, hgam: AttentionSource):
    maps = {
        name: source(case, analysis, prepared.straight, level)
        for name, source in ((SUSPICION, suspicion_beside), (HGAM, hgam), (NONE, everywhere))
    }
    return {**maps, SHUFFLED: shuffled(maps[HGAM]), TURNED: maps[HGAM][::-1].copy()}


def shuffled(attention: FloatArray) -> FloatArray:
    """attention (SI, AP, LR) at 1 mm with its whole blocks of BLOCK_MM exchanged at random."""
    counts = [size // BLOCK_MM for size in attention.shape]
    whole = attention[tuple(slice(0, count * BLOCK_MM) for count in counts)]
    apart = whole.reshape(counts[0], BLOCK_MM, counts[1], BLOCK_MM, counts[2], BLOCK_MM).transpose(0, 2, 4, 1, 3, 5)
    blocks = np.random.default_rng(SEED).permutation(apart.reshape(-1, BLOCK_MM, BLOCK_MM, BLOCK_MM))
    out = attention.copy()
    together = blocks.reshape(apart.shape).transpose(0, 3, 1, 4, 2, 5).reshape(whole.shape)
    out[tuple(slice(0, count * BLOCK_MM) for count in counts)] = together
    return out


def row_of(number: int, generate: GenerateSamples, classifier: FractureClassifier) -> dict:
    case, analysis, level = level_beside_fractures(number)
    prepared = prepare(case, analysis, level)
    ways = {}
    for name, attention in attention_maps(case, analysis, level, prepared, attention_by(classifier)).items():
        own = prepared._replace(conditioning=with_attention(prepared.conditioning, attention))
        vertebra = generate(own.conditioning)[0]
        ways[name] = {
            **picture_metrics(own, vertebra),
            "dimmed_share": float((own.conditioning.attention[own.conditioning.mask == 0] < 0.5).mean()),
            "fracture_probability": fracture_probability(classifier, vertebra, own.straight.spacing_mm),
        }
    return {"spine": number, "level": level, "ways": ways}


def table(rows: list[dict]) -> str:
    """Means; in brackets the 95 % interval (bootstrap over spines) of the mean difference to no attention."""
    lines = [
        f"{len(rows)} levels of as many spines (seeds from {SEED}).",
        "",
        "| attention | Dice | SSIM | PSNR, dB | called fractured |",
        "|---|---|---|---|---|",
    ]
    for way in (SUSPICION, HGAM, NONE, SHUFFLED, TURNED):
        called = sum(row["ways"][way]["fracture_probability"] > FRACTURED for row in rows)
        cells = " | ".join(_cell(rows, way, metric) for metric in METRICS)
        lines.append(f"| {way} | {cells} | {called} |")
    return "\n".join(lines)


def _cell(rows: list[dict], way: str, metric: str) -> str:
    told, spines = [row["ways"] for row in rows], [row["spine"] for row in rows]
    return cell_of_way(told, way, NONE, metric, spines, DECIMALS[metric], "+.0e", SEED)


def levels_table(case: SpineCase, classifier: FractureClassifier) -> str:
    """What the classifier and the heights say of every complete level of a scan."""
    analysis = analyse(case)
    lines = ["| level | fracture probability | suspicion |", "|---|---|---|"]
    for level, body in analysis.bodies.items():
        if body.complete:
            probability = classifier.probability(level_patches(case, analysis, level))
            lines.append(f"| {level} | {probability:.2f} | {analysis.suspicion[level]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gan")
    parser.add_argument("--weights", type=Path, help="the model's, as `train` writes them; default: the shipped ones")
    parser.add_argument("--classifier", default="fracture_cnn", help="the shipped one, or a .safetensors file")
    parser.add_argument("--count", type=int, default=12, help="spines")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--rows", type=Path, help="a .jsonl file, continued if it is there")
    where.add_argument("--scan", type=Path, nargs=2, metavar=("CT", "SEG"), help="only read the levels of a scan")
    arguments = parser.parse_args()
    if arguments.scan:
        print(levels_table(load_case(*arguments.scan), load_classifier(arguments.classifier)))
        return
    generate = commands.load_generator(commands.GeneratorChoice(arguments.model, arguments.weights)).generate
    classifier = load_classifier(arguments.classifier)
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()] if arguments.rows.is_file() else []
    done = {row["spine"] for row in rows}
    for number in range(arguments.count):
        if number in done:
            continue
        rows.append(row_of(number, generate, classifier))
        with arguments.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
