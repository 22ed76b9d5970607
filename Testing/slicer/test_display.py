"""What is shown, where, and how: on Slicer's own display nodes, and in pictures drawn by its displayable managers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene_state
import slicer
import slicer.util
import vtk
from HealthiVertSlicerLib import colours, difference, display, layouts, results
from HealthiVertSlicerLib.frames import ijk_to_ras
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from result_reading import load

SAME, VISIBLE = 0.0015, 0.003  # shares of pixels: what drawing again may change, what a line moved by 1 mm changes
FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


@pytest.fixture
def result(phantom_nodes: Any, finished_run: Path) -> Any:
    """L1 of the phantom, regrown."""
    return load(phantom_nodes, finished_run)


@pytest.fixture
def shown(views: Any, result: Any) -> Any:
    """The views, in which L1 is compared."""
    display.compare(result)
    return views


def segment_of(segmentation: Any, level: str) -> str:
    segments = segmentation.GetSegmentation()
    return next(name for name in segments.GetSegmentIDs() if segments.GetSegment(name).GetName() == level)


def layers(name: str) -> tuple[Any, Any, float]:
    """Background, foreground and its opacity of a view."""
    _node, composite = layouts.slice_views(name)[0]
    volumes = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
    return *map(slicer.mrmlScene.GetNodeByID, (volume or "" for volume in volumes)), composite.GetForegroundOpacity()


def window(volume: Any) -> tuple[float, float]:
    return volume.GetDisplayNode().GetWindowLevelMin(), volume.GetDisplayNode().GetWindowLevelMax()


def legend_of(node: Any) -> Any:
    return slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)


def different(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels that differ by more than 10 grey levels."""
    return float((np.abs(one.astype(int) - other).max(axis=2) > 10).mean())


def coloured(picture: np.ndarray, colour: tuple[float, float, float], tolerance: int = 40) -> int:
    """Number of pixels near a colour (0 to 1)."""
    return int((np.abs(picture.astype(int) - np.array(colour) * 255).max(axis=2) < tolerance).sum())


# Layouts


def test_only_comparing_and_the_preview_change_the_layout(views: Any, phantom_nodes: Any, result: Any) -> None:
    display.register_layouts(layouts.layout_node())
    display.show_inputs(*phantom_nodes)
    display.centre_on(*phantom_nodes, segment_of(phantom_nodes.segmentation, "T12"))
    display.fade(result, 0.4)
    display.show_loss_surface(result)
    assert views.layout == FOUR_UP
    display.show_conditioning(result)
    assert views.layout == layouts.READING
    display.compare(result)
    assert views.layout == layouts.COMPARE


def test_everything_is_as_before_after_going_back(views: Any, phantom_nodes: Any, result: Any) -> None:
    volume, segmentation = phantom_nodes
    display.show_inputs(volume, segmentation)
    inputs = scene_state.state_of_inputs(volume, segmentation)
    display.show_conditioning(result)
    display.compare(result)
    display.compare(result)
    display.restore_layout()
    assert views.layout == FOUR_UP
    assert scene_state.state_of_inputs(volume, segmentation) == inputs
    assert layers("Yellow")[:2] == (volume, None)
    assert not layouts.slice_views("Yellow")[0][0].GetUseLabelOutline()
    assert all(line.GetDisplayNode().GetNumberOfViewNodeIDs() == 0 for line in result.height_lines)
    display.restore_layout()  # there is nothing to put back any more
    assert views.layout == FOUR_UP


def test_a_layout_that_the_user_chose_while_comparing_is_kept(shown: Any) -> None:
    shown.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    display.restore_layout()
    assert shown.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_a_saved_scene_still_knows_the_way_back(shown: Any, phantom_nodes: Any, tmp_path: Path) -> None:
    shown.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    display.restore_layout()
    before = window(phantom_nodes.volume)
    display.show_conditioning(results.find_results(phantom_nodes.volume, "L1"))
    scene = slicer.mrmlScene
    scene.SetSaveToXMLString(1)
    scene.Commit()
    scene.SetSaveToXMLString(0)  # or the next scene is saved to nowhere
    text = scene.GetSceneXMLString()
    display.restore_layout()
    reader = slicer.vtkMRMLScene()
    reader.SetLoadFromXMLString(1)
    reader.SetSceneXMLString(text)
    reader.Import()
    layout = reader.GetFirstNodeByClass("vtkMRMLLayoutNode")
    assert layouts.recall(layout, "Layout") == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    saved = reader.GetNodeByID(phantom_nodes.volume.GetDisplayNodeID())
    kept = layouts.recall(saved, "Window")
    width, level = kept["window_level"]
    assert (level - width / 2, level + width / 2) == pytest.approx(before)


