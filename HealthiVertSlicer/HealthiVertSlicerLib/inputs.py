"""Whether a CT and its segmentation can be used, and their way out of the scene into files for the core.

In: volume node, segmentation node, the user's levels. Out: a sentence that says what is wrong and what to do, or the
files of ExportedCase. The inputs are never changed, and no node is added: labels are merged in memory.

Everything is computed in the volume's own frame: rigid transforms above the nodes only move them in the world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from HealthiVertSlicerLib import frames
from HealthiVertSlicerLib.frames import BINARY_LABELMAP
from HealthiVertSlicerLib.levels import EXTRA_LEVELS, LEVELS, NO_OVERRIDES, segment_levels
from HealthiVertSlicerLib.nrrd import Grid, write_nrrd
from HealthiVertSlicerLib.pieces import InThread, Pieces, at_once
from HealthiVertSlicerLib.result_nodes import ROLE

FEWEST_VOXELS, SHORTEST_EDGE_MM = 16, 20.0  # what the core needs along each axis
OF_THIS_CASE = "-of-this-case"  # in the names of files, so that they are found in what the core says
STILL_UP = 0.5  # cosine of the largest tilt of a scan
WRONG_ORDER_MM = 8.0  # by which a vertebra lies above its upper neighbour; less may be a very bent spine


class HealthiVertSlicerError(Exception):
    """What a user can mend: the message is a sentence that says what was found and what to do."""


@dataclass(frozen=True)
class ExportedCase:
    """The inputs as files in the volume's own frame, on its grid.

    level_of_value: value in the segmentation's file -> level; segment_of_level: level -> segment ID. Both name only
    segments with voxels inside the CT. withheld: above 0 where the generator must not look besides the target, or None.
    """

    ct: Path
    segmentation: Path
    level_of_value: Mapping[int, str]
    segment_of_level: Mapping[str, str]
    withheld: Path | None = None


def input_problem(volume: Any, segmentation: Any, overrides: Mapping[str, str] = NO_OVERRIDES) -> str | None:
    """Why these inputs cannot be used, or None. Reads no voxel: cheap enough for every change."""
    return (
        _volume_problem(volume)
        or _segmentation_problem(segmentation)
        or _levels_problem(segmentation, overrides)
        or _place_problem(volume, segmentation)
    )


def target_problem(
    volume: Any, segmentation: Any, segment_id: str, overrides: Mapping[str, str] = NO_OVERRIDES
) -> str | None:
    """Why this vertebra cannot be regrown, or None. Looks for the segment's voxels."""
    from slicer.i18n import tr as _

    problem = input_problem(volume, segmentation, overrides)
    if problem:
        return problem
    level = segment_levels(segmentation, overrides).get(segment_id)
    if level is None:
        return _("Choose the vertebra to regrow in the table.")
    centre = frames.segment_centre(segmentation, segment_id)
    if centre is None:
        return _("The segment of {level} is empty: segment it, or choose another vertebra.").format(level=level)
    if not frames.is_inside(volume, centre):
        text = _('{level} lies outside of the CT "{ct}": choose another vertebra, or the CT that shows it.')
        return text.format(level=level, ct=volume.GetName())
    return None


def neighbour_note(segmentation: Any, segment_id: str, overrides: Mapping[str, str] = NO_OVERRIDES) -> str | None:
    """Which of the two neighbours of a vertebra are not segmented, or None."""
    from slicer.i18n import tr as _

    found = segment_levels(segmentation, overrides)
    if segment_id not in found:
        return None
    level, present = found[segment_id], set(found.values())
    missing = [choices[-1] for choices in _neighbours(level) if choices and not present.intersection(choices)]
    if not missing:
        return None
    text = _("Not segmented beside {level}: {missing}. The healthy height will be less certain; segment it if you can.")
    return text.format(level=level, missing=", ".join(missing))


def needs_hardening(volume: Any) -> bool:
    """Whether a transform bends the volume, or turns what is up in it far from there, as where a wrong file is put
    right."""
    return is_bent(volume) or bool(frames.to_world(volume)[2, 2] < STILL_UP)


