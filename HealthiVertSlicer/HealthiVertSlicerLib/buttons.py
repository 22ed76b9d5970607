"""Which of the buttons that start something can be pressed; where one cannot, its tooltip says why."""

from __future__ import annotations

from slicer.i18n import tr as _

from HealthiVertSlicerLib.job_view import JobView


def enable_buttons(ui, jobs: JobView, problem: str, target_problem: str) -> None:
    """problem: why nothing can be run; target_problem: why the chosen vertebra cannot."""
    busy = _("A run is going on: wait for its end, or press Cancel.") if jobs.busy else ""
    _allow(ui.inspectButton, busy or problem, _("Measure every vertebra and compare it with its neighbours."))
    _allow(ui.screenButton, busy or problem, _("Measure all vertebrae and regrow every suspicious one in turn."))
    why_not = busy or problem or target_problem
    _allow(ui.applyButton, why_not, _("Regrow the chosen vertebra healthy and measure what it has lost."))
    _allow(ui.previewButton, why_not, _("Show what the generator will see. Nothing is generated yet."))
    tip = _("Paint what the generator must not see besides the vertebra: cement, an osteophyte that bridges a disc.")
    _allow(ui.editMaskButton, busy or problem, tip)
    _allow(ui.findDevicesButton, busy, _("Look for graphics cards that can be used on this computer."))
    not_running = "" if jobs.running else _("Nothing is running.")
    _allow(ui.cancelButton, not_running, _("Stop the run. Of a screening, what is done already is kept."))


def _allow(button, why_not: str, tip: str) -> None:
    """A button that can be pressed says what it does; one that cannot says why."""
    button.enabled = not why_not
    button.toolTip = why_not or tip
