"""The module without its panel: one call gives results in the scene, and whatever happens on the way leaves no trace.

The core is real in the tests that say so. The others put a program in its place that answers at once, rightly or not.
"""

from __future__ import annotations

import gc
import html
import json
import os
import stat
import time
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import slicer
from HealthiVertSlicerLib import dependencies, results
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.jobs import Job
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic
from patience import ANSWERED_WITHIN_S, STOPPED_WITHIN_S
from played_core import ANSWERS, SLEEPS
from scene_state import scene_content, temporary_folders

TARGET = "L1"


@pytest.fixture
def logic() -> HealthiVertSlicerLogic:
    return HealthiVertSlicerLogic()


@pytest.fixture
def target(phantom_nodes) -> str:
    return phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName(TARGET)


def follow(job: Job, seconds: float = 60.0) -> str:
    """Poll a job to its end; returns its message."""
    end = time.monotonic() + seconds
    while job.running:
        assert time.monotonic() < end, "the job does not end"
        job.poll()
        time.sleep(0.01)
    return job.message


def poll_until_it_calculates(job: Job) -> None:
    stages: list[str] = []
    job.on_progress = lambda stage, fraction, message: stages.append(stage)
    end = time.monotonic() + 20
    while not stages:
        assert time.monotonic() < end and job.running, job.log
        job.poll()
        time.sleep(0.01)


# With the real core


def test_one_call_of_the_real_core_gives_the_results_in_the_scene(logic, phantom_nodes, target: str) -> None:
    volume, segmentation = phantom_nodes
    before = slicer.util.arrayFromVolume(volume).copy()
    steps: list[tuple[str, float, str]] = []
    polls: list[float] = []
    job = logic.start_process(volume, segmentation, target)
    job.on_progress = lambda *step: steps.append(step)
    while job.running:
        start = time.thread_time()
        job.poll()
        polls.append(time.thread_time() - start)
        time.sleep(0.02)
    assert job.status == "done", job.message
    found = job.result
    assert found.report["vertebra"] == TARGET
    assert found.report["case"] == volume.GetName() in found.page_text.GetText()
    assert found.report["rhlv"]["mean"] > 0.15, "the phantom's L1 is fractured"
    assert found.volume.GetTransformNodeID() == volume.GetTransformNodeID()
    assert results.find_results(volume, TARGET).volume is found.volume
    fractions = [fraction for _, fraction, _ in steps]
    assert fractions == sorted(fractions) and fractions[-1] > 0.9
    assert max(polls[:-1]) < ANSWERED_WITHIN_S, "the last poll puts the results into the scene"
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before)
    assert temporary_folders() == []


def test_the_real_core_measures_every_level_in_one_call(logic, phantom_nodes) -> None:
    table = logic.inspect(*phantom_nodes)
    assert [row["level"] for row in table.rows] == list(table.segment_of_level)
    assert table.suspicious(0.5) == (TARGET,)
    assert table.suspicious(0.0) == tuple(table.segment_of_level)
    assert table.table.GetNumberOfRows() == len(table.rows)
    assert temporary_folders() == []


# With a program in its place


def test_a_call_shows_its_results_unless_told_not_to(logic, phantom_nodes, target: str, core, monkeypatch) -> None:
    core(ANSWERS)
    shown: list[str] = []
    for name in ("compare", "show_loss_surface"):
        monkeypatch.setattr(f"HealthiVertSlicerLib.display.{name}", lambda found, name=name: shown.append(name))
    logic.process(*phantom_nodes, target, show=False)
    assert shown == []
    logic.process(*phantom_nodes, target)
    assert shown == ["compare", "show_loss_surface"]


def test_the_conditioning_shows_what_the_generator_would_be_given(logic, phantom_nodes, target: str, core) -> None:
    core(ANSWERS)
    job = logic.start_conditioning(*phantom_nodes, target)
    assert follow(job) == ""
    hidden = slicer.util.arrayFromVolume(job.result.conditioning_mask)
    seen = slicer.util.arrayFromVolume(job.result.attention)
    assert hidden.any() and seen.any()
    assert not seen[hidden > 0].any()
    assert results.find_results(phantom_nodes.volume, TARGET) is None, "nothing was regrown"
    assert temporary_folders() == []


