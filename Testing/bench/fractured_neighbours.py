"""Does it help to regrow fractured neighbours first? Measured on unseen phantoms with two and three fractures in a row.

Prints the table of docs/trials.md, "Passes over fractured neighbours". Each spine has two or three adjacent fractures
of grade 1 to 3 and healthy levels beyond them. One of two, and the middle one of three is regrown without and with
passes over the neighbours, and compared with the healthy twin; order and a second pass are measured where several
neighbours are regrown. A target none of whose neighbours looks fractured is left out, since nothing would be regrown
beside it. Every row is kept in --rows, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rows import cell_of_way
from spines import Scan, Twins, scanned, spine_with_fractures

from healthivert import commands, iterate
from healthivert.evaluate import picture_metrics
from healthivert.inspection import SpineAnalysis
from healthivert.measure import body_heights, relative_height_loss
from healthivert.phantom import PhantomSpine, truth
from healthivert.pipeline import GenerateSamples, Prepared, healthy_heights, prepare
from healthivert.types import Heights, PseudoHealthy

SEED = 46_000
METRICS = ("rhlv_error", "rhdr", "dice", "ssim", "psnr", "seconds")
NO_PASS, ONE_PASS, TWO_PASSES = "no pass", "one pass, nearest first", "two passes, nearest first"
OTHER_ORDER = "one pass, healthiest surroundings first"
PRIOR_TOO = "one pass, the prior from the regrown, too"
EVIDENCE_TOO = "one pass, prior and expected height from the regrown, too"


def target_of(spine: PhantomSpine, number: int) -> str:
    """One of two, upper and lower in turn; the middle one of three."""
    row = spine.fractured_levels
    return row[number // 2 % 2] if len(row) == 2 else row[1]


def measured(vertebra: PseudoHealthy, analysis: SpineAnalysis, twin: Prepared, row: dict) -> dict[str, float]:
    """RHLV error (points) and RHDR (percent) against the analytic truth; Dice, SSIM and PSNR (dB) as `evaluate`
    measures them, with the vertebra at its predicted height in the healthy twin's scan."""
    heights = healthy_heights(vertebra, twin.straight.spacing_mm)[0]
    loss = relative_height_loss(body_heights(analysis.bodies[row["level"]]), heights)
    true = Heights(**row["healthy_heights_mm"]).mean
    return {
        "rhlv_error": 100 * abs(loss.mean - row["rhlv"]["mean"]),
        "rhdr": 100 * abs(heights.mean - true) / true,
        **picture_metrics(twin, vertebra),
    }


def compare(scan: Scan, twin: Prepared, row: dict, generate: GenerateSamples) -> dict[str, dict[str, float]]:
    """Way -> metrics. seconds: processor time that the passes cost."""
    level = row["level"]
    suspected = iterate.suspected_in_reach(scan[1], level)
    expected = iterate.expected_heights(scan[1], (level, *suspected))
    own = prepare(*scan, level).conditioning

    def told(vertebra: PseudoHealthy, seconds: float) -> dict[str, float]:
        return {**measured(vertebra, scan[1], twin, row), "seconds": seconds}

    def passed(repaired: Scan, turns: Sequence[str], spent: float) -> tuple[Scan, float]:
        start = time.process_time()
        return iterate.regrow_in_turn(*repaired, turns, expected, generate), spent + time.process_time() - start

    ways = {NO_PASS: told(generate(own)[0], 0.0)}
    nearest = iterate.in_order(scan[1], level, suspected)
    repaired, seconds = passed(scan, nearest, 0.0)
    around = prepare(*repaired, level)
    ways[ONE_PASS] = told(generate(iterate.with_surroundings(own, around.conditioning))[0], seconds)
    vertebra = generate(replace(around.conditioning, cut=own.cut, reference_mm=own.reference_mm))[0]
    ways[PRIOR_TOO] = told(vertebra, seconds)
    height = vertebra.height_mm * around.reference.mean / own.reference_mm
    ways[EVIDENCE_TOO] = told(replace(vertebra, height_mm=height), seconds)
    if len(nearest) > 1:
        second, more = passed(repaired, (level, *nearest), seconds)
        given = iterate.with_surroundings(own, prepare(*second, level).conditioning)
        ways[TWO_PASSES] = told(generate(given)[0], more)
        healthiest = iterate.in_order(scan[1], level, suspected, iterate.HEALTHIEST)
        if healthiest == nearest:
            ways[OTHER_ORDER] = ways[ONE_PASS]
        else:
            other, seconds = passed(scan, healthiest, 0.0)
            given = iterate.with_surroundings(own, prepare(*other, level).conditioning)
            ways[OTHER_ORDER] = told(generate(given)[0], seconds)
    return ways


def row_of(number: int, generate: GenerateSamples) -> dict:
    spine = spine_with_fractures(number, SEED)
    scan, level = scanned(spine, f"phantom {number}"), target_of(spine, number)
    suspected = iterate.suspected_in_reach(scan[1], level)
    said = {"spine": number, "in_a_row": len(spine.fractured_levels), "level": level, "suspected": suspected}
    if not suspected:
        return {**said, "ways": {}}
    twin = Twins(spine, scan, scanned(spine.healthy_twin(), f"twin {number}")).truth(level)
    facts = next(row for row in truth(spine)["levels"] if row["level"] == level)
    return {**said, "ways": compare(scan, twin, facts, generate)}


def table(rows: list[dict]) -> str:
    """Means over targets; in brackets the 95 % interval (bootstrap) of the mean difference to no pass."""
    kept = [row for row in rows if row["ways"]]
    lines = [
        f"{len(kept)} targets in as many spines (seeds from {SEED}); {len(rows) - len(kept)} more had no suspected "
        "neighbour.",
        "",
        "| | RHLV error, points | RHDR, % | Dice | SSIM | PSNR, dB | s |",
        "|---|---|---|---|---|---|---|",
    ]
    several = [row for row in kept if TWO_PASSES in row["ways"]]
    parts = (
        ("all", kept, (NO_PASS, ONE_PASS, PRIOR_TOO, EVIDENCE_TOO)),
        ("several suspected", several, (NO_PASS, ONE_PASS, OTHER_ORDER, TWO_PASSES)),
    )
    for name, part, ways in parts:
        for way in ways if part else ():
            cells = " | ".join(_cell(part, way, metric) for metric in METRICS)
            lines.append(f"| {name} ({len(part)}): {way} | {cells} |")
    return "\n".join(lines)


def _cell(rows: list[dict], way: str, metric: str) -> str:
    told, spines = [row["ways"] for row in rows], [row["spine"] for row in rows]
    decimals = {"dice": 3, "ssim": 3, "seconds": 0}.get(metric, 2)
    first = way if metric == "seconds" else NO_PASS  # time is told as it is
    return cell_of_way(told, way, first, metric, spines, decimals, seed=SEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gan")
    parser.add_argument("--count", type=int, default=12, help="spines")
    parser.add_argument("--rows", type=Path, required=True, help="a .jsonl file, continued if it is there")
    arguments = parser.parse_args()
    generate = commands.load_generator(commands.GeneratorChoice(arguments.model)).generate
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in arguments.rows.read_text().splitlines()] if arguments.rows.is_file() else []
    done = {row["spine"] for row in rows}
    for number in range(arguments.count):
        if number in done:
            continue
        rows.append(row_of(number, generate))
        with arguments.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
