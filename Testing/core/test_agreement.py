"""Agreement statistics against scikit-learn, published tables and what must hold by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from healthivert.agreement import (
    bootstrap_interval,
    confusion_matrix,
    intraclass_correlation,
    limits_of_agreement,
    macro_f1,
    resampling_units,
    weighted_kappa,
)

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
GRADES = 4
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)


@settings(deadline=None)
@given(PAIRS, st.sampled_from(["linear", "quadratic"]))
def test_kappa_is_that_of_scikit_learn(pairs, weights: str) -> None:
    true, found = zip(*pairs, strict=True)
    ours = weighted_kappa(confusion_matrix(true, found, GRADES), weights)
    if len({*true, *found}) == 1:
        assert np.isnan(ours)
    else:
        theirs = metrics.cohen_kappa_score(true, found, labels=range(GRADES), weights=weights)
        assert ours == pytest.approx(theirs, abs=1e-12)


@settings(deadline=None)
@given(PAIRS)
def test_macro_f1_and_confusion_are_those_of_scikit_learn(pairs) -> None:
    true, found = zip(*pairs, strict=True)
    confusion = confusion_matrix(true, found, GRADES)
    assert np.array_equal(confusion, metrics.confusion_matrix(true, found, labels=range(GRADES)))
    assert macro_f1(confusion) == pytest.approx(metrics.f1_score(true, found, average="macro", zero_division=0))


def test_a_miss_by_two_grades_costs_more_with_quadratic_weights() -> None:
    true = [0, 1, 2, 3] * 5
    near, far = [*true[:-1], 2], [*true[:-1], 1]
    for weights, share in (("linear", 2), ("quadratic", 4)):
        lost = [1 - weighted_kappa(confusion_matrix(true, found, GRADES), weights) for found in (near, far)]
        assert lost[1] / lost[0] == pytest.approx(share, rel=0.05)


def test_the_intraclass_correlation_is_that_of_the_published_example() -> None:
    # Shrout and Fleiss 1979, Psychol Bull 86:420, table 2: six targets, four judges; ICC(2,1) = .29 in table 4
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert intraclass_correlation(ratings) == pytest.approx(0.29, abs=0.005)


def test_a_constant_offset_lowers_absolute_agreement() -> None:
    truth = np.linspace(0, 0.5, 20)
    assert intraclass_correlation(np.stack([truth, truth], axis=1)) == pytest.approx(1)
    assert intraclass_correlation(np.stack([truth, truth + 0.1], axis=1)) < 0.9


def test_limits_hold_95_percent_of_normal_differences() -> None:
    differences = np.random.default_rng(0).normal(1.5, 2.0, 20_000)
    limits = limits_of_agreement(differences)
    assert limits.bias == pytest.approx(1.5, abs=0.05)
    inside = (differences > limits.low) & (differences < limits.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)


def test_limits_are_of_the_standard_deviation_of_a_sample() -> None:
    limits = limits_of_agreement([1.0, 3.0])
    assert limits.high == pytest.approx(2.0 + 1.96 * np.sqrt(2.0)) and limits.low == pytest.approx(4.0 - limits.high)


def test_one_difference_has_a_bias_but_no_limits() -> None:
    limits = limits_of_agreement([2.0])
    assert limits.bias == 2.0 and np.isnan([limits.low, limits.high]).all()


def test_a_bootstrap_of_independent_rows_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap_interval(range(400), lambda rows: float(values[rows].mean()), seed=0) or (0, 0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(400), rel=0.08)
    assert low < values.mean() < high


def test_levels_of_one_spine_are_drawn_together() -> None:
    """Twenty spines whose levels are all alike say no more than twenty numbers do."""
    per_spine = np.random.default_rng(2).normal(0, 1, 20)
    values, spines = np.repeat(per_spine, 10), np.repeat(np.arange(20), 10)

    def width(units) -> float:
        low, high = bootstrap_interval(list(units), lambda rows: float(values[rows].mean()), seed=0) or (0, 0)
        return high - low

    assert width(spines) / width(range(200)) == pytest.approx(np.sqrt(10), rel=0.2)


def test_one_seed_gives_one_interval_and_one_unit_gives_none() -> None:
    values = np.arange(9.0)

    def interval(units, seed: int):
        return bootstrap_interval(units, lambda rows: float(values[rows].mean()), seed)

    assert interval(range(9), 4) == interval(range(9), 4) != interval(range(9), 5)
    assert interval(["a"] * 9, 4) is None


def test_cases_are_drawn_where_there_are_several_and_levels_otherwise() -> None:
    assert resampling_units(["a", "a", "b"]) == (["a", "a", "b"], "case")
    units, name = resampling_units(["a", "a", "a"])
    assert len(set(units)) == 3 and name == "level"
