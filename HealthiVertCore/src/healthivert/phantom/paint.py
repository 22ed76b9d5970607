"""A plausible CT painted onto a real label map: the patient's own bones, everything else as a phantom has it.

In: labels with our level numbers on any grid, whole vertebrae or bodies only. Out: int16 HU on the same grid.
Bodies are found by healthivert.body; discs lie between their endplates, the canal behind their posterior walls.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from healthivert.anatomy import LEVEL_NAME, levels_between
from healthivert.body import find_bodies
from healthivert.phantom.bone import coverage, lay_bone
from healthivert.phantom.grid import Grid
from healthivert.phantom.scanner import acquire, add_noise, sample_scanner
from healthivert.phantom.surroundings import paint_surroundings
from healthivert.phantom.tissue import Tissue, look_up, sample_tissue, smooth_tile, trabecular_tile
from healthivert.types import FloatArray, SpineCase, VertebralBody

MARGIN_MM = 5.0
CANAL_MM = (10.5, 7.5)  # half width and half depth of the canal drawn behind the posterior wall


def paint_ct(labels: sitk.Image, seed: int) -> sitk.Image:
    """int16 HU on the grid of labels. Raises HealthiVertError if no label holds a vertebral body."""
    orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(labels.GetDirection())
    upright = sitk.Cast(sitk.DICOMOrient(labels, "LPS"), sitk.sitkUInt8)
    grid, array = Grid.of(upright), sitk.GetArrayFromImage(upright)
    present = [number for number in LEVEL_NAME if (array == number).any()]
    values = {LEVEL_NAME[number]: number for number in present}
    bodies = find_bodies(SpineCase(upright, upright, "labels", "LPS", values))
    generator = np.random.Generator(np.random.PCG64(seed))
    tissue, scanner = sample_tissue(generator, (60.0, 200.0)), sample_scanner(generator)
    blur = float(np.mean(grid.spacing))
    hu = paint_surroundings(tissue, {level: body.centre for level, body in bodies.items()}, grid)
    for body in bodies.values():
        _paint_canal(hu, grid, tissue, body, blur)
    for above, below in pairwise(bodies.values()):
        if levels_between(above.level, below.level) == 1:
            _paint_disc(hu, grid, tissue, above, below, blur)
    for number in present:
        _paint_bone(hu, grid, array == number, tissue, bodies.get(LEVEL_NAME[number]), blur)
    hu = acquire(hu, grid.spacing[::-1], [0.29 * blur] * 3, scanner)
    return sitk.DICOMOrient(grid.image(add_noise(hu, grid.spacing[::-1], scanner)), orientation)


def _box(grid: Grid, body: VertebralBody, low: tuple[float, ...], high: tuple[float, ...]):
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
    return grid.box(body.centre + corners @ body.axes)


def _posterior_wall(body: VertebralBody) -> float:
    """How far behind the centre (mm) the mid-sagittal columns of the body end."""
    middle = body.superior.shape[1] // 2
    rows = np.flatnonzero(np.isfinite(body.superior[:, middle - 3 : middle + 4]).any(axis=1))
    return float((rows[-1] - body.superior.shape[0] // 2 + 0.5) * body.column_mm) if rows.size else 16.0


def _paint_canal(hu: FloatArray, grid: Grid, tissue: Tissue, body: VertebralBody, blur: float) -> None:
    width, depth = CANAL_MM
    middle = _posterior_wall(body) + depth
    box = _box(grid, body, (-width - 2, middle - depth - 2, -22), (width + 2, middle + depth + 2, 22))
    if box is None:
        return
    left, posterior, _ = grid.coordinates(box, body.centre, body.axes)
    inside = (np.hypot(left / width, (posterior - middle) / depth) - 1) * depth
    for shrink, value in ((0.0, 0.6 * tissue.fat), (1.6, tissue.fluid)):
        part = coverage(inside + shrink, blur)
        hu[box] += part * (value - hu[box])


def _surface(
    body: VertebralBody, plate: FloatArray, left: FloatArray, posterior: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The endplate's position (mm) under each point, and the distance (mm) from its outline, < 0 inside."""
    valid = np.isfinite(plate)
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    outside, inside = ndimage.distance_transform_edt(~valid), ndimage.distance_transform_edt(valid)
    half = np.array(plate.shape) // 2
    place = np.stack(np.broadcast_arrays(posterior / body.column_mm + half[0], left / body.column_mm + half[1]))
    height = ndimage.map_coordinates(plate[tuple(nearest)], place, order=1, mode="nearest")
    return height, ndimage.map_coordinates((outside - inside) * body.column_mm, place, order=1, mode="nearest")


def _paint_disc(
    hu: FloatArray, grid: Grid, tissue: Tissue, above: VertebralBody, below: VertebralBody, blur: float
) -> None:
    lowest = float(np.nanmin(above.inferior))
    box = _box(grid, above, (-35, -32, lowest - 18), (35, 32, float(np.nanmax(above.inferior)) + 2))
    if box is None:
        return
    left, posterior, superior = grid.coordinates(box, above.centre, above.axes)
    upper, outline_above = _surface(above, above.inferior, left, posterior)
    x, y, z = grid.coordinates(box, below.centre, below.axes)
    lower, outline_below = _surface(below, below.superior, x, y)
    distance = np.maximum(superior - upper, lower - z) - 1.0
    distance = np.maximum(distance, (outline_above + outline_below) / 2)
    grain = look_up(smooth_tile(), [left, posterior, superior], 1.0, tissue.texture_offset)
    hu[box] += coverage(distance, blur) * (tissue.disc + 6 * grain - hu[box])


def _paint_bone(
    hu: FloatArray, grid: Grid, mask: np.ndarray, tissue: Tissue, body: VertebralBody | None, blur: float
) -> None:
    """Cortex and marrow inside one label; the arch, behind the posterior wall, has the thicker cortex."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    margin = [int(np.ceil(MARGIN_MM / s)) for s in grid.spacing[::-1]]
    box = tuple(
        slice(max(part.start - m, 0), min(part.stop + m, n))
        for part, m, n in zip(found, margin, mask.shape, strict=True)
    )
    inside = mask[box]
    spacing = grid.spacing[::-1]
    outer = ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = ndimage.distance_transform_edt(inside, sampling=spacing)
    # both transforms count from voxel centres: the surface lies half a voxel from each
    distance = np.where(inside, blur / 2 - inner, outer - blur / 2).astype(np.float32)
    distance = ndimage.gaussian_filter(distance, 0.55)
    patient = grid.coordinates(box, np.zeros(3), np.eye(3))  # type: ignore[arg-type]
    struts = look_up(trabecular_tile(), patient, tissue.trabecular_pitch_mm, tissue.texture_offset)
    marrow = tissue.trabecular * (1 + 0.25 * np.exp(distance / 3.5)) + struts * (
        tissue.trabecular_texture * tissue.trabecular + 14
    )
    thickness = np.full_like(distance, max(tissue.cortex_mm, 0.7))
    if body is not None:
        posterior = grid.coordinates(box, body.centre, body.axes)[1]  # type: ignore[arg-type]
        behind = np.clip((posterior - _posterior_wall(body)) / 3, 0, 1)
        thickness += behind * (max(tissue.arch_cortex_mm, 1.0) - thickness)
    lay_bone(hu[box], distance, thickness, tissue.cortex, marrow.astype(np.float32), blur)
