"""Are bodies drawn too large? `python Testing/bench/volume_bias.py --model MODEL --spines 9`.

Prints the table of docs/trials.md, "The volume of the body": the levels of model_share.py and the healthy ones of
VerSe's real CT, regrown, with the log odds of what the model calls body as they are and lowered. Cells are Dice, SSIM
and by how many percent the drawn body is larger than the true one. Every level at the reference's height.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import torch
from mirrored_share import verse
from model_share import METRICS, Subject, by_group, fractured, healthy
from scipy.special import expit, logit

from healthivert.evaluate import picture_metrics, put_back
from healthivert.generate import averaged, model_share, two_planes
from healthivert.models.interface import Generator
from healthivert.models.weights import load_weights
from healthivert.pipeline import prepare
from healthivert.prior import prior_vertebra
from healthivert.types import PseudoHealthy

LOWERED = (0.0, 0.25, 0.5)
NEIGHBOURS = "neighbours alone"


def on_verse() -> Iterator[Subject]:
    for level in verse():
        prepared = prepare(level.case, level.analysis, level.name)
        yield Subject("VerSe", prepared, prepared)


def measured(model: Generator, subject: Subject) -> dict[tuple[str, float], list[float]]:
    """(who draws, log odds lowered by) -> METRICS and volume."""
    given = subject.shown.conditioning
    planes, _ = two_planes(model, torch.device("cpu"), given, 0)
    told = {(NEIGHBOURS, 0.0): _told(subject, prior_vertebra(given))}
    for who, share in (("as run", model_share(given)), ("by itself", 1.0)):
        for less in LOWERED:
            lowered = planes._replace(body=expit(logit(planes.body.clip(1e-5, 1 - 1e-5)) - less))
            told[who, less] = _told(subject, averaged(lowered, given.reference_mm, given, share))
    return told


def _told(subject: Subject, vertebra: PseudoHealthy) -> list[float]:
    metrics = picture_metrics(subject.truth, vertebra)
    _, true_body, new_body = put_back(subject.truth, vertebra)
    volume = 100 * (new_body.sum() / true_body.sum() - 1)
    return [*(metrics[name] for name in METRICS), float(volume)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gan")
    parser.add_argument("--spines", type=int, default=9, help="generated ones with fractures, half as many without")
    args = parser.parse_args()
    model, _ = load_weights(args.model, torch.device("cpu"))
    subjects = chain(healthy(args.spines // 2), on_verse(), fractured(args.spines))
    rows = by_group(subjects, partial(measured, model))
    ways = list(next(iter(rows.values()))[0])
    titles = [f"{who}, {less:g} less" if less else who for who, less in ways]
    print(f"| {args.model} | {' | '.join(titles)} |\n" + "|---" * (1 + len(ways)) + "|")
    for group, found in rows.items():
        cells = []
        for way in ways:
            dice, ssim, _, volume = np.mean([told[way] for told in found], axis=0)
            cells.append(f"{dice:.4f}, {ssim:.3f}, {volume:+.1f}")
        print(f"| {group} ({len(found)}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
