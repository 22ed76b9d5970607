"""Bad input as a clinician meets it: each shows a sentence with its remedy in the panel, and the scene stays as it was.

Panel and logic are the real ones. In the place of the core runs a program that answers at once (played_core.py), but
where a test says that the core is real.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from HealthiVertSlicerLib import dependencies, display, jobs, nrrd, results, runner
from HealthiVertSlicerLib.frames import ijk_to_ras
from HealthiVertSlicerLib.result_nodes import ResultSet
from panel_case import bend, choose_inputs, choose_target, wait_until
from patience import STOPPED_WITHIN_S
from played_core import ANSWERS, SLEEPS
from scene_state import scene_content, state_of_inputs, temporary_folders


@pytest.fixture
def panel(panel_stand, scene, monkeypatch) -> Any:
    """The opened panel on an empty scene; the views are left alone."""
    for name in ("show_inputs", "centre_on", "show_loss_surface"):
        monkeypatch.setattr(display, name, lambda *given: None)
    monkeypatch.setattr(display, "comparing", lambda results: iter(()))
    return panel_stand().widget.panel


@pytest.fixture
def ready(panel, phantom_nodes) -> Any:
    """The panel with the phantom and its L1 chosen."""
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L1")
    return panel


def press(panel: Any, button: Any) -> str:
    """What the panel says when what the button starts has ended."""
    assert button.enabled, button.toolTip
    button.click()
    wait_until(lambda: not panel.jobs.busy, 60.0)
    return panel.ui.statusLabel.text


def state_of(nodes: Any) -> tuple:
    return scene_content(), state_of_inputs(nodes.volume, nodes.segmentation)


# Before anything can be pressed


def segment_of(nodes: Any, level: str) -> Any:
    segments = nodes.segmentation.GetSegmentation()
    return segments.GetSegment(segments.GetSegmentIdBySegmentName(level))


def move_away(node: Any) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "elsewhere")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 2000.0)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())


def keep_segments(nodes: Any, *names: str) -> None:
    segments = nodes.segmentation.GetSegmentation()
    for segment_id in list(segments.GetSegmentIDs()):
        if segments.GetSegment(segment_id).GetName() not in names:
            segments.RemoveSegment(segment_id)


def empty_all_segments(nodes: Any) -> None:
    keep_segments(nodes)
    for level in ("T12", "L1", "L2"):
        nodes.segmentation.GetSegmentation().AddEmptySegment(level, level)


def rename_all(nodes: Any) -> None:
    segments = nodes.segmentation.GetSegmentation()
    for index in range(segments.GetNumberOfSegments()):
        segments.GetNthSegment(index).SetName(f"part {chr(97 + index)}")


def name_one_number_the_others(nodes: Any) -> None:
    segments = nodes.segmentation.GetSegmentation()
    for index in range(1, segments.GetNumberOfSegments()):
        segments.GetNthSegment(index).SetName(f"Segment_{index}")


def result_as_ct(nodes: Any) -> Any:
    made = ResultSet(nodes.volume, "L1").node("volume", "vtkMRMLScalarVolumeNode", "pseudo-healthy")
    made.SetAndObserveImageData(nodes.volume.GetImageData())
    return nodes._replace(volume=made)


def result_as_segmentation(nodes: Any) -> Any:
    made = ResultSet(nodes.volume, "L1").node("segmentation", "vtkMRMLSegmentationNode", "before and after")
    made.GetSegmentation().DeepCopy(nodes.segmentation.GetSegmentation())
    return nodes._replace(segmentation=made)


def vector_volume(nodes: Any) -> Any:
    colours = np.zeros((40, 40, 40, 3), np.uint8)
    return nodes._replace(volume=slicer.util.addVolumeFromArray(colours, nodeClassName="vtkMRMLVectorVolumeNode"))


# How the phantom is spoilt (a function that may return other nodes), and what is said of it.
BAD_INPUT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no CT": (lambda nodes: nodes._replace(volume=None), "Choose the CT."),
    "no segmentation": (lambda nodes: nodes._replace(segmentation=None), "Choose the segmentation of the vertebrae."),
    "a vector volume": (vector_volume, "is a vector or colour volume: choose the CT"),
    "no voxels": (lambda nodes: nodes.volume.SetAndObserveImageData(None), "has no voxels: load the CT again"),
    "a nonlinear transform on the CT": (lambda nodes: bend(nodes.volume), "choose a hardened copy"),
    "a nonlinear transform on the segmentation": (lambda nodes: bend(nodes.segmentation), "harden it"),
    "CT and segmentation under transforms that part them": (
        lambda nodes: move_away(nodes.segmentation),
        "lies outside of the CT .* check their transforms",
    ),
    "no segments": (lambda nodes: keep_segments(nodes), "has no segments: segment the vertebrae first"),
    "empty segments": (empty_all_segments, "All segments of .* are empty: segment the vertebrae first"),
    "one vertebra": (lambda nodes: keep_segments(nodes, "L1"), "only one vertebra with a level, L1, .* segment more"),
    "one named, the others numbered": (
        name_one_number_the_others,
        "only one vertebra with a level, T10, .* choose the level of its other segments",
    ),
    "a result as CT": (
        result_as_ct,
        '"pseudo-healthy" is a result of HealthiVert: choose the CT that it was made from',
    ),
    "a result as segmentation": (
        result_as_segmentation,
        '"before and after" belongs to the results of HealthiVert: choose the segmentation of the vertebrae',
    ),
    "no segment named after a vertebra": (rename_all, "choose the level of each"),
    "a level twice": (
        lambda nodes: segment_of(nodes, "T10").SetName("Vertebra L1"),
        '"Vertebra L1", "L1" are all taken for L1: choose the right level of each',
    ),
}


@pytest.mark.parametrize(("spoil", "told"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_told_with_its_remedy_and_nothing_can_be_started(panel, phantom_nodes, spoil, told):
    chosen = spoil(phantom_nodes) or phantom_nodes
    before = scene_content()
    choose_inputs(panel, chosen)
    assert re.search(told, panel.ui.inputProblemLabel.text)
    for button in (panel.ui.applyButton, panel.ui.inspectButton, panel.ui.screenButton, panel.ui.previewButton):
        assert not button.enabled and button.toolTip == panel.ui.inputProblemLabel.text
    assert scene_content() == before


def test_an_empty_segment_cannot_be_regrown(panel, phantom_nodes):
    phantom_nodes.segmentation.GetSegmentation().AddEmptySegment("empty", "L4")
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L4")
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == panel.ui.neighbourLabel.text
    assert "L4 is empty: segment it, or choose another vertebra" in panel.ui.neighbourLabel.text
    choose_target(panel, "L1")
    assert panel.ui.applyButton.enabled


def slices_of(nodes: Any, level: str) -> tuple[int, int]:
    """First and last slice of the scan that show a vertebra."""
    segments = nodes.segmentation.GetSegmentation()
    segment_id = segments.GetSegmentIdBySegmentName(level)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, segment_id, nodes.volume)
    shown = np.flatnonzero(mask.any(axis=(1, 2)))
    return int(shown[0]), int(shown[-1])


def crop(nodes: Any, first: int) -> None:
    """Take the slices below the first one away from the scan."""
    matrix = ijk_to_ras(nodes.volume)
    slicer.util.updateVolumeFromArray(nodes.volume, slicer.util.arrayFromVolume(nodes.volume)[first:].copy())
    nodes.volume.SetOrigin(*(matrix[:3, 3] + first * matrix[:3, 2]))


def test_a_vertebra_outside_of_the_ct_cannot_be_regrown(panel, phantom_nodes):
    crop(phantom_nodes, slices_of(phantom_nodes, "L3")[1] + 1)
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L3")
    assert not panel.ui.applyButton.enabled
    assert "L3 lies outside of the CT" in panel.ui.applyButton.toolTip == panel.ui.neighbourLabel.text
    assert "choose another vertebra, or the CT that shows it" in panel.ui.neighbourLabel.text


def test_a_vertebra_that_a_cropped_scan_cuts_is_refused_by_the_real_core_and_once_measured_by_the_panel(
    panel, phantom_nodes
):
    first, last = slices_of(phantom_nodes, "L3")
    crop(phantom_nodes, (first + last) // 2)
    choose_inputs(panel, phantom_nodes)
    choose_target(panel, "L3")
    before = state_of(phantom_nodes)
    told = press(panel, panel.ui.applyButton)
    assert "L3 is cut by the border of the scan" in told and "choose a level that lies inside" in told
    assert state_of(phantom_nodes) == before
    press(panel, panel.ui.inspectButton)
    assert not panel.ui.applyButton.enabled
    assert "L3 is cut by the border of the scan: choose a vertebra" in panel.ui.applyButton.toolTip
    choose_target(panel, "L1")
    assert panel.ui.applyButton.enabled


# At a click


def exchange_levels(nodes: Any, monkeypatch: Any) -> None:
    upper, lower = segment_of(nodes, "T12"), segment_of(nodes, "L1")
    upper.SetName("L1")
    lower.SetName("T12")


def leave_one_vertebra_in_the_scan(nodes: Any, monkeypatch: Any) -> None:
    crop(nodes, slices_of(nodes, "L1")[0])
    keep_segments(nodes, "L1", "L3")


def lack_torch(nodes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(dependencies, "missing_requirements", lambda: ["torch>=2.2"])


def forbid_writing(nodes: Any, monkeypatch: Any) -> None:
    place = Path(slicer.app.temporaryPath) / "a file"
    place.write_text("")
    monkeypatch.setattr(jobs, "temporary_path", lambda: str(place / "folder"))


def fill_the_disk(nodes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(nrrd.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))


def lack_the_interpreter(nodes: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "python_executable", lambda: "/no/such/python")


REFUSED_AT_THE_CLICK = {
    "exchanged levels": (exchange_levels, "T12 .* L1|L1 lies above T12 in .*: choose the right level of each segment"),
    "one vertebra in the scan": (leave_one_vertebra_in_the_scan, "choose the segmentation that belongs to this CT"),
    "no torch": (lack_torch, r"packages are missing \(torch>=2.2\).* agree to their installation"),
    "no write permission": (forbid_writing, "cannot be written .* Correct its permissions, or choose another"),
    "a full disk": (fill_the_disk, "could not be copied .* has .* MB free"),
    "no interpreter": (lack_the_interpreter, "could not be started .* Install HealthiVert again"),
}


@pytest.mark.parametrize(("spoil", "told"), REFUSED_AT_THE_CLICK.values(), ids=REFUSED_AT_THE_CLICK)
def test_what_cannot_be_done_is_told_with_its_remedy(ready, phantom_nodes, core, monkeypatch, spoil, told):
    core(ANSWERS)
    spoil(phantom_nodes, monkeypatch)
    before = state_of(phantom_nodes)
    for button in (ready.ui.inspectButton, ready.ui.applyButton, ready.ui.screenButton, ready.ui.previewButton):
        ready.jobs.say("")
        assert re.search(f"^⚠ .*({told})", press(ready, button))
    assert state_of(phantom_nodes) == before and temporary_folders() == []
    assert ready.ui.applyButton.enabled and not ready.ui.cancelButton.enabled


# What the core says when it fails, and what is made of it.
FAILURES = {
    "no torch": ("fail('ModuleNotFoundError: No module named torch', 1)", "package torch is missing. Press Apply"),
    "a full disk": ("fail('OSError: [Errno 28] No space left on device', 1)", "disk .* is full. Free some space"),
    "no write permission": ("fail('healthivert: /x/.partial-L1 cannot be made')", "Correct its permissions"),
    "no memory": ("fail('MemoryError', 1)", "memory ran out. Close other programs or crop the CT"),
    "killed": ("os.kill(os.getpid(), 9)", "most likely as memory ran out. Close other programs"),
    "crashed": ("os.kill(os.getpid(), 11)", "crashed .* Choose the device cpu"),
    "a fault": ("fail('KeyError: 3', 1)", "failed .KeyError: 3.. Try again; if it fails again, report it with the log"),
    "half a report": (
        "write(); (Path(value('--out')) / 'report.json').write_text('{')",
        "cannot be read .* run it again",
    ),
}


@pytest.mark.parametrize(("code", "told"), FAILURES.values(), ids=FAILURES)
def test_a_failure_of_the_calculation_is_told_with_its_remedy(ready, phantom_nodes, core, code, told):
    core(f"step(0.5); {code}")
    before = state_of(phantom_nodes)
    assert re.search(f"^⚠ .*({told})", press(ready, ready.ui.applyButton))
    assert state_of(phantom_nodes) == before and temporary_folders() == []
    assert "regrowing" in ready.ui.logText.toPlainText()
    core(ANSWERS)
    assert "L1 is regrown." in press(ready, ready.ui.applyButton)


# The graphics processor

OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
ON_PROCESSOR_ONLY = """
with open({told!r}, "a") as file: file.write(value("--device") + " " if command == "run" else "")
if command == "run" and value("--device") != "cpu": step(0.3); fail({error!r}, 1)
if command == "run": step(0.5); write(value("--vertebra"))
for row in spine["levels"]: row["suspicion"] = 0.9 if row["level"] in ("T12", "L1") else 0.1
if command == "spine": print(json.dumps(spine))
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OUT_OF_MEMORY, "The graphics processor ran out of memory."),
        ("RuntimeError: MPS backend out of memory (MPS allocated: 9 GB)", "The graphics processor ran out of memory."),
        ("RuntimeError: CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA", "failed."),
        ("NotImplementedError: The operator 'x' is not currently implemented for the MPS device.", "failed."),
    ],
)
def test_where_the_graphics_processor_fails_the_run_goes_on_on_the_processor_and_the_panel_says_so(
    ready, core, tmp_path, error, reason
):
    core(ON_PROCESSOR_ONLY.format(told=str(tmp_path / "devices"), error=error))
    told = press(ready, ready.ui.applyButton)
    note = f"{reason} The processor (cpu) is used instead, which is slower."
    assert told.startswith("L1 is regrown.\n⚠ ") and told.endswith(note)
    assert note in ready.ui.logText.toPlainText()
    assert (tmp_path / "devices").read_text().split() == ["auto", "cpu"]
    assert results.find_results(ready.parameters.volume, "L1") is not None


