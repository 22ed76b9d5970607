"""Slices to learn from: random ones of both planes, varied, with what the generator should have drawn.

In: shards of training.samples (one vertebra each). Out: SliceBatch and SliceTargets. All volumes stay in memory as
8 bit, and a batch is put together by array operations, so that the model never waits for it.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.errors import HealthiVertError
from healthivert.familiarity import features
from healthivert.models.interface import SliceBatch
from healthivert.models.losses import SliceTargets
from healthivert.models.slices_of import LARGEST_RATIO, PLANES, plane_axis, slice_positions
from healthivert.prior import upright
from healthivert.training.sample_folder import AGAIN, spine_of
from healthivert.training.samples import TrainingSample, load_sample

# The channels of a stored volume. ct is the conditioning's, with the healthy truth inside the gap.
CHANNELS = ("ct", "mask", "attention", "neighbours", "body", "prior_ct", "prior_body", "outline")
CT, MASK, ATTENTION, NEIGHBOURS, BODY, PRIOR_CT, PRIOR_BODY, OUTLINE = range(8)
SIGNED = [CT, PRIOR_CT]
DISTANCE_LIMIT = 8.0  # pixels: farther from the outline than this, wrong is wrong
# What a damaged shard raises, depending on which of its bytes are wrong: an unknown compression, an encrypted member, a
# header that is no header.
DAMAGED = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError, tokenize.TokenError)
RIM_SHARE = 0.15  # of slices drawn beside the body, so that running there draws no body


@dataclass(frozen=True)
class Augmentation:
    """How far a slice may be varied; every value is the largest of a uniform draw, shares are probabilities."""

    flip_share: float = 0.5  # left-right, coronal only: the mirror image of a sagittal slice is another one's
    shift_columns: int = 4  # sideways only: the gap's rows are the same in every run
    gain: float = 0.12
    offset: float = 0.08  # of -1..1: 44 HU
    noise: float = 0.06  # standard deviation: 33 HU
    blur_share: float = 0.3
    no_attention_share: float = 0.1
    no_prior_share: float = 0.06  # as for a vertebra without a complete neighbour


class SliceDataset:
    """Vertebrae in memory, from which slices are drawn. gap: the rows that are the same for all of them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises HealthiVertError if there is no shard, one cannot be read, or their shapes or gaps differ."""
        if not paths:
            raise HealthiVertError("no training shards (*.npz) were found; make some first, or name another folder")
        first = _read(paths[0])
        self.gap = first.conditioning.gap
        shape = first.conditioning.ct.shape
        self.volumes = np.empty(
            (len(paths), *shape, len(CHANNELS)), np.uint8
        )  # channels last: one memory line per voxel
        self.log_height_ratios = np.empty(len(paths), np.float32)
        self.features: list[dict[str, float]] = []  # of every vertebra: see familiarity
        self.spines = [spine_of(path) for path in paths]  # of every vertebra: whose it is
        self.positions: dict[str, list[NDArray[np.float32]]] = {plane: [] for plane in PLANES}
        for number, path in enumerate(paths):
            sample = first if number == 0 else _read(path)
            if sample.conditioning.ct.shape != shape or sample.conditioning.gap != self.gap:
                found = f"{sample.conditioning.ct.shape} with gap {sample.conditioning.gap}"
                raise HealthiVertError(
                    f"{path}: is {found}, the first shard {shape} with gap {self.gap}; make all alike"
                )
            self.volumes[number] = _pack(sample)
            self.log_height_ratios[number] = sample.log_height_ratio
            self.features.append(features(sample.conditioning))
            for plane in PLANES:
                self.positions[plane].append(slice_positions(sample.conditioning, plane)[1])

    def __len__(self) -> int:
        return len(self.volumes)

    def draw(
        self, plane: str, count: int, random: np.random.Generator, augmentation: Augmentation
    ) -> tuple[SliceBatch, SliceTargets]:
        """`count` random slices of one plane, varied."""
        vertebrae = random.integers(len(self), size=count)
        beside = random.random(count) < RIM_SHARE
        indices = np.array(
            [_one_index(self.positions[plane][v], bool(b), random) for v, b in zip(vertebrae, beside, strict=True)]
        )
        slices = _augment(self._take(plane, vertebrae, indices), plane, self.gap, random, augmentation)
        return self._tensors(plane, vertebrae, indices, slices)

    def middle_slices(self, vertebra: int, plane: str, count: int) -> tuple[SliceBatch, SliceTargets]:
        """`count` slices of one vertebra, evenly spread over the body, not varied: for validation."""
        inside = np.flatnonzero(self.positions[plane][vertebra] <= 0.9)
        indices = inside[np.linspace(0, inside.size - 1, count).round().astype(np.intp)]
        vertebrae = np.full(count, vertebra)
        return self._tensors(plane, vertebrae, indices, decode(self._take(plane, vertebrae, indices)))

    def _take(self, plane: str, vertebrae: NDArray[np.integer], indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """[B, H, W, channel]."""
        if plane_axis(plane) == 2:
            return self.volumes[vertebrae, :, :, indices]
        return self.volumes[vertebrae, :, indices]

    def _tensors(
        self, plane: str, vertebrae: NDArray[np.integer], indices: NDArray[np.integer], slices: NDArray[np.float32]
    ) -> tuple[SliceBatch, SliceTargets]:
        def channel(number: int) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(slices[..., number])).unsqueeze(1)

        ct, mask = channel(CT), channel(MASK)
        ratios = np.array([self.positions[plane][v][i] for v, i in zip(vertebrae, indices, strict=True)], np.float32)
        slice_ratio = torch.from_numpy(ratios)
        batch = SliceBatch(
            ct=ct * (1 - mask) - mask,
            mask=mask,
            attention=channel(ATTENTION),
            prior_ct=channel(PRIOR_CT),
            prior_body=channel(PRIOR_BODY),
            outline=channel(OUTLINE),
            slice_ratio=slice_ratio.view(-1, 1, 1, 1).expand_as(ct).contiguous(),
            plane=torch.full_like(ct, float(PLANES.index(plane))),
        )
        targets = SliceTargets(
            ct=ct,
            body=channel(BODY),
            neighbours=channel(NEIGHBOURS),
            body_distance=torch.from_numpy(signed_distance(slices[..., BODY])).unsqueeze(1),
            log_height_ratio=torch.from_numpy(self.log_height_ratios[vertebrae]),
            height_weight=(slice_ratio <= 1).float(),
        )
        return batch, targets


def signed_distance(bodies: NDArray[np.floating]) -> NDArray[np.float32]:
    """[B, H, W] masks -> distance to the outline in units of DISTANCE_LIMIT, negative inside, clipped to -1..1.

    1 everywhere for a slice without body.
    """
    distance = np.ones(bodies.shape, np.float32)
    for number, body in enumerate(bodies > 0.5):
        if body.any():
            outside = ndimage.distance_transform_edt(~body)
            inside = ndimage.distance_transform_edt(body)
            distance[number] = (np.maximum(outside - 0.5, 0) - np.maximum(inside - 0.5, 0)) / DISTANCE_LIMIT
    return np.clip(distance, -1, 1)


def _read(path: Path) -> TrainingSample:
    try:
        return load_sample(path)
    except DAMAGED as error:
        raise HealthiVertError(f"{path}: cannot be read as a training shard ({error}); {AGAIN}") from None


def _pack(sample: TrainingSample) -> NDArray[np.uint8]:
    """The channels of one vertebra as 8 bit, [SI, AP, LR, channel]."""
    given = sample.conditioning
    ct = np.where(given.mask > 0.5, sample.target_ct, given.ct)
    body = sample.target_body * (given.mask > 0.5)
    priors = ((given.prior_ct + 1) / 2, given.prior_body, given.outline)
    channels = ((ct + 1) / 2, given.mask, given.attention, given.neighbours, body, *priors)
    return np.round(np.clip(np.stack(channels, axis=-1), 0, 1) * 255).astype(np.uint8)


def decode(slices: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stored channels (..., channel) as the networks see them."""
    values = slices.astype(np.float32) / np.float32(255)
    values[..., SIGNED] = values[..., SIGNED] * 2 - 1
    return values


