"""Heights by thirds, signed loss, grades: each on surfaces whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from report_example import fractured_report

from healthivert.grade import genant_grade, grade_range
from healthivert.measure import (
    EXACT,
    GENERATED,
    Rim,
    gap_height_map,
    height_loss_map,
    mid_sagittal_profile,
    published_rhlv,
    relative_height_loss,
    six_point,
    third_heights,
    without_rim,
)
from healthivert.pipeline import loss_interval
from healthivert.types import HEIGHT_KEYS, Genant, Heights


def plate(heights: np.ndarray, width: int = 40) -> np.ndarray:
    """(AP, LR) map with the given AP profile and NaN around it."""
    out = np.full((len(heights) + 10, width + 10), np.nan)
    out[5:-5, 5:-5] = heights[:, None]
    return out


def test_thirds_of_a_wedge_are_the_means_of_its_thirds():
    profile = np.linspace(10, 40, 61)
    found = third_heights(plate(profile), 0.5)
    inner = 0.92 - 0.08
    expected = [10 + 30 * (0.08 + inner * (i + 0.5) / 3) for i in range(3)]
    assert [found.anterior, found.middle, found.posterior] == pytest.approx(expected, abs=0.4)
    assert found.mean == pytest.approx(25.0, abs=0.2)


def test_the_profile_starts_at_the_anterior_wall_and_is_in_millimetres():
    ap, heights = mid_sagittal_profile(plate(np.linspace(20, 30, 30)), 2.0)
    assert ap[0] == 1.0 and ap[-1] == 59.0
    assert heights[0] == pytest.approx(20) and heights[-1] == pytest.approx(30)


def test_a_spur_in_front_of_the_wall_is_not_the_body():
    body = np.full(32, 24.0)
    spurred = np.concatenate([[5.0, 6.0, 7.0, 7.0], body])
    assert third_heights(plate(spurred), 1.0) == third_heights(plate(body), 1.0)
    # on thick voxels the same rows may be a rounded rim
    coarse = third_heights(plate(spurred), 1.0, Rim(rounded_mm=5.0))
    assert coarse.anterior < 24.0


@pytest.mark.parametrize("length", range(2, 11))
@pytest.mark.parametrize("rim", [EXACT, GENERATED])
def test_a_spur_is_none_of_the_body_however_long_it_is(length, rim):
    """A turn of the scan makes it a column longer or shorter, which must not decide whether it is seen."""
    body = np.full(32, 28.0)
    for spurred in (np.concatenate([np.full(length, 9.0), body]), np.concatenate([body, np.full(length, 9.0)])):
        assert third_heights(plate(spurred), 1.0, rim).thirds == pytest.approx((28.0,) * 3)


def test_only_of_a_generated_body_a_lip_that_rises_slowly_is_no_wall():
    """In a patient it may be the part that collapsed; a vertebra drawn as healthy has none."""
    lipped = plate(np.concatenate([np.linspace(6.0, 22.0, 9), np.full(26, 28.0)]))
    assert third_heights(lipped, 1.0).anterior < 25.0
    assert third_heights(lipped, 1.0, GENERATED).anterior > third_heights(lipped, 1.0).anterior + 1.0


def test_a_wedge_keeps_its_thin_edge():
    ap, heights = mid_sagittal_profile(plate(np.linspace(6, 25, 32)), 1.0)
    assert heights[0] == pytest.approx(6.0) and len(ap) == 32


def test_an_empty_map_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        mid_sagittal_profile(np.full((5, 5), np.nan), 1.0)


def test_loss_is_signed():
    healthy = Heights(20, 20, 20, 20)
    loss = relative_height_loss(Heights(10, 20, 22, 52 / 3), healthy)
    assert (loss.anterior, loss.middle, loss.posterior) == pytest.approx((0.5, 0.0, -0.1))


def test_the_loss_map_lays_a_wider_collapsed_body_onto_the_healthy_one():
    healthy = plate(np.full(30, 24.0), 40)
    collapsed = plate(np.linspace(12, 24, 36), 46)
    loss = height_loss_map(collapsed, healthy, 1.0)
    middle = loss[5:-5, 25]
    assert middle[0] == pytest.approx(0.5, abs=0.03) and middle[-1] == pytest.approx(0.0, abs=0.03)
    assert np.isnan(loss[0, 0])


def test_an_osteophyte_along_one_wall_is_no_loss_and_moves_nothing():
    healthy = plate(np.full(30, 24.0), 40)
    spurred = healthy.copy()
    rows, columns = np.nonzero(np.isfinite(healthy))
    first, end = columns.max() + 1, columns.max() + 9
    spurred[rows.min() : rows.max() + 1, first:end] = 6.0
    found = height_loss_map(spurred, healthy, 1.0)
    assert np.isfinite(found).sum() > 0.95 * np.isfinite(healthy).sum()
    assert np.nanmax(np.abs(found)) < 1e-6


def test_a_corner_that_gives_way_slowly_is_a_loss():
    ap = np.linspace(8.0, 24.0, 30)
    found = height_loss_map(plate(ap, 40), plate(np.full(30, 24.0), 40), 1.0)
    assert np.nanmax(found) == pytest.approx(2 / 3, abs=0.03)


def test_the_loss_that_is_shown_leaves_the_walls_out_as_the_thirds_do():
    shown = without_rim(np.pad(np.full((36, 50), 0.3), 4, constant_values=np.nan))
    rows, columns = np.nonzero(np.isfinite(shown))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4 + 3, 39 - 3, 4 + 3, 53 - 3)
    assert np.nanmax(shown) == np.nanmin(shown) == 0.3
    assert np.isnan(without_rim(np.full((6, 6), np.nan))).all()


def test_six_points_lie_beside_the_rims_and_in_the_middle():
    found = six_point(*mid_sagittal_profile(plate(np.linspace(10, 30, 41)), 1.0))
    assert found == pytest.approx({"anterior": 13.0, "middle": 20.0, "posterior": 27.0}, abs=0.4)


def test_a_generated_body_is_measured_between_its_half_crossings():
    body = np.zeros((40, 20, 20), np.float32)
    body[10:30, 3:17, 3:17] = 1.0
    body[30, 3:17, 3:17] = 0.75  # the face lies a quarter row further than the row's middle
    found = gap_height_map(body, 1.5)
    assert np.nanmedian(found) == pytest.approx((30 + 1 / 3 - 9.5) * 1.5, abs=0.01)


@pytest.mark.parametrize(
    ("loss", "grade", "shape"),
    [
        ((0.05, 0.08, 0.02), 0, "normal"),
        ((0.19, 0.19, 0.19), 0, "normal"),
        ((0.22, 0.12, 0.03), 1, "wedge"),
        ((0.35, 0.25, 0.05), 2, "wedge"),
        ((0.15, 0.33, 0.10), 2, "biconcave"),
        ((0.45, 0.47, 0.44), 3, "crush"),
        ((0.10, 0.12, 0.30), 2, "crush"),
        ((-0.2, -0.1, 0.0), 0, "normal"),
    ],
)
def test_grades_follow_the_worst_third_and_shapes_its_place(loss, grade, shape):
    found = genant_grade(Heights(*loss, float(np.mean(loss))))
    assert (found.grade, found.shape) == (grade, shape)


@pytest.mark.parametrize(
    ("worst", "reach", "expected"),
    [(0.10, 0.05, (0, 0)), (0.21, 0.05, (0, 2)), (0.36, 0.05, (2, 3)), (0.60, 0.05, (3, 3))],
)
def test_the_interval_of_the_worst_third_tells_which_grades_are_possible(worst, reach, expected):
    rhlv = Heights(worst, 0.05, 0.0, 0.1)
    interval = {key: (getattr(rhlv, key) - reach, getattr(rhlv, key) + reach) for key in HEIGHT_KEYS}
    loss = replace(fractured_report().loss, rhlv=rhlv, rhlv_interval=interval, genant=genant_grade(rhlv))
    assert grade_range(loss) == expected
    assert grade_range(replace(loss, genant=Genant(3, "wedge", "svm")))[1] == 3, "another way may grade otherwise"


def test_the_published_formula_hides_a_synthesis_that_is_too_low():
    """Its flaw, kept on purpose: the healthy heights are scaled up to the original's maximum."""
    original, healthy = np.zeros((60, 40, 40), bool), np.zeros((60, 40, 40), bool)
    original[10:40, 5:35, 5:35] = True
    healthy[10:34, 5:35, 5:35] = True
    assert published_rhlv(original, healthy, 1.0)["mean"] == pytest.approx(0.0, abs=1e-3)
    healthy[10:50, 5:35, 5:35] = True
    assert published_rhlv(original, healthy, 1.0)["mean"] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(("worst", "grade"), [(0.1999, 0), (0.20, 1), (0.2499, 1), (0.25, 2), (0.3999, 2), (0.40, 3)])
