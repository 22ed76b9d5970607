"""CT and segmentation leave the scene as files on the CT's own grid; what cannot be used is said with its remedy."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from HealthiVertSlicerLib import frames, inputs, nrrd
from HealthiVertSlicerLib.inputs import (
    HealthiVertSlicerError,
    export_case,
    input_problem,
    neighbour_note,
    target_problem,
)
from HealthiVertSlicerLib.levels import NO_VERTEBRA
from HealthiVertSlicerLib.pieces import at_once
from HealthiVertSlicerLib.result_nodes import fill_segment
from scene_state import state_of_inputs
from small_spine import AXES, SPACING, rotation_of, small_spine

from healthivert.case import load_case


@pytest.fixture
def spine(scene):
    return small_spine()


def transform_node(matrix: np.ndarray, name: str = "moved"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def rigid(degrees: float, *shift: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]])


def bending_node():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "gantry tilt")
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x in (-40.0, 0.0, 40.0):
        for y in (-40.0, 40.0):
            for z in (0.0, 100.0):
                source.InsertNextPoint(x, y, z)
                target.InsertNextPoint(x, y, z + 0.003 * x * x)
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    node.SetAndObserveTransformToParent(spline)
    return node


def arrays(case):
    return [sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (case.ct, case.segmentation)]


def test_01_all_48_orientations_reach_the_core_as_the_same_patient_on_the_volumes_grid(scene, tmp_path):
    expected = None
    for number, axes in enumerate(AXES):
        volume, segmentation = small_spine(axes, rotation_of(number))
        folder = tmp_path / str(number)
        folder.mkdir()
        found = export_case(volume, segmentation, folder)
        image = sitk.ReadImage(str(found.ct))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), slicer.util.arrayFromVolume(volume))
        direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        np.testing.assert_allclose(np.diag([-1, -1, 1]) @ direction, frames.ijk_to_ras(volume)[:3, :3], atol=1e-12)
        case = load_case(found.ct, found.segmentation, found.level_of_value)
        patient = [sitk.GetArrayFromImage(one) for one in (case.ct, case.labels)]
        expected = expected or patient
        for one, other in zip(patient, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        scene.Clear(0)


def test_03_voxels_twice_as_large_reach_the_same_ones_under_any_transform(spine):
    """The CT's voxels lie on the borders between such voxels, where rounding errors would decide."""
    volume, segmentation = spine
    matrix = frames.ijk_to_ras(volume)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "L2", volume)[::2, ::2, ::2] > 0
    fill_segment(segmentation, "L2", mask, matrix @ np.diag([2.0, 2.0, 2.0, 1.0]))
    expected = at_once(inputs.labels_in_pieces(volume, segmentation, ["L2"]))
    assert expected.any()
    for degrees in (7.0, 33.0, 71.0):
        moved = transform_node(rigid(degrees, 13.7, -5.1, 80.3)).GetID()
        for node in spine:
            node.SetAndObserveTransformNodeID(moved)
        np.testing.assert_array_equal(at_once(inputs.labels_in_pieces(volume, segmentation, ["L2"])), expected)


def test_the_exported_files_say_which_value_is_which_level_and_segment(spine, tmp_path):
    found = export_case(*spine, tmp_path, {"L1": "Th12"})
    assert found.level_of_value == {1: "T12", 2: "L2", 3: "L3"}
    assert found.segment_of_level == {"T12": "L1", "L2": "L2", "L3": "L3"}
    _, labels = arrays(found)
    expected = slicer.util.arrayFromSegmentBinaryLabelmap(spine[1], "L1", spine[0])
    np.testing.assert_array_equal(labels == 1, expected > 0)


def test_an_empty_segment_beside_good_ones_is_left_out(spine, tmp_path):
    spine[1].GetSegmentation().AddEmptySegment("T12", "T12")
    found = export_case(*spine, tmp_path)
    assert found.level_of_value == {2: "L1", 3: "L2", 4: "L3"}
    assert target_problem(*spine, "T12") == "The segment of T12 is empty: segment it, or choose another vertebra."
    assert target_problem(*spine, "L2") is None


@pytest.mark.parametrize("kept_as", ["voxels", "surfaces", "surfaces without a display"])
def test_02_inputs_are_unchanged_by_checks_and_export(spine, tmp_path, kept_as):
    volume, segmentation = spine
    if kept_as != "voxels":
        segmentation.CreateClosedSurfaceRepresentation()
        segmentation.GetSegmentation().SetSourceRepresentationName("Closed surface")
        segmentation.GetSegmentation().RemoveRepresentation("Binary labelmap")
    if kept_as == "surfaces without a display":
        slicer.mrmlScene.RemoveNode(segmentation.GetDisplayNode())
    before = state_of_inputs(volume, segmentation)
    assert input_problem(volume, segmentation) is None
    assert target_problem(volume, segmentation, "L2") is None
    found = export_case(volume, segmentation, tmp_path)
    assert set(found.level_of_value.values()) == {"L1", "L2", "L3"}
    assert state_of_inputs(volume, segmentation) == before


