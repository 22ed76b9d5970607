"""Slicer's own Qt widgets on the real scene: slicer.qMRMLWidget and slicer.qMRMLNodeComboBox.

Stands in for Libs/MRML/Widgets (qMRMLWidget.h, qMRMLNodeComboBox.h). Differs: the node combo box has no menu for
creating, renaming or deleting nodes, filters by no attributes, and lists nodes in the order of the scene.
"""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .ctk_widgets import stored


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


class qMRMLNodeComboBox(QtWidgets.QWidget, SceneFollower):
    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._current: Any = None
        self._nodes: list[Any] = []  # as listed; None stands for no choice
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
            self._box.addItem("None" if node is None else node.GetName())
        self._box.blockSignals(blocked)
        current = next((node for node in nodes if node is self._current), None)
        if current is None and nodes and not self.noneEnabled:
            current = nodes[0]
        self._choose(current)

    def _accepts(self, node: Any) -> bool:
        return any(map(node.IsA, self.nodeTypes)) and not node.GetHideFromEditors()

    def _choose(self, node: Any) -> None:
        index = next((i for i, listed in enumerate(self._nodes) if listed is node), -1)
        blocked = self._box.blockSignals(True)
        self._box.setCurrentIndex(index)
        self._box.blockSignals(blocked)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        self._choose(node if any(listed is node for listed in self._nodes) else None)

    setMRMLScene = SceneFollower.setMRMLScene
    nodeTypes, setNodeTypes = stored("QStringList", "nodeTypes", (), _scene_changed)
    noneEnabled, setNoneEnabled = stored(bool, "noneEnabled", False, _scene_changed)
    addEnabled, setAddEnabled = stored(bool, "addEnabled", True)
    removeEnabled, setRemoveEnabled = stored(bool, "removeEnabled", True)


WIDGETS = (qMRMLNodeComboBox, qMRMLWidget)
# Asked for by name in Slicer's parameterNodeWrapper (guiConnectors.py), but not imitated.
NAMED_ONLY = ("qMRMLRangeWidget", "qMRMLSliderWidget", "qMRMLSpinBox")
