"""The vertebral body without its posterior elements ("de-pedicle"), in its own frame.

In: SpineCase. Out: a VertebralBody per level, with sub-voxel endplates per column. Works in millimetres on each
level's own frame, so that rotation, scoliosis, voxel size and the grid's axes do not matter:

  1. a first axis from the thickest parts of all vertebrae (the bodies), which the posterior elements cannot pull away;
     where the body that is found lies elsewhere, since a crushed one is thinner than its arch, from its own middle;
  2. the posterior direction of each level from where its arch lies, or, where the segmentation has bodies only, from
     the body's own mirror symmetry (symmetry.py); smoothed over the spine;
  3. in that frame the mid-sagittal band runs through the body and then falls into the spinal canal: the fall is the
     posterior wall, and everything behind it is cut;
  4. the frame is turned towards the bisector of the two endplates, and the endplates are read column by column.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from healthivert.anatomy import LEAST_BODY_MM3, LEVEL_NUMBER, levels_between, normal_spine
from healthivert.cleft import cleft_mm, over_clefts
from healthivert.errors import HealthiVertError
from healthivert.geometry import label_boxes, sample_box
from healthivert.landmark import PADDING, Landmark, find_landmark
from healthivert.symmetry import axial_rotations, mirror_likeness
from healthivert.threads import two_at_a_time
from healthivert.types import FloatArray, SpineCase, VertebralBody

STEP_MM = 1.0  # of the local frame; endplates are interpolated below it
BOX_MM = (60.0, 72.0, 80.0)  # SI, AP, LR: the largest lumbar body and its canal
BAND_HALF_WIDTH_MM = 4.0  # mid-sagittal band: narrower than any adult canal (at least 12 mm wide)
# How far the axis turns from the centreline's tangent to the endplates' bisector: see docs/decisions.md.
ENDPLATE_SHARE = 0.25
WIDEST = 1.25  # times the normal width for this depth: what is wider is the base of a transverse process (L5)
# A body whose section at the scan's border is larger than this share of its largest goes on beyond it. Where a scan was
# cropped to its spine, bodies touch the border: a tilted plate with an edge, a wall with a strip as wide as its bend.
CUT_PLATE, CUT_WALL = 0.2, 0.6
# Of a level at the scan's border the arch alone may be left. What is thin against the next body, and lies aside of the
# line through the next two by more than this and that many times its share of the next one's thickness, is no body:
# chosen on 40 crops of five spines of VerSe, where arches lay 15 to 54 mm aside with shares of 0.25 to 0.67, and bodies
# up to 10 mm with 0.66 and more, but for a crushed one (14 mm, 0.72) and one above a crushed one (23 mm, 1.34).
REMAINDER_MM, REMAINDER_BY_SHARE_MM = 8.0, 20.0
# Unless a body lies where the next two lead to, and does not reach the border: a crushed one is thinner than its arch.
BODY_RADIUS_MM = 12.0
# A body found so far from where its label is thickest was crushed: the axes of the levels beside it are taken again.
MOVED_MM = 4.0
ARCHES_AGREE = 0.8  # length of the mean of the arches' directions: above it they say the same
ASTRAY = 0.5  # cosine between posterior as the arches have it and as the scan has it: below it the scan is wrong
ARCH_MIN_MM = 4.0  # centroid this far behind the body's centre: the label has posterior elements


def find_bodies(case: SpineCase) -> dict[str, VertebralBody]:
    """Level name -> body, cranial to caudal. Levels too small to hold a body are left out.

    Raises HealthiVertError if no level of the segmentation holds a vertebral body.
    """
    labels = case.labels
    if case.labelled_field is not None:  # beyond it a vertebra may go on, as beyond the scan
        (i, j, k), (to_i, to_j, to_k) = case.labelled_field
        labels = labels[i:to_i, j:to_j, k:to_k]
    boxes = label_boxes(labels)
    present = [level for level in case.levels if LEVEL_NUMBER[level] in boxes]
    found = two_at_a_time(lambda level: find_landmark(labels, level, *boxes[LEVEL_NUMBER[level]]), present)
    bodies = _bodies_of([mark for mark in found if mark is not None])
    if not bodies:
        raise HealthiVertError(
            f"{case.name}: none of the labelled vertebrae ({', '.join(case.levels) or 'none'}) is large enough to hold "
            "a vertebral body; check the segmentation"
        )
    return bodies


def _bodies_of(landmarks: list[Landmark]) -> dict[str, VertebralBody]:
    """The bodies of the levels (cranial to caudal), found again where what was found moves the line through them."""
    bodies = _bodies_at(landmarks)
    if any(mark.cut_off for mark in (*landmarks[:1], *landmarks[-1:])):
        whole = [mark if mark.cut_off else _centred(mark, bodies) for mark in landmarks]
        kept = _without_remainders(whole, bodies)
        if not _are_same(kept, landmarks):
            landmarks, bodies = kept, _bodies_at(kept)
    centred = [_centred(mark, bodies) for mark in landmarks]
    return bodies if _are_same(centred, landmarks) else _bodies_at(centred)


def _centred(mark: Landmark, bodies: dict[str, VertebralBody]) -> Landmark:
    body = bodies.get(mark.level)
    if body is None or np.linalg.norm(body.centre - mark.body_centre) < MOVED_MM:
        return mark
    return replace(mark, body_centre=body.centre)


def _are_same(some: list[Landmark], others: list[Landmark]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _without_remainders(landmarks: list[Landmark], bodies: dict[str, VertebralBody]) -> list[Landmark]:
    """The levels (cranial to caudal) less those at the ends of which the border has left no body: such an arch would
    bend the line that the next levels' axes follow. A crushed body there gets its own place for its arch's. bodies: as
    they were found with all of the levels."""
    kept = list(landmarks)
    # the thinner end first: of three levels, an arch at one end would lead the line past the body at the other
    ends = sorted(((0, 1, 2), (-1, -2, -3)), key=lambda places: landmarks[places[0]].thickness_mm)
    for end, beside, beyond in ends:
        while len(kept) > 2 and kept[end].cut_off and _are_adjacent(kept[end], kept[beside], kept[beyond]):
            near, far = kept[beside].body_centre, kept[beyond].body_centre
            if not _lies_aside(kept[end], kept[beside], near, near - far):
                break
            if (body_centre := _body_beside_arch(kept[end], 2 * near - far)) is not None:
                kept[end] = replace(kept[end], body_centre=body_centre)
                break
            kept.pop(end)
    if len(kept) == 2 and _are_adjacent(*kept):  # no two others tell where the line goes on, but a body's own axis does
        thinner, thicker = sorted(kept, key=lambda mark: mark.thickness_mm)
        body = _bodies_at([thicker]).get(thicker.level) if thinner.cut_off else None
        at_its_body = _centred(thinner, bodies)  # of a crushed one; an arch alone has none but itself
        if body is not None and _lies_aside(at_its_body, thicker, body.centre, body.axes[2]):
            kept.remove(thinner)
    return kept


def _are_adjacent(*marks: Landmark) -> bool:
    """Whether no level lies between them that is not labelled: over a gap, a straight line says little of a spine."""
    return all(levels_between(one.level, other.level) <= 1 for one, other in pairwise(marks))


def _lies_aside(mark: Landmark, beside: Landmark, near: FloatArray, direction: FloatArray) -> bool:
    """Whether a level lies too far from the line through the body next to it. near: a point of the line, LPS mm."""
    along = direction / np.linalg.norm(direction)
    aside = (mark.body_centre - near) - ((mark.body_centre - near) @ along) * along
    share = mark.thickness_mm / beside.thickness_mm
    return bool(np.linalg.norm(aside) > REMAINDER_MM + REMAINDER_BY_SHARE_MM * share)


def _body_beside_arch(mark: Landmark, expected: FloatArray) -> FloatArray | None:
    """The middle (LPS mm) of what a level at the border has around the place where its body is expected; None if that
    is too little, or goes on beyond the border."""
    index = np.argwhere(mark.patch.array > 0.5)
    points = mark.patch.affine.to_lps(index[:, ::-1].astype(float))
    near = np.linalg.norm(points - expected, axis=1) < BODY_RADIUS_MM
    if near.sum() * np.prod(mark.patch.spacing) < LEAST_BODY_MM3:
        return None
    outermost = np.array(mark.patch.array.shape) - 1 - PADDING
    clipped = (index[near] <= PADDING) | (index[near] >= outermost)
    return None if clipped.any() else points[near].mean(axis=0)


def _bodies_at(landmarks: list[Landmark]) -> dict[str, VertebralBody]:
    if not landmarks:
        return {}
    tangents = _tangents(np.array([mark.body_centre for mark in landmarks]))
    frames = map(_frame, tangents, _posterior_directions(landmarks, tangents))
    alone = [_is_alone(mark, [other for other in landmarks if other is not mark]) for mark in landmarks]
    found = two_at_a_time(lambda one: _extract(*one), zip(landmarks, frames, alone, strict=True))
    return {body.level: body for body in found if body is not None}


def _is_alone(mark: Landmark, others: list[Landmark]) -> bool:
    """Whether no other level is whole, or none is beside it: then its own endplates alone tell its axis."""
    return all(other.cut_off for other in others) or not any(_are_adjacent(mark, other) for other in others)


def _tangents(centres: FloatArray) -> FloatArray:
    """(N, 3) unit tangents to superior of the line through body centres (N, 3) that run from cranial to caudal."""
    if len(centres) < 2:
        return np.tile([0.0, 0.0, 1.0], (len(centres), 1))
    tangents = -np.gradient(centres, axis=0)
    return tangents / np.linalg.norm(tangents, axis=1, keepdims=True)


def _posterior_directions(landmarks: list[Landmark], superior: FloatArray) -> FloatArray:
    """(N, 3) unit vectors perpendicular to superior. Levels with an arch decide; their neighbours follow smoothly."""
    arch = np.array([mark.centroid - mark.body_centre for mark in landmarks])
    arch -= (arch * superior).sum(axis=1, keepdims=True) * superior
    length = np.linalg.norm(arch, axis=1)
    weight = np.clip((length - ARCH_MIN_MM) / 8.0, 0.0, 1.0)
    back = _common_way(arch / np.maximum(length, 1e-6)[:, None], weight)
    weight *= arch @ back > 0
    without_arch = _mirrored_directions(landmarks, superior, back, weight == 0)
    own = (
        arch / np.maximum(length, 1e-6)[:, None] * weight[:, None]
        + without_arch * np.maximum(0.05, 1 - weight)[:, None]
    )
    smooth = np.empty_like(own)
    for i in range(len(own)):
        near = np.exp(-0.5 * ((np.arange(len(own)) - i) / 0.8) ** 2)
        smooth[i] = (own * (near * (0.1 + weight))[:, None]).sum(axis=0)
    smooth -= (smooth * superior).sum(axis=1, keepdims=True) * superior
    return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def _common_way(arch: FloatArray, weight: FloatArray) -> FloatArray:
    """The scan's posterior; or where the arches lie, (N, 3) unit vectors with weights (N,), if they agree that it is
    elsewhere: then the scan's own orientation is wrong."""
    scan = np.array([0.0, 1.0, 0.0])
    together = (arch * weight[:, None]).sum(axis=0)
    agreed = float(np.linalg.norm(together))
    if (weight > 0).sum() < 2 or agreed < ARCHES_AGREE * weight.sum() or together[1] > ASTRAY * agreed:
        return scan
    return together / agreed


