"""What regrowing changed, and where a body is: right on any grid and under any transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
import small_spine
import vtk
from HealthiVertSlicerLib import centres, colours, difference, distances
from scipy import ndimage


@pytest.mark.parametrize("axes", [small_spine.AXES[0], small_spine.AXES[29]], ids=["plain", "turned and mirrored"])
def test_the_difference_is_healthy_minus_original_around_the_target_only(scene: Any, axes: np.ndarray) -> None:
    original, _segmentation = small_spine.small_spine(axes, small_spine.OBLIQUE)
    before = slicer.util.arrayFromVolume(original)
    matrix = difference.ijk_to_ras(original)
    healthy = slicer.util.addVolumeFromArray(before + 100, ijkToRAS=matrix, name="healthy")
    healthy.SetAttribute("HealthiVert.Level", "L2")
    part = tuple(slice(n // 2 - 2, n // 2 + 3) for n in before.shape)
    loss_matrix = matrix.copy()
    loss_matrix[:3, 3] += matrix[:3, :3] @ [s.start for s in reversed(part)]
    loss = slicer.util.addVolumeFromArray(np.ones((5, 5, 5), np.float32), ijkToRAS=loss_matrix, name="loss")
    node = difference.fill_difference(original, healthy, loss)
    assert difference.fill_difference(original, healthy, loss) is node
    values, to_ras = slicer.util.arrayFromVolume(node), difference.ijk_to_ras(node)
    points = difference.mapped(to_ras, np.argwhere(values == 100)[:, ::-1])
    index = difference.mapped(np.linalg.inv(matrix), points)
    spacing = np.array(original.GetSpacing())
    middle = np.array(before.shape)[::-1] // 2
    beyond = np.maximum(np.abs(index - middle) - 2, 0) * spacing  # mm outside of the map
    assert set(np.unique(values)) == {0, 100}
    assert np.linalg.norm(beyond, axis=1).max() <= difference.TARGET_MARGIN_MM + 1e-6
    expected = np.prod(5 + 2 * np.floor(difference.TARGET_MARGIN_MM / spacing))  # a box with rounded corners
    assert 0.5 * expected < len(points) < expected


def test_what_is_no_number_in_the_ct_is_air(scene: Any) -> None:
    original, _segmentation = small_spine.small_spine()
    values = slicer.util.arrayFromVolume(original).astype(np.float32)
    values[20, 20, 20], values[20, 20, 21] = np.nan, np.inf
    matrix = difference.ijk_to_ras(original)
    given = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="float")
    healthy = slicer.util.addVolumeFromArray(np.zeros(values.shape, np.int16), ijkToRAS=matrix, name="healthy")
    healthy.SetAttribute("HealthiVert.Level", "L2")
    loss = slicer.util.addVolumeFromArray(np.ones(values.shape, np.float32), ijkToRAS=matrix, name="loss")
    change = slicer.util.arrayFromVolume(difference.fill_difference(given, healthy, loss))
    assert change.min() > -1000 and (change[20, 20, 20:22] == 1000).all()


def test_colours_of_the_difference_leave_small_changes_clear(scene: Any) -> None:
    table = colours.difference_colours()
    assert colours.difference_colours() is table
    opacity = [table.GetLookupTable().GetTableValue(index)[3] for index in range(colours.NUMBER_OF_COLOURS)]
    assert opacity[0] == opacity[-1] == 1.0
    assert set(opacity[115:141]) == {0.0}


def test_the_middle_of_a_body_is_found_under_a_transform_and_on_any_grid(scene: Any) -> None:
    centre = []
    for axes in (small_spine.AXES[0], small_spine.AXES[29]):
        _volume, segmentation = small_spine.small_spine(axes, small_spine.OBLIQUE)
        centre.append(centres.body_centre(segmentation, "L2"))
    assert np.allclose(*centre, atol=0.8)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 40.0)
    transform.SetMatrixTransformToParent(matrix)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    assert np.allclose(centres.body_centre(segmentation, "L2"), centre[1] + [0.0, 0.0, 40.0], atol=1e-6)


def test_distances_are_those_of_scipy_up_to_the_reach() -> None:
    shape = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(20, 30, 25)), 3) > 0.02
    spacing = np.array([2.5, 1.6, 1.5])
    expected = ndimage.distance_transform_edt(~shape, spacing)
    found = np.sqrt(distances.squared_distance(shape, spacing, 8.0))
    near = expected <= 8.0
    assert shape.any() and not near.all()
    assert np.allclose(found[near], expected[near], atol=1e-4) and (found[~near] > 8.0).all()
