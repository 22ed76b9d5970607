"""Slicer's own Qt widgets on the real scene: slicer.qMRMLWidget, slicer.qMRMLNodeComboBox and their like.

Stands in for Libs/MRML/Widgets (qMRMLWidget.h, qMRMLNodeComboBox.h, qMRMLSegmentSelectorWidget.h of the Segmentations
module, qMRMLSliderWidget.h) and Base/QTGUI/qSlicerWidget.h. Differs: the node combo box has no menu for creating,
renaming or deleting nodes, and lists nodes in the order of the scene.
"""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .ctk_widgets import ctkSliderWidget, stored
from .mrml_table_view import qMRMLTableView


class SceneFollower:
    """setMRMLScene and the calls of `_scene_changed` after nodes came and went."""

    _scene: Any = None
    _observers: list[tuple[Any, int]] | None = None  # (scene, tag)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        if self._observers is None:
            self._observers = observers = []
            self.destroyed.connect(lambda: _remove(observers))  # type: ignore[attr-defined]
        _remove(self._observers)
        self._scene = scene
        if scene is not None:
            names = slicer.vtkMRMLScene
            for event in (names.NodeAddedEvent, names.NodeRemovedEvent, names.EndCloseEvent, names.EndImportEvent):
                self._observers.append((scene, scene.AddObserver(event, lambda *_: self._scene_event())))
        self._scene_changed()
        if hasattr(self, "mrmlSceneChanged"):
            self.mrmlSceneChanged.emit(scene)

    def _scene_event(self) -> None:
        if not self._scene.IsBatchProcessing():
            self._scene_changed()

    def _scene_changed(self) -> None:
        """To be overridden by what shows nodes."""


def _remove(observers: list[tuple[Any, int]]) -> None:
    for scene, tag in observers:
        scene.RemoveObserver(tag)
    observers.clear()


class qMRMLWidget(QtWidgets.QWidget, SceneFollower):
    mrmlSceneChanged = QtCore.Signal(object)

    # PySide6 calls the next class of a widget's bases with the widget's arguments, so each says whose method it takes.
    setMRMLScene = SceneFollower.setMRMLScene


class qSlicerWidget(qMRMLWidget):
    """Base/QTGUI/qSlicerWidget.h."""


class qMRMLSliderWidget(ctkSliderWidget, SceneFollower):
    quantity, setQuantity = stored(str, "quantity", "")
    setMRMLScene = SceneFollower.setMRMLScene


