"""The surface of the healthy body with the height loss on it.

In: height_loss_map of a run, percent, 0 off the body. Out: vtkPolyData in the CT's own frame (RAS mm) with the point
scalar SCALAR_NAME.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from HealthiVertSlicerLib.result_nodes import ImageFile, image_data

SCALAR_NAME = "height loss (%)"
SMOOTHING_PASSES, PASS_BAND = 40, 0.01  # takes the staircase off, keeps endplates where they are
REACH_MM = 0.8  # over which the loss is averaged and carried out to the surface


def loss_surface(loss: ImageFile) -> Any:
    """Raises ValueError if no voxel of the map is on a body."""
    inside = np.pad(loss.array != 0, 1).astype(np.float32)
    if not inside.any():
        raise ValueError("the height loss map is empty")
    percent = np.pad(loss.array, 1).astype(np.float32)
    to_ras = loss.ijk_to_ras.copy()
    to_ras[:3, 3] -= to_ras[:3, :3] @ np.ones(3)
    surface = _smooth_surface(inside, to_ras)
    spread = REACH_MM / np.linalg.norm(to_ras[:3, :3], axis=0)
    shares, values = (_at_points(_blurred(array, spread), surface, to_ras) for array in (inside, percent))
    scalars = numpy_to_vtk(values / np.maximum(shares, 1e-6), deep=True)
    scalars.SetName(SCALAR_NAME)
    surface.GetPointData().SetScalars(scalars)
    return surface


def _smooth_surface(inside: np.ndarray, to_ras: np.ndarray) -> Any:
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image_data(inside))
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()  # those of the staircase would outlast the smoothing
    contour.ComputeGradientsOff()
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetInputConnection(contour.GetOutputPort())
    placed.SetTransform(_transform(to_ras))
    smooth = vtk.vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(placed.GetOutputPort())
    smooth.SetNumberOfIterations(SMOOTHING_PASSES)
    smooth.SetPassBand(PASS_BAND)
    smooth.NormalizeCoordinatesOn()
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(smooth.GetOutputPort())
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()  # also where the CT's axes are left-handed
    normals.ConsistencyOn()
    normals.Update()
    return normals.GetOutput()


def _blurred(array: np.ndarray, spread: np.ndarray) -> Any:
    """spread: standard deviation along i, j, k in voxels."""
    blur = vtk.vtkImageGaussianSmooth()
    blur.SetInputData(image_data(array))
    blur.SetStandardDeviations(*spread)
    blur.SetRadiusFactors(3.0, 3.0, 3.0)
    blur.Update()
    return blur.GetOutput()


def _at_points(image: Any, surface: Any, to_ras: np.ndarray) -> np.ndarray:
    """Values of the image, given by its indices, at the surface's points."""
    to_index = vtk.vtkTransformPolyDataFilter()
    to_index.SetInputData(surface)
    to_index.SetTransform(_transform(np.linalg.inv(to_ras)))
    probe = vtk.vtkProbeFilter()
    probe.SetInputConnection(to_index.GetOutputPort())
    probe.SetSourceData(image)
    probe.Update()
    return vtk_to_numpy(probe.GetOutput().GetPointData().GetScalars()).astype(np.float64)


def _transform(matrix: np.ndarray) -> Any:
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return transform
