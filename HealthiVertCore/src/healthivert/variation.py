"""What is uncertain about a regrown vertebra, drawn at random: this is what the samples of `--samples` differ by.

In: Conditioning. Out: the same, varied in ways that leave what is true as it is; the undoing of that on what was drawn;
and all samples as one vertebra with its spread. Whose form the vertebra had is not known, so a sample starts from one
of the neighbours instead of their mean; how tall it was is known to the reference's spread. The rest (mirrored, moved
by up to 2 mm, brighter or darker, noisier) shows how firmly the generator itself stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from healthivert.gap import GAP, GAP_ROWS, from_window, to_window
from healthivert.geometry import rows_at
from healthivert.measure import generated_row_mm
from healthivert.types import Conditioning, FloatArray, PseudoHealthy

NOISE = 0.02  # standard deviation of what is added, in the window's -1..1
# Samples share what no neighbour tells: this vertebra's own texture and the scanner's noise. Fitted on generated spines
# by Testing/bench/uncertainty.py, so that nine of ten truths lie within 1.645 times the uncertainty.
WIDER, UNSEEN_HU = 1.9, 21.0


@dataclass(frozen=True)
class Variation:
    """neighbour: 0..1, which of the neighbours, as a quantile of their weights; None for their mean. taller: by how
    many standard deviations of the reference. shift: voxels along AP and LR. gain, offset: of the window's values."""

    neighbour: float | None = None
    taller: float = 0.0
    flip: bool = False
    shift: tuple[int, int] = (0, 0)
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0

    def apply(self, conditioning: Conditioning, seed: int) -> Conditioning:
        """The conditioning varied in this way, with noise of that seed; itself where nothing is varied."""
        if self == Variation():
            return conditioning
        conditioning = self._with_one_neighbour(conditioning)
        noise = np.random.default_rng(seed).normal(0.0, self.noise, conditioning.ct.shape)
        ct = np.where(conditioning.mask > 0, -1.0, self._vary(conditioning.ct, noise)).astype(np.float32)
        prior_ct = np.where(conditioning.mask > 0, self._vary(conditioning.prior_ct, noise), ct).astype(np.float32)
        return replace(
            conditioning,
            ct=self._move(ct),
            mask=self._move(conditioning.mask),
            attention=self._move(conditioning.attention),
            neighbours=self._move(conditioning.neighbours),
            prior_ct=self._move(prior_ct),
            prior_body=self._move(conditioning.prior_body),
            outline=self._move(conditioning.outline),
        )

    def undo(self, vertebra: PseudoHealthy, conditioning: Conditioning) -> PseudoHealthy:
        """The drawn vertebra where conditioning, as it was before apply, has it; as tall as this variation says."""
        if self == Variation():
            return vertebra
        ct = from_window((to_window(vertebra.ct) - self.offset) / self.gain)
        height_mm = vertebra.height_mm * float(np.exp(self.taller * conditioning.reference_sd))
        return replace(vertebra, ct=self._back(ct), body=self._back(vertebra.body), height_mm=height_mm)

    def _with_one_neighbour(self, conditioning: Conditioning) -> Conditioning:
        slabs = conditioning.neighbour_slabs
        if self.neighbour is None or not slabs:
            return conditioning
        up_to = np.cumsum([slab.weight for slab in slabs])
        chosen = slabs[min(int(np.searchsorted(up_to, self.neighbour * up_to[-1])), len(slabs) - 1)]
        prior_ct, prior_body = conditioning.prior_ct.copy(), conditioning.prior_body.copy()
        prior_ct[slice(*conditioning.gap)] = chosen.ct
        prior_body[slice(*conditioning.gap)] = chosen.body
        return replace(conditioning, prior_ct=prior_ct, prior_body=prior_body)

    def _vary(self, ct: FloatArray, noise: FloatArray) -> FloatArray:
        return np.clip(ct * self.gain + self.offset + noise, -1.0, 1.0)

    def _move(self, array: FloatArray) -> FloatArray:
        out = np.roll(array, self.shift, axis=(1, 2))
        return np.ascontiguousarray(out[:, :, ::-1]) if self.flip else out

    def _back(self, array: FloatArray) -> FloatArray:
        out = array[:, :, ::-1] if self.flip else array
        return np.ascontiguousarray(np.roll(out, (-self.shift[0], -self.shift[1]), axis=(1, 2)))


def draw_variations(count: int, random: np.random.Generator) -> list[Variation]:
    """The first changes nothing. Neighbours and heights of the others are spread evenly over what is likely, so that
    few samples show it, too."""
    others = count - 1
    if others == 0:
        return [Variation()]
    places = (np.arange(others) + 0.5) / others
    taller = ndtri(places) if others > 1 else np.ones(1)
    neighbours, heights = random.permutation(places), random.permutation(taller / np.sqrt(np.mean(taller**2)))
    return [Variation(), *(_drawn(random, float(n), float(h)) for n, h in zip(neighbours, heights, strict=True))]


def drawn_again(variation: Variation, seed: int) -> Variation:
    """Another variation of the same height, for a vertebra that was refused."""
    random = np.random.default_rng(seed)
    return _drawn(random, random.random(), variation.taller)


def _drawn(random: np.random.Generator, neighbour: float, taller: float) -> Variation:
    return Variation(
        neighbour=neighbour,
        taller=taller,
        flip=bool(random.random() < 0.5),
        shift=(int(random.integers(-2, 3)), int(random.integers(-2, 3))),
        gain=random.uniform(0.93, 1.07),
        offset=random.uniform(-0.04, 0.04),
        noise=NOISE,
    )


def with_spread(samples: Sequence[PseudoHealthy], spacing_mm: float) -> PseudoHealthy:
    """The first sample, which is of what is most likely, and how far the truth is expected to be from it: ct_sd, from
    the root mean square of how far the others are at each place in the patient (what lies below the upper plate in one
    is disc in a shorter one), and from what no sample shows."""
    first, *others = samples
    if not others:
        return first
    row_mm = generated_row_mm(first, spacing_mm)
    away = [_at_rows_of(other, row_mm, spacing_mm) - first.ct for other in others]
    return replace(first, ct_sd=np.hypot(WIDER * np.sqrt(np.mean(np.square(away), axis=0)), UNSEEN_HU))


def _at_rows_of(vertebra: PseudoHealthy, row_mm: float, spacing_mm: float) -> FloatArray:
    """The vertebra's ct as it stands in the patient, in a gap whose rows are row_mm high. Both lie on one lower edge;
    above the gap rows are spacing_mm high."""
    own_mm = generated_row_mm(vertebra, spacing_mm)
    rows = np.arange(len(vertebra.ct)) + 0.5 - GAP[0]
    place_mm = np.where(rows < GAP_ROWS, rows * row_mm, GAP_ROWS * row_mm + (rows - GAP_ROWS) * spacing_mm)
    top_mm = GAP_ROWS * own_mm
    own = np.where(place_mm < top_mm, place_mm / own_mm, GAP_ROWS + (place_mm - top_mm) / spacing_mm)
    return rows_at(vertebra.ct, np.where(rows < 0, rows, own) + GAP[0] - 0.5)
