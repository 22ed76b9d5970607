"""The numbers of a result: table, plot, lines, surface and displacement say what report.json and the images say."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from HealthiVertSlicerLib import frames, results
from result_reading import (
    KEYS,
    column,
    load,
    percent_of,
    places,
    report_of,
    value_at,
)
from vtk.util.numpy_support import vtk_to_numpy


@pytest.fixture
def regrown(phantom_nodes, finished_run):
    return load(phantom_nodes, finished_run)


def test_18_the_heights_table_has_units_and_the_signed_numbers_of_report_json(regrown, finished_run):
    report = report_of(finished_run)
    table = regrown.table
    assert [table.GetColumnTitle(table.GetColumnName(index)) for index in range(table.GetNumberOfColumns())] == [
        "Part of the body",
        "Original (mm)",
        "Pseudo-healthy (mm)",
        "Neighbours (mm)",
        "Height loss RHLV (%)",
        "90 % interval from (%)",
        "90 % interval to (%)",
    ]
    assert table.GetUseColumnTitleAsColumnHeader()
    assert column(table, "region") == ["Anterior", "Middle", "Posterior", "Mean"]
    for body in ("original", "pseudo_healthy", "neighbour_reference"):
        expected = [report["heights_mm"][body][key] for key in KEYS]
        assert column(table, f"{body}_mm") == pytest.approx(expected, abs=0.05)
    assert column(table, "rhlv_percent") == pytest.approx([100 * report["rhlv"][key] for key in KEYS], abs=0.05)
    for end, name in enumerate(("low", "high")):
        expected = [100 * report["rhlv_interval_90"][key][end] for key in KEYS]
        assert column(table, f"rhlv_interval_90_{name}_percent") == pytest.approx(expected, abs=0.05)
    assert regrown.report == report


def test_a_run_without_a_profile_leaves_the_plot_empty(phantom_nodes, finished_run, tmp_path):
    load(phantom_nodes, finished_run)
    folder = shutil.copytree(finished_run, tmp_path / "none")
    report = {**report_of(folder), "height_profile_mm": None}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert load(phantom_nodes, folder).profile_table.GetTable().GetNumberOfColumns() == 0


def test_18_a_taller_vertebra_has_a_negative_loss_and_the_spread_is_told(phantom_nodes, finished_run, tmp_path):
    folder = shutil.copytree(finished_run, tmp_path / "taller")
    report = report_of(folder)
    report["rhlv"], report["rhlv_sd"] = dict.fromkeys(KEYS, -0.123), dict.fromkeys(KEYS, 0.021)
    report["heights_mm"]["neighbour_reference"] = None
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    table = load(phantom_nodes, folder).table
    assert column(table, "rhlv_percent") == [-12.3] * 4
    assert column(table, "rhlv_sd_percent") == [2.1] * 4
    assert table.GetColumnTitle("rhlv_sd_percent") == "Spread of RHLV (%)"
    assert table.GetTable().GetColumnByName("neighbour_reference_mm") is None


def test_19_height_lines_are_as_long_as_the_table_says_and_lie_in_their_bodies(regrown):
    table = {f"{body}_{row}": column(regrown.table, f"{body}_mm")[row] for body in results.BODIES for row in range(3)}
    for index, line in enumerate(regrown.height_lines):
        body, row = results.BODIES[index // 3], index % 3
        assert line.GetName() == f"L1 {KEYS[row]} {body.replace('_', '-')}"
        ends = np.array([line.GetNthControlPointPosition(end) for end in (0, 1)])
        assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(table[f"{body}_{row}"], abs=0.05)
        assert line.GetLineLengthWorld() == pytest.approx(table[f"{body}_{row}"], abs=0.05)
        assert line.GetLocked()
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(regrown.segmentation, body, regrown.volume) > 0
        along = ends[0] + np.linspace(0.08, 0.92, 20)[:, None] * (ends[1] - ends[0])
        assert value_at(regrown.volume, mask, along).all(), line.GetName()
        beyond = ends[0] + np.array([-0.12, 1.12])[:, None] * (ends[1] - ends[0])
        assert not value_at(regrown.volume, mask, beyond).any(), line.GetName()


def test_19_the_plot_shows_the_profile_whose_means_are_in_the_table(regrown, finished_run):
    profile = report_of(finished_run)["height_profile_mm"]
    series = regrown.plot_series
    assert [regrown.plot_chart.GetNthPlotSeriesNodeID(index) for index in (0, 1)] == [node.GetID() for node in series]
    assert regrown.plot_chart.GetXAxisTitle() == "From the anterior wall (mm)"
    assert regrown.plot_chart.GetYAxisTitle() == "Body height (mm)"
    highest = max(filter(np.isfinite, [*profile["original"], *profile["pseudo_healthy"]]))
    assert regrown.plot_chart.GetYAxisRange() == pytest.approx((0, 1.25 * highest)), "the legend covers no curve"
    for node, body, row in zip(series, results.BODIES, (1, 2), strict=True):
        assert node.GetTableNode() is regrown.profile_table
        heights = column(regrown.profile_table, node.GetYColumnName())
        assert heights == pytest.approx(profile[body], nan_ok=True)
        assert column(regrown.profile_table, node.GetXColumnName()) == profile["from_anterior_wall"]
        depth = len(heights)
        inner = heights[round(0.08 * depth) : round(0.92 * depth)]
        mean = column(regrown.table, f"{body}_mm")[3]
        assert np.nanmean(inner) == pytest.approx(mean, abs=0.4), row


def test_19_the_surface_shows_the_loss_of_the_map_in_one_range_about_zero(regrown):
    surface, shown = regrown.loss_model.GetPolyData(), regrown.loss_model.GetDisplayNode()
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    percent = percent_of(regrown)
    loss = slicer.util.arrayFromVolume(regrown.loss_volume)
    body = frames.mapped(frames.ijk_to_ras(regrown.loss_volume), np.argwhere(loss != 0)[:, ::-1].astype(float))
    nearest = vtk_nearest(body, points)
    assert np.linalg.norm(body[nearest] - points, axis=1).max() < 2.0
    assert np.abs(percent - loss[loss != 0][nearest]).mean() < 3.0
    assert shown.GetActiveScalarName() == "height loss (%)" and shown.GetScalarVisibility()
    low, high = shown.GetScalarRange()
    assert (low, high) == (-50, 50), "for everybody, so that colours of two patients can be compared"
    window = regrown.loss_volume.GetDisplayNode()
    assert (window.GetWindowLevelMin(), window.GetWindowLevelMax()) == (low, high)
    front, back = percent[points[:, 1] > np.percentile(points[:, 1], 80)], percent[points[:, 1] < body[:, 1].mean()]
    assert front.mean() > back.mean() + 10  # a wedge


def vtk_nearest(body, points) -> np.ndarray:
    cloud, locator = vtk.vtkPolyData(), vtk.vtkKdTreePointLocator()
    cloud.SetPoints(vtk.vtkPoints())
    for point in body:
        cloud.GetPoints().InsertNextPoint(point)
    locator.SetDataSet(cloud)
    locator.BuildLocator()
    return np.array([locator.FindClosestPoint(point) for point in points])


def test_the_displacement_carries_the_original_scan_to_the_restored_one(regrown, finished_run):
    field = sitk.ReadImage(str(finished_run / "displacement.nii.gz"))
    top = np.array(
        field.TransformIndexToPhysicalPoint([size // 2 for size in field.GetSize()[:2]] + [field.GetSize()[2] - 3])
    )
    lifted = np.array(field.GetPixel(*field.TransformPhysicalPointToIndex(top.tolist()))) * (-1, -1, 1)
    place = top * (-1, -1, 1)
    transform = regrown.displacement.GetTransformFromParent()
    assert lifted[2] < -1.5  # the tissue above came from below
    assert transform.TransformPoint(place) == pytest.approx(place + lifted, abs=0.05)
    assert regrown.displacement.GetTransformToParent().TransformPoint(place + lifted) == pytest.approx(place, abs=0.1)


def test_the_spine_table_and_its_plot_tell_the_rows_of_inspect_and_are_updated(phantom_nodes, finished_run):
    rows = report_of(finished_run)["spine"]
    rows[0]["neighbour_reference"] = None
    table = results.show_spine_table(rows, phantom_nodes.volume)
    assert column(table, "level") == [row["level"] for row in rows]
    assert column(table, "height_mm") == pytest.approx([row["heights_mm"]["mean"] for row in rows], abs=0.05)
    at = [row["level"] for row in rows].index("L1")
    expected = 100 * (1 - rows[at]["heights_mm"]["mean"] / rows[at]["neighbour_reference"]["mean"])
    assert column(table, "loss_percent")[at] == pytest.approx(expected, abs=0.05) and expected > 20
    assert np.isnan(column(table, "neighbours_mm")[0])
    assert table.GetColumnTitle("height_mm") == "Height (mm)"
    chart = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    assert chart.GetNumberOfPlotSeriesNodes() == 2
    assert chart.GetNthPlotSeriesNode(0).GetLabelColumnName() == "level"
    count = slicer.mrmlScene.GetNumberOfNodes()
    assert results.show_spine_table(rows[:3], phantom_nodes.volume) is table
    assert slicer.mrmlScene.GetNumberOfNodes() == count and len(column(table, "level")) == 3


def test_the_healthy_segment_is_taller_and_both_stand_on_the_same_endplate(regrown):
    boxes = []
    for name in results.BODIES:
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(regrown.segmentation, name, regrown.volume) > 0
        points = places(regrown.volume, mask)
        boxes.append((points.min(axis=0), points.max(axis=0)))
    assert abs(boxes[0][0][2] - boxes[1][0][2]) <= 3
    assert boxes[1][1][2] - boxes[0][1][2] > 1.5
