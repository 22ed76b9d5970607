"""Fractures made in healthy vertebrae of real scans: what these people's bodies were before is known to the voxel.

A body's upper plate sinks, its wall bulges, what lies above comes down and tips forward with it, and the disc between
fills the rest: the fractures are those of generated spines (healthivert.phantom), the anatomy and the scanner are real.
The bone is moved, not compressed: a broken body's look is not that of a real fracture, but no generator sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from rows import Row, Subject, grade_rows, interval_row, loss_rows, picture_rows, worst_third_row
from scipy import ndimage
from verse_scans import graded_scans

from healthivert.case import load_case
from healthivert.evaluate import summarise
from healthivert.evaluate_phantoms import PhantomScan, compare_with_truth, summarise_phantoms
from healthivert.geometry import Patch, affine_of, filled_from_nearest, labelled_box, sample
from healthivert.grade import genant_grade
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights, relative_height_loss, segmented, third_means
from healthivert.phantom import Pose
from healthivert.phantom.fracture import SHAPES, Fracture, sink
from healthivert.phantom.sampling import LOSSES, unit_fracture
from healthivert.phantom.truth import POSES
from healthivert.types import FloatArray, Heights, SpineCase, VertebralBody

FIRST_SEED = 905_000
AROUND_MM = 25.0  # of the labels: what is kept of the scan beside the spine
DISC_MM = (3.0, 12.0)
LAST_DISC_MM = 8.0  # above a level whose upper neighbour is not segmented
BULGE_FADES_MM = 10.0
WHOLE = 0.7  # of the median height: lower columns are a rim's
AIR_HU = -1000.0


@dataclass(frozen=True)
class Collapse:
    """Where the tissue of a scan comes from, after the upper plate of one body has sunk. Maps (AP, LR) in the body's
    own frame, without gaps, beyond its whole columns as in the nearest of them: the plates before, and by how much the
    upper one sinks, mm. turn: (3, 3), how the anatomy above is tipped around the middle of the upper plate, which comes
    down by lowered_mm."""

    body: VertebralBody
    superior: FloatArray
    inferior: FloatArray
    loss: FloatArray
    bulge_mm: float
    disc_mm: float
    turn: FloatArray
    lowered_mm: float

    def sources(self, points: FloatArray) -> FloatArray:
        """(..., 3) LPS mm of the broken scan -> where that was in the healthy one."""
        here = (points - self.body.centre) @ self.body.axes.T
        left, posterior, up = np.moveaxis(here, -1, 0)
        maps = self.superior, self.inferior, self.loss
        superior, inferior, loss = (self._at(plate, left, posterior) for plate in maps)
        sunk = superior - loss
        share = np.clip((up - inferior) / np.maximum(sunk - inferior, 1e-3), 0, 1)  # of the way through the body
        within = here.copy()
        within[..., 2] += share * loss
        within[..., :2] *= (1 - self._outwards(left, posterior, share))[..., None]
        pivot = np.array([0.0, 0.0, np.nanmedian(self.body.superior)])
        above = (here + np.array([0, 0, self.lowered_mm]) - pivot) @ self.turn + pivot
        opened = np.maximum(self.disc_mm + loss - (above - here)[..., 2], 1.0)  # the height of the disc afterwards
        weight = np.clip((up - sunk) / opened, 0, 1)[..., None]
        return (within + weight * (above - within)) @ self.body.axes + self.body.centre

    def _at(self, plate: FloatArray, left: FloatArray, posterior: FloatArray) -> FloatArray:
        middle = np.array(plate.shape) // 2
        index = [posterior / self.body.column_mm + middle[0], left / self.body.column_mm + middle[1]]
        return ndimage.map_coordinates(plate, index, order=1, mode="nearest")

    def _outwards(self, left: FloatArray, posterior: FloatArray, share: FloatArray) -> FloatArray:
        """How much nearer to the body's axis the tissue was, as a part of its distance: most in the middle height. The
        wall, near an ellipse, gives way alike on all sides."""
        columns = np.argwhere(np.isfinite(self.body.height_map))
        depth, width = np.ptp(columns, axis=0) / 2 * self.body.column_mm
        angle, radius = np.arctan2(posterior, left), np.hypot(left, posterior)
        wall = depth * width / np.hypot(depth * np.cos(angle), width * np.sin(angle))
        fading = np.exp(-np.clip(radius - wall, 0, None) / BULGE_FADES_MM)
        return self.bulge_mm * 4 * share * (1 - share) * fading / np.maximum(radius, wall)


def collapse(analysis: SpineAnalysis, level: str, fracture: Fracture) -> tuple[Collapse, Heights]:
    """How a fracture moves a scan, and the body's heights afterwards, mm."""
    body = analysis.bodies[level]
    u, v = _normalised(body)
    sunk, _ = sink(fracture, body.superior, body.inferior, u, v)
    # the outermost columns hold one rim only: their ends are not the plates
    whole = body.height_map > WHOLE * np.nanmedian(body.height_map)
    maps = body.superior, body.inferior, body.superior - sunk
    superior, inferior, loss = (filled_from_nearest(plate, whole) for plate in maps)
    lowered, slope = _settled(body, np.where(whole, loss, np.nan), np.hypot(u, v))
    angle = float(np.arctan(slope * fracture.kyphosis))
    turn = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
    moved = Collapse(body, superior, inferior, loss, fracture.bulge_mm, _disc_above(analysis, level), turn, lowered)
    healthy = body_heights(body)
    lost = loss * body.height_map / (superior - inferior)  # of a column, which gives way alike all the way
    thirds = healthy.thirds - third_means(lost, body.height_map, body.column_mm, segmented(body))
    return moved, Heights(*thirds.tolist(), float(thirds.mean()))


