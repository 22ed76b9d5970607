"""Where a slice lies in the body, from what a run knows."""

from __future__ import annotations

import numpy as np
import pytest
from slice_batches import conditioning_of

from healthivert.models.slices_of import LARGEST_RATIO, plane_axis, slice_positions
from healthivert.types import Conditioning


def conditioning(below: tuple[int, int] | None, above: tuple[int, int] | None, level: str = "L1") -> Conditioning:
    """Neighbours that fill columns [first, last) of both planes below and above the gap."""
    neighbours = np.zeros((96, 64, 72), np.float32)
    for rows, columns in ((slice(5, 28), below), (slice(68, 90), above)):
        if columns is not None:
            neighbours[rows, slice(*columns), slice(*columns)] = 1
    return conditioning_of(np.zeros_like(neighbours), neighbours, level=level)


@pytest.mark.parametrize(("plane", "count"), [("sagittal", 72), ("coronal", 64)])
def test_ratio_is_zero_in_the_middle_and_one_at_the_neighbours_rim(plane, count):
    indices, ratios = slice_positions(conditioning((20, 41), (20, 41)), plane)
    assert indices.tolist() == list(range(count))
    assert ratios[30] == 0
    assert ratios[20] == pytest.approx(10 / 10.5) and ratios[40] == pytest.approx(10 / 10.5)
    assert ratios.max() == LARGEST_RATIO


def test_the_extent_is_the_mean_of_both_neighbours():
    _, ratios = slice_positions(conditioning((20, 40), (24, 48)), "sagittal")
    centre = (29.5 + 35.5) / 2
    assert ratios[40] == pytest.approx((40 - centre) / 11)


def test_one_neighbour_is_enough_and_none_falls_back_to_the_normal_size():
    _, one = slice_positions(conditioning(None, (20, 41)), "coronal")
    assert one[30] == 0
    _, none = slice_positions(conditioning(None, None), "coronal")
    assert none.argmin() in (31, 32) and 0.5 < none[20] < 1.2


def test_a_stray_voxel_does_not_widen_the_body():
    given = conditioning((20, 41), (20, 41))
    given.neighbours[10, 30, 70] = 1
    _, ratios = slice_positions(given, "sagittal")
    assert ratios[30] == 0


def test_an_unknown_plane_is_refused():
    with pytest.raises(ValueError, match="axial"):
        plane_axis("axial")
