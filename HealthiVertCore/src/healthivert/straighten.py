"""The straightened frame: a smooth centreline through the bodies, and the map patient <-> straightened in millimetres.

In: the bodies. Out: StraightFrame (its two maps are inverse to each other to well below 0.05 mm inside its tube), and
StraightenedSpine, a part of the case resampled in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk
from scipy.interpolate import UnivariateSpline
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import inner_footprint, own_frame
from healthivert.geometry import affine_of, patch_around, sample
from healthivert.types import FloatArray, SpineCase, StraightenedSpine, StraightFrame, VertebralBody

KNOT_MM = 0.5  # of the tabulated frame; a chord of this length leaves a curve of 100 mm radius by 0.0003 mm
LEAST_APART = 0.2  # of two planes, per mm of centreline: nearer ones are about to cross
OVERHANG_MM = 150.0  # the frame goes on straight beyond the first and the last body
WIGGLE_MM = 0.7  # how far the centreline may pass from a body's centre: bodies' centres are not known better
# How far the curve turns on its way to the outermost plates: 0 along a body's axis, 1 along the bisector of its plates,
# and beyond it at the lower end, where a lordosis bends on: see docs/decisions.md.
LOWER_LEAD, UPPER_LEAD = 1.5, 0.5
AP_MM, LR_MM = 64.0, 72.0  # the tube that is resampled: the largest body, and the canal


def centreline(bodies: Mapping[str, VertebralBody]) -> StraightFrame:
    """A smoothing spline through the bodies' centres and the outermost two plates, with the posterior direction carried
    along.

    Bodies that the scan's border cuts are left out where any other remains: their centres are not centres.
    """
    chosen = [body for body in bodies.values() if body.complete]
    if not chosen:
        chosen = list(bodies.values())
    chosen = chosen[::-1]  # caudal to cranial
    posterior = np.array([body.axes[1] for body in chosen])
    if len(chosen) == 1:
        curve = chosen[0].centre[None]
        ends = chosen[0].axes[2][None].repeat(2, axis=0)
    else:
        # without its outer plate, a centreline would leave the last body in the direction that it came from
        lowest, highest = _outer_plates(chosen[0], chosen[-1])
        centres = np.array([lowest, *(body.centre for body in chosen), highest])
        posterior = posterior[[0, *range(len(chosen)), -1]]
        chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
        knots = np.arange(0.0, chord[-1] + KNOT_MM, KNOT_MM)
        splines = [UnivariateSpline(chord, centres[:, axis], k=3, s=len(chord) * WIGGLE_MM**2 / 3) for axis in range(3)]
        curve = np.stack([spline(knots) for spline in splines], axis=1)
        ends = np.array([curve[1] - curve[0], curve[-1] - curve[-2]])
        posterior = np.stack([np.interp(knots, chord, posterior[:, axis]) for axis in range(3)], axis=1)
    return _frame_along(curve, ends, posterior)


def _outer_plates(lowest: VertebralBody, highest: VertebralBody) -> tuple[FloatArray, FloatArray]:
    """(3,) LPS mm: the middle of the lower plate of the one and of the upper plate of the other body, where the curve
    leads: between their axes and the bisectors of their plates, or beyond these."""
    ends = []
    for body, side, share in ((lowest, -0.5, LOWER_LEAD), (highest, 0.5, UPPER_LEAD)):
        to_centre, bisector = own_frame(body.inferior, body.superior, body.axes)
        direction = (1 - share) * body.axes[2] + share * bisector
        height = float(np.median(body.height_map[inner_footprint(body.height_map)]))
        ends.append(body.centre + to_centre + side * height * direction / np.linalg.norm(direction))
    return ends[0], ends[1]


def _frame_along(curve: FloatArray, ends: FloatArray, posterior: FloatArray) -> StraightFrame:
    """Extend a curve straight at both ends, resample it by arc length, and carry the frame along it."""
    ends = ends / np.linalg.norm(ends, axis=1, keepdims=True)
    run = np.arange(KNOT_MM, OVERHANG_MM + KNOT_MM, KNOT_MM)[:, None]
    points = np.concatenate([curve[0] - run[::-1] * ends[0], curve, curve[-1] + run * ends[1]])
    back = np.concatenate([posterior[:1].repeat(len(run), 0), posterior, posterior[-1:].repeat(len(run), 0)])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    arc = np.arange(0.0, length[-1], KNOT_MM)
    points, back = (np.stack([np.interp(arc, length, v[:, axis]) for axis in range(3)], 1) for v in (points, back))
    tangent = np.gradient(points, KNOT_MM, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    back -= (back * tangent).sum(axis=1, keepdims=True) * tangent
    back /= np.linalg.norm(back, axis=1, keepdims=True)
    return StraightFrame(arc, points, np.cross(back, tangent), back, tangent)


def to_patient(frame: StraightFrame, coordinates: FloatArray) -> FloatArray:
    """Straightened (..., 3) as (left, posterior, arc) mm -> LPS mm (..., 3)."""
    left, back, arc = coordinates[..., 0:1], coordinates[..., 1:2], coordinates[..., 2]
    return (
        _along(frame, frame.points, arc)
        + left * _along(frame, frame.left, arc)
        + back * _along(frame, frame.posterior, arc)
    )


def to_straightened(frame: StraightFrame, points: FloatArray) -> FloatArray:
    """LPS mm (..., 3) -> straightened (left, posterior, arc) mm: the exact inverse of to_patient, by Newton steps on
    arc.

    Exact within the tube in which the frame's planes do not cross (the centreline's radius, 150 mm and more).
    """
    flat = points.reshape(-1, 3)
    arc = frame.arc[_nearest_knot(frame, flat)]
    turning = np.gradient(np.cross(frame.left, frame.posterior), KNOT_MM, axis=0)  # of the planes' normals, per mm
    for _ in range(12):
        normal = np.cross(_along(frame, frame.left, arc), _along(frame, frame.posterior, arc))
        offset = flat - _along(frame, frame.points, arc)
        # towards the centre of curvature the planes lie closer together than along the centreline
        apart = 1 - _dot(offset, _along(frame, turning, arc))
        step = _dot(offset, normal) / np.maximum(apart, LEAST_APART)
        arc = np.clip(arc + step, frame.arc[0], frame.arc[-1])
        if np.abs(step).max(initial=0.0) < 1e-5:
            break
    offset = flat - _along(frame, frame.points, arc)
    left, back = _along(frame, frame.left, arc), _along(frame, frame.posterior, arc)
    # interpolated axes are not exactly orthonormal: solve for the two offsets that to_patient would use
    ll, bb, lb = _dot(left, left), _dot(back, back), _dot(left, back)
    ol, ob = _dot(offset, left), _dot(offset, back)
    determinant = ll * bb - lb**2
    across = (ol * bb - ob * lb) / determinant
    behind = (ob * ll - ol * lb) / determinant
    return np.stack([across, behind, arc], axis=1).reshape(points.shape)


def _dot(one: FloatArray, other: FloatArray) -> FloatArray:
    """(N,) scalar products of vectors (N, 3)."""
    return np.einsum("nk,nk->n", one, other)


def _nearest_knot(frame: StraightFrame, points: FloatArray) -> np.ndarray:
    """Index of a knot near each point; every 20th knot is enough to start Newton's steps from."""

    stride = 20
    _, near = cKDTree(frame.points[::stride]).query(points)
    return np.minimum(near * stride, len(frame.arc) - 1)


