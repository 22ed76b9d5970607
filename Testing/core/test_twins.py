"""Twins of the benchmark: a fractured vertebra and the very same one before, column on column."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from healthivert.phantom import sample_spine
from healthivert.pipeline import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import spines

LEVEL = "L1"
WEDGED = 4  # a seed whose fracture of L1 bends the spine well


@pytest.fixture(scope="module")
def twins() -> spines.Twins:
    spine = sample_spine(WEDGED, True, [LEVEL], fracture_count=(1, 1), no_grade=0.0)
    spine = replace(spine, levels=("T11", "T12", LEVEL, "L2", "L3"))
    return spines.scanned_twins(spine, "twins", spacing_mm=2.0, field_mm=110.0)


def test_the_truth_stands_in_the_columns_of_the_scan(twins):
    healthy, (case, analysis) = twins.spine.healthy_twin(), twins.healthy
    wanted = spines.own_axis(twins.spine, twins.scan, LEVEL)
    moved = replace(analysis, frame=twins.truth(LEVEL).straight.frame)
    assert spines.own_axis(healthy, (case, moved), LEVEL) == pytest.approx(wanted, abs=0.01)
    assert np.abs(spines.own_axis(healthy, twins.healthy, LEVEL) - wanted).max() > 0.4  # it is needed


def test_the_truth_of_a_healthy_scan_is_the_scan(twins):
    healthy = spines.Twins(twins.spine.healthy_twin(), twins.healthy, twins.healthy)
    assert np.array_equal(healthy.truth(LEVEL).old_body, prepare(*twins.healthy, LEVEL).old_body)