def test_the_choices_and_the_levels_reach_the_core(logic, phantom_nodes, core, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    core(f"Path({str(told)!r}).write_text(json.dumps(words)); write('L6')")
    segment_ids = phantom_nodes.segmentation.GetSegmentation().GetSegmentIDs()
    overrides = {segment_ids[0]: "C7", segment_ids[-1]: "L6"}
    job = logic.start_process(*phantom_nodes, segment_ids[-1], "gan", 4, "cpu", 7, overrides)
    follow(job)
    words = json.loads(told.read_text())
    value = dict(pairwise(words))
    assert words[0] == "run"
    assert [value[f"--{name}"] for name in ("vertebra", "model", "samples", "device", "seed")] == [
        *("L6", "gan", "4", "cpu", "7")
    ]
    levels = dict(pair.split("=") for pair in value["--level-map"].split(","))
    assert {"L6", "C7"} < set(levels.values())
    assert not {"T10", "L3"} & set(levels.values())


def test_screening_regrows_each_suspicious_level_and_goes_on_when_one_fails(logic, phantom_nodes, core) -> None:
    core(
        "for row in spine['levels']: row['suspicion'] = 0.9 if row['level'] in ('T11', 'L1', 'L2') else 0.1\n"
        "spine['levels'][-2]['complete'] = spine['levels'][-2]['level'] != 'L2'\n"
        "step(0.5)\n"
        "if command == 'spine': print(json.dumps(spine))\n"
        "elif value('--vertebra') == 'T11': sys.exit('healthivert: T11 cannot be regrown') \n"
        "else: write()\n"
    )
    job = logic.start_screen(*phantom_nodes)
    steps: list[tuple[str, float, str]] = []
    job.on_progress = lambda *step: steps.append(step)
    assert follow(job) == ""
    assert [found.report["vertebra"] for found in job.result] == ["L1"], "T11 fails, L2 is cut by the scan's border"
    # a tenth for measuring, the rest shared by two levels, each half done when it speaks, of which loading is 3 %
    spoken = [0.05, 0.1 + 0.218, 0.55 + 0.218]
    assert [fraction for _, fraction, _ in steps] == pytest.approx([*spoken, spoken[-1]], abs=0.001)
    assert [message for _, _, message in steps[:3]] == ["regrowing", "T11: regrowing", "L1: regrowing"]
    assert "T11 cannot be regrown" in steps[3][2] and [steps[3][2]] == job.notes


def test_screening_that_fails_at_every_level_says_why(logic, phantom_nodes, core) -> None:
    core("if command == 'spine': print(json.dumps(spine))\nelse: fail('healthivert: device cuda is not available')")
    with pytest.raises(HealthiVertSlicerError, match="L1: device cuda is not available"):
        logic.screen(*phantom_nodes)


def test_nothing_suspicious_is_an_empty_list(logic, phantom_nodes, core) -> None:
    core(ANSWERS)
    assert logic.screen(*phantom_nodes, threshold=1.01) == []


def test_a_spine_in_which_nothing_can_be_compared_is_not_called_unsuspicious(logic, phantom_nodes, core) -> None:
    core("for row in spine['levels']: row['neighbour_reference'] = None\nprint(json.dumps(spine))")
    with pytest.raises(HealthiVertSlicerError, match="No vertebra could be held against another one"):
        logic.screen(*phantom_nodes)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("pass", "ended without writing report.json"),
        ("write(); (Path(value('--out')) / 'report.json').write_text('{\"vert')", "L1"),
        ("write(); (Path(value('--out')) / 'pseudo_healthy_ct.nii.gz').write_bytes(b'no image')", "L1"),
        ("write(); (Path(value('--out')) / 'pseudo_healthy_seg.nii.gz').unlink()", "pseudo_healthy_seg.nii.gz"),
        ("write(); (Path(value('--out')) / 'conditioning' / 'cam.nii.gz').unlink()", "cannot be read"),
        ("write(); (Path(value('--out')) / 'report.json').write_text('[]')", "log tells more"),
        ("sys.stdout.buffer.write(os.urandom(100000)); sys.exit(1)", "calculation failed"),
        ("write(); fail('healthivert: no space left')", "no space left"),
        ("fail('OSError: [Errno 28] No space left on device', 1)", "disk"),
    ],
)
def test_bad_output_is_an_error_that_leaves_the_scene_as_it_was(
    code: str, told: str, logic, phantom_nodes, target: str, core
) -> None:
    core(code)
    before = scene_content()
    with pytest.raises(HealthiVertSlicerError, match=told):
        logic.process(*phantom_nodes, target)
    assert scene_content() == before
    assert temporary_folders() == []


@pytest.mark.parametrize(
    "answer", ["", "no JSON", '{"levels": [', "[]", '{"levels": 7, "warnings": []}', '{"levels": [{}], "warnings": []}']
)
def test_a_bad_answer_about_the_spine_is_an_error(answer: str, logic, phantom_nodes, core) -> None:
    core(f"print({answer!r})")
    before = scene_content()
    with pytest.raises(HealthiVertSlicerError, match="install HealthiVert again"):
        logic.inspect(*phantom_nodes)
    assert scene_content() == before


