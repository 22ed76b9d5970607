"""@parameterNodeWrapper: typed attributes kept in a parameter node and bound to widgets.

Stands in for the package Base/Python/slicer/parameterNodeWrapper. Covers fields of bool, int, float, str, Enum, Path
and MRML nodes, the annotations Default, WithinRange, Minimum, Maximum, Choice, Decimals and SingleStep, and the widgets
of WIDGETS. Differs: no parameter packs, no lists, tuples, dictionaries, unions or own serializers (TypeError); nothing
is cached; no dataType, isCached, createGui or findChildWidgetForParameter.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ctk
import qt
import slicer
import slicer.util
import vtk

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Default:
    value: Any = None


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be less than {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice:
    choices: Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


ZERO = {bool: False, int: 0, float: 0, str: "", pathlib.Path: pathlib.Path()}


class Field:
    """One declared attribute: its type, its annotations and its text in the parameter node."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name, self.hint = name, hint
        self.kind, *self.notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)
        if not (self.is_node or self.is_enum or self.kind in ZERO):
            raise TypeError(f"Unable to create serializer for {name}: the stand knows no {self.kind}")
        noted = self.note(Default)
        self.default = default if default is not None else noted.value if noted else self._first_value()

    def _first_value(self) -> Any:
        if self.is_node:
            return None
        return next(iter(self.kind)) if self.is_enum else ZERO[self.kind]

    def note(self, kind: type) -> Any:
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def check(self, value: Any) -> None:
        """Raises TypeError or ValueError for what the field cannot hold."""
        accepted = (int, float) if self.kind is float else self.kind
        if value is None and self.is_node:
            return
        if value is None:
            raise ValueError("Value must not be None")
        if self.kind is int and isinstance(value, bool):  # Slicer writes it, and cannot read it back
            raise ValueError(f"invalid literal for int(): '{value}'")
        if not isinstance(value, accepted):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")  # tells a reference to nothing from one that was never written
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not self.is_in(node):
            self.write(node, self.default)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if self.is_enum else self.kind(text)


class Binding:
    """One widget that shows one field. Raises RuntimeError for a pair that Slicer cannot bind."""

    def __init__(self, widget: Any, field: Field) -> None:
        self.widget, self.field = widget, field
        combo = type(widget) in (qt.QComboBox, ctk.ctkComboBox)
        kinds, signal, read, write = COMBO if combo else WIDGETS.get(type(widget), ((), "", None, None))
        if not any(field.kind is kind or (isinstance(kind, str) and getattr(field, kind)) for kind in kinds):
            raise RuntimeError(f"Unable to create GUI connector from '{field.hint}' to widget type '{type(widget)}'.")
        self._read, self._write = read, write
        self._signal = getattr(widget, signal) if signal else None
        self.items = self._fill_combo() if combo else []
        if type(widget) is qt.QPushButton:
            widget.checkable = True
        if isinstance(widget, slicer.qMRMLNodeComboBox):
            widget.nodeTypes = [field.kind().GetClassName()]
        if field.kind in (int, float) and not combo:
            self._set_limits()

    def _fill_combo(self) -> list[Any]:
        choice = self.field.note(Choice)
        if not self.field.is_enum and choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        items = list(self.field.kind) if self.field.is_enum else list(choice.choices)
        self.widget.clear()
        for item in items:
            label = getattr(self.field.kind, "label", lambda one: one.name) if self.field.is_enum else str
            self.widget.addItem(label(item))
        return items

    def _set_limits(self) -> None:
        field, widget = self.field, self.widget
        within = field.note(WithinRange)
        low, high = within or field.note(Minimum), within or field.note(Maximum)
        if isinstance(widget, (qt.QSlider, ctk.ctkSliderWidget)) and not (low and high):
            raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
        if isinstance(widget, (ctk.ctkSliderWidget, qt.QDoubleSpinBox)) and field.kind is int:
            widget.decimals = 0
        for note, name in ((field.note(Decimals), "decimals"), (field.note(SingleStep), "singleStep")):
            if note is not None:
                setattr(widget, name, note.value)
        whole = isinstance(widget, (qt.QSlider, qt.QSpinBox))
        widget.setMinimum(low.minimum if low else -(2**31) if whole else float("-inf"))
        widget.setMaximum(high.maximum if high else 2**31 - 1 if whole else float("inf"))

    def read(self) -> Any:
        value = self._read(self)
        return self.field.kind(value) if self.field.kind in (int, pathlib.Path) else value

    def write(self, value: Any) -> None:
        self._write(self, value)

    def connect(self, function: Callable[[], None]) -> None:
        self._slot = lambda *_: function()
        if self._signal is not None:
            self._signal.connect(self._slot)

    def disconnect(self) -> None:
        if self._signal is not None:
            self._signal.disconnect(self._slot)


