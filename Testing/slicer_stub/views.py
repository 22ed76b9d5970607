"""Slice and 3D views that draw with Slicer's own displayable managers, without a display.

Stands in for qMRMLSliceWidget, qMRMLSliceView, qMRMLThreeDWidget and qMRMLThreeDView (Libs/MRML/Widgets). Differs: no
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


class RenderView:
    """A render window off the screen: what a ctkVTKRenderView offers to scripts."""

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

    def renderWindow(self) -> Any:
        return self._window

    def renderer(self) -> Any:
        return self._renderer

    def interactor(self) -> Any:
        return self._interactor

    def scheduleRender(self) -> None:
        """A picture is drawn when it is asked for."""

    def forceRender(self) -> None:
        self._window.Render()

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8, top row first."""
        self.forceRender()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return np.flipud(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)).copy()

    def _show(self, factory: Any, managers: tuple[str, ...], view_node: Any) -> None:
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.Initialize(factory, self._renderer)
        self._group.SetMRMLDisplayableNode(view_node)

    def displayableManagerByClassName(self, class_name: str) -> Any:
        return self._group.GetDisplayableManagerByClassName(class_name)

    def close(self) -> None:
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()


class SliceView(RenderView):
    """qMRMLSliceView."""

    def __init__(self, logic: Any, size: tuple[int, int]) -> None:
        super().__init__(size)
        self._logic = logic
        # The image is added before any displayable manager adds a segment's fill, which would hide it otherwise.
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._image)
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        logic.ResizeSliceNode(*size)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._show(factory, SLICE_MANAGERS, logic.GetSliceNode())
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(logic)
        self._style.SetDisplayableManagers(self._group)
        self._style.SetInteractor(self._interactor)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def forceRender(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._image.GetMapper().SetInputConnection(connection)
        self._image.SetVisibility(connection is not None)
        super().forceRender()


class SliceController:
    """qMRMLSliceControllerWidget without its buttons."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()
        self._logic.SnapSliceOffsetToIJK()

    def setSliceVisible(self, visible: bool) -> None:
        self._logic.GetSliceNode().SetSliceVisible(visible)

    def setSliceOffsetValue(self, offset: float) -> None:
        self._logic.SetSliceOffset(offset)

    def setSliceLink(self, linked: bool) -> None:
        self._logic.GetSliceCompositeNode().SetLinkedControl(linked)


class SliceWidget:
    """qMRMLSliceWidget for one vtkMRMLSliceNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        slicer.app.applicationLogic().GetSliceLogics().AddItem(self._logic)
        self._view = SliceView(self._logic, size)
        self._controller = SliceController(self._logic)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceView(self) -> SliceView:
        return self._view

    viewWidget = sliceView

    def sliceController(self) -> SliceController:
        return self._controller

    def fitSliceToBackground(self) -> None:
        self._controller.fitSliceToBackground()

    def close(self) -> None:
        self._view.close()
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)


class ThreeDView(RenderView):
    """qMRMLThreeDView."""

    def __init__(self, logic: Any, size: tuple[int, int]) -> None:
        super().__init__(size)
        self._logic = logic
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._show(factory, THREE_D_MANAGERS, logic.GetViewNode())

    def mrmlViewNode(self) -> Any:
        return self._logic.GetViewNode()

    def cameraNode(self) -> Any:
        return self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def resetFocalPoint(self) -> None:
        """Look at the middle of what is shown, without its frame (box, labels and crosshair)."""
        node = self.mrmlViewNode()
        frame = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        node.SetBoxVisible(0)
        node.SetAxisLabelsVisible(0)
        bounds = vtk.vtkBoundingBox(self._renderer.ComputeVisiblePropBounds())
        if bounds.IsValid():
            centre = [0.0, 0.0, 0.0]
            bounds.GetCenter(centre)
            self.cameraNode().SetFocalPoint(*centre)
        node.SetBoxVisible(frame[0])
        node.SetAxisLabelsVisible(frame[1])
        node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)
        self._renderer.ResetCameraClippingRange()

    def resetCamera(self, rotation: bool = True, translation: bool = True, distance: bool = True) -> None:
        self.cameraNode().Reset(rotation, translation, distance, self._renderer)

    def rotateToViewAxis(self, axis: int) -> None:
        """axis: 0 left, 1 right, 2 posterior, 3 anterior, 4 inferior, 5 superior."""
        camera = slicer.vtkMRMLCameraNode
        directions = (camera.Left, camera.Right, camera.Posterior, camera.Anterior, camera.Inferior, camera.Superior)
        self.cameraNode().RotateTo(directions[axis])


class ThreeDWidget:
    """qMRMLThreeDWidget for one vtkMRMLViewNode."""

    def __init__(self, node: Any, size: tuple[int, int]) -> None:
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetName(node.GetLayoutName())  # finds the nodes of that name in the scene
        slicer.app.applicationLogic().GetViewLogics().AddItem(self._logic)
        self._view = ThreeDView(self._logic, size)

    def mrmlViewNode(self) -> Any:
        return self._logic.GetViewNode()

    def viewLogic(self) -> Any:
        return self._logic

    def threeDView(self) -> ThreeDView:
        return self._view

    viewWidget = threeDView

    def close(self) -> None:
        self._view.close()
        slicer.app.applicationLogic().GetViewLogics().RemoveItem(self._logic)
        self._logic.SetMRMLScene(None)
