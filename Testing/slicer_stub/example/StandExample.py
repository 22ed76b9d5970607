"""A small scripted module that uses what the stand offers; the stand's own tests open it."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, Decimals, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Side(enum.Enum):
    LEFT = 1
    RIGHT = 2


@parameterNodeWrapper
class StandExampleParameters:
    volume: vtkMRMLScalarVolumeNode
    count: Annotated[int, WithinRange(1, 5)] = 2
    share: Annotated[float, WithinRange(0, 1), Decimals(3)] = 0.5
    percent: Annotated[int, WithinRange(0, 100)] = 10
    active: bool = True
    title: str = "first"
    side: Side = Side.RIGHT
    method: Annotated[str, Choice(["fast", "slow"])] = "slow"
    folder: Path


class StandExample(ScriptedLoadableModule):
    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("Example")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        parent.helpText = self.getDefaultModuleDocumentationLink()
        self.starts = 0
        slicer.app.connect("startupCompleted()", self._started)

    def _started(self) -> None:
        self.starts += 1


class StandExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.calls: list[str] = []

    def setup(self) -> None:
        super().setup()
        form = slicer.util.loadUI(self.resourcePath("UI/StandExample.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.logic = StandExampleLogic()
        self.parameters = self.logic.getParameterNode()
        self._tag = self.parameters.connectGui(self.ui)
        self.ui.applyButton.connect("clicked(bool)", self._apply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closes)

    def enter(self) -> None:
        self.calls.append("enter")

    def exit(self) -> None:
        self.calls.append("exit")

    def cleanup(self) -> None:
        self.calls.append("cleanup")
        self.parameters.disconnectGui(self._tag)
        self.removeObservers()

    def _apply(self, checked: bool) -> None:
        self.calls.append("apply")
        qt.QTimer.singleShot(20, lambda: self.calls.append("later"))

    def _scene_closes(self, caller, event) -> None:
        self.calls.append("scene closes")


class StandExampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self) -> StandExampleParameters:
        return StandExampleParameters(super().getParameterNode())


class StandExampleTest(ScriptedLoadableModuleTest):
    ran: list[str] = []  # noqa: RUF012

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.ran.append("set up")

    def test_something(self) -> None:
        self.delayDisplay("something")
        self.ran.append("tested")
