"""slicer.app: the application object as scripts see it.

Stands in for Base/QTCore/qSlicerCoreApplication.h and Base/QTGUI/qSlicerApplication.h. Differs: no main window, testing
mode is on unless a test turns it off, and the layout manager is None until the views of the stand are opened
(as in a Slicer started with --no-main-window).
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from . import core_io, scene


class ModuleManager(QtCore.QObject):
    """qSlicerModuleManager (Base/QTCore/qSlicerModuleManager.h)."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


class Application(QtWidgets.QApplication):
    """qSlicerApplication: only what the panel, slicer.util and Slicer's base classes of modules ask."""

    startupCompleted = QtCore.Signal()

    temporaryPath = ""  # set at the start
    documentationBaseUrl = "https://slicer.readthedocs.io/en/5.12/"

    def __init__(self) -> None:
        super().__init__([sys.argv[0] or "Slicer", "-platform", "offscreen"])
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer_stand_")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self._layout_manager: Any = None
        self._module_manager = ModuleManager()
        self._io_manager = core_io.CoreIOManager()
        self._application_logic = scene.make_scene(self.temporaryPath)
        settings_file = str(Path(self.temporaryPath) / "Slicer.ini")
        self._settings = QtCore.QSettings(settings_file, QtCore.QSettings.Format.IniFormat)

    def applicationLogic(self) -> Any:
        return self._application_logic

    def layoutManager(self) -> Any:
        return self._layout_manager

    def setLayoutManager(self, layout_manager: Any) -> None:
        """For the tests: the views that there are from now on, None for none."""
        self._layout_manager = layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def coreIOManager(self) -> core_io.CoreIOManager:
        return self._io_manager

    def testingEnabled(self) -> bool:
        return True

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    settings = userSettings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def translate(self, context: str, text: str) -> str:
        return text
