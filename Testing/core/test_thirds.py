"""The drawn vertebra's thirds come halfway to what the other levels expect; everything else of it stays."""

from dataclasses import replace

import numpy as np
import pytest
from slice_batches import GAP, conditioning_of

from healthivert.gap import from_window
from healthivert.measure import gap_height_map, third_heights
from healthivert.thirds import as_expected, expected_stretch, stretched
from healthivert.types import Conditioning, Heights, PseudoHealthy

SHAPE = (96, 64, 72)
BELOW, ABOVE = slice(0, GAP[0]), slice(GAP[1], None)


def conditioning(thirds: tuple[float, float, float] | None) -> Conditioning:
    random = np.random.default_rng(0)
    plain = conditioning_of(random.uniform(-0.5, 0.5, SHAPE), np.zeros(SHAPE))
    return replace(plain, reference_thirds=thirds)


def drawn(given: Conditioning) -> PseudoHealthy:
    """An ellipse whose plates lie two rows within the gap."""
    back, left = np.meshgrid(np.arange(64) - 30, np.arange(72) - 35.5, indexing="ij")
    body = np.zeros(SHAPE, np.float32)
    body[GAP[0] + 2 : GAP[1] - 2, (back / 15) ** 2 + (left / 21) ** 2 <= 1] = 1
    return PseudoHealthy(from_window(given.prior_ct), body, given.reference_mm)


def thirds_of(vertebra: PseudoHealthy) -> Heights:
    return third_heights(gap_height_map(vertebra.body, 1.0, vertebra.stretch), 1.0)


def test_where_nothing_is_expected_nothing_changes():
    given = conditioning(None)
    vertebra = drawn(given)
    assert as_expected(vertebra, given) is vertebra


@pytest.mark.parametrize("expected", [(30.0, 27.0, 22.0), (24.0, 25.0, 26.0), (25.0, 22.0, 25.0)])
def test_thirds_come_halfway_to_what_is_expected(expected):
    given = conditioning(expected)
    found = thirds_of(as_expected(drawn(given), given))
    wanted = np.sqrt(np.array(expected) / np.mean(expected))  # of a drawing that is as high everywhere
    assert np.array(found.thirds) / found.mean == pytest.approx(wanted, abs=0.02)


def test_a_drawing_gains_what_is_normal_from_its_neighbours_level_to_its_own():
    """Where the reference expects the same, it comes all the way; where it expects nothing of it, halfway."""
    growth = (1.1, 1.0, 0.9)
    for expected, share in ((growth, 1.0), ((25.0, 25.0, 25.0), 0.5)):
        given = replace(conditioning(expected), thirds_growth=growth)
        found = thirds_of(as_expected(drawn(given), given))
        assert np.array(found.thirds) / found.mean == pytest.approx(np.array(growth) ** share, abs=0.02)


def test_mean_height_and_surroundings_stay():
    given = conditioning((30.0, 27.0, 22.0))
    before = drawn(given)
    after = as_expected(before, given)
    assert after.height_mm == before.height_mm
    for part in (BELOW, ABOVE):
        assert np.array_equal(after.ct[part], before.ct[part]) and not after.body[part].any()
    assert np.array_equal(after.body.any(axis=(0, 2)), before.body.any(axis=(0, 2)))


def test_samples_are_stretched_alike_so_that_they_still_differ():
    given = conditioning((30.0, 27.0, 22.0))
    wedge = drawn(given)
    wedge.body[GAP[0] : GAP[0] + 6, :25] = 0  # lower in front
    stretch = expected_stretch(drawn(given), given)
    first, other = (thirds_of(stretched(sample, stretch)) for sample in (drawn(given), wedge))
    assert other.anterior / other.mean < first.anterior / first.mean - 0.03