def _along(frame: StraightFrame, values: FloatArray, arc: FloatArray) -> FloatArray:
    """values (N, 3) tabulated at frame.arc, interpolated at arc (...)."""
    place = np.clip((arc - frame.arc[0]) / KNOT_MM, 0, len(frame.arc) - 1.000001)
    index = place.astype(int)
    part = (place - index)[..., None]
    return np.take(values, index, axis=0) * (1 - part) + np.take(values, index + 1, axis=0) * part


def grid_points(frame: StraightFrame, arc: FloatArray, spacing_mm: float) -> FloatArray:
    """LPS points (SI, AP, LR, 3) of the tube's grid at the arc lengths arc (SI,)."""
    back, left = _tube_offsets(spacing_mm)
    # one frame per row, shared by all of its points: many times faster than to_patient on every point
    middle, to_left, to_back = (
        _along(frame, values, arc)[:, None, None] for values in (frame.points, frame.left, frame.posterior)
    )
    return middle + back[None, :, None, None] * to_back + left[None, None, :, None] * to_left


def _tube_offsets(spacing_mm: float) -> tuple[FloatArray, FloatArray]:
    """AP and LR positions of the tube's columns, symmetric about the centreline."""
    ap, lr = round(AP_MM / spacing_mm), round(LR_MM / spacing_mm)
    return (np.arange(ap) - (ap - 1) / 2) * spacing_mm, (np.arange(lr) - (lr - 1) / 2) * spacing_mm


