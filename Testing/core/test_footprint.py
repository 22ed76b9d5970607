"""Footprints, and how a neighbour is laid over the target's: wall on wall, whatever the form of either."""

from __future__ import annotations

import numpy as np
import pytest

from healthivert.footprint import footprint, narrowed, read_columns, soft_footprint, source_columns

SHAPE = (64, 72)
CENTRE = (31.5, 35.5)


def blurred(distance: np.ndarray) -> np.ndarray:
    """0..1 from a signed distance, positive inside."""
    return np.clip(distance + 0.5, 0, 1).astype(np.float32)


def ellipse(depth: float, width: float, dent: float = 0.0, moved: float = 0.0) -> np.ndarray:
    """A footprint of half axes depth and width, with a hollow of dent columns behind."""
    ap, lr = np.indices(SHAPE) - np.array(CENTRE)[:, None, None]
    ap = ap - moved
    angle = np.arctan2(ap / depth, lr / width)
    wall = np.hypot(depth * np.sin(angle), width * np.cos(angle)) - dent * np.exp(-((angle - np.pi / 2) ** 2) / 0.18)
    return blurred(wall - np.hypot(ap, lr))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.minimum(first, second).sum() / (first.sum() + second.sum()))


def test_a_footprint_holds_every_column_but_thin_spurs():
    body = np.zeros((30, 40, 40))
    body[10:14, 10:30, 8:32] = 1  # a collapsed body: four rows are enough
    body[12, 2:10, 19:21] = 1  # an osteophyte
    found = footprint(body)
    assert found.sum() == pytest.approx(20 * 24, rel=0.03)  # its corners are rounded
    assert not found[:9].any()


def test_a_soft_footprint_tells_the_share_of_the_outermost_columns():
    body = np.zeros((30, 40, 40), np.float32)
    body[8:22, 10:30, 8:32] = 1
    body[8:22, 30, 8:32] = 0.25
    body[12, 33, 20] = 1  # a loose voxel
    soft = soft_footprint(body)
    assert soft[20, 20] == 1
    assert soft[30, 20] == 0.25
    assert not soft[32:].any()


def waisted(waist: float, lower: np.ndarray | float = 8.0, upper: np.ndarray | float = 40.0) -> np.ndarray:
    """A body of half axes 15 and 20, its plates at rows lower and upper; its wall draws in by waist at half height."""
    rows = np.arange(48)[:, None, None]
    level = np.clip(2 * (rows - lower) / (upper - lower) - 1, -1, 1)
    ap, lr = np.indices(SHAPE) - np.array(CENTRE)[:, None, None]
    radius = np.hypot(ap / 15, lr / 20) * 15
    wall = 15 - waist * (1 - level**2) - radius
    return blurred(np.minimum(wall, np.minimum(rows - lower, upper - rows)))


def depth(footprint_: np.ndarray) -> float:
    return float(footprint_[:, round(CENTRE[1])].sum())


def test_the_wall_is_the_mean_one_of_all_heights():
    """Of a waist of 3 columns it draws in by 2.2 on either side, the outermost by 0.2."""
    seen = depth(soft_footprint(waisted(0))) - depth(soft_footprint(waisted(3)))
    assert seen == pytest.approx(2 * 2.2, abs=0.4)


def test_a_spur_and_the_root_of_a_pedicle_move_the_wall_by_a_third_at_most():
    body = waisted(2)
    spurred = body.copy()
    spurred[34:40, 46:52, 24:32] = 1  # six rows of 32, six columns deep
    added = (soft_footprint(spurred) - soft_footprint(body)).sum() / (6 * 8)
    assert 0.1 < added < 0.3


AP, LR = np.indices(SHAPE) - np.array(CENTRE)[:, None, None]


@pytest.mark.parametrize(
    "upper",
    [
        28 + 0.6 * AP,  # a wedge: 19 mm in front, 37 mm behind
        32 - 18 * np.exp(-(AP**2 + LR**2) / 80),  # 6 mm high in its middle, 24 mm at its rim
    ],
)
def test_a_collapse_leaves_the_walls_where_they_are(upper):
    healthy, collapsed = (soft_footprint(body) for body in (waisted(3), waisted(3, upper=upper)))
    assert dice(healthy, collapsed) > 0.985
    assert depth(collapsed) == pytest.approx(depth(healthy), abs=0.6)


def test_a_footprint_is_narrowed_about_its_own_centre():
    found = narrowed(ellipse(15, 20, moved=4), np.array([0.8, 0.9]))
    assert dice(found, ellipse(12, 18, moved=4)) > 0.98
    assert narrowed(ellipse(15, 20), np.ones(2)) == pytest.approx(ellipse(15, 20), abs=1e-6)


def test_equal_footprints_leave_every_column_where_it_is():
    own = ellipse(14, 20, dent=2)
    assert source_columns(own, own) == pytest.approx(np.indices(SHAPE).astype(float), abs=1e-6)


@pytest.mark.parametrize("own", [ellipse(14, 18), ellipse(15, 21, moved=4), ellipse(13, 20, dent=-2)])
def test_a_neighbour_takes_the_form_of_the_target(own):
    """With its centre and widths alone matched, the Dice would be 0.976 at best."""
    wanted = ellipse(15, 20, dent=3)
    laid = read_columns(own[None], source_columns(own, wanted))[0]
    assert dice(laid, wanted) > 0.985
    assert dice(own, wanted) < 0.97


def test_tissue_beside_the_wall_moves_with_it():
    """Fat 5 columns beside a narrow neighbour's wall lies 5 columns beside the target's."""
    own, wanted = ellipse(14, 16), ellipse(14, 20)
    picture = np.zeros(SHAPE, np.float32)
    picture[:, round(CENTRE[1] + 16 + 5)] = 1
    laid = read_columns(picture[None], source_columns(own, wanted))[0]
    assert np.argmax(laid[round(CENTRE[0])]) == pytest.approx(CENTRE[1] + 20 + 5, abs=1.5)


def test_a_segmentation_error_stretches_no_neighbour_beyond_measure():
    own, wanted = ellipse(14, 18), ellipse(14, 18) + ellipse(3, 34)
    reach = source_columns(own, np.clip(wanted, 0, 1))
    assert np.gradient(reach[1], axis=1).max() < 1.8
    assert np.isfinite(reach).all()


def test_an_empty_footprint_is_read_without_a_fault():
    nothing = np.zeros(SHAPE, np.float32)
    assert np.isfinite(source_columns(nothing, ellipse(14, 18))).all()
    assert np.isfinite(source_columns(ellipse(14, 18), nothing)).all()
