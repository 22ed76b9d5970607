"""What a scanner does to the anatomy: blur, slice thickness, kernel overshoot and correlated noise.

In: HU on a grid fine enough for the shapes. Out: int16 HU, as a scanner stores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.types import FloatArray


@dataclass(frozen=True)
class Scanner:
    """Acquisition and reconstruction. All mm or HU.

    blur_mm: standard deviation of the in-plane point spread. slice_mm: slice thickness; the slice axis is the grid's
    third. sharpening: overshoot of a bone kernel (0 a soft kernel). noise_grain_mm: correlation of the noise in plane.
    """

    blur_mm: float = 0.55
    slice_mm: float = 1.0
    sharpening: float = 0.0
    noise_hu: float = 20.0
    noise_grain_mm: float = 0.6
    seed: int = 0


def sample_scanner(generator: np.random.Generator) -> Scanner:
    """A scanner as clinics have them: mostly thin slices and soft kernels, sometimes thick, sharp or noisy ones."""
    slice_mm = float(
        generator.choice(
            [0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0], p=[0.14, 0.14, 0.28, 0.14, 0.12, 0.1, 0.06, 0.02]
        )
    )
    return Scanner(
        blur_mm=float(generator.uniform(0.38, 0.85)),
        slice_mm=slice_mm,
        sharpening=float(generator.choice([0.0, generator.uniform(0.15, 0.6)], p=[0.6, 0.4])),
        noise_hu=float(np.exp(generator.normal(np.log(16), 0.55))),
        noise_grain_mm=float(generator.uniform(0.45, 1.1)),
        seed=int(generator.integers(2**31)),
    )


def acquire(
    hu: FloatArray, spacing: Sequence[float], rendered_blur: Sequence[float], scanner: Scanner | None
) -> FloatArray:
    """Blur an ideal image as the scanner does. hu (k, j, i); spacing, rendered_blur (already there): mm by axis."""
    if scanner is None:
        return hu
    wanted = (scanner.slice_mm / np.sqrt(12), scanner.blur_mm, scanner.blur_mm)
    sigmas = [np.sqrt(max(w * w - r * r, 0)) / s for w, r, s in zip(wanted, rendered_blur, spacing, strict=True)]
    blurred = _gaussian(hu, sigmas)
    if scanner.sharpening:
        wider = _gaussian(blurred, (0.0, 1.1 / spacing[1], 1.1 / spacing[2]))
        blurred = blurred + np.float32(scanner.sharpening) * (blurred - wider)
    return blurred


def add_noise(hu: FloatArray, spacing: Sequence[float], scanner: Scanner | None) -> NDArray[np.int16]:
    """Noise correlated in plane with standard deviation noise_hu, then rounding to what a 12-bit scanner stores."""
    if scanner is not None and scanner.noise_hu > 0:
        generator = np.random.Generator(np.random.PCG64(scanner.seed))
        noise = generator.standard_normal(hu.shape, dtype=np.float32)
        sigmas = (0.25 * scanner.slice_mm / spacing[0], *(scanner.noise_grain_mm / s for s in spacing[1:]))
        noise = _gaussian(noise, sigmas)
        noise *= np.float32(scanner.noise_hu / max(float(noise[:: max(1, len(noise) // 40)].std()), 1e-6))
        hu = hu + noise
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def _gaussian(values: FloatArray, sigmas: Sequence[float]) -> FloatArray:
    for axis, sigma in enumerate(sigmas):
        if sigma > 0.15 and values.shape[axis] > 1:
            values = ndimage.gaussian_filter1d(values, sigma, axis=axis, truncate=3.0, mode="nearest")
    return values
