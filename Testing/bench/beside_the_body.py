"""How far around a regrown body should what was drawn replace the patient's own tissue?
`python Testing/bench/beside_the_body.py --spines 24`.

Prints the table of docs/trials.md, "Beside the body": the deepest fracture of generated spines, regrown by the
neighbours alone and held against the healthy twin, lower plate on lower plate, and healthy levels of the real lumbar
CT, hidden and regrown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
from bench import HEALTHY, lumbar_case
from rows import cell_of_way
from scipy import ndimage
from spines import scanned_twins

from healthivert import restore
from healthivert.body import plate_rows
from healthivert.errors import HealthiVertError
from healthivert.evaluate import likeness, picture_metrics
from healthivert.geometry import rows_at
from healthivert.inspection import analyse
from healthivert.phantom import sample_spine
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra
from healthivert.types import FloatArray

FIRST_SEED = 88_000  # neither of training nor of the bench
SPACING_MM, FIELD_MM = 1.0, 140.0
LEAST_DEPTH_MM = 4.0  # of a fracture worth regrowing
SLACK = np.arange(-2.0, 2.5, 0.5)  # columns by which a collapse may have moved the frame across the spine
NEVER = 1e6
WAYS = {
    "3 mm everywhere": {"BLUR_MM": 3.0, "MOVED_MM": NEVER},
    "2 mm everywhere": {"BLUR_MM": 2.0, "MOVED_MM": NEVER},
    "1 mm everywhere": {"BLUR_MM": 1.0, "MOVED_MM": NEVER},
    "1 mm, 3 mm where the border moved by 1 mm": {"BLUR_MM": 1.0, "MOVED_MM": 1.0},
    "1 mm, 3 mm where the border moved by 2 mm": {"BLUR_MM": 1.0, "MOVED_MM": 2.0},
    "1 mm, 3 mm where the border moved by 3 mm": {"BLUR_MM": 1.0, "MOVED_MM": 3.0},
}
DECIMALS = {"ssim": 3, "psnr": 2}


class Fracture(NamedTuple):
    shown: Prepared
    twin: Prepared


def fractures(spines: int) -> Iterator[Fracture]:
    for seed in range(FIRST_SEED, FIRST_SEED + spines):
        spine = sample_spine(seed, fractured=True)
        depth = {v.level: v.fracture.depth_mm for v in spine.vertebrae if v.fracture}
        level = max(depth, key=depth.__getitem__, default=None)
        if level is None or depth[level] < LEAST_DEPTH_MM:
            continue
        try:
            twins = scanned_twins(spine, level, SPACING_MM, FIELD_MM)
            yield Fracture(prepare(*twins.scan, level), twins.truth(level))
        except HealthiVertError as error:  # a level at the border of the scan
            print(f"seed {seed} left out: {error}")


def against_twin(fracture: Fracture) -> dict[str, dict[str, float]]:
    """Way -> metrics, in the twin's frame. The frames are laid on each other by the lower plates, and across the spine
    as suits the first way best; the others take it as it is."""
    shown, twin = fracture
    offset: FloatArray | None = None
    told = {}
    for way, constants in WAYS.items():
        with patch.multiple(restore, **constants):
            after = _over_twin(shown, twin)
        if offset is None:
            offset = max(product((0.0,), SLACK, SLACK), key=lambda o, a=after: _like(twin, _moved(a, o))["psnr"])
        told[way] = _like(twin, _moved(after, offset))
    return told


def _over_twin(shown: Prepared, twin: Prepared) -> FloatArray:
    """The restored CT of shown, on the rows of the twin's frame."""
    vertebra, placement = restore.place(
        shown.straight, shown.conditioning, prior_vertebra(shown.conditioning), shown.old_body
    )
    after, body = restore.restore_straightened(shown.straight, shown.old_body, vertebra, placement)
    lower, twin_lower = (np.nanmedian(plate_rows(b)[0]) for b in (body, twin.old_body))
    return rows_at(after, np.arange(len(twin.straight.ct)) + lower - twin_lower)


def _moved(ct: FloatArray, offset: FloatArray) -> FloatArray:
    return ndimage.shift(ct, offset, order=1, mode="nearest")


def _like(twin: Prepared, ct: FloatArray) -> dict[str, float]:
    straight = twin.straight
    return likeness(straight.ct, ct, twin.old_body > 0.5, straight.spacing_mm, straight.seen)


def hidden(prepared: Prepared) -> dict[str, dict[str, float]]:
    """Way -> metrics of a healthy level against itself."""
    told = {}
    for way, constants in WAYS.items():
        with patch.multiple(restore, **constants):
            told[way] = picture_metrics(prepared, prior_vertebra(prepared.conditioning))
    return told


def cell(rows: list[dict[str, dict[str, float]]], way: str, metric: str) -> str:
    """Mean, and the 95 % interval of what the way changes against the first one."""
    return cell_of_way(rows, way, next(iter(WAYS)), metric, range(len(rows)), DECIMALS[metric])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=24)
    arguments = parser.parse_args()
    case = lumbar_case()
    analysis = analyse(case)
    groups = {
        "fractured": [against_twin(fracture) for fracture in fractures(arguments.spines)],
        "lumbar CT": [hidden(prepare(case, analysis, level)) for level in HEALTHY["lumbar"]],
    }
    columns = [f" {g} ({len(rows)}), {m.upper()} |" for g, rows in groups.items() for m in DECIMALS]
    print("| drawn tissue reaches |" + "".join(columns))
    print("|---|" + "---|" * len(columns))
    for way in WAYS:
        print(f"| {way} |" + "".join(f" {cell(rows, way, m)} |" for rows in groups.values() for m in DECIMALS))


if __name__ == "__main__":
    main()
