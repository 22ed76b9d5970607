"""The phantom is a person whose truth is known: what is rendered is what truth.json says."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.errors import HealthiVertError
from healthivert.measure import third_heights
from healthivert.phantom import Grid, level_grid, render, sample_spine, truth, whole_spine_grid, write_phantoms
from healthivert.phantom.posture import poses
from healthivert.phantom.shape import footprint_ratio
from healthivert.types import THIRDS


def body_box(spine, level, spacing=0.5):
    """A tight grid along a body's own axes."""
    pose, vertebra = poses(spine)[level], spine.vertebra(level)
    size_mm = np.array([vertebra.width + 14, vertebra.depth + 14, vertebra.height + 14])
    size = np.ceil(size_mm / spacing).astype(int)
    corner = pose.centre - pose.axes.T @ (spacing * (size - 1) / 2)
    return Grid(tuple(size.tolist()), (spacing,) * 3, tuple(corner.tolist()), tuple(pose.axes.T.ravel().tolist()))


def counted_heights(spine, level, spacing=0.5):
    """Heights per third from the rendered body's voxels: first to last filled voxel of each column."""
    bodies = sitk.GetArrayFromImage(render(spine, body_box(spine, level, spacing), None).bodies)
    mask = bodies == LEVEL_NUMBER[level]
    length = (mask.shape[0] - mask.argmax(axis=0) - mask[::-1].argmax(axis=0)) * spacing
    # what hangs over the endplates' outline is wall: bulges and spurs
    vertebra = spine.vertebra(level)
    posterior, left = ((np.arange(n) - (n - 1) / 2) * spacing for n in length.shape)
    width = min(vertebra.width_superior, vertebra.width_inferior)
    covered = footprint_ratio(vertebra, left[None, :], posterior[:, None], width) < 1
    return third_heights(np.where(covered & (length > 0), length, np.nan), spacing)


def row(spine, level):
    return next(row for row in truth(spine)["levels"] if row["level"] == level)


@pytest.fixture(scope="module")
def broken():
    return sample_spine(21, fractured=True)


@pytest.mark.parametrize("seed", [1, 2, 5, 8])
def test_truth_agrees_with_the_voxels_of_the_rendered_bodies(seed):
    spine = sample_spine(seed, fractured=True)
    for level in {spine.fractured_levels[0], "L2", "T6"}:
        counted, true = counted_heights(spine, level), row(spine, level)["heights_mm"]
        for third in (*THIRDS, "mean"):
            assert getattr(counted, third) == pytest.approx(true[third], abs=0.4), (level, third)


def test_a_known_loss_is_the_difference_between_a_spine_and_its_twin(broken):
    level = broken.fractured_levels[0]
    before, after = (counted_heights(spine, level).mean for spine in (broken.healthy_twin(), broken))
    assert (before - after) / before == pytest.approx(row(broken, level)["rhlv"]["mean"], abs=0.02)


def test_the_worst_third_decides_the_genant_grade():
    seen = set()
    for seed in range(40):
        for level in truth(sample_spine(seed, fractured=True))["levels"]:
            worst = max(level["rhlv"][third] for third in THIRDS)
            assert level["genant"] == (worst >= 0.20) + (worst >= 0.25) + (worst >= 0.40)
            assert level["fractured"] == (worst > 0.05)
            assert level["fractured"] or level["shape"] == "normal"
            seen.add((level["genant"], level["shape"]) if level["fractured"] else "healthy")
    assert {(grade, shape) for grade in range(4) for shape in ("wedge", "biconcave", "crush")} <= seen


def test_each_shape_of_fracture_loses_most_where_its_name_says():
    for seed in range(30):
        for level in truth(sample_spine(seed, fractured=True))["levels"]:
            loss = level["rhlv"]
            if level["shape"] == "wedge":
                assert loss["anterior"] > loss["posterior"]
            if level["shape"] == "biconcave":
                assert loss["middle"] > max(loss["anterior"], loss["posterior"])
            if level["shape"] == "crush":
                assert loss["posterior"] > 0.5 * loss["anterior"]


