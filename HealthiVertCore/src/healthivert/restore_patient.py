"""Back to the patient's own grid: the regrown vertebra in place, and everything above it moved up.

In: the case, the straightened spine, the target's body, a PseudoHealthy vertebra and its Placement. Out: Restored. The
patient's tissue moves by one vector above the target, not at all below it, and is stretched over the slab in between,
which ends lower where the vertebra above reaches down into it; voxels that do not move are copied, not interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER, LEVELS
from healthivert.gap import GAP, withheld_beside_gap
from healthivert.geometry import affine_of, filled_from_nearest, patch_around, sample, shifted_slice, thinned
from healthivert.image_memory import writable_view
from healthivert.restore import Placement, generated_share, source_arc
from healthivert.straighten import body_occupancy, grid_points, to_patient, to_straightened
from healthivert.threads import two_at_a_time
from healthivert.types import (
    Conditioning,
    FloatArray,
    PseudoHealthy,
    SpineCase,
    StraightenedSpine,
    StraightFrame,
    VertebralBody,
)

ARCH_RAMP_MM = 10.0  # behind the posterior wall the movement starts above the lower level's facets, over this distance
DISPLACEMENT_STEP_MM = 4.0
FOOTPRINT_MM = 32  # half the edge of the square around the centreline in which the body above is looked for
FRAME = slice(GAP[0] - 1, GAP[1] + 1)  # the gap's rows and the first visible one on either side


@dataclass(frozen=True)
class _Motion:
    """The movement of the patient's own tissue: output point q comes from q - shift * ramp(q) * up."""

    corner: FloatArray  # LPS mm, on the centreline at the slab's bottom
    up: FloatArray
    back: FloatArray
    left: FloatArray
    placement: Placement
    arch_floor: float  # mm above the slab's bottom where the movement starts behind the wall
    wall: float  # mm behind the corner
    top: FloatArray  # (AP, LR) mm above the corner, every millimetre of the footprint: from here on all moves as one

    def ramp(self, points: FloatArray) -> FloatArray:
        """(...,) 0 below the target, 1 above it. points: (..., 3) LPS mm."""
        offset = points - self.corner
        return self.ramp_at(offset @ self.up, offset @ self.back, offset @ self.left)

    def source(self, points: FloatArray) -> FloatArray:
        """Where the tissue at points (..., 3) of the restored patient was, LPS mm."""
        return points - self.placement.shift_mm * self.ramp(points)[..., None] * self.up

    def ramp_at(self, height: FloatArray, behind: FloatArray, left: FloatArray) -> FloatArray:
        """0 (below, at rest) to 1 (above, moved as a whole) at places in mm above the corner, behind it and to its
        left; arrays of one shape."""
        floor = self.arch_floor * np.clip((behind - self.wall) / ARCH_RAMP_MM, 0.0, 1.0)
        ramp = np.clip((height - floor) / self.placement.slab_mm, 0.0, 1.0)
        lower = (ramp > 0) & (ramp < 1) & (np.abs(behind) < FOOTPRINT_MM) & (np.abs(left) < FOOTPRINT_MM)
        top = ndimage.map_coordinates(self.top, np.stack([behind[lower], left[lower]]) + FOOTPRINT_MM, order=1)
        ramp[lower] = np.minimum(ramp[lower] * self.placement.slab_mm / top, 1.0)
        return ramp


