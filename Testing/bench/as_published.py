"""SSIM and PSNR as the code of the origin counts them, so that its published 0.92 and 28.5 dB can be held against ours.

HealthiVert-GAN (https://arxiv.org/abs/2503.05990) compares sagittal slices, one by one: the rows of the body, over the
whole width of its pictures, 128 mm of patient between 64 columns of zeros on either side; 8 bit of -300..800 HU; the
range of the values is that of the slice; of the middle four fifths of the body's slices those that show more than 400
mm2 of it. Zeros and tissue far from the body count, which flatters: docs/results.md therefore has a plain column of
bone beside the models, and counts nothing but the body's surroundings everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from rows import Row, Subject
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from healthivert.gap import HU_WINDOW
from healthivert.geometry import patch_around, sample
from healthivert.inspection import SpineAnalysis
from healthivert.pipeline import GenerateSamples, regrow
from healthivert.prior import prior_vertebra, upright
from healthivert.progress import quiet
from healthivert.straighten import arc_extent, body_occupancy, to_patient
from healthivert.types import Conditioning, FloatArray, PseudoHealthy, SpineCase

PATIENT_MM, PADDING, LR_MM = 128, 64, 72
LEAST_PIXELS = 400
SHARE_OF_SLICES = (4, 5)
SSIM_WINDOW = 7
PUBLISHED = "published: 0.92, 28.5 dB"


def plain_column(conditioning: Conditioning) -> list[PseudoHealthy]:
    """No vertebra at all: even bone over the target's footprint, as high as the neighbours say."""
    first, last = conditioning.gap
    ct, body = conditioning.prior_ct.copy(), conditioning.prior_body.copy()
    ct[first:last], body[first:last] = upright(conditioning.outline[first:last])
    return [prior_vertebra(replace(conditioning, prior_ct=ct, prior_body=body))]


def neighbours_alone(conditioning: Conditioning) -> list[PseudoHealthy]:
    return [prior_vertebra(conditioning)]


def published_row(subject: Subject, what: str, levels: Iterable[tuple[SpineCase, SpineAnalysis, str]]) -> Row:
    """levels: healthy ones, each with its case and the analysis of it."""
    ways = {"": subject.generate, "neighbours alone": neighbours_alone, "a plain column of bone": plain_column}
    found: Mapping[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for case, analysis, level in levels:
        for way, generate in ways.items():
            found[way].append(likeness_as_published(case, analysis, level, generate))
    means = {way: np.mean(values, axis=0) for way, values in found.items()}
    texts = [f"{way} {ssim:.3f}, {psnr:.1f} dB".strip() for way, (ssim, psnr) in means.items()]
    regrown = f"{len(found[''])} levels hidden and regrown"
    return Row(f"{what}, {regrown}: SSIM and PSNR as the publication counts", PUBLISHED, "; ".join(texts), None)


def likeness_as_published(
    case: SpineCase, analysis: SpineAnalysis, level: str, generate: GenerateSamples
) -> tuple[float, float]:
    """SSIM and PSNR (dB) of the scan and of the same with the level, which has to be healthy, hidden and regrown."""
    restored = regrow(case, analysis, level, generate, quiet).restored.ct
    body, frame = analysis.bodies[level], analysis.frame
    low, high = arc_extent(body, frame)
    behind, left = (np.arange(size) - (size - 1) / 2 for size in (PATIENT_MM, LR_MM))
    place = np.meshgrid(np.arange(low + 0.5, high), behind, left, indexing="ij")
    points = to_patient(frame, np.stack(place[::-1], axis=-1))
    before, after = (
        _grey(sample(patch_around(ct, points, 3.0), points, outside=-1000.0)) for ct in (case.ct, restored)
    )
    return likeness_of_slices(before, after, body_occupancy(body, points) > 0.5)


def likeness_of_slices(before: FloatArray, after: FloatArray, body: np.ndarray) -> tuple[float, float]:
    """Mean SSIM and PSNR (dB) of sagittal slices. before, after: 0..255, body: bool, all (SI, AP, LR) at 1 mm."""
    pixels = body.sum(axis=(0, 1))
    slices = np.flatnonzero(pixels)
    count = SHARE_OF_SLICES[0] * len(slices) // SHARE_OF_SLICES[1]
    chosen = slices[(len(slices) - count) // 2 :][:count]
    scores = []
    for at in chosen[pixels[chosen] > LEAST_PIXELS]:
        pair = [np.pad(grey[:, :, at], ((0, 0), (PADDING, PADDING))) for grey in (before, after)]
        values = float(pair[0].max() - pair[0].min())
        ssim = structural_similarity(*pair, data_range=values, win_size=SSIM_WINDOW)
        scores.append((ssim, peak_signal_noise_ratio(*pair, data_range=values)))
    mean = np.mean(scores, axis=0)
    return float(mean[0]), float(mean[1])


def _grey(hu: FloatArray) -> FloatArray:
    low, high = HU_WINDOW
    return np.clip(np.floor(255 * (hu.astype(float) - low) / (high - low)), 0, 255)