def test_a_twin_differs_from_the_spine_only_through_the_fracture(broken):
    twin = broken.healthy_twin()
    assert twin.fractured_levels == ()
    assert all(level["rhlv"]["mean"] == 0 and level["genant"] == 0 for level in truth(twin)["levels"])
    lowest = broken.fractured_levels[-1]
    for vertebra in broken.vertebrae:
        before, after = poses(twin)[vertebra.level], poses(broken)[vertebra.level]
        moved = np.linalg.norm(before.centre - after.centre)
        if vertebra.number >= LEVEL_NUMBER[lowest]:
            assert moved == 0
        else:
            assert moved > 0.1 and after.centre[2] < before.centre[2]


def test_the_inferior_endplate_stays_and_tissue_below_a_fracture_does_not_change(broken):
    level = broken.fractured_levels[-1]
    grid = level_grid(broken, level, (60.0, 60.0, 120.0), 1.5)
    ill, well = (sitk.GetArrayFromImage(render(s, grid, None).ct) for s in (broken, broken.healthy_twin()))
    labels = sitk.GetArrayFromImage(render(broken, grid, None).labels)
    below = labels > LEVEL_NUMBER[level]
    assert below.any()
    assert np.abs(ill[below].astype(int) - well[below]).mean() < 1
    assert np.abs(ill[labels == LEVEL_NUMBER[level]].astype(int) - well[labels == LEVEL_NUMBER[level]]).mean() > 20


def test_a_healthy_person_does_not_depend_on_whether_fractures_are_asked_for():
    assert sample_spine(9, fractured=True).healthy_twin() == sample_spine(9)


def test_the_same_seed_gives_identical_arrays_and_another_seed_another_person():
    first, again, other = (sample_spine(seed, fractured=True) for seed in (4, 4, 5))
    assert first == again and first != other
    images = [
        render(spine, level_grid(spine, "L1", (50.0, 50.0, 60.0), 2.0), spine.scanner) for spine in (first, again)
    ]
    for name in ("ct", "labels", "bodies"):
        a, b = (sitk.GetArrayFromImage(getattr(image, name)) for image in images)
        assert np.array_equal(a, b)


def test_every_level_is_labelled_and_they_follow_each_other_from_top_to_bottom():
    spine = sample_spine(6)
    rendered = render(spine, whole_spine_grid(spine, 1.6, 128.0), spine.scanner)
    labels, bodies = (sitk.GetArrayFromImage(image) for image in (rendered.labels, rendered.bodies))
    present = sorted(set(np.unique(labels)) - {0})
    assert present == [LEVEL_NUMBER[level] for level in spine.levels]
    heights = [np.argwhere(bodies == number)[:, 0].mean() for number in present]
    assert np.all(np.diff(heights) < 0)
    assert np.all(labels[bodies > 0] > 0)
    assert rendered.ct.GetPixelID() == sitk.sitkInt16 and rendered.labels.GetPixelID() == sitk.sitkUInt8


def test_only_the_levels_asked_for_are_labelled_but_their_neighbours_are_in_the_scan():
    spine = sample_spine(6, levels=("L1", "L2", "L3", "L4", "L5", "L6"))
    assert [level["level"] for level in truth(spine)["levels"]] == list(spine.levels)
    grid = level_grid(spine, "L1", (60.0, 60.0, 90.0), 1.5)
    rendered = render(spine, grid, None)
    labels, hu = sitk.GetArrayFromImage(rendered.labels), sitk.GetArrayFromImage(rendered.ct)
    assert set(np.unique(labels)) <= {0, 20, 21, 22}
    index = rendered.ct.TransformPhysicalPointToIndex(tuple(poses(spine)["T12"].centre))
    near = hu[index[2] - 3 : index[2] + 4, index[1] - 8 : index[1] + 8, index[0] - 8 : index[0] + 8]
    assert near.mean() == pytest.approx(spine.tissue.trabecular, rel=0.5, abs=40)


@pytest.mark.parametrize("level", ["T4", "T11", "L3"])
def test_pedicles_and_laminae_enclose_the_canal(level):
    spine = sample_spine(7)
    pose, vertebra = poses(spine)[level], spine.vertebra(level)
    grid = body_box(spine, level, 1.0)
    # the body's box, longer towards the back
    size = (grid.size[0] + 10, grid.size[1] + 45, grid.size[2])
    corner = np.asarray(grid.origin) - pose.axes.T @ np.array([5.0, 0, 0])
    labels = sitk.GetArrayFromImage(render(spine, Grid(size, grid.spacing, tuple(corner), grid.direction), None).labels)
    ring = np.max(labels == vertebra.number, axis=0)
    filled, centre = _holes(ring), (7 + vertebra.depth + vertebra.canal_depth / 2, size[0] / 2)
    assert filled[round(centre[0]), round(centre[1])]
    assert filled.sum() > 0.45 * vertebra.canal_width * vertebra.canal_depth


