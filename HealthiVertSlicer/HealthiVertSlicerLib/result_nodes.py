"""The nodes of one result: each is found again by its role, brought up to date, or made.

In: the CT's node, a level, and numbers or arrays of a finished run. Out: nodes under the CT's transform, in one folder
beside it. A node knows by attributes what it is (ROLE, LEVEL, the provenance of the run) and by a node reference which
CT it belongs to; all of this is saved with the scene, so a rerun, also after loading it, updates instead of adding.

Everything in a run's files lies in the CT's own frame, in LPS; nodes are RAS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from HealthiVertSlicerLib.frames import BINARY_LABELMAP, ijk_to_ras

ROLE, LEVEL, PROVENANCE = "HealthiVert.Role", "HealthiVert.Level", "HealthiVert."
INPUT_REFERENCE = "HealthiVert.Original"  # from every result to its CT
FRAME = "HealthiVert.Frame"  # ijk_to_ras of the CT when the result was made
SAME_FRAME = 1e-4  # difference of its numbers that saving a scene may make
WHOLE_SPINE = "spine"  # as the level of a folder, since an empty attribute is none
ROOM_FOR_LEGEND = 1.25  # times the highest value is the end of a plot's y axis
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

Colour = tuple[float, float, float]
ORIGINAL_COLOUR: Colour = (0.902, 0.624, 0.0)  # Okabe and Ito's orange and sky blue: told apart by everybody
HEALTHY_COLOUR: Colour = (0.337, 0.706, 0.914)


class ResultSet:
    """The result nodes of one CT and one level ("" for those of the whole spine)."""

    def __init__(self, volume: Any, level: str) -> None:
        self.volume, self.level = volume, level
        self.provenance: dict[str, str] = {}  # name -> value, written on every node that is made or updated
        self.references: dict[str, str] = {}  # role -> node ID, likewise
        self._found = nodes_by_role(volume, level)
        self._made: list[Any] = []
        self._folder = 0

    def node(self, role: str, class_name: str, name: str) -> Any:
        """The node of this role, made if there is none, under the CT's transform and in the folder."""
        node = self._found.get(role)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
            self._made.append(node)
            self._found[role] = node
            node.SetAttribute(ROLE, role)
            node.SetAttribute(LEVEL, self.level)
            node.SetNodeReferenceID(INPUT_REFERENCE, self.volume.GetID())
            self._put_into_folder(node)
        node.SetAttribute(FRAME, json.dumps(ijk_to_ras(self.volume).tolist()))
        _put_under_transform(node, self.volume)
        for key, value in self.provenance.items():
            node.SetAttribute(PROVENANCE + key, value)
        for role_of_other, node_id in self.references.items():
            node.SetNodeReferenceID(role_of_other, node_id)
        return node

    def is_new(self, node: Any) -> bool:
        """Whether the node was made just now: only then its looks are set, later ones are the user's."""
        return node in self._made

    def take_back(self) -> None:
        """Remove what was made, after an error; what went with a scene that was closed is left alone."""
        scene = slicer.mrmlScene
        present = [node for node in self._made if scene.IsNodePresent(node)]
        for node in reversed(present):
            for index in reversed(range(node.GetNumberOfDisplayNodes() if node.IsA("vtkMRMLDisplayableNode") else 0)):
                scene.RemoveNode(node.GetNthDisplayNode(index))
            scene.RemoveNode(node)
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene) if present else None
        if present and self._folder and not hierarchy.GetNumberOfItemChildren(self._folder):
            hierarchy.RemoveItem(self._folder)

    def _put_into_folder(self, node: Any) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        self._folder = self._folder or folder_of(self._found.values(), self.level) or self._new_folder(hierarchy)
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, self._folder)
        else:  # nothing makes items for data nodes where Slicer runs without its application
            hierarchy.CreateItem(self._folder, node)

    def _new_folder(self, hierarchy: Any) -> int:
        from slicer.i18n import tr as _

        own = hierarchy.GetItemByDataNode(self.volume)
        parent = hierarchy.GetItemParent(own) if own else hierarchy.GetSceneItemID()
        name = _("HealthiVert {level}: {ct}") if self.level else _("HealthiVert spine: {ct}")
        folder = hierarchy.CreateFolderItem(parent, name.format(level=self.level, ct=self.volume.GetName()))
        hierarchy.SetItemAttribute(folder, LEVEL, self.level or WHOLE_SPINE)
        return folder


