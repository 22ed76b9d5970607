"""A chart from a plot view node, drawn by VTK as Slicer draws it.

Stands in for qMRMLPlotView (Libs/MRML/Widgets/qMRMLPlotView.cxx). Differs: scripts cannot reach it, the chart is built
anew for every picture, lines and scattered points are drawn with whole lines and no or round markers, and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from .views import picture_of

MARKERS = {"none": vtk.vtkPlotLine.NONE, "circle": vtk.vtkPlotLine.CIRCLE}


class PlotView:
    """The view of a vtkMRMLPlotViewNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._node, self._size = node, size

    def picture(self) -> np.ndarray:
        view = vtk.vtkContextView()
        view.GetRenderWindow().SetOffScreenRendering(1)
        view.GetRenderWindow().SetMultiSamples(0)
        view.GetRenderWindow().SetSize(*self._size)
        chart_node = slicer.mrmlScene.GetNodeByID(self._node.GetPlotChartNodeID() or "none")
        if chart_node is not None:
            view.GetScene().AddItem(_chart(chart_node))
        return picture_of(view.GetRenderWindow())

    def close(self) -> None:
        """Nothing is kept between pictures."""


def _chart(node: Any) -> Any:
    """A vtkChartXY with the title, axes and series of a chart node."""
    chart = vtk.vtkChartXY()
    chart.SetTitle(node.GetTitle() or "")
    chart.SetShowLegend(node.GetLegendVisibility())
    for place, letter in ((vtk.vtkAxis.BOTTOM, "X"), (vtk.vtkAxis.LEFT, "Y")):
        axis = chart.GetAxis(place)
        axis.SetTitle(getattr(node, f"Get{letter}AxisTitle")() or "")
        axis.SetGridVisible(bool(node.GetGridVisibility()))
        if getattr(node, f"Get{letter}AxisRangeAuto")():
            axis.SetBehavior(vtk.vtkAxis.AUTO)
        else:
            axis.SetBehavior(vtk.vtkAxis.FIXED)
            axis.SetUnscaledRange(*getattr(node, f"Get{letter}AxisRange")())
    for index in range(node.GetNumberOfPlotSeriesNodes()):
        plot = _plot(node.GetNthPlotSeriesNode(index))
        if plot is not None:
            chart.AddPlot(plot)
    return chart


def _plot(series: Any) -> Any:
    """None where Slicer draws nothing: a table or column is missing, or a column holds text."""
    table_node = series.GetTableNode()
    table = table_node.GetTable() if table_node is not None else None
    needed = [series.GetYColumnName(), *([series.GetXColumnName()] if series.IsXColumnRequired() else [])]
    columns = [table.GetColumnByName(name) if table is not None and name else None for name in needed]
    if any(column is None or column.GetDataType() == vtk.VTK_STRING for column in columns):
        return None
    plot = vtk.vtkPlotLine()
    plot.SetWidth(series.GetLineWidth())
    plot.SetColorF(*series.GetColor())
    plot.SetMarkerSize(series.GetMarkerSize())
    plot.SetMarkerStyle(MARKERS[series.GetMarkerStyleAsString(series.GetMarkerStyle())])
    plot.SetUseIndexForXSeries(not series.IsXColumnRequired())
    plot.SetInputData(table, needed[-1], needed[0])
    plot.SetLabel(series.GetName() or needed[0])
    return plot