def _holes(ring):
    return ndimage.binary_fill_holes(ring) & ~ring


def test_an_oblique_grid_shows_the_same_person():
    spine = sample_spine(12)
    straight = level_grid(spine, "L3", (56.0, 48.0, 50.0), 1.0)
    c, s = np.cos(0.15), np.sin(0.15)
    turned = Grid(straight.size, straight.spacing, (0.0, 0.0, 0.0), (c, -s, 0, s, c, 0, 0, 0, 1))
    middle = turned.steps @ (np.array(turned.size) - 1) / 2
    straight_middle = np.asarray(straight.origin) + straight.steps @ (np.array(straight.size) - 1) / 2
    turned = Grid(turned.size, turned.spacing, tuple(straight_middle - middle), turned.direction)
    volumes = [np.sum(sitk.GetArrayFromImage(render(spine, g, None).bodies) == 22) for g in (straight, turned)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.01)


def test_a_local_box_and_the_whole_scan_agree():
    spine = sample_spine(3)
    whole = whole_spine_grid(spine, 1.6, 128.0)
    start, size = (16, 40, 40), (48, 40, 40)
    origin = tuple(np.asarray(whole.origin) + whole.steps @ np.array(start))
    part = render(spine, Grid(size, whole.spacing, origin), None)
    everything = render(spine, whole, None)
    for name in ("labels", "ct"):
        inner = sitk.RegionOfInterest(getattr(everything, name), size, start)
        a, b = (sitk.GetArrayFromImage(image).astype(int) for image in (inner, getattr(part, name)))
        assert np.abs(a - b).mean() < 0.5


def test_a_thick_slice_scanner_blurs_and_a_noisy_one_is_noisy():
    from healthivert.phantom import Scanner

    spine = sample_spine(3)
    grid = level_grid(spine, "L2", (50.0, 44.0, 50.0), 1.0)
    thin = render(spine, grid, Scanner(slice_mm=0.6, noise_hu=0)).ct
    thick = render(spine, grid, Scanner(slice_mm=5.0, noise_hu=0)).ct
    noisy = render(spine, grid, Scanner(slice_mm=0.6, noise_hu=40, seed=2)).ct
    thin, thick, noisy = (sitk.GetArrayFromImage(image).astype(float) for image in (thin, thick, noisy))
    assert np.abs(np.diff(thick, axis=0)).mean() < 0.7 * np.abs(np.diff(thin, axis=0)).mean()
    assert np.std(noisy - thin) == pytest.approx(40, rel=0.1)


def test_a_written_case_holds_scan_twin_and_truth_on_one_grid(tmp_path, monkeypatch):
    from healthivert.phantom import write

    monkeypatch.setattr(write, "whole_spine_grid", lambda spine: whole_spine_grid(spine, spacing=1.6, field_mm=80.0))
    monkeypatch.setattr(
        write, "sample_spine", lambda seed, fractured: sample_spine(seed, fractured, ("T12", "L1", "L2"))
    )
    steps = []
    write_phantoms(tmp_path, 1, 5, True, lambda *step: steps.append(step))
    case = tmp_path / "case_0000"
    facts = json.loads((case / "truth.json").read_text())
    assert {"seed", "levels", "scanner"} <= facts.keys()
    assert [level["label"] for level in facts["levels"]] == [19, 20, 21]
    assert any(level["fractured"] for level in facts["levels"])
    images = [sitk.ReadImage(str(case / f"{name}.nii.gz")) for name in ("ct", "seg", "healthy_ct", "healthy_seg")]
    assert all(image.GetSize() == images[0].GetSize() for image in images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case_0000"]
    assert steps[-1][1] == 1.0
    with pytest.raises(HealthiVertError, match="case_0000"):
        write_phantoms(tmp_path, 1, 5, True)


def test_a_range_or_level_that_does_not_exist_is_named():
    with pytest.raises(HealthiVertError, match="colour"):
        sample_spine(1, colour=(0, 1))
    with pytest.raises(HealthiVertError, match="Q9"):
        sample_spine(1, levels=("L1", "Q9"))
