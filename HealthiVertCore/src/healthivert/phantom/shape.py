"""The body of a vertebra as an implicit surface: endplates, waist, rims, spurs and pits, healthy or collapsed.

Every function takes points in the vertebra's frame (left, posterior, superior, mm from the healthy body's centre) and
gives mm. Distances are negative inside; they are radial or axial, exact enough within a few mm of the surface.
"""

from __future__ import annotations

import numpy as np

from healthivert.phantom.fracture import sink
from healthivert.phantom.spine import Vertebra
from healthivert.phantom.tissue import look_up, smooth_tile
from healthivert.types import FloatArray

ROUGHNESS_MM = 0.28  # standard deviation of the wall's unevenness, grains of about 5 mm


def smooth_max(a: FloatArray, b: FloatArray, radius: float) -> FloatArray:
    """max(a, b) with the edge where they meet rounded over `radius` mm."""
    blend = np.clip(radius - np.abs(a - b), 0, None)
    return np.maximum(a, b) + blend * blend / (4 * radius)


def footprint_ratio(
    vertebra: Vertebra, left: FloatArray, posterior: FloatArray, width: FloatArray | float
) -> FloatArray:
    """Position relative to the outline of the endplates seen from above: < 1 inside, 1 on it.

    An ellipse in front, squarer behind with the wall drawn in towards the middle: kidney (lumbar) or heart (thoracic).
    """
    v = posterior * np.float32(2 / vertebra.depth)
    behind = np.clip(v, 0, 1.2)
    u = left * (2 / width)
    u = u / (1 - vertebra.anterior_taper * np.clip(-v, 0, 1))
    v = v + vertebra.posterior_concavity * behind * np.exp(-(u * u) * 4)
    uu, vv = u * u, v * v
    ellipse = np.sqrt(uu + vv)
    squarer = np.sqrt(np.sqrt(uu * uu + vv * vv))
    return np.where(v > 0, 0.45 * ellipse + 0.55 * squarer, ellipse)


def _dish(u: FloatArray, v: FloatArray) -> FloatArray:
    inside = np.clip(1 - (u * u) / 0.80 - (v * v) / 0.74, 0, None)
    return inside * (1.35 - 0.35 * inside)


def endplates(vertebra: Vertebra, left: FloatArray, posterior: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(superior, inferior) endplate positions along the superior axis, mm from the healthy body's centre."""
    u = left * np.float32(2 / vertebra.width)
    v = posterior * np.float32(2 / vertebra.depth)
    half = vertebra.height / 2 + (vertebra.height_posterior - vertebra.height_anterior) / 4 * np.clip(v, -1.2, 1.2)
    behind = v - vertebra.dish_shift
    split = vertebra.dish_split
    lobes = _dish(u, behind) if split == 0 else (_dish(u - split, behind) + _dish(u + split, behind)) / 2
    superior = half - vertebra.dish_superior * _dish(u, v - vertebra.dish_shift / 2)
    inferior = -half + vertebra.dish_inferior * lobes
    for ripple in vertebra.ripples:
        wave = ripple.amplitude_mm * np.cos(left * ripple.left + posterior * ripple.posterior + ripple.phase)
        superior, inferior = (superior + wave, inferior) if ripple.superior else (superior, inferior + wave)
    for node in vertebra.nodes:
        squared = (left - node.left) ** 2 + (posterior - node.posterior) ** 2
        pit = node.depth_mm * np.exp(-squared / (2 * node.radius_mm**2))
        superior, inferior = (superior - pit, inferior) if node.superior else (superior, inferior + pit)
    if vertebra.fracture is not None:
        superior, inferior = sink(vertebra.fracture, superior, inferior, u, v)
    return superior, inferior


def _spurs(
    vertebra: Vertebra, left: FloatArray, posterior: FloatArray, radius: FloatArray, level: FloatArray
) -> FloatArray:
    """How far osteophytes push the wall outwards. level: -1 inferior, 1 superior endplate."""
    growth = np.zeros_like(level)
    for spur in vertebra.osteophytes:
        cosine = (left * np.float32(np.cos(spur.angle)) + posterior * np.float32(np.sin(spur.angle))) / radius
        rim = 1.0 if spur.superior else -1.0
        growth += spur.length_mm * np.exp((cosine - 1) * 14 - ((level - rim) * 4) ** 2)
    return growth


def body_distance(
    vertebra: Vertebra, left: FloatArray, posterior: FloatArray, superior: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Signed distances in mm, < 0 inside: to the body's surface, to its endplates, and to its wall."""
    top, bottom = endplates(vertebra, left, posterior)
    level = np.clip(2 * (superior - bottom) / (top - bottom) - 1, -1.15, 1.15)
    width = vertebra.width + level * ((vertebra.width_superior - vertebra.width_inferior) / 2)
    ratio = np.maximum(footprint_ratio(vertebra, left, posterior, width), 1e-3)
    radius = np.maximum(np.hypot(left, posterior), 1e-2)
    wall = radius - radius / ratio
    middle = np.clip(1 - level * level, 0, 1)
    spared = 1 - 0.75 * np.clip(posterior * np.float32(2 / vertebra.depth) / ratio - 0.2, 0, 0.6) / 0.6
    wall = wall + vertebra.waist * middle * spared
    wall = wall + ROUGHNESS_MM * look_up(smooth_tile(), [left, posterior, superior], 1.3, vertebra.texture_offset)
    if vertebra.osteophytes:
        wall = wall - _spurs(vertebra, left, posterior, radius, level)
    fracture = vertebra.fracture
    if fracture is not None:
        wall = wall - fracture.bulge_mm * middle
        if fracture.step_mm:
            forward = np.clip(-posterior / radius, 0, 1)
            wall = wall - fracture.step_mm * forward * np.exp(-(((level - 0.55) / 0.22) ** 2))
    plates = np.maximum(superior - top, bottom - superior)
    return smooth_max(wall, plates, vertebra.rim_radius), plates, wall


def height_map(vertebra: Vertebra, column_mm: float = 0.5) -> FloatArray:
    """(AP, LR) heights in mm of the columns along the body's axis, from the two surfaces; NaN outside them."""
    count = 2 * int(np.ceil(0.6 * max(vertebra.width, vertebra.depth) / column_mm)) + 1
    axis = (np.arange(count) - count // 2) * column_mm
    posterior, left = np.meshgrid(axis, axis, indexing="ij")
    top, bottom = endplates(vertebra, left, posterior)
    smaller = min(vertebra.width_superior, vertebra.width_inferior)
    return np.where(footprint_ratio(vertebra, left, posterior, smaller) < 1, top - bottom, np.nan)
