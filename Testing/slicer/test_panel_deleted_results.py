"""A user may delete any node of a result: what is left is shown, and no button fails."""

from __future__ import annotations

from typing import Any

import pytest
import qt
import slicer
from HealthiVertSlicerLib import result_nodes
from panel_case import choose_inputs, choose_target, open_with_played_logic, wait_until
from result_reading import load

ROLES = (
    *("volume", "segmentation", "loss_volume", "loss_model", "displacement", "table", "profile_table", "plot_chart"),
    *("original_series", "healthy_series", "conditioning_mask", "attention", "report_text", "page_text", "difference"),
    *(f"{body}_{third}" for body in ("original", "pseudo_healthy") for third in ("anterior", "middle", "posterior")),
)


@pytest.fixture
def opened(views, panel_stand, phantom_nodes, finished_run, tmp_path, monkeypatch) -> Any:
    """The panel with L1 chosen and compared."""
    stand = open_with_played_logic(panel_stand)
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", staticmethod(lambda url: True))
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *given: str(tmp_path)))
    panel = stand.widget.panel
    choose_inputs(panel, phantom_nodes)
    load(phantom_nodes, finished_run)
    choose_target(panel, "L1")
    panel.ui.compareButton.click()
    wait_until(lambda: not panel.jobs.showing)
    return stand


def press_everything(panel: Any) -> None:
    """All that concerns results, as a user could press it."""
    for name in ("compare", "surface", "openReport", "saveReport", "restoreLayout", "surface", "compare"):
        button = getattr(panel.ui, f"{name}Button")
        if button.enabled:
            button.click()
            wait_until(lambda: not panel.jobs.showing)
        if panel.ui.fadeSlider.enabled:
            panel.ui.fadeSlider.setValue((panel.ui.fadeSlider.value + 17) % 100)


def delete(nodes: Any, role: str) -> None:
    slicer.mrmlScene.RemoveNode(result_nodes.nodes_by_role(nodes.volume, "L1")[role])


@pytest.mark.parametrize("role", ROLES)
def test_without_one_of_its_nodes(opened, phantom_nodes, finished_run, role):
    panel = opened.widget.panel
    assert set(result_nodes.nodes_by_role(phantom_nodes.volume, "L1")) == set(ROLES)
    delete(phantom_nodes, role)
    press_everything(panel)
    load(phantom_nodes, finished_run)
    panel.refresh()
    press_everything(panel)
    assert opened.errors == [] and "⚠" not in panel.ui.statusLabel.text


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("first", ["volume", "report_text", "segmentation"])
def test_without_all_of_it_at_once_the_views_are_as_before(opened, views, phantom_nodes, first, elsewhere):
    """As its folder is deleted in the module Data; nothing tells which of the nodes goes first."""
    panel, found = opened.widget.panel, result_nodes.nodes_by_role(phantom_nodes.volume, "L1")
    if elsewhere:
        opened.window.exit()
    for role in sorted(found, key=lambda role: role != first):
        slicer.mrmlScene.RemoveNode(found[role])
    if elsewhere:
        opened.window.enter()
    wait_until(lambda: not panel.jobs.showing)
    assert views.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode") == []
    assert phantom_nodes.segmentation.GetDisplayNode().GetVisibility()
    assert opened.errors == [] and "No result" in panel.ui.headlineLabel.text


def test_without_any_more_and_more_of_them(opened, phantom_nodes):
    panel = opened.widget.panel
    for role in ROLES[::-1]:
        delete(phantom_nodes, role)
        press_everything(panel)
    assert opened.errors == [] and "No result" in panel.ui.headlineLabel.text
