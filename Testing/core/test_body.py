"""Bodies are found without their posterior elements, in any pose, and their heights are right in millimetres."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import block_spine, lumbar_blocks, on_grid_of
from scipy.spatial.transform import Rotation

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import _without_remainders, find_bodies
from healthivert.case import load_case
from healthivert.errors import HealthiVertError
from healthivert.geometry import Affine, Patch, cut_patch, label_boxes
from healthivert.landmark import Landmark
from healthivert.measure import body_heights
from healthivert.types import SpineCase


def heights(case: SpineCase, level: str):
    body = find_bodies(case)[level]
    return body_heights(body)


def test_a_straight_block_measures_its_own_height(healthy_case):
    for level, body in find_bodies(healthy_case).items():
        assert body_heights(body).mean == pytest.approx(27.0, abs=0.3), level


def test_posterior_elements_are_cut_off_at_the_canal(healthy_case):
    for body in find_bodies(healthy_case).values():
        footprint = np.isfinite(body.superior)
        depth = footprint.any(axis=1).sum() * body.column_mm
        assert 28 <= depth <= 33  # the block is 32 mm deep; its arch reaches 55 mm behind the middle


def test_a_segmentation_of_bodies_alone_gives_the_same_heights(wedged_case):
    alone = block_spine(lumbar_blocks(L1=(15.0, 25.0)), arches=False)
    whole, bodies = heights(wedged_case, "L1"), heights(alone, "L1")
    for key in ("anterior", "middle", "posterior"):
        assert getattr(whole, key) == pytest.approx(getattr(bodies, key), abs=0.5)


@pytest.mark.parametrize("angles", [(0, 0, 25), (18, 0, 0), (0, 15, 0), (12, -10, 20)])
def test_rotation_and_tilt_of_the_patient_do_not_change_heights(angles, wedged_case):
    turned = block_spine(
        lumbar_blocks(L1=(15.0, 25.0)), rotation=Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    )
    for level in ("L1", "L3"):
        a, b = heights(wedged_case, level), heights(turned, level)
        for key in ("anterior", "middle", "posterior"):
            assert getattr(a, key) == pytest.approx(getattr(b, key), abs=0.8), (level, key)


@pytest.mark.parametrize(
    "spacing", [(0.6, 0.6, 0.6), (1.0, 1.0, 2.5), (2.0, 2.0, 1.0), (3.0, 3.0, 3.0), (0.8, 0.8, 5.0)]
)
def test_heights_are_millimetres_whatever_the_voxels_are(spacing):
    case = block_spine(lumbar_blocks(L1=(15.0, 25.0)), spacing=spacing)
    tolerance = 0.3 + 0.55 * max(spacing)  # these blocks lie parallel to the slices: half a slice is not to be known
    assert heights(case, "L3").mean == pytest.approx(27.0, abs=tolerance)
    assert heights(case, "L1").anterior < heights(case, "L1").posterior - 4


def test_a_body_cut_by_the_border_is_said_to_be_incomplete(healthy_case):
    images = healthy_case.ct, healthy_case.labels
    size = healthy_case.ct.GetSize()
    crop = [sitk.RegionOfInterest(image, [size[0], size[1], size[2] - 30], [0, 0, 0]) for image in images]
    bodies = find_bodies(SpineCase(crop[0], crop[1], "cropped", "LPS", healthy_case.label_values))
    assert not bodies["T12"].complete
    assert bodies["L3"].complete


def cropped_to_labels(case: SpineCase, below: int = 0, above: int = 0) -> SpineCase:
    """The case without what lies around its labels, and without that many of the lowest and highest slices."""
    boxes = label_boxes(case.labels).values()
    lower, upper = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
    lower[2] += below
    upper[2] -= above
    ct, labels = (sitk.RegionOfInterest(i, (upper - lower).tolist(), lower.tolist()) for i in (case.ct, case.labels))
    return SpineCase(ct, labels, "cropped", "LPS", case.label_values)


LEANING = Rotation.from_euler("x", 20, degrees=True).as_matrix()


def cut_levels(case: SpineCase) -> list[str]:
    return [level for level, body in find_bodies(case).items() if not body.complete]


@pytest.mark.parametrize(("spacing", "arches"), [(1.0, True), (1.0, False), (3.0, True)])
def test_bodies_that_only_touch_the_border_are_whole(spacing, arches):
    case = block_spine(lumbar_blocks(), (spacing,) * 3, LEANING, arches)
    assert cut_levels(cropped_to_labels(case)) == []


@pytest.mark.parametrize(("below", "above", "cut"), [(12, 0, "L5"), (0, 12, "T12"), (12, 12, "T12 L5")])
def test_a_body_that_goes_on_beyond_the_border_is_cut(below, above, cut):
    case = block_spine(lumbar_blocks(), rotation=LEANING, arches=False)
    assert cut_levels(cropped_to_labels(case, below, above)) == cut.split()


@pytest.mark.parametrize("side", [1, -1])
def test_a_body_that_goes_on_beyond_its_mask_is_cut_and_one_whose_mask_was_cropped_to_it_is_not(side, tmp_path):
    """A mask of a part of the scan, on a grid of its own, as of a volume that was cropped to be segmented."""
    case = block_spine(lumbar_blocks(), rotation=Rotation.from_euler("x", 6, degrees=True).as_matrix())
    labels, ct = case.labels, tmp_path / "ct.nii.gz"
    noisy = sitk.AdditiveGaussianNoise(sitk.Cast(case.ct, sitk.sitkFloat32), 20.0, 0.0, 1)
    noisy = sitk.Paste(sitk.Cast(noisy, sitk.sitkInt16), sitk.Image(5, 5, 5, sitk.sitkInt16) - 900, [5, 5, 5])
    sitk.WriteImage(noisy, str(ct))
    through = round(35 * 5 + 13 - labels.GetOrigin()[2]) if side > 0 else round(13 - labels.GetOrigin()[2])  # T12, L5
    part = labels[:, :, :through] if side > 0 else labels[:, :, through:]
    sitk.WriteImage(part, str(tmp_path / "part.nii.gz"))
    assert cut_levels(load_case(ct, tmp_path / "part.nii.gz")) == (["T12"] if side > 0 else ["L5"])
    tight = cropped_to_labels(case).labels
    sitk.WriteImage(tight, str(tmp_path / "tight.nii.gz"))
    assert tight.GetSize() != labels.GetSize() and cut_levels(load_case(ct, tmp_path / "tight.nii.gz")) == []


def cropped_at_t12(healthy_case: SpineCase, body_height_mm: float) -> SpineCase:
    """A scan that ends in the arch of T12, with what so many mm leave of T12's body."""
    labels = sitk.GetArrayFromImage(healthy_case.labels)
    z = healthy_case.labels.GetOrigin()[2] + np.arange(len(labels))
    y = healthy_case.labels.GetOrigin()[1] + np.arange(labels.shape[1])
    bottom = 35 * 5
    labels[(labels == 19) & (y < 24)[None, :, None] & (z >= bottom + body_height_mm)[:, None, None]] = 0
    inside = z < bottom + 24
    cropped = sitk.GetImageFromArray(labels[inside])
    cropped.SetOrigin(healthy_case.labels.GetOrigin())
    ct = healthy_case.ct[:, :, : int(inside.sum())]
    return SpineCase(ct, cropped, "cropped", "LPS", healthy_case.label_values)


