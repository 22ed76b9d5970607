"""Reading and writing for slicer.util: loadVolume, loadLabelVolume, loadSegmentation, loadScene, saveScene, saveNode.

Stands in for Base/QTCore/qSlicerCoreIOManager.cxx and the readers and writers of the loadable modules. Reading goes
through the same module logics as in Slicer, writing through the nodes' own storage nodes. Differs: files of no other
type than READERS are read, and nothing is exported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import slicer


def _load_volume(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    as_labels = int(bool(properties.get("labelmap")))  # the first bit of the options
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, as_labels)
    if node is not None and properties.get("show", True):
        application_logic = slicer.app.applicationLogic()
        selection = application_logic.GetSelectionNode()
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            selection.SetActiveLabelVolumeID(node.GetID())
        else:
            selection.SetActiveVolumeID(node.GetID())
        application_logic.PropagateVolumeSelection()
    return node


def _load_segmentation(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    return slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True, name, None)


READERS = {"VolumeFile": _load_volume, "SegmentationFile": _load_segmentation}


class CoreIOManager:
    """The methods of qSlicerCoreIOManager that slicer.util calls for the functions above."""

    def loadNodes(self, kind: str, properties: Mapping[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        path = os.fspath(properties["fileName"])
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", True)))
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        node = READERS[kind](path, name, properties) if os.path.exists(path) else None
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def saveNodes(self, kind: str, properties: Mapping[str, Any], messages: Any = None) -> bool:
        path = os.fspath(properties["fileName"])
        if kind == "SceneFile":
            return bool(slicer.mrmlScene.WriteToMRB(path, None))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(int(properties.get("useCompression", 1)))
        return bool(storage.WriteData(node))

    def fileWriterFileType(self, node: Any) -> str:
        """Every node is written in one way here, so nobody asks for the answer."""
        return "NodeFile"

    @staticmethod
    def _load_scene(path: str, clear: bool) -> bool:
        return bool(slicer.mrmlScene.ReadFromMRB(path, clear, None))