def _mirrored_directions(
    landmarks: list[Landmark], superior: FloatArray, posterior: FloatArray, bare: np.ndarray
) -> FloatArray:
    """(N, 3) directions of posterior (3,), those of bare levels (N,) turned about superior to where the bodies are
    symmetric."""
    back = posterior - (superior @ posterior)[:, None] * superior
    marks = [mark for mark, alone in zip(landmarks, bare, strict=True) if alone]
    if not marks:
        return back
    frames = [_frame(axis, way) for axis, way in zip(superior[bare], back[bare], strict=True)]
    likeness = [
        mirror_likeness(sample_box(mark.patch, mark.body_centre, frame, BOX_MM, STEP_MM).sum(axis=0), STEP_MM)
        for mark, frame in zip(marks, frames, strict=True)
    ]
    whole = np.array([not mark.cut_off for mark in marks], float)
    angle = axial_rotations(np.array(likeness), whole)[:, None]
    left, straight_back = np.array(frames)[:, 0], np.array(frames)[:, 1]
    back[bare] = np.cos(angle) * straight_back + np.sin(angle) * left
    return back


def _extract(mark: Landmark, axes: FloatArray, alone: bool) -> VertebralBody | None:
    """Endplates in the body's own frame, found by turning and moving the frame until it stays."""
    tangent, posterior = axes[2], axes[1]
    share = 1.0 if alone else ENDPLATE_SHARE
    centre = mark.body_centre
    for _ in range(3):
        endplates = read_endplates(_occupancy_in(mark, centre, axes), STEP_MM)
        if endplates is None:
            return None
        shift, bisector = own_frame(*endplates, axes)
        centre = centre + shift
        axes = _frame(share * bisector + (1 - share) * tangent, posterior)
    labelled = sample_box(mark.patch, centre, axes, BOX_MM, STEP_MM)
    occupancy = cut_posterior_elements(labelled, STEP_MM, mark.level)
    endplates = read_endplates(occupancy, STEP_MM)
    if endplates is None:
        return None
    inferior, superior = endplates
    body = VertebralBody(
        mark.level, centre, axes, superior, inferior, occupancy.astype(np.float32), STEP_MM, mark.voxel_mm
    )
    cleft = cleft_mm(labelled, occupancy, STEP_MM)
    plate, wall = _at_border(mark, body)
    complete = plate <= CUT_PLATE and wall <= CUT_WALL
    return replace(body, complete=complete, label_mm3=mark.volume_mm3, border_share=wall, cleft_mm=cleft)


