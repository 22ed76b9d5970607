"""From scan to report with the real logic and the core in a child process: the five clicks, cancelling, closing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import slicer
from HealthiVertSlicerLib import layouts
from patience import A_RUN_S, ANSWERED_WITHIN_S, STOPPED_WITHIN_S
from pictures import DEMO, ROOT, load_inputs
from scene_state import scene_content

REAL = Path(os.environ.get("HEALTHIVERT_REAL_CASES", ROOT.parent / "shared" / "real_cases")) / "lumbar"
SCANS = {"phantom": DEMO, **({"lumbar": REAL} if REAL.is_dir() else {})}  # folders of ct.nii.gz and seg.nii.gz


@pytest.fixture
def opened(panel_stand, phantom_nodes):
    """The panel as it opens on a scene with the phantom."""
    return panel_stand()


def wait_for_the_child(opened) -> None:
    """Until the child has said something: then it is on its way."""
    opened.wait_until(lambda: opened.ui.progressBar.value > 0, A_RUN_S)


def children_of_this_process() -> list[str]:
    """Command lines of the core's processes that this one has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if "healthivert.child" in words and str(os.getpid()) in words:
            found.append(" ".join(words))
    return found


def test_five_clicks_lead_from_the_scan_to_the_report(opened, phantom_nodes, tmp_path):
    ui = opened.ui
    assert ui.volumeSelector.currentNode() is phantom_nodes.volume
    opened.click(ui.inspectButton)
    opened.wait_until(lambda: not opened.widget.panel.jobs.busy, A_RUN_S)
    assert ui.targetSelector.currentText == "L1", ui.statusLabel.text
    row = next(y for y in range(ui.spineTable.rowCount) if ui.spineTable.item(y, 0).text() == "L1")
    opened.click_cell(ui.spineTable, row)
    opened.click(ui.applyButton)
    opened.wait_until(lambda: not opened.widget.panel.jobs.busy, A_RUN_S)
    report = slicer.util.getNode("*report.json").GetText()
    assert '"vertebra": "L1"' in report, ui.statusLabel.text
    assert float(ui.resultTable.item(3, 3).text()) == pytest.approx(29, abs=8)
    opened.widget.panel.results.save_report(tmp_path)
    assert (tmp_path / "HealthiVert Phantom CT L1" / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("scan", SCANS)
def test_the_panel_answers_at_any_time_of_a_run(scan, views, panel_stand):
    """From the click on Measure to the comparison in the views. The views themselves are made before: that is Slicer's
    own work, and the stand's takes another time."""
    load_inputs(SCANS[scan] / "ct.nii.gz", SCANS[scan] / "seg.nii.gz")
    layouts.enter(layouts.COMPARE)
    layouts.restore_layout()
    opened = panel_stand()
    panel, silences = opened.widget.panel, []

    def timed(action, *given) -> None:
        started = time.thread_time()  # other programs may use the processor meanwhile
        action(*given)
        silences.append(time.thread_time() - started)

    def until_done() -> None:
        while panel.jobs.busy or panel.jobs.showing:
            timed(slicer.app.processEvents)
            time.sleep(0.01)

    timed(opened.ui.inspectButton.click)
    until_done()
    row = next(y for y in range(opened.ui.spineTable.rowCount) if opened.ui.spineTable.item(y, 0).text() == "L1")
    timed(opened.click_cell, opened.ui.spineTable, row)
    timed(opened.ui.applyButton.click)
    until_done()
    assert "regrown" in opened.ui.statusLabel.text
    assert views.layout == layouts.COMPARE
    assert max(silences) <= ANSWERED_WITHIN_S, sorted(silences)[-5:]


def test_cancel_leaves_no_process_and_the_scene_as_it_was_soon(opened):
    before = scene_content()
    opened.click(opened.ui.inspectButton)
    wait_for_the_child(opened)
    assert children_of_this_process()
    opened.click(opened.ui.cancelButton)
    opened.wait_until(lambda: not opened.widget.panel.jobs.busy, STOPPED_WITHIN_S)
    assert not children_of_this_process()
    assert scene_content() == before
    assert "Cancelled" in opened.ui.statusLabel.text and opened.ui.inspectButton.isEnabled()


def test_closing_the_scene_during_a_run_ends_the_child(opened):
    opened.click(opened.ui.inspectButton)
    wait_for_the_child(opened)
    slicer.mrmlScene.Clear()
    opened.wait_until(lambda: not opened.widget.panel.jobs.busy, STOPPED_WITHIN_S)
    assert not children_of_this_process()
    assert "scene was closed" in opened.ui.statusLabel.text


def test_deleting_an_input_during_a_run_ends_it_with_a_sentence(opened, phantom_nodes):
    opened.click(opened.ui.inspectButton)
    wait_for_the_child(opened)
    slicer.mrmlScene.RemoveNode(phantom_nodes.segmentation)
    opened.wait_until(lambda: not opened.widget.panel.jobs.busy, STOPPED_WITHIN_S)
    assert "deleted" in opened.ui.statusLabel.text
    assert not children_of_this_process()


def test_reloading_the_module_ends_the_run_and_gives_a_working_panel(opened):
    opened.click(opened.ui.inspectButton)
    wait_for_the_child(opened)
    before = [sys.modules[name] for name in ("HealthiVertSlicer", "HealthiVertSlicerLib.panel")]
    opened.widget.onReload()
    assert not any(sys.modules[module.__name__] is module for module in before)
    assert not children_of_this_process()
    again = slicer.modules.HealthiVertSlicerWidget
    assert again.ui.inspectButton.enabled and not again.panel.jobs.busy