def is_bent(volume: Any) -> bool:
    """Whether a transform above the volume is anything but rigid, so that harden_copy is what helps."""
    return not frames.is_rigid(volume.GetParentTransformNode())


def harden_copy(volume: Any) -> Any:
    """A copy of the volume as it looks in the world, under no transform. The volume itself stays as it is."""
    from slicer.i18n import tr as _

    name = _("{ct} (hardened)").format(ct=volume.GetName())
    copy = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volume, name)
    copy.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    copy.HardenTransform()
    return copy


def export_case(
    volume: Any, segmentation: Any, folder: Path, overrides: Mapping[str, str] = NO_OVERRIDES
) -> ExportedCase:
    """Write CT and labels into an existing folder, uncompressed. Raises HealthiVertSlicerError, leaving no file."""
    return at_once(exporting(volume, segmentation, folder, overrides))


def exporting(
    volume: Any, segmentation: Any, folder: Path, overrides: Mapping[str, str] = NO_OVERRIDES, hidden: Any = None
) -> Pieces:
    """export_case in pieces. hidden: a segmentation whose segments are all withheld from the generator, or None."""
    from slicer.i18n import tr as _

    problem = input_problem(volume, segmentation, overrides)
    if problem:
        raise HealthiVertSlicerError(problem)
    levels = segment_levels(segmentation, overrides)
    grid, scan = Grid.of(volume), frames.voxels(volume).copy()  # as it is now, whatever becomes of it meanwhile
    labels = yield from labels_in_pieces(volume, segmentation, list(levels))
    heights = yield InThread(lambda: _heights(labels, grid.steps[:, 2]))
    present = {segment_id: value for value, segment_id in enumerate(levels, start=1) if value in heights}
    if len(present) < 2:
        text = _(
            'Only {count} of the vertebrae of "{segmentation}" has voxels inside the CT "{ct}": '
            "choose the segmentation that belongs to this CT."
        )
        names = {"segmentation": segmentation.GetName(), "ct": volume.GetName()}
        raise HealthiVertSlicerError(text.format(count=len(present), **names))
    wrong = _wrong_order({levels[segment_id]: heights[value] for segment_id, value in present.items()})
    if wrong:
        up = frames.to_world(volume)[2, :3] @ frames.ijk_to_ras(volume)[:3, :3]
        heights = yield InThread(lambda: _heights(labels, up))
        in_world = _wrong_order({levels[segment_id]: heights[value] for segment_id, value in present.items()})
        raise HealthiVertSlicerError(_order_problem(wrong, in_world, volume, segmentation))
    images = {"ct": scan, "segmentation": labels}
    if hidden is not None:
        images["withheld"] = yield from labels_in_pieces(volume, hidden, hidden.GetSegmentation().GetSegmentIDs())
    paths = {name: folder / f"{name}{OF_THIS_CASE}.nrrd" for name in images}
    try:
        for name, voxels in images.items():
            yield InThread(partial(write_nrrd, paths[name], voxels, grid))
    except BaseException as error:
        for path in paths.values():
            path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        text = _("The CT could not be copied to {folder}: make sure that it can be written to and has {size} MB free.")
        size = sum(voxels.nbytes for voxels in images.values()) // 1_000_000 + 1
        raise HealthiVertSlicerError(text.format(folder=folder, size=size)) from error
    level_of_value = {value: levels[segment_id] for segment_id, value in present.items()}
    segment_of_level = {levels[segment_id]: segment_id for segment_id in present}
    return ExportedCase(
        paths["ct"], paths["segmentation"], level_of_value, segment_of_level, withheld=_unless_empty(paths, images)
    )


def labels_in_pieces(volume: Any, segmentation: Any, segment_ids: Sequence[str]) -> Pieces:
    """The segments on the volume's grid: (K, J, I) uint8, 1 for the first, 2 for the second and so on, 0 elsewhere.

    Where segments overlap, the later one counts. Everything is taken as it is at the first of the pieces.
    """
    merged = np.zeros(volume.GetImageData().GetDimensions()[::-1], np.uint8)
    segments = _with_voxels(segmentation.GetSegmentation())  # lives as long as its images: it empties them at its end
    layers = [
        (frames.layer_of(volume, image, segmentation), _table(image, numbers))
        for image, numbers in _layers(segments, segment_ids).items()
    ]
    for layer, table in layers:
        for slab in frames.slabs(layer.box):
            own = table[frames.nearest_in(layer.plain, layer.to_image, slab)]
            part = merged[tuple(slice(*ends) for ends in zip(*slab, strict=True))[::-1]]
            np.maximum(part, own, out=part)
            yield None
    return merged


