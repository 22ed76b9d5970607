"""Back to the patient: the generated vertebra at its predicted height, in the straightened frame and in the patient.

In: the case, the straightened spine, the conditioning's cut and a PseudoHealthy vertebra. Out: CT, labels and
displacement on the patient's grid. The lower edge of the cut stays where it is, everything below it stays untouched,
everything above it moves up along the target's axis by the height that was restored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER, LEVELS
from healthivert.gap import GAP, GAP_ROWS
from healthivert.geometry import affine_of, patch_around
from healthivert.measure import gap_height_map, third_heights
from healthivert.straighten import AP_MM, LR_MM, body_occupancy, grid_points, to_patient, to_straightened
from healthivert.types import FloatArray, PseudoHealthy, SpineCase, StraightenedSpine, VertebralBody

FEATHER_MM = 2.0  # over which the generated tissue gives way to the patient's own
RIM_MM = 3.0  # generated tissue is shown this far around the old and the new body: no ghost of the old cortex
ARCH_RAMP_MM = 10.0  # behind the posterior wall the movement starts above the lower level's facets, over this distance
DISPLACEMENT_STEP_MM = 4.0


@dataclass(frozen=True)
class Placement:
    """Where the generated slab lies. arc_bottom: mm; row_mm: height of one gap row; shift_mm: what lies above moves
    up."""

    arc_bottom: float
    row_mm: float
    shift_mm: float

    @property
    def slab_mm(self) -> float:
        return self.row_mm * GAP_ROWS

    @property
    def arc_top(self) -> float:
        return self.arc_bottom + self.slab_mm


def place(straight: StraightenedSpine, cut: tuple[int, int], vertebra: PseudoHealthy) -> Placement:
    """The slab's size follows from the predicted mean body height and the body that was drawn in it."""
    rows_high = third_heights(gap_height_map(vertebra.body, 1.0), straight.spacing_mm).mean
    row_mm = vertebra.height_mm / rows_high
    old_mm = (cut[1] - cut[0]) * straight.spacing_mm
    return Placement(straight.arc_start + cut[0] * straight.spacing_mm, row_mm, row_mm * GAP_ROWS - old_mm)


def restore_straightened(
    straight: StraightenedSpine, old_body: FloatArray, vertebra: PseudoHealthy, placement: Placement
) -> tuple[FloatArray, FloatArray]:
    """CT (HU) and the target's body (0..1) on straight's own grid after restoration. old_body: (SI, AP, LR) 0..1."""
    rows = straight.ct.shape[0]
    arc = straight.arc_start + (np.arange(rows) + 0.5) * straight.spacing_mm
    old_arc = source_arc(arc, placement)
    index = (old_arc - straight.arc_start) / straight.spacing_mm - 0.5
    moved = _rows_at(straight.ct, index)
    moved_body = _rows_at(old_body, index)
    drawn, body, inside = _slab_rows(vertebra, arc, placement)
    share = _share(body, moved_body, straight.spacing_mm) * inside[:, None, None]
    return moved * (1 - share) + drawn * share, body


def source_arc(arc: FloatArray, placement: Placement) -> FloatArray:
    """Where on the patient's own centreline the tissue at each restored arc length comes from."""
    within = np.clip((arc - placement.arc_bottom) / placement.slab_mm, 0.0, 1.0)
    return arc - placement.shift_mm * within


def _rows_at(array: FloatArray, index: FloatArray) -> FloatArray:
    index = np.clip(index, 0, len(array) - 1)
    lower = np.minimum(index.astype(int), len(array) - 2)
    part = (index - lower).astype(np.float32)[:, None, None]
    return array[lower] * (1 - part) + array[lower + 1] * part


