"""Posterior elements, ribs and sacrum: smooth implicit solids in a vertebra's frame, each with the box it lies in.

Solids are symmetric: their distance takes (|left|, posterior, superior) in mm and is negative inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from healthivert.phantom.shape import smooth_max
from healthivert.phantom.spine import Vertebra
from healthivert.types import FloatArray

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """low, high: the box in the vertebra's frame (left, posterior, superior), mm; distance as said above."""

    low: Point
    high: Point
    distance: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def rod(start: Point, end: Point, start_radius: float, end_radius: float, tallness: float = 1.0) -> Solid:
    """A tapered rod with round ends, on both sides; `tallness` stretches its section along the superior axis."""
    a, b = (np.array([p[0], p[1], p[2] / tallness], np.float32) for p in (start, end))
    along = b - a
    squared = float(along @ along)

    def distance(left: FloatArray, posterior: FloatArray, superior: FloatArray) -> FloatArray:
        x, y, z = left - a[0], posterior - a[1], superior / np.float32(tallness) - a[2]
        place = np.clip((x * along[0] + y * along[1] + z * along[2]) / squared, 0, 1)
        x, y, z = x - place * along[0], y - place * along[1], z - place * along[2]
        return np.sqrt(x * x + y * y + z * z) - (start_radius + place * (end_radius - start_radius))

    reach = max(start_radius, end_radius) + 2
    side = max(start[0], end[0]) + reach
    low = (-side, min(start[1], end[1]) - reach, min(start[2], end[2]) - reach * tallness)
    high = (side, max(start[1], end[1]) + reach, max(start[2], end[2]) + reach * tallness)
    return Solid(low, high, distance)


def plate(start: Point, end: Point, thickness: float, height: float) -> Solid:
    """An upright plate over the line start-end seen from above (both sides), its middle sinking from start to end."""
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    along = b - a
    squared = float(along[0] ** 2 + along[1] ** 2)

    def distance(left: FloatArray, posterior: FloatArray, superior: FloatArray) -> FloatArray:
        place = np.clip(((left - a[0]) * along[0] + (posterior - a[1]) * along[1]) / squared, 0, 1)
        across = np.hypot(left - a[0] - place * along[0], posterior - a[1] - place * along[1]) - thickness / 2
        upright = np.abs(superior - a[2] - place * along[2]) - height / 2
        return smooth_max(across, upright, 1.5)

    reach = thickness / 2 + 2
    side = max(start[0], end[0]) + reach
    low = (-side, min(start[1], end[1]) - reach, min(start[2], end[2]) - height / 2 - 2)
    high = (side, max(start[1], end[1]) + reach, max(start[2], end[2]) + height / 2 + 2)
    return Solid(low, high, distance)


def blade(start: Point, length: float, angle: float, height: float, thickness: float) -> Solid:
    """A mid-sagittal blade pointing backwards and down by `angle`, thickest at its tip: the spinous process."""
    back, down = float(np.cos(angle)), float(np.sin(angle))

    def distance(left: FloatArray, posterior: FloatArray, superior: FloatArray) -> FloatArray:
        y, z = posterior - np.float32(start[1]), superior - np.float32(start[2])
        along = y * back - z * down
        place = np.clip(along, 0, length)
        across = np.hypot(along - place, y * down + z * back)
        share = place / length
        profile = across - height / 2 * (0.8 + 0.2 * share)
        return smooth_max(profile, left - thickness / 2 * (0.8 + 0.5 * share * share), 1.5)

    reach = height * 0.55 + 2
    tip = (start[1] + length * back, start[2] - length * down)
    low = (-thickness, start[1] - reach, tip[1] - reach)
    return Solid(low, (thickness, tip[0] + reach, start[2] + reach), distance)


def canal_distance(vertebra: Vertebra, left: FloatArray, posterior: FloatArray, shrink_mm: float = 0.0) -> FloatArray:
    """Distance to the bony canal, an ellipse behind the posterior wall that runs along the vertebra's axis."""
    width, depth = vertebra.canal_width / 2 - shrink_mm, vertebra.canal_depth / 2 - shrink_mm
    centre = canal_centre(vertebra)
    ratio = np.hypot(left * np.float32(1 / width), (posterior - np.float32(centre)) * np.float32(1 / depth))
    return (ratio - 1) * min(width, depth)


def canal_centre(vertebra: Vertebra) -> float:
    """Posterior position of the canal's axis: its front touches the posterior wall's concavity."""
    return vertebra.depth / 2 * (1 - 0.6 * vertebra.posterior_concavity) + vertebra.canal_depth / 2


def posterior_elements(vertebra: Vertebra) -> list[Solid]:
    """Pedicles, laminae, spinous, transverse and articular processes."""
    v, k = vertebra, vertebra.arch_scale
    lumbar = v.is_lumbar
    wall, height = v.depth / 2, v.height
    back = canal_centre(v) + v.canal_depth / 2
    pedicle = v.canal_width / 2 + v.pedicle_width / 2
    root = height * (0.16 if lumbar else 0.22)
    tallness = max(1.0, 0.56 * height / v.pedicle_width)
    lamina = 6.4 * k if lumbar else 5.6 * k
    joint = 4.3 * k if lumbar else 3.3 * k
    tip = -height / 2 - 0.75 * v.disc_below - (5.0 * k if lumbar else 2.0 * k)
    solids = [
        rod(
            (pedicle, wall - 4, root),
            (pedicle, back - 4, root - 1),
            v.pedicle_width / 2,
            v.pedicle_width / 2.2,
            tallness,
        ),
        plate(
            (v.canal_width / 2 + 0.8 * lamina, back - 0.4 * v.canal_depth, root - 0.12 * height),
            (0.0, back + 0.5 * lamina, root - (0.4 if lumbar else 0.5) * height),
            lamina,
            height * (0.66 if lumbar else 0.85),
        ),
        rod(
            (pedicle + 1, back - 0.4 * v.canal_depth, root),
            (pedicle + 2.2, back - 0.28 * v.canal_depth, root + 0.58 * height),
            1.1 * joint,
            0.9 * joint,
        ),
        rod((pedicle - 2.5, back + 1, root - 0.4 * height), (pedicle - 4.5, back + 1.5 * k, tip), joint, 0.85 * joint),
        _transverse(v, pedicle, back, root),
        blade((0.0, back + 0.6 * lamina, root - 0.42 * height), *_spinous(v)),
    ]
    if v.screws:
        solids.append(screw(v))
    return solids


