"""A chart from a plot view node, drawn by VTK as Slicer draws it.

Stands in for qMRMLPlotWidget and qMRMLPlotView (Libs/MRML/Widgets/qMRMLPlotView.cxx). Differs: the chart is built anew
for every picture instead of being kept in step, and cannot be touched with the mouse.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

BAR_TYPES = ("bar", "scatter-bar")
LINE_STYLES = {
    "none": vtk.vtkPen.NO_PEN,
    "solid": vtk.vtkPen.SOLID_LINE,
    "dash": vtk.vtkPen.DASH_LINE,
    "dot": vtk.vtkPen.DOT_LINE,
    "dash-dot": vtk.vtkPen.DASH_DOT_LINE,
    "dash-dot-dot": vtk.vtkPen.DASH_DOT_DOT_LINE,
}
MARKERS = {
    "none": vtk.vtkPlotLine.NONE,
    "cross": vtk.vtkPlotLine.CROSS,
    "plus": vtk.vtkPlotLine.PLUS,
    "square": vtk.vtkPlotLine.SQUARE,
    "circle": vtk.vtkPlotLine.CIRCLE,
    "diamond": vtk.vtkPlotLine.DIAMOND,
}


class PlotView:
    """qMRMLPlotView for one vtkMRMLPlotViewNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._node, self._size = node, size

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    def fitToContent(self) -> None:
        """Every picture fits its content, unless the chart node fixes the ranges."""

    def chart(self) -> Any:
        """A vtkChartXY with the title, axes and series of the view's chart node; None without one."""
        chart_node = slicer.mrmlScene.GetNodeByID(self._node.GetPlotChartNodeID() or "none")
        if chart_node is None:
            return None
        chart = vtk.vtkChartXY()
        chart.SetTitle(chart_node.GetTitle() or "" if chart_node.GetTitleVisibility() else "")
        chart.SetShowLegend(chart_node.GetLegendVisibility())
        _set_axis(chart, chart_node, "X", vtk.vtkAxis.BOTTOM)
        _set_axis(chart, chart_node, "Y", vtk.vtkAxis.LEFT)
        for index in range(chart_node.GetNumberOfPlotSeriesNodes()):
            plot = _plot(chart_node.GetNthPlotSeriesNode(index))
            if plot is not None:
                chart.AddPlot(plot)
        return chart

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8, top row first."""
        view = vtk.vtkContextView()
        view.GetRenderWindow().SetOffScreenRendering(1)
        view.GetRenderWindow().SetMultiSamples(0)
        view.GetRenderWindow().SetSize(*self._size)
        chart = self.chart()
        if chart is not None:
            view.GetScene().AddItem(chart)
        view.GetRenderWindow().Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(view.GetRenderWindow())
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)).copy()

    def close(self) -> None:
        """Nothing is kept between pictures."""


class PlotWidget:
    """qMRMLPlotWidget."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._view = PlotView(node, size)

    def mrmlPlotViewNode(self) -> Any:
        return self._view.mrmlPlotViewNode()

    def plotView(self) -> PlotView:
        return self._view

    viewWidget = plotView

    def close(self) -> None:
        self._view.close()


def _set_axis(chart: Any, node: Any, letter: str, place: int) -> None:
    def setting(name: str) -> Any:
        return getattr(node, f"Get{letter}Axis{name}")()

    axis = chart.GetAxis(place)
    axis.SetTitle(setting("Title") or "" if setting("TitleVisibility") else "")
    axis.SetLogScale(bool(setting("LogScale")))
    axis.SetGridVisible(bool(node.GetGridVisibility()))
    if setting("RangeAuto"):
        axis.SetBehavior(vtk.vtkAxis.AUTO)
    else:
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetUnscaledRange(*setting("Range"))


def _plot(series: Any) -> Any:
    """None where Slicer draws nothing: a table or column is missing, or a column holds text."""
    table_node = series.GetTableNode()
    table = table_node.GetTable() if table_node is not None else None
    needed = [series.GetYColumnName(), *([series.GetXColumnName()] if series.IsXColumnRequired() else [])]
    columns = [table.GetColumnByName(name) if table is not None and name else None for name in needed]
    if any(column is None or column.GetDataType() in (vtk.VTK_STRING, vtk.VTK_BIT) for column in columns):
        return None
    kind = series.GetPlotTypeAsString(series.GetPlotType())
    plot = vtk.vtkPlotBar() if kind in BAR_TYPES else vtk.vtkPlotLine()
    plot.SetWidth(series.GetLineWidth())
    plot.SetColorF(*series.GetColor())
    plot.SetOpacity(series.GetOpacity())
    plot.GetPen().SetOpacityF(series.GetOpacity())
    style = "solid" if kind == "bar" else series.GetLineStyleAsString(series.GetLineStyle())
    plot.GetPen().SetLineType(LINE_STYLES[style])
    if kind not in BAR_TYPES:
        plot.SetMarkerSize(series.GetMarkerSize())
        plot.SetMarkerStyle(MARKERS[series.GetMarkerStyleAsString(series.GetMarkerStyle())])
    plot.SetUseIndexForXSeries(not series.IsXColumnRequired())
    plot.SetInputData(table, needed[-1], needed[0])
    plot.SetLabel(series.GetName() or needed[0])
    return plot
