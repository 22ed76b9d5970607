"""Everything around the spine: skin, fat, muscle, lung, bowel, organs and vessels, in HU.

Soft tissue has no detail below 2 mm that matters here: it is painted on a coarse lattice and interpolated. Where
tissue meets air the steps of that lattice would show: there the distance to the border is interpolated instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from healthivert.phantom.bone import coverage
from healthivert.phantom.grid import Grid
from healthivert.phantom.organs import RANK, at, muscles, vessels, viscera
from healthivert.phantom.tissue import Tissue, look_up, smooth_tile
from healthivert.types import FloatArray

COARSE_MM = 2.0
LEVEL_MM = 30.0  # length of a level, to carry the rank on beyond the outermost bodies


@dataclass(frozen=True)
class _Place:
    """Voxel positions: LPS mm, rank, and offsets from the line of body centres (mm)."""

    lps: list[FloatArray]
    rank: FloatArray
    left: FloatArray
    posterior: FloatArray


@dataclass(frozen=True)
class _Painted:
    """HU inside the skin without lungs, the lungs' HU, and the distances (mm) to lungs and skin, < 0 inside."""

    hu: FloatArray
    lung_hu: FloatArray
    lung: FloatArray
    skin: FloatArray


def paint_surroundings(tissue: Tissue, centres: Mapping[str, FloatArray], grid: Grid) -> FloatArray:
    """HU (k, j, i) float32 of all that is not spine. centres: level (or "S1") -> body centre, LPS mm."""
    factors = [max(1, int(COARSE_MM / s + 1e-6)) for s in grid.spacing]
    size = tuple(-(-n // f) + 1 for n, f in zip(grid.size, factors, strict=True))
    spacing = tuple(s * f for s, f in zip(grid.spacing, factors, strict=True))
    coarse = Grid(size, spacing, grid.origin, grid.direction)  # type: ignore[arg-type]
    painted = _paint(tissue, _place(centres, coarse), max(1.6, 1.25 * max(spacing)))

    def stretched(values: FloatArray) -> FloatArray:
        values = np.broadcast_to(values, size[::-1])
        for axis, (factor, length) in enumerate(zip(factors[::-1], grid.size[::-1], strict=True)):
            values = _stretch(values, axis, factor, length)
        return values

    hu, blur = np.ascontiguousarray(stretched(painted.hu), dtype=np.float32), float(np.mean(grid.spacing))
    if painted.lung.min() < blur:
        hu = _over(hu, stretched(painted.lung), stretched(painted.lung_hu), blur)
    if painted.skin.max() > -blur:
        hu = _over(hu, -stretched(painted.skin), -1000.0, blur)
    return hu


def _place(centres: Mapping[str, FloatArray], grid: Grid) -> _Place:
    lps = grid.coordinates(grid.whole, np.zeros(3), np.eye(3))
    points = np.array([*centres.values()])
    ranks = np.array([RANK[level] for level in centres])
    order = np.argsort(points[:, 2])
    x, y, z = points[order].T
    beyond = (lps[2] - np.clip(lps[2], z[0], z[-1])) / LEVEL_MM
    rank = (np.interp(lps[2], z, ranks[order]) - beyond).astype(np.float32)
    return _Place(
        lps,
        rank,
        lps[0] - np.interp(lps[2], z, x).astype(np.float32),
        lps[1] - np.interp(lps[2], z, y).astype(np.float32),
    )


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


def _paint(tissue: Tissue, place: _Place, blur: float) -> _Painted:
    fine = look_up(smooth_tile(), place.lps, 1.1, tissue.texture_offset)
    fat = tissue.fat + 7 * fine
    skin = _torso(tissue, place)
    beneath = skin + tissue.skin_fat_mm * (0.55 + 0.45 * np.clip(np.abs(place.left) / 90, 0, 1))
    cavity = _cavity(place, beneath)
    hu = _over(np.float32(25.0) * np.ones_like(skin), skin + 2.0, fat, blur)
    hu = _over(hu, beneath, tissue.muscle + 5 * fine, blur)
    hu = _over(hu, cavity, fat, blur)
    hu = _over(hu, cavity + 3.0, _bowel(tissue, place, fat), blur)
    for tube in viscera(tissue):
        distance = tube.distance(place.rank, place.left, place.posterior)
        hu = _over(hu, np.maximum(distance, cavity + 3.0), tube.hu + 6 * fine, blur)
    branches = look_up(smooth_tile(), place.lps, 2.1, tissue.texture_offset)
    lung_hu = tissue.lung + 60 * fine + 600 * np.clip(branches - 2.1, 0, 1)
    hu, solid = _paint_tubes(hu, tissue, place, fine, fat, blur)
    return _Painted(hu, lung_hu, np.maximum(_lung(place, cavity), -solid), skin)


def _paint_tubes(
    hu: FloatArray, tissue: Tissue, place: _Place, fine: FloatArray, fat: FloatArray, blur: float
) -> tuple[FloatArray, FloatArray]:
    """Muscles, streaked with fat and parted by thin septa of it, then vessels, whose walls may be calcified.

    Also returns the distance to all of them: what lungs cannot cover.
    """
    solid = np.full_like(hu, 50.0)
    streaks = look_up(
        smooth_tile(), [place.lps[0], place.lps[1], 0.35 * place.lps[2]], 1.7, tissue.texture_offset[::-1]
    )
    replaced = np.clip(0.30 * (streaks - 2.1 + 3.2 * tissue.muscle_fat), 0, 0.9)
    septum = np.clip(0.2 + 0.35 * streaks + 0.7 * tissue.muscle_fat, 0, 0.8)
    for tube in muscles(tissue):
        distance = tube.distance(place.rank, place.left, place.posterior)
        hu = hu + septum * coverage(distance - 0.8, blur) * (fat - hu)
        solid = np.minimum(solid, distance)
        flesh = tube.hu + 5 * fine
        hu = _over(hu, distance, flesh + replaced * (fat - flesh), blur)
    for tube in vessels(tissue):
        distance = tube.distance(place.rank, place.left, place.posterior)
        solid = np.minimum(solid, distance)
        hu = _over(hu, distance, tube.hu + 4 * fine, blur)
        if tissue.calcified and tube.hu == tissue.aorta:
            plaque = np.maximum(np.abs(distance + 1.0) - 1.0, (1.4 - streaks) * 3)
            hu = _over(hu, plaque, 650.0, blur)
    return hu, solid


def _torso(tissue: Tissue, place: _Place) -> FloatArray:
    """Distance to the skin: a broad, rounded section, flatter at the back, with a furrow over the spinous processes."""
    behind = at(place.rank, ((-1.0, 62.0), (4.0, 64.0), (8.0, 68.0), (12.0, 78.0), (15.0, 84.0), (18.0, 78.0)))
    behind = behind + 0.45 * tissue.skin_fat_mm
    width = at(place.rank, ((-2.5, 60.0), (-1.0, 110.0), (1.0, 175.0), (6.0, 165.0), (12.0, 155.0), (17.0, 175.0)))
    width = width * np.float32(tissue.half_width_mm / 165)
    depth = at(place.rank, ((-2.5, 62.0), (0.0, 80.0), (6.0, 110.0), (12.0, 110.0), (17.0, 112.0)))
    depth = depth * np.float32(tissue.half_depth_mm / 112)
    x, y = place.left / width, (place.posterior - behind + depth) / depth
    xx, yy = x * x, y * y
    ratio = 0.4 * np.sqrt(xx + yy) + 0.6 * np.sqrt(np.sqrt(xx * xx + yy * yy))
    furrow = 7 * np.exp(-((place.left / 20) ** 2)) * (y > 0)
    return (ratio - 1) * np.minimum(width, depth) + furrow


def _cavity(place: _Place, beneath: FloatArray) -> FloatArray:
    """Distance to the inside of chest and belly: the wall's muscles end, and behind it the paraspinal muscles do."""
    chest = at(place.rank, ((0.0, 1.0), (9.0, 1.0), (12.5, 0.0)))
    beside = np.clip((np.abs(place.left) - 19) / 32, 0, 1)
    beside = beside * beside * (3 - 2 * beside)
    limit = chest * (2 + 34 * beside) + (1 - chest) * (-6 + 20 * beside)
    # far to the side the wall curves forward, which keeps the cavity's corners round
    limit = limit - 0.004 * np.clip(np.abs(place.left) - 60, 0, None) ** 2
    return np.maximum(beneath + 16 + 6 * chest, place.posterior - limit)


def _lung(place: _Place, cavity: FloatArray) -> FloatArray:
    """Distance to the lungs: the chest's cavity between apex and diaphragm, beside the mediastinum."""
    forward = np.clip(-place.posterior - 2, 0, 70) / 70
    middle = 22 + 34 * forward * forward * (3 - 2 * forward)
    aside = np.abs(place.left)
    dome = 10.9 - 2.6 * np.clip(-place.posterior / 60, 0, 1.2) + 0.6 * (np.minimum(aside / 60, 1.6) - 1) ** 2
    apex = (0.4 - place.rank) * 24 + 0.012 * (aside - 50) ** 2 + 0.006 * (place.posterior + 20) ** 2
    return np.maximum(np.maximum(cavity + 2, middle - aside), np.maximum((place.rank - dome) * 26, apex))


def _bowel(tissue: Tissue, place: _Place, fat: FloatArray) -> FloatArray:
    """Loops of bowel in the mesenteric fat, some with gas that has risen to the front."""
    loops = look_up(smooth_tile(), place.lps, 4.2, tissue.texture_offset)
    forward = np.clip((-place.posterior - 48) / 20, 0, 1) * np.clip((place.rank - 10.5) / 1.5, 0, 1)
    soft = np.clip((loops + 0.1) * 5, 0, 1) * forward
    gas = np.clip((loops - tissue.gas + 0.5 * np.clip(-place.posterior / 100, 0, 1)) * 6, 0, 1) * forward
    hu = fat + soft * (tissue.bowel - fat)
    return hu + gas * (-950 - hu)
