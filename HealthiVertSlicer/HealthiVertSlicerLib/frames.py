"""Where nodes lie: between a volume's indices, a node's own frame and the world (RAS millimetres).

Linear parent transforms only; inputs.py refuses the others. Matrices are (4, 4), points (..., 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

SEARCH_STEPS = (4, 1)  # voxels: a vertebra is found on every fourth one as well, and that is cheap
SLAB_VOXELS = 2_000_000  # that are resampled at a time
ROUNDING_DIGITS = 9  # of matrices between grids
RIGHT_ANGLE = 1e-3  # largest error of axes and transforms that count as rigid
BINARY_LABELMAP, CLOSED_SURFACE = "Binary labelmap", "Closed surface"  # Slicer's names of what segments are kept as


def mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def ijk_to_ras(volume: Any) -> np.ndarray:
    """From the volume's indices (i, j, k) to its own frame."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def to_world(node: Any) -> np.ndarray:
    """From the node's own frame to the world."""
    matrix = vtk.vtkMatrix4x4()
    transform = node.GetParentTransformNode()
    if transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def image_to_ras(image: Any) -> np.ndarray:
    """From an oriented image's indices to the frame of the segmentation that holds it."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxels(volume: Any) -> np.ndarray:
    """A volume's values (K, J, I), not copied; they stay valid when the volume is deleted."""
    return image_values(volume.GetImageData())


def image_values(image: Any) -> np.ndarray:
    """The values (K, J, I) of an image, not copied."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def is_inside(volume: Any, point: np.ndarray) -> bool:
    """Whether a point of the world lies in the volume."""
    index = mapped(np.linalg.inv(to_world(volume) @ ijk_to_ras(volume)), point)
    return bool((index > -0.5).all() and (index < np.array(volume.GetImageData().GetDimensions()) - 0.5).all())


def is_orthogonal(matrix: np.ndarray) -> bool:
    return bool(np.abs(matrix.T @ matrix - np.eye(3)).max() < RIGHT_ANGLE)


def is_rigid(transform: Any) -> bool:
    """Whether a transform node, with all that is above it, keeps lengths. None is no transform."""
    if transform is None:
        return True
    if not transform.IsTransformToWorldLinear():
        return False
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return is_orthogonal(slicer.util.arrayFromVTKMatrix(matrix)[:3, :3])


def has_voxels_or_surface(segmentation: Any) -> bool:
    """Whether any of a segmentation's segments has something in it. No voxel is read."""
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        shape = segments.GetSegment(segment_id).GetRepresentation(segments.GetSourceRepresentationName())
        if shape is not None and not (hasattr(shape, "IsEmpty") and shape.IsEmpty()):
            return True
    return False


def segment_centre(segmentation: Any, segment_id: str) -> np.ndarray | None:
    """Middle of the box around a segment in the world; None if it is empty."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    image, surface = (segment.GetRepresentation(name) for name in (BINARY_LABELMAP, CLOSED_SURFACE))
    if image is None and surface is not None and surface.GetNumberOfPoints():
        return mapped(to_world(segmentation), np.array(surface.GetBounds()).reshape(3, 2).mean(axis=1))
    if image is None or image.IsEmpty():
        return None
    voxels = image_values(image)
    for step in SEARCH_STEPS:
        found = np.argwhere(voxels[::step, ::step, ::step] == segment.GetLabelValue()) * step
        if found.size:
            index = (found.min(axis=0) + found.max(axis=0))[::-1] / 2 + image.GetExtent()[::2]
            return mapped(to_world(segmentation) @ image_to_ras(image), index)
    return None


def segments_box(volume: Any, segmentation: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper corner of the images that hold the segments, in the volume's indices; None if there are none."""
    segments = segmentation.GetSegmentation()
    to_index = np.linalg.inv(to_world(volume) @ ijk_to_ras(volume)) @ to_world(segmentation)
    corners = []
    for segment_id in segments.GetSegmentIDs():
        image = segments.GetSegment(segment_id).GetRepresentation(BINARY_LABELMAP)
        if image is None or image.IsEmpty():
            continue
        index = np.stack(np.meshgrid(*_ends(image), indexing="ij"), axis=-1).reshape(-1, 3)
        corners.append(mapped(to_index @ image_to_ras(image), index))
    if not corners:
        return None
    return np.concatenate(corners).min(axis=0), np.concatenate(corners).max(axis=0)


Box = tuple[np.ndarray, np.ndarray]  # of voxels: lowest index (i, j, k), and highest + 1


@dataclass(frozen=True)
class Layer:
    """An image of a segmentation as it was at one moment, to be resampled to a volume's grid as that was.

    plain: its values, with origin 0 and spacing 1. to_image: (4, 4) from the volume's indices to the image's. box: the
    part of the volume's grid that the image can reach; it may be empty.
    """

    plain: Any
    to_image: np.ndarray
    box: Box


def layer_of(volume: Any, image: Any, segmentation: Any) -> Layer:
    to_image = np.linalg.inv(to_world(segmentation) @ image_to_ras(image)) @ to_world(volume) @ ijk_to_ras(volume)
    corners = np.stack(np.meshgrid(*np.add(_ends(image), (-0.5, 0.5)), indexing="ij"), axis=-1).reshape(-1, 3)
    index = mapped(np.linalg.inv(to_image), corners)
    size = np.array(volume.GetImageData().GetDimensions())
    low = np.clip(np.floor(index.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(index.max(axis=0)) + 1, low, size).astype(int)
    plain = vtk.vtkImageData()
    plain.SetExtent(image.GetExtent())
    plain.GetPointData().SetScalars(numpy_to_vtk(vtk_to_numpy(image.GetPointData().GetScalars()), deep=True))
    return Layer(plain, np.round(to_image, ROUNDING_DIGITS), (low, high))


def slabs(box: Box) -> Iterator[Box]:
    """The box in slabs across k that are resampled in a few hundredths of a second."""
    low, high = box
    area = max(1, int((high - low)[:2].prod()))
    thickness = max(1, SLAB_VOXELS // area)
    for k in range(low[2], high[2], thickness):
        yield np.array([*low[:2], k]), np.array([*high[:2], min(k + thickness, high[2])])


def nearest_in(plain: Any, to_image: np.ndarray, box: Box) -> np.ndarray:
    """The values (K, J, I) of an image at the voxels of a box in another grid, nearest neighbour, 0 outside of it.

    plain: its origin 0 and its spacing 1. to_image: from the other grid's indices to the image's. Slicer's own
    resampling loses voxels at a segment's border where transforms make grids meet but for rounding.
    """
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(to_image))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(plain)
    reslice.SetResliceTransform(transform)
    reslice.SetInterpolationModeToNearestNeighbor()
    low, high = (corner.tolist() for corner in box)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(low[0], high[0] - 1, low[1], high[1] - 1, low[2], high[2] - 1)
    reslice.Update()
    return vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape((box[1] - box[0])[::-1])


def _ends(image: Any) -> np.ndarray:
    """First and last index (3, 2) along i, j, k."""
    return np.array(image.GetExtent(), float).reshape(3, 2)
