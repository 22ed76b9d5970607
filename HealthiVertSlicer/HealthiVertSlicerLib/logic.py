"""What the module does, without its panel: from Python, one call gives a result.

    from HealthiVertSlicer import HealthiVertSlicerLogic
    segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName("L1")
    results = HealthiVertSlicerLogic().process(volume, segmentation, segment_id)
    print(results.report["rhlv"]["mean"])

process(), inspect() and screen() wait for their results. The start_... versions return a Job at once, which is to be
polled (see jobs.py); the panel uses them. One job of a logic runs at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from HealthiVertSlicerLib import dependencies, display, inputs, results
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.jobs import Job, Steps, temporary_folder
from HealthiVertSlicerLib.spine_runs import GeneratorSettings, SpineRuns, SpineTable, devices

NO_OVERRIDES: Mapping[str, str] = {}


class HealthiVertSlicerLogic(ScriptedLoadableModuleLogic):
    """The module's logic. Errors that a user can mend are HealthiVertSlicerError, a sentence with the remedy."""

    def __init__(self) -> None:
        super().__init__()
        self.job: Job | None = None

    def getParameterNode(self) -> Any:
        from HealthiVertSlicerLib.parameters import HealthiVertParameters

        return HealthiVertParameters(super().getParameterNode())

    def inspect(self, volume: Any, segmentation: Any, overrides: Mapping[str, str] = NO_OVERRIDES) -> SpineTable:
        """Measure every vertebra of the segmentation. overrides: segment ID -> level, where a name tells it wrongly."""
        return self.start_inspect(volume, segmentation, overrides).wait()

    def process(
        self,
        volume: Any,
        segmentation: Any,
        segmentID: str,
        model: str = "gan",
        samples: int = 1,
        device: str = "auto",
        seed: int = 0,
        overrides: Mapping[str, str] = NO_OVERRIDES,
        show: bool = True,
    ) -> results.ResultNodes:
        """Regrow one vertebra healthy, measure its height loss, and put the results into the scene.

        segmentID: the segment to regrow. show: also in the views. Raises HealthiVertSlicerError.
        """
        job = self.start_process(volume, segmentation, segmentID, model, samples, device, seed, overrides)
        found = job.wait()
        if show:
            display.compare(found)
            display.show_loss_surface(found)
        return found

    def screen(
        self,
        volume: Any,
        segmentation: Any,
        model: str = "gan",
        samples: int = 1,
        device: str = "auto",
        seed: int = 0,
        overrides: Mapping[str, str] = NO_OVERRIDES,
        threshold: float = 0.5,
    ) -> list[results.ResultNodes]:
        """Process every level whose suspicion is at least threshold, from cranial to caudal.

        Raises HealthiVertSlicerError, also if no level could be held against another.
        """
        job = self.start_screen(volume, segmentation, model, samples, device, seed, overrides, threshold)
        return job.wait()

    def start_inspect(self, volume: Any, segmentation: Any, overrides: Mapping[str, str] = NO_OVERRIDES) -> Job:
        """The job's result is a SpineTable."""
        return self._start(volume, segmentation, overrides, SpineRuns.measured)

    def start_process(
        self,
        volume: Any,
        segmentation: Any,
        segmentID: str,
        model: str = "gan",
        samples: int = 1,
        device: str = "auto",
        seed: int = 0,
        overrides: Mapping[str, str] = NO_OVERRIDES,
    ) -> Job:
        """The job's result is ResultNodes."""
        _refuse(inputs.target_problem(volume, segmentation, segmentID, overrides))
        settings = GeneratorSettings(model, samples, device, seed)
        return self._start(
            volume, segmentation, overrides, lambda runs: runs.regrown(runs.level_of(segmentID), settings)
        )

    def start_screen(
        self,
        volume: Any,
        segmentation: Any,
        model: str = "gan",
        samples: int = 1,
        device: str = "auto",
        seed: int = 0,
        overrides: Mapping[str, str] = NO_OVERRIDES,
        threshold: float = 0.5,
    ) -> Job:
        """The job's result is a list of ResultNodes. The SpineTable and each of them are parts (on_part): what was done
        before a cancellation remains."""
        settings = GeneratorSettings(model, samples, device, seed)
        return self._start(volume, segmentation, overrides, lambda runs: runs.screened(threshold, settings))

    def start_conditioning(
        self, volume: Any, segmentation: Any, segmentID: str, overrides: Mapping[str, str] = NO_OVERRIDES
    ) -> Job:
        """What the generator would be given for this target: the job's result is ConditioningNodes."""
        _refuse(inputs.target_problem(volume, segmentation, segmentID, overrides))
        return self._start(volume, segmentation, overrides, lambda runs: runs.conditioned(runs.level_of(segmentID)))

    def start_devices(self) -> Job:
        """What torch finds on this computer: the job's result is [{"device": "cuda", "name": ...}, ...]."""
        self._check_free()
        self.job = Job(devices())
        return self.job

    def cleanup(self) -> None:
        """End what is running, waiting for it: for when the module is closed or reloaded."""
        if self.job is not None:
            self.job.stop()

    def _start(
        self, volume: Any, segmentation: Any, overrides: Mapping[str, str], work: Callable[[SpineRuns], Steps]
    ) -> Job:
        """A job that copies the inputs out of the scene and works on them."""
        self._check_free()
        _refuse(inputs.input_problem(volume, segmentation, overrides))
        _refuse(dependencies.problem())
        folder = temporary_folder()
        runs = SpineRuns(volume, segmentation, folder, overrides)
        self.job = Job(_copied_and_done(runs, work), (runs.volume_id, runs.segmentation_id), folder)
        return self.job

    def _check_free(self) -> None:
        from slicer.i18n import tr as _

        if self.job is not None and self.job.running:
            raise HealthiVertSlicerError(_("A calculation is running already: wait for its end or cancel it."))


def _copied_and_done(runs: SpineRuns, work: Callable[[SpineRuns], Steps]) -> Steps:
    yield from runs.copied()
    return (yield from work(runs))


def _refuse(problem: str | None) -> None:
    if problem:
        raise HealthiVertSlicerError(problem)
