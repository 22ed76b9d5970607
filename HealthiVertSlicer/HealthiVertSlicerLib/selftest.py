"""HealthiVertSlicerTest: what Slicer's ctest, and the Test button of the module in developer mode, run.

Each test starts with an empty scene and brings its own data: the phantom that comes with the extension, of which the
true height loss is known (PHANTOM_LOSS; docs/slicer.md has the same numbers). A Slicer that lacks Python packages
installs none while it is tested: there, the tests that calculate see to it that the user is told what is missing.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from HealthiVertSlicerLib import dependencies, inputs, levels, sample_data
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic

FRACTURED = "L1"
PHANTOM_LOSS = {"anterior": 0.459, "middle": 0.304, "posterior": 0.091, "mean": 0.287}  # its true RHLV
PHANTOM_HEIGHTS_MM = {"anterior": 12.1, "middle": 14.4, "posterior": 19.4, "mean": 15.3}  # of the fractured body
LOSS_TOLERANCE, HEIGHT_TOLERANCE_MM = 0.05, 0.8  # of loss: nine healthy thirds of ten lie so near what neighbours tell
PHANTOM_GRADE = {"grade": 3, "shape": "wedge"}


class HealthiVertSlicerTest(ScriptedLoadableModuleTest):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def test_levels_are_recognised_by_terminology_by_name_and_as_the_user_says(self) -> None:
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        segments = segmentation.GetSegmentation()
        segments.AddEmptySegment("by name", "Th12")
        segments.AddEmptySegment("by terminology", "whatever")
        segments.GetSegment("by terminology").SetTerminology(levels.terminology_for("L1"))
        segments.AddEmptySegment("no vertebra", "aorta")
        found = levels.segment_levels(segmentation)
        self.assertEqual(found, {"by name": "T12", "by terminology": "L1"})
        corrected = levels.segment_levels(segmentation, {"by name": "T11", "no vertebra": "L2"})
        self.assertEqual(corrected, {"by name": "T11", "by terminology": "L1", "no vertebra": "L2"})

    def test_the_sample_is_loaded_with_named_vertebrae(self) -> None:
        volume, segmentation = sample_data.load_sample()
        self.assertEqual(volume.GetName(), sample_data.SAMPLE)
        found = list(levels.segment_levels(segmentation).values())
        self.assertEqual(found, ["T10", "T11", "T12", "L1", "L2", "L3"])
        self.assertIsNone(inputs.input_problem(volume, segmentation))

    def test_the_export_holds_the_scans_own_frame_and_leaves_no_trace(self) -> None:
        volume, segmentation = sample_data.load_sample()
        voxels = slicer.util.arrayFromVolume(volume).copy()
        transform = self._transformed(volume, segmentation)
        before = slicer.mrmlScene.GetNumberOfNodes()
        with tempfile.TemporaryDirectory() as folder:
            case = inputs.export_case(volume, segmentation, Path(folder))
            self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
            self.assertEqual(case.segment_of_level[FRACTURED], self._segment_of(segmentation, FRACTURED))
            copy = slicer.util.loadVolume(str(case.ct))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(copy), voxels)
        np.testing.assert_allclose(_ijk_to_ras(copy), _ijk_to_ras(volume), atol=1e-3)
        self.assertEqual(volume.GetTransformNodeID(), transform.GetID())

    def test_a_nonlinear_transform_is_refused_with_the_remedy(self) -> None:
        volume, segmentation = sample_data.load_sample()
        bend = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
        bend.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
        volume.SetAndObserveTransformNodeID(bend.GetID())
        self.assertIn("harden", inputs.input_problem(volume, segmentation).lower())

    def test_process_finds_the_documented_loss_and_honours_the_parent_transform(self) -> None:
        volume, segmentation = sample_data.load_sample()
        transform = self._transformed(volume, segmentation)
        logic = HealthiVertSlicerLogic()
        segment_id = self._segment_of(segmentation, FRACTURED)
        if self._refused(lambda: logic.process(volume, segmentation, segment_id)):
            return
        found = logic.process(volume, segmentation, segment_id, show=False)
        self._check_report(found.report)
        self.assertEqual(found.volume.GetTransformNodeID(), transform.GetID())
        self.assertEqual(found.segmentation.GetTransformNodeID(), transform.GetID())
        np.testing.assert_allclose(_ijk_to_ras(found.volume), _ijk_to_ras(volume), atol=1e-3)
        self.assertEqual(slicer.util.arrayFromVolume(found.volume).shape, slicer.util.arrayFromVolume(volume).shape)

    def test_a_cancelled_run_ends_in_two_seconds_and_leaves_the_scene_alone(self) -> None:
        volume, segmentation = sample_data.load_sample()
        logic = HealthiVertSlicerLogic()
        segment_id = self._segment_of(segmentation, FRACTURED)
        if self._refused(lambda: logic.start_process(volume, segmentation, segment_id)):
            return
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        job = logic.start_process(volume, segmentation, segment_id)
        heard: list[str] = []
        job.on_progress = lambda stage, fraction, message: heard.append(stage)
        _wait(lambda: bool(heard), job.poll, 60.0)
        job.cancel()
        took = _wait(lambda: not job.running, job.poll, 10.0)
        self.assertLess(took, 2.0)
        self.assertEqual(job.status, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)
        again = logic.start_process(volume, segmentation, segment_id)
        again.stop()
        self.assertEqual(again.status, "cancelled")

    def test_the_panel_leads_from_the_scan_to_the_result(self) -> None:
        widget = slicer.util.getModuleWidget("HealthiVertSlicer")
        widget.enter()
        self.assertFalse(widget.ui.applyButton.enabled)
        self.assertTrue(widget.ui.applyButton.toolTip)
        volume, segmentation = sample_data.load_sample()
        parameters = widget.logic.getParameterNode()
        parameters.volume, parameters.segmentation = volume, segmentation
        if dependencies.missing_requirements():
            widget.ui.inspectButton.click()
            self.assertFalse(widget.panel.jobs.busy)
            self.assertIn(dependencies.missing_requirements()[0], widget.ui.statusLabel.text)
            return
        widget.ui.inspectButton.click()
        self._wait_for_the_panel(widget)
        self.assertEqual(parameters.target, self._segment_of(segmentation, FRACTURED))
        self.assertTrue(widget.ui.applyButton.enabled, widget.ui.applyButton.toolTip)
        widget.ui.applyButton.click()
        self.assertTrue(widget.ui.cancelButton.enabled)
        self._wait_for_the_panel(widget)
        self.assertEqual(widget.ui.resultTable.rowCount, len(PHANTOM_LOSS))
        self.assertIn(str(PHANTOM_GRADE["grade"]), widget.ui.gradeLabel.text)
        self.assertTrue(widget.ui.applyButton.enabled)

    def _refused(self, call: Callable[[], Any]) -> bool:
        """True where packages are missing; then the call must have said which, and started nothing."""
        missing = dependencies.missing_requirements()
        if missing:
            with self.assertRaises(HealthiVertSlicerError) as refusal:
                call()
            self.assertIn(missing[0], str(refusal.exception))
            logging.warning("HealthiVert: not installed here, so only the refusal is tested: %s", ", ".join(missing))
        return bool(missing)

    def _check_report(self, report: dict) -> None:
        self.assertEqual(report["vertebra"], FRACTURED)
        for key, loss in PHANTOM_LOSS.items():
            self.assertAlmostEqual(report["rhlv"][key], loss, delta=LOSS_TOLERANCE, msg=key)
            height = report["heights_mm"]["original"][key]
            self.assertAlmostEqual(height, PHANTOM_HEIGHTS_MM[key], delta=HEIGHT_TOLERANCE_MM, msg=key)
        self.assertEqual({key: report["genant"][key] for key in PHANTOM_GRADE}, PHANTOM_GRADE)

    def _segment_of(self, segmentation: Any, level: str) -> str:
        return next(key for key, found in levels.segment_levels(segmentation).items() if found == level)

    def _transformed(self, *nodes: Any) -> Any:
        """A turn and a shift of the patient, above all the nodes."""
        turn = vtk.vtkTransform()
        turn.Translate(20, -10, 30)
        turn.RotateWXYZ(25, 1, 2, 3)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(turn.GetMatrix())
        for node in nodes:
            node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    def _wait_for_the_panel(self, widget: Any) -> None:
        self.assertTrue(widget.panel.jobs.busy, widget.ui.statusLabel.text)
        _wait(lambda: not widget.panel.jobs.busy, slicer.app.processEvents, 300.0)


def _wait(condition: Callable[[], bool], meanwhile: Callable[[], None], seconds: float) -> float:
    """How long it took until the condition held. Raises TimeoutError if it did not within seconds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"nothing came of it within {seconds:g} s")
        meanwhile()
        time.sleep(0.02)
    return time.monotonic() - start


def _ijk_to_ras(volume: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
