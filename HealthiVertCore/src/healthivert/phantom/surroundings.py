"""Everything around the spine: skin, fat, muscle, lung, bowel, organs and vessels, in HU.

Organs are elliptic tubes that run along the spine. Their places are tabled over the "rank", a continuous level number
(T1 0, T12 11, L1 12, L5 16), as offsets in mm from the line of the body centres; drawn after atlases, not measured.
Soft tissue has no detail below 2 mm that matters here, so that it is painted on a coarse lattice and interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from healthivert.anatomy import LEVELS
from healthivert.phantom.bone import coverage
from healthivert.phantom.grid import Grid
from healthivert.phantom.tissue import Tissue, look_up, smooth_tile
from healthivert.types import FloatArray

COARSE_MM = 2.0
_LADDER = [level for level in LEVELS if level not in ("T13", "L6")]
RANK = {level: float(i - _LADDER.index("T1")) for i, level in enumerate(_LADDER)} | {"T13": 11.5, "L6": 16.7, "S1": 17.0}
Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tube:
    """An elliptic tube: centre (left, posterior) and radii (left, posterior) in mm over the rank."""

    left: Knots
    posterior: Knots
    radius_left: Knots
    radius_posterior: Knots


@dataclass(frozen=True)
class _Place:
    """Voxel positions: LPS mm, rank, and offsets from the line of body centres (mm)."""

    lps: list[FloatArray]
    rank: FloatArray
    left: FloatArray
    posterior: FloatArray


def _egg(first: float, last: float, radius: float) -> Knots:
    """A radius that swells and closes between two ranks."""
    place = np.linspace(-1, 1, 9)
    return tuple((float((first + last) / 2 + (last - first) / 2 * x), float(radius * np.sqrt(max(1 - x * x, 0)))) for x in place)


def _constant(value: float) -> Knots:
    return ((0.0, value),)


def organs(tissue: Tissue) -> list[tuple[Tube, float]]:
    """Tubes with their HU, in the order they are painted."""
    bulk = tissue.muscle_bulk
    psoas = ((12.0, 4.0), (13.0, 10.0), (15.0, 18.0), (17.0, 22.0))
    erector = tuple((rank, r * bulk) for rank, r in ((0.0, 15.0), (8.0, 18.0), (12.0, 25.0), (15.0, 27.0), (17.5, 20.0)))
    vessel = tissue.aorta_radius_mm
    kidney = tissue.kidney
    table = [
        (Tube(_constant(62), _constant(2), _egg(10.3, 13.4, 30), _egg(10.3, 13.4, 26)), kidney),
        (Tube(_constant(-62), _constant(0), _egg(10.8, 14.0, 30), _egg(10.8, 14.0, 26)), kidney),
        (Tube(_constant(-92), _constant(-55), _egg(7.6, 13.6, 78), _egg(7.6, 13.6, 72)), tissue.liver),
        (Tube(_constant(98), _constant(-8), _egg(8.2, 12.0, 30), _egg(8.2, 12.0, 42)), tissue.liver + 5),
        (Tube(_constant(30), _constant(-95), _egg(4.5, 9.8, 58), _egg(4.5, 9.8, 48)), 0.6 * tissue.cava + 15),
    ]
    for side in (-1.0, 1.0):
        spread = ((12.0, 24.0), (14.0, 34.0), (16.0, 42.0), (17.5, 52.0))
        table.append((_mirrored(side, spread, ((12.0, 6.0), (17.0, -12.0)), psoas, tuple((a, r * 1.15 * bulk) for a, r in psoas)), tissue.muscle))
        table.append((_mirrored(side, _constant(34), ((0.0, 46.0), (8.0, 46.0), (12.0, 50.0), (16.0, 52.0)), erector, tuple((a, 0.72 * r) for a, r in erector)), tissue.muscle + 4))
        table.append((_mirrored(side, _constant(66), _constant(22), _egg(11.6, 16.5, 16), _egg(11.6, 16.5, 8)), tissue.muscle))
    front: Knots = ((3.0, -28.0), (8.0, -26.0), (12.0, -32.0), (16.0, -34.0))
    aorta = ((2.6, 0.0), (3.0, vessel * 1.1), (9.0, vessel), (14.6, 0.8 * vessel), (15.3, 0.0))
    cava = ((7.4, 0.0), (8.0, 11.0), (14.8, 10.0), (15.6, 0.0))
    table.append((Tube(((3.0, 22.0), (8.0, 20.0), (11.0, 6.0), (15.0, 8.0)), front, aorta, aorta), tissue.aorta))
    table.append((Tube(((8.0, -26.0), (15.0, -20.0)), ((8.0, -48.0), (11.0, -38.0), (15.0, -32.0)), cava, tuple((a, 0.75 * r) for a, r in cava)), tissue.cava))
    for side in (-1.0, 1.0):
        iliac: Knots = ((14.5, 0.0), (15.0, 0.62 * vessel), (18.0, 0.62 * vessel))
        table.append((_mirrored(side, ((14.8, 6.0), (18.0, 46.0)), ((15.0, -33.0), (18.0, -40.0)), iliac, iliac), tissue.aorta))
    windpipe: Knots = ((-2.0, 9.0), (3.6, 9.0), (4.0, 0.0))
    table.append((Tube(_constant(0), ((0.0, -32.0), (4.0, -42.0)), windpipe, windpipe), -980.0))
    table.append((Tube(_constant(4), ((0.0, -20.0), (6.0, -26.0), (9.0, -38.0)), ((-2.0, 7.0), (9.0, 8.0), (9.6, 0.0)), ((-2.0, 5.0), (9.0, 6.0), (9.6, 0.0))), 35.0))
    return table


def _mirrored(side: float, left: Knots, posterior: Knots, radius_left: Knots, radius_posterior: Knots) -> Tube:
    return Tube(tuple((rank, side * value) for rank, value in left), posterior, radius_left, radius_posterior)


def _at(rank: FloatArray, knots: Knots) -> FloatArray:
    ranks, values = zip(*knots, strict=True)
    return np.interp(rank, ranks, values).astype(np.float32)


def _place(centres: Mapping[str, FloatArray], grid: Grid) -> _Place:
    lps = grid.coordinates(grid.whole, np.zeros(3), np.eye(3))
    points = np.array([*centres.values()])
    ranks = np.array([RANK[level] for level in centres])
    order = np.argsort(points[:, 2])
    x, y, z = points[order].T
    rank = np.interp(lps[2], z, ranks[order]).astype(np.float32)
    return _Place(
        lps, rank, lps[0] - np.interp(lps[2], z, x).astype(np.float32), lps[1] - np.interp(lps[2], z, y).astype(np.float32)
    )


def paint_surroundings(tissue: Tissue, centres: Mapping[str, FloatArray], grid: Grid) -> FloatArray:
    """HU (k, j, i) float32 of all that is not spine. centres: level (or "S1") -> body centre, LPS mm."""
    factors = [max(1, int(COARSE_MM / s + 1e-6)) for s in grid.spacing]
    size = tuple(-(-n // f) + 1 for n, f in zip(grid.size, factors, strict=True))
    spacing = tuple(s * f for s, f in zip(grid.spacing, factors, strict=True))
    coarse = Grid(size, spacing, grid.origin, grid.direction)  # type: ignore[arg-type]
    hu = _paint(tissue, _place(centres, coarse), max(1.6, 0.8 * max(spacing)))
    hu = np.broadcast_to(hu, size[::-1])
    for axis, (factor, length) in enumerate(zip(factors[::-1], grid.size[::-1], strict=True)):
        hu = _stretch(hu, axis, factor, length)
    return np.ascontiguousarray(hu, dtype=np.float32)


def _stretch(values: FloatArray, axis: int, factor: int, length: int) -> FloatArray:
    """Linear interpolation along one axis: sample n lies at n / factor of the coarse samples."""
    if factor == 1:
        return np.take(values, range(length), axis=axis)
    index, part = np.divmod(np.arange(length), factor)
    shape = [1, 1, 1]
    shape[axis] = length
    weight = (part / factor).astype(np.float32).reshape(shape)
    low = np.take(values, index, axis=axis)
    return low + weight * (np.take(values, index + 1, axis=axis) - low)


def _over(hu: FloatArray, distance: FloatArray, value: FloatArray | float, blur: float) -> FloatArray:
    part = coverage(distance, blur)
    return hu + part * (value - hu)


def _paint(tissue: Tissue, place: _Place, blur: float) -> FloatArray:
    fine = look_up(smooth_tile(), place.lps, 1.1, tissue.texture_offset)
    streaks = look_up(smooth_tile(), [place.lps[0], place.lps[1], 0.35 * place.lps[2]], 1.7, tissue.texture_offset[::-1])
    skin = _torso(tissue, place)
    fat = tissue.fat + 7 * fine
    replaced = np.clip(0.30 * (streaks - 2.1 + 3.2 * tissue.muscle_fat), 0, 0.9)
    muscle = tissue.muscle + 5 * fine + replaced * (fat - tissue.muscle)
    beneath = skin + tissue.skin_fat_mm * (0.55 + 0.45 * np.clip(np.abs(place.left) / 90, 0, 1))
    hu = _over(np.float32(-1000.0) * np.ones_like(skin), skin, 25.0, blur)
    hu = _over(hu, skin + 2.0, fat, blur)
    hu = _over(hu, beneath, muscle, blur)
    cavity = _cavity(place, beneath)
    hu = _over(hu, cavity, fat, blur)
    hu = _over(hu, cavity + 3.0, _bowel(tissue, place, fat), blur)
    lung = _lung(place, cavity)
    for number, (tube, value) in enumerate(organs(tissue)):
        if number == 5:
            # lungs lie over liver, spleen and heart, under muscles and vessels
            vessels = look_up(smooth_tile(), place.lps, 2.1, tissue.texture_offset)
            hu = _over(hu, lung, tissue.lung + 60 * fine + 600 * np.clip(vessels - 2.3, 0, 1), blur)
        elif value == tissue.muscle + 4:
            hu = _over(hu, _tube_distance(tube, place) - 2.5, fat, blur)
        value_here = muscle if tissue.muscle - 1 < value < tissue.muscle + 5 else value + 6 * fine
        hu = _over(hu, _tube_distance(tube, place), value_here, blur)
        if value == tissue.aorta and tissue.calcified:
            ring = np.abs(_tube_distance(tube, place) + 1.0) - 1.0
            hu = _over(hu, np.maximum(ring, (1.4 - streaks) * 3), 650.0, blur)
    return hu


def _tube_distance(tube: Tube, place: _Place) -> FloatArray:
    across = np.maximum(_at(place.rank, tube.radius_left), 0.3)
    ahead = np.maximum(_at(place.rank, tube.radius_posterior), 0.3)
    x = (place.left - _at(place.rank, tube.left)) / across
    y = (place.posterior - _at(place.rank, tube.posterior)) / ahead
    return (np.hypot(x, y) - 1) * np.minimum(across, ahead)


def _torso(tissue: Tissue, place: _Place) -> FloatArray:
    """Distance to the skin: a broad, rounded section, flatter at the back, with a furrow over the spinous processes."""
    behind = _at(place.rank, ((-1.0, 62.0), (4.0, 64.0), (8.0, 68.0), (12.0, 78.0), (15.0, 84.0), (18.0, 78.0)))
    behind = behind + 0.45 * tissue.skin_fat_mm
    width = _at(place.rank, ((-2.5, 60.0), (-1.0, 110.0), (1.0, 175.0), (6.0, 165.0), (12.0, 155.0), (17.0, 175.0)))
    width = width * np.float32(tissue.half_width_mm / 165)
    depth = _at(place.rank, ((-2.5, 62.0), (0.0, 80.0), (6.0, 110.0), (12.0, 110.0), (17.0, 112.0)))
    depth = depth * np.float32(tissue.half_depth_mm / 112)
    x, y = place.left / width, (place.posterior - behind + depth) / depth
    xx, yy = x * x, y * y
    ratio = 0.4 * np.sqrt(xx + yy) + 0.6 * np.sqrt(np.sqrt(xx * xx + yy * yy))
    furrow = 7 * np.exp(-((place.left / 20) ** 2)) * (y > 0)
    return (ratio - 1) * np.minimum(width, depth) + furrow


def _cavity(place: _Place, beneath: FloatArray) -> FloatArray:
    """Distance to the inside of chest and belly: the wall's muscles end, and behind it the paraspinal muscles do."""
    chest = _at(place.rank, ((0.0, 1.0), (9.0, 1.0), (12.5, 0.0)))
    beside = np.clip((np.abs(place.left) - 26) / 34, 0, 1)
    limit = chest * (4 + 34 * beside) + (1 - chest) * (-6 + 18 * beside)
    return np.maximum(beneath + 16 + 6 * chest, place.posterior - limit)


