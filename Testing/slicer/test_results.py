"""A finished run becomes nodes beside the CT; its numbers, places and looks agree; reruns and saved scenes keep it."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from HealthiVertSlicerLib import display, frames, results
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError, export_case
from HealthiVertSlicerLib.levels import segment_levels
from HealthiVertSlicerLib.loss_surface import SCALAR_NAME
from HealthiVertSlicerLib.pieces import at_once, next_piece
from HealthiVertSlicerLib.result_nodes import read_image
from result_reading import (
    column,
    hierarchy,
    item_of,
    load,
    masks_of,
    nodes_of,
    places,
    report_of,
    start_of,
    value_at,
)
from scene_state import state_of_inputs
from small_spine import AXES, TARGET, rotation_of, run_without_change, small_spine
from vtk.util.numpy_support import vtk_to_numpy


@pytest.fixture
def regrown(phantom_nodes, finished_run):
    return load(phantom_nodes, finished_run)


def move(node, matrix, name="moved"):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def test_01_results_have_the_volumes_grid_in_all_48_orientations(scene, finished_run, tmp_path):
    pattern = report_of(finished_run)
    for number, axes in enumerate(AXES):
        volume, segmentation = small_spine(axes, rotation_of(number))
        folder = tmp_path / str(number)
        folder.mkdir()
        case = export_case(volume, segmentation, folder)
        run = run_without_change(case.ct, case.segmentation, dict(case.level_of_value), pattern, folder / "run")
        body = partial(body_in, case.segmentation, 2)
        start = results.Start("", frames.ijk_to_ras(volume), body)
        found = at_once(results.loading(run, volume, segmentation, TARGET, start))
        np.testing.assert_array_equal(frames.ijk_to_ras(found.volume), frames.ijk_to_ras(volume))
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(found.volume), slicer.util.arrayFromVolume(volume))
        own = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, TARGET, volume)
        for segment_id in ("original", "pseudo_healthy"):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(found.segmentation, segment_id, volume)
            np.testing.assert_array_equal(mask, own)
        loss = slicer.util.arrayFromVolume(found.loss_volume)
        np.testing.assert_allclose(places(found.loss_volume, loss > 0), places(volume, own > 0), atol=1e-3)
        check_surface_faces_outward(found.loss_model.GetPolyData())
        scene.Clear(0)


def body_in(path, value):
    return read_image(path).array == value


def check_surface_faces_outward(surface) -> None:
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    normals = vtk_to_numpy(surface.GetPointData().GetNormals()).astype(float)
    assert ((points - points.mean(axis=0)) * normals).sum(axis=1).mean() > 0


def test_02_loading_results_leaves_the_inputs_unchanged(phantom_nodes, finished_run):
    before = state_of_inputs(*phantom_nodes)
    load(phantom_nodes, finished_run)
    assert state_of_inputs(*phantom_nodes) == before


def test_03_results_are_the_same_in_the_volumes_frame_whatever_transform_is_above(phantom_nodes, finished_run):
    volume, segmentation = phantom_nodes
    first = load(phantom_nodes, finished_run)
    masks = masks_of(first)
    move(volume, np.array([[0.0, -1, 0, 30], [1, 0, 0, 5], [0, 0, 1, -80], [0, 0, 0, 1]]))
    segmentation.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    np.testing.assert_array_equal(masks_of(load(phantom_nodes, finished_run)), masks)


def test_05_results_share_the_volumes_transform_and_its_place_in_the_hierarchy(phantom_nodes, finished_run):
    volume = phantom_nodes.volume
    patient = hierarchy().CreateFolderItem(hierarchy().GetSceneItemID(), "Patient")
    hierarchy().SetItemParent(item_of(volume), patient)
    transform = move(volume, np.diag([-1.0, -1, 1, 1]))
    found = load(phantom_nodes, finished_run)
    assert hierarchy().GetItemParent(found.folder_item) == patient
    assert hierarchy().GetItemName(found.folder_item) == "HealthiVert L1: Phantom CT"
    for node in nodes_of(found):
        assert hierarchy().GetItemParent(item_of(node)) == found.folder_item, node.GetName()
        if node.IsA("vtkMRMLTransformableNode"):
            assert node.GetTransformNodeID() == transform.GetID(), node.GetName()


def test_05_a_rerun_puts_its_results_where_the_ct_is_now(phantom_nodes, finished_run):
    load(phantom_nodes, finished_run)
    transform = move(phantom_nodes.volume, np.diag([-1.0, -1, 1, 1]))
    phantom_nodes.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    for node in nodes_of(load(phantom_nodes, finished_run)):
        if node.IsA("vtkMRMLTransformableNode"):
            assert node.GetTransformNodeID() == transform.GetID(), node.GetName()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "report.json").unlink(),
        lambda folder: (folder / "height_loss_map.nii.gz").write_bytes(b"nothing"),
        lambda folder: (folder / "conditioning" / "cam.nii.gz").unlink(),
        lambda folder: shutil.copy(folder / "height_loss_map.nii.gz", folder / "pseudo_healthy_ct.nii.gz"),
    ],
    ids=["no report", "damaged map", "no attention", "another scan"],
)
def test_06_a_damaged_run_is_refused_and_leaves_the_scene_as_it_was(phantom_nodes, finished_run, tmp_path, spoil):
    folder = shutil.copytree(finished_run, tmp_path / "damaged")
    spoil(folder)
    count, items = slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()
    with pytest.raises(HealthiVertSlicerError, match="run it again"):
        load(phantom_nodes, folder)
    assert (slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()) == (count, items)


def test_06_an_error_while_nodes_are_made_takes_them_back(phantom_nodes, finished_run, monkeypatch):
    count, items = slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()
    monkeypatch.setattr(results.filling, "fill_line", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        load(phantom_nodes, finished_run)
    assert (slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()) == (count, items)


def test_06_an_earlier_result_that_was_renewed_in_part_is_none(phantom_nodes, finished_run, monkeypatch):
    load(phantom_nodes, finished_run)
    with monkeypatch.context() as patch:
        patch.setattr(results.filling, "fill_line", lambda *_: 1 / 0)
        with pytest.raises(HealthiVertSlicerError, match=r"L1 was renewed in part only .*apply again"):
            load(phantom_nodes, finished_run)
    assert results.find_results(phantom_nodes.volume, "L1") is None
    again = load(phantom_nodes, finished_run)
    assert again.report == report_of(finished_run) == results.find_results(phantom_nodes.volume, "L1").report


def test_06_of_a_loading_that_nobody_goes_on_with_nothing_reads_as_a_result(phantom_nodes, finished_run):
    first = load(phantom_nodes, finished_run)
    loading = results.loading(finished_run, *phantom_nodes, "L1", start_of(phantom_nodes))
    before, piece = first.volume.GetImageData(), None
    while first.volume.GetImageData() is before:
        piece = next_piece(loading, piece)
    loading.close()
    assert results.find_results(phantom_nodes.volume, "L1") is None


def test_results_lie_on_the_ct_and_its_body_as_it_was_where_both_are_moved_for_good_during_the_run(
    phantom_nodes, finished_run
):
    """The CT is tilted and the transform hardened; the segmentation is emptied."""
    still = load(phantom_nodes, finished_run)
    to_index = np.linalg.inv(frames.ijk_to_ras(phantom_nodes.volume))
    before = on_grid(still, to_index)
    start = start_of(phantom_nodes)
    tilted = np.array([[0.0, -0.96, 0.28, 40.0], [1.0, 0.0, 0.0, -7.0], [0.0, 0.28, 0.96, 300.0], [0.0, 0.0, 0.0, 1.0]])
    move(phantom_nodes.volume, tilted)
    phantom_nodes.volume.HardenTransform()
    phantom_nodes.segmentation.GetSegmentation().RemoveAllSegments()
    moved = at_once(results.loading(finished_run, *phantom_nodes, "L1", start))
    np.testing.assert_allclose(frames.ijk_to_ras(moved.volume), frames.ijk_to_ras(phantom_nodes.volume))
    for now, then in zip(on_grid(moved, to_index @ np.linalg.inv(tilted)), before, strict=True):
        np.testing.assert_allclose(now, then, atol=1e-3)
    shown = results.load_conditioning(finished_run, phantom_nodes.volume, "L1", start.frame)
    np.testing.assert_allclose(frames.ijk_to_ras(shown.attention), frames.ijk_to_ras(moved.attention))


def on_grid(found, to_index) -> list[np.ndarray]:
    """Where results lie, in the CT's indices: ends of the lines, grids of the volumes, middles of the surface and the
    bodies, and what the displacement makes of a point."""
    ends = [line.GetNthControlPointPosition(end) for line in found.height_lines for end in (0, 1)]
    grids = [frames.ijk_to_ras(node) for node in (found.loss_volume, found.attention, found.conditioning_mask)]
    surface = slicer.util.arrayFromModelPoints(found.loss_model)
    middles = [frames.segment_centre(found.segmentation, body) for body in results.BODIES]
    middle = np.mean(ends, axis=0)
    return [
        frames.mapped(to_index, np.array(ends)),
        to_index @ grids,
        frames.mapped(to_index, surface.mean(axis=0)),
        frames.mapped(to_index, np.array(middles)),
        frames.mapped(to_index, np.array(found.displacement.GetTransformFromParent().TransformPoint(*middle))),
    ]


def test_a_ct_that_is_stretched_during_the_run_is_refused(phantom_nodes, finished_run):
    start, count = start_of(phantom_nodes), slicer.mrmlScene.GetNumberOfNodes()
    phantom_nodes.volume.SetSpacing(2.0, 2.0, 5.0)
    with pytest.raises(HealthiVertSlicerError, match="another size or shape during the calculation: repeat it"):
        at_once(results.loading(finished_run, *phantom_nodes, "L1", start))
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_16_result_segments_carry_the_level_as_terminology_and_colour_blind_safe_colours(regrown):
    segmentation = regrown.segmentation
    assert segment_levels(segmentation) == {"original": "L1", "pseudo_healthy": "L1"}
    segments = [segmentation.GetSegmentation().GetSegment(name) for name in ("original", "pseudo_healthy")]
    assert [segment.GetName() for segment in segments] == ["L1 original", "L1 pseudo-healthy"]
    lightness = [np.dot(segment.GetColor(), (0.3, 0.6, 0.1)) for segment in segments]
    red_and_blue = [segment.GetColor()[0] - segment.GetColor()[2] for segment in segments]
    assert red_and_blue[0] > 0.8 and red_and_blue[1] < -0.5  # orange and blue
    assert all(0.5 < value < 0.7 for value in lightness)


def test_results_say_which_model_and_seed_made_them(regrown, finished_run):
    report = report_of(finished_run)
    for node in nodes_of(regrown):
        said = {name: node.GetAttribute(f"HealthiVert.{name}") for name in ("Model", "ModelSha256", "Seed", "Level")}
        assert said == {"Model": "gan", "ModelSha256": report["model"]["sha256"], "Seed": "0", "Level": "L1"}
        assert node.GetAttribute("HealthiVert.Version") == report["versions"]["healthivert"]


def test_the_restored_ct_is_shown_through_the_window_of_the_original(phantom_nodes, finished_run):
    phantom_nodes.volume.GetDisplayNode().SetAutoWindowLevel(False)
    phantom_nodes.volume.GetDisplayNode().SetWindowLevel(1000, 300)
    shown = load(phantom_nodes, finished_run).volume.GetDisplayNode()
    assert (shown.GetWindow(), shown.GetLevel()) == (1000, 300)


def test_the_report_can_be_written_as_files(regrown, finished_run, tmp_path):
    page = regrown.write_report(tmp_path / "report")
    assert page.read_text(encoding="utf-8") == (finished_run / "report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == regrown.report


def test_21_a_saved_scene_gives_its_results_back(phantom_nodes, finished_run, tmp_path):
    move(phantom_nodes.volume, np.diag([-1.0, -1, 1, 1]))
    before = load(phantom_nodes, finished_run)
    page = before.page_text.GetText()
    names = [node.GetName() for node in nodes_of(before)]
    masks = [
        slicer.util.arrayFromSegmentBinaryLabelmap(before.segmentation, name, before.volume) for name in results.BODIES
    ]
    percent = vtk_to_numpy(before.loss_model.GetPolyData().GetPointData().GetArray(SCALAR_NAME)).copy()
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    volume = slicer.util.getNode("Phantom CT")
    assert results.find_results(volume, "L2") is None
    found = results.find_results(volume, "L1")
    assert [node.GetName() for node in nodes_of(found)] == names
    assert found.report == report_of(finished_run)
    assert found.page_text.GetText() == page
    assert hierarchy().GetItemName(found.folder_item) == "HealthiVert L1: Phantom CT"
    for name, mask in zip(results.BODIES, masks, strict=True):
        np.testing.assert_array_equal(
            slicer.util.arrayFromSegmentBinaryLabelmap(found.segmentation, name, found.volume), mask
        )
    assert column(found.table, "original_mm")[0] == pytest.approx(
        found.report["heights_mm"]["original"]["anterior"], abs=0.05
    )
    assert found.table.GetColumnTitle("original_mm") == "Original (mm)"
    np.testing.assert_allclose(
        vtk_to_numpy(found.loss_model.GetPolyData().GetPointData().GetArray(SCALAR_NAME)), percent, atol=0.01
    )
    assert found.loss_model.GetDisplayNode().GetActiveScalarName() == SCALAR_NAME
    assert {node.GetTransformNodeID() for node in (*found.height_lines, found.volume)} == {volume.GetTransformNodeID()}


def test_22_a_rerun_updates_the_nodes_and_keeps_what_the_user_changed(phantom_nodes, finished_run, tmp_path):
    first = load(phantom_nodes, finished_run)
    first.volume.SetName("my name")
    first.plot_series[0].SetColor(0.1, 0.2, 0.3)
    first.loss_model.GetDisplayNode().SetOpacity(0.5)
    count, items = slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()
    folder = shutil.copytree(finished_run, tmp_path / "again")
    report = report_of(folder)
    report["seed"], report["heights_mm"]["original"]["anterior"] = 7, 9.96
    report["height_lines_lps_mm"]["original"]["anterior"] = [[1.0, 2.0, 3.0], [1.0, 2.0, 12.96]]
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    second = load(phantom_nodes, folder)
    assert (slicer.mrmlScene.GetNumberOfNodes(), hierarchy().GetNumberOfItems()) == (count, items)
    assert [node.GetID() for node in nodes_of(second)] == [node.GetID() for node in nodes_of(first)]
    assert second.report["seed"] == 7 and second.volume.GetAttribute("HealthiVert.Seed") == "7"
    assert column(second.table, "original_mm")[0] == 10.0
    assert second.height_lines[0].GetNumberOfControlPoints() == 2
    assert second.height_lines[0].GetNthControlPointPosition(1) == pytest.approx((-1, -2, 12.96))
    assert second.volume.GetName() == "my name"
    assert second.plot_series[0].GetColor() == pytest.approx((0.1, 0.2, 0.3))
    assert second.loss_model.GetDisplayNode().GetOpacity() == 0.5


def test_22_a_rerun_while_the_result_is_compared_keeps_how_it_looks_and_renews_what_it_shows(
    views, phantom_nodes, finished_run, tmp_path
):
    first = load(phantom_nodes, finished_run)
    display.compare(first)
    shown = first.segmentation.GetDisplayNode()
    shown.SetSegmentVisibility2DOutline("original", False)
    first.loss_model.GetDisplayNode().SetScalarVisibility(False)
    difference = slicer.util.getNode("L1 difference")
    before = slicer.util.arrayFromVolume(difference).copy()
    folder = shutil.copytree(finished_run, tmp_path / "again")
    restored = sitk.ReadImage(str(folder / "pseudo_healthy_ct.nii.gz"))
    sitk.WriteImage(restored + 100, str(folder / "pseudo_healthy_ct.nii.gz"))
    report = report_of(folder)
    report["height_lines_lps_mm"]["original"]["anterior"] = [[1.0, 2.0, 3.0], [1.0, 2.0, 12.96]]
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    second = load(phantom_nodes, folder)
    labels = [[line.GetNthControlPointLabel(end) for end in (0, 1)] for line in second.height_lines]
    assert labels[0] == ["10.0", ""] and all(float(number) > 10 and not name for number, name in labels[1:])
    changed = slicer.util.arrayFromVolume(difference) - before
    assert set(np.unique(changed)) == {0, 100}
    assert not shown.GetSegmentVisibility2DOutline("original") and not shown.GetVisibility2DFill()
    assert not second.loss_model.GetDisplayNode().GetScalarVisibility()
    for body in results.BODIES:
        surface = second.segmentation.GetSegmentation().GetSegment(body).GetRepresentation("Closed surface")
        assert surface.GetNumberOfPoints() > 0


def test_22_a_rerun_after_loading_the_scene_adds_nothing(phantom_nodes, finished_run, tmp_path):
    load(phantom_nodes, finished_run)
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    loaded = type(phantom_nodes)(slicer.util.getNode("Phantom CT"), slicer.util.getNode("Phantom vertebrae"))
    count = slicer.mrmlScene.GetNumberOfNodes()
    load(loaded, finished_run)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_22_a_copy_that_the_user_made_is_not_brought_up_to_date(phantom_nodes, finished_run):
    first = load(phantom_nodes, finished_run).volume
    kept = slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, first, "kept")
    slicer.util.updateVolumeFromArray(kept, slicer.util.arrayFromVolume(kept) + 7)
    before = slicer.util.arrayFromVolume(kept).copy()
    assert load(phantom_nodes, finished_run).volume is first
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(kept), before)


def test_22_what_the_user_deleted_is_made_again(phantom_nodes, finished_run):
    first = load(phantom_nodes, finished_run)
    slicer.mrmlScene.RemoveNode(first.table)
    slicer.mrmlScene.RemoveNode(first.height_lines[0])
    first.segmentation.GetSegmentation().RemoveSegment("original")
    first.segmentation.GetSegmentation().GetSegment("pseudo_healthy").SetName("my name")
    missing = results.find_results(phantom_nodes.volume, "L1")
    assert missing.table is None and len(missing.height_lines) == 5
    again = load(phantom_nodes, finished_run)
    assert again.table is not None and len(again.height_lines) == 6
    segments = again.segmentation.GetSegmentation()
    names = {segments.GetSegment(body).GetName() for body in results.BODIES}
    assert names == {"L1 original", "my name"}
    assert item_of(again.table) and hierarchy().GetItemParent(item_of(again.table)) == first.folder_item


def test_two_levels_have_results_of_their_own(phantom_nodes, finished_run, tmp_path):
    first = load(phantom_nodes, finished_run)
    folder = shutil.copytree(finished_run, tmp_path / "L2")
    (folder / "report.json").write_text(json.dumps({**report_of(folder), "vertebra": "L2"}), encoding="utf-8")
    second = load(phantom_nodes, folder, "L2")
    assert second.folder_item != first.folder_item
    assert not {node.GetID() for node in nodes_of(first)} & {node.GetID() for node in nodes_of(second)}
    assert results.find_results(phantom_nodes.volume, "L1").report["vertebra"] == "L1"


def test_the_conditioning_alone_is_shown_before_a_run_and_reused_by_it(phantom_nodes, finished_run):
    count = slicer.mrmlScene.GetNumberOfNodes()
    segment_id = phantom_nodes.segmentation.GetSegmentation().GetSegmentIdBySegmentName("L1")
    frame = frames.ijk_to_ras(phantom_nodes.volume)
    shown = results.load_conditioning(finished_run, phantom_nodes.volume, "L1", frame)
    assert results.find_results(phantom_nodes.volume, "L1") is None
    assert slicer.mrmlScene.GetNumberOfNodes() > count
    hidden = slicer.util.arrayFromVolume(shown.conditioning_mask) > 0
    attention = slicer.util.arrayFromVolume(shown.attention)
    own = slicer.util.arrayFromSegmentBinaryLabelmap(phantom_nodes.segmentation, segment_id, phantom_nodes.volume)
    centre = places(phantom_nodes.volume, own > 0).mean(axis=0)
    assert value_at(shown.conditioning_mask, hidden, centre[None])[0]
    assert attention[hidden].max() == 0 and 0.5 < attention.max() <= 1
    found = load(phantom_nodes, finished_run)
    assert found.conditioning_mask is shown.conditioning_mask and found.attention is shown.attention
    assert found.folder_item == shown.folder_item
