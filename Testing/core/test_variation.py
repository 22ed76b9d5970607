"""Samples: each starts from one neighbour, at a height drawn from the reference; the answer is of what is likeliest."""

from dataclasses import replace

import numpy as np
import pytest
from slice_batches import GAP, conditioning_of

from healthivert.gap import GAP_ROWS, from_window
from healthivert.types import Conditioning, NeighbourSlab, PseudoHealthy
from healthivert.variation import UNSEEN_HU, WIDER, Variation, draw_variations, drawn_again, with_spread

SHAPE = (96, 64, 72)


def conditioning() -> Conditioning:
    """An ellipse beside two neighbours, a dark near one and a bright one farther away."""
    random = np.random.default_rng(0)
    back, left = np.meshgrid(np.arange(64) - 30, np.arange(72) - 33, indexing="ij")
    body = np.zeros(SHAPE, np.float32)
    body[:, (back / 14) ** 2 + (left / 20) ** 2 <= 1] = 1
    plain = conditioning_of(random.uniform(-0.5, 0.5, SHAPE), np.zeros(SHAPE), body)
    slab = body[GAP[0] : GAP[1]]
    slabs = NeighbourSlab(0.1 * slab, slab, 1.0), NeighbourSlab(0.6 * slab, slab, 0.5)
    return replace(plain, neighbour_slabs=slabs, reference_sd=0.03)


def drawn_from(given: Conditioning) -> PseudoHealthy:
    """A generator that believes its prior."""
    return PseudoHealthy(from_window(given.prior_ct), given.prior_body, given.reference_mm)


def samples_of(given: Conditioning, count: int) -> list[PseudoHealthy]:
    variations = draw_variations(count, np.random.default_rng(1))
    return [v.undo(drawn_from(v.apply(given, seed)), given) for seed, v in enumerate(variations)]


def test_the_first_sample_is_of_what_is_known_as_it_is():
    given = conditioning()
    first, *others = draw_variations(4, np.random.default_rng(0))
    assert first.apply(given, 0) is given
    assert all(variation.apply(given, 0) is not given for variation in others)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_heights_spread_as_the_reference_does(count):
    given = conditioning()
    heights = np.log([sample.height_mm / given.reference_mm for sample in samples_of(given, count)])
    assert heights[0] == 0
    assert np.sqrt(np.mean(heights[1:] ** 2)) == pytest.approx(given.reference_sd)
    if count > 2:
        assert heights.mean() == pytest.approx(0, abs=1e-9)


def test_neighbours_are_drawn_as_often_as_they_weigh():
    given = conditioning()
    middle = GAP[0] + 16, 30, 33
    plain = Variation(noise=1e-9)
    variations = [replace(plain, neighbour=v.neighbour) for v in draw_variations(10, np.random.default_rng(0))[1:]]
    drawn = [variation.apply(given, 0).prior_ct[middle] for variation in variations]
    assert sorted(np.round(drawn, 2)) == [0.1] * 6 + [0.6] * 3


def test_what_was_varied_comes_back_to_its_place():
    given = conditioning()
    for variation in draw_variations(8, np.random.default_rng(3))[1:]:
        sample = variation.undo(drawn_from(variation.apply(given, 1)), given)
        assert np.array_equal(sample.body > 0.5, given.outline > 0.5)
        beside = slice(0, GAP[0])
        assert np.abs(sample.ct[beside] - from_window(given.ct[beside])).mean() < 30  # the noise that it was given


def test_the_brightness_that_was_varied_is_taken_back():
    given = conditioning()
    varied = Variation(gain=1.05, offset=0.03)
    (sample,) = [varied.undo(drawn_from(varied.apply(given, 1)), given)]
    dark = np.abs(given.prior_ct) < 0.9  # what is not clipped
    wanted = np.where(given.mask > 0, given.prior_ct, given.ct)
    assert sample.ct[dark] == pytest.approx(from_window(wanted)[dark], abs=1.0)


def test_a_drawing_that_is_refused_is_drawn_again_at_the_same_height():
    variation = Variation(neighbour=0.2, taller=1.3)
    again = drawn_again(variation, 7)
    assert again.taller == 1.3 and again.neighbour != 0.2
    assert drawn_again(Variation(), 7).taller == 0.0


def test_without_neighbours_only_the_rest_varies():
    given = replace(conditioning(), neighbour_slabs=())
    varied = replace(draw_variations(2, np.random.default_rng(0))[1], flip=False, shift=(0, 0), noise=1e-9)
    assert np.array_equal(varied.apply(given, 0).prior_body, given.prior_body)


def test_what_no_sample_shows_is_uncertain_too():
    given = conditioning()
    (sample,) = samples_of(given, 1)
    assert with_spread([sample] * 3, 1.0).ct_sd == pytest.approx(UNSEEN_HU)


def test_the_answer_is_the_first_sample_with_the_distance_of_the_others():
    given = conditioning()
    assert with_spread(samples_of(given, 1), 1.0).ct_sd is None
    samples = samples_of(given, 8)
    answer = with_spread(samples, 1.0)
    assert answer.ct is samples[0].ct and answer.height_mm == given.reference_mm
    bone = given.outline > 0.5
    shown = np.sqrt(answer.ct_sd**2 - UNSEEN_HU**2)  # by the samples
    assert shown[bone].mean() > 5 * shown[: GAP[0]].mean()


def test_a_taller_sample_differs_at_the_upper_plate_and_not_at_the_lower():
    body = np.zeros(SHAPE, np.float32)
    body[GAP[0] : GAP[1], 20:40, 20:50] = 1
    ct = np.where(body > 0, 300.0, 40.0)
    tall, short = PseudoHealthy(ct, body, 35.2), PseudoHealthy(ct, body, 32.0)
    sd = with_spread([short, tall], 1.0).ct_sd
    upper, lower = sd[GAP[1] : GAP[1] + 3, 30, 30], sd[GAP[0] - 3 : GAP[0] + GAP_ROWS // 2, 30, 30]
    assert upper.max() == pytest.approx(np.hypot(WIDER * 260, UNSEEN_HU))
    assert lower.max() < np.hypot(WIDER * 15, UNSEEN_HU)  # the sampling's rounding of the lower edge
