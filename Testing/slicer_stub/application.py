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
    moduleLoaded = QtCore.Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        return sorted(vars(slicer.moduleNames).get(name) for name in vars(slicer.moduleNames) if name[0] != "_")

    def isLoaded(self, name: str) -> bool:
        return self.module(name) is not None


class Application(QtWidgets.QApplication):
    """qSlicerApplication: only what a scripted module may reasonably ask."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    majorVersion, minorVersion = 5, 12
    revision = "34000"
    platform = "linux-amd64"
    os = "linux"
    arch = "amd64"
    temporaryPath = slicerHome = defaultScenePath = ""  # set at the start
    restarts = 0  # how often restart() was called
    documentationBaseUrl = "https://slicer.readthedocs.io/en/5.12/"

    def __init__(self) -> None:
        super().__init__([sys.argv[0] or "Slicer", "-platform", "offscreen"])
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer_stand_")
        atexit.register(shutil.rmtree, self.temporaryPath, ignore_errors=True)
        self.slicerHome = self.temporaryPath
        self.defaultScenePath = self.temporaryPath
        self._testing = True
        self._layout_manager: Any = None
        self._module_manager = ModuleManager()
        self._io_manager = core_io.CoreIOManager()
        self._scene, self._application_logic = scene.make_scene(self.temporaryPath)
        settings_file = str(Path(self.temporaryPath) / "Slicer.ini")
        self._settings = QtCore.QSettings(settings_file, QtCore.QSettings.Format.IniFormat)

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._application_logic

    def moduleLogic(self, name: str) -> Any:
        module = self._module_manager.module(name)
        return module.logic() if module is not None else None

    def layoutManager(self) -> Any:
        return self._layout_manager

    def setLayoutManager(self, layout_manager: Any) -> None:
        self._layout_manager = layout_manager

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def coreIOManager(self) -> core_io.CoreIOManager:
        return self._io_manager

    ioManager = coreIOManager

    def testingEnabled(self) -> bool:
        return self._testing

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    settings = revisionUserSettings = userSettings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def translate(self, context: str, text: str) -> str:
        return text

    def pauseRender(self) -> None:
        """Nothing is drawn until a picture is asked for, so there is nothing to pause."""

    def resumeRender(self) -> None:
        """See pauseRender."""

    def setRenderPaused(self, paused: bool) -> None:
        """See pauseRender."""

    def restart(self) -> None:
        self.restarts += 1
