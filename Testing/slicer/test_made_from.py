"""A result says where it is of another segmentation, or of inputs that have changed since, whoever has changed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from HealthiVertSlicerLib import digests, made_from, withheld
from HealthiVertSlicerLib.frames import ijk_to_ras
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic
from HealthiVertSlicerLib.result_nodes import fill_segment
from panel_case import choose_inputs, choose_target, open_with_played_logic
from played_core import ANSWERS
from result_reading import load
from small_spine import small_spine


@pytest.fixture
def opened(panel_stand):
    return open_with_played_logic(panel_stand)


@pytest.fixture
def panel(opened, phantom_nodes, finished_run) -> Any:
    """The panel with L1 chosen and its results shown."""
    panel = opened.widget.panel
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    apply(panel, phantom_nodes, finished_run)
    assert panel.ui.resultNoteLabel.text == "" and "L1" in panel.ui.headlineLabel.text
    return panel


def apply(panel: Any, nodes: Any, run: Path) -> None:
    """Puts the results of a run on the inputs as they are now into the scene."""
    load(nodes, run, state=made_from.state_of(*nodes, segment_levels(nodes.segmentation)))
    panel.refresh()


def segment_id_of(nodes: Any, level: str) -> str:
    return nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName(level)


def test_of_another_segmentation(panel, phantom_nodes):
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.GetSegmentation().DeepCopy(phantom_nodes.segmentation.GetSegmentation())
    panel.ui.segmentationSelector.setCurrentNode(other)
    choose_target(panel, "L1")
    assert 'another segmentation, "Phantom vertebrae"' in panel.ui.resultNoteLabel.text
    assert "L1" in panel.ui.headlineLabel.text and panel.ui.compareButton.enabled
    slicer.mrmlScene.RemoveNode(phantom_nodes.segmentation)
    panel.refresh()
    assert "no longer in the scene" in panel.ui.resultNoteLabel.text


def erase_half(nodes: Any, level: str = "L1") -> None:
    """As in the Segment Editor, or by a script."""
    given = nodes.segmentation, segment_id_of(nodes, level), nodes.volume
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(*given).copy()
    mask[:, :, : np.flatnonzero(mask.any(axis=(0, 1))).mean().astype(int)] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, *given)


def shift(*nodes: Any, by: float = 10.0) -> Any:
    """Put nodes under a transform that moves them up."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[2, 3] = by
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_of_a_segmentation_that_was_edited_while_it_was_not_chosen(panel, phantom_nodes):
    panel.ui.segmentationSelector.setCurrentNode(None)
    erase_half(phantom_nodes, "L3")
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    assert "segmentation has changed" in panel.ui.resultNoteLabel.text


def test_of_a_segmentation_that_was_edited_before_the_panel_was_opened(opened, panel, phantom_nodes, panel_stand):
    opened.close()
    erase_half(phantom_nodes)
    again = panel_stand().widget.panel
    choose_target(again, "L1")
    assert "segmentation has changed" in again.ui.resultNoteLabel.text


def test_of_a_segmentation_that_was_edited_while_the_user_was_in_another_module(
    opened, panel, phantom_nodes, monkeypatch
):
    looked: list = []
    look = digests._forms
    monkeypatch.setattr(digests, "_forms", lambda labels: looked.append(1) or look(labels))
    opened.window.exit()
    erase_half(phantom_nodes)
    assert looked == []
    opened.window.enter()
    assert looked and "segmentation has changed" in panel.ui.resultNoteLabel.text


