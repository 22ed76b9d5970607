"""The subject hierarchy's items for data nodes, on the real vtkMRMLSubjectHierarchyNode.

Stands in for Modules/Loadable/SubjectHierarchy/Widgets/qSlicerSubjectHierarchyPluginLogic.cxx, which is Qt: a data node
that is added gets an item, one that is removed loses it, and after a scene was loaded every node has one. Differs:
segments get no items of their own, and there are no plugins to ask, only the table OWNERS.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

# Class of a data node -> the plugin that owns its item (the canAddNodeToSubjectHierarchy of Slicer's plugins).
OWNERS = {
    "vtkMRMLLabelMapVolumeNode": "LabelMaps",
    "vtkMRMLScalarVolumeNode": "Volumes",
    "vtkMRMLSegmentationNode": "Segmentations",
    "vtkMRMLMarkupsNode": "Markups",
    "vtkMRMLModelNode": "Models",
    "vtkMRMLPlotChartNode": "Plots",
    "vtkMRMLPlotSeriesNode": "Plots",
    "vtkMRMLTableNode": "Tables",
    "vtkMRMLTextNode": "Texts",
    "vtkMRMLTransformNode": "Transforms",
    "vtkMRMLFolderDisplayNode": "Folder",
}


def follow(scene: Any) -> None:
    """Keep the items of the scene's subject hierarchy in step with its data nodes, from now on."""
    events = slicer.vtkMRMLScene
    scene.AddObserver(events.NodeAddedEvent, _node_added)
    scene.AddObserver(events.NodeAboutToBeRemovedEvent, _node_about_to_be_removed)
    scene.AddObserver(events.EndImportEvent, lambda *_: _scene_imported(scene))


def _node_added_to(scene: Any, node: Any) -> None:
    if node.GetHideFromEditors():
        return
    owner = next((OWNERS[class_name] for class_name in OWNERS if node.IsA(class_name)), None)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if owner is None or hierarchy.GetItemByDataNode(node):
        return
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemOwnerPluginName(item, owner)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _node_added(scene: Any, _event: str, node: Any) -> None:
    if node.IsA("vtkMRMLSubjectHierarchyNode"):
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    elif not scene.IsImporting():
        _node_added_to(scene, node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _node_about_to_be_removed(scene: Any, _event: str, node: Any) -> None:
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)


def _scene_imported(scene: Any) -> None:
    slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    for node in nodes:
        _node_added_to(scene, node)
