"""From parameters to an image: surroundings, discs, canal and bones on one grid, then the scanner.

Each solid is evaluated in its own bounding box only. Surfaces are antialiased analytically (partial volume over one
voxel), so that a cortex thinner than a voxel has the right mean HU without supersampling; only voxels longer than
COARSEST_MM are split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from healthivert.phantom.arch import Solid, canal_distance, posterior_elements, ribs, sacrum, screw
from healthivert.phantom.bone import body_cortex, body_marrow, coverage, lay_bone
from healthivert.phantom.grid import Grid
from healthivert.phantom.posture import Pose, poses
from healthivert.phantom.scanner import Scanner, acquire, add_noise
from healthivert.phantom.shape import body_distance, endplates, footprint_ratio
from healthivert.phantom.spine import PhantomSpine, Vertebra
from healthivert.phantom.surroundings import paint_surroundings
from healthivert.phantom.tissue import look_up, smooth_tile
from healthivert.types import FloatArray

COARSEST_MM = 1.6
FAR = np.float32(40.0)
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Rendered:
    """ct: int16 HU. labels: uint8 level numbers of whole vertebrae. bodies: the same without posterior elements."""

    ct: sitk.Image
    labels: sitk.Image
    bodies: sitk.Image


@dataclass(frozen=True)
class _Canvas:
    """What is painted on: arrays (k, j, i) on `grid`, and the width in mm over which surfaces are antialiased."""

    grid: Grid
    hu: FloatArray
    labels: np.ndarray
    bodies: np.ndarray
    blur: float

    def box(self, pose: Pose, low: tuple[float, ...], high: tuple[float, ...]) -> Box | None:
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
        return self.grid.box(pose.centre + corners @ pose.axes)

    def places(self, box: Box, pose: Pose) -> list[FloatArray]:
        return self.grid.coordinates(box, pose.centre, pose.axes)


def render(spine: PhantomSpine, grid: Grid, scanner: Scanner | None) -> Rendered:
    """The person on a grid, through a scanner (None: no blur beyond the voxel's, no noise)."""
    factors = tuple(1 if s <= COARSEST_MM else 2 * round((s / 1.1 - 1) / 2) + 1 for s in grid.spacing)
    fine = grid.refined(factors)  # type: ignore[arg-type]
    shape = fine.size[::-1]
    canvas = _Canvas(
        fine,
        paint_surroundings(spine.tissue, {level: pose.centre for level, pose in poses(spine).items()}, fine),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.uint8),
        float(np.mean(fine.spacing)),
    )
    _paint_spine(canvas, spine)
    rendered_blur = [0.29 * canvas.blur] * 3
    hu = acquire(
        canvas.hu, fine.spacing[::-1], _with_averaging(rendered_blur, factors[::-1], fine.spacing[::-1]), scanner
    )
    hu = _average(hu, factors[::-1])
    centre = tuple(slice(f // 2, None, f) for f in factors[::-1])
    return Rendered(
        grid.image(add_noise(hu, grid.spacing[::-1], scanner)),
        grid.image(np.ascontiguousarray(canvas.labels[centre])),
        grid.image(np.ascontiguousarray(canvas.bodies[centre])),
    )


def _with_averaging(blur: list[float], factors: tuple[int, ...], spacing: tuple[float, ...]) -> list[float]:
    """Averaging f voxels blurs as a box of their length does: the scanner must not add that part again."""
    return [np.hypot(b, f * s / np.sqrt(12)) if f > 1 else b for b, f, s in zip(blur, factors, spacing, strict=True)]


def _average(hu: FloatArray, factors: tuple[int, ...]) -> FloatArray:
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = (*hu.shape[:axis], hu.shape[axis] // factor, factor, *hu.shape[axis + 1 :])
            hu = hu.reshape(shape).mean(axis=axis + 1)
    return hu


def _paint_spine(canvas: _Canvas, spine: PhantomSpine) -> None:
    stand = poses(spine)
    chain = spine.vertebrae
    for vertebra in chain:
        _paint_canal(canvas, spine, vertebra, stand[vertebra.level])
    for above, below in zip(chain, (*chain[1:], None), strict=True):
        _paint_disc(canvas, spine, above, below)
    _paint_sacrum(canvas, spine, stand["S1"])
    for vertebra in chain:
        _paint_ribs(canvas, spine, vertebra, stand[vertebra.level])
    for vertebra in chain:
        _paint_vertebra(canvas, spine, vertebra, stand[vertebra.level])


def _paint_canal(canvas: _Canvas, spine: PhantomSpine, vertebra: Vertebra, pose: Pose) -> None:
    """Epidural fat, the dural sac, and the cord down to L1."""
    half = vertebra.height / 2 + vertebra.disc_below
    middle = vertebra.depth / 2 + vertebra.canal_depth / 2
    reach = max(vertebra.canal_width, vertebra.canal_depth) / 2 + 2
    box = canvas.box(pose, (-reach, middle - reach, -half), (reach, middle + reach, half))
    if box is None:
        return
    left, posterior, _ = canvas.places(box, pose)
    tissue, hu = spine.tissue, canvas.hu[box]
    for shrink, value in ((0.0, 0.6 * tissue.fat), (1.6, tissue.fluid)):
        part = coverage(canal_distance(vertebra, left, posterior, shrink), canvas.blur)
        hu += part * (value - hu)
    if vertebra.level.startswith(("C", "T")) or vertebra.level == "L1":
        part = coverage(
            np.hypot(0.72 * left, posterior - middle) - (2.0 if vertebra.level == "L1" else 3.7), canvas.blur
        )
        hu += part * (tissue.cord - hu)


def _paint_disc(canvas: _Canvas, spine: PhantomSpine, above: Vertebra, below: Vertebra | None) -> None:
    """What lies between two endplates within their outlines; a vacuum in some."""
    stand = poses(spine)
    pose = stand[above.level]
    side = max(above.width, below.width if below else 0) * 0.6
    depth = above.depth * 0.65
    low, high = -above.height / 2 - 2.2 * above.disc_below - 12, -above.height / 2 + 10
    box = canvas.box(pose, (-side, -depth, low), (side, depth, high))
    if box is None:
        return
    left, posterior, superior = canvas.places(box, pose)
    upper = superior - endplates(above, left, posterior)[1]
    ratio = footprint_ratio(above, left, posterior, above.width_inferior)
    if below is None:
        lower = -canvas.places(box, stand["S1"])[2]
    else:
        x, y, z = canvas.places(box, stand[below.level])
        lower = endplates(below, x, y)[0] - z
        ratio = (ratio + footprint_ratio(below, x, y, below.width_superior)) / 2
    wall = (ratio - 1) * (above.depth / 2) - 0.8
    distance = np.maximum(wall, np.maximum(upper, lower) - 0.5)
    hu, tissue = canvas.hu[box], spine.tissue
    grain = look_up(smooth_tile(), [left, posterior, superior], 1.0, above.texture_offset)
    value = tissue.disc + 6 * grain + 18 * np.clip((ratio - 0.55) / 0.4, 0, 1)
    if tissue.vacuum and (above.texture_offset[0] / 96) < tissue.vacuum * 3:
        gas = np.maximum(0.8 - grain, (np.abs(upper - lower) - 1.5) / 1.5)
        value = value - 500 * coverage(np.maximum(gas, ratio - 0.6), 1.0)
    hu += coverage(distance, canvas.blur) * (value - hu)


def _union(canvas: _Canvas, box: Box, pose: Pose, solids: list[Solid]) -> FloatArray:
    """Distance to the union of solids over a box; far outside where none of them reaches."""
    distance = np.full([part.stop - part.start for part in box], FAR)
    for solid in solids:
        inner = canvas.box(pose, solid.low, solid.high)
        if inner is None:
            continue
        common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(inner, box, strict=True))
        if any(part.stop <= part.start for part in common):
            continue
        left, posterior, superior = canvas.places(common, pose)  # type: ignore[arg-type]
        view = distance[tuple(slice(c.start - b.start, c.stop - b.start) for c, b in zip(common, box, strict=True))]
        np.minimum(view, solid.distance(np.abs(left), posterior, superior), out=view)
    return distance


def _hull(canvas: _Canvas, pose: Pose, solids: list[Solid]) -> Box | None:
    low = np.min([solid.low for solid in solids], axis=0)
    high = np.max([solid.high for solid in solids], axis=0)
    return canvas.box(pose, tuple(low), tuple(high))


def _paint_vertebra(canvas: _Canvas, spine: PhantomSpine, vertebra: Vertebra, pose: Pose) -> None:
    tissue = spine.tissue
    elements = posterior_elements(vertebra)
    bulge = 8.0
    half = (vertebra.width / 2 + bulge, vertebra.depth / 2 + bulge, vertebra.height / 2 + 6)
    body = Solid(tuple(-h for h in half), half, lambda *_: FAR)  # type: ignore[arg-type]
    box = _hull(canvas, pose, [*elements, body])
    if box is None:
        return
    arch = _union(canvas, box, pose, elements)
    left, posterior, _ = canvas.places(box, pose)
    arch = np.maximum(arch, -canal_distance(vertebra, left, posterior, 0.3))
    thickness = np.full_like(arch, tissue.arch_cortex_mm)
    marrow = np.full_like(arch, 0.8 * tissue.trabecular + 150)
    distance = arch
    inner = canvas.box(pose, body.low, body.high)
    if inner is not None:
        within = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inner, box, strict=True))
        place = canvas.places(inner, pose)
        solid, plates, wall = body_distance(vertebra, *place)
        attached = arch[within]
        nearer = solid < attached
        thickness[within] = np.where(nearer, body_cortex(vertebra, tissue, place, plates, wall), thickness[within])
        share = coverage(solid + 1.5, 3.0)
        marrow[within] += share * (body_marrow(vertebra, tissue, place, plates, wall) - marrow[within])
        distance[within] = np.minimum(solid, attached)
        _label(canvas.bodies[inner], solid < 0, spine, vertebra)
    lay_bone(canvas.hu[box], distance, thickness, tissue.cortex, marrow, canvas.blur)
    _label(canvas.labels[box], distance < 0, spine, vertebra)
    if vertebra.screws:
        metal = _union(canvas, box, pose, [screw(vertebra)])
        lay_bone(canvas.hu[box], metal, 10.0, 3000.0, 3000.0, canvas.blur)


