"""Slice and 3D views that draw with Slicer's own displayable managers, without a display.

Stands in for qMRMLSliceView and qMRMLThreeDView (Libs/MRML/Widgets). Differs: scripts cannot reach them, there are no
controller bars, and nothing is drawn until a picture is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLLinearTransformsDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
)


def picture_of(window: Any) -> np.ndarray:
    """What a render window shows: (height, width, 3) uint8, top row first."""
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)).copy()


class RenderView:
    """A render window off the screen, with Slicer's displayable managers for one view node."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)  # the same bytes from every run
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._interactor.Initialize()

    def picture(self) -> np.ndarray:
        return picture_of(self._window)

    def _show(self, factory: Any, managers: tuple[str, ...], view_node: Any) -> None:
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.Initialize(factory, self._renderer)
        self._group.SetMRMLDisplayableNode(view_node)

    def close(self) -> None:
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()


def _attached(logic: Any) -> Any:
    """A logic of a view, in the scene."""
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    return logic


class SliceView(RenderView):
    """The view of a vtkMRMLSliceNode, with the slice logic that Slicer's slice widget makes for it."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        super().__init__(size)
        self._logic = _attached(slicer.vtkMRMLSliceLogic())
        self._logic.SetSliceNode(node)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self._logic)
        # The image is added before any displayable manager adds a segment's fill, which would hide it otherwise.
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._logic.ResizeSliceNode(*size)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._show(factory, SLICE_MANAGERS, node)

    def picture(self) -> np.ndarray:
        connection = self._logic.GetImageDataConnection()
        self._image.GetMapper().SetInputConnection(connection)
        self._image.SetVisibility(connection is not None)
        return super().picture()

    def close(self) -> None:
        super().close()
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)


class ThreeDView(RenderView):
    """The view of a vtkMRMLViewNode, with its logic."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        super().__init__(size)
        self._logic = _attached(slicer.vtkMRMLViewLogic())
        self._logic.SetName(node.GetLayoutName())  # finds the nodes of that name in the scene
        slicer.app.applicationLogic().GetViewLogics().AddItem(self._logic)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._show(factory, THREE_D_MANAGERS, node)

    def close(self) -> None:
        super().close()
        slicer.app.applicationLogic().GetViewLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)
