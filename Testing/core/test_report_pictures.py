"""Pictures show the patient the right way round, in square millimetres, in the colours the legend promises."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import image
from report_example import SPACING, fractured_report

from healthivert.report.figures import Picture, draw_pictures
from healthivert.report.slices import endplates
from healthivert.types import HeightLoss, LevelSummary, Report

ORANGE, BLUE = (1.0, 0.6, 0.12), (0.22, 0.71, 0.95)


def pixels(picture: Picture) -> np.ndarray:
    return image.imread(io.BytesIO(picture.png), format="png")[..., :3]


def draw(report: Report) -> dict[str, Picture]:
    return {picture.name: picture for picture in draw_pictures(report)}


def near(colour: tuple[float, float, float], picture: np.ndarray) -> np.ndarray:
    return np.abs(picture - colour).max(axis=-1) < 0.12


@pytest.fixture(scope="module")
def pictures() -> dict[str, Picture]:
    return draw(fractured_report())


def one_view(**changes: object) -> Report:
    """A report with one plain sagittal view; keywords replace fields of the view."""
    report = fractured_report(profile=None, spine=())
    loss = replace(report.loss, loss_map=np.full((3, 3), np.nan))
    return replace(report, loss=loss, views=(replace(report.views[0], **changes),))


def test_endplates_lie_where_the_soft_mask_crosses_one_half() -> None:
    body = np.zeros((12, 20))
    body[3:9, 2:18] = 1
    body[9, 2:18] = 0.75  # the surface lies between row 9 and row 10, a third of the way
    across, inferior, superior = endplates(body, spacing_mm=2.0)
    assert across.min() > 5 and across.max() < 35  # the walls are left out
    assert superior == pytest.approx(2 * (9.5 + 1 / 3))
    assert inferior == pytest.approx(2 * 3.0)


def test_an_endplate_ends_where_it_meets_a_spur() -> None:
    body = np.zeros((40, 30))
    body[10:30, 4:26] = 1.0
    body[10:16, 22:26] = 0.0  # the lower plate climbs along an overhanging spur
    body[14:18, 26:29] = 1.0
    _, inferior, superior = endplates(body, spacing_mm=1.0)
    assert np.nanmax(inferior) == np.nanmin(inferior) == 10.0
    assert np.nanmax(superior) == np.nanmin(superior) == 30.0
    assert np.isnan(inferior[-3:]).all() and np.isnan(superior[-1]) and np.isfinite(superior[:-4]).all()


def test_superior_is_up_and_anterior_is_on_the_left() -> None:
    report = fractured_report()
    scan = np.full_like(report.views[0].before, -300.0)
    rows, columns = scan.shape
    scan[rows // 2 :, : columns // 2] = 800  # superior and anterior
    nobody = np.zeros_like(scan)
    picture = pixels(draw(one_view(before=scan, body_before=nobody, body_after=nobody))["sagittal"])
    title = picture.shape[0] // 10
    panel = picture[title:, : picture.shape[1] // 2 - 10].mean(axis=-1)
    height, width = panel.shape
    quarters = [
        [part[height // 8 : -height // 8, width // 8 : -width // 8].mean() for part in np.array_split(half, 2, axis=1)]
        for half in np.array_split(panel, 2, axis=0)
    ]
    assert np.argmax(quarters) == 0
    assert quarters[0][0] > 0.8


def test_before_is_drawn_in_orange_on_the_left_and_after_in_blue_on_the_right(pictures: dict[str, Picture]) -> None:
    for plane in ("sagittal", "coronal"):
        left, right = np.array_split(pixels(pictures[plane]), 2, axis=1)
        assert near(ORANGE, left).sum() > 500 and near(BLUE, left).sum() == 0
        assert near(BLUE, right).sum() > 500
        assert near(BLUE, right).sum() > 3 * near(ORANGE, right).sum()


def test_millimetres_are_square_and_the_body_is_drawn_at_its_height() -> None:
    report = one_view()
    _, right = np.array_split(pixels(draw(report)["sagittal"]), 2, axis=1)
    body = report.views[0].body_after >= 0.5
    rows, columns = (np.ptp(np.flatnonzero(body.any(axis=axis))) + 1 for axis in (1, 0))
    drawn_rows, drawn_columns = (np.ptp(np.flatnonzero(near(BLUE, right).any(axis=axis))) for axis in (1, 0))
    assert drawn_rows / drawn_columns == pytest.approx(rows / columns, rel=0.06)


def test_soft_tissue_is_neither_black_nor_white() -> None:
    tissue = np.full_like(one_view().views[0].before, 50.0)
    nobody = np.zeros_like(tissue)
    picture = pixels(draw(one_view(before=tissue, after=tissue, body_before=nobody, body_after=nobody))["sagittal"])
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 4]
    assert 0.2 < middle.mean() < 0.5


def test_map_is_red_where_height_is_lost_with_anterior_at_the_top() -> None:
    report = fractured_report()
    lost_in_front = np.full((30, 40), -0.3)
    lost_in_front[:15] = 0.5
    loss: HeightLoss = replace(report.loss, loss_map=lost_in_front)
    picture = pixels(draw(replace(report, loss=loss, views=(), profile=None, spine=()))["height_loss_map"])
    height, width, _ = picture.shape
    front, back = picture[int(0.3 * height), int(0.35 * width)], picture[int(0.7 * height), int(0.35 * width)]
    assert front[0] > front[2] + 0.2
    assert back[2] > back[0] + 0.2


def test_target_stands_out_among_the_levels(pictures: dict[str, Picture]) -> None:
    columns = np.flatnonzero(near(ORANGE, pixels(pictures["spine"]))[-150:].any(axis=0))
    share = columns.mean() / pixels(pictures["spine"]).shape[1]
    assert 0.4 < share < 0.62  # L1 is the third of six bars


def test_every_picture_says_in_words_what_it_shows(pictures: dict[str, Picture]) -> None:
    for picture in pictures.values():
        assert len(picture.alt) > 40 and len(picture.caption) > 40
    assert "T12 20.1 mm" in pictures["spine"].alt
    assert "anterior 52 %" in pictures["height_profile"].alt


def test_what_is_not_in_the_report_is_not_drawn() -> None:
    report = fractured_report(views=(), profile=None, spine=())
    loss = replace(report.loss, loss_map=np.full((4, 4), np.nan), neighbour_reference=None)
    assert draw(replace(report, loss=loss)) == {}


def test_levels_without_a_reference_and_profiles_without_neighbours_are_drawn() -> None:
    report = fractured_report(views=())
    spine: tuple[LevelSummary, ...] = tuple(replace(row, neighbour_reference=None) for row in report.spine)
    names = draw(replace(report, spine=spine, loss=replace(report.loss, neighbour_reference=None))).keys()
    assert {"spine", "height_profile"} <= names


def test_a_view_without_a_body_or_a_gap_is_drawn_whole() -> None:
    nothing = np.zeros_like(one_view().views[0].before)
    drawn = draw(one_view(body_before=nothing, body_after=nothing, mask=nothing))
    rows, columns = nothing.shape
    height, width, _ = pixels(drawn["sagittal"]).shape
    assert height / (width / 2) == pytest.approx(rows / columns, rel=0.12)
    assert SPACING * rows > 100
