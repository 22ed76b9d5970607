"""How far the truth lies from the answer, where samples lie near it and where they lie far from it:
`python Testing/bench/uncertainty.py --phantoms 8`.

Prints a table for each model, of healthy phantom levels hidden and regrown, and the two numbers of
healthivert/variation.py that would make nine of ten truths lie within 1.645 times the uncertainty in each row.
"""

from __future__ import annotations

import argparse

import numpy as np
from bench import SAMPLES, phantom_scan, uncertainty_and_error
from scipy.optimize import least_squares

from healthivert import commands
from healthivert.pipeline import NINE_OF_TEN
from healthivert.types import FloatArray
from healthivert.variation import UNSEEN_HU, WIDER

SEED = 880_000  # neither of training nor of the bench
LEVELS, ROWS = ("T8", "L1", "L4"), 10


def apart(uncertainty: FloatArray) -> FloatArray:
    """How far the samples lay apart, HU: the inverse of what variation.with_spread makes of it."""
    return np.sqrt(np.maximum(uncertainty**2 - UNSEEN_HU**2, 0.0)) / WIDER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=["gan", "diffusion"])
    args = parser.parse_args()
    for model in args.models:
        generate = commands.load_generator(commands.GeneratorChoice(model, samples=SAMPLES)).generate
        scans = [phantom_scan(seed, fractured=False) for seed in range(SEED, SEED + args.phantoms)]
        pairs = [uncertainty_and_error(scan.case, scan.analysis, level, generate) for scan in scans for level in LEVELS]
        show(model, *(np.concatenate(values) for values in zip(*pairs, strict=True)))


def show(model: str, uncertainty: FloatArray, error: FloatArray) -> None:
    samples_apart = apart(uncertainty)
    edges = np.quantile(samples_apart, np.linspace(0, 1, ROWS + 1)[1:-1])
    row = np.digitize(samples_apart, edges)
    print(f"\n## {model}\n\n| samples apart, HU | uncertainty, HU | nine of ten truths within 1.645 times, HU |")
    print("|---|---|---|")
    asked = []
    for number in range(ROWS):
        of_row = row == number
        near, stated = samples_apart[of_row].mean(), uncertainty[of_row].mean()
        needed = np.quantile(error[of_row], 0.9) / NINE_OF_TEN
        asked.append((near, needed))
        print(f"| {near:.0f} | {stated:.0f} | {needed:.0f} |")
    near, needed = np.transpose(asked)
    wider, unseen = least_squares(lambda fit: np.log(np.hypot(fit[0] * near, fit[1]) / needed), (1.0, 50.0)).x
    held = np.mean(error <= NINE_OF_TEN * uncertainty)
    print(f"\n{held:.0%} lie within 1.645 times the uncertainty; WIDER {wider:.2f}, UNSEEN_HU {unseen:.0f}")


if __name__ == "__main__":
    main()