@pytest.mark.parametrize("case", ["equal", "different", "only the segmentation", "nested"])
def test_03_the_same_files_under_equal_and_different_transforms_as_under_none(spine, tmp_path, case):
    volume, segmentation = spine
    for name in ("none", "moved"):
        (tmp_path / name).mkdir()
    expected = arrays(export_case(volume, segmentation, tmp_path / "none"))
    above_volume = rigid(30, 12, -5, 40) if case != "only the segmentation" else np.eye(4)
    above_segmentation = above_volume if case in ("equal", "nested") else rigid(-90, 3.5, 8, -7)
    volume.SetAndObserveTransformNodeID(transform_node(above_volume).GetID())
    if case in ("different", "only the segmentation"):  # its own frame is another one, its place in the world the same
        way_back = vtk.vtkTransform()
        way_back.SetMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(above_segmentation) @ above_volume))
        segmentation.ApplyTransform(way_back)
    own = transform_node(above_segmentation)
    segmentation.SetAndObserveTransformNodeID(own.GetID())
    if case == "nested":
        top = transform_node(rigid(180, 0, 0, 9))
        for node in (own, volume.GetParentTransformNode()):
            node.SetAndObserveTransformNodeID(top.GetID())
    assert input_problem(volume, segmentation) is None
    moved = arrays(export_case(volume, segmentation, tmp_path / "moved"))
    np.testing.assert_array_equal(moved[0], expected[0])
    np.testing.assert_array_equal(moved[1], expected[1])


def test_04_a_nonlinear_transform_is_refused_and_a_hardened_copy_can_be_used(spine):
    volume, segmentation = spine
    volume.SetAndObserveTransformNodeID(bending_node().GetID())
    segmentation.SetAndObserveTransformNodeID(None)
    before = state_of_inputs(volume, segmentation)
    problem = input_problem(volume, segmentation)
    assert problem.startswith('The transform "gantry tilt" bends or stretches "CT"') and "hardened copy" in problem
    assert inputs.is_bent(volume)
    copy = inputs.harden_copy(volume)
    assert not inputs.is_bent(copy) and copy.GetName() == "CT (hardened)"
    assert input_problem(copy, segmentation) is None
    assert slicer.util.arrayFromVolume(copy).std() > 0
    assert state_of_inputs(volume, segmentation) == before


def test_04_a_nonlinear_transform_above_the_segmentation_is_refused_with_the_remedy(spine):
    spine[1].SetAndObserveTransformNodeID(bending_node().GetID())
    assert "harden it (module Data" in input_problem(*spine)


def test_04_a_stretching_transform_is_refused_and_the_hardened_copy_has_the_true_size(spine):
    volume, segmentation = spine
    volume.SetAndObserveTransformNodeID(transform_node(np.diag([1, 1, 1.2, 1]), "stretched").GetID())
    assert "hardened copy" in input_problem(volume, segmentation)
    copy = inputs.harden_copy(volume)
    assert copy.GetSpacing() == pytest.approx((SPACING[2], SPACING[1], 1.2 * SPACING[0]))
    assert volume.GetSpacing() == pytest.approx(SPACING[::-1])
    assert input_problem(copy, segmentation) is None


def test_06_no_node_and_no_file_is_left_after_success_and_after_an_error(spine, tmp_path):
    count = slicer.mrmlScene.GetNumberOfNodes()
    export_case(*spine, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["ct-of-this-case.nrrd", "segmentation-of-this-case.nrrd"]
    empty = tmp_path / "empty"
    empty.mkdir()
    spine[0].SetOrigin(-15.3, -20.7, 31.1 + 32 * SPACING[0])  # the bounds still meet, one vertebra is left
    with pytest.raises(HealthiVertSlicerError, match="Only 1 of the vertebrae"):
        export_case(*spine, empty)
    spine[0].SetOrigin(-15.3, -20.7, 31.1)
    with pytest.raises(HealthiVertSlicerError, match=r"could not be copied to .*not_there"):
        export_case(*spine, tmp_path / "not_there")
    assert os.listdir(empty) == [] and not (tmp_path / "not_there").exists()
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_17_missing_neighbours_are_said_before_the_run(spine):
    _, segmentation = spine
    assert neighbour_note(segmentation, "L2") is None
    assert neighbour_note(segmentation, "L1").startswith("Not segmented beside L1: T12.")
    assert neighbour_note(segmentation, "L3").startswith("Not segmented beside L3: L4.")
    assert "L1, L3" in neighbour_note(segmentation, "L2", {"L1": NO_VERTEBRA, "L3": NO_VERTEBRA})
    assert neighbour_note(segmentation, "L1", {"L2": "T13", "L3": "L2"}) is None  # T13 lies above L1
    assert neighbour_note(segmentation, "L3", {"L1": "L3", "L2": "L4", "L3": "L5"}) is None  # few people have an L6
    assert neighbour_note(segmentation, "nobody") is None


def no_input(spine):
    return None, spine[1]


def label_map(spine):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(spine[0]))
    return node, spine[1]


