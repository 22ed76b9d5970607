"""HU of bone: a thin bright shell with partial volume around marrow with upright struts, blotches and veins."""

from __future__ import annotations

import numpy as np

from healthivert.phantom.spine import Vertebra
from healthivert.phantom.tissue import Tissue, look_up, smooth_tile, trabecular_tile
from healthivert.types import FloatArray


def coverage(distance: FloatArray, blur_mm: float) -> FloatArray:
    """How much of a voxel lies inside a surface at this signed distance (partial volume over blur_mm)."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / blur_mm), 0, 1)


def lay_bone(
    hu: FloatArray,
    distance: FloatArray,
    thickness: FloatArray | float,
    cortex: float,
    marrow: FloatArray | float,
    blur_mm: float,
) -> None:
    """Put bone over `hu` in place: cortex of `thickness` mm inside the surface, marrow within."""
    inside = coverage(distance, blur_mm)
    core = coverage(distance + thickness, blur_mm)
    hu *= 1 - inside
    hu += inside * np.float32(cortex)
    hu += core * (marrow - np.float32(cortex))


def body_marrow(
    vertebra: Vertebra, tissue: Tissue, place: list[FloatArray], plates: FloatArray, wall: FloatArray
) -> FloatArray:
    """Marrow HU at places (left, posterior, superior mm) of the body; plates, wall: distance to endplates and wall."""
    left, posterior, superior = place
    struts = look_up(trabecular_tile(), place, tissue.trabecular_pitch_mm, vertebra.texture_offset)
    mean = tissue.trabecular * vertebra.density
    near_plate = np.exp(-np.abs(plates) * np.float32(1 / 3.5))
    relative = 1 + 0.28 * near_plate + 0.06 * np.exp(-np.abs(wall) * np.float32(1 / 3.0))
    fracture = vertebra.fracture
    if fracture is not None:
        gain = fracture.impaction * min(fracture.depth_mm / 8, 1.2)
        band = np.exp(-(((np.abs(plates) - 2.0) / 3.2) ** 2)) * np.where(superior > 0, 1.0, 0.35)
        relative = relative + gain * (0.35 + 1.4 * band)
    marrow = mean * relative + struts * (tissue.trabecular_texture * mean + 10) * np.minimum(relative, 1.6)
    # the basivertebral vein enters at mid-height from behind and forks
    depth = vertebra.depth / 2
    inward = np.clip((depth - posterior) / depth, 0, 1)
    across = np.hypot(
        np.maximum(np.abs(left) - 3.5 * inward, 0) / (1.8 + 2.2 * inward), superior / (2.3 - 0.9 * inward)
    )
    vein = np.exp(-across * across) * np.clip((posterior + 2) / 6, 0, 1)
    marrow += vein * (0.25 * mean - 25 - marrow) * 0.75
    for island in vertebra.islands:
        offset = [c - np.float32(o) for c, o in zip(place, island.centre, strict=True)]
        distance = np.sqrt(offset[0] ** 2 + offset[1] ** 2 + (0.7 * offset[2]) ** 2) - island.radius_mm
        marrow += coverage(distance, 1.5) * (800 - marrow)
    return marrow.astype(np.float32)


def body_cortex(
    vertebra: Vertebra, tissue: Tissue, place: list[FloatArray], plates: FloatArray, wall: FloatArray
) -> FloatArray:
    """Cortical thickness in mm: uneven, endplates thicker than the walls, open where the basivertebral vein enters."""
    endplate = np.clip(0.5 + (plates - wall) / 1.5, 0, 1)
    uneven = 1 + 0.28 * look_up(smooth_tile(), place, 1.6, vertebra.texture_offset[::-1])
    left, posterior, superior = place
    opening = np.exp(-((left / 5) ** 2) - (superior / 3) ** 2) * (posterior > 0)
    thickness = tissue.cortex_mm * (1 + (tissue.endplate_gain - 1) * endplate) * (1 - 0.8 * opening)
    return thickness * np.clip(uneven, 0.35, 1.8)
