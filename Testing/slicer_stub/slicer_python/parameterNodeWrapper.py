"""@parameterNodeWrapper: typed attributes kept in a parameter node and bound to widgets.

Stands in for the package Base/Python/slicer/parameterNodeWrapper, as far as the panel uses it: fields of bool, int,
float, str and MRML nodes, WithinRange, and the widgets of WIDGETS. Differs: other types and widgets are refused
(TypeError, RuntimeError); nothing is cached; no dataType, isCached, createGui or findChildWidgetForParameter.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer
import slicer.util
import vtk

__all__ = ["SlicerParameterNamePropertyName", "WithinRange", "parameterNodeWrapper"]

SlicerParameterNamePropertyName = "SlicerParameterName"
ZERO = {bool: False, int: 0, float: 0, str: ""}


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Field:
    """One declared attribute: its type, its range and its text in the parameter node."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name, self.hint = name, hint
        self.kind, *notes = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        self.range = next((note for note in notes if isinstance(note, WithinRange)), None)
        self.is_node = isinstance(self.kind, type) and issubclass(self.kind, slicer.vtkMRMLNode)
        if not self.is_node and self.kind not in ZERO:
            raise TypeError(f"Unable to create serializer for {name}: the stand knows no {self.kind}")
        self.default = ZERO.get(self.kind) if default is None else default

    def check(self, value: Any) -> None:
        """Raises TypeError or ValueError for what the field cannot hold."""
        if value is None and self.is_node:
            return
        if value is None:
            raise ValueError("Value must not be None")
        if self.kind is int and isinstance(value, bool):  # Slicer writes it, and cannot read it back
            raise ValueError(f"invalid literal for int(): '{value}'")
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        if self.range is not None:
            self.range.validate(value)

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")  # tells a reference to nothing from one that was never written
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, str(value))

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not self.is_in(node):
            self.write(node, self.default)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


class Binding:
    """One widget that shows one field. Raises RuntimeError for a pair that Slicer, or the stand, cannot bind."""

    def __init__(self, widget: Any, field: Field) -> None:
        self.widget, self.field = widget, field
        kinds, signal = WIDGETS.get(type(widget), ((), ""))
        if not (field.kind in kinds or (field.is_node and slicer.vtkMRMLNode in kinds)):
            raise RuntimeError(f"Unable to create GUI connector from '{field.hint}' to widget type '{type(widget)}'.")
        self._signal = getattr(widget, signal)
        if field.is_node:
            widget.nodeTypes = [field.kind().GetClassName()]
        else:
            self._set_limits()

    def _set_limits(self) -> None:
        limits = self.field.range
        whole = isinstance(self.widget, qt.QSpinBox)
        self.widget.setMinimum(limits.minimum if limits else -(2**31) if whole else float("-inf"))
        self.widget.setMaximum(limits.maximum if limits else 2**31 - 1 if whole else float("inf"))

    def read(self) -> Any:
        return self.widget.currentNode() if self.field.is_node else self.field.kind(self.widget.value)

    def write(self, value: Any) -> None:
        if self.field.is_node:
            self.widget.setCurrentNode(value)
        elif self.widget.value != value:  # writing it again would move the cursor
            self.widget.value = value

    def connect(self, function: Callable[[], None]) -> None:
        self._slot = lambda *_: function()
        self._signal.connect(self._slot)

    def disconnect(self) -> None:
        self._signal.disconnect(self._slot)


# Class of the widget -> the types it can show, and its signal. Exactly these classes, as in Slicer: a subclass is not
# bound.
WIDGETS: dict[type, tuple[tuple[type, ...], str]] = {
    qt.QSpinBox: ((int,), "valueChanged"),
    qt.QDoubleSpinBox: ((float,), "valueChanged"),
    slicer.qMRMLNodeComboBox: ((slicer.vtkMRMLNode,), "currentNodeChanged"),
}


class WrapperMethods:
    """What every wrapped class gets."""

    allParameters: dict[str, Field]

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

    def connectGui(self, gui: Any) -> int:
        """Bind the widgets of gui that have the property SlicerParameterName; gui: an object that holds widgets, as
        childWidgetVariables gives."""
        named = {widget.property(SlicerParameterNamePropertyName): widget for widget in vars(gui).values()}
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
        observer, bindings = self._guis.pop(tag)
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


def _property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: Field(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    for name in fields:
        setattr(cls, name, _property(name))
    for name, value in vars(WrapperMethods).items():
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, value)
    cls.allParameters = fields  # type: ignore[attr-defined]
    return cls