def test_of_a_ct_whose_voxels_have_changed(panel, phantom_nodes):
    voxels = slicer.util.arrayFromVolume(phantom_nodes.volume)
    voxels[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(phantom_nodes.volume)
    assert "CT has changed" in panel.ui.resultNoteLabel.text
    voxels[0, 0, 0] -= 1
    slicer.util.arrayFromVolumeModified(phantom_nodes.volume)
    assert panel.ui.resultNoteLabel.text == ""


def test_of_a_ct_whose_voxels_are_lost(panel, phantom_nodes):
    """As of a scene whose file of the CT is no longer there."""
    phantom_nodes.volume.SetAndObserveImageData(None)
    assert "CT has changed" in panel.ui.resultNoteLabel.text and "no voxels" in panel.ui.inputProblemLabel.text


def test_of_a_segmentation_that_was_moved_against_the_ct(panel, phantom_nodes):
    transform = shift(phantom_nodes.segmentation)
    assert "segmentation has changed" in panel.ui.resultNoteLabel.text
    phantom_nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    assert panel.ui.resultNoteLabel.text == ""
    for node in phantom_nodes:
        node.HardenTransform()
    assert panel.ui.resultNoteLabel.text == ""


def test_of_a_ct_that_was_moved_where_the_result_does_not_follow(panel, phantom_nodes):
    shift(*phantom_nodes)
    assert panel.ui.resultNoteLabel.text == "", "the result follows"
    matrix = vtk.vtkMatrix4x4()
    phantom_nodes.volume.GetIJKToRASMatrix(matrix)
    matrix.SetElement(2, 3, matrix.GetElement(2, 3) + 5)
    phantom_nodes.volume.SetIJKToRASMatrix(matrix)
    shift(phantom_nodes.segmentation, by=15)
    assert "moved away from this result" in panel.ui.resultNoteLabel.text


def test_what_looks_otherwise_or_is_no_vertebra_does_not_make_a_result_old(panel, phantom_nodes):
    segments = phantom_nodes.segmentation.GetSegmentation()
    phantom_nodes.segmentation.CreateClosedSurfaceRepresentation()
    segments.GetNthSegment(0).SetColor(1, 0, 0)
    segments.AddEmptySegment("aorta", "aorta")
    phantom_nodes.volume.GetDisplayNode().SetWindowLevel(2000, 500)
    segments.CollapseBinaryLabelmaps(False)
    assert panel.ui.resultNoteLabel.text == ""


def test_a_result_is_still_of_its_inputs_after_saving_them(panel, phantom_nodes, tmp_path):
    segments = phantom_nodes.segmentation.GetSegmentation()
    segments.SeparateSegmentLabelmap(segment_id_of(phantom_nodes, "L2"))
    shift(*phantom_nodes, by=np.pi)
    assert panel.ui.resultNoteLabel.text == ""
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert "L1" in panel.ui.headlineLabel.text and panel.ui.resultNoteLabel.text == ""


def test_of_an_edited_segmentation_also_after_saving_it(panel, phantom_nodes, finished_run, tmp_path):
    phantom_nodes.segmentation.GetSegmentation().RemoveSegment(segment_id_of(phantom_nodes, "T10"))
    assert "segmentation has changed" in panel.ui.resultNoteLabel.text
    assert "L1" in panel.ui.headlineLabel.text and panel.ui.compareButton.enabled
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert "segmentation has changed" in panel.ui.resultNoteLabel.text
    loaded = type(phantom_nodes)(slicer.util.getNode("Phantom CT"), slicer.util.getNode("Phantom vertebrae"))
    apply(panel, loaded, finished_run)
    assert panel.ui.resultNoteLabel.text == ""


def test_of_other_levels(panel, phantom_nodes):
    for old, new in (("L3", "L4"), ("L2", "L3"), ("L1", "L2"), ("T12", "L1"), ("T11", "T12"), ("T10", "T11")):
        panel._correct_level(segment_id_of(phantom_nodes, old), new)
    choose_target(panel, "L1")
    assert "levels of the segments have changed" in panel.ui.resultNoteLabel.text


def test_of_what_was_withheld_otherwise(opened, panel, phantom_nodes, finished_run):
    node = withheld.make(phantom_nodes.volume)
    fill_segment(node, "withheld", np.ones((3, 3, 3), bool), ijk_to_ras(phantom_nodes.volume))
    opened.window.enter()  # the user comes back from the Segment Editor
    assert "What is withheld has changed" in panel.ui.resultNoteLabel.text
    apply(panel, phantom_nodes, finished_run)
    assert panel.ui.resultNoteLabel.text == ""


def test_a_run_is_of_the_inputs_as_they_were_when_it_started(scene, phantom_nodes, core):
    core(ANSWERS)
    overrides = {segment_id_of(phantom_nodes, "L3"): "L5"}
    given = (*phantom_nodes, segment_id_of(phantom_nodes, "L1"))
    before = segment_levels(phantom_nodes.segmentation, overrides)
    found = HealthiVertSlicerLogic().start_process(*given, overrides=overrides).wait()
    assert made_from.change_since(found, *phantom_nodes, before) == ""
    assert "levels" in made_from.change_since(found, *phantom_nodes, segment_levels(phantom_nodes.segmentation))
    job = HealthiVertSlicerLogic().start_process(*given, overrides=overrides)
    erase_half(phantom_nodes)
    assert "segmentation has changed" in made_from.change_since(job.wait(), *phantom_nodes, before)


def test_the_heights_are_of_the_inputs_as_they_were_when_measuring_started(scene, phantom_nodes, core):
    core(ANSWERS)
    levels = segment_levels(phantom_nodes.segmentation)
    before = made_from.state_of(*phantom_nodes, levels)
    job = HealthiVertSlicerLogic().start_inspect(*phantom_nodes)
    erase_half(phantom_nodes)
    assert job.wait().state == before != made_from.state_of(*phantom_nodes, levels)


def test_a_large_scan_is_looked_at_once(scene, monkeypatch):
    looked: list[int] = []
    forms = digests._forms
    monkeypatch.setattr(digests, "_forms", lambda labels: looked.append(labels.size) or forms(labels))
    volume, segmentation = small_spine()
    levels = segment_levels(segmentation)
    first = made_from.state_of(volume, segmentation, levels)
    assert looked
    looked.clear()
    assert made_from.state_of(volume, segmentation, levels) == first and looked == []
    segmentation.GetSegmentation().GetSegment("L1").GetRepresentation("Binary labelmap").Modified()
    assert made_from.state_of(volume, segmentation, levels) == first and len(looked) == 1