def test_a_grade_begins_at_its_own_limit(worst, grade):
    assert genant_grade(Heights(worst, 0.0, 0.0, worst / 3)).grade == grade


def test_a_body_that_is_lowest_behind_is_crushed_though_its_posterior_wall_has_lost_little():
    assert genant_grade(Heights(0.10, 0.21, 0.19, 0.17)).shape == "crush"


def test_six_points_are_read_beside_them_and_not_from_afar():
    """A body whose plates are hollow: 20 mm in its middle, 10 mm more at 20 mm from there."""
    ap = np.arange(41.0) + 0.5
    found = six_point(ap, 20 + 10 * ((ap - 20.5) / 20) ** 2)
    at = np.array([-1.0, 0.0, 1.0])
    assert found["middle"] == pytest.approx(20 + 10 * (at / 20) ** 2 @ np.ones(3) / 3, abs=0.01)
    assert found["anterior"] == pytest.approx(found["posterior"], abs=0.5)
    assert found["anterior"] == pytest.approx(20 + 10 * (14.35 / 20) ** 2, abs=0.5)


def test_the_published_formula_leaves_out_columns_that_have_collapsed():
    """Below 0.7 of the middle column, of the original alone: a front that lost half counts as if it were not there."""
    original, healthy = np.zeros((60, 40, 40), bool), np.zeros((60, 40, 40), bool)
    healthy[10:40, 5:35, 5:35] = True
    original[10:40, 5:35, 5:35] = True
    original[25:40, 5:10, 5:35] = False  # the front half of the anterior third
    found = published_rhlv(original, healthy, 1.0)
    assert found["anterior"] == pytest.approx(0.0, abs=1e-3)
    assert found["posterior"] == found["middle"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("form_sd", "reach"), [(None, 0.7 * 0.03), (0.05, 0.05), (0.01, 0.7 * 0.03)])
def test_the_interval_of_a_loss_is_that_of_the_healthy_height_or_of_the_drawn_forms(form_sd, reach):
    """A loss of 30 %: what is left varies by 0.7 of what the healthy height does; 1.645 of it on either side."""
    forms = None if form_sd is None else Heights(*[form_sd] * 4)
    interval = loss_interval(Heights(*[0.3] * 4), forms, Heights(*[0.03] * 4))
    assert set(interval) == set(HEIGHT_KEYS)
    for low, high in interval.values():
        assert (low, high) == pytest.approx((0.3 - 1.645 * reach, 0.3 + 1.645 * reach), abs=1e-4)
