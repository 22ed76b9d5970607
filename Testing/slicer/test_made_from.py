"""A result says where it is of another segmentation, or made before an edit, other levels, or another mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from HealthiVertSlicerLib import made_from, results, withheld
from HealthiVertSlicerLib.frames import ijk_to_ras
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic
from HealthiVertSlicerLib.pieces import at_once
from HealthiVertSlicerLib.result_nodes import fill_segment
from panel_case import choose_inputs, choose_target, open_with_played_logic
from played_core import ANSWERS


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
    state = made_from.state_of(*nodes, segment_levels(nodes.segmentation))
    at_once(results.loading(run, *nodes, segment_id_of(nodes, "L1"), "L1", state))
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
    job = HealthiVertSlicerLogic().start_process(*given, overrides=overrides)
    before = segment_levels(phantom_nodes.segmentation, overrides)
    made_from.count_edit(phantom_nodes.segmentation)
    node = job.wait().volume
    assert "segmentation has changed" in made_from.change_since(node, *phantom_nodes, before)
    phantom_nodes.segmentation.SetAttribute(made_from.EDITS, None)
    assert made_from.change_since(node, *phantom_nodes, before) == ""
    assert "levels" in made_from.change_since(node, *phantom_nodes, segment_levels(phantom_nodes.segmentation))


def test_the_heights_are_of_the_segmentation_as_it_was_when_measuring_started(scene, phantom_nodes, core):
    core(ANSWERS)
    made_from.count_edit(phantom_nodes.segmentation)
    job = HealthiVertSlicerLogic().start_inspect(*phantom_nodes)
    made_from.count_edit(phantom_nodes.segmentation)
    assert job.wait().edits == 1
