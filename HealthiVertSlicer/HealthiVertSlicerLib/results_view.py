"""The Results section: the numbers of one vertebra, before and after in the views, and its report."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import qt
from slicer.i18n import tr as _

from HealthiVertSlicerLib import display, layouts
from HealthiVertSlicerLib.jobs import temporary_path
from HealthiVertSlicerLib.pieces import Pieces
from HealthiVertSlicerLib.widgets import say

MIDDLE = 50  # of the fade, in percent
HEIGHT_KEYS = ("anterior", "middle", "posterior", "mean")


class ResultsView:
    """Shows one ResultNodes (results.py), or that there is none.

    tell(text) puts a sentence where the user reads it; show_in_pieces(pieces) works on the views while Qt is free.
    """

    def __init__(self, ui, tell: Callable[[str], None], show_in_pieces: Callable[[Pieces], None]) -> None:
        self._ui, self._tell, self._show_in_pieces = ui, tell, show_in_pieces
        self._results = None
        self._shown: str | None = None  # report.json, as the widgets show it
        self._left_behind = False  # the views still compare what was chosen before
        table = ui.resultTable
        titles = [_("Body"), _("Original\n(mm)"), _("Healthy\n(mm)"), _("Loss\n(%)"), _("90\u00a0%\ninterval (%)")]
        table.setColumnCount(len(titles))
        table.setHorizontalHeaderLabels(titles)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        ui.fadeSlider.connect("valueChanged(int)", self._fade)
        ui.compareButton.connect("clicked()", self.compare)
        ui.surfaceButton.connect("clicked()", self._show_surface)
        ui.restoreLayoutButton.connect("clicked()", display.restore_layout)
        ui.openReportButton.connect("clicked()", self._open_report)
        ui.saveReportButton.connect("clicked()", self._ask_and_save_report)
        self.show(None)

    def show(self, results, note: str = "") -> None:
        """results: ResultNodes of the chosen vertebra, or None. note: why they are not of what is chosen."""
        self._results = results
        say(self._ui.resultNoteLabel, f"⚠ {note}" if note else "")
        text = results.report_text.GetText() if results is not None else ""
        self._ui.openReportButton.enabled = self._ui.saveReportButton.enabled = bool(text) and bool(results.page_text)
        if text == self._shown:
            return
        self._shown = text
        for widget in (self._ui.resultTable, self._ui.gradeLabel, self._ui.warningsLabel):
            widget.setVisible(bool(text))
        for widget in (self._ui.fadeSlider, self._ui.compareButton, self._ui.surfaceButton):
            widget.enabled = bool(text)
        if text:
            self._show_report(results.report)
        else:
            self._ui.headlineLabel.text = _("No result yet for this vertebra.")

    def go_on_with(self, results, note: str = "") -> None:
        """show(), and where the views compare what was chosen before, they go on with this: pictures and numbers are of
        one vertebra. While the user is in another module, the views are left as they are."""
        left_behind = self._left_behind and layouts.is_shown(layouts.COMPARE)
        was_compared = left_behind or display.is_compared(self._results)
        self.show(results, note)
        self._left_behind = was_compared and not display.is_compared(results)
        if self._left_behind and self._ui.applyButton.visible:
            self._left_behind = False
            self.compare()

    def _show_report(self, report: Mapping) -> None:
        self._ui.headlineLabel.text = report["headline"].replace(" %", "\u00a0%")  # not parted at the end of a line
        self._fill_table(report)
        self._ui.gradeLabel.text = grade_text(report)
        self._ui.gradeLabel.toolTip = origin_text(report)
        say(self._ui.warningsLabel, "\n".join(f"⚠ {warning}" for warning in report["warnings"]))

    def _fill_table(self, report: Mapping) -> None:
        table = self._ui.resultTable
        rows = result_rows(report)
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(index, column, item)

    def _fade(self, percent: int) -> None:
        if self._results is not None:
            display.fade(self._results, percent / 100)

    def compare(self) -> None:
        """Before and after side by side; the fade begins in the middle."""
        self._show_in_pieces(self._comparing())
        slider = self._ui.fadeSlider
        blocked = slider.blockSignals(True)
        slider.value = MIDDLE
        slider.blockSignals(blocked)

    def _comparing(self) -> Pieces:
        """What is chosen, also where that changes on the way; the way back where it has no results."""
        compared = None
        while self._results is not None and self._results.volume is not compared:
            compared = self._results.volume
            yield from display.comparing(self._results)
        if self._results is None:
            display.restore_layout()

    def _show_surface(self) -> None:
        display.show_loss_surface(self._results)

    def _open_report(self) -> None:
        page = self._written(Path(temporary_path()) / f"HealthiVert-{self._results.report_text.GetID()}")
        if page is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(page)))

    def _ask_and_save_report(self) -> None:
        parent = self._ui.saveReportButton.window()
        folder = qt.QFileDialog.getExistingDirectory(parent, _("Save the report in which folder?"))
        if folder:
            self.save_report(Path(folder))

    def save_report(self, folder: Path) -> None:
        """Writes the report into a new folder inside folder; a sentence tells where, or why not."""
        page = self._written(_free_name(folder, _folder_name(self._results.report)))
        if page is not None:
            self._tell(_("The report is in {folder}.").format(folder=page.parent))

    def _written(self, place: Path) -> Path | None:
        """The report's page in a new folder; None if that cannot be written, which is told."""
        try:
            return self._results.write_report(place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)  # half a report would be taken for a whole one
            text = _("⚠ The report could not be saved in {folder} ({reason}). Make room, or choose another folder.")
            self._tell(text.format(folder=place.parent, reason=error.strerror))
            return None


