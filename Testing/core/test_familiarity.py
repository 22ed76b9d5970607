"""A scan unlike those of the training is said to be so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slice_batches import GAP, conditioning_of

from healthivert.familiarity import features, seen_range, unfamiliar
from healthivert.gap import to_window
from healthivert.types import Conditioning

SHAPE = (96, 64, 72)


def conditioning(bone_hu: float, width: int = 40, noise_hu: float = 10.0) -> Conditioning:
    inside = np.zeros(SHAPE, bool)
    inside[:, 20:46, 36 - width // 2 : 36 + width // 2] = True
    hu = np.where(inside, bone_hu, 40.0) + np.random.default_rng(0).normal(0, noise_hu, SHAPE)
    body = inside.astype(np.float32)
    neighbours = body.copy()
    neighbours[GAP[0] : GAP[1]] = 0
    return conditioning_of(to_window(hu), neighbours, body)


@pytest.fixture(scope="module")
def card() -> dict:
    varied = [(hu, width, noise) for hu in (96, 150, 200) for width in (36, 44) for noise in (5, 15)]
    seen = seen_range([features(conditioning(*values)) for values in varied])
    return {"seen": seen}


def test_the_numbers_are_those_of_the_scan():
    found = features(conditioning(180, width=40, noise_hu=0.0))
    assert found["bone_hu"] == pytest.approx(180, abs=1)
    assert found["noise_hu"] == pytest.approx(0, abs=0.1)
    assert found["footprint_mm2"] == 26 * 40
    assert found["reference_mm"] == 27.0


def test_a_scan_like_the_training_is_not_remarked_on(card):
    assert unfamiliar(features(conditioning(170, 42)), card) == []


def test_denser_bone_than_any_seen_is_named_with_its_value_and_the_range(card):
    (sentence,) = unfamiliar(features(conditioning(420)), card)
    assert "bone of the neighbouring bodies is 420 HU" in sentence and "in training 9" in sentence


def test_a_noisy_scan_of_a_broad_vertebra_is_remarked_on_twice(card):
    sentences = unfamiliar(features(conditioning(150, width=66, noise_hu=80.0)), card)
    assert len(sentences) == 2 and "footprint" in sentences[1]


def test_without_visible_neighbours_their_bone_is_not_judged(card):
    alone = replace(conditioning(150), neighbours=np.zeros(SHAPE, np.float32))
    assert "bone_hu" not in features(alone) and unfamiliar(features(alone), card) == []


def test_weights_that_do_not_say_what_they_have_seen_judge_nothing():
    assert unfamiliar(features(conditioning(900)), {}) == []
