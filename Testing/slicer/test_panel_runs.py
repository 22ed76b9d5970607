"""The panel while a job runs and when it has ended; the test plays the job."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import qt
import slicer
from HealthiVertSlicerLib import dependencies, display, results_view
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.spine_runs import SpineTable
from panel_case import choose_inputs, choose_target, open_with_played_logic, row, wait_until
from result_reading import load
from scene_state import scene_content


@pytest.fixture
def opened(panel_stand):
    return open_with_played_logic(panel_stand)


@pytest.fixture
def panel(opened):
    """What connects the widgets with the logic (HealthiVertSlicerLib.panel.Panel)."""
    return opened.widget.panel


@pytest.fixture
def ready(panel, phantom_nodes, monkeypatch):
    """The panel with inputs and L1 chosen; the views are left alone."""
    for name in ("centre_on", "show_conditioning", "fade", "show_loss_surface"):
        monkeypatch.setattr(display, name, lambda *given: None)
    monkeypatch.setattr(display, "comparing", lambda results: iter(()))
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    return panel


@pytest.fixture
def regrown(ready, phantom_nodes, finished_run):
    """The results of L1 in the scene, as a job hands them over."""
    return load(phantom_nodes, finished_run)


def ended(panel) -> None:
    wait_until(lambda: not panel.jobs.busy)


def spine(*rows) -> SimpleNamespace:
    segments = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetSegmentation()
    segment_of_level = {row["level"]: segments.GetSegmentIdBySegmentName(row["level"]) for row in rows}
    return SimpleNamespace(rows=rows, warnings=(), segment_of_level=segment_of_level, state="")


def test_apply_hands_over_what_was_chosen(ready, phantom_nodes):
    ready.ui.samplesBox.setValue(3)
    ready.ui.seedBox.setValue(5)
    ready.ui.applyButton.click()
    name, given, choices = ready.logic.calls[-1]
    segment_id = phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L1")
    assert (name, given) == ("process", (phantom_nodes.volume, phantom_nodes.segmentation, segment_id))
    assert choices == {"model": "gan", "samples": 3, "device": "auto", "seed": 5, "overrides": {}}


def test_screening_hands_over_the_threshold(ready):
    ready.ui.thresholdBox.setValue(0.3)
    ready.ui.screenButton.click()
    name, _given, choices = ready.logic.calls[-1]
    assert name == "screen" and choices["threshold"] == pytest.approx(0.3)


def test_while_a_job_runs_only_cancel_can_be_pressed_and_the_other_buttons_say_why(ready):
    ready.ui.applyButton.click()
    ui = ready.ui
    for button in (ui.applyButton, ui.inspectButton, ui.screenButton, ui.previewButton, ui.findDevicesButton):
        assert not button.enabled and "going on" in button.toolTip
    assert ready.ui.cancelButton.enabled and not ready.ui.progressBar.isHidden()


def test_progress_is_shown_as_a_bar_a_sentence_and_a_line_of_the_log(ready):
    ready.ui.applyButton.click()
    ready.logic.job.progress("generate", 0.4, "regrowing L1")
    wait_until(lambda: ready.ui.progressBar.value == 40)
    assert ready.ui.statusLabel.text == "regrowing L1"
    assert "regrowing L1" in ready.ui.logText.toPlainText()


def test_measuring_fills_the_table_and_chooses_the_most_suspicious_vertebra(ready):
    ready.parameters.target = ""
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("T12", 21, 20, 0.6), row("L1", 15, 20, 0.9, grade=3), row("L2", 20, 20, 0.0)))
    ended(ready)
    assert ready.ui.spineTable.item(3, 3).text() == "+25.0"
    assert ready.ui.targetSelector.currentText == "L1"


def test_measuring_shows_the_scan_with_the_chosen_vertebra_in_the_middle(ready, phantom_nodes, monkeypatch):
    shown: list = []
    monkeypatch.setattr(display, "show_inputs", lambda *given: shown.append(given))
    monkeypatch.setattr(display, "centre_on", lambda *given: shown.append(given))
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("L1", 15, 20, 0.9)))
    ended(ready)
    wait_until(lambda: not ready.jobs.showing)
    assert shown == [phantom_nodes, (*phantom_nodes, ready.parameters.target)]


def test_measuring_leaves_the_users_choice_and_a_healthy_spine_alone(ready):
    choose_target(ready, "T12")
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("L1", 15, 20, 0.9)))
    ended(ready)
    assert ready.ui.targetSelector.currentText == "T12"
    ready.parameters.target = ""
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("L1", 20, 20, 0.1)))
    ended(ready)
    assert ready.ui.targetSelector.currentIndex == -1


def test_measurements_are_not_shown_for_another_segmentation(ready):
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("L1", 15, 20, 0.9)))
    ended(ready)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    for level in ("T12", "L1"):
        other.GetSegmentation().AddEmptySegment(level, level)
    ready.ui.segmentationSelector.setCurrentNode(other)
    assert [ready.ui.spineTable.item(y, 1).text() for y in range(2)] == ["–", "–"]


def test_an_error_is_one_sentence_with_the_log_beside_it_and_apply_works_again(ready):
    before = scene_content()
    ready.ui.applyButton.click()
    ready.logic.job.fail("The disk is full: free some space on it, and try again.")
    ended(ready)
    assert ready.ui.statusLabel.text == "⚠ The disk is full: free some space on it, and try again."
    assert "what the child said" in ready.ui.logText.toPlainText()
    assert ready.ui.applyButton.enabled and not ready.ui.cancelButton.enabled and ready.ui.progressBar.isHidden()
    assert scene_content() == before


def test_results_that_cannot_be_shown_are_told_and_apply_works_again(ready):
    def refuse(result):
        raise HealthiVertSlicerError("The preview was deleted: make it again.")

    ready.jobs.start(ready.logic.start_devices, refuse)
    ready.logic.job.finish([])
    ended(ready)
    assert ready.ui.statusLabel.text == "⚠ The preview was deleted: make it again."
    ready.ui.findDevicesButton.click()
    ready.logic.job.finish([{"device": "cpu"}])  # without its name
    with pytest.raises(KeyError):
        ready.jobs._poll()
    assert "could not be shown ('name')" in ready.ui.statusLabel.text
    ready.jobs._poll()
    assert ready.ui.applyButton.enabled


def test_a_refused_start_is_told_and_nothing_runs(ready):
    ready.logic.refusal = "The temporary folder cannot be written: correct its permissions."
    ready.ui.applyButton.click()
    assert "correct its permissions" in ready.ui.statusLabel.text
    assert not ready.jobs.busy and ready.ui.applyButton.enabled


def test_cancel_ends_the_job_and_apply_works_again(ready):
    ready.ui.applyButton.click()
    ready.ui.cancelButton.click()
    assert ready.logic.job.cancelled
    ended(ready)
    assert ready.ui.statusLabel.text == "Cancelled: nothing was changed." and ready.ui.applyButton.enabled


def test_declining_the_installation_starts_nothing_and_says_what_is_missing(ready, monkeypatch):
    asked: list = []
    monkeypatch.setattr(dependencies, "missing_requirements", lambda: ["torch>=2.2"])
    monkeypatch.setattr(dependencies, "install_requirements", asked.append)
    ready.logic.refusal = "Python packages are missing (torch>=2.2)."
    ready.ui.applyButton.click()
    assert len(asked) == 1 and "torch" in ready.ui.statusLabel.text and not ready.jobs.busy


def test_a_click_during_the_installation_starts_nothing_more(ready, monkeypatch):
    installations: list[bool] = []

    def install(parent) -> None:
        installations.append(ready.ui.inspectButton.enabled)
        ready.inspect()  # as a click would that Qt handles meanwhile

    monkeypatch.setattr(dependencies, "missing_requirements", lambda: ["torch>=2.2"])
    monkeypatch.setattr(dependencies, "install_requirements", install)
    ready.ui.applyButton.click()
    assert installations == [False] and [name for name, *_given in ready.logic.calls] == ["process"]
    assert ready.ui.cancelButton.enabled


def test_a_start_that_fails_unexpectedly_leaves_a_panel_that_works(ready, monkeypatch):
    monkeypatch.setattr(ready.logic, "start_process", lambda *given, **choices: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ready.apply()
    assert ready.ui.applyButton.enabled and not ready.ui.cancelButton.enabled


def test_a_job_that_ends_after_its_scene_was_closed_harms_nothing(ready):
    ready.ui.inspectButton.click()
    job, measured = ready.logic.job, spine(row("L1", 15, 20, 0.9))
    slicer.mrmlScene.Clear()
    job.finish(measured)
    ended(ready)
    assert ready.ui.spineTable.rowCount == 0


def test_the_end_of_the_module_ends_the_job(opened, ready):
    ready.ui.applyButton.click()
    job = ready.logic.job
    opened.widget.cleanup()
    assert job.stopped and not ready.jobs.busy


def test_leaving_the_panel_for_another_module_lets_the_job_finish(opened, ready):
    ready.ui.inspectButton.click()
    opened.window.exit()
    ready.logic.job.finish(spine(row("L1", 15, 20, 0.9)))
    ended(ready)
    opened.window.enter()
    assert ready.ui.spineTable.item(3, 1).text() == "15.0"


def test_the_preview_shows_the_conditioning_on_the_ct(ready, monkeypatch):
    shown: list = []
    monkeypatch.setattr(display, "show_conditioning", shown.append)
    ready.ui.previewButton.click()
    ready.logic.job.finish("conditioning nodes")
    ended(ready)
    assert shown == ["conditioning nodes"]


def test_find_names_the_processors_of_this_computer(ready):
    ready.ui.findDevicesButton.click()
    ready.logic.job.finish([{"device": "cuda", "name": "A graphics card"}, {"device": "cpu", "name": "A processor"}])
    ended(ready)
    assert "cuda: A graphics card" in ready.ui.statusLabel.text


def test_what_was_said_last_goes_when_another_ct_is_chosen(ready, phantom_nodes):
    ready.ui.inspectButton.click()
    ready.logic.job.finish(spine(row("L1", 15, 20, 0.9)))
    ended(ready)
    assert "measured" in ready.ui.statusLabel.text
    other = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, phantom_nodes.volume, "patient B")
    ready.ui.volumeSelector.setCurrentNode(other)
    assert ready.ui.statusLabel.text == ""
    ready.ui.inspectButton.click()
    ready.ui.volumeSelector.setCurrentNode(phantom_nodes.volume)
    assert ready.ui.statusLabel.text == "Starting…"


def test_the_numbers_of_the_report_are_shown_with_grade_and_units(ready, regrown):
    ready.ui.applyButton.click()
    ready.logic.job.finish(regrown)
    ended(ready)
    report, table = regrown.report, ready.ui.resultTable
    shown = [[table.item(y, x).text() for x in range(5)] for y in range(table.rowCount)]
    for line, key in zip(shown, ("anterior", "middle", "posterior", "mean"), strict=True):
        assert line[1] == f"{report['heights_mm']['original'][key]:.1f}"
        assert line[2] == f"{report['heights_mm']['pseudo_healthy'][key]:.1f}"
        assert line[3] == f"{100 * report['rhlv'][key]:+.1f}"
        low, high = (float(end) for end in line[4].split(" to "))
        assert [low, high] == pytest.approx([100 * end for end in report["rhlv_interval_90"][key]], abs=0.5)
    assert "mm" in table.horizontalHeaderItem(1).text() and "%" in table.horizontalHeaderItem(3).text()
    assert ready.ui.headlineLabel.text.replace("\u00a0", " ") == report["headline"]
    assert f"grade {report['genant']['grade']}" in ready.ui.gradeLabel.text
    assert report["model"]["sha256"][:8] in ready.ui.gradeLabel.toolTip
    assert not ready.ui.resultsSection.collapsed
    assert "90" in table.horizontalHeaderItem(4).text() and not table.isColumnHidden(4)


def test_the_loss_of_several_samples_is_shown_with_their_spread(regrown):
    report = {**regrown.report, "rhlv_sd": dict.fromkeys(("anterior", "middle", "posterior", "mean"), 0.021)}
    assert all(row[3].endswith(" ± 2.1") for row in results_view.result_rows(report))


def test_results_belong_to_their_vertebra(ready, regrown):
    ready.refresh()
    assert ready.ui.compareButton.enabled
    choose_target(ready, "L2")
    assert not ready.ui.compareButton.enabled and "No result" in ready.ui.headlineLabel.text
    choose_target(ready, "L1")
    assert ready.ui.compareButton.enabled


def test_a_saved_scene_brings_back_the_results(opened, ready, regrown, tmp_path):
    ready.refresh()
    shown = ready.ui.headlineLabel.text
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    assert "No result" in ready.ui.headlineLabel.text
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert ready.ui.headlineLabel.text == shown and "L1" in shown
    assert ready.ui.resultTable.rowCount == 4


def test_after_apply_the_result_is_compared_unless_the_user_has_gone_to_another_module(
    opened, ready, regrown, monkeypatch
):
    called: list = []
    monkeypatch.setattr(display, "comparing", lambda results: (called.append(results) for _piece in range(3)))
    opened.window.hide()
    ready.ui.applyButton.click()
    ready.logic.job.finish(regrown)
    ended(ready)
    assert called == []
    opened.window.show()
    ready.ui.applyButton.click()
    ready.logic.job.finish(regrown)
    ended(ready)
    wait_until(lambda: len(called) == 3)
    assert called == [regrown] * 3


def test_buttons_lead_to_the_comparison_to_the_surface_and_back(ready, regrown, monkeypatch):
    called: list = []
    monkeypatch.setattr(display, "comparing", lambda nodes: iter([called.append("compare")]))
    monkeypatch.setattr(display, "show_loss_surface", lambda nodes: called.append("surface"))
    ready.refresh()
    ready.ui.compareButton.click()
    wait_until(lambda: not ready.jobs.showing)
    ready.ui.surfaceButton.click()
    assert called == ["compare", "surface"]
    assert ready.ui.fadeSlider.value == 50


def test_the_slider_fades_between_before_and_after(ready, regrown, monkeypatch):
    shares: list = []
    monkeypatch.setattr(display, "fade", lambda nodes, share: shares.append(share))
    ready.refresh()
    ready.ui.fadeSlider.setValue(40)
    ready.ui.fadeSlider.setValue(100)
    assert shares == [0.4, 1.0]


def test_the_report_is_saved_beside_an_earlier_one(ready, regrown, tmp_path, monkeypatch):
    ready.refresh()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *given: str(tmp_path)))
    ready.ui.saveReportButton.click()
    ready.ui.saveReportButton.click()
    folder = f"HealthiVert {regrown.report['case']} L1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder, f"{folder} (2)"]
    saved = {path.name for path in (tmp_path / folder).iterdir()}
    assert saved == {"report.html", "report.json"}
    assert str(tmp_path) in ready.ui.statusLabel.text


def test_the_folder_of_a_report_is_called_as_the_ct_where_a_file_system_takes_that(ready, regrown, tmp_path):
    for name, folder in (('5: A/B "früh"?', "5_ A_B _früh L1"), ("..", "L1"), ("x" * 300, f"{60 * 'x'} L1")):
        regrown.report_text.SetText(json.dumps({**regrown.report, "case": name}))
        ready.refresh()
        ready.results.save_report(tmp_path)
        assert (tmp_path / f"HealthiVert {folder}" / "report.html").is_file()


def test_the_report_is_opened_in_the_browser(ready, regrown, monkeypatch):
    opened: list = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", staticmethod(lambda url: opened.append(url.toLocalFile())))
    ready.refresh()
    ready.ui.openReportButton.click()
    assert Path(opened[0]).read_text(encoding="utf-8") == regrown.page_text.GetText()


@pytest.mark.parametrize("button", ["openReportButton", "saveReportButton"])
def test_a_report_that_cannot_be_written_says_why_and_leaves_nothing(ready, regrown, tmp_path, monkeypatch, button):
    file = tmp_path / "not a folder"
    file.write_text("")
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *given: str(file)))
    monkeypatch.setattr(results_view, "temporary_path", lambda: str(file))
    ready.refresh()
    getattr(ready.ui, button).click()
    told = ready.ui.statusLabel.text
    assert f"could not be saved in {file} (Not a directory). Make room, or choose another folder" in told
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("whole_spine", [False, True])
def test_results_of_another_patient_do_not_take_the_place_of_what_is_chosen(whole_spine, ready, regrown):
    button = ready.ui.screenButton if whole_spine else ready.ui.applyButton
    button.click()
    job = ready.logic.job
    ready.parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "patient B")
    job.finish([regrown] if whole_spine else regrown)
    ended(ready)
    assert "Regrown in " in ready.ui.statusLabel.text and "Choose that CT" in ready.ui.statusLabel.text
    assert "has lost" not in ready.ui.headlineLabel.text


def test_screening_lists_what_was_regrown_and_shows_the_first(ready, regrown):
    choose_target(ready, "L3")
    ready.ui.screenButton.click()
    ready.logic.job.finish([regrown])
    ended(ready)
    assert "Regrown: L1" in ready.ui.statusLabel.text
    assert ready.ui.targetSelector.currentText == "L1"


def test_screening_fills_the_table_as_soon_as_the_spine_is_measured(ready, phantom_nodes):
    ready.ui.screenButton.click()
    segment = phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L1")
    measured = SpineTable(
        rows=(row("L1", 15, 20, 0.9),), warnings=(), segment_of_level={"L1": segment}, state="", table=None
    )
    ready.logic.job.part(measured)
    wait_until(lambda: ready.ui.spineTable.item(3, 1).text() == "15.0")
    assert ready.jobs.busy


def test_what_is_regrown_in_a_screening_is_shown_while_it_goes_on(ready, regrown):
    ready.ui.screenButton.click()
    ready.logic.job.part(regrown)
    wait_until(lambda: "L1" in ready.ui.headlineLabel.text)
    assert ready.jobs.busy and ready.ui.compareButton.enabled


def test_screening_a_healthy_spine_says_so(ready):
    ready.ui.screenButton.click()
    ready.logic.job.finish([])
    ended(ready)
    assert "nothing was regrown" in ready.ui.statusLabel.text