def result_rows(report: Mapping) -> list[list[str]]:
    """The numbers of report.json as text, a row for each part of the body: name, original, healthy, loss (and how
    far the other samples lie from it), the range that holds the true loss in nine of ten cases."""
    names = {
        "anterior": _("Anterior third"),
        "middle": _("Middle third"),
        "posterior": _("Posterior third"),
        "mean": _("Whole body"),
    }
    heights, loss = report["heights_mm"], report["rhlv"]
    spread, interval = report["rhlv_sd"], report["rhlv_interval_90"]
    return [
        [
            names[key],
            f"{heights['original'][key]:.1f}",
            f"{heights['pseudo_healthy'][key]:.1f}",
            f"{100 * loss[key]:+.1f}" + (f" ± {100 * spread[key]:.1f}" if spread else ""),
            _range(*interval[key]),
        ]
        for key in HEIGHT_KEYS
    ]


def _range(low: float, high: float) -> str:
    return _("{low} to {high}").format(low=f"{100 * low:+.0f}", high=f"{100 * high:+.0f}")


def grade_text(report: Mapping) -> str:
    """The Genant grade with its name."""
    genant = report["genant"]
    severity = [_("none by height"), _("mild"), _("moderate"), _("severe")][genant["grade"]]
    text = _("Genant grade {grade} ({severity}), {shape}")
    words = text.format(grade=genant["grade"], severity=severity, shape=genant["shape"])
    low, high = report["genant_grade_range_90"]
    within = _("only grade {low}") if low == high else _("grades {low} to {high}")
    return words + _("; {grades} within the 90 % intervals").format(grades=within.format(low=low, high=high))


def origin_text(report: Mapping) -> str:
    """What the result was made with, so that it can be made again."""
    text = _("Generator {model} {checksum} on {device}, seed {seed}, samples {samples}, HealthiVert {version}")
    return text.format(
        model=report["model"]["name"],
        checksum=report["model"]["sha256"][:8],
        device=report["device"],
        seed=report["seed"],
        samples=report["samples"],
        version=report["versions"]["healthivert"],
    )


def _folder_name(report: Mapping) -> str:
    """With the name of the CT as every file system takes it."""
    case = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", report["case"])[:60].strip("_. ")
    return " ".join(filter(None, ("HealthiVert", case, report["vertebra"])))


def _free_name(folder: Path, name: str) -> Path:
    """folder / name, numbered if there is such a thing already: an earlier report is never overwritten."""
    place, number = folder / name, 2
    while os.path.exists(place):  # False also where the folder may not be read
        place, number = folder / f"{name} ({number})", number + 1
    return place