def nodes_by_role(volume: Any, level: str) -> dict[str, Any]:
    """The scene's result nodes of this CT and level. Of several the first: copies are those that the user has made."""
    nodes = reversed(_nodes_of(volume))
    return {node.GetAttribute(ROLE): node for node in nodes if node.GetAttribute(LEVEL) == level}


def follow(volume: Any) -> None:
    """Put all that was made from this CT where the CT is: it may have been moved since.

    Where the transform was hardened on the CT, so that its own frame is another, the results are right where they are.
    """
    frame = ijk_to_ras(volume)
    for node in _nodes_of(volume):
        before = node.GetAttribute(FRAME)
        if before and np.allclose(json.loads(before), frame, atol=SAME_FRAME):
            _put_under_transform(node, volume)


def _nodes_of(volume: Any) -> list[Any]:
    scene = slicer.mrmlScene
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    own = volume.GetID()
    return [node for node in nodes if node.GetAttribute(ROLE) and node.GetNodeReferenceID(INPUT_REFERENCE) == own]


def _put_under_transform(node: Any, volume: Any) -> None:
    if node.IsA("vtkMRMLTransformableNode"):
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())


def folder_of(nodes: Any, level: str) -> int:
    """The subject hierarchy's folder that holds results of this level, 0 if it is gone."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item) if item else 0
        if parent and hierarchy.GetItemAttribute(parent, LEVEL) == (level or WHOLE_SPINE):
            return parent
    return 0


@dataclass(frozen=True)
class ImageFile:
    """An image of the run: array (K, J, I) or (K, J, I, 3), and ijk_to_ras (4, 4) in the CT's own frame."""

    array: np.ndarray
    ijk_to_ras: np.ndarray


def read_image(path: Path) -> ImageFile:
    """Raises RuntimeError if the file cannot be read."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return ImageFile(sitk.GetArrayFromImage(image), LPS_TO_RAS @ matrix)


def to_ras(points_lps: Sequence[Sequence[float]]) -> np.ndarray:
    return np.asarray(points_lps, float) * (-1.0, -1.0, 1.0)


def fill_volume(node: Any, voxels: np.ndarray | vtk.vtkImageData, ijk_to_ras: np.ndarray) -> None:
    """voxels: (K, J, I), or what image_data made of them."""
    image = voxels if isinstance(voxels, vtk.vtkImageData) else image_data(voxels)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    node.SetAndObserveImageData(image)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def copy_window(node: Any, of: Any) -> None:
    """Show a volume's values as another's are shown: before it has any, as a window of its own takes long to find."""
    node.CreateDefaultDisplayNodes()
    shown, pattern = node.GetDisplayNode(), of.GetDisplayNode()
    if pattern is not None:
        shown.SetAutoWindowLevel(False)
        shown.SetWindowLevel(pattern.GetWindow(), pattern.GetLevel())
        shown.SetAndObserveColorNodeID(pattern.GetColorNodeID())


def cropped(mask: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of mask (K, J, I bool) that holds what is True, and its own ijk_to_ras. Touches no node."""
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(end[0]), int(end[-1]) + 1) if end.size else slice(0, 1) for end in ends)
    corner = np.eye(4)
    corner[:3, 3] = [part.start for part in box[::-1]]
    return mask[box], ijk_to_ras @ corner


def fill_segment(node: Any, segment_id: str, mask: np.ndarray, ijk_to_ras: np.ndarray) -> bool:
    """Give a segment the voxels of mask (K, J, I bool), of which only the box around them is kept.

    The segment is made if it is not there, and whether it was is returned.
    """
    box, to_ras = cropped(mask, ijk_to_ras)
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(image_data(box.astype(np.uint8)))
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(to_ras))
    segments = node.GetSegmentation()
    known = segments.GetSegment(segment_id)
    segment = known or slicer.vtkSegment()
    segment.AddRepresentation(BINARY_LABELMAP, image)
    segment.SetLabelValue(1)
    segment.RemoveAllRepresentations(BINARY_LABELMAP)  # but that one: a surface is of other voxels
    if known is None:  # with its voxels in it, from which the segmentation makes what its other segments have
        segments.AddSegment(segment, segment_id)
    return known is None


