"""Reading and writing nodes for slicer.util (loadVolume, saveNode, exportNode, ...).

Stands in for Base/QTCore/qSlicerCoreIOManager.cxx and the readers and writers of the loadable modules. Reading goes
through the same module logics as in Slicer, writing through the nodes' own storage nodes. Differs: a file's type is
told by its extension alone, and only the types of READERS are known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer


def _options(properties: Mapping[str, Any]) -> int:
    bits = {"labelmap": 0x1, "center": 0x2, "singleFile": 0x4, "autoWindowLevel": 0x8, "discardOrientation": 0x10}
    return sum(bit for name, bit in bits.items() if properties.get(name))


def _load_volume(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, _options(properties))
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
    colours = slicer.mrmlScene.GetNodeByID(properties.get("colorNodeID") or "none")
    return slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True, name, colours)


def _load_transform(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    return slicer.modules.transforms.logic().AddTransform(path, slicer.mrmlScene)


def _load_table(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    return slicer.modules.tables.logic().AddTable(path, name)


def _load_model(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    return slicer.modules.models.logic().AddModel(path, properties.get("coordinateSystem", 0))


def _load_markups(path: str, name: str, properties: Mapping[str, Any]) -> Any:
    return slicer.mrmlScene.GetNodeByID(slicer.modules.markups.logic().LoadMarkups(path, name) or "none")


# Type of file -> how it is read, and the extensions by which it is recognised (most particular type first).
READERS: dict[str, tuple[Callable[[str, str, Mapping[str, Any]], Any], tuple[str, ...]]] = {
    "SegmentationFile": (_load_segmentation, (".seg.nrrd", ".seg.vtm")),
    "MarkupsFile": (_load_markups, (".mrk.json", ".fcsv")),
    "TransformFile": (_load_transform, (".h5", ".tfm", ".mat")),
    "TableFile": (_load_table, (".tsv", ".csv")),
    "ModelFile": (_load_model, (".vtk", ".vtp", ".ply", ".stl", ".obj")),
    "VolumeFile": (_load_volume, (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")),
}
SCENE_EXTENSIONS = (".mrb", ".mrml")


class CoreIOManager:
    """The methods of qSlicerCoreIOManager that slicer.util and modules call."""

    def fileType(self, path: str) -> str:
        lower = str(path).lower()
        if lower.endswith(SCENE_EXTENSIONS):
            return "SceneFile"
        return next((kind for kind, (_, extensions) in READERS.items() if lower.endswith(extensions)), "NoFile")

    def registeredFileReaderCount(self, kind: str) -> int:
        return int(kind in READERS or kind == "SceneFile")

    def loadNodes(self, kind: str, properties: Mapping[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        path = os.fspath(properties["fileName"])
        if kind == "SceneFile":
            return self.loadScene(path, bool(properties.get("clear", True)))
        if kind not in READERS or not os.path.exists(path):
            return False
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        node = READERS[kind][0](path, name, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def loadScene(self, path: str, clear: bool = True, messages: Any = None) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, kind: str, properties: Mapping[str, Any], messages: Any = None) -> bool:
        path = os.fspath(properties["fileName"])
        if kind == "SceneFile":
            return self._save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode()
        return self._write(node, node.GetStorageNode(), path, properties)

    def exportNodes(
        self,
        node_ids: Sequence[str],
        paths: Sequence[str],
        properties: Mapping[str, Any],
        harden: bool,
        messages: Any = None,
    ) -> bool:
        return all([self._export(*pair, properties, harden) for pair in zip(node_ids, paths, strict=True)])

    def fileWriterFileType(self, node: Any) -> str:
        classes = {
            "vtkMRMLSegmentationNode": "SegmentationFile",
            "vtkMRMLVolumeNode": "VolumeFile",
            "vtkMRMLTransformNode": "TransformFile",
            "vtkMRMLTableNode": "TableFile",
            "vtkMRMLMarkupsNode": "MarkupsFile",
            "vtkMRMLModelNode": "ModelFile",
        }
        return next((kind for class_name, kind in classes.items() if node.IsA(class_name)), "NoFile")

    def fileWriterExtensions(self, node: Any) -> list[str]:
        formats = self._new_storage(node).GetSupportedWriteFileTypes()
        return [formats.GetValue(i) for i in range(formats.GetNumberOfValues())]

    def extractKnownExtension(self, path: str, node: Any) -> str:
        formats = self.fileWriterExtensions(node)
        extensions = [slicer.vtkDataFileFormatHelper.GetFileExtensionFromFormatString(text) for text in formats]
        return max((e for e in extensions if str(path).lower().endswith(e)), key=len, default="")

    def addDefaultStorageNodes(self) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            if node.GetSaveWithScene() and node.GetStorageNode() is None:
                node.AddDefaultStorageNode()

    def _save_scene(self, path: str) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None))
        scene.SetURL(path)
        return bool(scene.Commit(path))

    def _export(self, node_id: str, path: str, properties: Mapping[str, Any], harden: bool) -> bool:
        node = slicer.mrmlScene.GetNodeByID(node_id)
        if harden and node.GetParentTransformNode() is not None:
            raise NotImplementedError("The stand exports nodes in their own frame only (world=False).")
        return self._write(node, self._new_storage(node), os.fspath(path), properties)

    @staticmethod
    def _new_storage(node: Any) -> Any:
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)  # Python owns it now
        storage.SetScene(slicer.mrmlScene)
        return storage

    @staticmethod
    def _write(node: Any, storage: Any, path: str, properties: Mapping[str, Any]) -> bool:
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        return bool(storage.WriteData(node))