def _occupancy_in(mark: Landmark, centre: FloatArray, axes: FloatArray) -> FloatArray:
    """(SI, AP, LR) occupancy of the body alone in a frame."""
    occupancy = sample_box(mark.patch, centre, axes, BOX_MM, STEP_MM)
    return cut_posterior_elements(occupancy, STEP_MM, mark.level)


def _frame(superior: FloatArray, posterior: FloatArray) -> FloatArray:
    """Rows left, posterior, superior; superior is kept, posterior made perpendicular to it."""
    superior = superior / np.linalg.norm(superior)
    back = posterior - (posterior @ superior) * superior
    back /= np.linalg.norm(back)
    return np.stack([np.cross(back, superior), back, superior])


def cut_posterior_elements(occupancy: FloatArray, step_mm: float, level: str) -> FloatArray:
    """occupancy (SI, AP, LR) 0..1 of a vertebra, its body at the centre -> the same with everything but the body at 0.

    The mid-sagittal band is walked from the body's centre to posterior; where its filled area falls below a third of
    the body's, the canal begins. A band that never falls (canal filled by the segmentation) is cut at the body's normal
    depth.
    """
    rows, columns, widths = occupancy.shape
    mid_row, mid, mid_width = rows // 2, columns // 2, widths // 2
    half = round(BAND_HALF_WIDTH_MM / step_mm)
    near = round(22 / step_mm)  # rows that can belong to the body: keeps the arch of a tilted vertebra out of the band
    band = occupancy[max(0, mid_row - near) : mid_row + near + 1, :, mid_width - half : mid_width + half + 1]
    area = ndimage.gaussian_filter1d(band.sum(axis=(0, 2)), 0.7)
    start = max(0, mid - round(8 / step_mm))
    body_area = np.median(area[start : mid + round(4 / step_mm) + 1])
    behind = np.flatnonzero(area[mid:] < body_area / 3)
    normal = normal_spine().get(level, normal_spine()["T1"])
    limit = 0.75 * normal.depth + 6.0  # the centre found from the thickest part may lie well in front of the middle
    wall = (
        mid + behind[0] if behind.size and behind[0] * step_mm <= limit else mid + round(0.5 * normal.depth / step_mm)
    )
    body = occupancy.copy()
    body[:, wall:, :] = 0.0
    front = np.flatnonzero(area[:wall] > body_area / 3)
    if front.size == 0:  # the middle is empty: what a scan's border left of a vertebra may hold no body
        return np.zeros_like(occupancy)
    own_depth = (wall - front[0]) * step_mm
    reach = round(WIDEST * normal.width * max(1.0, own_depth / normal.depth) / 2 / step_mm)
    body[:, :, : max(0, mid_width - reach)] = 0.0
    body[:, :, mid_width + reach + 1 :] = 0.0
    return over_clefts(body, step_mm, normal.height_mean)


