"""The neighbours' reference recovers a healthy height, is not fooled by fractures, and suspicion finds them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthivert.phantom import sample_spine, truth
from healthivert.pipeline import NINE_OF_TEN
from healthivert.reference import (
    LEVEL_SD,
    LEVEL_SD_WEIGHT,
    MORE_AT_LEVEL,
    POPULATION_SPREAD,
    REACH_LEVELS,
    SIZE_WEIGHT,
    TREND_STIFFNESS,
    normal_heights,
    predictions,
    suspicion,
)
from healthivert.types import HEIGHT_KEYS, Heights

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from reference_heights import KINDS, SHORT, held

SPINE = [f"T{i}" for i in range(5, 13)] + [f"L{i}" for i in range(1, 6)]


def scaled(level: str, anterior: float, middle: float | None = None, posterior: float | None = None) -> Heights:
    normal = normal_heights(level)
    a = normal.anterior * anterior
    m = normal.middle * (anterior if middle is None else middle)
    p = normal.posterior * (anterior if posterior is None else posterior)
    return Heights(a, m, p, (a + m + p) / 3)


def references_of(heights: dict[str, Heights]) -> dict[str, Heights | None]:
    return {level: found and found.heights for level, found in predictions(heights).items()}


@settings(max_examples=20, deadline=None)
@given(st.floats(0.8, 1.25))
def test_a_person_of_any_size_is_their_own_reference(size):
    heights = {level: scaled(level, size) for level in SPINE}
    expected = references_of(heights)
    for level in SPINE:
        assert expected[level] is not None
        for key in HEIGHT_KEYS:
            assert getattr(expected[level], key) == pytest.approx(getattr(heights[level], key), rel=1e-6)


@pytest.mark.parametrize("fractured", [("L1",), ("T12", "L1"), ("T11", "T12", "L1"), ("T8", "L1", "L3")])
def test_fractured_neighbours_hardly_pull_the_reference_down(fractured):
    random = np.random.default_rng(3)
    healthy = {level: scaled(level, 1.05 * np.exp(random.normal(0, 0.01))) for level in SPINE}
    seen = {**healthy, **{level: scaled(level, 0.6, 0.55, 0.85) for level in fractured}}
    before, after = references_of(healthy), references_of(seen)
    for level in SPINE:
        assert after[level].mean == pytest.approx(before[level].mean, rel=0.02), level


def test_the_reference_does_not_look_at_the_level_itself():
    heights = {level: scaled(level, 1.0) for level in SPINE}
    other = {**heights, "L2": scaled("L2", 0.5)}
    # L2's own ill health may change nothing but the weights of nobody
    assert references_of(heights)["L2"].mean == pytest.approx(references_of(other)["L2"].mean, rel=1e-3)


def test_suspicion_ranks_a_fracture_above_every_healthy_level():
    random = np.random.default_rng(5)
    seen = {level: scaled(level, np.exp(random.normal(0, 0.02))) for level in SPINE}
    seen["L1"] = scaled("L1", 0.6, 0.6, 0.9)
    expected = references_of(seen)
    doubt = {level: suspicion(seen[level], expected[level]) for level in SPINE}
    assert doubt.pop("L1") > 0.95
    assert max(doubt.values()) < 0.3


def test_one_level_alone_has_no_reference():
    assert references_of({"L3": scaled("L3", 1.0)}) == {"L3": None}
    assert suspicion(scaled("L3", 0.3), None) == 0.0


def test_nine_of_ten_true_heights_lie_within_the_spread_of_what_the_other_levels_predict():
    """True heights of generated spines, fractured neighbours included; measured in images by the benchmark."""
    inside = []
    for seed in range(300_000, 300_040):
        levels = truth(sample_spine(seed, fractured=True))["levels"]
        seen = predictions({row["level"]: Heights(**row["heights_mm"]) for row in levels})
        for row in levels:
            expected = seen[row["level"]]
            error = np.log(row["healthy_heights_mm"]["mean"] / expected.heights.mean)
            inside.append(abs(error) <= NINE_OF_TEN * expected.spread.mean)
    assert 0.85 <= np.mean(inside) <= 0.95


def held_of(kind: str, spines: int = 40) -> np.ndarray:
    """(4,) share of true heights, by HEIGHT_KEYS, that lie within the interval, in spines of a kind."""
    sample = {**KINDS, **SHORT}[kind]
    return np.mean([level.within for seed in range(310_000, 310_000 + spines) for level in held(sample(seed))], axis=0)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("whole healthy spine", 0.84, 0.93),
        ("three healthy levels", 0.87, 0.99),
        ("whole spine, 1 to 4 fractures", 0.86, 0.95),
        ("five levels, 2 or 3 of them fractured", 0.90, 1.0),
        ("five levels, 4 or all fractured", 0.80, 0.95),
        ("one healthy level", 0.80, 0.97),
        ("three levels, all fractured", 0.76, 0.93),
        ("two levels, one fractured", 0.80, 0.97),
    ],
)
def test_the_interval_holds_every_third_whatever_is_seen_of_a_spine(kind, least, most):
    assert ((least <= held_of(kind)) & (held_of(kind) <= most)).all(), held_of(kind)


@pytest.mark.parametrize("deviation", [0.0, 0.05])
@pytest.mark.parametrize("size", [None, 0.0])
def test_of_two_levels_the_spread_is_known_in_closed_form(size, deviation):
    """Each predicts the other, with as much of the person's size as its weight leaves; both vary, and so does size."""
    seen = {"L2": scaled("L2", 1.0), "L3": scaled("L3", float(np.exp(deviation)))}
    weight, of_size = np.exp(-1 / REACH_LEVELS), 0.0 if size is None else SIZE_WEIGHT
    sloping = weight * (1 + TREND_STIFFNESS)  # of a line through one point, one level away
    determinant = (weight + of_size) * sloping - weight**2
    share, size_share = TREND_STIFFNESS * weight**2 / determinant, of_size * sloping / determinant
    widening = 1 + share**2 + (size_share * POPULATION_SPREAD / LEVEL_SD) ** 2
    missed = deviation**2 / widening  # L3, predicted from L2, whose ratio and size are 0
    before = (LEVEL_SD_WEIGHT * LEVEL_SD**2 + missed) / (LEVEL_SD_WEIGHT + 1)
    spread = predictions(seen, size)["L2"].spread
    assert [getattr(spread, key) for key in HEIGHT_KEYS] == pytest.approx(np.sqrt(before * widening), rel=1e-6)


