"""What the jobs run on one pair of inputs: the steps between the copies in a folder and the results in the scene.

Each is written as jobs.py wants it, as a generator of Steps; "->" says what it returns at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import slicer

from HealthiVertSlicerLib import frames, inputs, made_from, results, withheld
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.jobs import Note, Part, Step, Steps, answer_of, succeeded
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.result_nodes import follow, read_image
from HealthiVertSlicerLib.runner import CommandRun, RunResult

MEASURING = 0.1  # of a screening's progress
LOADING = 0.97  # of a regrowing's progress is over when its results are loaded
ROW_KEYS = ("level", "label", "heights_mm", "suspicion", "grade", "warnings", "complete")


@dataclass(frozen=True)
class GeneratorSettings:
    """As the options of `healthivert run` of the same names."""

    model: str = "gan"
    samples: int = 1
    device: str = "auto"
    seed: int = 0

    def words(self) -> list[str]:
        values = {"model": self.model, "samples": self.samples, "device": self.device, "seed": self.seed}
        return [word for name, value in values.items() for word in (f"--{name}", str(value))]


@dataclass(frozen=True)
class SpineTable:
    """Every measured level, cranial to caudal.

    rows: as `healthivert inspect --json` prints them. warnings: of the whole spine. segment_of_level: the segment that
    each level was measured in. state: of the inputs when measuring started (made_from.state_of). table: the table node
    that shows them.
    """

    rows: tuple[dict, ...]
    warnings: tuple[str, ...]
    segment_of_level: Mapping[str, str]
    state: str
    table: Any

    def compared(self) -> tuple[str, ...]:
        """The levels that lie wholly in the scan, and of which others say how high they should be."""
        return tuple(row["level"] for row in self.rows if row["complete"] and row["neighbour_reference"] is not None)

    def suspicious(self, threshold: float) -> tuple[str, ...]:
        """The levels that lie wholly in the scan and look fractured at least as much as threshold (0 to 1)."""
        doubtful = (row for row in self.rows if row["complete"] and row["suspicion"] >= threshold)
        return tuple(row["level"] for row in doubtful if row["level"] in self.segment_of_level)


class SpineRuns:
    """The inputs as they were when the job started, and the steps that can be taken with them.

    volume, segmentation: nodes, of which only IDs and names are kept. folder: for the copies and the core's results; it
    belongs to the job. copied() comes before all other steps.
    """

    def __init__(self, volume: Any, segmentation: Any, folder: Path, overrides: Mapping[str, str]) -> None:
        self.volume_id, self.segmentation_id = volume.GetID(), segmentation.GetID()
        self.folder = folder
        self._overrides = dict(overrides)
        self._graphics_works = True  # as far as is known

    def copied(self) -> Steps:
        """Raises HealthiVertSlicerError if the inputs cannot be copied out of the scene."""
        volume, segmentation = self._nodes()
        follow(volume)
        hidden = withheld.find(volume)
        levels = segment_levels(segmentation, self._overrides)
        self._state = made_from.state_of(volume, segmentation, levels)
        self._frame = frames.ijk_to_ras(volume)
        self._case = yield from inputs.exporting(volume, segmentation, self.folder, self._overrides, hidden)
        self._names = {self._case.ct: volume.GetName(), self._case.segmentation: segmentation.GetName()}
        if hidden is not None and self._case.withheld is not None:
            self._names[self._case.withheld] = hidden.GetName()

    def measured(self, first: float = 0.0, last: float = 1.0) -> Steps:
        """-> SpineTable."""
        result = yield Step(self._run("spine"), first, last, told=self._named)
        rows, warnings = _measurements(answer_of(self._told(result)))
        table = results.show_spine_table(rows, self._nodes()[0])
        return SpineTable(rows, warnings, dict(self._case.segment_of_level), self._state, table)

    def regrown(self, level: str, settings: GeneratorSettings, first: float = 0.0, last: float = 1.0) -> Steps:
        """-> ResultNodes."""
        out = self.folder / level
        result = yield from self._generated(level, out, settings, first, first + LOADING * (last - first))
        succeeded(self._told(result))
        _check_written(out, "report.json", "pseudo_healthy_ct.nii.gz", "pseudo_healthy_seg.nii.gz")
        self._check_segment(level)
        volume, segmentation = self._nodes()
        return (yield from results.loading(out, volume, segmentation, level, self._start(level)))

    def _generated(self, level: str, out: Path, settings: GeneratorSettings, first: float, last: float) -> Steps:
        """-> RunResult. Where the graphics processor fails, the run begins again on the processor, in a new process:
        one that has had an error of CUDA cannot go on."""
        from slicer.i18n import tr as _

        words = (*self._target_words(level, out), "--json-progress")
        if self._graphics_works:
            result = yield Step(self._run("run", *words, *settings.words()), first, last, level, self._named)
            self._graphics_works = not result.graphics_failure
            if self._graphics_works:
                return result
            slower = _("{cause} The processor (cpu) is used instead, which is slower.")
            yield Note(slower.format(cause=result.graphics_failure))
        on_processor = replace(settings, device="cpu").words()
        return (yield Step(self._run("run", *words, *on_processor), first, last, level, self._named))

    def screened(self, threshold: float, settings: GeneratorSettings) -> Steps:
        """-> [ResultNodes, ...]. The SpineTable and each of them are Parts. A level that fails is told, and does not
        keep the others from being regrown."""
        from slicer.i18n import tr as _

        table = yield from self.measured(0.0, MEASURING)
        yield Part(table, _("the measured heights"))
        if not table.compared():
            told = _("No vertebra could be held against another one to suspect it: choose one and press Apply.")
            raise HealthiVertSlicerError(told)
        levels = table.suspicious(threshold)
        found, failures = [], []
        for number, level in enumerate(levels):
            first, last = (MEASURING + (1 - MEASURING) * n / len(levels) for n in (number, number + 1))
            try:
                regrown = yield from self.regrown(level, settings, first, last)
            except HealthiVertSlicerError as error:
                failures.append(_("{level}: {reason}").format(level=level, reason=error))
            else:
                found.append(regrown)
                yield Part(regrown, level)
        if failures and not found:
            raise HealthiVertSlicerError("\n".join(failures))
        for failure in failures:
            yield Note(failure)
        return found

    def conditioned(self, level: str) -> Steps:
        """-> ConditioningNodes."""
        out = self.folder / level
        result = yield Step(self._run("conditioning", *self._target_words(level, out)), told=self._named)
        succeeded(self._told(result))
        _check_written(out, "conditioning/mask.nii.gz", "conditioning/cam.nii.gz")
        return results.load_conditioning(out, self._nodes()[0], level, self._frame)

    def level_of(self, segment_id: str) -> str:
        """Raises HealthiVertSlicerError if nothing of the segment has reached the core."""
        from slicer.i18n import tr as _

        level = next((level for level, segment in self._case.segment_of_level.items() if segment == segment_id), None)
        if level is None:
            segmentation = self._nodes()[1]
            text = _(
                'Nothing of the segment "{segment}" of "{segmentation}" is left where segments overlap: '
                "another vertebra covers it wholly. Correct the two in the Segment Editor, or choose another vertebra."
            )
            segment = segmentation.GetSegmentation().GetSegment(segment_id)
            names = {"segment": segment.GetName() if segment else segment_id, "segmentation": segmentation.GetName()}
            raise HealthiVertSlicerError(text.format(**names))
        return level

    def _target_words(self, level: str, out: Path) -> tuple[str, ...]:
        withhold = ("--withhold", str(self._case.withheld)) if self._case.withheld is not None else ()
        return "--vertebra", level, "--out", str(out), *withhold

    def _run(self, command: str, *words: str) -> CommandRun:
        level_map = ",".join(f"{value}={level}" for value, level in self._case.level_of_value.items())
        given = [command, self._case.ct, self._case.segmentation, "--level-map", level_map]
        return CommandRun([*given, *words], folder=self.folder)

    def _told(self, result: RunResult) -> RunResult:
        return replace(result, message=self._named(result.message), output=self._named(result.output, results.in_json))

    def _named(self, text: str, written: Callable[[str], str] = str) -> str:
        """What the core says, with the names that the user gave his images instead of those of our copies. written:
        makes of a name how it is written in such a text."""
        for path, name in self._names.items():
            for word in (str(path), path.name, path.stem):
                text = text.replace(word, written(name))
        return text

    def _nodes(self) -> tuple[Any, Any]:
        """The inputs in the scene; a job ends by itself when they are gone."""
        return tuple(slicer.mrmlScene.GetNodeByID(node_id) for node_id in (self.volume_id, self.segmentation_id))

    def _start(self, level: str) -> results.Start:
        path = self._case.segmentation
        value = next(value for value, name in self._case.level_of_value.items() if name == level)
        return results.Start(self._state, self._frame, lambda: read_image(path).array == value, self._named)

    def _check_segment(self, level: str) -> None:
        """Raises HealthiVertSlicerError if the segment of a level was deleted meanwhile."""
        from slicer.i18n import tr as _

        segment_id = self._case.segment_of_level[level]
        if self._nodes()[1].GetSegmentation().GetSegment(segment_id) is None:
            raise HealthiVertSlicerError(
                _("The segment of {level} was deleted during the calculation: choose a vertebra and repeat it.").format(
                    level=level
                )
            )


def devices() -> Steps:
    """-> [{"device": "cuda", "name": ...}, ...]: what torch finds on this computer, the fastest first."""
    result = yield Step(CommandRun(["devices"]))
    return answer_of(result)


def _measurements(found: Any) -> tuple[tuple[dict, ...], tuple[str, ...]]:
    """Rows and warnings of what the core answered. Raises HealthiVertSlicerError if that is something else."""
    from slicer.i18n import tr as _

    try:
        rows, warnings = tuple(found["levels"]), tuple(found["warnings"])
        complete = all(key in row for row in rows for key in ROW_KEYS)
    except (TypeError, KeyError):
        complete = False
    if not complete:
        raise HealthiVertSlicerError(
            _("The measurements cannot be read. Look into the log, and install HealthiVert again.")
        )
    return rows, warnings


def _check_written(folder: Path, *names: str) -> None:
    from slicer.i18n import tr as _

    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise HealthiVertSlicerError(
            _(
                "The calculation ended without writing {names}. Look into the log, and install HealthiVert again."
            ).format(names=", ".join(missing))
        )