def screw(vertebra: Vertebra) -> Solid:
    """A pedicle screw on each side, from behind the joint into the body."""
    pedicle = vertebra.canal_width / 2 + vertebra.pedicle_width / 2
    root = vertebra.height * (0.16 if vertebra.is_lumbar else 0.22)
    back = canal_centre(vertebra) + vertebra.canal_depth / 2
    return rod((pedicle + 3, back + 14, root + 1), (0.45 * pedicle, -0.2 * vertebra.depth, root - 1), 2.9, 2.3)


def _transverse(vertebra: Vertebra, pedicle: float, back: float, root: float) -> Solid:
    k = vertebra.arch_scale
    if vertebra.is_lumbar:
        reach = {"L3": 44.0, "L4": 42.0, "L5": 44.0}.get(vertebra.level, 39.0) * k
        start = (pedicle + 1, back - 0.5 * vertebra.canal_depth, root - 1)
        return rod(start, (reach, back - 0.2 * vertebra.canal_depth, root + 1), 4.2 * k, 2.8 * k, 1.25)
    number = int(vertebra.level[1:])
    reach = _thoracic_reach(number) * k
    return rod(
        (pedicle + 1, back - 0.35 * vertebra.canal_depth, root), (reach, back + 8 * k, root + 2), 4.6 * k, 4.6 * k
    )


def _thoracic_reach(number: int) -> float:
    """How far to the side, in mm, the transverse process of a thoracic level of middle size ends."""
    return float(np.interp(number, [1, 3, 9, 11, 12, 13], [36, 31, 29, 22, 16, 16]))


def _spinous(vertebra: Vertebra) -> tuple[float, float, float, float]:
    """Length, downward angle, height and thickness of the spinous process."""
    k = vertebra.arch_scale
    if vertebra.is_lumbar:
        length = 22.0 if vertebra.level == "L5" else 27.0
        return length * k, vertebra.spinous_angle, (0.45 if vertebra.level == "L5" else 0.56) * vertebra.height, 7.0 * k
    length = 32.0 + 10 * np.sin(min(vertebra.spinous_angle, 1.0))
    return float(length * k), vertebra.spinous_angle, 9.5 * k, 5.8 * k


def ribs(vertebra: Vertebra) -> list[Solid]:
    """The pair of ribs of a thoracic level, from the head beside the body to the side of the chest."""
    if not vertebra.level.startswith("T"):
        return []
    number = int(vertebra.level[1:])
    k = vertebra.arch_scale
    back = canal_centre(vertebra) + vertebra.canal_depth / 2
    out = float(np.interp(number, [1, 2, 4, 8, 12], [0.45, 0.65, 0.9, 1.1, 1.1])) * k
    high = vertebra.height * (0.32 if 1 < number < 11 else 0.12)
    tip = _thoracic_reach(number) * k
    points: list[Point] = [
        (vertebra.width / 2 + 1, vertebra.depth / 2 - 4, high),
        (max(tip - 4, vertebra.width / 2 + 6), back + 2, high + 1),
        (tip + 14, back + 14, high - 6),
        (74 * out, back + 6, high - 20),
        (100 * out, vertebra.depth / 2 - 20, high - 38),
        (116 * out, -70 * out, high - 66),
        (106 * out, -120 * out, high - 90),
    ]
    last = {11: 5, 12: 4}.get(number, 7)
    radii = [3.4, 3.0, 3.6, 3.4, 3.2, 3.2, 3.2]
    return [rod(points[i], points[i + 1], radii[i] * k, radii[i + 1] * k, 1.55) for i in range(last - 1)]


def sacrum(width: float, depth: float) -> list[Solid]:
    """The sacrum under its upper endplate (frame: origin at the endplate's middle): body, wings and tail."""
    return [
        _tapered_block(width, depth),
        rod((0.38 * width, 2, -16), (width * 1.02, 14, -24), 12, 14, 1.5),
        rod((0.3 * width, 8, -40), (width * 0.72, 22, -52), 10, 10, 1.6),
        rod((0, 6, -55), (0, 34, -100), 9, 5),
        plate((14, depth / 2 + 16, -14), (0, depth / 2 + 19, -16), 5, 30),
    ]


def _tapered_block(width: float, depth: float) -> Solid:
    def distance(left: FloatArray, posterior: FloatArray, superior: FloatArray) -> FloatArray:
        down = np.clip(-superior, 0, 70)
        bend = posterior - 0.0035 * down * down - 0.10 * down
        across = np.hypot(left / (width / 2 - 0.28 * down), bend / (depth / 2 - 0.17 * down)) - 1
        return smooth_max(across * (depth / 2 - 0.17 * down), np.maximum(superior, -superior - 68), 2.0)

    return Solid((-width * 0.55, -depth * 0.6, -72), (width * 0.55, depth * 0.6 + 20, 3), distance)
