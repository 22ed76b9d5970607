"""What the tests of results read from nodes and files."""

from __future__ import annotations

import json

import numpy as np
import slicer
import slicer.util
from HealthiVertSlicerLib import frames, inputs, results
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.loss_surface import SCALAR_NAME
from HealthiVertSlicerLib.pieces import at_once
from vtk.util.numpy_support import vtk_to_numpy

KEYS = ("anterior", "middle", "posterior", "mean")


def start_of(nodes, level="L1", state="") -> results.Start:
    """A run that starts on the inputs as they are."""
    segment_id = {name: key for key, name in segment_levels(nodes.segmentation).items()}[level]
    labels = at_once(inputs.labels_in_pieces(*nodes, [segment_id]))
    return results.Start(state, frames.ijk_to_ras(nodes.volume), lambda: labels == 1)


def load(nodes, folder, level="L1", state=""):
    return at_once(results.loading(folder, *nodes, level, start_of(nodes, level, state)))


def nodes_of(found) -> list:
    single = [value for value in vars(found).values() if hasattr(value, "GetID")]
    return [*single, *found.plot_series, *found.height_lines]


def report_of(folder) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def column(table, name) -> list[float]:
    values = table.GetTable().GetColumnByName(name)
    return [values.GetValue(row) for row in range(values.GetNumberOfValues())]


def masks_of(found) -> list[np.ndarray]:
    """The original and the healthy body on the CT's grid."""
    grid = found.segmentation, found.volume
    return [slicer.util.arrayFromSegmentBinaryLabelmap(grid[0], name, grid[1]) for name in results.BODIES]


def percent_of(found) -> np.ndarray:
    """Height loss at each point of the surface."""
    return vtk_to_numpy(found.loss_model.GetPolyData().GetPointData().GetArray(SCALAR_NAME))


def item_of(node) -> int:
    return hierarchy().GetItemByDataNode(node)


def hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def places(volume, mask) -> np.ndarray:
    """RAS of the marked voxels in one order."""
    points = frames.mapped(frames.ijk_to_ras(volume), np.argwhere(mask)[:, ::-1].astype(float))
    return points[np.lexsort(np.round(points, 2).T)]


def value_at(volume, array, points) -> np.ndarray:
    index = frames.mapped(np.linalg.inv(frames.ijk_to_ras(volume)), points)
    return array[tuple(np.round(index).astype(int).T[::-1])]