def test_screening_stays_on_the_processor_once_the_graphics_processor_has_failed(ready, core, tmp_path):
    core(ON_PROCESSOR_ONLY.format(told=str(tmp_path / "devices"), error=OUT_OF_MEMORY))
    told = press(ready, ready.ui.screenButton)
    assert "Regrown: T12, L1." in told and told.count("ran out of memory") == 1
    assert (tmp_path / "devices").read_text().split() == ["auto", "cpu", "cpu"]


# While it runs


@pytest.mark.parametrize("which", ["volume", "segmentation"])
def test_an_input_that_is_deleted_during_a_run_ends_it_with_a_sentence(ready, phantom_nodes, core, which):
    core(SLEEPS)
    before = dict(scene_content())
    ready.ui.applyButton.click()
    wait_until(lambda: ready.ui.progressBar.value > 0)
    deleted = getattr(phantom_nodes, which)
    gone = {deleted.GetID(), *(deleted.GetNthDisplayNodeID(n) for n in range(deleted.GetNumberOfDisplayNodes()))}
    slicer.mrmlScene.RemoveNode(deleted)
    wait_until(lambda: not ready.jobs.busy, STOPPED_WITHIN_S)
    assert "was deleted during the calculation: choose them again" in ready.ui.statusLabel.text
    assert set(dict(scene_content())) >= set(before) - gone and temporary_folders() == []


def test_a_segment_that_is_deleted_during_a_run_ends_it_with_a_sentence(ready, phantom_nodes, core):
    core("time.sleep(0.5); answer()")
    before = scene_content()
    ready.ui.applyButton.click()
    phantom_nodes.segmentation.GetSegmentation().RemoveSegment(ready.parameters.target)
    wait_until(lambda: not ready.jobs.busy, 60.0)
    assert "The segment of L1 was deleted during the calculation: choose a vertebra" in ready.ui.statusLabel.text
    assert scene_content() == before and temporary_folders() == []


def test_a_scene_that_is_closed_during_a_run_ends_it_with_a_sentence(ready, core):
    core(SLEEPS)
    ready.ui.applyButton.click()
    wait_until(lambda: ready.ui.progressBar.value > 0)
    slicer.mrmlScene.Clear()
    wait_until(lambda: not ready.jobs.busy, STOPPED_WITHIN_S)
    assert "The scene was closed during the calculation: it was cancelled" in ready.ui.statusLabel.text
    assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == [] and temporary_folders() == []