def _motion(case: SpineCase, straight: StraightenedSpine, body: VertebralBody, placement: Placement) -> _Motion:
    frame = straight.frame
    middle = placement.arc_bottom + 0.5 * (placement.slab_mm - placement.shift_mm)
    at = to_patient(
        frame, np.array([[0, 0, placement.arc_bottom], [0, 0, middle - 0.5], [0, 0, middle + 0.5], [0, 1, middle]])
    )
    up = (at[2] - at[1]) / np.linalg.norm(at[2] - at[1])
    back = at[3] - to_patient(frame, np.array([0, 0, middle]))
    back -= (back @ up) * up
    back /= np.linalg.norm(back)
    corner = at[0]
    rows = np.flatnonzero(np.isfinite(body.superior).any(axis=1))
    wall_local = (rows[-1] - body.superior.shape[0] // 2 + 1) * body.column_mm
    wall = float((body.centre + wall_local * body.axes[1] - corner) @ back) + 1.0
    left = np.cross(back, up)
    floor = _top_of_lower_arch(case, body.level, corner, up, back, wall)
    top = _below_upper_body(case, body.level, corner, (up, back, left), placement, wall)
    return _Motion(corner, up, back, left, placement, floor, wall, top)


def _below_upper_body(
    case: SpineCase, level: str, corner: FloatArray, axes: tuple[FloatArray, ...], placement: Placement, wall: float
) -> FloatArray:
    """Motion.top: the slab's height, but where the body above reaches into what was cut, its own lower side after the
    movement. So it keeps its form, however its plate is tilted to the cut."""
    up, back, left = axes
    heights = np.arange(0.5, placement.slab_mm - placement.shift_mm, 1.0)
    side = np.arange(-FOOTPRINT_MM, FOOTPRINT_MM + 1.0)
    points = corner + (heights[:, None, None, None] * up + side[:, None, None] * back + side[:, None] * left)
    labels = sample(patch_around(case.labels, points, 3.0), points, order=0)
    above = np.isin(labels, [LEVEL_NUMBER[other] for other in LEVELS[: LEVELS.index(level)]])
    above &= (side <= wall)[:, None]
    lowest = np.where(above.any(axis=0), np.argmax(above, axis=0) + placement.shift_mm, placement.slab_mm)
    lowest = np.clip(lowest, placement.slab_mm / 2, placement.slab_mm)
    return ndimage.gaussian_filter(ndimage.grey_erosion(lowest, size=5), 1.0, mode="nearest")


def _top_of_lower_arch(
    case: SpineCase, level: str, corner: FloatArray, up: FloatArray, back: FloatArray, wall: float
) -> float:
    """How far the posterior elements of the levels below reach above the slab's bottom, mm (0 where they do not)."""
    below = _numbers_below(case, level)
    if not below:
        return 0.0
    patch = thinned(patch_around(case.labels, np.stack([corner - 10 * up, corner + 30 * up]), 60.0), 1.0)
    points = patch.affine.to_lps(np.argwhere(np.isin(patch.array, below))[:, ::-1].astype(float)) - corner
    arch = points[(points @ back) > wall]
    return float(np.clip((arch @ up).max(initial=-1.0) + 1.0, 0.0, 40.0))


def _numbers_below(case: SpineCase, level: str) -> list[int]:
    """The numbers of the case's levels caudal to a level."""
    return [LEVEL_NUMBER[other] for other in LEVELS[LEVELS.index(level) + 1 :] if other in case.levels]


@dataclass(frozen=True)
class Restored:
    """Results on the patient's grid. ct, labels: like the case's. displacement: a coarser vector image in LPS mm that
    maps a point of the restored scan to where its tissue was. loss_map: RHLV in percent on the regrown body, a
    sub-grid. ct_sd: how far the truth is expected to be from ct, HU, on the same sub-grid; None for a single sample."""

    ct: sitk.Image
    labels: sitk.Image
    displacement: sitk.Image
    loss_map: sitk.Image
    ct_sd: sitk.Image | None = None


def restore_patient(
    case: SpineCase,
    straight: StraightenedSpine,
    body: VertebralBody,
    vertebra: PseudoHealthy,
    placement: Placement,
    loss_map: FloatArray,
) -> Restored:
    """loss_map: (AP, LR) signed fractions on the tube's columns, NaN off the healthy body."""
    motion = _motion(case, straight, body, placement)
    ct, labels = _moved(case, motion)
    drawing = _draw(straight, body, vertebra, placement, loss_map)
    loss, ct_sd = _paste(ct, labels, body, drawing, motion)
    _keep_lower_levels(case, ct, labels, motion, body.level)
    return Restored(ct, labels, _displacement_image(case.ct, motion), loss, None if vertebra.ct_sd is None else ct_sd)


def _moved(case: SpineCase, motion: _Motion) -> tuple[sitk.Image, sitk.Image]:
    """CT and labels with the patient's own tissue moved. Voxels that do not move are copied, not interpolated."""
    images = case.ct, case.labels
    moved = sitk.Image(case.ct), sitk.Image(case.labels)
    if abs(motion.placement.shift_mm) < 1e-6:
        return moved
    affine = affine_of(case.ct)
    step = np.linalg.solve(affine.matrix, -motion.placement.shift_mm * motion.up)[::-1]  # (k, j, i) voxels
    sources, targets = [sitk.GetArrayViewFromImage(image) for image in images], [writable_view(out) for out in moved]
    air = int(sources[0].min())
    ramps = _SliceRamps(case.ct, motion)

    def move(k: int) -> None:
        ramp = ramps.at(k)
        whole = ramp >= 1.0
        if whole.any():
            moved_ct = shifted_slice(sources[0], k, step, air)
            moved_labels = shifted_slice(sources[1], k, np.floor(step + 0.5), 0)
            if whole.all():
                targets[0][k], targets[1][k] = moved_ct, moved_labels
                return
            np.copyto(targets[0][k], moved_ct, where=whole)
            np.copyto(targets[1][k], moved_labels, where=whole)
        j, i = np.nonzero((ramp > 0) & (ramp < 1))
        if i.size:
            stretched = ramp[j, i]
            place = np.stack([at + stretched * by for at, by in zip((k, j, i), step, strict=True)])
            for target, source, order in zip(targets, sources, (1, 0), strict=True):
                values = ndimage.map_coordinates(source, place, order=order, mode="nearest", output=np.float32)
                target[k, j, i] = np.round(values)

    two_at_a_time(move, ramps.moving)
    return moved


class _SliceRamps:
    """The ramp of an image's slices, and which of them hold moving tissue. Height is linear in the index, nothing moves
    below the corner and everything above slab and arch together: a slice's corners tell, and only the slices in between
    are looked at voxel by voxel."""

    def __init__(self, image: sitk.Image, motion: _Motion) -> None:
        self.motion = motion
        affine = affine_of(image)
        nx, ny, nz = image.GetSize()
        axes = motion.up, motion.back, motion.left
        self.steps = [affine.matrix.T @ axis for axis in axes]
        j, i = np.arange(ny, dtype=np.float32)[:, None], np.arange(nx, dtype=np.float32)[None]
        self.in_first = [
            float((affine.origin - motion.corner) @ axis) + j * float(step[1]) + i * float(step[0])
            for axis, step in zip(axes, self.steps, strict=True)
        ]
        self.lowest, highest = float(self.in_first[0].min()), float(self.in_first[0].max())
        self.moving = [k for k in range(nz) if highest + k * float(self.steps[0][2]) > 0]
        self.everything = np.ones((ny, nx), np.float32)

    def at(self, k: int) -> FloatArray:
        """(j, i) of slice k."""
        motion = self.motion
        if self.lowest + k * float(self.steps[0][2]) >= motion.arch_floor + motion.placement.slab_mm:
            return self.everything
        return motion.ramp_at(
            *(first + k * float(step[2]) for first, step in zip(self.in_first, self.steps, strict=True))
        )


@dataclass(frozen=True)
class _Drawing:
    """The generated slab, to be read at patient points. Arrays (SI, AP, LR) of the rows FRAME; loss (AP, LR) without
    holes; ct_sd 0 for a single sample."""

    frame: StraightFrame
    placement: Placement
    spacing_mm: float
    ct: FloatArray
    body: FloatArray
    share: FloatArray
    loss: FloatArray
    ct_sd: FloatArray

    def at(self, points: FloatArray) -> tuple[FloatArray, FloatArray, np.ndarray, FloatArray, FloatArray]:
        """CT (HU), share of it 0..1, whether it is body, RHLV and the CT's spread (HU), each (N,), at points (N, 3) LPS
        mm."""
        across, behind, arc = to_straightened(self.frame, points).T
        above, below = arc - self.placement.arc_bottom, self.placement.arc_top - arc
        row = self.placement.gap_rows(arc) - FRAME.start
        index = np.stack([row, *_tube_index(behind, across, self.ct.shape, self.spacing_mm)])
        inside = np.clip(np.minimum(above, below) + 0.5, 0, 1) * ((above >= 0) & (below >= 0))
        ct = ndimage.map_coordinates(self.ct, index, order=1, mode="nearest")
        share = ndimage.map_coordinates(self.share, index, order=1, cval=0.0) * inside
        body = (ndimage.map_coordinates(self.body, index, order=1, cval=0.0) > 0.5) & (inside > 0)
        loss = ndimage.map_coordinates(self.loss, index[1:], order=1, mode="nearest")
        return ct, share, body, loss, share * ndimage.map_coordinates(self.ct_sd, index, order=1, mode="nearest")


def _tube_index(
    behind: FloatArray, across: FloatArray, shape: tuple[int, ...], spacing_mm: float
) -> tuple[FloatArray, FloatArray]:
    """AP and LR index in the tube (SI, AP, LR) of positions in mm behind and to the left of the centreline."""
    return behind / spacing_mm + (shape[1] - 1) / 2, across / spacing_mm + (shape[2] - 1) / 2


def _draw(
    straight: StraightenedSpine,
    body: VertebralBody,
    vertebra: PseudoHealthy,
    placement: Placement,
    loss_map: FloatArray,
) -> _Drawing:
    arc = source_arc(placement.row_arcs(), placement)
    old = body_occupancy(body, grid_points(straight.frame, arc, straight.spacing_mm))
    spacing = (placement.row_mm, straight.spacing_mm, straight.spacing_mm)
    share = np.pad(generated_share(vertebra.body[slice(*GAP)], old, spacing), ((1, 1), (0, 0), (0, 0)), mode="edge")
    loss = filled_from_nearest(loss_map, np.isfinite(loss_map))
    ct, drawn = vertebra.ct[FRAME], vertebra.body[FRAME]
    ct_sd = np.zeros_like(ct) if vertebra.ct_sd is None else vertebra.ct_sd[FRAME]
    return _Drawing(straight.frame, placement, straight.spacing_mm, ct, drawn, share, loss, ct_sd)


def _paste(
    ct: sitk.Image, labels: sitk.Image, body: VertebralBody, drawing: _Drawing, motion: _Motion
) -> tuple[sitk.Image, sitk.Image]:
    """Write the generated vertebra into ct and labels, slice by slice; return RHLV in percent and the CT's spread in HU
    on a sub-grid."""
    affine = affine_of(ct)
    lower, size = _slab_box(ct, drawing)
    number = LEVEL_NUMBER[body.level]
    ct_view, label_view = writable_view(ct), writable_view(labels)
    percent, spread = np.zeros(size[::-1], np.float32), np.zeros(size[::-1], np.float32)
    j, i = (a.ravel() for a in np.meshgrid(np.arange(size[1]), np.arange(size[0]), indexing="ij"))

    def paste(n: int) -> None:
        points = affine.to_lps(np.stack([i, j, np.full(i.shape, n)], axis=1) + lower.astype(float))
        height = (points - motion.corner) @ motion.up
        near = (height > -10) & (height < drawing.placement.slab_mm + 10)
        if not near.any():
            return
        drawn, share, new_body, loss, ct_sd = drawing.at(points[near])
        at = n + lower[2], j[near] + lower[1], i[near] + lower[0]
        share[(label_view[at] > 0) & (label_view[at] != number) & ~new_body] = 0.0  # another vertebra stays as it is
        ct_view[at] = np.round(ct_view[at] * (1 - share) + drawn * share).astype(ct_view.dtype)
        was_body = body_occupancy(body, motion.source(points[near])) > 0.3
        kept = np.where((label_view[at] == number) & was_body & (share > 0), 0, label_view[at])
        label_view[at] = np.where(new_body, number, kept)
        percent[n, j[near], i[near]] = np.where(new_body, 100 * loss, 0.0)
        spread[n, j[near], i[near]] = ct_sd

    two_at_a_time(paste, range(size[2]))
    origin = affine.to_lps(lower.astype(float))
    return _on_sub_grid(percent, ct, origin), _on_sub_grid(spread, ct, origin)


def _slab_box(image: sitk.Image, drawing: _Drawing) -> tuple[np.ndarray, np.ndarray]:
    """Lower index and size (i, j, k) of the part of the image that holds the slab."""
    arc = np.linspace(drawing.placement.arc_bottom - 3, drawing.placement.arc_top + 3, 9)
    patch = patch_around(image, grid_points(drawing.frame, arc, drawing.spacing_mm), 2.0)
    lower = np.round(affine_of(image).to_index(patch.affine.origin)).astype(int)
    return lower, np.array(patch.array.shape)[::-1]


def _on_sub_grid(
    array: np.ndarray, like: sitk.Image, origin: FloatArray, spacing: tuple[float, ...] | None = None
) -> sitk.Image:
    """array (k, j, i) as an image along like's axes, its first voxel at origin (LPS mm), like's spacing by default."""
    image = sitk.GetImageFromArray(array)
    image.SetDirection(like.GetDirection())
    image.SetSpacing(spacing or like.GetSpacing())
    image.SetOrigin(origin.tolist())
    return image


def _keep_lower_levels(case: SpineCase, ct: sitk.Image, labels: sitk.Image, motion: _Motion, level: str) -> None:
    """Voxels of the levels below the target get their own value back wherever the movement reached them."""
    below = _numbers_below(case, level)
    if not below:
        return
    number = LEVEL_NUMBER[level]
    own_labels, own_ct = sitk.GetArrayViewFromImage(case.labels), sitk.GetArrayViewFromImage(case.ct)
    ct_view, label_view = writable_view(ct), writable_view(labels)
    for k in _SliceRamps(case.ct, motion).moving:
        lower = np.isin(own_labels[k], below)
        if lower.any():
            keep = lower & (label_view[k] != number)
            ct_view[k][keep] = own_ct[k][keep]
            label_view[k][keep] = own_labels[k][keep]


def _displacement_image(like: sitk.Image, motion: _Motion) -> sitk.Image:
    """Vectors in LPS mm from a point of the restored scan to its tissue's place in the original, every few
    millimetres."""
    extent = np.array(like.GetSize()) * np.array(like.GetSpacing())
    spacing = np.maximum(np.array(like.GetSpacing()), DISPLACEMENT_STEP_MM)
    size = np.ceil(extent / spacing).astype(int) + 1
    direction = np.array(like.GetDirection()).reshape(3, 3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size[::-1]], indexing="ij"), axis=-1)[..., ::-1]
    points = np.array(like.GetOrigin()) + (index * spacing) @ direction.T
    vectors = -motion.placement.shift_mm * motion.ramp(points)[..., None] * motion.up
    image = sitk.GetImageFromArray(vectors.astype(np.float32), isVector=True)
    image.SetOrigin(like.GetOrigin())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(like.GetDirection())
    return image


