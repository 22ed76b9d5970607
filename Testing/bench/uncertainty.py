"""How far the truth lies from the answer, where samples lie near it and where they lie far from it:
`python Testing/bench/uncertainty.py --phantoms 8`.

Prints a table for each model, of healthy phantom levels hidden and regrown, and the two numbers of
healthivert/variation.py that would make nine of ten truths lie within 1.645 times the uncertainty in each row.
"""

from __future__ import annotations

import argparse

import numpy as np
import SimpleITK as sitk
from scipy.optimize import least_squares

from healthivert import commands
from healthivert.anatomy import LEVEL_NUMBER
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import render, sample_spine, whole_spine_grid
from healthivert.pipeline import NINE_OF_TEN, GenerateSamples, regrow
from healthivert.progress import quiet
from healthivert.training.samples import case_from_images
from healthivert.types import FloatArray, SpineCase
from healthivert.variation import UNSEEN_HU, WIDER

SEED = 880_000  # neither of training nor of the bench
SAMPLES, LEVELS, ROWS = 8, ("T8", "L1", "L4"), 10


def uncertainty_and_error(
    case: SpineCase, analysis: SpineAnalysis, level: str, generate: GenerateSamples
) -> tuple[FloatArray, FloatArray]:
    """Of each voxel of the regrown body, in the patient: the uncertainty, and how far the answer is from the truth,
    both HU. The level has to be healthy."""
    restored = regrow(case, analysis, level, generate, quiet).restored
    uncertainty = sitk.GetArrayFromImage(sitk.Resample(restored.ct_sd, case.ct))
    within = (sitk.GetArrayFromImage(restored.labels) == LEVEL_NUMBER[level]) & (uncertainty > 0)
    before, after = (sitk.GetArrayFromImage(ct)[within].astype(float) for ct in (case.ct, restored.ct))
    return uncertainty[within], np.abs(after - before)


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
        found = [[], []]
        for seed in range(SEED, SEED + args.phantoms):
            spine = sample_spine(seed)
            picture = render(spine, whole_spine_grid(spine, field_mm=140), spine.scanner)
            case = case_from_images(picture.ct, picture.labels, f"phantom {seed}")
            analysis = analyse(case)
            for level in LEVELS:
                for values, of_level in zip(found, uncertainty_and_error(case, analysis, level, generate), strict=True):
                    values.append(of_level)
        show(model, np.concatenate(found[0]), np.concatenate(found[1]))


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
