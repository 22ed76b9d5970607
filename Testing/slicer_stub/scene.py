"""slicer.mrmlScene and slicer.modules on the real MRML classes of slicer-core; no Qt.

Imitates what qSlicerCoreApplication (Base/QTCore/qSlicerCoreApplication.cxx) and the loadable modules set up at start.
Differs: colour files and terminology lists are not in the wheel, so two colour tables are written here, and the
terminology logic serialises entries but knows no list.
"""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk

from . import subject_hierarchy

# Modules of Slicer that have a logic in the wheel, by the name under slicer.modules.
LOGIC_CLASSES = {
    "cameras": "vtkSlicerCamerasModuleLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "units": "vtkSlicerUnitsLogic",
    "volumerendering": "vtkSlicerVolumeRenderingLogic",
    "volumes": "vtkSlicerVolumesLogic",
}
# The names that Slicer gives to the modules above (slicer.modules.<lower case>.name).
MODULE_NAMES = {
    "cropvolume": "CropVolume",
    "subjecthierarchy": "SubjectHierarchy",
    "volumerendering": "VolumeRendering",
}
# In slicer.util of the wheel, but newer than Slicer 5.12.3: code that uses it would fail in the real application.
NEWER_THAN_SLICER = ("LazyImport",)

_lasting_node_ids: set[str] = set()


class LoadableModule:
    """A module of Slicer as far as scripts ask: its name, its path and its logic (qSlicerAbstractCoreModule)."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self.path = ""
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


def make_scene(temporary_path: str) -> Any:
    """Set slicer.mrmlScene and slicer.modules; return the application logic.

    temporary_path: an existing folder, for scene bundles (.mrb) to be unpacked in and as the home of Slicer's files.
    """
    _hide_what_slicer_lacks()
    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.SetTemporaryPath(temporary_path)
    application_logic.SetHomeDirectory(temporary_path)
    application_logic.SetShareDirectory("share")
    _write_colours(Path(temporary_path) / "share")
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    _add_cache(scene, temporary_path)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = types.ModuleType("slicer.modules")
    _add_colours(scene, application_logic)
    for name, class_name in LOGIC_CLASSES.items():
        _add_module(MODULE_NAMES.get(name, name.capitalize()), getattr(slicer, class_name)(), application_logic)
    subject_hierarchy.follow(scene)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    remember_lasting_nodes(scene)
    return application_logic


def remember_lasting_nodes(scene: Any) -> None:
    """From now on clear_scene keeps the nodes that are in the scene at this moment, as Slicer keeps its singletons."""
    _lasting_node_ids.update(scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes()))


def clear_scene(scene: Any) -> None:
    """Close the scene as File > Close Scene does, then take away the singletons that modules added (their parameter
    nodes), so that the next test starts like a fresh Slicer."""
    scene.Clear(0)
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    for node in nodes:
        if node.GetID() not in _lasting_node_ids and not node.IsA("vtkMRMLSubjectHierarchyNode"):
            scene.RemoveNode(node)
    scene.SetURL("")


def _hide_what_slicer_lacks() -> None:
    """The wheel copies every name of slicer.util into slicer, and its slicer.util is newer than Slicer 5.12.3."""
    for name in list(vars(slicer)):
        if not name.startswith("__") and name in vars(slicer.util) and not hasattr(types, name):
            value = vars(slicer)[name]
            if value is vars(slicer.util)[name] and name != "slicer":
                delattr(slicer, name)
    for name in NEWER_THAN_SLICER:
        if hasattr(slicer.util, name):
            delattr(slicer.util, name)


def _add_cache(scene: Any, folder: str) -> None:
    cache, reader = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    (Path(folder) / ".slicer-cache").touch()  # marks a folder that the cache may empty
    cache.SetRemoteCacheDirectory(folder)
    cache.SetMRMLScene(scene)
    reader.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(reader)


def _add_module(name: str, logic: Any, application_logic: Any) -> None:
    if not isinstance(logic, slicer.vtkSlicerTerminologiesModuleLogic):  # looks for its lists when it gets a scene
        logic.SetMRMLApplicationLogic(application_logic)
        logic.SetMRMLScene(slicer.mrmlScene)
    application_logic.SetModuleLogic(name, logic)
    setattr(slicer.modules, name.lower(), LoadableModule(name, logic))


def _add_colours(scene: Any, application_logic: Any) -> None:
    logic = slicer.vtkSlicerColorLogic()
    logic.SetMRMLApplicationLogic(application_logic)
    application_logic.SetColorLogic(logic)
    logic.SetMRMLScene(scene)
    logic.AddDefaultColorNodes()
    application_logic.SetModuleLogic("Colors", logic)
    slicer.modules.colors = LoadableModule("Colors", logic)


def _write_colours(share: Path) -> None:
    """Two tables under the names of Slicer's own (Base/Logic/Resources/ColorFiles): a diverging one for maps, and the
    colours that label maps and segments get."""
    diverging, generic = [], ["0 0 0 0 0 0\n"]
    for index in range(256):
        blue, red = min(255, 2 * (255 - index)), min(255, 2 * index)
        diverging.append(f"{index} {index} {red} {min(blue, red)} {blue} 255\n")
    for index in range(1, 256):
        generic.append(f"{index} {index} {80 + 37 * index % 160} {80 + 91 * index % 160} {80 + 53 * index % 160} 255\n")
    folder = share / "ColorFiles"
    folder.mkdir(parents=True)
    (folder / "DivergingBlueRed.txt").write_text("".join(diverging), encoding="ascii")
    (folder / "GenericColors.txt").write_text("".join(generic), encoding="ascii")
