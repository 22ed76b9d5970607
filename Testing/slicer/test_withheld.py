"""What the user paints besides the target is withheld from the generator, in the preview and in the run."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from HealthiVertSlicerLib import inputs, withheld
from HealthiVertSlicerLib.frames import ijk_to_ras, mapped, nearest_in
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic
from HealthiVertSlicerLib.pieces import at_once
from HealthiVertSlicerLib.result_nodes import fill_segment, image_data
from HealthiVertSlicerLib.spine_runs import SpineRuns


@pytest.fixture
def cement(phantom_nodes) -> np.ndarray:
    """Some voxels (K, J, I) in the middle of L2."""
    segment_id = phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L2")
    body = at_once(inputs.labels_in_pieces(*phantom_nodes, [segment_id]))
    middle = np.round(np.argwhere(body).mean(axis=0)).astype(int)
    mask = np.zeros(body.shape, bool)
    mask[tuple(slice(place - 3, place + 4) for place in middle)] = True
    return mask


def paint(volume, mask: np.ndarray):
    """As with the Segment Editor."""
    node = withheld.make(volume)
    fill_segment(node, node.GetSegmentation().GetNthSegmentID(0), mask, ijk_to_ras(volume))
    return node


def test_nothing_is_withheld_until_something_is_painted(phantom_nodes, cement, tmp_path):
    volume = phantom_nodes.volume
    assert withheld.find(volume) is None
    made = withheld.make(volume)
    assert withheld.make(volume) is made and withheld.find(volume) is None
    assert at_once(inputs.exporting(*phantom_nodes, tmp_path)).withheld is None
    assert paint(volume, cement) is made and withheld.find(volume) is made


def test_what_is_erased_again_is_not_withheld(phantom_nodes, cement):
    painted = paint(phantom_nodes.volume, cement)
    image = painted.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image.GetPointData().GetScalars().Fill(0)  # as the Segment Editor's eraser leaves it
    image.Modified()
    assert withheld.find(phantom_nodes.volume) is None


def test_what_is_painted_reaches_the_core_on_the_cts_grid_under_any_transform(phantom_nodes, cement, tmp_path):
    node = paint(phantom_nodes.volume, cement)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = slicer.util.vtkMatrixFromArray(np.array([[0, -1, 0, 9], [1, 0, 0, 5], [0, 0, 1, -30], [0, 0, 0, 1.0]]))
    transform.SetMatrixTransformToParent(matrix)
    for moved in (*phantom_nodes, node):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    found = at_once(inputs.exporting(*phantom_nodes, tmp_path, hidden=node))
    mask, ct = sitk.ReadImage(str(found.withheld)), sitk.ReadImage(str(found.ct))
    assert np.array_equal(sitk.GetArrayFromImage(mask) > 0, cement)
    assert np.allclose(mask.GetOrigin(), ct.GetOrigin()) and np.allclose(mask.GetDirection(), ct.GetDirection())


def test_what_is_withheld_moves_with_the_ct(phantom_nodes, cement, tmp_path):
    node = paint(phantom_nodes.volume, cement)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for moved in phantom_nodes:
        moved.SetAndObserveTransformNodeID(transform.GetID())
    at_once(SpineRuns(*phantom_nodes, tmp_path, {}).copied())
    assert node.GetTransformNodeID() == transform.GetID()


def test_a_saved_scene_remembers_what_is_withheld(phantom_nodes, cement, tmp_path):
    name = paint(phantom_nodes.volume, cement).GetName()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    assert withheld.find(volume).GetName() == name


def test_the_preview_of_the_real_core_hides_what_is_painted(phantom_nodes, cement):
    segment_id = phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L1")
    paint(phantom_nodes.volume, cement)
    shown = HealthiVertSlicerLogic().start_conditioning(*phantom_nodes, segment_id).wait()
    mask = shown.conditioning_mask
    size = np.array(cement.shape)[::-1]
    to_mask = np.linalg.inv(ijk_to_ras(mask)) @ ijk_to_ras(phantom_nodes.volume)
    values = slicer.util.arrayFromVolume(mask)
    hidden = nearest_in(image_data(values), to_mask, (np.zeros(3, int), size)) > 0
    index = mapped(to_mask, np.argwhere(cement)[:, ::-1])
    reached = (index >= 0).all(axis=1) & (index <= np.array(values.shape)[::-1] - 1).all(axis=1)
    assert reached.mean() > 0.5
    assert hidden[cement][reached].all()
