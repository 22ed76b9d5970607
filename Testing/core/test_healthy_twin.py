"""A fractured vertebra and the very same one before, column on column."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from healthivert.case import write_volume
from healthivert.errors import HealthiVertError
from healthivert.evaluate import picture_metrics
from healthivert.evaluate_phantoms import SCAN, TWIN, evaluate_phantom, read_truth
from healthivert.footprint import footprint_moments, soft_footprint
from healthivert.healthy_twin import in_columns_of, own_axis
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.phantom import PhantomSpine, render, sample_spine, standing, truth, whole_spine_grid
from healthivert.pipeline import prepare
from healthivert.prior import canonical_slab, prior_vertebra
from healthivert.training.samples import case_from_images, make_sample
from healthivert.types import SpineCase

LEVEL = "L1"
WEDGED = 4  # a seed whose fracture of L1 bends the spine well
Scans = tuple[tuple[SpineCase, SpineAnalysis], tuple[SpineCase, SpineAnalysis]]


@pytest.fixture(scope="module")
def spine() -> PhantomSpine:
    drawn = sample_spine(WEDGED, True, [LEVEL], fracture_count=(1, 1), no_grade=0.0)
    return replace(drawn, levels=("T11", "T12", LEVEL, "L2", "L3"))


@pytest.fixture(scope="module")
def scans(spine) -> Scans:
    """The scan and its healthy twin."""
    scanned = []
    for person in (spine, spine.healthy_twin()):
        picture = render(person, whole_spine_grid(person, 2.0, 110.0), spine.scanner)
        case = case_from_images(picture.ct, picture.labels, "twins")
        scanned.append((case, analyse(case)))
    return scanned[0], scanned[1]


def test_the_twin_stands_in_the_columns_of_the_scan(spine, scans):
    (_, scan), (_, twin) = scans
    pose, twin_pose = standing(spine, LEVEL)
    wanted = own_axis(scan, LEVEL, pose)
    assert np.abs(own_axis(twin, LEVEL, twin_pose) - wanted).max() > 0.4  # it is needed
    moved = in_columns_of(scan, twin, LEVEL, pose, twin_pose)
    assert own_axis(moved, LEVEL, twin_pose) == pytest.approx(wanted, abs=0.01)


def test_a_scan_that_is_its_own_twin_stays_where_it_is(spine, scans):
    _, (_, healthy) = scans
    _, pose = standing(spine, LEVEL)
    assert np.array_equal(in_columns_of(healthy, healthy, LEVEL, pose, pose).frame.points, healthy.frame.points)


def test_the_truth_of_a_training_sample_stands_in_the_columns_of_the_scan(spine, scans):
    (case, scan), (healthy, twin) = scans
    pose, twin_pose = standing(spine, LEVEL)
    apart = own_axis(scan, LEVEL, pose) - own_axis(twin, LEVEL, twin_pose)
    truth = make_sample(case, healthy, LEVEL, pose, twin_pose).target_body
    here, there = (
        footprint_moments(soft_footprint(body))[0] for body in (truth, canonical_slab(healthy, twin, LEVEL).body)
    )
    assert here - there == pytest.approx(apart[::-1], abs=0.1)


def test_evaluate_holds_pictures_against_the_twin_in_the_columns_of_the_scan(spine, scans, tmp_path):
    for (case, _), names in zip(scans, (SCAN, TWIN), strict=True):
        write_volume(case.ct, tmp_path / names[0])
        write_volume(case.labels, tmp_path / names[1])
    (tmp_path / "truth.json").write_text(json.dumps(truth(spine)))
    row = evaluated(tmp_path)
    (_, scan), (healthy, twin) = scans
    moved = in_columns_of(scan, twin, LEVEL, *standing(spine, LEVEL))
    alone = prior_vertebra(prepare(*scans[0], LEVEL).conditioning)
    expected = picture_metrics(prepare(healthy, moved, LEVEL), alone)
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    facts = truth(spine)
    for level in facts["levels"]:
        del level["pose"]  # as in phantoms of before
    (tmp_path / "truth.json").write_text(json.dumps(facts))
    assert evaluated(tmp_path)["dice"] != pytest.approx(row["dice"], abs=0.002)
    facts["levels"][0] |= {"pose": {"centre_mm": [0, 0], "axes": []}}
    (tmp_path / "truth.json").write_text(json.dumps(facts))
    with pytest.raises(HealthiVertError, match="this is no phantom's truth"):
        read_truth(tmp_path)


def evaluated(folder: Path) -> dict:
    """The fractured level, put together from its neighbours alone."""
    rows = evaluate_phantom(folder, lambda given: [prior_vertebra(given)], None, True, lambda done, what: None)
    return next(row for row in rows if row["vertebra"] == LEVEL)