def _slab_rows(
    vertebra: PseudoHealthy, arc: FloatArray, placement: Placement
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Drawn CT and body at arc (SI,), and how far inside the slab each row is (0..1 over one millimetre at its
    edges)."""
    row = (arc - placement.arc_bottom) / placement.row_mm - 0.5 + GAP[0]
    inside = np.clip(np.minimum(arc - placement.arc_bottom, placement.arc_top - arc) + 0.5, 0.0, 1.0)
    body = _rows_at(vertebra.body, np.clip(row, GAP[0], GAP[1] - 1)) * (inside > 0)[:, None, None]
    return _rows_at(vertebra.ct, np.clip(row, GAP[0], GAP[1] - 1)), body, inside


def _share(body: FloatArray, old_body: FloatArray, spacing_mm: float) -> FloatArray:
    """Share 0..1 of the generated tissue: 1 up to RIM_MM around the new and the old body, then falling over
    FEATHER_MM."""
    either = (body > 0.5) | (old_body > 0.3)
    if not either.any():
        return np.zeros(body.shape, np.float32)
    distance = ndimage.distance_transform_edt(~either) * spacing_mm
    return np.clip(1.0 - (distance - RIM_MM) / FEATHER_MM, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True)
class _Motion:
    """The movement of the patient's own tissue: output point q comes from q - shift * ramp(q) * up."""

    corner: FloatArray  # LPS mm, on the centreline at the slab's bottom
    up: FloatArray
    back: FloatArray
    placement: Placement
    arch_floor: float  # mm above the slab's bottom where the movement starts behind the wall
    wall: float  # mm behind the corner

    def ramp(self, points: FloatArray) -> FloatArray:
        """(...,) 0 below the target, 1 above it. points: (..., 3) LPS mm."""
        offset = points - self.corner
        return self.ramp_at(offset @ self.up, offset @ self.back)

    def ramp_at(self, height: FloatArray, behind: FloatArray) -> FloatArray:
        floor = self.arch_floor * np.clip((behind - self.wall) / ARCH_RAMP_MM, 0.0, 1.0)
        return np.clip((height - floor) / self.placement.slab_mm, 0.0, 1.0)


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
    floor = _top_of_lower_arch(case, body.level, corner, up, back, wall)
    return _Motion(corner, up, back, placement, floor, wall)


def _top_of_lower_arch(
    case: SpineCase, level: str, corner: FloatArray, up: FloatArray, back: FloatArray, wall: float
) -> float:
    """How far the posterior elements of the levels below reach above the slab's bottom, mm (0 where they do not)."""
    below = [LEVEL_NUMBER[v] for v in LEVELS[LEVELS.index(level) + 1 :] if v in case.levels]
    if not below:
        return 0.0
    patch = patch_around(case.labels, np.stack([corner - 10 * up, corner + 30 * up]), 60.0)
    points = patch.affine.to_lps(np.argwhere(np.isin(patch.array, below))[:, ::-1].astype(float)) - corner
    arch = points[(points @ back) > wall]
    return float(np.clip((arch @ up).max(initial=-1.0) + 1.0, 0.0, 40.0))


@dataclass(frozen=True)
class Restored:
    """Results on the patient's grid. ct, labels: like the case's. displacement: a coarser vector image in LPS mm that
    maps a point of the restored scan to where its tissue was. loss_map: RHLV in percent on the regrown body, a
    sub-grid."""

    ct: sitk.Image
    labels: sitk.Image
    displacement: sitk.Image
    loss_map: sitk.Image


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
    ct = _moved(case.ct, motion, sitk.sitkLinear)
    labels = _moved(case.labels, motion, sitk.sitkNearestNeighbor)
    loss = _paste(case, ct, labels, straight, body, vertebra, placement, motion, loss_map)
    _keep_lower_levels(case, ct, labels, motion, body.level)
    return Restored(ct, labels, _displacement_image(case.ct, motion), loss)


def _moved(image: sitk.Image, motion: _Motion, interpolator: int) -> sitk.Image:
    """The image with the patient's own tissue moved. Voxels that do not move are copied, not interpolated."""
    out = sitk.Image(image)
    if abs(motion.placement.shift_mm) < 1e-6:
        return out
    shift = sitk.TranslationTransform(3, (-motion.placement.shift_mm * motion.up).tolist())
    affine = affine_of(image)
    target = _writable_view(out)
    source = sitk.GetArrayViewFromImage(image)
    order = 1 if interpolator == sitk.sitkLinear else 0
    slabs = _ramp_by_slice(image, motion)
    moving = [k for k, ramp in slabs if (ramp > 0).any()]
    if not moving:
        return out
    low, high = moving[0], moving[-1] + 1
    size = list(image.GetSize())
    reference = sitk.RegionOfInterest(image, [*size[:2], high - low], [0, 0, low])
    rigid = sitk.Resample(image, reference, shift, interpolator, float(source.min()))
    rigid_view = sitk.GetArrayViewFromImage(rigid)
    for k, ramp in _ramp_by_slice(image, motion):
        if k < low or k >= high:
            continue
        target[k] = np.where(ramp >= 1.0, rigid_view[k - low], target[k])
        j, i = np.nonzero((ramp > 0) & (ramp < 1))
        if i.size:
            points = affine.to_lps(np.stack([i, j, np.full(i.size, k)], axis=1).astype(float))
            points -= motion.placement.shift_mm * ramp[j, i][:, None] * motion.up
            values = _sample_image(source, affine, points, order)
            target[k, j, i] = np.round(values) if order else values
    return out


def _writable_view(image: sitk.Image) -> np.ndarray:
    """A view of the image's own memory, (k, j, i): SimpleITK hands out read-only ones, and a copy costs a whole
    scan."""
    image.MakeUnique()
    view = sitk.GetArrayViewFromImage(image)
    interface = dict(view.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_ArrayMemory(interface, image))


class _ArrayMemory:
    """Exposes memory through the array interface and keeps its owner alive."""

    def __init__(self, interface: dict, owner: sitk.Image) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def _ramp_by_slice(image: sitk.Image, motion: _Motion):
    """(k, ramp (j, i)) of every slice, without a coordinate array of the whole scan: all terms are linear in the
    index."""
    affine = affine_of(image)
    nx, ny, nz = image.GetSize()
    height_step, behind_step = affine.matrix.T @ motion.up, affine.matrix.T @ motion.back
    start = affine.origin - motion.corner
    height = start @ motion.up + np.arange(ny)[:, None] * height_step[1] + np.arange(nx)[None] * height_step[0]
    behind = start @ motion.back + np.arange(ny)[:, None] * behind_step[1] + np.arange(nx)[None] * behind_step[0]
    for k in range(nz):
        yield k, motion.ramp_at(height + k * height_step[2], behind + k * behind_step[2])


def _sample_image(array: np.ndarray, affine, points: FloatArray, order: int) -> FloatArray:
    index = affine.to_index(points)[:, ::-1]
    low = np.maximum(np.floor(index.min(axis=0)).astype(int) - 1, 0)
    high = np.ceil(index.max(axis=0)).astype(int) + 2
    part = array[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    if 0 in part.shape:
        return np.full(len(points), array.min())
    return ndimage.map_coordinates(part, (index - low).T, order=order, mode="nearest", output=np.float32)


def _paste(case, ct, labels, straight, body, vertebra, placement, motion, loss_map) -> sitk.Image:
    """Write the generated vertebra into ct and labels, slice by slice; return the loss map on a sub-grid."""
    arc = np.linspace(placement.arc_bottom - 3, placement.arc_top + 3, 9)
    corners = grid_points(straight.frame, arc, min(AP_MM, LR_MM) / 2)
    patch = patch_around(case.ct, corners, 2.0)  # only for its box
    lower = np.round(affine_of(case.ct).to_index(patch.affine.origin)).astype(int)
    size = np.array(patch.array.shape)[::-1]
    affine = affine_of(case.ct)
    number = LEVEL_NUMBER[body.level]
    share = _slab_share(straight, body, vertebra, placement)
    ct_view, label_view = _writable_view(ct), _writable_view(labels)
    loss = np.zeros(size[::-1], np.float32)
    filled_loss = _fill_nan(loss_map)
    jj, ii = np.meshgrid(np.arange(size[1]), np.arange(size[0]), indexing="ij")
    for n in range(size[2]):
        index = np.stack([ii + lower[0], jj + lower[1], np.full(ii.shape, n + lower[2])], axis=-1)
        points = affine.to_lps(index.astype(float))
        height = (points - motion.corner) @ motion.up
        near = (height > -10) & (height < placement.slab_mm + 10)
        if not near.any():
            continue
        across, behind, at = to_straightened(straight.frame, points[near]).T
        inside = (at >= placement.arc_bottom) & (at <= placement.arc_top)
        row = np.clip((at - placement.arc_bottom) / placement.row_mm - 0.5, 0, GAP_ROWS - 1)
        tube = np.array(vertebra.ct.shape[1:])
        column = np.stack(
            [row, behind / straight.spacing_mm + (tube[0] - 1) / 2, across / straight.spacing_mm + (tube[1] - 1) / 2]
        )
        gap = slice(GAP[0], GAP[1])
        part = ndimage.map_coordinates(share, column, order=1, cval=0.0)
        edge = np.clip(np.minimum(at - placement.arc_bottom, placement.arc_top - at) + 0.5, 0, 1)
        part = part * edge * inside
        drawn = ndimage.map_coordinates(vertebra.ct[gap], column, order=1, mode="nearest")
        new_body = (ndimage.map_coordinates(vertebra.body[gap], column, order=1, cval=0.0) > 0.5) & inside
        jn, im = jj[near] + lower[1], ii[near] + lower[0]
        k = n + lower[2]
        old = ct_view[k, jn, im].astype(np.float32)
        ct_view[k, jn, im] = np.round(old * (1 - part) + drawn * part).astype(ct_view.dtype)
        source = points[near] - placement.shift_mm * motion.ramp(points[near])[:, None] * motion.up
        was_body = body_occupancy(body, source) > 0.3
        current = label_view[k, jn, im]
        current = np.where((current == number) & was_body & (part > 0), 0, current)
        label_view[k, jn, im] = np.where(new_body, number, current)
        map_column = column[1:]
        values = ndimage.map_coordinates(filled_loss, map_column, order=1, mode="nearest")
        loss[n, jj[near], ii[near]] = np.where(new_body, 100 * values, 0.0)
    image = sitk.GetImageFromArray(loss)
    image.SetDirection(case.ct.GetDirection())
    image.SetSpacing(case.ct.GetSpacing())
    image.SetOrigin(affine.to_lps(lower.astype(float)).tolist())
    return image


def _slab_share(straight, body, vertebra, placement) -> FloatArray:
    """Share of generated tissue on the gap's own rows (GAP_ROWS, AP, LR)."""
    arc = placement.arc_bottom + (np.arange(GAP_ROWS) + 0.5) * placement.row_mm
    old = body_occupancy(body, grid_points(straight.frame, source_arc(arc, placement), straight.spacing_mm))
    return _share(vertebra.body[GAP[0] : GAP[1]], old, straight.spacing_mm)


def _fill_nan(values: FloatArray) -> FloatArray:
    valid = np.isfinite(values)
    if not valid.any():
        return np.zeros_like(values)
    nearest = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def _keep_lower_levels(case, ct, labels, motion, level) -> None:
    """Voxels of the levels below the target get their own value back wherever the movement reached them."""
    below = [LEVEL_NUMBER[v] for v in LEVELS[LEVELS.index(level) + 1 :] if v in case.levels]
    if not below:
        return
    number = LEVEL_NUMBER[level]
    own_labels, own_ct = sitk.GetArrayViewFromImage(case.labels), sitk.GetArrayViewFromImage(case.ct)
    ct_view, label_view = _writable_view(ct), _writable_view(labels)
    for k, ramp in _ramp_by_slice(case.ct, motion):
        if (ramp > 0).any():
            keep = np.isin(own_labels[k], below) & (label_view[k] != number)
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
    case: SpineCase, straight: StraightenedSpine, cut: tuple[int, int], level: str, attention: FloatArray
) -> tuple[sitk.Image, sitk.Image]:
    """Where the target is withheld (uint8) and the attention (float32, 0 where withheld), on a part of the patient's
    grid."""
    rows = straight.ct.shape[0]
    arc = straight.arc_start + (np.arange(rows) + 0.5) * straight.spacing_mm
    patch = patch_around(case.labels, grid_points(straight.frame, arc[[0, rows // 2, -1]], straight.spacing_mm), 1.0)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in patch.array.shape], indexing="ij"), axis=-1)[..., ::-1]
    place = to_straightened(straight.frame, patch.affine.to_lps(index.astype(float)))
    tube = np.array(straight.ct.shape[1:])
    column = np.stack(
        [
            (place[..., 2] - straight.arc_start) / straight.spacing_mm - 0.5,
            place[..., 1] / straight.spacing_mm + (tube[0] - 1) / 2,
            place[..., 0] / straight.spacing_mm + (tube[1] - 1) / 2,
        ]
    )
    inside = ((column >= -0.5) & (column <= np.array(straight.ct.shape).reshape(3, 1, 1, 1) - 0.5)).all(axis=0)
    withheld = inside & (column[0] >= cut[0] - 0.5) & (column[0] < cut[1] - 0.5)
    withheld |= patch.array == LEVEL_NUMBER[level]
    seen = ndimage.map_coordinates(attention, column, order=1, mode="nearest") * (inside & ~withheld)
    images = []
    for array in (withheld.astype(np.uint8), seen.astype(np.float32)):
        image = sitk.GetImageFromArray(array)
        image.SetDirection(case.ct.GetDirection())
        image.SetSpacing(case.ct.GetSpacing())
        image.SetOrigin(patch.affine.origin.tolist())
        images.append(image)
    return images[0], images[1]