def test_an_arch_that_the_border_has_left_alone_is_no_level_and_bends_no_other(healthy_case):
    """Arches reach lower than their bodies: of T12, at the upper border of a cropped scan, the arch alone is left."""
    bodies, whole = find_bodies(cropped_at_t12(healthy_case, 0.0)), find_bodies(healthy_case)
    assert "T12" in whole and set(bodies) == set(whole) - {"T12"}
    for level, body in bodies.items():
        assert body_heights(body).thirds == pytest.approx(body_heights(whole[level]).thirds, abs=0.1), level


def test_of_three_levels_the_arch_at_one_end_does_not_cost_the_body_at_the_other():
    """As in a crop of VerSe 005: the line from the arch through the middle level passes the body at the other end."""
    empty = Patch(np.zeros((5, 5, 5), np.float32), Affine(np.eye(3), np.zeros(3)))

    def mark(level: str, posterior: float, superior: float, thickness_mm: float) -> Landmark:
        at = np.array([0.0, posterior, superior])
        return Landmark(level, empty, at, at, thickness_mm, 1.0, 9e4, cut_off=True)

    for sign in (1, -1):  # the arch below, and above
        levels = [mark("L1", 0.0, 33.0, 24.0), mark("L2", 0.0, 0.0, 26.0), mark("L3", 40.0, -20.0, 8.0)]
        if sign < 0:
            levels = [mark("L1", 40.0, 20.0, 8.0), mark("L2", 0.0, 0.0, 26.0), mark("L3", 0.0, -33.0, 24.0)]
        arch = min(levels, key=lambda one: one.thickness_mm)
        assert _without_remainders(levels, {}) == [one for one in levels if one is not arch]


