"""The panel: what the user chose, whether it can be run and why not, and what happens with the results.

The shell (HealthiVertSlicer.py) makes the widgets, watches the scene and gives the parameter node; everything that is
computed happens in the logic, which is handed in, so that a test may hand in another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import slicer
from slicer.i18n import tr as _

from HealthiVertSlicerLib import dependencies, display, inputs, levels, made_from, results, withheld
from HealthiVertSlicerLib.buttons import enable_buttons
from HealthiVertSlicerLib.job_view import Job, JobView
from HealthiVertSlicerLib.parameters import (
    HealthiVertParameters,
    inputs_key,
    keep_override,
    keep_spine,
    overrides_of,
    spine_is_outdated,
    spine_rows_of,
)
from HealthiVertSlicerLib.pieces import Pieces
from HealthiVertSlicerLib.result_nodes import follow
from HealthiVertSlicerLib.results_view import ResultsView
from HealthiVertSlicerLib.spine_runs import SpineTable
from HealthiVertSlicerLib.spine_table import LevelsView, SpineView
from HealthiVertSlicerLib.widgets import choose, fill, say


class Logic(Protocol):
    """What the panel asks of HealthiVertSlicerLogic; each call starts a job or raises HealthiVertSlicerError."""

    def start_inspect(self, volume, segmentation, *, overrides: Mapping[str, str]) -> Job: ...
    def start_conditioning(self, volume, segmentation, segmentID: str, *, overrides: Mapping[str, str]) -> Job: ...
    def start_process(self, volume, segmentation, segmentID: str, **choices) -> Job: ...
    def start_screen(self, volume, segmentation, **choices) -> Job: ...
    def start_devices(self) -> Job: ...


class Panel:
    """Connects the widgets of HealthiVertSlicer.ui with the parameters and the logic."""

    def __init__(self, ui, logic: Logic) -> None:
        self.ui, self.logic = ui, logic
        self.parameters: HealthiVertParameters | None = None
        self.jobs = JobView(ui, self.refresh)
        self._checked_target: tuple = ()
        self._refreshing = False
        self.spine = SpineView(ui.spineTable, self.choose_level, self.centre_views)
        self.level_table = LevelsView(ui.levelTable, ui.levelOverrideSelector, self._correct_level)
        self.level_table.offer(levels.LEVELS, levels.NO_VERTEBRA)
        self.results = ResultsView(ui, self.jobs.say, self.jobs.show_in_pieces)
        self._fill_choices()
        self._connect()
        self.refresh()

    def _fill_choices(self) -> None:
        fill(self.ui.modelSelector, {"gan": _("GAN (fast)"), "diffusion": _("Diffusion (slower)")})
        names = {
            "auto": _("Automatic (the fastest there is)"),
            "cuda": _("NVIDIA graphics card (CUDA)"),
            "mps": _("Apple graphics (MPS)"),
            "cpu": _("Processor (CPU)"),
        }
        fill(self.ui.deviceSelector, {device: names[device] for device in dependencies.device_choices()})

    def _connect(self) -> None:
        ui = self.ui
        for button, slot in (
            (ui.inspectButton, self.inspect),
            (ui.applyButton, self.apply),
            (ui.cancelButton, self.jobs.cancel),
            (ui.findDevicesButton, self.find_devices),
            (ui.screenButton, self.screen),
            (ui.previewButton, self.preview),
            (ui.editMaskButton, self._edit_mask),
            (ui.hardenButton, self._harden),
            (ui.segmentButton, self._segment),
        ):
            button.connect("clicked()", slot)
        ui.targetSelector.connect("currentIndexChanged(int)", self._target_chosen)
        ui.modelSelector.connect("currentIndexChanged(int)", self._model_chosen)
        ui.deviceSelector.connect("currentIndexChanged(int)", self._device_chosen)

    # What the user chose

    def set_parameters(self, parameters: HealthiVertParameters | None) -> None:
        """The parameters of the scene; None while there is no scene to work in."""
        self.parameters = parameters
        if parameters is None:
            self.jobs.stop_showing()
            display.unlink_windows()
        else:
            display.link_compared()
            self._leave_what_is_not_here()
        self.refresh()

    def _leave_what_is_not_here(self) -> None:
        """A scene may come from another computer, and from another version."""
        told = []
        if self.ui.deviceSelector.findData(self.parameters.device) < 0:
            text = _('The scene was saved with the device "{device}", which is not here: Automatic is chosen instead.')
            told.append(text.format(device=self.parameters.device))
            self.parameters.device = "auto"
        if self.ui.modelSelector.findData(self.parameters.model) < 0:
            text = _('The scene was saved with the generator "{model}", which is not here: the GAN is chosen instead.')
            told.append(text.format(model=self.parameters.model))
            self.parameters.model = "gan"
        if told:
            self.jobs.say("\n".join(told))

    def choose_level(self, level: str) -> None:
        """Makes the segment of level the target."""
        segment_of = {name: segment_id for segment_id, name in self._levels().items()}
        if self.parameters is not None and level in segment_of:
            modified = self.parameters.StartModify()
            self.parameters.target, self.parameters.target_of = segment_of[level], self.parameters.segmentation
            self.parameters.EndModify(modified)

    def centre_views(self, level: str) -> None:
        self.choose_level(level)
        display.centre_on(self.parameters.volume, self.parameters.segmentation, self.parameters.target)

    def _target_chosen(self, index: int) -> None:
        level = self._levels().get(self.ui.targetSelector.itemData(index))
        if level is not None:
            self.centre_views(level)

    def _model_chosen(self, index: int) -> None:
        self.parameters.model = self.ui.modelSelector.itemData(index)

    def _device_chosen(self, index: int) -> None:
        self.parameters.device = self.ui.deviceSelector.itemData(index)

    def _correct_level(self, segment_id: str, level: str) -> None:
        keep_override(self.parameters, segment_id, level)
        self.inputs_changed()

    def _levels(self) -> dict[str, str]:
        """Segment ID -> level of the chosen segmentation."""
        if self.parameters is None or self.parameters.segmentation is None:
            return {}
        return levels.segment_levels(self.parameters.segmentation, overrides_of(self.parameters))

    def _target(self) -> str:
        """The chosen segment, if it is still a vertebra of the chosen segmentation."""
        parameters = self.parameters
        is_there = parameters.target_of == parameters.segmentation and parameters.target in self._levels()
        return parameters.target if is_there else ""

    # What the panel shows

    def inputs_chosen(self) -> None:
        """To be called when other nodes were chosen: what was said last is about the former ones."""
        if not self.jobs.busy:
            self.jobs.say("")

    def inputs_changed(self) -> None:
        """To be called when somebody has edited or moved the chosen nodes."""
        self._checked_target = ()
        self.refresh()

    def refresh(self) -> None:
        """Brings every widget in line with the parameters, the scene and the job. Cheap: call it on every change."""
        if self._refreshing:  # looking at a segmentation may itself tell of a change
            return
        self._refreshing = True
        try:
            if self.parameters is None:
                self._show_nothing()
            else:
                self._show_choices()
        finally:
            self._refreshing = False

    def _show_choices(self) -> None:
        found, target = self._levels(), self._target()
        if self.parameters.volume is not None:
            follow(self.parameters.volume)
        rows = spine_rows_of(self.parameters, found)
        outdated = bool(rows) and spine_is_outdated(self.parameters, found)
        self._show_inputs(found)
        self.spine.show(list(found.values()), rows)
        self.spine.choose(found.get(target))
        fill(self.ui.targetSelector, found)
        choose(self.ui.targetSelector, target)
        choose(self.ui.modelSelector, self.parameters.model)
        choose(self.ui.deviceSelector, self.parameters.device)
        note = _("The CT, the segmentation or its levels have changed since the spine was measured: measure again.")
        say(self.ui.spineNoteLabel, note if outdated else "")
        self._show_target(found, target, [] if outdated else rows)

    def _show_nothing(self) -> None:
        for label in (self.ui.inputProblemLabel, self.ui.neighbourLabel, self.ui.spineNoteLabel):
            say(label, "")
        for widget in (self.ui.hardenButton, self.ui.levelsGroup):
            widget.setVisible(False)
        self.level_table.show([], {}, {})
        self.spine.show([], [])
        self.results.show(None)
        enable_buttons(self.ui, self.jobs, _("Choose a CT and its segmentation first."), "")

    def _show_inputs(self, found: Mapping[str, str]) -> None:
        ui, parameters = self.ui, self.parameters
        segments: list[tuple[str, str]] = []
        if parameters.segmentation is not None:
            segmentation = parameters.segmentation.GetSegmentation()
            segments = [(key, segmentation.GetSegment(key).GetName()) for key in segmentation.GetSegmentIDs()]
        self.level_table.show(segments, found, overrides_of(parameters))
        ui.levelsGroup.setVisible(bool(segments))
        title = _("Vertebral levels: {count} of {total} segments recognised")
        ui.levelsGroup.title = title.format(count=len(found), total=len(segments))
        ui.hardenButton.setVisible(parameters.volume is not None and inputs.needs_hardening(parameters.volume))
        can_segment = hasattr(slicer.modules, "totalsegmentator")
        ui.segmentButton.setVisible(can_segment and parameters.segmentation is None)
        ui.segmentButton.enabled = parameters.volume is not None
        hint = _("No segmentation? The extension TotalSegmentator makes one: get it in View / Extensions Manager.")
        say(ui.segmentHint, "" if can_segment or parameters.segmentation is not None else hint)

    def _show_target(self, found: Mapping[str, str], target: str, measured: Sequence[Mapping]) -> None:
        ui, parameters = self.ui, self.parameters
        problem = inputs.input_problem(parameters.volume, parameters.segmentation, overrides_of(parameters))
        say(ui.inputProblemLabel, problem or "")
        target_problem, note = self._check_target(target) if target and not problem else (None, None)
        target_problem = target_problem or _cut_by_border(found.get(target, ""), measured)
        notes = [target_problem or note, None if problem else self._withheld_note()]
        say(ui.neighbourLabel, "\n".join(filter(None, notes)))
        level = found.get(target, "")
        ui.applyButton.text = _("Apply: regrow {level}").format(level=level) if level else _("Apply")
        choose_first = "" if target else _("Choose the vertebra to regrow in the table.")
        enable_buttons(ui, self.jobs, problem or "", target_problem or choose_first)
        result = results.find_results(parameters.volume, level) if parameters.volume and level else None
        self.results.go_on_with(result, self._change_since(result, found))

    def _check_target(self, target: str) -> tuple[str | None, str | None]:
        """Why the target cannot be regrown, and what is to be known about its neighbours. Looked up once per choice:
        the first of them reads voxels."""
        parameters = self.parameters
        key = (inputs_key(parameters), target, tuple(overrides_of(parameters).items()))
        if self._checked_target[:1] != (key,):
            given = (parameters.segmentation, target, overrides_of(parameters))
            found = inputs.target_problem(parameters.volume, *given), inputs.neighbour_note(*given)
            self._checked_target = (key, found)
        return self._checked_target[1]

    def _withheld_note(self) -> str | None:
        painted = withheld.find(self.parameters.volume)
        if painted is None:
            return None
        return _('Withheld besides the vertebra: what is painted in "{mask}".').format(mask=painted.GetName())

    def _change_since(self, result, found: Mapping[str, str]) -> str:
        """Why a result is not of what is chosen, as it is now."""
        if result is None:
            return ""
        chosen = self.parameters.volume, self.parameters.segmentation
        return made_from.change_since(result, *chosen, found)

    # Jobs

    def inspect(self) -> None:
        given, overrides = self._inputs(), self._overrides()
        start = self.logic.start_inspect
        self._start(lambda: start(*given, overrides=overrides), lambda spine: self._inspected(given, spine))

    def apply(self) -> None:
        given, target, choices = self._inputs(), self._target(), self._choices()
        start = self.logic.start_process
        self._start(lambda: start(*given, target, **choices), lambda found: self._regrown(given, found))

    def screen(self) -> None:
        given, choices = self._inputs(), {**self._choices(), "threshold": self.parameters.threshold}
        start = self.logic.start_screen

        def part_done(part) -> None:
            if isinstance(part, SpineTable):
                self._measured(given, part)
            self.refresh()

        self._start(lambda: start(*given, **choices), lambda found: self._screened(given, found), on_part=part_done)

    def preview(self) -> None:
        given, overrides = (*self._inputs(), self._target()), self._overrides()
        start = self.logic.start_conditioning
        self._start(lambda: start(*given, overrides=overrides), self._previewed)

    def find_devices(self) -> None:
        self._start(self.logic.start_devices, self._devices_found)

    def shut_down(self) -> None:
        """Ends what runs, for the end of the module."""
        self.jobs.stop()

    def _start(self, start_job: Callable[[], Job], on_done: Callable[[Any], None], **listeners) -> None:
        def prepare_and_start() -> Job:
            if dependencies.missing_requirements():  # if the user declines, the job's start says what is missing
                dependencies.install_requirements(self.ui.applyButton.window())
            return start_job()

        self.jobs.start(prepare_and_start, on_done, **listeners)

    def _inputs(self) -> tuple:
        return self.parameters.volume, self.parameters.segmentation

    def _are_chosen(self, given: tuple) -> bool:
        """Whether what a run was started on is still what the panel shows."""
        return self.parameters is not None and given == self._inputs()

    def _overrides(self) -> dict[str, str]:
        return overrides_of(self.parameters)

    def _choices(self) -> dict:
        parameters = self.parameters
        return {
            "model": parameters.model,
            "samples": parameters.samples,
            "device": parameters.device,
            "seed": parameters.seed,
            "overrides": self._overrides(),
        }

    # Results

    def _measured(self, given: tuple, spine: SpineTable) -> None:
        """given: the CT and the segmentation that were measured, whatever is chosen by now."""
        if self.parameters is not None and all(node.GetScene() is not None for node in given):  # else deleted meanwhile
            keep_spine(self.parameters, given, spine)

    def _inspected(self, given: tuple, spine: SpineTable) -> None:
        self._measured(given, spine)
        still_chosen = self._are_chosen(given)
        if still_chosen and not self._target():
            self._choose_most_suspicious(spine.rows)
        if still_chosen and self.ui.applyButton.visible:
            self.jobs.show_in_pieces(self._showing_spine(*given))
        done = _("The spine is measured.") if still_chosen else _("The spine of {ct} is measured: choose it to see it.")
        self.jobs.say("\n".join([done.format(ct=given[0].GetName()), *spine.warnings]))

    def _showing_spine(self, volume, segmentation) -> Pieces:
        """Both inputs in the views, and the target in their middle."""
        if volume is None or segmentation is None:  # the scene was closed meanwhile
            return
        display.show_inputs(volume, segmentation)
        yield None
        if self.parameters is not None and self.parameters.segmentation is segmentation and self._target():
            display.centre_on(volume, segmentation, self._target())

    def _choose_most_suspicious(self, rows: Sequence[Mapping]) -> None:
        row = max(rows, key=lambda row: row["suspicion"], default=None)
        if row is not None and row["suspicion"] >= self.parameters.threshold:
            self.choose_level(row["level"])

    def _regrown(self, given: tuple, found) -> None:
        level = found.report["vertebra"]
        if self._are_chosen(given):
            self.jobs.say(_("{level} is regrown.").format(level=level))
            self._show_results(level)
        else:
            self._say_others(given, level)

    def _say_others(self, given: tuple, levels: str) -> None:
        """Another patient's results do not replace what is chosen by now."""
        told = _("Regrown in {ct}: {levels}. Choose that CT and its segmentation to see the results.")
        self.jobs.say(told.format(ct=given[0].GetName(), levels=levels))

    def _screened(self, given: tuple, found: Sequence) -> None:
        if not found:
            self.jobs.say(_("No vertebra is suspicious enough: nothing was regrown."))
            return
        names = ", ".join(one.report["vertebra"] for one in found)
        if not self._are_chosen(given):
            self._say_others(given, names)
            return
        self.jobs.say(_("Regrown: {levels}. Choose one in the table to read its results.").format(levels=names))
        self.choose_level(found[0].report["vertebra"])
        self._show_results(found[0].report["vertebra"])

    def _show_results(self, level: str) -> None:
        """Of what was regrown, unless another vertebra was chosen meanwhile."""
        self.refresh()
        self.ui.resultsSection.collapsed = False
        if self._levels().get(self._target()) != level:
            return
        if self.ui.applyButton.visible:  # else the user has gone to another module, whose views are not ours to change
            self.results.compare()

    def _previewed(self, shown) -> None:
        if self.ui.applyButton.visible:
            display.show_conditioning(shown)
        self.jobs.say(_("The views show the mask, the gap and the attention."))

    def _devices_found(self, found: Sequence[Mapping]) -> None:
        names = "; ".join(f"{one['device']}: {one['name']}" for one in found)
        self.jobs.say(_("Found on this computer: {names}").format(names=names))

    # Other modules

    def _segment(self) -> None:
        """Opens TotalSegmentator with the chosen CT."""
        slicer.util.selectModule("TotalSegmentator")
        widget = slicer.util.getModuleWidget("TotalSegmentator")
        widget.ui.inputVolumeSelector.setCurrentNode(self.parameters.volume)

    def _edit_mask(self) -> None:
        """Opens the Segment Editor on what is withheld besides the target: the user paints, and comes back."""
        painted = withheld.make(self.parameters.volume)
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.util.getModuleWidget("SegmentEditor").editor
        editor.setSegmentationNode(painted)
        editor.setSourceVolumeNode(self.parameters.volume)
        editor.setCurrentSegmentID(painted.GetSegmentation().GetNthSegmentID(0))

    def _harden(self) -> None:
        self.parameters.volume = inputs.harden_copy(self.parameters.volume)


def _cut_by_border(level: str, measured: Sequence[Mapping]) -> str | None:
    """Why a vertebra that was measured cannot be regrown; None also for those that were not."""
    if all(row["complete"] for row in measured if row["level"] == level):
        return None
    text = _("{level} is cut by the border of the scan: choose a vertebra that lies wholly inside it.")
    return text.format(level=level)
