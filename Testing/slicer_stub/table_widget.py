"""A table view of the layout. Stands in for qMRMLTableWidget (Libs/MRML/Widgets/qMRMLTableWidget.cxx)."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from PySide6 import QtGui

from .mrml_table_view import qMRMLTableView


class TableViewOfLayout(qMRMLTableView):
    """The qMRMLTableView that follows a vtkMRMLTableViewNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self._view_node = node
        self.resize(*size)

    def mrmlTableViewNode(self) -> Any:
        return self._view_node

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8, top row first."""
        self.setMRMLTableNode(slicer.mrmlScene.GetNodeByID(self._view_node.GetTableNodeID() or "none"))
        self.resizeColumnsToContents()
        image = self.grab().toImage().convertToFormat(QtGui.QImage.Format.Format_RGB888)
        rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


class TableWidget:
    """qMRMLTableWidget."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._view = TableViewOfLayout(node, size)

    def mrmlTableViewNode(self) -> Any:
        return self._view.mrmlTableViewNode()

    def tableView(self) -> TableViewOfLayout:
        return self._view

    viewWidget = tableView

    def close(self) -> None:
        self._view.setMRMLTableNode(None)
        self._view.deleteLater()
