"""What Slicer makes of a scripted module's file: the module, and on the first visit the widget of its panel.

Stands in for Base/QTGUI/qSlicerScriptedLoadableModule.cxx and qSlicerScriptedLoadableModuleWidget.cxx. Differs: the
panel is a window of its own, off the screen, and one module is opened at a time.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets

from .mrml_widgets import qMRMLWidget


class qSlicerScriptedLoadableModule:
    """The `parent` of the module's class: the properties that the class may set, and no others."""

    __slots__ = (
        *("acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "extensions"),
        *("helpText", "hidden", "icon", "index", "title", "widgetRepresentationCreationEnabled"),
        *("_logic", "_name", "_path", "_widget"),
    )

    def __init__(self, path: Path) -> None:
        self._name, self._path = path.stem, str(path)
        self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
        self._widget: Any = None
        self.title, self.hidden, self.index, self.icon = path.stem, False, -1, None
        self.widgetRepresentationCreationEnabled = True

    name = property(lambda self: self._name)
    path = property(lambda self: self._path)

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self._name)
        return self._widget

    def forget_widget(self) -> None:
        self._widget = None


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The `parent` of the module's widget class."""

    def __init__(self, module_name: str) -> None:
        super().__init__()
        self._module_name = module_name
        self._entered = False
        QtWidgets.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)
        self._make()

    isEntered = property(lambda self: self._entered)

    def self(self) -> Any:
        """The object of the module's widget class."""
        return self._python_widget

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python_widget, "enter"):
            self._python_widget.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python_widget, "exit"):
            self._python_widget.exit()

    def reload(self) -> None:
        """A new object of the (reloaded) class; enter() is not called, as in Slicer."""
        self._make()

    def _make(self) -> None:
        widget_class = getattr(sys.modules[self._module_name], f"{self._module_name}Widget")
        self._python_widget = widget_class(self)
        setattr(slicer.modules, f"{self._module_name}Widget", self._python_widget)
        self._python_widget.setup()


def load_module(path: Path) -> qSlicerScriptedLoadableModule:
    """Run the module's file and make its module class, as Slicer does at its start; then the start is over.

    Afterwards slicer.modules.<name in lower case> is the returned module, and slicer.modules.<name>Instance the
    object of its class."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    python_module = importlib.util.module_from_spec(spec)
    sys.modules[name] = python_module
    spec.loader.exec_module(python_module)
    module = qSlicerScriptedLoadableModule(path)
    instance = getattr(python_module, name)(module)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", instance)
    slicer.app.startupCompleted.emit()
    return module


def unload_module(name: str) -> None:
    """What happens when Slicer ends: the panel's cleanup, then nothing of the module is left."""
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    module = getattr(slicer.modules, name.lower())
    module.forget_widget()
    for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    slicer.app.disconnect("startupCompleted()")
    sys.modules.pop(name, None)