class qMRMLNodeComboBox(QtWidgets.QWidget, SceneFollower):
    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAddedByUser = QtCore.Signal(object)
    _whether_chosen = QtCore.Signal(bool)
    SIGNATURES = {"currentNodeChanged(bool)": "_whether_chosen"}  # noqa: RUF012

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current: Any = None
        self._nodes: list[Any] = []  # as listed; None stands for no choice
        self._attributes: list[tuple[str, str, str | None]] = []
        self._box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(lambda index: self._choose(self._nodes[index]))

    def _scene_changed(self) -> None:
        if not hasattr(self, "_box") or self._scene is None:
            return
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self.nodeTypes else []
        nodes = [node for node in nodes if self._accepts(node)]
        self._nodes = [*([None] if self.noneEnabled else []), *nodes]
        blocked = self._box.blockSignals(True)
        self._box.clear()
        for node in self._nodes:
            self._box.addItem(self.noneDisplay if node is None else node.GetName())
        self._box.blockSignals(blocked)
        current = next((node for node in nodes if node is self._current), None)
        if current is None and nodes and not self.noneEnabled:
            current = nodes[0]
        self._choose(current)

    def _accepts(self, node: Any) -> bool:
        fits = (node.IsA(name) if self.showChildNodeTypes else node.GetClassName() == name for name in self.nodeTypes)
        if not any(fits) or (node.GetHideFromEditors() and not self.showHidden):
            return False
        asked = [(key, value) for class_name, key, value in self._attributes if node.IsA(class_name)]
        return all(node.GetAttribute(key) == value if value else node.GetAttribute(key) for key, value in asked)

    def _choose(self, node: Any) -> None:
        index = next((i for i, listed in enumerate(self._nodes) if listed is node), -1)
        blocked = self._box.blockSignals(True)
        self._box.setCurrentIndex(index)
        self._box.blockSignals(blocked)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)
            self._whether_chosen.emit(node is not None)
            self.currentNodeIDChanged.emit(self.currentNodeID)

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self._choose(node if any(listed is node for listed in self._nodes) else None)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if self._scene is not None and node_id else None)

    def nodeCount(self) -> int:
        return sum(node is not None for node in self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return [node for node in self._nodes if node is not None][index]

    def addAttribute(self, class_name: str, key: str, value: str | None = None) -> None:
        self._attributes.append((class_name, key, value))
        self._scene_changed()

    setMRMLScene = SceneFollower.setMRMLScene
    currentNodeID = QtCore.Property(
        str, lambda self: self._current.GetID() if self._current is not None else "", setCurrentNodeID
    )
    nodeTypes, setNodeTypes = stored("QStringList", "nodeTypes", (), _scene_changed)
    noneEnabled, setNoneEnabled = stored(bool, "noneEnabled", False, _scene_changed)
    noneDisplay, setNoneDisplay = stored(str, "noneDisplay", "None", _scene_changed)
    showHidden, setShowHidden = stored(bool, "showHidden", False, _scene_changed)
    showChildNodeTypes, setShowChildNodeTypes = stored(bool, "showChildNodeTypes", True, _scene_changed)
    addEnabled, setAddEnabled = stored(bool, "addEnabled", True)
    removeEnabled, setRemoveEnabled = stored(bool, "removeEnabled", True)
    renameEnabled, setRenameEnabled = stored(bool, "renameEnabled", False)
    editEnabled, setEditEnabled = stored(bool, "editEnabled", False)
    selectNodeUponCreation, setSelectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)


class qMRMLSegmentSelectorWidget(QtWidgets.QWidget, SceneFollower):
    currentNodeChanged = QtCore.Signal(object)
    currentSegmentChanged = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node_box = qMRMLNodeComboBox(self)
        self._node_box.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._segment_box = QtWidgets.QComboBox(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._node_box)
        layout.addWidget(self._segment_box)
        self._node_box.currentNodeChanged.connect(self._node_chosen)
        self._segment_box.currentIndexChanged.connect(
            lambda _: self.currentSegmentChanged.emit(self.currentSegmentID())
        )

    def _node_chosen(self, node: Any) -> None:
        self._segment_box.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        for segment_id in segmentation.GetSegmentIDs() if segmentation is not None else ():
            self._segment_box.addItem(segmentation.GetSegment(segment_id).GetName(), segment_id)
        self.currentNodeChanged.emit(node)

    def setMRMLScene(self, scene: Any) -> None:
        SceneFollower.setMRMLScene(self, scene)
        self._node_box.setMRMLScene(scene)

    def currentNode(self) -> Any:
        return self._node_box.currentNode()

    def setCurrentNode(self, node: Any) -> None:
        self._node_box.setCurrentNode(node)

    def currentSegmentID(self) -> str:
        return self._segment_box.itemData(self._segment_box.currentIndex) or ""

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._segment_box.setCurrentIndex(self._segment_box.findData(segment_id))


WIDGETS = (
    qMRMLNodeComboBox,
    qMRMLSegmentSelectorWidget,
    qMRMLSliderWidget,
    qMRMLTableView,
    qMRMLWidget,
    qSlicerWidget,
)
# Asked for by name in Slicer's parameterNodeWrapper (guiConnectors.py), but not imitated.
NAMED_ONLY = ("qMRMLRangeWidget", "qMRMLSpinBox")
