"""The lines drawn in the patient are as long as the heights that the report gives, and end at the endplates."""

import numpy as np
import pytest
from conftest import block_spine, lumbar_blocks
from report_example import fractured_report
from test_restore import block_generator, quiet

from healthivert.body import find_bodies
from healthivert.gap import GAP, ROWS
from healthivert.height_lines import original_lines, regrown_lines
from healthivert.inspection import analyse
from healthivert.measure import body_heights, gap_height_map, third_heights
from healthivert.pipeline import regrow
from healthivert.report.report_files import report_as_dict
from healthivert.restore import Placement
from healthivert.straighten import centreline
from healthivert.types import THIRDS, PseudoHealthy

WEDGE = (14.0, 24.0)  # anterior, posterior height of L2 in mm
ROW_MM = 0.9


def tilted(degrees: float) -> np.ndarray:
    """Rotation about the left-right axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def drawn_wedge() -> PseudoHealthy:
    """A body in the gap frame, 20 rows high in front and 26 behind."""
    body = np.zeros((ROWS, 64, 72), np.float32)
    for back in range(16, 48):
        body[GAP[0] + 3 : GAP[0] + 23 + (back - 16) * 6 // 31, back, 15:57] = 1.0
    return PseudoHealthy(body, body, 0.0)


def lengths(lines: dict[str, np.ndarray]) -> list[float]:
    return [float(np.linalg.norm(lines[third][1] - lines[third][0])) for third in THIRDS]


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_the_originals_lines_run_from_endplate_to_endplate_of_each_third(degrees: float):
    rotation = tilted(degrees)
    body = find_bodies(block_spine(lumbar_blocks(L2=WEDGE), rotation=rotation))["L2"]
    lines = original_lines(body)
    heights = body_heights(body)
    assert lengths(lines) == pytest.approx([getattr(heights, third) for third in THIRDS], abs=1e-9)
    inferior, superior = (np.array([lines[third][end] for third in THIRDS]) @ rotation for end in (0, 1))
    assert np.ptp(inferior[:, 2]) < 1.0  # the blocks' inferior endplates are flat
    assert superior[0, 2] < superior[1, 2] < superior[2, 2]
    assert (np.diff(inferior[:, 1]) > 6).all() and np.abs(inferior[:, 0]).max() < 0.6  # mid-sagittal, front to back


def test_the_regrown_lines_are_as_long_as_the_regrown_heights_on_a_curved_spine():
    body = find_bodies(block_spine(lumbar_blocks(L2=WEDGE)))
    frame = centreline(body)
    bend = np.radians(0.15 * (frame.arc - frame.arc.mean()))  # as strongly as a lordosis
    curved = type(frame)(
        frame.arc,
        np.stack([0 * bend, np.cumsum(np.sin(bend)) * 0.5, np.cumsum(np.cos(bend)) * 0.5], axis=1),
        frame.left,
        np.stack([0 * bend, np.cos(bend), -np.sin(bend)], axis=1),
        np.stack([0 * bend, np.sin(bend), np.cos(bend)], axis=1),
    )
    vertebra = drawn_wedge()
    lines = regrown_lines(curved, vertebra, Placement(float(frame.arc.mean()), ROW_MM, 1.0, 1.0, 5.0), 1.0)
    heights = third_heights(gap_height_map(vertebra.body, ROW_MM), 1.0)
    assert lengths(lines) == pytest.approx([getattr(heights, third) for third in THIRDS], abs=1e-9)


def test_the_regrown_lines_stand_in_the_slab_that_replaces_the_cut():
    frame = centreline(find_bodies(block_spine(lumbar_blocks(L2=WEDGE))))
    arc_bottom = float(frame.arc[len(frame.arc) // 2])
    lines = regrown_lines(frame, drawn_wedge(), Placement(arc_bottom, ROW_MM, 1.5, 1.5, 5.0), 1.0)
    foot = np.interp(arc_bottom, frame.arc, frame.points[:, 2])
    for third in THIRDS:
        inferior, superior = lines[third]
        assert inferior[2] - foot == pytest.approx(1.5 + 3 * ROW_MM, abs=0.2)  # three rows of the gap are empty
        assert superior[2] > inferior[2]
        assert inferior[0] == pytest.approx(0.0, abs=0.6)
    assert lines["anterior"][0][1] < lines["middle"][0][1] < lines["posterior"][0][1]


def test_a_regrown_vertebras_lines_are_as_long_as_its_heights_and_start_on_the_endplate_that_stays():
    collapsed = block_spine(lumbar_blocks(L2=(15.0, 15.0)))
    outcome = regrow(collapsed, analyse(collapsed), "L2", block_generator, quiet)
    measured = {"original": outcome.loss.original, "pseudo_healthy": outcome.loss.pseudo_healthy}
    for body, heights in measured.items():
        expected = [getattr(heights, third) for third in THIRDS]
        assert lengths(outcome.height_lines[body]) == pytest.approx(expected, abs=1e-6)
    before, after = (outcome.height_lines[body]["middle"][0] for body in measured)
    assert np.linalg.norm(after - before) < 2.0


def test_report_json_gives_the_lines_and_the_profile_as_numbers():
    ends = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 27.0]])
    report = fractured_report(height_lines={"original": {"anterior": ends}})
    content = report_as_dict(report)
    assert content["height_lines_lps_mm"] == {"original": {"anterior": ends.tolist()}}
    profile = content["height_profile_mm"]
    assert profile["from_anterior_wall"] == report.profile.ap_mm.tolist()
    assert profile["original"][0] is None and profile["original"][10] == report.profile.original[10]
    assert profile["pseudo_healthy"][10] == report.profile.pseudo_healthy[10]
    assert report_as_dict(fractured_report(profile=None))["height_profile_mm"] is None
