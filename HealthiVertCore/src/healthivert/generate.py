"""Regrow a vertebra: slices of the conditioning through a generator in both planes, fused to one volume.

In: Conditioning (numpy) and a model behind models.interface. Out: PseudoHealthy per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, from_window
from healthivert.models.devices import ran_out_of_memory
from healthivert.models.interface import Generator, SliceBatch
from healthivert.models.slices_of import PLANES, plane_axis, slice_positions
from healthivert.thirds import expected_stretch, stretched
from healthivert.types import Conditioning, FloatArray, PseudoHealthy
from healthivert.variation import Variation, draw_variations, drawn_again

# Slices at once. Larger batches leave a processor's cache and are slower there; a graphics processor waits for smaller.
BATCH, DEVICE_BATCH = 8, 32
MOST_THREADS = 8  # that draw beside each other: each holds the features of its own batch
WIDEST_RATIO = 1.35  # columns farther from the middle than this hold no body
FOOTPRINT_WEIGHT = 1 / 3  # of a healthy vertebra beside the target: what its footprint alone tells of its form
LEAST_BODY_VOXELS = 4000  # of the gap's 1 mm columns; the smallest thoracic body fills about 10000
REDRAWS = 3  # of a vertebra that is not accepted
LARGEST_LOG_RATIO = 0.25  # a height head may not leave the neighbours' reference by more than 28 %

Accept = Callable[[PseudoHealthy, float], bool]  # of a vertebra and its spacing in mm
StretchOf = Callable[[PseudoHealthy], FloatArray | None]  # see thirds.expected_stretch


def sampler(
    model: Generator,
    device: torch.device,
    samples: int,
    seed: int,
    accept: Accept | None = None,
    height_head: bool = True,
) -> Callable[[Conditioning], list[PseudoHealthy]]:
    """A function Conditioning -> samples vertebrae. The first is of the conditioning as it is, the others are of it
    varied by what is uncertain (see variation), which shows how firmly the answer stands. All are stretched alike, so
    that the first has the thirds that the conditioning expects.

    accept: a vertebra that it refuses is drawn again, varied and with other noise, up to REDRAWS times. height_head:
    whether the model has a say in the height, or the reference alone (see height_head_helps).
    """

    def generate(conditioning: Conditioning) -> list[PseudoHealthy]:
        variations = draw_variations(samples, np.random.default_rng(seed))
        likely = variations[0]
        first, stretch = _accepted(conditioning, likely, seed, lambda drawn: expected_stretch(drawn, conditioning))
        others = (_accepted(conditioning, variations[i], seed + i, lambda _: stretch) for i in range(1, samples))
        return [first, *(vertebra for vertebra, _ in others)]

    def _accepted(
        conditioning: Conditioning, variation: Variation, first_seed: int, stretch_of: StretchOf
    ) -> tuple[PseudoHealthy, FloatArray | None]:
        drawings = []
        for rejected, one_seed in enumerate((first_seed, *redraw_seeds(first_seed))):
            again = drawn_again(variation, one_seed) if rejected else variation
            drawn = _drawn(conditioning, again, one_seed)
            stretch = stretch_of(drawn)
            vertebra = stretched(drawn, stretch)
            if accept is None or accept(vertebra, conditioning.spacing_mm):
                return replace(vertebra, rejected=rejected), stretch
            drawings.append((vertebra, stretch))
        vertebra, stretch = drawings[0]  # the others are varied and no better
        return replace(vertebra, rejected=len(drawings), accepted=False), stretch

    def _drawn(conditioning: Conditioning, variation: Variation, seed: int) -> PseudoHealthy:
        vertebra = _one(model, device, variation.apply(conditioning, seed), seed)
        if not height_head:
            vertebra = replace(vertebra, height_mm=conditioning.reference_mm)
        return variation.undo(vertebra, conditioning)

    return generate


def redraw_seeds(seed: int) -> list[int]:
    """Seeds for a drawing of that seed that was refused: others than those of its sisters, however many they are."""
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(REDRAWS)]


def height_head_helps(card: Mapping[str, Any]) -> bool:
    """Whether the validation of a model's training says that its heights are better than the reference's.

    A model that does not show it, by more than chance could make it (training.validation.least_gain), must not change
    the number that all else hangs on.
    """
    try:
        return float(card["metrics"]["height_gain_at_least"]) > 0
    except (KeyError, TypeError, ValueError):
        return False


def _one(model: Generator, device: torch.device, conditioning: Conditioning, seed: int) -> PseudoHealthy:
    planes, height_mm = two_planes(model, device, conditioning, seed)
    return averaged(planes, height_mm, conditioning, model_share(conditioning))


def averaged(planes: Drawing, height_mm: float, conditioning: Conditioning, share: float) -> PseudoHealthy:
    """One vertebra: what the generator drew in the gap, to a share of 0..1, and the prior; beside the gap, the prior.

    Raises HealthiVertError if that is no body.
    """
    says = share * _within_gap(planes.says)  # what is hidden beside the gap is no part of the vertebra
    ct = says * planes.ct + (1 - says) * conditioning.prior_ct
    body = _within_gap(says * planes.body + (1 - says) * conditioning.prior_body)
    if (body > 0.5).sum() < LEAST_BODY_VOXELS:
        raise HealthiVertError(
            f"{conditioning.level}: the generator drew no vertebral body; check that the CT is in Hounsfield units and "
            "the labels lie on the vertebrae, or use other --weights"
        )
    return PseudoHealthy(from_window(ct), body, height_mm, stretch=conditioning.stretch)


def model_share(conditioning: Conditioning) -> float:
    """The generator's share of what is shown; the rest is the neighbours'. Guesses whose errors are not the same are
    better averaged: the generator counts as one more vertebra right beside the target (docs/decisions.md)."""
    return 1.0 / (1.0 + FOOTPRINT_WEIGHT + sum(slab.weight for slab in conditioning.neighbour_slabs))


class Drawing(NamedTuple):
    """ct: -1..1. body: 0..1. says: 1 where anything was drawn, else 0. All (SI, AP, LR)."""

    ct: FloatArray
    body: FloatArray
    says: FloatArray


def two_planes(model: Generator, device: torch.device, conditioning: Conditioning, seed: int) -> tuple[Drawing, float]:
    """The mean of the sagittal and the coronal volume that a generator draws by itself, and the mean body height in mm,
    which is the mean of what all slices predict."""
    shape = conditioning.ct.shape
    ct: FloatArray = np.zeros(shape, np.float32)
    body: FloatArray = np.zeros(shape, np.float32)
    weight = np.zeros(shape, np.float32)
    ratios, votes = [], []
    batches = _in_batches(conditioning, BATCH if device.type == "cpu" else DEVICE_BATCH)
    outputs = _drawings(model, device, conditioning, batches, seed)
    for slices, (drawn, mask, log_ratio) in zip(batches, outputs, strict=True):
        axis = plane_axis(slices.plane)
        at = (slice(None),) * axis + (slices.positions,)
        ct[at] += np.moveaxis(drawn, 0, axis)
        body[at] += np.moveaxis(mask, 0, axis)
        weight[at] += 1.0
        ratios.append(log_ratio)
        votes.append(mask[:, GAP[0] : GAP[1]].sum(axis=(1, 2)) + 1e-3)
    seen = np.maximum(weight, 1.0)
    mean = np.average(np.concatenate(ratios), weights=np.concatenate(votes))
    height = conditioning.reference_mm * float(np.exp(np.clip(mean, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)))
    return Drawing(ct / seen, body / seen, np.minimum(weight, 1.0)), height


class _Slices(NamedTuple):
    """Some slices of a plane: positions (N,) along its axis, place (N,) their slice_ratio."""

    plane: str
    positions: NDArray[np.intp]
    place: FloatArray


def _in_batches(conditioning: Conditioning, size: int) -> list[_Slices]:
    """All slices near the body, at most size of one plane in each batch."""
    batches = []
    for plane in PLANES:
        positions, place = slice_positions(conditioning, plane)
        near = np.flatnonzero(np.abs(place) <= WIDEST_RATIO)
        for chosen in np.array_split(near, max(1, int(np.ceil(near.size / size)))):
            batches.append(_Slices(plane, positions[chosen], place[chosen]))
    return batches


def _drawings(
    model: Generator, device: torch.device, conditioning: Conditioning, batches: list[_Slices], seed: int
) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """_forward of every batch, in their order. On a processor torch's threads draw a batch each: its convolutions are
    too small to be shared between them. So the numbers are the same with any number of threads."""

    def draw(slices: _Slices) -> tuple[FloatArray, FloatArray, FloatArray]:
        return _forward(model, _batch(device, conditioning, slices), seed)

    if device.type != "cpu":
        return [draw(slices) for slices in batches]
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(threads, MOST_THREADS), "draw", torch.set_num_threads, (1,)) as beside:
            return list(beside.map(draw, batches))
    finally:
        torch.set_num_threads(threads)  # new threads would take over what the last one here was told


def _batch(device: torch.device, conditioning: Conditioning, chosen: _Slices) -> SliceBatch:
    axis = plane_axis(chosen.plane)

    def slices(volume: FloatArray) -> torch.Tensor:
        taken = np.moveaxis(np.take(volume, chosen.positions, axis=axis), axis, 0)
        return torch.from_numpy(np.ascontiguousarray(taken, dtype=np.float32))[:, None].to(device)

    ct = slices(conditioning.ct)
    ratio = torch.as_tensor(chosen.place, dtype=torch.float32, device=device)[:, None, None, None].expand_as(ct)
    return SliceBatch(
        ct=ct,
        mask=slices(conditioning.mask),
        attention=slices(conditioning.attention),
        prior_ct=slices(conditioning.prior_ct),
        prior_body=slices(conditioning.prior_body),
        outline=slices(conditioning.outline),
        slice_ratio=ratio,
        plane=torch.full_like(ct, float(PLANES.index(chosen.plane))),
    )


@torch.inference_mode()
def _forward(model: Generator, batch: SliceBatch, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    try:
        output = model(batch, seed)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        told = str(error).splitlines()[0].rstrip(".")
        raise HealthiVertError(f"{told}; close other programs that use this device, or pass --device cpu") from None
    drawn, body, log_ratio = (t.float().cpu().numpy() for t in (output.x_stage2, output.fine_seg, output.pred2_h))
    return drawn[:, 0], body[:, 0], log_ratio


def _within_gap(body: FloatArray) -> FloatArray:
    """The body lies in the gap by definition; a trace outside it must not be measured."""
    out = np.zeros_like(body)
    out[GAP[0] : GAP[1]] = body[GAP[0] : GAP[1]]
    return out