def body_occupancy(body: VertebralBody, points: FloatArray) -> FloatArray:
    """How much of the body is at points (..., 3) LPS mm: 0..1, linear between the samples of its own frame."""
    local = ((points - body.centre) @ body.axes.T / body.column_mm)[..., ::-1]
    index = local + np.array(body.occupancy.shape) // 2
    values = map_coordinates(body.occupancy, index.reshape(-1, 3).T, order=1, cval=0.0)
    return values.reshape(points.shape[:-1])


def straighten(
    case: SpineCase,
    bodies: Mapping[str, VertebralBody],
    frame: StraightFrame,
    arc_start: float,
    rows: int,
    spacing_mm: float = 1.0,
) -> StraightenedSpine:
    """The tube around the centreline from arc_start over rows rows: CT (HU; -1000 outside the scan), labels, bodies."""
    arc = arc_start + (np.arange(rows) + 0.5) * spacing_mm
    points = grid_points(frame, arc, spacing_mm)
    ct = sample(patch_around(case.ct, points, 4.0), points, order=1, outside=-1000.0).astype(np.float32)
    labels = sample(patch_around(case.labels, points, 4.0), points, order=0).astype(np.uint8)
    occupied = np.zeros(ct.shape, np.float32)
    numbers = np.zeros(ct.shape, np.uint8)
    for level, body in bodies.items():
        place = to_straightened(frame, body.centre)[2]
        first, last = np.searchsorted(arc, [place - 45.0, place + 45.0])
        if first == last:
            continue
        own = body_occupancy(body, points[first:last])
        more = (own > occupied[first:last]) & (own >= 0.5)
        numbers[first:last][more] = LEVEL_NUMBER[level]
        occupied[first:last] = np.maximum(occupied[first:last], own)
    withheld = None if case.withheld is None else sample(patch_around(case.withheld, points, 4.0), points, order=0) > 0
    return StraightenedSpine(frame, arc_start, spacing_mm, ct, _within(case.ct, points), labels, numbers, withheld)


def _within(image: sitk.Image, points: FloatArray) -> np.ndarray:
    """Which of the points (..., 3) LPS mm lie between the centres of the image's voxels and can be interpolated."""
    index = affine_of(image).to_index(points)
    return np.asarray(((index >= 0) & (index <= np.array(image.GetSize()) - 1)).all(axis=-1))


def straighten_around(
    case: SpineCase, bodies: Mapping[str, VertebralBody], frame: StraightFrame, level: str, margin_mm: float
) -> StraightenedSpine:
    """The straightened spine from margin_mm below the lowest point of one body to margin_mm above its highest, at 1 mm.

    The grid starts at the body's lowest point less a whole number of rows, so that voxels of another grid or
    orientation cannot shift the rows against the body.
    """
    low, high = arc_extent(bodies[level], frame)
    rows = int(np.ceil(high - low) + 2 * np.ceil(margin_mm))
    return straighten(case, bodies, frame, low - np.ceil(margin_mm), rows)


def arc_extent(body: VertebralBody, frame: StraightFrame) -> tuple[float, float]:
    """Lowest and highest arc length (mm) of a body, each the mean of its outermost 1 % of endplate columns.

    The mean over some columns instead of a single extreme keeps one voxel's corner from moving the whole grid.
    """
    rows, columns = np.nonzero(np.isfinite(body.superior))
    offset = (np.stack([columns, rows], axis=1) - np.array(body.superior.shape)[::-1] // 2) * body.column_mm
    arcs = []
    for plate in (body.inferior, body.superior):
        local = np.column_stack([offset, plate[rows, columns]])
        arcs.append(np.sort(to_straightened(frame, body.centre + local @ body.axes)[:, 2]))
    few = max(1, len(rows) // 100)
    return float(arcs[0][:few].mean()), float(arcs[1][-few:].mean())
