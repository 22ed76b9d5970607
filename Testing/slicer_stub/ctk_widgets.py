"""The module `ctk`: the widgets of CTK that the panel uses, plainly drawn.

Stands in for CTK/Libs/Widgets (ctkCollapsibleButton.h, ctkCollapsibleGroupBox.h). Differs: the look, and only the
properties and signals named here exist. Written in PythonQt's manner: Qt's properties are attributes.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

HEAD_HEIGHT = 22  # pixels of the line that is left of something collapsed
UNLIMITED_HEIGHT = 16_777_215  # QWIDGETSIZE_MAX


def stored(kind: Any, name: str, default: Any, after: Callable[[Any], None] | None = None) -> tuple[Any, Callable]:
    """(Qt property, its setter): a value kept on the widget; after(widget) is called when it was set."""
    place = f"_stored_{name}"

    def get(self: Any) -> Any:
        return self.__dict__.get(place, default)

    def set_(self: Any, value: Any) -> None:
        self.__dict__[place] = tuple(value) if kind == "QStringList" else value  # as PythonQt gives it back
        if after is not None:
            after(self)

    return QtCore.Property(kind, get, set_), set_


def _show_children(holder: Any, opened: bool) -> None:
    """Open or close what can be collapsed; closed, only its own line is left."""
    for child in holder.children():
        if isinstance(child, QtWidgets.QWidget):
            child.setVisible(opened)
    holder.setMaximumHeight(UNLIMITED_HEIGHT if opened else HEAD_HEIGHT)
    holder.updateGeometry()


def _hide_new_child(holder: Any, event: QtCore.QChildEvent) -> None:
    if event.added() and isinstance(event.child(), QtWidgets.QWidget) and not holder.isChecked():
        event.child().hide()


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A line with a triangle over its contents; checked means open."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *args: Any) -> None:
        super().__init__(next((arg for arg in args if isinstance(arg, QtWidgets.QWidget)), None))
        self.setText(next((arg for arg in args if isinstance(arg, str)), ""))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, HEAD_HEIGHT, 0, 0)
        policy = QtWidgets.QSizePolicy.Policy.Preferred
        self.setSizePolicy(policy, policy)
        self.toggled.connect(self._show_contents)

    def _show_contents(self, opened: bool) -> None:
        _show_children(self, opened)
        self.contentsCollapsed.emit(not opened)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        _hide_new_child(self, event)

    def _is_collapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, _is_collapsed, setCollapsed, notify=contentsCollapsed)
    flat, setFlat = stored(bool, "flat", False)

    def sizeHint(self) -> QtCore.QSize:
        inside = self.layout().sizeHint() if self.layout() and self.isChecked() else QtCore.QSize(100, 0)
        return QtCore.QSize(max(120, inside.width()), inside.height() + HEAD_HEIGHT)

    def minimumSizeHint(self) -> QtCore.QSize:
        inside = self.layout().minimumSize() if self.layout() and self.isChecked() else QtCore.QSize(60, 0)
        return QtCore.QSize(inside.width(), inside.height() + HEAD_HEIGHT)

    def hitButton(self, point: QtCore.QPoint) -> bool:
        return point.y() <= HEAD_HEIGHT

    def paintEvent(self, _event: Any) -> None:
        painter, option = QtGui.QPainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(HEAD_HEIGHT)
        option.text = ("▾ " if self.isChecked() else "▸ ") + self.property("text")
        self.style().drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option, painter, self)
        painter.end()


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check mark shows and hides its contents."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._show_contents)

    def _show_contents(self, opened: bool) -> None:
        _show_children(self, opened)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        _hide_new_child(self, event)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), setCollapsed)


WIDGETS = (ctkCollapsibleButton, ctkCollapsibleGroupBox)
# Asked for by name in Slicer's parameterNodeWrapper (guiConnectors.py), but not imitated.
NAMED_ONLY = (
    "ctkCheckablePushButton",
    "ctkCheckBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkPathLineEdit",
    "ctkRangeWidget",
    "ctkSliderWidget",
)


def named_only(name: str) -> type:
    """A class to compare types with, that cannot be made."""

    def refuse(self: Any, *args: Any) -> None:
        raise NotImplementedError(f"The stand has no {name}.")

    return type(name, (), {"__init__": refuse})


def make_ctk() -> types.ModuleType:
    """The module to be known as `ctk`."""
    ctk = types.ModuleType("ctk")
    for widget in WIDGETS:
        setattr(ctk, widget.__name__, widget)
    for name in NAMED_ONLY:
        setattr(ctk, name, named_only(name))
    return ctk