def test_an_error_names_the_images_as_the_user_did(logic, phantom_nodes, target: str, core) -> None:
    core("fail(f'healthivert: {words[1]}: too coarse; {Path(words[1]).name} and {words[2]} differ')")
    phantom_nodes.volume.SetName("CT: früh/1")
    phantom_nodes.segmentation.SetName("Wirbel")
    with pytest.raises(HealthiVertSlicerError) as caught:
        logic.process(*phantom_nodes, target)
    assert str(caught.value) == "CT: früh/1: too coarse; CT: früh/1 and Wirbel differ"


@pytest.mark.parametrize("name", ["CT", "segmentation", '5: <Müller> & "Söhne"\\1'])
def test_report_page_progress_and_warnings_call_the_images_as_the_user_did(
    name: str, logic, phantom_nodes, target: str, core
) -> None:
    core(
        "from html import escape\n"
        "words = [Path(word) for word in words]\n"
        "told = f'{words[2].name} lies on another grid than {words[1].name}'\n"
        "print(json.dumps({'stage': 'case', 'fraction': 0.1, 'message': f'reading {words[1].name}'}), flush=True)\n"
        "if command == 'spine':\n"
        "    spine['warnings'] = [told]\n"
        "    print(json.dumps(spine))\n"
        "else:\n"
        "    words = list(map(str, words)); write()\n"
        "    out = Path(value('--out'))\n"
        "    report = json.loads((out / 'report.json').read_text())\n"
        "    report.update(case=Path(words[1]).stem, warnings=[told])\n"
        "    (out / 'report.json').write_text(json.dumps(report))\n"
        "    (out / 'report.html').write_text(f'<h1>L1 height loss, {escape(report[\"case\"])}</h1>')\n"
    )
    phantom_nodes.volume.SetName(name)
    told = f"Phantom vertebrae lies on another grid than {name}"
    assert logic.inspect(*phantom_nodes).warnings == (told,)
    job = logic.start_process(*phantom_nodes, target)
    messages: list[str] = []
    job.on_progress = lambda stage, fraction, message: messages.append(message)
    assert follow(job) == ""
    assert messages == [f"L1: reading {name}"]
    assert (job.result.report["case"], job.result.report["warnings"]) == (name, [told])
    assert job.result.page_text.GetText() == f"<h1>L1 height loss, {html.escape(name)}</h1>"