def read_endplates(occupancy: FloatArray, step_mm: float) -> tuple[FloatArray, FloatArray] | None:
    """Inferior and superior endplate (AP, LR) in mm from the box's centre, where occupancy crosses 1/2; NaN off the
    body.

    A column's body is its longest filled run, holes of up to 3 mm (veins, Schmorl nodes) included.
    Returns None if fewer than 40 columns are filled.
    """
    rows = occupancy.shape[0]
    filled = ndimage.binary_closing(occupancy > 0.5, np.ones((max(1, round(3 / step_mm)), 1, 1)), border_value=0)
    filled |= occupancy > 0.5
    first, last = _longest_run(filled)
    valid = last >= first
    if valid.sum() < 40:
        return None
    columns = np.moveaxis(occupancy, 0, -1)
    lower = _crossing(columns, first, -1)
    upper = _crossing(columns, last, +1)
    centre = rows // 2
    inferior = np.where(valid, (lower - centre) * step_mm, np.nan)
    superior = np.where(valid, (upper - centre) * step_mm, np.nan)
    return inferior, superior


def plate_rows(body: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows (AP, LR) at which a body (SI, AP, LR) 0..1 begins and ends, NaN beside it.

    Raises ValueError if there is none.
    """
    endplates = read_endplates(body, 1.0)
    if endplates is None:
        raise ValueError("the body is empty")
    inferior, superior = endplates
    return inferior + len(body) // 2, superior + len(body) // 2


def _longest_run(filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last index along axis 0 of each column's longest run of True; last < first where there is none."""
    best_first = np.zeros(filled.shape[1:], int)
    best_last = np.full(filled.shape[1:], -1)
    run = np.zeros(filled.shape[1:], int)
    for row in range(filled.shape[0]):
        run = np.where(filled[row], run + 1, 0)
        longer = run > best_last - best_first + 1
        best_last = np.where(longer, row, best_last)
        best_first = np.where(longer, row - run + 1, best_first)
    return best_first, best_last


def _crossing(columns: FloatArray, edge: np.ndarray, outward: int) -> FloatArray:
    """Where the value falls through 1/2 between row edge and the next one outward, by linear interpolation."""
    rows = columns.shape[-1]
    edge = np.clip(edge, 0, rows - 1)
    inside = np.take_along_axis(columns, edge[..., None], -1)[..., 0]
    beyond = np.take_along_axis(columns, np.clip(edge + outward, 0, rows - 1)[..., None], -1)[..., 0]
    drop = np.maximum(inside - beyond, 1e-6)
    return edge + outward * np.clip((inside - 0.5) / drop, 0.0, 1.0)


def own_frame(inferior: FloatArray, superior: FloatArray, axes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The way to the body's centre in LPS mm, and the bisector of both endplates (unit vector in LPS). inferior,
    superior: (AP, LR) mm, in a frame of axes (3, 3)."""
    inner = inner_footprint(superior - inferior)
    back, left = (np.argwhere(inner) - np.array(inner.shape) // 2).T * STEP_MM
    design = np.stack([left - left.mean(), back - back.mean(), np.ones_like(left)], axis=1)
    slope, *_ = np.linalg.lstsq(design, ((superior + inferior) / 2)[inner], rcond=None)
    footprint = (np.argwhere(np.isfinite(superior)) - np.array(superior.shape) // 2) * STEP_MM
    shift = np.array([footprint[:, 1].mean(), footprint[:, 0].mean(), slope[2]])
    normal = np.array([-slope[0], -slope[1], 1.0])
    return shift @ axes, (normal / np.linalg.norm(normal)) @ axes


def inner_footprint(height_map: FloatArray) -> np.ndarray:
    """The footprint without its rim: rims are rounded and bear osteophytes, and say little of an endplate's tilt."""
    footprint = ndimage.binary_fill_holes(np.isfinite(height_map))
    distance = ndimage.distance_transform_edt(np.pad(footprint, 1))[1:-1, 1:-1]
    inner = (distance > 0.35 * distance.max()) & np.isfinite(height_map)
    return inner if inner.sum() >= 20 else np.isfinite(height_map)


def _at_border(mark: Landmark, body: VertebralBody) -> tuple[float, float]:
    """How much of the body's largest section the one at the scan's border has: across its axis, and along its wall."""
    if not mark.cut_off:
        return 0.0, 0.0
    inside = np.argwhere(body.occupancy > 0.5) - np.array(body.occupancy.shape) // 2
    index = mark.patch.affine.to_index(body.centre + inside[:, ::-1] * body.column_mm @ body.axes)
    last = np.array(mark.patch.array.shape)[::-1] - 1 - PADDING
    across = along_wall = 0.0
    for axis, spacing in enumerate(mark.patch.spacing):
        along = abs(mark.patch.affine.matrix[:, axis] @ body.axes[2]) / spacing
        for from_border in (index[:, axis] + 0.5 - PADDING, last[axis] + 0.5 - index[:, axis]):
            layer = from_border * spacing / max(spacing, body.column_mm)
            sections = np.bincount(np.maximum(layer, 0).astype(int))
            share = float(sections[0] / sections.max())
            if along > 0.5:
                across = max(across, share)
            else:
                along_wall = max(along_wall, share)
    return across, along_wall