def test_over_a_gap_in_the_labels_a_line_says_nothing(healthy_case):
    """L1 and L5 alone, L5 30 mm farther back: neither is dropped, and neither is measured along the line between."""
    numbers = sitk.GetArrayFromImage(healthy_case.labels)
    lowest = np.roll(np.where(numbers == 24, 24, 0), 30, axis=1)
    lowest[:, :30] = 0
    numbers = np.where(numbers == 20, 20, lowest).astype(np.uint8)
    case = replace(healthy_case, labels=on_grid_of(healthy_case, numbers), label_values={"L1": 20, "L5": 24})
    bodies = find_bodies(case)
    assert set(bodies) == {"L1", "L5"}
    for level, body in bodies.items():
        assert body_heights(body).thirds == pytest.approx(heights(healthy_case, level).thirds, abs=0.2), level


def test_a_crushed_body_at_the_border_is_not_taken_for_an_arch_left_alone(healthy_case):
    """It is thinner than its arch, which lies aside of the line through the next bodies."""
    body = find_bodies(cropped_at_t12(healthy_case, 6.0))["T12"]
    assert body.complete and body_heights(body).thirds == pytest.approx((6.0,) * 3, abs=0.5)


def test_a_crushed_body_between_others_bends_none_of_them(healthy_case):
    """Its label is thickest in its arch, but the line through the bodies must not be drawn there."""
    bodies, whole = find_bodies(block_spine(lumbar_blocks(L2=(5.0, 5.0)))), find_bodies(healthy_case)
    assert body_heights(bodies["L2"]).thirds == pytest.approx((5.0,) * 3, abs=0.3)
    for level in set(whole) - {"L2"}:
        assert body_heights(bodies[level]).thirds == pytest.approx(body_heights(whole[level]).thirds, abs=0.1), level


def test_of_two_levels_the_one_that_is_an_arch_alone_is_none(healthy_case):
    """There is no line through two others to hold it against, but the one body's own axis."""
    case = cropped_at_t12(healthy_case, 0.0)
    numbers = sitk.GetArrayFromImage(case.labels)
    numbers[numbers > 20] = 0
    bodies = find_bodies(replace(case, labels=on_grid_of(case, numbers), label_values={"T12": 19, "L1": 20}))
    assert set(bodies) == {"L1"}
    assert body_heights(bodies["L1"]).thirds == pytest.approx(heights(healthy_case, "L1").thirds, abs=0.1)


def test_of_two_levels_a_crushed_one_whose_process_reaches_the_border_is_kept():
    """Its arch is thicker than its body, and lies aside; but its body does not."""
    case = block_spine(lumbar_blocks(L2=(6.0, 6.0)))
    numbers = sitk.GetArrayFromImage(case.labels)
    numbers[(numbers != 21) & (numbers != 22)] = 0
    behind = np.flatnonzero((numbers > 0).any(axis=(0, 2)))[-1] - 5  # through the spinous processes
    images = (image[:, : int(behind), :] for image in (case.ct, on_grid_of(case, numbers)))
    bodies = find_bodies(SpineCase(*images, "two", "LPS", {"L2": 21, "L3": 22}))
    assert {level: round(body_heights(body).mean) for level, body in bodies.items()} == {"L2": 6, "L3": 27}


def test_stray_voxels_at_the_other_end_of_the_scan_cost_neither_numbers_nor_memory(healthy_case, monkeypatch):
    numbers = sitk.GetArrayFromImage(healthy_case.labels)
    numbers[0, 0, 0], numbers[-1, -1, -1] = 20, 20
    labels = on_grid_of(healthy_case, numbers)
    largest = []

    def cut(*arguments, **more):
        patch = cut_patch(*arguments, **more)
        largest.append(max(np.array(patch.array.shape) * patch.spacing[::-1]))
        return patch

    monkeypatch.setattr("healthivert.landmark.cut_patch", cut)
    body = find_bodies(replace(healthy_case, labels=labels))["L1"]
    assert body.complete and body_heights(body).thirds == pytest.approx(heights(healthy_case, "L1").thirds)
    assert len(largest) > 6 and max(largest) < 2 * 75 + 20


