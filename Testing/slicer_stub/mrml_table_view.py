"""qMRMLTableView: a table node as a Qt table.

Stands in for Libs/MRML/Widgets/qMRMLTableView.h and qMRMLTableModel.cxx. Differs: read only.
"""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtGui, QtWidgets


class qMRMLTableView(QtWidgets.QTableWidget):
    """Shows column titles with units as header where the node says so, else the names as a bold first row."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._table_node: Any = None
        self._tag: int | None = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlTableNode(self) -> Any:
        return self._table_node

    def setMRMLTableNode(self, node: Any) -> None:
        if self._table_node is not None:
            self._table_node.RemoveObserver(self._tag)
        self._table_node = node
        if node is not None:
            self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        self._update()

    def _update(self) -> None:
        self.clear()
        table = self._table_node.GetTable() if self._table_node is not None else None
        columns = table.GetNumberOfColumns() if table is not None else 0
        titled = bool(columns) and self._table_node.GetUseColumnTitleAsColumnHeader()
        first = 1 if columns and self._table_node.GetUseFirstColumnAsRowHeader() else 0
        self.setColumnCount(max(columns - first, 0))
        self.setRowCount(table.GetNumberOfRows() + (0 if titled else 1) if columns else 0)
        for column in range(first, columns):
            name = table.GetColumnName(column)
            texts = [table.GetValue(row, column).ToString() for row in range(table.GetNumberOfRows())]
            header = self._title(name) if titled else chr(ord("A") + column - first)
            self.setHorizontalHeaderItem(column - first, QtWidgets.QTableWidgetItem(header))
            for row, text in enumerate(texts if titled else [name, *texts]):
                item = QtWidgets.QTableWidgetItem(text)
                if not titled and row == 0:
                    item.setFont(QtGui.QFont("", -1, QtGui.QFont.Weight.Bold))
                self.setItem(row, column - first, item)

    def _title(self, name: str) -> str:
        unit = self._table_node.GetColumnUnitLabel(name)
        return (self._table_node.GetColumnTitle(name) or name) + (f" [{unit}]" if unit else "")