def _table(image: Any, numbers: Mapping[int, int]) -> np.ndarray:
    """What stands for each value of an image: the segment's number, 0 for what is no segment."""
    table = np.zeros(max(int(image.GetScalarRange()[1]), *numbers) + 1, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return table


def _with_voxels(segments: Any) -> Any:
    """The vtkSegmentation, or a copy with voxels if it has surfaces only."""
    if segments.ContainsRepresentation(BINARY_LABELMAP):
        return segments
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segments)
    copy.CreateRepresentation(BINARY_LABELMAP)
    return copy


def _layers(segments: Any, segment_ids: Sequence[str]) -> dict[Any, dict[int, int]]:
    """Image that segments share -> its values -> the place of their segments among segment_ids, from 1."""
    layers: dict[Any, dict[int, int]] = {}
    for number, segment_id in enumerate(segment_ids, start=1):
        segment = segments.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        if image is not None and not image.IsEmpty():
            layers.setdefault(image, {})[segment.GetLabelValue()] = number
    return layers


# What can be wrong


def _volume_problem(volume: Any) -> str | None:
    from slicer.i18n import tr as _

    if volume is None:
        return _("Choose the CT.")
    name = volume.GetName()
    if volume.GetAttribute(ROLE):
        return _('"{ct}" is a result of HealthiVert: choose the CT that it was made from.').format(ct=name)
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        return _('"{ct}" is a label map: choose the CT, and import the labels as a segmentation.').format(ct=name)
    image = volume.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return _('"{ct}" has no voxels: load the CT again.').format(ct=name)
    if image.GetNumberOfScalarComponents() != 1:
        return _('"{ct}" is a vector or colour volume: choose the CT.').format(ct=name)
    extent = np.multiply(image.GetDimensions(), volume.GetSpacing())
    if min(image.GetDimensions()) < FEWEST_VOXELS or extent.min() < SHORTEST_EDGE_MM:
        size = " x ".join(f"{edge:.0f}" for edge in extent)
        return _('"{ct}" is too small ({size} mm): choose a CT of several vertebrae.').format(ct=name, size=size)
    directions = np.zeros((3, 3))
    volume.GetIJKToRASDirections(directions)
    if not frames.is_orthogonal(directions):
        text = _('The axes of "{ct}" are not perpendicular: resample it (module Crop Volume), and choose the result.')
        return text.format(ct=name)
    if is_bent(volume):
        text = _(
            'The transform "{transform}" bends or stretches "{ct}", so that heights would be wrong: '
            "choose a hardened copy of it."
        )
        return text.format(transform=volume.GetParentTransformNode().GetName(), ct=name)
    return None


def _segmentation_problem(segmentation: Any) -> str | None:
    from slicer.i18n import tr as _

    if segmentation is None:
        return _("Choose the segmentation of the vertebrae.")
    name = segmentation.GetName()
    if segmentation.GetAttribute(ROLE):
        text = _('"{segmentation}" belongs to the results of HealthiVert: choose the segmentation of the vertebrae.')
        return text.format(segmentation=name)
    if segmentation.GetSegmentation() is None or segmentation.GetSegmentation().GetNumberOfSegments() == 0:
        return _('"{segmentation}" has no segments: segment the vertebrae first.').format(segmentation=name)
    if not frames.has_voxels_or_surface(segmentation):
        return _('All segments of "{segmentation}" are empty: segment the vertebrae first.').format(segmentation=name)
    transform = segmentation.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        text = _(
            'The transform "{transform}" bends "{segmentation}": '
            "harden it (module Data, right click on the transform of the segmentation)."
        )
        return text.format(transform=transform.GetName(), segmentation=name)
    return None


