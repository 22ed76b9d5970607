"""The stand itself: it has what Slicer has, refuses what Slicer refuses, and starts every test afresh."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from conftest import PhantomNodes


def test_phantom_segments_are_named_by_level_and_hold_the_voxels_of_their_label(phantom_nodes: PhantomNodes) -> None:
    volume, segmentation = phantom_nodes
    segments = segmentation.GetSegmentation()
    names = [segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())]
    assert names == ["T10", "T11", "T12", "L1", "L2", "L3"]
    l1 = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segments.GetNthSegmentID(3), volume)
    assert l1.shape == slicer.util.arrayFromVolume(volume).shape
    assert 5_000 < l1.sum() < 100_000


def test_data_nodes_have_an_item_in_the_subject_hierarchy_until_they_are_removed(scene: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="thing")
    item = hierarchy.GetItemByDataNode(volume)
    assert hierarchy.GetItemName(item) == "thing"
    assert hierarchy.GetItemOwnerPluginName(item) == "Volumes"
    scene.RemoveNode(volume)
    assert hierarchy.GetNumberOfItems() == 0


@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_test_finds_the_scene_empty_and_leaves_a_parameter_node_behind(scene: Any, turn: str) -> None:
    assert scene.GetNodeByID("vtkMRMLScriptedModuleNodeLeftover") is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    node.UnRegister(None)
    node.SetSingletonTag("Leftover")
    scene.AddNode(node)
    slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))


@pytest.mark.parametrize("kind", [bool, np.int64, np.float16])
def test_a_volume_of_a_type_that_slicer_lacks_is_refused(scene: Any, kind: type) -> None:
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), kind))


def test_names_of_slicer_util_are_not_names_of_slicer() -> None:
    assert not hasattr(slicer, "loadVolume")
    assert hasattr(slicer.util, "loadVolume")
    assert not hasattr(slicer.util, "LazyImport")


def test_a_saved_scene_comes_back_with_its_hierarchy(phantom_nodes: PhantomNodes, tmp_path: Path) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Results")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(phantom_nodes.volume), folder)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("Phantom CT"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "Results"
    assert hierarchy.GetNumberOfItems() == 3


def test_a_finished_run_holds_the_files_that_the_panel_reads(finished_run: Path) -> None:
    names = {str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()}
    assert {"report.json", "pseudo_healthy_ct.nii.gz", "displacement.nii.gz", "conditioning/cam.nii.gz"} <= names


def test_without_views_there_is_no_layout_manager(scene: Any) -> None:
    assert slicer.app.layoutManager() is None


def test_views_show_the_layout_that_is_set(views: Any) -> None:
    slices_and_plot = """<layout type="horizontal">
        <item><view class="vtkMRMLSliceNode" singletontag="Before">
        <property name="orientation" action="default">Sagittal</property></view></item>
        <item><view class="vtkMRMLPlotViewNode" singletontag="Profile"/></item></layout>"""
    assert views.layoutLogic().GetLayoutNode().AddLayoutDescription(7001, slices_and_plot)
    views.setLayout(7001)
    assert slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeBefore").GetOrientation() == "Sagittal"
    assert views.picture().shape == (400, 800, 3)
    views.setLayout(4242)
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView


def test_a_slice_view_shows_the_volume_and_the_segments_over_it(views: Any, phantom_nodes: PhantomNodes) -> None:
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetOrientationToSagittal()
    slicer.util.setSliceViewerLayers(background=phantom_nodes.volume, fit=True)
    with_segments = views.picture("Red").astype(int)
    assert np.ptp(with_segments, axis=2).max() > 50, "segments are coloured"
    phantom_nodes.segmentation.GetDisplayNode().SetVisibility(False)
    plain = views.picture("Red").astype(int)
    middle = plain[100:300, 100:300]
    assert np.ptp(middle, axis=2).max() == 0, "a CT is grey"
    assert middle.std() > 20


def test_a_plot_view_draws_the_series_of_its_chart(views: Any, tmp_path: Path) -> None:
    views.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView)
    before = views.picture("PlotView1")
    chart = slicer.util.plot(np.array([[0, 1], [1, 3], [2, 2]], float), 0, show=False)
    slicer.mrmlScene.GetNodeByID("vtkMRMLPlotViewNodePlotView1").SetPlotChartNodeID(chart.GetID())
    assert (views.picture("PlotView1") != before).mean() > 0.01
    views.save(tmp_path / "plot.png", "PlotView1")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_the_environment_at_the_start_is_known() -> None:
    assert slicer.util.startupEnvironment()["PATH"] == os.environ["PATH"]
