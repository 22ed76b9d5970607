"""What does a fracture hide? `python Testing/bench/fracture_cost.py --spines 24`.

Prints the table of docs/trials.md, "What a fracture hides": fractured levels of generated spines put together from
their neighbours alone, as a run does it and with one thing at a time taken from the same person without fractures, held
against that person.
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable
from dataclasses import replace

from bulge import as_if_fractured
from prior_constants import DECIMALS
from rows import cell_of_way
from scipy import ndimage
from spines import Scan, Twins
from twins import with_its_twin

from healthivert.evaluate import picture_metrics
from healthivert.footprint import footprint_moments, soft_footprint
from healthivert.gap import make_conditioning
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import neighbours_prior, prior_vertebra
from healthivert.types import Conditioning, FloatArray

FIRST_SEED = 903_200  # neither of training nor of the bench
AS_RUN = "as run"


def ways(level: str, twins: Twins) -> tuple[Prepared, dict[str, Conditioning]]:
    """The level in the healthy twin, and what it is put together from: name -> conditioning."""
    shown, truth = prepare(*twins.scan, level), twins.truth(level)
    given, healthy = shown.conditioning, truth.conditioning
    body, true_body = shown.old_body, truth.old_body
    suspicion = twins.scan[1].suspicion[level]  # of the target: how much of its bulge is taken back
    here, there = (footprint_moments(soft_footprint(one))[0] for one in (body, true_body))

    def put_together(
        neighbours: Scan = twins.scan, target: FloatArray = body, stretch: FloatArray | float = given.stretch
    ) -> Conditioning:
        prior = neighbours_prior(*neighbours, level, target, stretch)
        attention, expected = shown.attention, shown.reference
        return make_conditioning(
            shown.straight, level, given.cut, attention, prior, expected, given.reference_sd, given.margin_mm, stretch
        )

    moved = ndimage.shift(body, (0.0, *(there - here)), order=1)
    healthy_case, healthy_analysis = twins.healthy
    true_height = healthy_analysis.levels[level].heights
    return truth, {
        AS_RUN: given,
        "height": replace(given, reference_mm=true_height.mean, reference_thirds=true_height.thirds),
        "bend of the spine": put_together(stretch=healthy.stretch),
        "neighbours": put_together(neighbours=(healthy_case, as_if_fractured(healthy_analysis, level, suspicion))),
        "footprint's centre": put_together(target=moved),
        "footprint": put_together(target=true_body),
        "all of it": healthy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=24, help="generated ones")
    arguments = parser.parse_args()
    told: list[dict[str, dict[str, float]]] = []
    units: list[Hashable] = []
    for seed in range(FIRST_SEED, FIRST_SEED + arguments.spines):
        levels, twins = with_its_twin(seed)
        for level in levels:
            truth, given = ways(level, twins)
            told.append({name: picture_metrics(truth, prior_vertebra(one)) for name, one in given.items()})
            units.append(seed)
    print(f"| of the healthy twin ({len(told)} levels) | Dice | SSIM | PSNR, dB |\n|---|---|---|---|")
    for name in told[0]:
        cells = [cell_of_way(told, name, AS_RUN, metric, units, decimals) for metric, decimals in DECIMALS.items()]
        print(f"| {'nothing: ' if name == AS_RUN else ''}{name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