def test_cancel_ends_a_job_and_leaves_nothing(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    before = scene_content()
    job = logic.start_process(*phantom_nodes, target)
    told: list[str] = []
    job.on_error = told.append
    poll_until_it_calculates(job)
    start = time.monotonic()
    job.cancel()
    assert time.monotonic() - start < ANSWERED_WITHIN_S
    follow(job)
    assert time.monotonic() - start < STOPPED_WITHIN_S
    assert (job.status, told) == ("cancelled", ["Cancelled: nothing was changed."])
    assert scene_content() == before
    assert temporary_folders() == []
    core(ANSWERS)
    assert logic.process(*phantom_nodes, target, show=False) is not None, "Apply works again"


def test_cancelling_a_screening_says_what_is_kept(logic, phantom_nodes, core) -> None:
    core(
        "if command == 'spine': answer()\n"
        "elif value('--vertebra') == 'T10': write('T10')\n"
        "else: step(0.5); time.sleep(60)\n"
    )
    job = logic.start_screen(*phantom_nodes, threshold=0.0)
    parts: list[object] = []
    job.on_part = parts.append
    while len(parts) < 2:
        job.poll()
        assert job.running, job.message
    job.cancel()
    assert follow(job) == "Cancelled. What was done before is kept: the measured heights, T10."
    kept = results.find_results(phantom_nodes.volume, "T10")
    assert [type(part).__name__ for part in parts] == ["SpineTable", "ResultNodes"] and parts[1].volume is kept.volume


@pytest.mark.parametrize("whole_spine", [False, True])
def test_cancel_while_results_are_renewed_leaves_them_whole(whole_spine, logic, phantom_nodes, target, core) -> None:
    core("answer()")
    first = logic.process(*phantom_nodes, target, show=False)
    before = slicer.util.arrayFromVolume(first.volume).copy()
    core(
        "if command == 'spine': answer(); sys.exit()\n"
        "write(value('--vertebra'))\n"
        "import SimpleITK as sitk\n"
        "out = Path(value('--out'))\n"
        "ct = str(out / 'pseudo_healthy_ct.nii.gz')\n"
        "sitk.WriteImage(sitk.ReadImage(ct) + 500, ct)\n"
        "report = json.loads((out / 'report.json').read_text())\n"
        "(out / 'report.json').write_text(json.dumps({**report, 'seed': 7}))\n"
    )
    job = logic.start_screen(*phantom_nodes, seed=7) if whole_spine else logic.start_process(*phantom_nodes, target)
    while np.array_equal(slicer.util.arrayFromVolume(first.volume), before):
        job.poll()
        assert job.running, job.message
    job.cancel()
    told = follow(job)
    now = results.find_results(phantom_nodes.volume, TARGET)
    assert slicer.util.arrayFromVolume(now.volume).mean() == pytest.approx(before.mean() + 500)
    assert now.report["seed"] == 7
    assert {node.GetAttribute("HealthiVert.Seed") for node in (now.volume, now.table, now.report_text)} == {"7"}
    if whole_spine:
        assert job.status == "cancelled" and told.endswith(f"is kept: the measured heights, {TARGET}.")
    else:
        assert (job.status, told) == ("done", "") and job.result.volume is now.volume


def test_a_second_start_is_refused_while_one_runs(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)
    for start in (logic.start_inspect, logic.start_screen):
        with pytest.raises(HealthiVertSlicerError, match="running already"):
            start(*phantom_nodes)
    with pytest.raises(HealthiVertSlicerError, match="running already"):
        logic.start_devices()
    job.cancel()
    follow(job)
    assert len(temporary_folders()) == 0


def test_closing_the_scene_cancels_the_job(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)
    poll_until_it_calculates(job)
    slicer.mrmlScene.Clear(0)
    assert "scene was closed" in follow(job, STOPPED_WITHIN_S)
    assert job.status == "failed"
    assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == []
    assert temporary_folders() == []


@pytest.mark.parametrize("which", ["volume", "segmentation"])
def test_deleting_an_input_ends_the_job(which: str, logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)
    poll_until_it_calculates(job)
    slicer.mrmlScene.RemoveNode(getattr(phantom_nodes, which))
    before = scene_content()
    assert "deleted during the calculation: choose them again" in follow(job, STOPPED_WITHIN_S)
    assert scene_content() == before
    assert temporary_folders() == []


@pytest.mark.parametrize("start", ["start_process", "start_conditioning"])
def test_a_target_that_another_vertebra_covers_ends_in_a_sentence(start, logic, phantom_nodes, target, core) -> None:
    core(ANSWERS)
    segmentation, volume = phantom_nodes.segmentation, phantom_nodes.volume
    own, other = (
        slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        for segment_id in (target, segmentation.GetSegmentation().GetSegmentIdBySegmentName("L2"))
    )
    segmentation.GetSegmentation().RemoveSegment(segmentation.GetSegmentation().GetSegmentIdBySegmentName("L2"))
    segmentation.GetSegmentation().AddEmptySegment("both", "L2")
    slicer.util.updateSegmentBinaryLabelmapFromArray(own | other, segmentation, "both", volume)
    assert follow(getattr(logic, start)(*phantom_nodes, target)) == (
        'Nothing of the segment "L1" of "Phantom vertebrae" is left where segments overlap: another vertebra covers it '
        "wholly. Correct the two in the Segment Editor, or choose another vertebra."
    )


def test_deleting_the_segment_ends_in_a_sentence(logic, phantom_nodes, target: str, core) -> None:
    core(ANSWERS)
    job = logic.start_process(*phantom_nodes, target)
    phantom_nodes.segmentation.GetSegmentation().RemoveSegment(target)
    before = scene_content()
    assert "The segment of L1 was deleted" in follow(job)
    assert scene_content() == before


def test_a_job_works_on_the_inputs_as_they_were_when_it_started(
    logic, phantom_nodes, target: str, core, tmp_path: Path
) -> None:
    """The scan is erased and moved after the start; the results follow to where the scan is now."""
    copied = tmp_path / "seen.nrrd"
    core(f"time.sleep(0.5); shutil.copy(words[1], {str(copied)!r}); write()")
    volume, segmentation = phantom_nodes
    before = slicer.util.arrayFromVolume(volume).copy()
    job = logic.start_process(volume, segmentation, target)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    slicer.util.updateVolumeFromArray(volume, np.zeros_like(before))
    assert follow(job) == ""
    assert job.result.volume.GetTransformNodeID() == transform.GetID()
    import SimpleITK as sitk

    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(copied))), before)


