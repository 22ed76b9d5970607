"""A scripted module's panel as a user has it before him: clicks, waiting, screenshots, and the errors that Qt hides."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import slicer
from PySide6 import QtCore, QtTest, QtWidgets

from .scripted_module import load_module, unload_module

PANEL_WIDTH = 420  # pixels; what Slicer's module panel has on a usual screen


class PanelStand:
    """A module that was loaded and visited. Made by the fixture panel_stand.

    module: what slicer.modules.<name> is; widget: the object of the widget class; ui: its form's widgets by name, if
    setup() kept them in self.ui; window: the Qt widget that holds the panel; errors: tracebacks of exceptions that were
    raised in slots, timers and observers, where Qt and VTK only print them.
    """

    def __init__(self, path: Path) -> None:
        self.errors: list[str] = []
        self._name, self._closed = path.stem, False
        self._previous_hook = sys.excepthook
        sys.excepthook = self._note_error
        try:
            self.module = load_module(path)
            self.window = self.module.widgetRepresentation()
            self.window.enter()
            self.window.resize(PANEL_WIDTH, 900)
            self.window.show()
            self.process_events()
        except BaseException:
            sys.excepthook = self._previous_hook
            raise

    @property
    def widget(self) -> Any:
        return self.window.self()

    @property
    def ui(self) -> Any:
        return self.widget.ui

    def click(self, button: QtWidgets.QWidget) -> None:
        """Press a button as with the mouse. AssertionError if a user could not: it is hidden or disabled."""
        assert button.isVisible(), f"{button.objectName} is not visible"
        assert button.isEnabled(), f"{button.objectName} is disabled: {button.toolTip}"
        centre = button.rect.center()
        QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton, pos=centre)
        self.process_events()

    def click_cell(self, table: QtWidgets.QTableWidget, row: int, column: int = 0) -> None:
        """Click a cell of a table as with the mouse."""
        centre = table.visualItemRect(table.item(row, column)).center()
        QtTest.QTest.mouseClick(table.viewport(), QtCore.Qt.MouseButton.LeftButton, pos=centre)
        self.process_events()

    def process_events(self) -> None:
        for _ in range(3):
            slicer.app.processEvents()

    def wait_until(self, condition: Callable[[], Any], seconds: float) -> float:
        """Let Qt work until condition() holds. Returns the longest time in s that Qt could not answer a user meanwhile.
        AssertionError if the time is over."""
        end, longest = time.monotonic() + seconds, 0.0
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s in vain"
            begin = time.monotonic()
            slicer.app.processEvents()
            longest = max(longest, time.monotonic() - begin)
            time.sleep(0.005)
        return longest

    def save(self, path: Path) -> None:
        """The panel as a PNG, as high as its contents are at its width: what wraps knows its height only then."""
        layout = self.window.layout
        layout = layout() if callable(layout) else layout
        for _ in range(2):  # groups inside take their own heights from the first time
            height = (
                layout.totalHeightForWidth(PANEL_WIDTH) if layout.hasHeightForWidth() else layout.sizeHint().height()
            )
            self.window.resize(PANEL_WIDTH, max(height, 200))
            self.process_events()
        assert self.window.grab().save(str(path))

    def close(self) -> None:
        """End the module as Slicer's end does. Nothing happens the second time."""
        if self._closed:
            return
        self._closed = True
        try:
            window = self.window
            unload_module(self._name)
            window.setMRMLScene(None)
            window.hide()
            window.deleteLater()
            QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)
            self.process_events()
        finally:
            sys.excepthook = self._previous_hook

    def _note_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))
        self._previous_hook(kind, error, trace)