# Before and after


def test_original_healthy_and_difference_are_shown_side_by_side(shown: Any, phantom_nodes: Any, result: Any) -> None:
    change = result.volume.GetScene().GetFirstNode("L1 difference", "vtkMRMLScalarVolumeNode")
    assert layers(layouts.ORIGINAL)[0] is phantom_nodes.volume
    assert layers(layouts.HEALTHY)[0] is result.volume
    assert layers(layouts.DIFFERENCE) == (phantom_nodes.volume, change, display.DIFFERENCE_OPACITY)
    assert window(change) == (-display.DIFFERENCE_HU, display.DIFFERENCE_HU)
    assert window(phantom_nodes.volume) == window(result.volume) == display.BONE_HU
    lines = [line.GetNthControlPointPositionWorld(end)[0] for line in result.height_lines for end in (0, 1)]
    for node, _composite in layouts.slice_views(*layouts.COMPARED):
        assert node.GetOrientation() == "Sagittal"
        assert (
            abs(node.GetSliceToRAS().GetElement(0, 3) - np.mean(lines)) < 0.1
        )  # the plane in which the heights were measured
    chart = next(n for n in slicer.util.getNodesByClass("vtkMRMLPlotViewNode") if n.GetLayoutName() == layouts.PLOT)
    assert chart.GetPlotChartNode() is result.plot_chart
    original, healthy, changed = map(shown.picture, (layouts.ORIGINAL, layouts.HEALTHY, layouts.DIFFERENCE))
    assert different(original, healthy) > VISIBLE
    assert different(original, changed) > VISIBLE


def test_the_views_side_by_side_follow_each_other_and_leave_others_alone(shown: Any) -> None:
    link = slicer.vtkMRMLSliceLinkLogic()
    link.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    link.SetMRMLScene(slicer.mrmlScene)
    nodes = {name: layouts.slice_views(name)[0][0] for name in (*layouts.COMPARED, "Yellow")}
    alone = nodes["Yellow"].GetSliceOffset()
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(layouts.ORIGINAL)
    logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    logic.SetSliceOffset(nodes[layouts.ORIGINAL].GetSliceOffset() + 7.0)
    logic.EndSliceNodeInteraction()
    offsets = {nodes[name].GetSliceOffset() for name in layouts.COMPARED}
    link.SetMRMLScene(None)
    assert len(offsets) == 1
    assert nodes["Yellow"].GetSliceOffset() == alone


def test_both_scans_are_seen_through_one_window_which_the_user_may_change(
    shown: Any, phantom_nodes: Any, result: Any
) -> None:
    result.volume.GetDisplayNode().SetWindowLevelMinMax(-100.0, 1000.0)
    assert window(phantom_nodes.volume) == (-100.0, 1000.0)
    display.compare(result)
    assert window(result.volume) == window(phantom_nodes.volume) == (-100.0, 1000.0)
    display.restore_layout()
    result.volume.GetDisplayNode().SetWindowLevelMinMax(0.0, 10.0)
    assert window(phantom_nodes.volume) != (0.0, 10.0)


def test_the_fade_goes_from_the_original_to_the_healthy_scan(shown: Any, phantom_nodes: Any, result: Any) -> None:
    pictures = []
    for share in (0.0, 0.5, 1.0):
        display.fade(result, share)
        assert layers(layouts.FADE) == (phantom_nodes.volume, result.volume, share)
        pictures.append(shown.picture(layouts.FADE))
    composite = layouts.slice_views(layouts.FADE)[0][1]
    layouts.set_layers(composite, phantom_nodes.volume)
    original = shown.picture(layouts.FADE)
    layouts.set_layers(composite, result.volume)
    healthy = shown.picture(layouts.FADE)
    assert different(pictures[0], original) < SAME
    assert different(pictures[2], healthy) < SAME
    assert min(different(pictures[1], original), different(pictures[1], healthy)) > VISIBLE


def test_the_fade_uses_the_sagittal_view_of_other_layouts(views: Any, phantom_nodes: Any, result: Any) -> None:
    phantom_nodes.volume.GetDisplayNode().SetAutoWindowLevel(False)
    phantom_nodes.volume.GetDisplayNode().SetWindowLevelMinMax(-500.0, 500.0)
    before = window(phantom_nodes.volume)
    display.fade(result, 2.0)
    assert layers("Yellow") == (phantom_nodes.volume, result.volume, 1.0)
    assert layers("Red")[1] is not result.volume
    assert window(result.volume) == window(phantom_nodes.volume) == before
    views.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    display.fade(result, 0.3)
    assert layers("Red")[1:] == (result.volume, 0.3)