def vector_volume(spine):
    colours = np.zeros((20, 20, 20, 3), np.uint8)
    return slicer.util.addVolumeFromArray(colours, nodeClassName="vtkMRMLVectorVolumeNode"), spine[1]


def volume_without_voxels(spine):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing"), spine[1]


def one_slice(spine):
    return slicer.util.addVolumeFromArray(np.zeros((1, 64, 64), np.int16), name="slice"), spine[1]


def sheared_axes(spine):
    matrix = frames.ijk_to_ras(spine[0])
    matrix[0, 2] += 0.4
    spine[0].SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return spine


def no_segmentation(spine):
    return spine[0], None


def no_segments(spine):
    return spine[0], slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")


def empty_segments(spine):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "new")
    for level in ("L1", "L2"):
        empty.GetSegmentation().AddEmptySegment(level, level)
    return spine[0], empty


def unknown_names(spine):
    for index in range(3):
        spine[1].GetSegmentation().GetNthSegment(index).SetName(f"Segment_{index + 60}")
    return spine


def one_vertebra(spine):
    for name in ("L1", "L3"):
        spine[1].GetSegmentation().RemoveSegment(name)
    return spine


def one_level_twice(spine):
    spine[1].GetSegmentation().GetSegment("L3").SetName("vertebra L2")
    return spine


def another_patient(spine):
    spine[1].SetAndObserveTransformNodeID(transform_node(rigid(0, 0, 0, 500)).GetID())
    return spine


@pytest.mark.parametrize(
    ("spoil", "problem", "remedy"),
    [
        (no_input, "Choose the CT", "Choose"),
        (label_map, "is a label map", "choose the CT"),
        (vector_volume, "is a vector or colour volume", "choose the CT"),
        (volume_without_voxels, "has no voxels", "load the CT again"),
        (one_slice, "is too small", "choose a CT of several vertebrae"),
        (sheared_axes, "axes of .* are not perpendicular", "Crop Volume"),
        (no_segmentation, "Choose the segmentation", "Choose"),
        (no_segments, '"new" has no segments', "segment the vertebrae first"),
        (empty_segments, 'All segments of "new" are empty', "segment the vertebrae first"),
        (unknown_names, "No segment of .* is named after a vertebra", "choose the level of each"),
        (one_vertebra, "only one vertebra with a level, L2", "segment more"),
        (one_level_twice, '"L2", "vertebra L2" are all taken for L2', "choose the right level"),
        (another_patient, "lies outside of the CT", "check their transforms"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_remedy_and_refused(spine, tmp_path, spoil, problem, remedy):
    given = spoil(spine)
    said = input_problem(*given)
    assert said is not None
    with pytest.raises(HealthiVertSlicerError, match=problem) as error:
        export_case(*given, tmp_path)
    assert str(error.value) == said and remedy in said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [0, 13, 47])
def test_levels_that_lie_in_the_wrong_order_are_refused_whatever_the_axes(scene, tmp_path, number):
    volume, segmentation = small_spine(AXES[number], rotation_of(number))
    with pytest.raises(
        HealthiVertSlicerError, match='L1 lies above T12 in "Vertebrae": choose the right level of each'
    ):
        export_case(volume, segmentation, tmp_path, {"L2": "T12"})
    assert os.listdir(tmp_path) == []
    assert export_case(volume, segmentation, tmp_path, {"L1": "T12"}).level_of_value[1] == "T12"


def test_a_target_outside_the_ct_or_without_a_level_is_said(spine):
    volume, segmentation = spine
    volume.SetOrigin(-15.3, -20.7, 31.1 + 16 * SPACING[0])
    assert 'L3 lies outside of the CT "CT"' in target_problem(volume, segmentation, "L3")
    assert target_problem(volume, segmentation, "L1") is None
    assert target_problem(volume, segmentation, "nobody") == "Choose the vertebra to regrow in the table."
    assert target_problem(None, segmentation, "L1") == "Choose the CT."


def test_a_full_disk_is_noticed_before_it_is_written_to(spine, tmp_path, monkeypatch):
    monkeypatch.setattr(nrrd.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(HealthiVertSlicerError, match="has 1 MB free"):
        export_case(*spine, tmp_path)
    assert os.listdir(tmp_path) == []
