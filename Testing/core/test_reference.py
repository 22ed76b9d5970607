"""The neighbours' reference recovers a healthy height, is not fooled by fractures, and suspicion finds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthivert.reference import neighbour_references, normal_heights, suspicion
from healthivert.types import HEIGHT_KEYS, Heights

SPINE = [f"T{i}" for i in range(5, 13)] + [f"L{i}" for i in range(1, 6)]


def scaled(level: str, anterior: float, middle: float | None = None, posterior: float | None = None) -> Heights:
    normal = normal_heights(level)
    a = normal.anterior * anterior
    m = normal.middle * (anterior if middle is None else middle)
    p = normal.posterior * (anterior if posterior is None else posterior)
    return Heights(a, m, p, (a + m + p) / 3)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.8, 1.25))
def test_a_person_of_any_size_is_their_own_reference(size):
    heights = {level: scaled(level, size) for level in SPINE}
    references = neighbour_references(heights)
    for level in SPINE:
        assert references[level] is not None
        for key in HEIGHT_KEYS:
            assert getattr(references[level], key) == pytest.approx(getattr(heights[level], key), rel=1e-6)


@pytest.mark.parametrize("fractured", [("L1",), ("T12", "L1"), ("T11", "T12", "L1"), ("T8", "L1", "L3")])
def test_fractured_neighbours_hardly_pull_the_reference_down(fractured):
    random = np.random.default_rng(3)
    healthy = {level: scaled(level, 1.05 * np.exp(random.normal(0, 0.01))) for level in SPINE}
    seen = {**healthy, **{level: scaled(level, 0.6, 0.55, 0.85) for level in fractured}}
    before, after = neighbour_references(healthy), neighbour_references(seen)
    for level in SPINE:
        assert after[level].mean == pytest.approx(before[level].mean, rel=0.02), level


def test_the_reference_does_not_look_at_the_level_itself():
    heights = {level: scaled(level, 1.0) for level in SPINE}
    other = {**heights, "L2": scaled("L2", 0.5)}
    # L2's own ill health may change nothing but the weights of nobody
    assert neighbour_references(heights)["L2"].mean == pytest.approx(neighbour_references(other)["L2"].mean, rel=1e-3)


def test_suspicion_ranks_a_fracture_above_every_healthy_level():
    random = np.random.default_rng(5)
    seen = {level: scaled(level, np.exp(random.normal(0, 0.02))) for level in SPINE}
    seen["L1"] = scaled("L1", 0.6, 0.6, 0.9)
    references = neighbour_references(seen)
    doubt = {level: suspicion(seen[level], references[level]) for level in SPINE}
    assert doubt.pop("L1") > 0.95
    assert max(doubt.values()) < 0.3


def test_one_level_alone_has_no_reference():
    assert neighbour_references({"L3": scaled("L3", 1.0)}) == {"L3": None}
    assert suspicion(scaled("L3", 0.3), None) == 0.0
