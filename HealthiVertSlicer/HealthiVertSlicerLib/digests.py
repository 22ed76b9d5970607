"""A few numbers that stand for the voxels of a CT or of a segment: where they differ, somebody has changed something.

In: nodes. Out: lists of numbers, the same again after the scene was saved and loaded, and however the segments share
images. They are remembered for as long as an image is as it was: only a change costs a look at every voxel.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from HealthiVertSlicerLib import frames

SLAB_VOXELS = 8_000_000  # that are looked at together: more would take more memory, and no less time
MOST_REMEMBERED = 200  # images; what they cost again is not worth more care
SAME = 1e-3  # difference of voxels and mm that saving a scene may make
NOTHING = [0.0] * 7

Shape = list[float]  # checksum of the form, and two corners of the box around it in the indices of the CT

_remembered: dict[tuple, Any] = {}


def same(one: Mapping[str, list[float]], other: Mapping[str, list[float]]) -> bool:
    """Whether two sets of digests, by name, are those of the same voxels at the same place."""
    return one.keys() == other.keys() and all(np.allclose(one[key], other[key], rtol=0, atol=SAME) for key in one)


def of_volume(volume: Any) -> list[float]:
    """Checksum of the voxels, and their edges in mm."""
    image = volume.GetImageData()
    checksum = _once(image, _checksum) if image is not None and image.GetNumberOfPoints() else 0
    return [checksum, *np.round(volume.GetSpacing(), 4).tolist()]


def of_segments(volume: Any, segmentation: Any, segment_ids: Iterable[str]) -> dict[str, Shape]:
    """By segment ID. A segment that is moved against the CT is another one; both moved together are not."""
    to_index = np.linalg.inv(frames.to_world(volume) @ frames.ijk_to_ras(volume)) @ frames.to_world(segmentation)
    segments = segmentation.GetSegmentation()
    return {segment_id: _of_segment(segments, segment_id, to_index) for segment_id in segment_ids}


def _of_segment(segments: Any, segment_id: str, to_index: np.ndarray) -> Shape:
    segment = segments.GetSegment(segment_id)
    shape = segment and segment.GetRepresentation(segments.GetSourceRepresentationName())
    if shape is None or not shape.GetNumberOfPoints():
        return NOTHING
    if shape.IsA("vtkPolyData"):
        checksum, box = _checksum(vtk_to_numpy(shape.GetPoints().GetData())), shape.GetBounds()
    else:
        forms = _once(shape, _forms)
        if segment.GetLabelValue() not in forms:
            return NOTHING
        checksum, low, high = forms[segment.GetLabelValue()]
        to_index = to_index @ frames.image_to_ras(shape)
        box = np.stack([low, high], axis=1).ravel() + np.repeat(shape.GetExtent()[::2], 2)
    corners = frames.mapped(to_index, np.reshape(box, (3, 2)).T.astype(float))
    return [checksum, *np.round(corners, 4).ravel().tolist()]


def _once(image: Any, look: Callable[[np.ndarray], Any]) -> Any:
    """What look finds in the voxels of an image; it is asked again only when the image has changed."""
    key = image.GetMTime(), image.GetExtent()
    if key not in _remembered:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = look(frames.image_values(image))
    return _remembered[key]


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array))


def _forms(labels: np.ndarray) -> dict[int, tuple[int, np.ndarray, np.ndarray]]:
    """{value: (checksum of the form of its voxels, lowest, highest index (i, j, k))} of labels (K, J, I), but of 0.

    The form is that of the rows of equal voxels, counted from the lowest index: neither the image's border nor other
    values around them change it.
    """
    parts = []
    thickness = max(1, SLAB_VOXELS // labels[0].size)
    for first in range(0, len(labels), thickness):
        slab = labels[first : first + thickness]
        rows = slab.reshape(-1, labels.shape[2])
        begins = np.ones(rows.shape, bool)
        np.not_equal(rows[:, 1:], rows[:, :-1], out=begins[:, 1:])
        start = np.flatnonzero(begins)
        length = np.diff(start, append=rows.size)
        value = rows.ravel()[start]
        k, j, i = np.unravel_index(start, slab.shape)
        parts.append(np.stack([value, i, j, k + first, length])[:, value != 0])
    runs = np.concatenate(parts, axis=1).astype(np.int64)
    found = {}
    for value in np.unique(runs[0]):
        starts, length = np.split(runs[1:, runs[0] == value], [3])
        low = starts.min(axis=1)
        high = starts.max(axis=1)
        high[0] = (starts[0] + length[0] - 1).max()
        form = np.vstack([starts - low[:, None], length])
        found[int(value)] = zlib.crc32(np.ascontiguousarray(form)), low, high
    return found