def _one_index(ratios: NDArray[np.float32], beside: bool, random: np.random.Generator) -> int:
    wanted = (ratios > 1) & (ratios < LARGEST_RATIO) if beside else ratios <= 1
    candidates = np.flatnonzero(wanted)
    return int(random.choice(candidates if candidates.size else ratios.size))


def _augment(
    stored: NDArray[np.uint8],
    plane: str,
    gap: tuple[int, int],
    random: np.random.Generator,
    augmentation: Augmentation,
) -> NDArray[np.float32]:
    """Vary [B, H, W, channel] slices: scan and truth alike, so that the answer stays true."""
    count, _, width, _ = stored.shape

    def uniform(limit: float) -> NDArray[np.float32]:
        return random.uniform(-limit, limit, (count, 1, 1)).astype(np.float32)

    columns = np.arange(width) + random.integers(
        -augmentation.shift_columns, augmentation.shift_columns + 1, (count, 1)
    )
    columns = np.clip(columns, 0, width - 1)
    flip = (random.random((count, 1)) < augmentation.flip_share) & (plane == "coronal")
    columns = np.where(flip, columns[:, ::-1], columns)
    slices = decode(np.take_along_axis(stored, columns[:, None, :, None], axis=2))

    ct, inside = slices[..., CT], slices[..., MASK] > 0.5
    gain, offset = 1 + uniform(augmentation.gain), uniform(augmentation.offset)
    noise = random.standard_normal(ct.shape, dtype=np.float32) * np.abs(uniform(augmentation.noise))
    ct = ct * gain + offset + noise
    strength = random.random((count, 1, 1), dtype=np.float32)
    strength *= random.random((count, 1, 1)) < augmentation.blur_share
    # The gap and the rest are blurred apart: no pixel of the truth may spill into what the generator sees.
    blurred = np.where(inside, _blur(ct, inside), _blur(ct, ~inside))
    slices[..., CT] = np.clip(ct + strength * (blurred - ct), -1, 1)

    # The prior is of the same scan: as bright in the gap, and the very same where nothing is hidden.
    rows = slice(*gap)
    prior = np.clip(slices[:, rows, :, PRIOR_CT] * gain + offset, -1, 1)
    alone = random.random((count, 1, 1)) < augmentation.no_prior_share
    upright_ct, upright_body = upright(slices[:, rows, :, OUTLINE])
    slices[..., PRIOR_CT] = np.where(inside, slices[..., PRIOR_CT], slices[..., CT])
    slices[:, rows, :, PRIOR_CT] = np.where(alone, upright_ct, prior)
    slices[:, rows, :, PRIOR_BODY] = np.where(alone, upright_body, slices[:, rows, :, PRIOR_BODY])

    blind = random.random((count, 1, 1)) < augmentation.no_attention_share
    slices[..., ATTENTION] = np.where(blind, ~inside, slices[..., ATTENTION])
    return slices


def _blur(images: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Binomial 3 x 3 mean of the pixels of a region alone, [B, H, W]."""

    def binomial(values: NDArray[np.float32]) -> NDArray[np.float32]:
        for axis in (1, 2):
            padded = np.pad(values, [(0, 0)] + [(1, 1) if a == axis else (0, 0) for a in (1, 2)], mode="edge")
            size = values.shape[axis]
            low, middle, high = (padded.take(range(start, start + size), axis) for start in range(3))
            values = ((low + 2 * middle + high) / 4).astype(np.float32, copy=False)
        return values

    weight = region.astype(np.float32)
    mean = binomial(images * weight) / np.maximum(binomial(weight), 1e-6)
    return mean.astype(np.float32, copy=False)