def test_measured_heights_stand_beside_their_body_only(shown: Any, result: Any) -> None:
    heights = result.report["heights_mm"]
    for role, line in zip(results.LINE_ROLES, result.height_lines, strict=True):
        body, third = role.rsplit("_", 1)
        view = layouts.ORIGINAL if body == "original" else layouts.HEALTHY
        display_node = line.GetDisplayNode()
        assert [slicer.mrmlScene.GetNodeByID(display_node.GetNthViewNodeID(0)).GetLayoutName()] == [view]
        assert display_node.GetNumberOfViewNodeIDs() == 1
        assert (line.GetNthControlPointLabel(0), line.GetNthControlPointLabel(1)) == (f"{heights[body][third]:.1f}", "")
        lower, upper = (line.GetNthControlPointPositionWorld(end)[2] for end in (0, 1))
        assert lower < upper  # so that the number stands in the disc below


def test_height_lines_are_drawn_from_end_to_end(shown: Any, result: Any) -> None:
    for line in result.height_lines:
        (node,) = [slicer.mrmlScene.GetNodeByID(line.GetDisplayNode().GetNthViewNodeID(0))]
        picture = shown.picture(node.GetLayoutName())
        line.GetDisplayNode().SetVisibility(False)
        drawn = np.abs(picture.astype(int) - shown.picture(node.GetLayoutName())).max(axis=2) > 10
        line.GetDisplayNode().SetVisibility(True)
        strong = np.abs(picture - 255 * np.array(line.GetDisplayNode().GetSelectedColor())).max(axis=2) < 30
        to_xy = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetXYToRAS()))
        ends = [to_xy @ [*line.GetNthControlPointPositionWorld(end), 1.0] for end in (0, 1)]
        for share in np.linspace(0.1, 0.9, 9):
            x, y = ((1 - share) * ends[0] + share * ends[1])[:2]
            row, column = round(picture.shape[0] - 1 - y), round(x)
            place = slice(row - 1, row + 2), slice(column - 2, column + 3)
            assert (drawn & strong)[place].any(), (line.GetName(), share)


def test_on_the_original_only_the_original_body_is_outlined(shown: Any, result: Any) -> None:
    colour = layouts.HEALTHY_COLOUR
    assert coloured(shown.picture(layouts.ORIGINAL), colour) == 0 < coloured(shown.picture(layouts.HEALTHY), colour)
    assert coloured(shown.picture(layouts.FADE), colour) > 100
    count = slicer.mrmlScene.GetNumberOfNodes()
    display.compare(result)
    assert slicer.mrmlScene.GetNumberOfNodes() == count
    other = result.segmentation.GetNthDisplayNode(1)
    display.show_conditioning(result)
    assert not other.GetVisibility()
    display.restore_layout()
    assert [other.GetNthViewNodeID(index) for index in range(other.GetNumberOfViewNodeIDs())] == [
        layouts.slice_views(layouts.ORIGINAL)[0][0].GetID()
    ]


def test_in_3d_the_surface_with_the_loss_on_it_is_seen_alone(shown: Any, result: Any) -> None:
    displays = [result.segmentation.GetNthDisplayNode(index) for index in range(2)]
    assert not any(one.GetVisibility3D() for one in displays)
    for one in displays:
        one.SetVisibility3D(True)
    display.compare(result)
    assert not any(one.GetVisibility3D() for one in displays)


def test_a_view_that_is_maximised_does_not_hide_the_comparison(views: Any, result: Any) -> None:
    node = layouts.layout_node()
    node.AddMaximizedViewNode(layouts.slice_views("Red")[0][0])
    assert node.GetNumberOfMaximizedViewNodes() == 1
    display.compare(result)
    assert node.GetNumberOfMaximizedViewNodes() == 0


def test_only_the_compared_level_is_seen(views: Any, phantom_nodes: Any, result: Any) -> None:
    kept_hidden = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Hidden by the user")
    kept_hidden.CreateDefaultDisplayNodes()
    kept_hidden.GetDisplayNode().SetVisibility(False)
    display.compare(result)
    assert result.segmentation.GetDisplayNode().GetVisibility2DOutline()
    assert not result.segmentation.GetDisplayNode().GetVisibility2DFill()
    assert not phantom_nodes.segmentation.GetDisplayNode().GetVisibility()
    display.restore_layout()
    assert phantom_nodes.segmentation.GetDisplayNode().GetVisibility()
    assert not kept_hidden.GetDisplayNode().GetVisibility()


