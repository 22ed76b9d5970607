"""The panel before anything runs: what can be chosen, what is said about it, and what stays as it was."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from HealthiVertSlicerLib import display, inputs, withheld
from HealthiVertSlicerLib.frames import ijk_to_ras
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.made_from import state_of
from HealthiVertSlicerLib.parameters import overrides_of
from HealthiVertSlicerLib.result_nodes import fill_segment
from panel_case import bend, choose_inputs, choose_target, open_with_played_logic, row


@pytest.fixture
def opened(panel_stand):
    return open_with_played_logic(panel_stand)


@pytest.fixture
def panel(opened):
    """What connects the widgets with the logic (HealthiVertSlicerLib.panel.Panel)."""
    return opened.widget.panel


def table_text(table) -> list[list[str]]:
    return [[table.item(y, x).text() for x in range(table.columnCount)] for y in range(table.rowCount)]


@pytest.fixture
def centred(monkeypatch) -> list[str]:
    """The segments that the views were centred on."""
    found: list[str] = []
    monkeypatch.setattr(display, "centre_on", lambda volume, segmentation, segment_id: found.append(segment_id))
    return found


def segment_id_of(nodes, level: str) -> str:
    return nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName(level)


def test_apply_says_what_is_still_to_be_chosen_until_it_can_be_pressed(panel, phantom_nodes, centred):
    button = panel.ui.applyButton
    assert not button.enabled and button.toolTip == "Choose the CT."
    panel.ui.volumeSelector.setCurrentNode(phantom_nodes.volume)
    assert not button.enabled and button.toolTip == "Choose the segmentation of the vertebrae."
    panel.ui.segmentationSelector.setCurrentNode(phantom_nodes.segmentation)
    assert not button.enabled and button.toolTip == "Choose the vertebra to regrow in the table."
    choose_target(panel, "L1")
    assert button.enabled and "Regrow" in button.toolTip and button.text == "Apply: regrow L1"


def test_the_only_ct_and_the_only_segmentation_are_chosen_when_the_panel_is_entered(opened, phantom_nodes):
    opened.window.enter()
    assert opened.ui.volumeSelector.currentNode() is phantom_nodes.volume
    assert opened.ui.segmentationSelector.currentNode() is phantom_nodes.segmentation


def test_what_was_made_here_is_not_chosen_for_the_user(opened, phantom_nodes):
    withheld.make(phantom_nodes.volume)
    slicer.mrmlScene.RemoveNode(phantom_nodes.segmentation)
    opened.window.enter()
    assert opened.ui.segmentationSelector.currentNode() is None


def test_the_table_lists_the_levels_before_anything_is_measured(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    assert [line[0] for line in table_text(panel.ui.spineTable)] == ["T10", "T11", "T12", "L1", "L2", "L3"]
    assert "6 of 6" in panel.ui.levelsGroup.title


def test_a_click_on_a_row_chooses_the_level_and_centres_the_views(panel, phantom_nodes, centred):
    choose_inputs(panel, phantom_nodes)
    panel.ui.spineTable.setCurrentCell(3, 0)
    assert panel.parameters.target == segment_id_of(phantom_nodes, "L1")
    assert panel.ui.targetSelector.currentText == "L1"
    panel.ui.spineTable.cellClicked.emit(4, 4)
    assert panel.ui.targetSelector.currentText == "L2"
    assert centred == [segment_id_of(phantom_nodes, "L2")]


def test_the_combo_box_and_the_table_show_the_same_level(panel, phantom_nodes, centred):
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "T12")
    assert panel.ui.spineTable.selectedItems()[0].text() == "T12"
    assert centred == [segment_id_of(phantom_nodes, "T12")]


def test_the_table_shows_height_reference_loss_and_suspicion_with_the_suspicious_cell_coloured(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    panel.spine.show(["T12", "L1", "L2"], [row("T12", 21.0, 20.0, 0.01), row("L1", 15.0, 20.0, 0.98, grade=2)])
    assert table_text(panel.ui.spineTable) == [
        ["T12", "21.0", "20.0", "-5.0", "1 %"],
        ["L1", "15.0", "20.0", "+25.0", "98 %, wedge grade 2"],
        ["L2", "–", "–", "–", ""],
    ]
    shades = [panel.ui.spineTable.item(y, 4).background().color().alpha() for y in (0, 1)]
    assert shades[0] < 10 < 150 < shades[1]


def test_a_vertebra_cut_by_the_border_gets_no_loss_and_says_why(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    panel.spine.show(["T10"], [row("T10", 10.0, 20.0, 0.0, complete=False)])
    assert table_text(panel.ui.spineTable)[0][3] == "–"
    assert "border" in panel.ui.spineTable.item(0, 0).toolTip()


def test_missing_neighbours_are_said_before_the_run(panel, phantom_nodes, centred):
    phantom_nodes.segmentation.GetSegmentation().RemoveSegment(segment_id_of(phantom_nodes, "L2"))
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    assert "L2" in panel.ui.neighbourLabel.text
    assert panel.ui.applyButton.enabled


def test_the_user_can_correct_what_a_segment_is(panel, phantom_nodes, centred):
    segments = phantom_nodes.segmentation.GetSegmentation()
    segment_id = segment_id_of(phantom_nodes, "T10")
    segments.GetSegment(segment_id).SetName("something")
    choose_inputs(panel, phantom_nodes)
    assert "5 of 6" in panel.ui.levelsGroup.title
    panel.ui.levelTable.setCurrentCell(0, 0)
    selector = panel.ui.levelOverrideSelector
    assert selector.enabled
    selector.setCurrentIndex(selector.findText("T10"))
    assert table_text(panel.ui.levelTable)[0] == ["something", "T10 (corrected)"]
    assert "6 of 6" in panel.ui.levelsGroup.title
    assert overrides_of(panel.parameters) == {segment_id: "T10"}
    assert segments.GetSegment(segment_id).GetName() == "something"
    selector.setCurrentIndex(selector.findText("as recognised"))
    assert table_text(panel.ui.levelTable)[0] == ["something", "–"]


def test_a_renamed_segment_is_recognised_at_once(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    segment = phantom_nodes.segmentation.GetSegmentation().GetSegment(segment_id_of(phantom_nodes, "L3"))
    segment.SetName("disc")
    assert [line[0] for line in table_text(panel.ui.spineTable)] == ["T10", "T11", "T12", "L1", "L2"]


def measure(panel, nodes, meanwhile=lambda: None) -> None:
    """Measures the spine; meanwhile is done while that runs."""
    panel.inspect()
    state = state_of(*nodes, segment_levels(nodes.segmentation))
    meanwhile()
    found = {"rows": [row("L1", 15.0, 20.0, 0.1)], "segment_of_level": {"L1": segment_id_of(nodes, "L1")}}
    spine = SimpleNamespace(warnings=(), state=state, **found)
    panel.logic.job.finish(spine)
    panel.jobs._poll()


def height_of(panel, level: str) -> str:
    return next(line[1] for line in table_text(panel.ui.spineTable) if line[0] == level)


def another_patient(nodes) -> SimpleNamespace:
    """The same segments, with the same IDs, as TotalSegmentator gives them to everybody."""
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "patient B")
    volume.CopyContent(nodes.volume)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation B")
    segmentation.GetSegmentation().DeepCopy(nodes.segmentation.GetSegmentation())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    return SimpleNamespace(volume=volume, segmentation=segmentation)


def test_what_was_measured_on_one_patient_is_never_shown_for_another(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    other = another_patient(phantom_nodes)
    measure(panel, phantom_nodes, meanwhile=lambda: choose_inputs(panel, other))
    assert height_of(panel, "L1") == "–" and "choose it to see it" in panel.ui.statusLabel.text
    choose_inputs(panel, phantom_nodes)
    assert height_of(panel, "L1") == "15.0"


def test_a_corrected_level_is_that_of_its_own_segmentation(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    panel._correct_level(segment_id_of(phantom_nodes, "L1"), "L6")
    assert "L6" in panel._levels().values()
    choose_inputs(panel, another_patient(phantom_nodes))
    assert "L6" not in panel._levels().values()


def test_a_level_that_is_corrected_has_no_heights_of_another(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    measure(panel, phantom_nodes)
    own, upper = (segment_id_of(phantom_nodes, level) for level in ("L1", "T12"))
    panel._correct_level(own, "L6")
    panel._correct_level(upper, "L1")
    assert height_of(panel, "L1") == "–"
    offered = [panel.ui.targetSelector.itemText(index) for index in range(panel.ui.targetSelector.count)]
    assert "L6" in offered and "T12" not in offered


def test_an_edit_while_the_spine_is_measured_is_not_forgotten(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    segments = phantom_nodes.segmentation.GetSegmentation()
    gone = segment_id_of(phantom_nodes, "T10")
    measure(panel, phantom_nodes, meanwhile=lambda: segments.RemoveSegment(gone))
    assert "measure again" in panel.ui.spineNoteLabel.text


def test_editing_the_segmentation_marks_the_measurements_as_old(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    measure(panel, phantom_nodes)
    assert panel.ui.spineNoteLabel.text == ""
    segments = phantom_nodes.segmentation.GetSegmentation()
    segments.RemoveSegment(segment_id_of(phantom_nodes, "T10"))
    assert "measure again" in panel.ui.spineNoteLabel.text
    measure(panel, phantom_nodes)
    assert panel.ui.spineNoteLabel.text == ""


def test_an_edit_of_one_segmentation_is_noticed_for_that_one_alone_also_where_another_is_chosen(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    measure(panel, phantom_nodes)
    other = another_patient(phantom_nodes)
    choose_inputs(panel, other)
    other.segmentation.GetSegmentation().RemoveSegment(segment_id_of(other, "T10"))
    choose_inputs(panel, phantom_nodes)
    assert panel.ui.spineNoteLabel.text == ""
    choose_inputs(panel, other)
    phantom_nodes.segmentation.GetSegmentation().RemoveSegment(segment_id_of(phantom_nodes, "T10"))
    choose_inputs(panel, phantom_nodes)
    assert "measure again" in panel.ui.spineNoteLabel.text


def test_a_hardened_copy_is_made_at_a_click_and_the_original_stays(panel, phantom_nodes):
    bend(phantom_nodes.volume)
    above = phantom_nodes.volume.GetTransformNodeID()
    voxels = slicer.util.arrayFromVolume(phantom_nodes.volume).copy()
    choose_inputs(panel, phantom_nodes)
    panel.ui.hardenButton.click()
    copy = panel.ui.volumeSelector.currentNode()
    assert copy is not phantom_nodes.volume and copy.GetParentTransformNode() is None
    assert panel.ui.inputProblemLabel.text == ""
    assert phantom_nodes.volume.GetTransformNodeID() == above
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(phantom_nodes.volume), voxels)


def test_the_hardened_copy_is_only_offered_where_it_helps(panel, phantom_nodes):
    choose_inputs(panel, phantom_nodes)
    assert panel.ui.hardenButton.isHidden()
    bend(phantom_nodes.volume)
    assert not panel.ui.hardenButton.isHidden()


def test_a_file_that_a_transform_puts_right_is_used_after_hardening_a_copy(panel, phantom_nodes, tmp_path):
    upside_down = np.diag([1.0, -1.0, -1.0, 1.0])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "put right")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(upside_down))
    for node in phantom_nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
        node.HardenTransform()
        node.SetAndObserveTransformNodeID(transform.GetID())
    choose_inputs(panel, phantom_nodes)
    told = '"Phantom CT" is upside down but for its transform "put right": choose a hardened copy of it.'
    with pytest.raises(HealthiVertSlicerError) as caught:
        inputs.export_case(*phantom_nodes, tmp_path)
    assert str(caught.value) == told and not panel.ui.hardenButton.isHidden()
    panel.ui.hardenButton.click()
    assert panel.ui.hardenButton.isHidden() and panel.ui.inputProblemLabel.text == ""
    case = inputs.export_case(panel.parameters.volume, panel.parameters.segmentation, tmp_path)
    assert len(case.segment_of_level) == 6


def test_total_segmentator_is_offered_when_it_is_installed_else_how_to_get_it(panel, phantom_nodes, monkeypatch):
    panel.refresh()
    assert panel.ui.segmentButton.isHidden() and "Extensions Manager" in panel.ui.segmentHint.text
    opened: list = []
    selector = SimpleNamespace(setCurrentNode=opened.append)
    monkeypatch.setattr(slicer.modules, "totalsegmentator", SimpleNamespace(name="TotalSegmentator"), raising=False)
    monkeypatch.setattr(slicer.util, "selectModule", opened.append)
    widget = SimpleNamespace(ui=SimpleNamespace(inputVolumeSelector=selector))
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: widget)
    panel.ui.volumeSelector.setCurrentNode(phantom_nodes.volume)
    assert not panel.ui.segmentButton.isHidden() and panel.ui.segmentHint.text == ""
    panel.ui.segmentButton.click()
    assert opened == ["TotalSegmentator", phantom_nodes.volume]


def test_edit_the_mask_opens_the_segment_editor_on_what_is_withheld(opened, panel, phantom_nodes, centred, monkeypatch):
    choose_inputs(panel, phantom_nodes)
    asked: list = []
    editor = SimpleNamespace(
        setSegmentationNode=asked.append, setSourceVolumeNode=asked.append, setCurrentSegmentID=asked.append
    )
    monkeypatch.setattr(slicer.util, "selectModule", asked.append)
    monkeypatch.setattr(slicer.util, "getModuleWidget", lambda name: SimpleNamespace(editor=editor))
    panel.ui.editMaskButton.click()
    painted = withheld.make(phantom_nodes.volume)
    assert asked == ["SegmentEditor", painted, phantom_nodes.volume, "withheld"]
    assert panel.ui.segmentationSelector.currentNode() is phantom_nodes.segmentation
    assert painted.GetName() not in panel.ui.neighbourLabel.text
    fill_segment(painted, "withheld", np.ones((3, 3, 3), bool), ijk_to_ras(phantom_nodes.volume))
    opened.window.enter()  # the user comes back
    assert painted.GetName() in panel.ui.neighbourLabel.text


def test_a_saved_scene_brings_back_the_settings(opened, panel, phantom_nodes, centred, tmp_path):
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    panel.ui.samplesBox.setValue(7)
    panel.ui.seedBox.setValue(11)
    panel.ui.modelSelector.setCurrentIndex(1)
    panel.ui.deviceSelector.setCurrentIndex(1)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert panel.ui.samplesBox.value == 1 and panel.ui.modelSelector.currentIndex == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    ui = panel.ui
    assert (ui.samplesBox.value, ui.seedBox.value) == (7, 11)
    assert (ui.modelSelector.currentIndex, ui.deviceSelector.currentIndex) == (1, 1)
    assert ui.volumeSelector.currentNode().GetName() == "Phantom CT"
    assert ui.targetSelector.currentText == "L1" and ui.applyButton.enabled


def test_a_device_and_a_generator_that_are_not_here_are_left_for_others(panel, phantom_nodes, tmp_path):
    panel.parameters.device = "mps"  # no computer that runs these tests offers it
    panel.parameters.model = "flow"
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert panel.parameters.device == "auto" and "Automatic" in panel.ui.deviceSelector.currentText
    assert panel.parameters.model == "gan" and "GAN" in panel.ui.modelSelector.currentText
    for told in ('device "mps", which is not here', 'generator "flow", which is not here'):
        assert told in panel.ui.statusLabel.text


def test_closing_the_scene_empties_the_panel_and_another_scan_can_be_chosen(panel, phantom_nodes, centred):
    choose_inputs(panel, phantom_nodes)
    slicer.mrmlScene.Clear()
    assert panel.ui.spineTable.rowCount == 0
    assert not panel.ui.applyButton.enabled and panel.ui.applyButton.toolTip == "Choose the CT."


def test_deleting_the_ct_is_noticed(panel, phantom_nodes, centred):
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    slicer.mrmlScene.RemoveNode(phantom_nodes.volume)
    assert panel.ui.applyButton.toolTip == "Choose the CT."
