"""slicer.app.layoutManager() over Slicer's own layout logic: the views of the layout that the layout node names.

Stands in for Libs/MRML/Widgets/qMRMLLayoutManager.cxx and qMRMLLayoutViewFactory. Differs: views have a fixed size and
are put together for a picture only, by the XML of the layout.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import slicer
import vtk
from PySide6 import QtCore
from vtkmodules.util.numpy_support import numpy_to_vtk

from .plot_view import PlotWidget
from .table_widget import TableWidget
from .views import SliceWidget, ThreeDWidget

VIEW_SIZE = (400, 400)  # pixels
WIDGET_OF_NODE: dict[str, Callable[[Any, tuple[int, int]], Any]] = {
    "vtkMRMLSliceNode": SliceWidget,
    "vtkMRMLViewNode": ThreeDWidget,
    "vtkMRMLPlotViewNode": PlotWidget,
    "vtkMRMLTableViewNode": TableWidget,
}


class LayoutManager(QtCore.QObject):
    """qSlicerLayoutManager: what modules ask of it, and pictures for the tests (picture, save)."""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, size: tuple[int, int] = VIEW_SIZE) -> None:
        super().__init__()
        self._size = size
        self._widgets: dict[str, Any] = {}  # by the ID of their node, in the order they were made
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._node = self._logic.GetLayoutNode()
        self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._shown = self._node.GetViewArrangement()
        self._tag = self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._follow_layout())
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

    def _layout(self) -> int:
        return self._node.GetViewArrangement()

    layout = property(_layout, setLayout)

    def sliceViewNames(self) -> list[str]:
        return [widget.mrmlSliceNode().GetLayoutName() for widget in self._of(SliceWidget)]

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return next((w for w in self._of(SliceWidget) if w.mrmlSliceNode().GetLayoutName() == name), None)

    def threeDWidget(self, index_or_name: int | str) -> ThreeDWidget | None:
        widgets = self._of(ThreeDWidget)
        if isinstance(index_or_name, str):
            return next((w for w in widgets if w.mrmlViewNode().GetLayoutName() == index_or_name), None)
        return widgets[index_or_name] if index_or_name < len(widgets) else None

    def plotWidget(self, index: int) -> PlotWidget | None:
        return dict(enumerate(self._of(PlotWidget))).get(index)

    def tableWidget(self, index: int) -> TableWidget | None:
        return dict(enumerate(self._of(TableWidget))).get(index)

    threeDViewCount = property(lambda self: len(self._of(ThreeDWidget)))
    plotViewCount = property(lambda self: len(self._of(PlotWidget)))
    tableViewCount = property(lambda self: len(self._of(TableWidget)))

    def viewWidget(self, node: Any) -> Any:
        return self._widgets.get(node.GetID()) if node is not None else None

    def mrmlSliceLogics(self) -> Any:
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetSliceViews(self) -> None:
        for widget in self._of(SliceWidget):
            widget.sliceController().fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._of(ThreeDWidget):
            widget.threeDView().resetFocalPoint()
            widget.threeDView().resetCamera()

    # for the tests

    def picture(self, view_name: str | None = None) -> np.ndarray:
        """(height, width, 3) uint8 of one view by its layout name ("Red", "1"), or of the whole layout."""
        if view_name is None:
            return self._compose(ElementTree.fromstring(self._node.GetCurrentLayoutDescription()))
        nodes = [slicer.mrmlScene.GetNodeByID(node_id) for node_id in self._widgets]
        node = next(node for node in nodes if node.GetLayoutName() == view_name)
        return self._widgets[node.GetID()].viewWidget().picture()

    def save(self, path: Path, view_name: str | None = None) -> None:
        """picture(view_name) as a PNG file."""
        save_png(self.picture(view_name), path)

    def close(self) -> None:
        self._node.RemoveObserver(self._tag)
        for widget in self._widgets.values():
            widget.close()
        self._widgets.clear()
        self._logic.SetMRMLScene(None)

    def _of(self, kind: type) -> list[Any]:
        return [widget for widget in self._widgets.values() if isinstance(widget, kind)]

    def _follow_layout(self) -> None:
        self._make_missing_views()
        if self._node.GetViewArrangement() != self._shown:
            self._shown = self._node.GetViewArrangement()
            self.layoutChanged.emit(self._shown)

    def _make_missing_views(self) -> None:
        nodes = self._logic.GetViewNodes()
        for node in [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]:
            if node.GetID() not in self._widgets:
                self._widgets[node.GetID()] = WIDGET_OF_NODE[node.GetClassName()](node, self._size)
        for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode"):
            node.SetMappedInLayout(nodes.IsItemPresent(node) > 0)

    def _compose(self, element: ElementTree.Element) -> np.ndarray:
        """The picture of a <layout> (its items beside or above each other) or of a <view>."""
        if element.tag == "view":
            class_name, tag = element.get("class"), element.get("singletontag")
            return self._widgets[f"{class_name}{tag}"].viewWidget().picture()
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