def move(node: Any, up: float) -> str:
    """Put a node under a transform; the transform's ID."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, up)
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform.GetID()


def test_results_are_compared_where_the_ct_is_now(shown: Any, phantom_nodes: Any, result: Any) -> None:
    change = slicer.mrmlScene.GetFirstNode("L1 difference", "vtkMRMLScalarVolumeNode")
    moved = (result.volume, result.segmentation, result.loss_model, *result.height_lines, change)
    for show, up in ((display.compare, 60.0), (display.show_loss_surface, 30.0), (lambda it: display.fade(it, 1), 0.0)):
        above = move(phantom_nodes.volume, up)
        show(result)
        assert {node.GetTransformNodeID() for node in moved} == {above}
    phantom_nodes.volume.SetAndObserveTransformNodeID(None)
    display.show_conditioning(result)
    assert {node.GetTransformNodeID() for node in (*moved, result.attention)} == {None}


def test_results_stay_where_they_are_when_the_transform_is_hardened_on_the_ct(
    views: Any, phantom_nodes: Any, result: Any
) -> None:
    above = move(phantom_nodes.volume, 60.0)
    display.compare(result)
    phantom_nodes.volume.HardenTransform()
    display.compare(result)
    assert {node.GetTransformNodeID() for node in (result.volume, *result.height_lines)} == {above}


# What the generator is given


def test_the_preview_outlines_what_is_hidden_and_colours_the_attention(
    views: Any, phantom_nodes: Any, result: Any
) -> None:
    display.show_conditioning(result)
    node, composite = layouts.slice_views(layouts.SAGITTAL)[0]
    assert layers(layouts.SAGITTAL) == (phantom_nodes.volume, result.attention, display.ATTENTION_OPACITY)
    assert composite.GetLabelVolumeID() == result.conditioning_mask.GetID()
    assert node.GetUseLabelOutline()
    assert window(phantom_nodes.volume) == display.BONE_HU
    assert window(result.attention) == (0.0, 1.0)
    assert not phantom_nodes.segmentation.GetDisplayNode().GetVisibility()
    pink = colours.MASK_STOPS[1.0][:3]
    outline = coloured(views.picture(layouts.SAGITTAL), pink)
    node.SetUseLabelOutline(False)
    assert 200 < outline < coloured(views.picture(layouts.SAGITTAL), pink) / 4


def test_the_preview_works_before_there_is_a_result(views: Any, phantom_nodes: Any, finished_run: Path) -> None:
    nodes = results.load_conditioning(finished_run, phantom_nodes.volume, "L1", ijk_to_ras(phantom_nodes.volume))
    display.show_conditioning(nodes)
    assert layers(layouts.SAGITTAL)[1] is nodes.attention


# Legends and 3D


def test_legends_say_what_they_show_and_its_unit(shown: Any, result: Any) -> None:
    display.show_conditioning(result)
    change = slicer.mrmlScene.GetFirstNode("L1 difference", "vtkMRMLScalarVolumeNode")
    places = {
        change: ("Healthy − original (HU)", layouts.DIFFERENCE),
        result.loss_model: ("Height loss (%)", layouts.SURFACE),
        result.attention: ("Attention (0 to 1)", layouts.SAGITTAL),
    }
    for node, (title, view) in places.items():
        legend = legend_of(node)
        assert legend.GetTitleText() == title
        for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
            assert text.GetFontFamilyAsString() == "Arial"
            assert text.GetBackgroundOpacity() > 0.5  # or it cannot be read over bone
        assert [slicer.mrmlScene.GetNodeByID(legend.GetNthViewNodeID(0)).GetLayoutName()] == [view]
        assert legend.GetNumberOfViewNodeIDs() == 1


def test_the_surface_fills_its_view_in_the_colours_of_the_loss(shown: Any, result: Any) -> None:
    picture = shown.picture(layouts.SURFACE)
    result.loss_model.GetDisplayNode().SetVisibility(False)
    empty = shown.picture(layouts.SURFACE)
    assert 0.1 < different(picture, empty) < 0.6
    rows, columns = np.nonzero(np.abs(picture.astype(int) - empty).max(axis=2) > 10)
    middle = np.array([rows.mean(), columns.mean()]) / picture.shape[:2]
    assert (np.abs(middle - 0.5) < 0.15).all()
    red, _green, blue = picture[rows, columns].astype(int).T
    assert (red - blue).mean() > 40  # height is lost, and that is red


def test_asking_for_the_surface_brings_a_3d_view_if_there_is_none(views: Any, result: Any) -> None:
    views.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    display.show_loss_surface(result)
    assert views.layout == layouts.COMPARE


# Where to look


@pytest.mark.parametrize("level", ["T10", "L1", "L3"])
def test_a_click_on_a_level_centres_the_views_on_its_body(views: Any, phantom_nodes: Any, level: str) -> None:
    display.centre_on(*phantom_nodes, segment_of(phantom_nodes.segmentation, level))
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(
        phantom_nodes.segmentation, segment_of(phantom_nodes.segmentation, level), phantom_nodes.volume
    )
    for node, _composite in layouts.slice_views():
        to_ras = slicer.util.arrayFromVTKMatrix(node.GetXYToRAS())
        middle = to_ras @ [node.GetDimensions()[0] / 2, node.GetDimensions()[1] / 2, 0, 1]
        index = np.linalg.inv(difference.ijk_to_ras(phantom_nodes.volume)) @ middle
        k, j, i = np.round(index[2::-1]).astype(int)
        assert labels[k, j, i] == 1
        for place, row in ((k, labels[:, j, i]), (j, labels[k, :, i])):  # from endplate to endplate, from wall to wall
            gaps = np.flatnonzero(row == 0)
            first, last = gaps[gaps < place].max() + 1, gaps[gaps > place].min() - 1
            assert 8 <= last - first <= 40
            assert abs(place - (first + last) / 2) < 5


def test_the_inputs_are_shown_with_the_whole_spine_in_the_view(views: Any, phantom_nodes: Any) -> None:
    untouched = scene_state.state_of_inputs(*phantom_nodes)
    display.show_inputs(*phantom_nodes)
    bounds = np.zeros(6)
    phantom_nodes.segmentation.GetRASBounds(bounds)
    node, composite = layouts.slice_views("Yellow")[0]
    assert composite.GetBackgroundVolumeID() == phantom_nodes.volume.GetID()
    assert bounds[5] - bounds[4] < node.GetFieldOfView()[1] < 1.3 * (bounds[5] - bounds[4])
    assert abs(node.GetSliceToRAS().GetElement(0, 3) - bounds[:2].mean()) < 1e-6
    axial = layouts.slice_views("Red")[0][0]
    across = (bounds[1::2] - bounds[::2])[:2].max()
    assert across < axial.GetFieldOfView()[1] < 1.3 * across  # of a square view
    assert scene_state.state_of_inputs(*phantom_nodes) == untouched


# Nothing to show, or nothing to show it in


def test_a_script_without_views_may_call_everything(phantom_nodes: Any, result: Any) -> None:
    assert slicer.app.layoutManager() is None
    display.show_inputs(*phantom_nodes)
    display.centre_on(*phantom_nodes, segment_of(phantom_nodes.segmentation, "L1"))
    display.show_conditioning(result)
    display.compare(result)
    display.fade(result, 0.5)
    display.show_loss_surface(result)
    display.restore_layout()
    assert phantom_nodes.segmentation.GetDisplayNode().GetVisibility()


def test_what_the_user_deleted_from_a_result_is_left_out(views: Any, phantom_nodes: Any, result: Any) -> None:
    for node in (result.segmentation, result.loss_model, result.loss_volume, result.plot_chart, *result.height_lines):
        slicer.mrmlScene.RemoveNode(node)
    left = results.find_results(phantom_nodes.volume, "L1")
    display.compare(left)
    assert layers(layouts.HEALTHY)[0] is left.volume
    slicer.mrmlScene.RemoveNode(left.attention)
    with pytest.raises(HealthiVertSlicerError, match="make it again"):
        display.show_conditioning(results.find_results(phantom_nodes.volume, "L1"))


def test_a_result_whose_ct_was_deleted_says_so(views: Any, phantom_nodes: Any, result: Any) -> None:
    slicer.mrmlScene.RemoveNode(phantom_nodes.volume)
    with pytest.raises(HealthiVertSlicerError, match="no longer in the scene"):
        display.compare(result)
    with pytest.raises(HealthiVertSlicerError, match="no longer in the scene"):
        display.fade(result, 0.5)
    assert views.layout == FOUR_UP