def _normalised(body: VertebralBody) -> tuple[FloatArray, FloatArray]:
    """(AP, LR) positions on the footprint, to the left and to posterior, -1 to 1 between its walls."""
    ends = [np.flatnonzero(np.isfinite(body.height_map).any(axis=axis))[[0, -1]] for axis in (0, 1)]
    across, along = (
        (2 * np.arange(count) - first - last) / (last - first)
        for count, (first, last) in zip(body.height_map.shape[::-1], ends, strict=True)
    )
    return np.meshgrid(across, along)


def _settled(body: VertebralBody, loss: FloatArray, ratio: FloatArray) -> tuple[float, float]:
    """By how much (mm) the upper plate's rim is lowered on the body's axis, and more for each mm to posterior."""
    rim = np.isfinite(loss) & (ratio > 0.7)
    posterior = ((np.argwhere(rim) - np.array(loss.shape) // 2) * body.column_mm)[:, 0]
    slope, offset = np.polyfit(posterior, loss[rim], 1)
    return float(offset), float(slope)


def _disc_above(analysis: SpineAnalysis, level: str) -> float:
    present = list(analysis.bodies)
    place, body = present.index(level), analysis.bodies[level]
    if place == 0:
        return LAST_DISC_MM
    upper = analysis.bodies[present[place - 1]]
    plate = upper.centre + np.nanmean(upper.inferior) * upper.axes[2]
    return float(np.clip((plate - body.centre) @ body.axes[2] - np.nanmean(body.superior), *DISC_MM))


def moved_scan(case: SpineCase, move: Collapse) -> SpineCase:
    """The part of a scan around its spine after a collapse: CT linearly, labels by the nearest voxel. Without the
    uppermost planes, which have come down from beyond the scan."""
    ct, labels = (Patch(sitk.GetArrayFromImage(image), affine_of(image)) for image in (case.ct, case.labels))
    part = _around_spine(labels)
    grid = np.stack(np.meshgrid(np.r_[part[2]], np.r_[part[1]], [0.0]), axis=-1)[:, :, 0]
    planes: list[tuple[NDArray, NDArray]] = []
    for number in np.r_[part[0]]:
        sources = move.sources(ct.affine.to_lps(grid + np.array([0, 0, number])))
        if (ct.affine.to_index(sources)[..., 2] > len(ct.array) - 0.5).mean() > 0.5:
            break
        planes.append((sample(ct, sources, outside=AIR_HU), sample(labels, sources, order=0)))
    moved_ct, moved_labels = (sitk.GetImageFromArray(np.array(kept)) for kept in zip(*planes, strict=True))
    for moved in (moved_ct, moved_labels):
        moved.SetSpacing(case.ct.GetSpacing())
        moved.SetDirection(case.ct.GetDirection())
        moved.SetOrigin(ct.affine.to_lps(np.array([edge.start for edge in part[::-1]], float)).tolist())
    return replace(case, ct=moved_ct, labels=moved_labels, warnings=(), labelled_field=None)


def _around_spine(labels: Patch) -> tuple[slice, ...]:
    """(k, j, i) of what is kept."""
    around = [round(AROUND_MM / step) for step in labels.spacing[::-1]]
    return tuple(
        slice(max(0, edge.start - margin), min(length, edge.stop + margin))
        for edge, margin, length in zip(labelled_box(labels.array), around, labels.array.shape, strict=True)
    )


def fractures_in_real_scans(subject: Subject, lumbar: Path) -> Iterator[Row]:
    """lumbar: the folder of a real CT whose levels are all healthy, beside the scans of VerSe."""
    rows = [
        {"case": scan.case.name, **compare_with_truth(scan, level, subject.generate, grading=None)}
        for scan, level in broken_scans(lumbar)
    ]
    found, broken = summarise_phantoms(rows, FIRST_SEED), [row for row in rows if row["fractured"]]
    scans = len({row["case"] for row in rows})
    yield from loss_rows(found["rhlv"]["fractured"], f"fractures made in healthy levels of {scans} real CT")
    spared = found["rhlv"]["spared"]
    yield worst_third_row(f"{spared['count']} of these levels, unbroken: worst third, by which is graded", spared)
    for part, what in (("fractured", "of these fractures"), ("spared", "of these levels, unbroken")):
        loss = found["rhlv"][part]
        what = f"{loss['count']} {what}: the interval of 90 % holds the true loss"
        yield interval_row(what, loss["interval_90_holds"])
    yield from grade_rows("levels, these and themselves unbroken, Genant", found["grading"]["thresholds"], judged=True)
    dice, ssim, psnr = picture_rows(summarise(broken, FIRST_SEED))
    what = f"{len(broken)} fractures made in healthy levels of {scans} real CT, against what was there before: Dice"
    yield from (replace(dice, what=what), ssim, psnr)


def broken_scans(lumbar: Path) -> Iterator[tuple[PhantomScan, str]]:
    """Every healthy level of the real scans, broken three times: in each shape, once mildly, moderately and severely;
    then unbroken. With each goes the healthy scan as its twin, and what is true of the level."""
    case = load_case(lumbar / "ct.nii.gz", lumbar / "seg.nii.gz")
    analysis = analyse(case)
    scans = [(case, analysis, list(analysis.bodies))]
    scans += [(scan.case, scan.analysis, scan.healthy) for scan in graded_scans()]
    levels = [(case, analysis, level) for case, analysis, found in scans for level in found]
    for count, (case, analysis, level) in enumerate(levels):
        generator = np.random.default_rng(FIRST_SEED + count)
        for number, shape in enumerate(SHAPES):
            loss = generator.uniform(*LOSSES[(number + count) % len(LOSSES)])
            yield broken(case, analysis, level, unit_fracture(generator, shape, loss), loss), level
        healthy = body_heights(analysis.bodies[level])
        truth = {level: _truth(analysis.bodies[level], healthy, "normal")}
        yield PhantomScan(case, analysis, truth, (case, analysis)), level
        print(f"  {case.name} {level}: {4 * (count + 1)} of {4 * len(levels)} levels", flush=True)


def broken(case: SpineCase, analysis: SpineAnalysis, level: str, unit: Fracture, loss: float) -> PhantomScan:
    """A scan in which the worst third of a level's body has lost a fraction of its height. unit: how it collapses."""
    unit = replace(unit, superior_share=1.0)
    healthy = body_heights(analysis.bodies[level])
    of_one_mm = relative_height_loss(collapse(analysis, level, unit)[1], healthy)
    move, after = collapse(analysis, level, replace(unit, depth_mm=loss / max(of_one_mm.thirds)))
    scan = moved_scan(case, move)
    return PhantomScan(scan, analyse(scan), {level: _truth(move.body, after, unit.shape)}, (case, analysis))


def _truth(healthy: VertebralBody, after: Heights, shape: str) -> dict[str, Any]:
    """A row as truth.json has it. What lies below a broken plate has not moved, so the level stands where it stood."""
    before = body_heights(healthy)
    lost = relative_height_loss(after, before)
    return {
        "fractured": shape != "normal",
        "shape": shape,
        "heights_mm": after.as_dict(),
        "healthy_heights_mm": before.as_dict(),
        "rhlv": lost.as_dict(),
        "genant": genant_grade(lost).grade,
        **dict.fromkeys(POSES, Pose(healthy.centre, healthy.axes).as_dict()),
    }
