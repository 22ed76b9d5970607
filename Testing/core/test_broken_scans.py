"""Fractures made in healthy scans, which the benchmark takes for the truth."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from healthivert.inspection import analyse
from healthivert.measure import body_heights
from healthivert.phantom.fracture import Fracture
from healthivert.phantom.sampling import unit_fracture

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import broken_scans

LEVEL = "L3"


@pytest.fixture(scope="module")
def healthy(healthy_case):
    return healthy_case, analyse(healthy_case)


@pytest.fixture(scope="module", params=["wedge", "biconcave", "crush"])
def broken(request, healthy):
    unit = unit_fracture(np.random.default_rng(1), request.param, 0.35)
    return broken_scans.broken(*healthy, LEVEL, unit, 0.35)


def test_the_worst_third_loses_what_it_was_told_to(broken):
    lost = broken.truth[LEVEL]["rhlv"]
    assert max(lost.values()) == pytest.approx(0.35, abs=1e-6)
    assert broken.truth[LEVEL]["genant"] == 2


def test_what_is_measured_in_the_broken_scan_is_what_is_said_of_it(broken):
    """Its wall has bulged and its axis has turned, so that the thirds are not quite those of before."""
    found, true = body_heights(broken.analysis.bodies[LEVEL]).as_dict(), broken.truth[LEVEL]["heights_mm"]
    assert found == pytest.approx(true, abs=1.5)
    assert found["mean"] == pytest.approx(true["mean"], abs=0.8)


def test_the_other_levels_keep_their_heights(broken, healthy):
    for level, body in healthy[1].bodies.items():
        if level != LEVEL:
            assert body_heights(broken.analysis.bodies[level]).mean == pytest.approx(body_heights(body).mean, abs=0.3)


def test_what_lies_below_stays_and_what_lies_above_comes_down(broken, healthy):
    before, after = healthy[1].bodies, broken.analysis.bodies
    for level in ("L4", "L5"):
        assert after[level].centre == pytest.approx(before[level].centre, abs=0.1)
    lowered = before["L2"].centre[2] - after["L2"].centre[2]
    assert lowered == pytest.approx(broken.truth[LEVEL]["healthy_heights_mm"]["mean"] * 0.25, abs=4.0)


@pytest.mark.parametrize("degrees", [-160, -120, -90, -60, -20])
def test_the_wall_gives_way_outwards_most_at_half_height(healthy, degrees):
    """Though the outermost columns may hold the lower rim only, as real ones do, and so do not end at the plates."""
    analysis = healthy[1]
    body = analysis.bodies[LEVEL]
    rim = np.isfinite(body.superior) & ~ndimage.binary_erosion(np.isfinite(body.superior), iterations=3)
    rimmed = replace(body, superior=np.where(rim, body.inferior + 4.0, body.superior))
    analysis = replace(analysis, bodies={**analysis.bodies, LEVEL: rimmed})
    crushed = Fracture("crush", depth_mm=6.0, bulge_mm=0.0)
    upright, bulging = (
        broken_scans.collapse(analysis, LEVEL, replace(crushed, bulge_mm=bulge_mm))[0] for bulge_mm in (0.0, 2.0)
    )
    low, high = np.nanmedian(body.inferior), np.nanmedian(body.superior) - crushed.depth_mm
    half, near_the_plate = (
        _wall_mm(bulging, degrees, up) - _wall_mm(upright, degrees, up)
        for up in ((low + high) / 2, low + 0.1 * (high - low))
    )
    assert 1.2 < half < 2.5
    assert near_the_plate < half


def _wall_mm(move: broken_scans.Collapse, degrees: float, up_mm: float) -> float:
    """How far from the body's axis bone reaches, in one direction of a section of the broken body."""
    body, along = move.body, np.arange(0.0, 40.0, 0.1)
    angle = np.deg2rad(degrees)
    section = np.stack([along * np.cos(angle), along * np.sin(angle), np.full_like(along, up_mm)], axis=1)
    sources = (move.sources(section @ body.axes + body.centre) - body.centre) @ body.axes.T
    place = sources[:, ::-1].T / body.column_mm + np.array(body.occupancy.shape)[:, None] // 2
    return 0.1 * np.count_nonzero(ndimage.map_coordinates(body.occupancy, place, order=1) > 0.5)


def test_ct_and_labels_move_together(broken):
    bone = np.unique(sitk.GetArrayViewFromImage(broken.case.ct)[sitk.GetArrayViewFromImage(broken.case.labels) > 0])
    assert bone.min() > 0


def test_an_unbroken_level_has_lost_nothing(healthy):
    body = healthy[1].bodies[LEVEL]
    truth = broken_scans._truth(body, body_heights(body), "normal")
    assert not truth["fractured"] and truth["genant"] == 0 and set(truth["rhlv"].values()) == {0.0}
