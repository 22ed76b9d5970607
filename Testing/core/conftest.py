"""A spine made of simple solids, whose every length is known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.types import SpineCase


@dataclass(frozen=True)
class Block:
    """An elliptic-cylinder body with a canal, two pedicles and an arch behind it; heights in mm, wedge by column."""

    level: str
    bottom: float
    anterior: float
    posterior: float
    width: float = 42.0
    depth: float = 32.0


def block_spine(
    blocks: list[Block],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    rotation: np.ndarray | None = None,
    arches: bool = True,
) -> SpineCase:
    """Bodies stacked along +z of a frame that is turned by rotation (3, 3) in the patient; posterior is +y of the
    frame."""
    rotation = np.eye(3) if rotation is None else rotation
    top = max(b.bottom + max(b.anterior, b.posterior) for b in blocks)
    corners = np.array([[x, y, z] for x in (-45, 45) for y in (-40, 60) for z in (-15, top + 15)]) @ rotation.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.ceil((high - low) / np.array(spacing)).astype(int)
    axes = [low[i] + np.arange(size[i]) * spacing[i] for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(points @ rotation, -1, 0)  # the frame's own coordinates
    labels = np.zeros(x.shape, np.uint8)
    ct = np.full(x.shape, 50, np.int16)
    for block in blocks:
        place = (y + block.depth / 2) / block.depth
        height = block.anterior + (block.posterior - block.anterior) * np.clip(place, 0, 1)
        up = z - block.bottom
        inside = (2 * x / block.width) ** 2 + (2 * y / block.depth) ** 2 <= 1
        body = inside & (y <= block.depth * 0.46) & (up >= 0) & (up < height)
        whole = body
        if arches:
            middle = block.bottom + 0.6 * block.posterior
            pedicle = (np.abs(np.abs(x) - 12) < 4) & (y > 0) & (y < 32) & (np.abs(z - middle) < 6)
            lamina = (np.abs(x) < 16) & (y > 30) & (y < 36) & (np.abs(z - middle) < 9)
            spinous = (np.abs(x) < 3) & (y >= 34) & (y < 55) & (np.abs(z - middle + 5) < 7)
            whole = body | pedicle | lamina | spinous
        labels[whole] = LEVEL_NUMBER[block.level]
        ct[whole] = 250
    images = []
    for array in (ct, labels):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
        image.SetSpacing(spacing)
        image.SetOrigin(low.tolist())
        images.append(image)
    values = {block.level: LEVEL_NUMBER[block.level] for block in blocks}
    return SpineCase(images[0], images[1], "blocks", "LPS", values)


def on_grid_of(case: SpineCase, array: np.ndarray) -> sitk.Image:
    """An image of an (SI, AP, LR) array on the case's grid."""
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(case.ct)
    return image


def lumbar_blocks(**changed: tuple[float, float]) -> list[Block]:
    """T12-L5 with 8 mm discs, 27 mm tall; changed: level -> (anterior, posterior) height in mm."""
    blocks, bottom = [], 0.0
    for level in ("L5", "L4", "L3", "L2", "L1", "T12"):
        anterior, posterior = changed.get(level, (27.0, 27.0))
        blocks.append(Block(level, bottom, anterior, posterior))
        bottom += max(anterior, posterior) + 8.0
    return blocks


@pytest.fixture(scope="session")
def healthy_case() -> SpineCase:
    return block_spine(lumbar_blocks())


@pytest.fixture(scope="session")
def wedged_case() -> SpineCase:
    return block_spine(lumbar_blocks(L1=(15.0, 25.0)))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So that two trainings add up in the same order, whatever else the machine does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
