"""What the person is made of: HU of every tissue, thickness of cortex and fat, contrast medium, and random textures.

Ranges are wider than a clinic's, as SynthSeg's are (Billot 2023, Med Image Anal 86:102789), so that a model that
learned here meets nothing new in a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from healthivert.types import FloatArray

TILE = 96  # voxels a side of the periodic textures
TEXTURE_SEED = 20230


@dataclass(frozen=True)
class Tissue:
    """HU unless the name says mm. Textures are looked up at positions shifted by texture_offset (tile voxels)."""

    trabecular: float
    trabecular_texture: float  # relative standard deviation of the marrow's HU
    trabecular_pitch_mm: float
    cortex: float  # of dense cortical bone, before blur
    cortex_mm: float
    endplate_gain: float  # endplate thickness / wall thickness
    arch_cortex_mm: float
    disc: float
    muscle: float
    muscle_fat: float  # 0 lean .. 1 replaced by fat
    muscle_bulk: float
    fat: float
    skin_fat_mm: float
    half_width_mm: float
    half_depth_mm: float
    fluid: float
    cord: float
    aorta: float
    cava: float
    kidney: float
    liver: float
    lung: float
    bowel: float
    gas: float  # threshold of the bowel texture above which there is gas; lower is more
    aorta_radius_mm: float
    calcified: bool
    vacuum: float  # probability that a disc holds gas
    texture_offset: tuple[float, float, float]


def sample_tissue(generator: np.random.Generator, trabecular_hu: tuple[float, float]) -> Tissue:
    draw = generator.uniform
    contrast = draw(90, 320) if generator.random() < 0.5 else 0.0
    blood = draw(35, 52)
    trabecular = draw(*trabecular_hu)
    return Tissue(
        trabecular=trabecular,
        trabecular_texture=draw(0.05, 0.17),
        trabecular_pitch_mm=draw(0.8, 1.5),
        cortex=draw(750, 1250),
        cortex_mm=draw(0.22, 0.5) + 0.0007 * trabecular,
        endplate_gain=draw(1.1, 1.9),
        arch_cortex_mm=draw(0.5, 1.5),
        disc=draw(60, 110),
        muscle=draw(46, 66) + 0.05 * contrast,
        muscle_fat=draw(0, 0.8) ** 2,
        muscle_bulk=draw(0.8, 1.15),
        fat=draw(-115, -90),
        skin_fat_mm=draw(4, 30),
        half_width_mm=draw(145, 195),
        half_depth_mm=draw(108, 150),
        fluid=draw(8, 28),
        cord=draw(32, 44),
        aorta=blood + contrast,
        cava=blood + contrast * draw(0.2, 0.7),
        kidney=draw(28, 40) + contrast * draw(0.3, 0.7),
        liver=draw(40, 65) + contrast * 0.22,
        lung=draw(-890, -800),
        bowel=draw(15, 55),
        gas=draw(1.0, 2.8),
        aorta_radius_mm=draw(8.5, 14),
        calcified=bool(generator.random() < 0.35),
        vacuum=0.12 if generator.random() < 0.25 else 0.0,
        texture_offset=tuple(float(x) for x in draw(0, TILE, 3)),  # type: ignore[arg-type]
    )


@cache
def smooth_tile() -> FloatArray:
    """(96, 96, 96) periodic isotropic noise, mean 0, standard deviation 1, grains of about 4 voxels."""
    return _tile(((2.0, 2.0, 2.0, 1.0),), TEXTURE_SEED)


@cache
def trabecular_tile() -> FloatArray:
    """(superior, posterior, left) periodic noise of struts that stand upright, on top of larger blotches."""
    return _tile(((1.7, 0.6, 0.6, 1.0), (5.0, 3.2, 3.2, 0.5)), TEXTURE_SEED + 1)


def _tile(layers: tuple[tuple[float, float, float, float], ...], seed: int) -> FloatArray:
    generator = np.random.Generator(np.random.PCG64(seed))
    total = np.zeros((TILE,) * 3, np.float32)
    for *sigmas, weight in layers:
        layer = ndimage.gaussian_filter(generator.standard_normal(total.shape, dtype=np.float32), sigmas, mode="wrap")
        total += np.float32(weight) * layer / layer.std()
    return total / total.std()


def look_up(
    tile: FloatArray, coordinates: list[FloatArray], pitch_mm: float, offset: tuple[float, float, float]
) -> FloatArray:
    """The tile's value at positions (left, posterior, superior) mm, repeated periodically and linear in between."""
    places = [c / np.float32(pitch_mm) + np.float32(o) for c, o in zip(coordinates[::-1], offset, strict=True)]
    stacked = np.stack(np.broadcast_arrays(*places))
    return ndimage.map_coordinates(tile, stacked, order=1, mode="grid-wrap")