def test_results_lie_on_a_ct_whose_transform_is_hardened_during_the_run(logic, phantom_nodes, target, core) -> None:
    core("step(0.5); time.sleep(0.5); answer()")
    still = logic.process(*phantom_nodes, target, show=False)
    before = np.array(still.height_lines[0].GetNthControlPointPositionWorld(0))
    job = logic.start_process(*phantom_nodes, target)
    poll_until_it_calculates(job)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[2, 3] = 50.0
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    for node in phantom_nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
        node.HardenTransform()
    assert follow(job) == ""
    found, bounds, of_ct = job.result, np.zeros(6), np.zeros(6)
    assert np.allclose(found.height_lines[0].GetNthControlPointPositionWorld(0), np.add(before, (0, 0, 50)))
    found.volume.GetRASBounds(bounds)
    phantom_nodes.volume.GetRASBounds(of_ct)
    assert np.allclose(bounds, of_ct)


def test_a_rerun_updates_the_results_it_finds(logic, phantom_nodes, target: str, core) -> None:
    core(ANSWERS)
    first = logic.process(*phantom_nodes, target, show=False)
    before = scene_content()
    assert logic.process(*phantom_nodes, target, show=False).volume is first.volume
    assert scene_content() == before


def test_ctrl_c_in_a_script_ends_the_calculation(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    job.on_progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert not job.running
    assert temporary_folders() == []


def test_nothing_holds_a_job_that_has_ended(logic, phantom_nodes, core) -> None:
    core(ANSWERS)
    job = logic.start_inspect(*phantom_nodes)
    follow(job)
    ended = weakref.ref(job)
    logic.job = job = None
    gc.collect()
    assert ended() is None


def test_the_end_of_the_module_ends_the_calculation(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)
    poll_until_it_calculates(job)
    start = time.monotonic()
    logic.cleanup()
    assert time.monotonic() - start < STOPPED_WITHIN_S
    assert (job.status, temporary_folders()) == ("cancelled", [])


def test_a_listener_may_let_the_event_loop_turn(logic, phantom_nodes, target: str, core) -> None:
    core(ANSWERS)
    job = logic.start_process(*phantom_nodes, target)
    ends: list[object] = []

    def let_it_turn(*_: object) -> None:
        for _turn in range(75):  # long enough for the core to end meanwhile
            job.poll()
            time.sleep(0.02)

    job.on_progress = let_it_turn
    job.on_done = lambda found: (ends.append(found), job.poll())
    follow(job)
    assert len(ends) == 1 and ends[0] is not None


def test_unusable_inputs_are_refused_before_anything_starts(logic, phantom_nodes, target: str) -> None:
    before = scene_content()
    for start in (
        lambda: logic.start_inspect(None, phantom_nodes.segmentation),
        lambda: logic.start_process(*phantom_nodes, "no such segment"),
        lambda: logic.start_conditioning(phantom_nodes.volume, None, target),
    ):
        with pytest.raises(HealthiVertSlicerError):
            start()
    assert logic.job is None
    assert (scene_content(), temporary_folders()) == (before, [])


def test_missing_packages_are_told_before_anything_starts(logic, phantom_nodes, target: str, monkeypatch) -> None:
    monkeypatch.setattr(dependencies, "missing_requirements", lambda: ["torch>=2.2"])
    with pytest.raises(HealthiVertSlicerError, match=r"missing \(torch>=2.2\)"):
        logic.process(*phantom_nodes, target)
    assert temporary_folders() == []


def test_a_temporary_folder_that_cannot_be_written_is_told_with_the_remedy(
    logic, phantom_nodes, target: str, monkeypatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("HealthiVertSlicerLib.jobs.temporary_path", lambda: str(tmp_path / "file" / "folder"))
    with pytest.raises(HealthiVertSlicerError, match=r"cannot be written .*application settings"):
        logic.process(*phantom_nodes, target)


def test_the_copies_can_be_read_by_this_user_only(logic, phantom_nodes, target: str, core) -> None:
    core(SLEEPS)
    job = logic.start_process(*phantom_nodes, target)
    (folder,) = temporary_folders()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    while len(list(folder.iterdir())) < 2:
        job.poll()
        assert job.running
    job.cancel()
    follow(job)


def test_the_devices_are_what_the_core_finds(logic, core) -> None:
    core("print(json.dumps([{'device': 'cuda', 'name': 'A card'}, {'device': 'cpu', 'name': 'x86_64'}]))")
    job = logic.start_devices()
    follow(job)
    assert [device["name"] for device in job.result] == ["A card", "x86_64"]
