"""The module `qt`: PySide6 made to behave like PythonQt.

Stands in for PythonQt as Slicer builds it (commontk/PythonQt; Base/QTGUI/qSlicerPythonManager). Qt's properties are
attributes, all classes lie in one flat module, `object.connect("signal(type)", function)` works, an attribute that the
C++ class lacks cannot be set, and constructors take no keyword arguments. Differs: Qt 6 instead of 5.15, methods do
take keyword arguments, and connecting to a signal that does not exist raises ValueError instead of returning False.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

MODULES = (QtCore, QtGui, QtNetwork, QtWidgets)
# Properties whose getter Python classes override: they stay methods.
VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint"}

_qt_property = QtCore.QObject.property
_qt_set_property = QtCore.QObject.setProperty
_plain_setattr = QtCore.QObject.__setattr__
_connections: dict[int, list[tuple[str, Any, Any, Any]]] = {}  # id of the sender -> (signature, slot, signal, call)
_strict = True


@contextmanager
def lenient() -> Iterator[None]:
    """For PySide6's own loader, which sets the children of a form as attributes of it."""
    global _strict
    _strict = False
    try:
        yield
    finally:
        _strict = True


class PropertyAttribute:
    """A Qt property as an attribute of instances; on the class, the method of that name."""

    def __init__(self, name: str, method: Any, getter: Any, setter: Any) -> None:
        self.name, self.method, self.getter, self.setter = name, method, getter, setter

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None:
            return self.getter(instance) if self.getter else _qt_property(instance, self.name)
        if self.method is None:
            raise AttributeError(self.name)
        return self.method.__get__(None, owner) if hasattr(self.method, "__get__") else self.method

    def __set__(self, instance: Any, value: Any) -> None:
        if self.setter is not None:
            self.setter(instance, value)
        elif not _qt_set_property(instance, self.name, value):
            raise AttributeError(f"Property '{self.name}' of type '{type(instance).__name__}' can not be set")


def make_qt() -> types.ModuleType:
    """The module to be known as `qt`. Changes the classes of PySide6: call it once, before any widget is made."""
    from .ui_loader import UiLoader

    qt = types.ModuleType("qt")
    for module in MODULES:
        for name in dir(module):
            if name.startswith("Q"):
                setattr(qt, name, getattr(module, name))
    qt.QUiLoader = UiLoader  # type: ignore[attr-defined]
    classes = [c for c in vars(qt).values() if isinstance(c, type) and hasattr(c, "staticMetaObject")]
    for cls in sorted(classes, key=lambda c: len(c.__mro__)):
        _add_properties(cls)
    own_lookup = {cls: cls.__getattribute__ for cls in classes}  # before the first of them is replaced
    for cls in classes:
        if issubclass(cls, QtCore.QObject):
            cls.__getattribute__ = _lookup(own_lookup[cls])  # type: ignore[method-assign]
            if cls is not QtCore.QObject:  # whose own one _plain_setattr calls
                cls.__setattr__ = _strict_setattr  # type: ignore[method-assign, assignment]
    for cls in {c for c in vars(qt).values() if isinstance(c, type)}:
        _refuse_keywords(cls)
    _add_pythonqt_methods()
    return qt


def _add_properties(cls: type) -> None:
    meta = cls.staticMetaObject  # type: ignore[attr-defined]
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        meta_property = meta.property(index)
        name = meta_property.name()
        if name in VIRTUAL_GETTERS:
            continue
        capital = name[0].upper() + name[1:]
        method = cls.__dict__.get(name, getattr(cls, name, None))
        if isinstance(method, PropertyAttribute):
            method = method.method
        plain_getter = method if callable(method) and not isinstance(method, staticmethod) else None
        getter = plain_getter or getattr(cls, f"is{capital}", None)
        if name == "singleShot":  # QTimer has a static method of the same name
            getter = cls.isSingleShot  # type: ignore[attr-defined]
        setter = getattr(cls, f"set{capital}", None) if meta_property.isWritable() else None
        if setter is not None and meta_property.typeName() == "bool":
            setter = _taking_any_truth(setter)
        setattr(cls, name, PropertyAttribute(name, method, getter, setter))


def _taking_any_truth(setter: Callable) -> Callable:
    return lambda instance, value: setter(instance, bool(value))