def _levels_problem(segmentation: Any, overrides: Mapping[str, str]) -> str | None:
    from slicer.i18n import tr as _

    levels = segment_levels(segmentation, overrides)
    name = segmentation.GetName()
    if not levels:
        text = _('No segment of "{segmentation}" is named after a vertebra: choose the level of each.')
        return text.format(segmentation=name)
    twice = [level for level, count in Counter(levels.values()).items() if count > 1]
    if twice:
        segments = segmentation.GetSegmentation()
        same = [segments.GetSegment(key).GetName() for key, level in levels.items() if level == twice[0]]
        text = _("{segments} are all taken for {level}: choose the right level of each.")
        return text.format(segments=", ".join(f'"{segment}"' for segment in same), level=twice[0])
    if len(levels) == 1:
        text = _(
            '"{segmentation}" has only one vertebra with a level, {level}, and nothing tells how tall it was: '
            "choose the level of its other segments, or segment more."
        )
        return text.format(segmentation=name, level=next(iter(levels.values())))
    return None


def _place_problem(volume: Any, segmentation: Any) -> str | None:
    from slicer.i18n import tr as _

    box = frames.segments_box(volume, segmentation)
    if box is None:
        return None
    low, high = box
    if (high >= -0.5).all() and (low <= np.array(volume.GetImageData().GetDimensions()) - 0.5).all():
        return None
    text = _(
        '"{segmentation}" lies outside of the CT "{ct}": choose those that belong together, and check their transforms.'
    )
    return text.format(segmentation=segmentation.GetName(), ct=volume.GetName())


def _neighbours(level: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The levels of which one is to lie directly above, and below; the usual one last."""
    at = LEVELS.index(level)
    return _nearest(LEVELS[:at][::-1]), _nearest(LEVELS[at + 1 :])


def _nearest(levels: Sequence[str]) -> tuple[str, ...]:
    """Up to the first level that every spine has."""
    for count, level in enumerate(levels, start=1):
        if level not in EXTRA_LEVELS:
            return tuple(levels[:count])
    return ()


def _wrong_order(heights: Mapping[str, float]) -> tuple[str, str] | None:
    """A vertebra and the next one, which lies above it. heights: level -> mm, cranial to caudal."""
    pairs = pairwise(heights)
    return next((pair for pair in pairs if heights[pair[1]] - heights[pair[0]] > WRONG_ORDER_MM), None)


def _order_problem(wrong: tuple[str, str], in_world: tuple[str, str] | None, volume: Any, segmentation: Any) -> str:
    """wrong, in_world: two levels in the wrong order in the CT's own frame, and in the world's, if there are any."""
    from slicer.i18n import tr as _

    if in_world is None:
        text = _('"{ct}" is upside down but for its transform "{transform}": choose a hardened copy of it.')
        return text.format(ct=volume.GetName(), transform=volume.GetParentTransformNode().GetName())
    text = _('{lower} lies above {upper} in "{segmentation}": choose the right level of each segment.')
    return text.format(upper=wrong[0], lower=wrong[1], segmentation=segmentation.GetName())


# Files


def _heights(labels: np.ndarray, up: np.ndarray) -> dict[int, float]:
    """Value -> how far superior the middle of its voxels lies (mm), of the values present but 0. up: what a step along
    i, j and k rises.

    Plane by plane: a scan is too large to be looked through in one piece.
    """
    counts, sums = np.zeros(256), np.zeros(256)
    of_i, of_j, of_k = up
    for k, plane in enumerate(labels):
        j, i = np.nonzero(plane)
        values = plane[j, i]
        counts += np.bincount(values, minlength=256)
        sums += np.bincount(values, weights=i * of_i + j * of_j + k * of_k, minlength=256)
    return {int(value): float(sums[value] / counts[value]) for value in np.flatnonzero(counts)}


def _unless_empty(paths: Mapping[str, Path], images: Mapping[str, np.ndarray]) -> Path | None:
    """The file of what is withheld, if there is anything in it."""
    return paths["withheld"] if "withheld" in images and images["withheld"].any() else None
