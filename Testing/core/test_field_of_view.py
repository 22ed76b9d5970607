"""The trial of the field of view: fields differ in what they show around the gap, and in nothing else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_case import elliptic_vertebra

from healthivert import gap, generate, straighten
from healthivert.gap import from_window
from healthivert.training.samples import TrainingSample

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import field_of_view as trial


def test_a_narrower_field_shows_the_same_gap_and_less_around_it():
    whole = elliptic_vertebra(0)
    seen = trial.cut_out(whole, trial.Field(16, 48, 60))
    given = seen.conditioning
    assert given.ct.shape == seen.target_ct.shape == (64, 48, 60) and given.gap == (16, 48)
    for name in trial.VOLUMES:
        assert np.array_equal(getattr(given, name), getattr(whole.conditioning, name)[16:80, 8:56, 6:66]), name
    assert np.array_equal(seen.target_body[slice(*given.gap)], whole.target_body[slice(*gap.GAP), 8:56, 6:66])
    assert given.reference_mm == whole.conditioning.reference_mm


def test_fields_are_compared_in_the_columns_that_all_of_them_have():
    def wider(volume: np.ndarray) -> np.ndarray:
        return np.pad(volume, ((0, 0), (16, 16), (12, 12)), mode="edge")

    sample = elliptic_vertebra(0)
    given = replace(sample.conditioning, **{name: wider(getattr(sample.conditioning, name)) for name in trial.VOLUMES})
    wide = TrainingSample(given, wider(sample.target_ct), wider(sample.target_body), sample.log_height_ratio)
    wrong_beside = np.pad(from_window(sample.target_ct), ((0, 0), (16, 16), (12, 12)), constant_values=3000.0)
    found = trial.compared_alike(wrong_beside, wide.target_body, 25.0, wide)
    assert found["dice"] == 1.0
    assert found["l1_hu"] == pytest.approx(0.0, abs=1e-3) and found["body_l1_hu"] == pytest.approx(0.0, abs=1e-3)


def test_the_product_is_as_it_was_afterwards():
    def constants() -> tuple:
        return gap.GAP, gap.ROWS, generate.GAP, straighten.AP_MM

    before = constants()
    with trial.seeing(trial.WIDEST):
        assert constants() == ((64, 96), 160, (64, 96), 96.0)
    assert constants() == before