def test_a_hole_in_the_labels_is_no_loss_of_height(healthy_case):
    labels = sitk.GetArrayFromImage(healthy_case.labels)
    middle = np.argwhere(labels == 22)[:, 0].mean()
    at = np.stack(np.indices(labels.shape))
    centre = np.array([middle, *(np.array(labels.shape[1:]) / 2 - (10, 0))])[:, None, None, None]
    labels[((at - centre) ** 2).sum(axis=0) < 6**2] = 0
    case = replace(healthy_case, labels=on_grid_of(healthy_case, labels))
    assert heights(case, "L3").thirds == pytest.approx(heights(healthy_case, "L3").thirds, abs=0.1)


def with_cleft(case: SpineCase, lowest: float, highest: float, front_only: bool = False) -> SpineCase:
    """L3 without its rows between those parts of its height; in its anterior two thirds alone, the cleft is open."""
    labels = sitk.GetArrayFromImage(case.labels)
    rows, depths, _ = np.argwhere(labels == LEVEL_NUMBER["L3"]).T
    bottom, height = rows.min(), 27
    end = depths.min() + (22 if front_only else 30)  # 32 mm of body; the pedicles hold the halves together
    gone = labels[bottom + round(lowest * height) : bottom + round(highest * height), :end]
    gone[gone == LEVEL_NUMBER["L3"]] = 0
    return replace(case, labels=on_grid_of(case, labels))


@pytest.mark.parametrize("front_only", [False, True])
@pytest.mark.parametrize("place", [(0.4, 0.55), (0.4, 0.65), (0.7, 0.85)])
def test_a_cleft_is_part_of_its_body(place, front_only, healthy_case):
    """Whether it parts the body in two, or opens to its wall: heights are from plate to plate."""
    bodies, whole = find_bodies(with_cleft(healthy_case, *place, front_only)), find_bodies(healthy_case)
    for level in whole:
        assert body_heights(bodies[level]).thirds == pytest.approx(body_heights(whole[level]).thirds, abs=0.3), level
        assert (bodies[level].cleft_mm > 0) == (level == "L3")
    assert bodies["L3"].cleft_mm == pytest.approx(27 * (place[1] - place[0]), abs=1.0)


def test_what_lies_over_a_plate_like_a_claw_is_no_other_side_of_a_cleft(healthy_case):
    labels = sitk.GetArrayFromImage(healthy_case.labels)
    rows, depths, _ = np.argwhere(labels == LEVEL_NUMBER["L3"]).T
    top, front, middle = rows.max(), depths.min(), labels.shape[2] // 2
    across = slice(middle - 8, middle + 8)
    labels[top - 3 : top + 7, front - 2 : front, across] = LEVEL_NUMBER["L3"]  # a spur that rises in front of the disc
    labels[top + 5 : top + 7, front - 2 : front + 8, across] = LEVEL_NUMBER["L3"]  # and bends back over the plate
    claw = find_bodies(replace(healthy_case, labels=on_grid_of(healthy_case, labels)))["L3"]
    assert body_heights(claw).thirds == pytest.approx(heights(healthy_case, "L3").thirds, abs=0.3)
    assert claw.cleft_mm == 0


def test_labels_without_any_body_are_refused():
    labels = sitk.Image(40, 40, 40, sitk.sitkUInt8)
    labels[20, 20, 20] = 20
    with pytest.raises(HealthiVertError, match="L1"):
        find_bodies(SpineCase(sitk.Image(40, 40, 40, sitk.sitkInt16), labels, "speck", "LPS", {"L1": 20}))


def test_an_opening_of_the_wall_is_no_loss_of_height(healthy_case):
    """Where the veins leave the body a segmentation is often open: 6 mm high, in the middle of the posterior wall."""
    labels = sitk.GetArrayFromImage(healthy_case.labels)
    rows, depths, across = np.argwhere(labels == LEVEL_NUMBER["L3"]).T
    middle, wall, left = rows.min() + 14, depths.min() + 30, int(np.median(across))
    opening = labels[middle - 3 : middle + 3, wall - 9 : wall, left - 5 : left + 6]
    assert (opening == LEVEL_NUMBER["L3"]).all()
    opening[:] = 0
    bodies = find_bodies(replace(healthy_case, labels=on_grid_of(healthy_case, labels)))
    assert body_heights(bodies["L3"]).thirds == pytest.approx(heights(healthy_case, "L3").thirds, abs=0.3)
    assert bodies["L3"].cleft_mm == 0