def conditioning_on_patient(
    case: SpineCase, straight: StraightenedSpine, conditioning: Conditioning, attention: FloatArray
) -> tuple[sitk.Image, sitk.Image]:
    """Where the generator sees nothing of the target and of case.withheld (uint8), and the attention (float32, 0 where
    hidden), on a part of the patient's grid, of which only every n-th voxel is kept where it is finer than the
    straightened one."""
    arc, cut, level = straight.arc, conditioning.cut, conditioning.level
    beside = withheld_beside_gap(straight, level, conditioning.margin_mm)
    rows = np.flatnonzero(beside.any(axis=(1, 2)))
    tube = grid_points(straight.frame, arc[[0, len(arc) // 2, -1]], straight.spacing_mm)
    patch = thinned(patch_around(case.labels, tube, 1.0), straight.spacing_mm)
    last = np.array(straight.ct.shape)[:, None, None] - 0.5
    j, i = np.indices(patch.array.shape[1:])
    withheld, seen = np.zeros(patch.array.shape, np.uint8), np.zeros(patch.array.shape, np.float32)

    def fill(k: int) -> None:
        points = patch.affine.to_lps(np.stack([i, j, np.full_like(i, k)], axis=-1).astype(float))
        across, behind, along = np.moveaxis(to_straightened(straight.frame, points), -1, 0)
        row = (along - straight.arc_start) / straight.spacing_mm - 0.5
        column = np.stack([row, *_tube_index(behind, across, straight.ct.shape, straight.spacing_mm)])
        inside = ((column >= -0.5) & (column <= last)).all(axis=0)
        hidden = inside & (row >= cut[0] - 0.5) & (row < cut[1] - 0.5)
        near = inside & (row > rows[0] - 0.5) & (row < rows[-1] + 0.5)
        hidden[near] |= beside[tuple(np.rint(column[:, near]).astype(int).clip(0, last[:, 0].astype(int)))]
        hidden |= patch.array[k] == LEVEL_NUMBER[level]
        if case.withheld is not None:
            hidden |= sample(patch_around(case.withheld, points, 1.0), points, order=0) > 0
        withheld[k] = hidden
        seen[k] = ndimage.map_coordinates(attention, column, order=1, mode="nearest") * (inside & ~hidden)

    two_at_a_time(fill, range(len(patch.array)))  # of all slices at once the coordinates would be large
    origin = patch.affine.origin
    return (
        _on_sub_grid(withheld, case.ct, origin, patch.spacing),
        _on_sub_grid(seen, case.ct, origin, patch.spacing),
    )
