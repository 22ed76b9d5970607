"""What limits any generator on generated spines, however good it is: the bench prints it beside the models.

Heights: the best linear prediction of a level from all others, by one who knows how the generator's spines vary.
Pictures: the very same vertebra, with one thing wrong each, held against its own scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from healthivert.evaluate import likeness, picture_metrics
from healthivert.evaluate_phantoms import PhantomScan
from healthivert.gap import GAP, from_window
from healthivert.measure import body_heights
from healthivert.phantom import render, sample_spine, truth, whole_spine_grid
from healthivert.pipeline import prepare
from healthivert.prior import canonical_slab
from healthivert.training.samples import case_from_images
from healthivert.types import FloatArray, PseudoHealthy

TOO_TALL = 0.025  # about what neighbours cannot know
BLUR_MM = 1.2  # standard deviation


def best_height_errors(known: Iterable[int], tested: Iterable[int]) -> dict[str, FloatArray]:
    """Level -> (spines,) absolute errors, in percent, of the best linear prediction of its mean height from the others.

    By one who knows how the generator's healthy spines vary, from those of the seeds known; of those of the seeds
    tested. Heights are the analytic truth: a little more than can be known.
    """
    levels, heights = _mean_heights(known)
    middle = np.log(heights).mean(axis=0)
    precision = np.linalg.inv(np.cov((np.log(heights) - middle).T))
    _, seen = _mean_heights(tested)
    error = (np.log(seen) - middle) @ precision / np.diag(precision)  # truth minus prediction by the others
    return dict(zip(levels, 100 * np.abs(np.expm1(-error)).T, strict=True))


def _mean_heights(seeds: Iterable[int]) -> tuple[list[str], FloatArray]:
    """Levels, and (spines, levels) mm."""
    spines = [truth(sample_spine(seed))["levels"] for seed in seeds]
    heights = [[row["healthy_heights_mm"]["mean"] for row in spine] for spine in spines]
    return [row["level"] for row in spines[0]], np.array(heights)


def nearly_the_same(scan: PhantomScan, seed: int, level: str) -> Iterator[tuple[str, dict[str, float]]]:
    """(what is wrong with it, SSIM and PSNR in dB) of a level of a healthy spine; seed: the spine's.

    The scanner's noise is what nobody can foresee. The others are the true vertebra through the gap and back.
    """
    spine = sample_spine(seed)
    picture = render(spine, whole_spine_grid(spine, field_mm=140), replace(spine.scanner, noise_hu=0.0))
    clean = case_from_images(picture.ct, picture.labels, scan.case.name)
    seen, ideal = (prepare(case, scan.analysis, level) for case in (scan.case, clean))
    spacing = seen.straight.spacing_mm
    yield "without the scanner's noise", likeness(seen.straight.ct, ideal.straight.ct, seen.old_body > 0.5, spacing)
    ct, body = (np.zeros_like(seen.conditioning.ct) for _ in range(2))
    ct[GAP[0] : GAP[1]], body[GAP[0] : GAP[1]], _ = canonical_slab(scan.case, scan.analysis, level)
    hidden = seen.conditioning.mask > 0.5
    ct = np.where(hidden, ct, seen.conditioning.ct)
    true_mm = body_heights(scan.analysis.bodies[level]).mean
    blurred = np.where(hidden, gaussian_filter(ct, BLUR_MM / seen.conditioning.spacing_mm), ct)
    for wrong, drawn, height in (
        ("put back as it was", ct, true_mm),
        (f"{TOO_TALL:.1%} too tall", ct, true_mm * (1 + TOO_TALL)),
        (f"blurred by {BLUR_MM} mm", blurred, true_mm),
    ):
        vertebra = PseudoHealthy(from_window(drawn), body, height, stretch=seen.conditioning.stretch)
        yield wrong, picture_metrics(seen, vertebra)