def _lookup(own: Callable) -> Callable:
    """PySide6 resolves connect and disconnect before it looks at the class, so they are caught here."""
    bridged = {"connect": connect, "disconnect": disconnect}

    def __getattribute__(self: Any, name: str) -> Any:
        function = bridged.get(name)
        return own(self, name) if function is None else types.MethodType(function, self)

    return __getattribute__


def _strict_setattr(self: Any, name: str, value: Any) -> None:
    """As PythonQt: a class written in Python may have any attribute, a C++ class only its own."""
    cls = type(self)
    is_cpp = _strict and cls.__module__.split(".")[0] in ("PySide6", "slicer_stub") and not name.startswith("_")
    if is_cpp and not any(name in parent.__dict__ for parent in cls.__mro__):
        raise AttributeError(
            f"Attribute '{name}' does not exist and creation of new attributes on C++ objects is not allowed "
            f"({cls.__name__})"
        )
    _plain_setattr(self, name, value)


def _refuse_keywords(cls: type) -> None:
    """As PythonQt: a constructor in C++ takes no keyword arguments. A Python class that derives from it may."""
    own = cls.__init__  # type: ignore[misc]

    def __init__(self: Any, *args: Any, **keywords: Any) -> None:
        if keywords and type(self) is cls:
            raise TypeError(f"{cls.__name__}: keyword arguments are not supported")
        own(self, *args, **keywords)

    if issubclass(cls, enum.Enum) or "__init__" not in cls.__dict__:
        return
    cls.__init__ = __init__  # type: ignore[misc]


def _add_pythonqt_methods() -> None:
    base: Any = QtCore.QObject
    base.connect, base.disconnect = connect, disconnect
    base.name = PropertyAttribute("objectName", None, lambda self: _qt_property(self, "objectName"), base.setObjectName)


def connect(self: Any, signature: str, *slot: Any) -> bool:
    """connect("signal(type)", function) or connect("signal(type)", receiver, "slot()")."""
    function = getattr(slot[0], slot[1].split("(")[0]) if len(slot) == 2 else slot[0]
    if not callable(function):
        raise ValueError(f"connect {signature}: {function!r} is not callable")
    signal = find_signal(self, signature)
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    sent = len(inside.split(",")) if inside.strip() else 0
    taken = _number_of_arguments(function)
    count = sent if taken is None else min(sent, taken)

    call = _with_arguments(function, count)
    signal.connect(call)
    _connections.setdefault(id(self), []).append((signature, function, signal, call))
    return True


def _with_arguments(function: Callable, count: int) -> Callable:
    """PySide6 chooses among a signal's overloads by the number of arguments that it sees in the slot."""
    choices: tuple[Callable, ...] = (
        lambda: function(),
        lambda a: function(a),
        lambda a, b: function(a, b),
        lambda a, b, c: function(a, b, c),
        lambda a, b, c, d: function(a, b, c, d),
    )
    return choices[count]


def disconnect(self: Any, signature: str, function: Any = None) -> bool:
    """Undo connect: of one signature and function, or of all functions of a signature."""
    made = _connections.pop(id(self), [])
    for connected, slot, signal, call in made:
        if connected == signature and function in (None, slot):
            signal.disconnect(call)
        else:
            _connections.setdefault(id(self), []).append((connected, slot, signal, call))
    return len(_connections.get(id(self), [])) < len(made)


def find_signal(self: Any, signature: str) -> Any:
    """The signal of the object with this very signature. Raises ValueError if there is none.

    A pointer to a VTK object arrives as a Python object."""
    signal = getattr(self, signature.split("(")[0], None)
    exists = hasattr(signal, "connect")
    if exists:
        in_python = re.sub(r"vtk\w+\s*\*", "PyObject", signature)
        normal = QtCore.QMetaObject.normalizedSignature(in_python)
        normal = normal.data().decode() if hasattr(normal, "data") else str(normal)
        exists = self.metaObject().indexOfSignal(normal) >= 0
    if not exists:
        raise ValueError(f"QObject::connect: no such signal {type(self).__name__}::{signature}")
    return signal


def _number_of_arguments(function: Callable) -> int | None:
    """How many positional arguments the function takes; None: any number, or not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )
