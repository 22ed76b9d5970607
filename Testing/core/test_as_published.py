"""The origin's way to count SSIM and PSNR, which the benchmark prints beside our own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from healthivert.gap import GAP, from_window
from healthivert.inspection import analyse
from healthivert.pipeline import prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import as_published


@pytest.fixture
def slab() -> tuple[np.ndarray, np.ndarray]:
    """Grey values (SI, AP, LR) of 0..255, and a body of 30 slices in the middle."""
    grey = np.random.default_rng(0).integers(0, 256, (25, as_published.PATIENT_MM, 40)).astype(float)
    grey[0, 0], grey[0, 1] = 0, 255
    body = np.zeros(grey.shape, bool)
    body[:, 50:80, 5:35] = True
    return grey, body


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_same_picture_is_perfect(slab):
    ssim, psnr = as_published.likeness_of_slices(slab[0], slab[0], slab[1])
    assert ssim == pytest.approx(1) and psnr == np.inf


def test_padding_lends_three_decibels(slab):
    grey, body = slab
    _, psnr = as_published.likeness_of_slices(grey, grey + 10, body)
    assert psnr == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(2), abs=1e-6)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_slices_beside_the_middle_four_fifths_do_not_count(slab):
    grey, body = slab
    other = grey.copy()
    other[:, :, :8] += 50
    other[:, :, 32:] += 50
    assert as_published.likeness_of_slices(grey, other, body)[0] == pytest.approx(1)
    other[:, :, 8] += 50
    assert as_published.likeness_of_slices(grey, other, body)[0] < 1


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_slices_with_little_body_do_not_count(slab):
    grey, body = slab
    body[:, :, 10] = False
    body[:16, 50:75, 10] = True  # 400 pixels
    other = grey.copy()
    other[:, :, 10] = 0
    assert as_published.likeness_of_slices(grey, other, body)[0] == pytest.approx(1)


def test_a_plain_column_shows_nothing_of_the_neighbours(healthy_case):
    given = prepare(healthy_case, analyse(healthy_case), "L2").conditioning
    rows = slice(*GAP)
    column = as_published.plain_column(given)[0]
    assert np.unique(column.ct[rows].round(1)).size == 2
    assert np.array_equal((column.body[rows] > 0.5).any(axis=0), given.outline[GAP[0]] > 0.5)
    elsewhere = np.r_[0 : GAP[0], GAP[1] : len(given.ct)]
    np.testing.assert_allclose(column.ct[elsewhere], from_window(given.prior_ct)[elsewhere])


def test_a_regrown_level_is_liker_to_the_scan_than_a_column(healthy_case):
    analysis = analyse(healthy_case)
    found = {
        way.__name__: as_published.likeness_as_published(healthy_case, analysis, "L2", way)
        for way in (as_published.neighbours_alone, as_published.plain_column)
    }
    assert 0.5 < found["plain_column"][0] < found["neighbours_alone"][0] <= 1
    assert found["plain_column"][1] < found["neighbours_alone"][1]
