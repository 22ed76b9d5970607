"""qt.QUiLoader that knows the stand-ins for CTK's and Slicer's widgets.

In Slicer the loader finds them through designer plugins (Libs/MRML/Widgets/DesignerPlugins). Differs: stricter; a
widget class or a property that does not exist is an error here, while Qt only prints a warning.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import qt_bridge


class UnknownInFormError(RuntimeError):
    """A .ui file names a widget class or property that neither Qt nor the stand has."""


class UiLoader(QtUiTools.QUiLoader):
    widget_classes: dict[str, type] = {}  # noqa: RUF012 - filled by the stand when it starts

    def load(self, device: Any, parent: Any = None) -> Any:
        """The widget of the form in the open device. Raises UnknownInFormError."""
        form = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = _take_connections(form)
        for name in {widget.get("class") for widget in form.iter("widget")}:
            if name in self.widget_classes:
                self.registerCustomWidget(self.widget_classes[name])
            elif not hasattr(QtWidgets, name):
                raise UnknownInFormError(f"The form has a {name}, which neither Qt nor the stand knows.")
        buffer = QtCore.QBuffer()
        buffer.setData(QtCore.QByteArray(ElementTree.tostring(form)))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        with qt_bridge.lenient():
            loaded = super().load(buffer, parent)
        objects = {child.objectName: child for child in (loaded, *_descendants(loaded))}
        _check_properties(form, objects)
        for sender, signal, receiver, slot in connections:
            qt_bridge.connect(objects[sender], signal, objects[receiver], slot)
        return loaded


def _take_connections(form: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """(sender, signal, receiver, slot) of every connection, removed from the form: Qt cannot make those whose
    signatures hold VTK types."""
    found = []
    for block in form.findall("connections"):
        for connection in block:
            found.append(tuple(str(connection.findtext(tag)) for tag in ("sender", "signal", "receiver", "slot")))
        form.remove(block)
    return found  # type: ignore[return-value]


def _descendants(widget: Any) -> list[Any]:
    found = []
    for child in widget.children():
        found += [child, *_descendants(child)]
    return found


def _check_properties(form: ElementTree.Element, objects: dict[str, Any]) -> None:
    for element in form.iter("widget"):
        widget = objects[str(element.get("name"))]
        for item in element.findall("property"):
            name = str(item.get("name"))
            is_dynamic = item.get("stdset") == "0"
            if not is_dynamic and widget.metaObject().indexOfProperty(name) < 0:
                raise UnknownInFormError(f"The form sets {name} of a {element.get('class')}, which has none.")
