"""slicer.app.layoutManager() over Slicer's own layout logic: the views of the layout that the layout node names.

Stands in for Libs/MRML/Widgets/qMRMLLayoutManager.cxx and qMRMLLayoutViewFactory. Differs: no widgets of views, which
have a fixed size and are put together for a picture only, by the XML of the layout; no table views.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import numpy_to_vtk

from .plot_view import PlotView
from .views import SliceView, ThreeDView

VIEW_SIZE = (400, 400)  # pixels
VIEW_OF_NODE: dict[str, Callable[[Any, tuple[int, int]], Any]] = {
    "vtkMRMLSliceNode": SliceView,
    "vtkMRMLViewNode": ThreeDView,
    "vtkMRMLPlotViewNode": PlotView,
}


class LayoutManager:
    """qSlicerLayoutManager: what the panel and slicer.util ask of it, and pictures for the tests (picture, save)."""

    def __init__(self, size: tuple[int, int] = VIEW_SIZE) -> None:
        self._size = size
        self._views: dict[str, Any] = {}  # by the ID of their node, in the order they were made
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node = self._logic.GetLayoutNode()
        self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._make_missing_views())
        self._make_missing_views()

    # what modules call

    def layoutLogic(self) -> Any:
        return self._logic

    def setLayout(self, layout: int) -> None:
        """An unknown number gives the conventional layout, as in Slicer."""
        if layout == self._node.GetViewArrangement():
            return
        known = self._node.IsLayoutDescription(layout)
        self._node.SetViewArrangement(layout if known else slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)

    layout = property(lambda self: self._node.GetViewArrangement(), setLayout)

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    # for the tests

    def picture(self, view_name: str | None = None) -> np.ndarray:
        """(height, width, 3) uint8 of one view by its layout name ("Red", "1"), or of the whole layout."""
        if view_name is None:
            return self._compose(ElementTree.fromstring(self._node.GetCurrentLayoutDescription()))
        nodes = [slicer.mrmlScene.GetNodeByID(node_id) for node_id in self._views]
        node = next(node for node in nodes if node.GetLayoutName() == view_name)
        return self._views[node.GetID()].picture()

    def save(self, path: Path, view_name: str | None = None) -> None:
        """picture(view_name) as a PNG file."""
        save_png(self.picture(view_name), path)

    def close(self) -> None:
        self._node.RemoveObserver(self._tag)
        for view in self._views.values():
            view.close()
        self._views.clear()
        self._logic.SetMRMLScene(None)

    def _make_missing_views(self) -> None:
        nodes = self._logic.GetViewNodes()
        for node in [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]:
            if node.GetID() not in self._views:
                self._views[node.GetID()] = VIEW_OF_NODE[node.GetClassName()](node, self._size)
        for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode"):
            node.SetMappedInLayout(nodes.IsItemPresent(node) > 0)

    def _compose(self, element: ElementTree.Element) -> np.ndarray:
        """The picture of a <layout> (its items beside or above each other) or of a <view>."""
        if element.tag == "view":
            return self._views[f"{element.get('class')}{element.get('singletontag')}"].picture()
        children = [child for item in element.findall("item") for child in item]
        pictures = [self._compose(child) for child in children]
        axis = 1 if element.get("type") == "horizontal" else 0
        return np.concatenate([_padded(picture, pictures, 1 - axis) for picture in pictures], axis=axis)


def save_png(picture: np.ndarray, path: Path) -> None:
    """picture: (height, width, 3) uint8, top row first."""
    image = vtk.vtkImageData()
    image.SetDimensions(picture.shape[1], picture.shape[0], 1)
    pixels = np.ascontiguousarray(picture[::-1]).reshape(-1, picture.shape[2])
    image.GetPointData().SetScalars(numpy_to_vtk(pixels, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


def _padded(picture: np.ndarray, beside: list[np.ndarray], axis: int) -> np.ndarray:
    """picture, with white added at the end of axis up to the largest of beside."""
    missing = max(other.shape[axis] for other in beside) - picture.shape[axis]
    widths = [(0, 0)] * 3
    widths[axis] = (0, missing)
    return np.pad(picture, widths, constant_values=255)
