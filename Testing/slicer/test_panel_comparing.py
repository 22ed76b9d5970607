"""While two scans are compared, the pictures are of the vertebra whose numbers the panel shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import slicer
from HealthiVertSlicerLib import layouts
from panel_case import choose_inputs, choose_target, open_with_played_logic, wait_until
from result_reading import load


@pytest.fixture
def opened(views, panel_stand):
    return open_with_played_logic(panel_stand)


@pytest.fixture
def panel(opened, phantom_nodes) -> Any:
    panel = opened.widget.panel
    choose_inputs(panel, phantom_nodes)
    return panel


@pytest.fixture
def regrown(phantom_nodes, finished_run, tmp_path) -> dict[str, Any]:
    """Results of L1 and L2: their pseudo-healthy CT by level."""
    other = shutil.copytree(finished_run, tmp_path / "L2")
    text = (other / "report.json").read_text(encoding="utf-8").replace('"vertebra": "L1"', '"vertebra": "L2"')
    (other / "report.json").write_text(text, encoding="utf-8")
    return {
        "L1": load(phantom_nodes, finished_run).volume,
        "L2": load(phantom_nodes, other, "L2").volume,
    }


def compared() -> Any:
    """The pseudo-healthy CT that is compared; None if there is no comparison."""
    if not layouts.is_shown(layouts.COMPARE):
        return None
    return slicer.mrmlScene.GetNodeByID(layouts.slice_views(layouts.HEALTHY)[0][1].GetBackgroundVolumeID())


def compare(panel: Any, level: str) -> None:
    choose_target(panel, level)
    panel.ui.compareButton.click()
    shown(panel)


def shown(panel: Any) -> None:
    wait_until(lambda: not panel.jobs.showing)


def test_another_level_with_results_is_compared_instead(panel, regrown):
    compare(panel, "L1")
    assert compared() is regrown["L1"]
    panel.ui.fadeSlider.setValue(80)
    choose_target(panel, "L2")
    shown(panel)
    assert compared() is regrown["L2"]
    assert panel.ui.fadeSlider.value == 50


def test_a_level_without_results_ends_the_comparison(panel, regrown):
    compare(panel, "L1")
    choose_target(panel, "L3")
    shown(panel)
    assert compared() is None and "No result" in panel.ui.headlineLabel.text


def test_another_ct_ends_the_comparison(panel, phantom_nodes, regrown):
    compare(panel, "L1")
    other = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, phantom_nodes.volume, "patient B")
    panel.ui.volumeSelector.setCurrentNode(other)
    shown(panel)
    assert compared() is None and "No result" in panel.ui.headlineLabel.text


def test_a_choice_while_the_comparison_is_being_made_counts(panel, regrown):
    choose_target(panel, "L1")
    panel.ui.compareButton.click()
    choose_target(panel, "L2")
    shown(panel)
    assert compared() is regrown["L2"]


def test_without_a_comparison_a_choice_starts_none(panel, regrown):
    choose_target(panel, "L1")
    choose_target(panel, "L2")
    shown(panel)
    assert compared() is None


def test_what_is_chosen_for_the_user_while_he_is_elsewhere_is_compared_when_he_is_back(opened, panel, regrown):
    compare(panel, "L1")
    opened.window.hide()
    panel.choose_level("L2")
    shown(panel)
    assert compared() is regrown["L1"]
    opened.window.show()
    opened.window.enter()
    shown(panel)
    assert compared() is regrown["L2"]


def test_the_end_of_a_run_on_a_level_that_is_no_longer_chosen_leaves_the_views_alone(
    panel, phantom_nodes, finished_run
):
    choose_target(panel, "L1")
    panel.ui.applyButton.click()
    choose_target(panel, "L3")
    panel.logic.job.finish(load(phantom_nodes, finished_run))
    wait_until(lambda: not panel.jobs.busy)
    shown(panel)
    assert compared() is None and "L1 is regrown" in panel.ui.statusLabel.text


def test_the_compared_results_move_with_the_ct(panel, phantom_nodes, regrown):
    compare(panel, "L1")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    phantom_nodes.volume.SetAndObserveTransformNodeID(transform.GetID())
    assert regrown["L1"].GetTransformNodeID() == regrown["L2"].GetTransformNodeID() == transform.GetID()


def test_the_target_is_never_a_segment_of_another_segmentation(panel, phantom_nodes):
    choose_target(panel, "L1")
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "patient B")
    other.GetSegmentation().DeepCopy(phantom_nodes.segmentation.GetSegmentation())
    choose_inputs(panel, SimpleNamespace(volume=phantom_nodes.volume, segmentation=other))
    assert panel.ui.targetSelector.currentIndex == -1 and not panel.ui.applyButton.enabled
    choose_inputs(panel, phantom_nodes)
    assert panel.ui.targetSelector.currentText == "L1"


def windows(*volumes: Any) -> set[tuple[float, float]]:
    return {(volume.GetDisplayNode().GetWindow(), volume.GetDisplayNode().GetLevel()) for volume in volumes}


def test_both_scans_have_one_window_also_in_a_loaded_scene_and_after_a_reload(opened, panel, regrown, tmp_path: Path):
    compare(panel, "L1")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    scans = [slicer.util.getNode(name) for name in ("Phantom CT", "Phantom CT L1 pseudo-healthy")]
    scans[0].GetDisplayNode().SetWindowLevel(1234.0, 567.0)
    assert windows(*scans) == {(1234.0, 567.0)}
    opened.widget.onReload()
    scans[1].GetDisplayNode().SetWindowLevel(4321.0, 765.0)
    assert windows(*scans) == {(4321.0, 765.0)}
    opened.ui.restoreLayoutButton.click()
    scans[1].GetDisplayNode().SetWindowLevel(1.0, 1.0)
    assert len(windows(*scans)) == 2


def test_a_saved_scene_brings_back_the_comparison_with_its_level(panel, regrown, tmp_path: Path):
    compare(panel, "L1")
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    shown(panel)
    assert compared() is not None and compared().GetName() == "Phantom CT L1 pseudo-healthy"
    choose_target(panel, "L2")
    shown(panel)
    assert compared().GetName() == "Phantom CT L2 pseudo-healthy"