def image_data(array: np.ndarray) -> Any:
    """vtkImageData of array (K, J, I) or (K, J, I, 3), its origin 0 and its spacing 1."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    flat = array.reshape(-1, *array.shape[3:])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(flat), deep=True))
    return image


def fill_displacement(node: Any, field: ImageFile) -> None:
    """A grid transform that carries the original scan to the restored one.

    field: vectors in LPS mm from a point of the restored scan to where its tissue was, which is the way from the
    transform's parent.
    """
    spacing = np.linalg.norm(field.ijk_to_ras[:3, :3], axis=0)
    directions = np.eye(4)
    directions[:3, :3] = field.ijk_to_ras[:3, :3] / spacing
    grid = image_data(to_ras(field.array))
    grid.SetSpacing(*spacing)
    grid.SetOrigin(*field.ijk_to_ras[:3, 3])
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(grid)
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(directions))
    transform.SetInterpolationModeToLinear()
    node.SetAndObserveTransformFromParent(transform)


@dataclass(frozen=True)
class Column:
    """One column of a table: name for programs, title with unit for people, values (None: not known)."""

    name: str
    title: str
    values: Sequence[str | float | None]


def fill_table(node: Any, columns: Sequence[Column]) -> None:
    """Columns of which nothing is known are left out."""
    table = vtk.vtkTable()
    known = [column for column in columns if any(value is not None for value in column.values)]
    for column in known:
        words = any(isinstance(value, str) for value in column.values)
        array = vtk.vtkStringArray() if words else vtk.vtkDoubleArray()
        array.SetName(column.name)
        for value in column.values:
            array.InsertNextValue(value if words else np.nan if value is None else value)
        table.AddColumn(array)
    node.SetAndObserveTable(table)
    for column in known:
        node.SetColumnTitle(column.name, column.title)
    node.SetUseColumnTitleAsColumnHeader(True)


@dataclass(frozen=True)
class Curve:
    """A line of a plot: y over x, or over the rows where label names a column of words."""

    role: str
    name: str
    y: str
    colour: Colour
    x: str = ""
    label: str = ""


def fill_plot(results: ResultSet, role: str, table: Any, curves: Sequence[Curve], titles: Mapping[str, str]) -> Any:
    """The chart node with its series. titles: "title", "x" and "y". The y axis begins at 0, so that what looks half as
    high is, and leaves room for the legend above the curves. A column that the table lacks is not drawn."""
    chart = results.node(role, "vtkMRMLPlotChartNode", titles["title"])
    series = [_fill_curve(results, table, curve) for curve in curves]
    if [chart.GetNthPlotSeriesNodeID(index) for index in range(chart.GetNumberOfPlotSeriesNodes())] != [
        one.GetID() for one in series
    ]:
        chart.RemoveAllPlotSeriesNodeIDs()
        for one in series:
            chart.AddAndObservePlotSeriesNodeID(one.GetID())
    chart.SetTitle(titles["title"])
    chart.SetXAxisTitle(titles["x"])
    chart.SetYAxisTitle(titles["y"])
    chart.SetLegendVisibility(True)
    columns = [table.GetTable().GetColumnByName(curve.y) for curve in curves]
    highest = max((float(np.nanmax(vtk_to_numpy(column))) for column in columns if column is not None), default=1.0)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, ROOM_FOR_LEGEND * highest)
    return chart


def _fill_curve(results: ResultSet, table: Any, curve: Curve) -> Any:
    node = results.node(curve.role, "vtkMRMLPlotSeriesNode", curve.name)
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetPlotType(node.PlotTypeScatter if curve.x else node.PlotTypeLine)
    node.SetXColumnName(curve.x)
    node.SetYColumnName(curve.y)
    node.SetLabelColumnName(curve.label)
    if results.is_new(node):
        node.SetColor(*curve.colour)
        node.SetMarkerStyle(node.MarkerStyleNone if curve.x else node.MarkerStyleCircle)
        node.SetLineWidth(3.0)
    return node


def fill_line(node: Any, ends_lps: Sequence[Sequence[float]]) -> None:
    """Put a line's two ends at points (2, 3) LPS mm of the CT's own frame; they are locked. The first is labelled with
    the line's length."""
    ends = to_ras(ends_lps)
    node.SetLocked(False)
    node.RemoveAllControlPoints()
    for point in ends:
        node.AddControlPoint(vtk.vtkVector3d(*point))
    node.SetNthControlPointLabel(0, f"{np.linalg.norm(ends[1] - ends[0]):.1f}")
    node.SetNthControlPointLabel(1, "")
    node.SetLocked(True)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