def test_the_last_level_is_predicted_less_surely_and_predicts_less_surely():
    """L5 has a wedge of its own: the third by which it is graded may be off by half as much again."""
    found = predictions({v: scaled(v, 1.0) for v in SPINE}, 0.0)
    spread = {level: found[level].spread for level in ("L2", "L4", "L5")}
    more = [getattr(spread["L5"], key) / getattr(spread["L2"], key) for key in HEIGHT_KEYS]
    assert more == pytest.approx(MORE_AT_LEVEL["L5"], rel=0.08)
    of_two = [predictions({"L3": scaled("L3", 1.0), v: scaled(v, 1.0)})["L3"].spread for v in ("L2", "L5")]
    assert of_two[1].anterior > 1.05 * of_two[0].anterior


def test_where_few_look_healthy_these_are_doubted_too():
    """Two of five look healthy, or as large a share of a whole spine: there some really are."""
    few = {v: scaled(v, 1.0 if v in ("L1", "L3") else 0.65) for v in ("T11", "T12", "L1", "L2", "L3")}
    many = {v: scaled(v, 1.0 if v in ("L1", "L3", "T5", "T7", "T9") else 0.65) for v in SPINE}
    alone, among_many = (predictions(seen, 0.0)["L1"].spread for seen in (few, many))
    assert alone.anterior > 1.5 * among_many.anterior and alone.mean > 1.5 * among_many.mean
    assert alone.posterior < 0.8 * alone.anterior  # which stands longest


def test_a_spine_that_varies_more_is_predicted_less_surely():
    even = {level: scaled(level, 1.0) for level in SPINE}
    uneven = {level: scaled(level, 1.0 + 0.07 * (-1) ** i) for i, level in enumerate(SPINE)}
    few = {level: even[level] for level in ("L2", "L3")}
    assert predictions(uneven)["L2"].spread.mean > 1.5 * predictions(even)["L2"].spread.mean
    assert predictions(few)["L2"].spread.mean > predictions(even)["L2"].spread.mean


def test_where_everything_is_crushed_the_size_of_the_person_takes_over():
    crushed = {level: scaled(level, 0.6) for level in ("T11", "T12", "L1", "L2", "L3")}
    alone, with_size = (
        predictions(crushed, size)["L1"].heights.mean / normal_heights("L1").mean for size in (None, 0.0)
    )
    assert alone == pytest.approx(0.6, abs=0.01)
    assert with_size > 0.8
    assert predictions(crushed, 0.05)["L1"].heights.mean > predictions(crushed, 0.0)["L1"].heights.mean
    assert predictions(crushed, 0.0)["L1"].spread.mean > 1.5 * predictions(crushed)["L1"].spread.mean


def test_of_two_levels_the_size_of_the_person_tells_which_has_collapsed():
    heights = {level: normal_heights(level) for level in ("L1", "L2")}
    heights["L2"] = Heights(*(0.5 * value for value in (*heights["L2"].thirds, heights["L2"].mean)))
    expected = predictions(heights, 0.0)["L1"].heights.mean
    assert expected == pytest.approx(normal_heights("L1").mean, rel=0.12)
    assert predictions(heights)["L1"].heights.mean < 0.6 * normal_heights("L1").mean


def test_where_levels_are_healthy_the_size_hardly_counts():
    heights = {level: scaled(level, 0.95) for level in SPINE}
    for level, seen in predictions(heights, 0.06).items():
        assert seen.heights.mean == pytest.approx(heights[level].mean, rel=0.01)
