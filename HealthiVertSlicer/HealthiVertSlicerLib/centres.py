"""Where to look: the middle of a vertebra's body, and of what is not 0 in a volume. All in world RAS mm."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import slicer

from HealthiVertSlicerLib.distances import squared_distance
from HealthiVertSlicerLib.frames import ijk_to_ras, image_to_ras, image_values, mapped, to_world

DEPTH_STEP_MM = 1.5  # finer voxels say no more about where a vertebra is thickest
DEEP = 0.5  # of the largest depth
DEEPEST_MM = 30.0  # half of what the largest vertebra measures along its shortest way


def body_centre(segmentation: Any, segment_id: str) -> np.ndarray:
    """The middle (3,) of a vertebra's body; of its bounding box, if it is only known as a surface.

    A vertebra is thickest in its body, so the middle of what lies deepest in the segment is the body's, with or
    without an arch and processes. The segmentation is read as it is; no representation is added to it.
    """
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    image = segmentation.GetBinaryLabelmapInternalRepresentation(segment_id)
    if image is None or image.IsEmpty():
        bounds = np.zeros(6)
        segment.GetBounds(bounds)
        return mapped(to_world(segmentation), (bounds[::2] + bounds[1::2]) / 2)
    voxels = image_values(image)
    spacing = np.array(image.GetSpacing()[::-1])
    step = np.maximum(1, (DEPTH_STEP_MM / spacing).astype(int))
    inside = voxels[tuple(slice(None, None, n) for n in step)] == segment.GetLabelValue()
    index = _deepest(inside, spacing * step) * step
    first = np.array(image.GetExtent()[::2])
    return mapped(to_world(segmentation) @ image_to_ras(image), index[::-1] + first)


def box_of_filled(volume: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (3,) of the box around the voxels that are not 0."""
    filled = slicer.util.arrayFromVolume(volume) != 0
    ends = []
    for axis in (2, 1, 0):
        where = np.flatnonzero(filled.any(axis=tuple({0, 1, 2} - {axis})))
        ends.append((where[0] - 0.5, where[-1] + 0.5) if where.size else (-0.5, filled.shape[axis] - 0.5))
    corners = np.array(list(itertools.product(*ends)))
    points = mapped(to_world(volume) @ ijk_to_ras(volume), corners)
    return points.min(axis=0), points.max(axis=0)


def _deepest(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The middle (index) of the voxels that lie deep in a shape; of the whole array, if there is no shape in it."""
    filled = np.argwhere(inside)
    if not len(filled):
        return (np.array(inside.shape) - 1) / 2
    low, high = filled.min(axis=0), filled.max(axis=0) + 1
    box = np.pad(inside[tuple(map(slice, low, high))], 1)
    depth = squared_distance(~box, spacing, DEEPEST_MM)
    return np.argwhere(depth >= DEEP**2 * depth.max()).mean(axis=0) - 1 + low