def _by_property(name: str) -> tuple[Callable, Callable]:
    def write(binding: Binding, value: Any) -> None:
        if getattr(binding.widget, name) != value:  # writing a text again would move the cursor
            setattr(binding.widget, name, value)

    return (lambda binding: getattr(binding.widget, name)), write


def _write_path(binding: Binding, value: pathlib.Path) -> None:
    binding.widget.setCurrentPath(str(value))


# Class of the widget -> the types it can show (or is_enum, is_node), its signal, how to read and to write it. Exactly
# these classes, as in Slicer: a subclass is not bound.
WIDGETS: dict[type, tuple[tuple, str, Any, Any]] = {
    qt.QCheckBox: ((bool,), "stateChanged", *_by_property("checked")),
    ctk.ctkCheckBox: ((bool,), "stateChanged", *_by_property("checked")),
    qt.QPushButton: ((bool,), "toggled", *_by_property("checked")),
    qt.QSlider: ((int,), "valueChanged", *_by_property("value")),
    qt.QSpinBox: ((int,), "valueChanged", *_by_property("value")),
    qt.QDoubleSpinBox: ((int, float), "valueChanged", *_by_property("value")),
    ctk.ctkDoubleSpinBox: ((int, float), "valueChanged", *_by_property("value")),
    ctk.ctkSliderWidget: ((int, float), "valueChanged", *_by_property("value")),
    slicer.qMRMLSliderWidget: ((int, float), "valueChanged", *_by_property("value")),
    qt.QLineEdit: ((str,), "textChanged", *_by_property("text")),
    qt.QLabel: ((str,), "", *_by_property("text")),
    ctk.ctkPathLineEdit: (
        (pathlib.Path,),
        "currentPathChanged",
        lambda binding: binding.widget.currentPath,
        _write_path,
    ),
    slicer.qMRMLNodeComboBox: (
        ("is_node",),
        "currentNodeChanged",
        lambda binding: binding.widget.currentNode(),
        lambda binding, value: binding.widget.setCurrentNode(value),
    ),
}
COMBO: tuple[tuple, str, Any, Any] = (
    (bool, int, float, str, "is_enum"),
    "currentIndexChanged",
    lambda binding: binding.items[binding.widget.currentIndex],
    lambda binding, value: binding.widget.setCurrentIndex(binding.items.index(value)),
)


class WrapperMethods:
    """What every wrapped class gets."""

    allParameters: dict[str, Field]
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[int, list[Binding]]] = {}  # by tag: observer of the node, bindings
        self._updating = False
        for field in self.allParameters.values():
            if not field.is_in(parameterNode):
                field.write(parameterNode, field.default)

    def _field(self, name: str) -> Field:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        return self._field(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._field(name).write(self.parameterNode, value)

    def default(self, name: str) -> Default:
        return Default(self._field(name).default)

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets of gui that have the property SlicerParameterName; gui: a widget, or an object that holds
        widgets, as childWidgetVariables gives."""
        is_widget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if is_widget else list(vars(gui).values())
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in widgets}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        bindings = [Binding(widget, self._field(name)) for name, widget in mapping.items()]
        tag = max(self._guis, default=-1) + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        self._guis[tag] = (observer, bindings)
        for binding in bindings:
            binding.write(self.getValue(binding.field.name))
            binding.connect(lambda binding=binding: self._take(binding))
        return tag

    def disconnectGui(self, tag: int) -> None:
        observer, bindings = self._guis.pop(tag, (0, []))
        if observer:
            self.RemoveObserver(observer)
        for binding in bindings:
            binding.disconnect()

    def _take(self, binding: Binding) -> None:
        if not self._updating:
            with slicer.util.NodeModify(self):
                self.setValue(binding.field.name, binding.read())

    def _show(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for _, bindings in self._guis.values():
                for binding in bindings:
                    binding.write(self.getValue(binding.field.name))
        finally:
            self._updating = False

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> None:
        self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def isParameterNodeWrapper(class_or_object: Any) -> bool:
    return getattr(class_or_object, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Class decorator."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: Field(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    for name in fields:
        setattr(cls, name, _property(name))
    for name, value in vars(WrapperMethods).items():
        if name.startswith("__") and name != "__init__":
            continue
        if name in vars(cls):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.allParameters = fields  # type: ignore[attr-defined]
    return cls
