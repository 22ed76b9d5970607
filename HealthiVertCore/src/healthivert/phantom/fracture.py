"""Fractures: how far each point of the two endplates sinks when a body collapses.

The collapse is a smooth field over the endplate, in normalised coordinates (u to the left, v to posterior, -1..1 at the
body's walls). It lowers the superior endplate, and lifts the inferior one by what is left over (Genant 1993, J Bone
Miner Res 8:1137-1148: wedge, biconcave, crush).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from healthivert.types import FloatArray

SHAPES = ("wedge", "biconcave", "crush")
LEAST_HEIGHT_MM = 4.0  # impacted bone does not vanish


@dataclass(frozen=True)
class Fracture:
    """One collapse. depth_mm: the loss of height where the field is 1; lumps: (u, v, width, amplitude) of the field."""

    shape: str
    depth_mm: float
    superior_share: float = 1.0
    exponent: float = 1.2  # how quickly a wedge opens towards anterior
    floor: float = 0.1  # the part of the field that the spared third shares
    tilt: float = 0.0  # the left side sinks more (> 0)
    bulge_mm: float = 1.0  # the wall gives way outwards
    step_mm: float = 0.0  # overlap of the broken anterior cortex
    impaction: float = 0.6  # how much denser the compressed bone becomes
    kyphosis: float = 0.9  # the part of the endplate's new tilt that the spine above follows
    lumps: tuple[tuple[float, float, float, float], ...] = ()


def collapse_field(fracture: Fracture, u: FloatArray, v: FloatArray) -> FloatArray:
    """The relative loss of height, about 0..1, at normalised endplate positions."""
    u = np.clip(u, -1.15, 1.15)
    v = np.clip(v, -1.15, 1.15)
    forward = np.clip((1 - v) / 2, 0, 1)
    if fracture.shape == "wedge":
        field = forward**fracture.exponent
    elif fracture.shape == "biconcave":
        field = np.exp(-(u * u) / 0.7 - (v - 0.05) ** 2 / 0.36)
    else:
        field = 0.86 + 0.14 * forward
    field = fracture.floor + (1 - fracture.floor) * field
    field = field * (1 + fracture.tilt * u)
    for left, posterior, width, amplitude in fracture.lumps:
        field = field + amplitude * np.exp(-((u - left) ** 2 + (v - posterior) ** 2) / (2 * width * width))
    return np.clip(field, 0, None)


def sink(fracture: Fracture, superior: FloatArray, inferior: FloatArray, u: FloatArray, v: FloatArray):
    """Both endplates after the collapse (mm along the body's axis), never closer than LEAST_HEIGHT_MM."""
    loss = fracture.depth_mm * collapse_field(fracture, u, v)
    loss = np.minimum(loss, np.maximum(superior - inferior - LEAST_HEIGHT_MM, 0))
    return superior - fracture.superior_share * loss, inferior + (1 - fracture.superior_share) * loss
