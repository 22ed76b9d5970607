"""Footprints of vertebral bodies, seen along the spine, and how one is laid over another.

In: bodies on a straightened grid, (SI, AP, LR) 0..1 at 1 mm. Out: footprints (AP, LR), and where in its own columns a
neighbour is read so that its walls stand where the target's do.

First the footprint's centre and widths are matched, then its wall, ray by ray from the centre: inside it columns are
stretched along the rays, outside they move as one. The walls of several neighbours so come to lie on each other and on
the target's, and their mean keeps a sharp cortex. What is taken for the wall is the mean one of all heights: the
outermost follows spurs and what is left of the pedicles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from healthivert.body import inner_footprint, plate_rows
from healthivert.types import FloatArray

LEAST_ROWS = 3  # of a column of the footprint: fewer are an osteophyte's tip
LARGEST_STRETCH = 1.3  # neighbours differ by a few percent in width; more is a segmentation's error
RAYS = 180
RAY_STEP = 0.25  # columns
# A wall is smooth over this angle (standard deviation): one that is followed more closely takes the steps of the
# scan's voxels for form.
WALL_DEGREES = 8.0
SECTIONS = np.linspace(0.1, 0.9, 9)  # of which it is the mean, as shares of the height between the plates


def footprint(body: FloatArray) -> FloatArray:
    """body (SI, AP, LR) 0..1 -> (AP, LR) 0 or 1, float32: the columns it occupies, seen along the spine."""
    columns = (body > 0.5).sum(axis=0) >= LEAST_ROWS
    opened = ndimage.binary_opening(columns, iterations=2)
    return (opened if opened.any() else columns).astype(np.float32)


def soft_footprint(body: FloatArray) -> FloatArray:
    """body (SI, AP, LR) 0..1 -> (AP, LR) 0..1: its mean cross-section, which tells its wall to a fraction of a
    column."""
    plates = plate_rows(body)
    inner = inner_footprint(plates[1] - plates[0])
    # a plate that has sunk in its middle leaves holes next to it, as coarse slices do: they say nothing of the wall
    mean = np.maximum(mean_section(body, plates, inner), inner)
    near = ndimage.binary_dilation(footprint(body) > 0)
    return (mean * near).astype(np.float32)


def mean_section(body: FloatArray, plates: tuple[FloatArray, FloatArray], inner: NDArray[np.bool_]) -> FloatArray:
    """(AP, LR) 0..1, mean of SECTIONS between planes through the two plates' inner columns, which a collapse tilts."""
    lower, upper = (_plane(plate, inner) for plate in plates)
    rows = lower + SECTIONS[:, None, None] * np.maximum(upper - lower, LEAST_ROWS)
    columns = np.indices(lower.shape)
    return np.mean([ndimage.map_coordinates(body, [row, *columns], order=1) for row in rows], axis=0)


def _plane(rows: FloatArray, inner: NDArray[np.bool_]) -> FloatArray:
    """(AP, LR) the plane through the inner columns' rows (AP, LR), by least squares."""
    back, left = np.indices(rows.shape)
    design = np.stack([back, left, np.ones_like(back)], axis=-1)
    slopes, *_ = np.linalg.lstsq(design[inner], rows[inner], rcond=None)
    return design @ slopes


def narrowed(columns: FloatArray, factor: FloatArray) -> FloatArray:
    """A footprint (AP, LR) scaled about its centre by factor (2,)."""
    centre, _ = footprint_moments(columns)
    return _scaled(columns, factor, centre, centre)


def source_columns(own: FloatArray, wanted: FloatArray) -> FloatArray:
    """(2, AP, LR): where, in a neighbour of the soft footprint own, each column is read that lays it over wanted."""
    (centre, spread), (own_centre, own_spread) = footprint_moments(wanted), footprint_moments(own)
    stretch = np.clip(spread / own_spread, 1 / LARGEST_STRETCH, LARGEST_STRETCH)
    matched = _scaled(own, stretch, own_centre, centre)
    wall, own_wall = _walls(wanted, centre), _walls(matched, centre)
    offset = np.indices(wanted.shape, float) - centre[:, None, None]
    distance = np.hypot(*offset)
    ray = np.arctan2(offset[1], offset[0]) * (RAYS / (2 * np.pi)) % RAYS
    wall, own_wall = (ndimage.map_coordinates(values, [ray], order=1, mode="grid-wrap") for values in (wall, own_wall))
    scale = np.clip(own_wall / np.maximum(wall, 1.0), 1 / LARGEST_STRETCH, LARGEST_STRETCH)
    read = np.where(distance <= wall, distance * scale, distance + wall * (scale - 1))
    at = offset * (read / np.maximum(distance, RAY_STEP))
    return at / stretch[:, None, None] + own_centre[:, None, None]


def read_columns(slab: FloatArray, source: FloatArray) -> FloatArray:
    """slab (rows, AP, LR) at source (2, AP, LR), by linear interpolation; the outermost columns beyond them."""
    return np.stack([ndimage.map_coordinates(row, source, order=1, mode="nearest") for row in slab])


def _scaled(columns: FloatArray, factor: FloatArray, own_centre: FloatArray, centre: FloatArray) -> FloatArray:
    """columns scaled by factor, so that own_centre comes to lie on centre; all (2,)."""
    return ndimage.affine_transform(columns, 1 / factor, own_centre - centre / factor, order=1)


def footprint_moments(outline: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centre and standard deviation along AP and LR, both (2,) in columns. Moments, since a single column's tip would
    move an extent."""
    weight = outline / max(float(outline.sum()), 1.0)
    place = np.indices(outline.shape)
    centre = (weight * place).sum(axis=(1, 2))
    spread = (weight * (place - centre[:, None, None]) ** 2).sum(axis=(1, 2))
    return centre, np.sqrt(np.maximum(spread, 1.0))


def _walls(outline: FloatArray, centre: FloatArray) -> FloatArray:
    """(RAYS,) length of outline along rays from its centre, in columns, smooth over WALL_DEGREES."""
    angle = np.arange(RAYS) * (2 * np.pi / RAYS)
    along = np.arange(0.0, np.hypot(*outline.shape), RAY_STEP)
    points = centre[:, None, None] + np.stack([np.cos(angle), np.sin(angle)])[:, :, None] * along
    length = ndimage.map_coordinates(outline, points, order=1).sum(axis=1) * RAY_STEP
    return ndimage.gaussian_filter1d(length, WALL_DEGREES * RAYS / 360, mode="wrap")