def _label(labels: np.ndarray, inside: np.ndarray, spine: PhantomSpine, vertebra: Vertebra) -> None:
    if vertebra.level in spine.levels:
        labels[inside & (labels == 0)] = vertebra.number


def _paint_ribs(canvas: _Canvas, spine: PhantomSpine, vertebra: Vertebra, pose: Pose) -> None:
    """Each segment on its own: the box around a whole rib would be mostly empty."""
    for solid in ribs(vertebra):
        box = canvas.box(pose, solid.low, solid.high)
        if box is not None:
            distance = _union(canvas, box, pose, [solid])
            lay_bone(
                canvas.hu[box], distance, 1.1, spine.tissue.cortex, 0.5 * spine.tissue.trabecular + 60, canvas.blur
            )


def _paint_sacrum(canvas: _Canvas, spine: PhantomSpine, pose: Pose) -> None:
    lowest = spine.vertebrae[-1]
    solids = sacrum(lowest.width * 1.04, lowest.depth)
    box = _hull(canvas, pose, solids)
    if box is None:
        return
    grain = look_up(smooth_tile(), canvas.places(box, pose), 1.0, lowest.texture_offset)
    marrow = 0.7 * spine.tissue.trabecular + 20 + 25 * grain
    lay_bone(
        canvas.hu[box],
        _union(canvas, box, pose, solids),
        spine.tissue.cortex_mm * 1.3,
        spine.tissue.cortex,
        marrow,
        canvas.blur,
    )