def _lung(place: _Place, cavity: FloatArray) -> FloatArray:
    """Distance to the lungs: the chest's cavity above the diaphragm, beside the mediastinum."""
    middle = 23 + 0.5 * np.clip(-place.posterior - 2, 0, 60)
    height = np.minimum(np.abs(place.left) / 60, 1.6)
    dome = 10.9 - 2.6 * np.clip(-place.posterior / 60, 0, 1.2) + 0.6 * (height - 1) ** 2
    top = (0.6 - place.rank) * 20
    return np.maximum(np.maximum(cavity + 2, middle - np.abs(place.left)), np.maximum((place.rank - dome) * 26, top))


def _bowel(tissue: Tissue, place: _Place, fat: FloatArray) -> FloatArray:
    """Loops of bowel in the mesenteric fat, some with gas that has risen to the front."""
    loops = look_up(smooth_tile(), place.lps, 6.0, tissue.texture_offset)
    forward = np.clip((-place.posterior - 48) / 20, 0, 1) * np.clip((place.rank - 10.5) / 1.5, 0, 1)
    soft = np.clip((loops + 0.1) * 5, 0, 1) * forward
    gas = np.clip((loops - tissue.gas + 0.5 * np.clip(-place.posterior / 100, 0, 1)) * 6, 0, 1) * forward
    hu = fat + soft * (tissue.bowel - fat)
    return hu + gas * (-950 - hu)
