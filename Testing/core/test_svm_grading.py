"""The grading machine: the same answers as scikit-learn without it, honest cards, and files that are checked."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from report_example import fractured_report

from healthivert.errors import HealthiVertError
from healthivert.fit_grading import as_grading, best_settings, fit_grading
from healthivert.grade import genant_grade
from healthivert.svm_grading import FEATURES, SvmGrading, graded, grading_features, load_grading, save_grading
from healthivert.types import Genant, Heights

pytest.importorskip("sklearn", reason="scikit-learn is the oracle")


def flat_map(anterior: float, middle: float, posterior: float, tilt: float = 0.0) -> np.ndarray:
    """(AP, LR) loss of 30 x 40 columns on an oval; the left side lost `tilt` more than the middle."""
    v, u = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 40), indexing="ij")
    loss = np.choose(np.clip(((v + 1) * 1.5).astype(int), 0, 2), [anterior, middle, posterior]) + tilt * u
    return np.where(u**2 + v**2 <= 1, loss, np.nan)


def losses(*thirds: float) -> Heights:
    return Heights(*thirds, float(np.mean(thirds)))


def measured_rows(spines: int = 40, seed: int = 0) -> list[dict]:
    """Rows as evaluate_phantoms makes them, of vertebrae whose losses were measured with an error of 3 points."""
    random = np.random.default_rng(seed)
    rows = []
    for spine in range(spines):
        for worst in (0.0, random.uniform(0.2, 0.25), random.uniform(0.25, 0.4), random.uniform(0.4, 0.6)):
            true = losses(worst, 0.7 * worst, 0.3 * worst)
            found = losses(*(getattr(true, k) + random.normal(0, 0.03) for k in ("anterior", "middle", "posterior")))
            loss_map = flat_map(found.anterior, found.middle, found.posterior)
            rows.append(
                {
                    "case": f"spine {spine}",
                    "features": grading_features(found, loss_map).tolist(),
                    "grade_true": genant_grade(true).grade,
                    "grade_thresholds": genant_grade(found).grade,
                }
            )
    return rows


@pytest.fixture(scope="module")
def fitted() -> SvmGrading:
    return fit_grading(measured_rows(), 0, {"model": {"name": "gan", "sha256": "0" * 64}})


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_grades_are_those_of_scikit_learn(kernel: str, tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows = measured_rows()
    features = np.array([row["features"] for row in rows])
    machine = make_pipeline(StandardScaler(), SVC(kernel=kernel, class_weight="balanced"))
    machine.fit(features, [row["grade_true"] for row in rows])
    save_grading(as_grading(machine, {}), tmp_path / "machine.json")
    ours = load_grading(tmp_path / "machine.json")
    anywhere = np.random.default_rng(5).uniform(-0.3, 1.0, (500, len(FEATURES)))
    assert [ours.grade_of(one) for one in anywhere] == machine.predict(anywhere).tolist()


def test_a_fit_grades_what_it_was_made_for(fitted: SvmGrading) -> None:
    for worst, grade in ((0.0, 0), (0.33, 2), (0.55, 3)):
        loss = losses(worst, 0.7 * worst, 0.3 * worst)
        found = fitted.grade(loss, flat_map(loss.anterior, loss.middle, loss.posterior))
        assert (found.grade, found.by) == (grade, "svm")
        assert found.shape == ("normal" if grade == 0 else "wedge")


def test_the_card_tells_how_unseen_spines_are_graded_beside_the_thresholds(fitted: SvmGrading) -> None:
    card = fitted.card
    assert card["spines"] == 40 and sum(card["vertebrae"].values()) == 160
    for found in card["unseen_spines"].values():
        assert np.sum(found["confusion"]) == 160 and found["bootstrap_unit"] == "case"
        for name in ("kappa_linear", "kappa_quadratic", "macro_f1", "accuracy"):
            low, high = found["interval"][name]
            assert 0.3 < low <= found[name] <= high <= 1


def test_settings_are_chosen_without_the_spines_that_they_are_tried_on(monkeypatch) -> None:
    """Or the card's figures would not be of unseen spines: of five parts, each choice sees four; the fit sees all."""
    seen: list[int] = []
    monkeypatch.setattr(
        "healthivert.fit_grading.best_settings",
        lambda features, grades, spines: seen.append(len(set(spines))) or best_settings(features, grades, spines),
    )
    fit_grading(measured_rows(20), 0, {"model": {"name": "gan", "sha256": "0" * 64}})
    assert sorted(seen) == [16] * 5 + [20]


def test_grades_that_follow_the_spine_and_not_the_loss_are_not_learnt() -> None:
    """If vertebrae of one spine stood on both sides of a split, the machine could know the spine by its features."""
    random = np.random.default_rng(0)
    rows = []
    for spine in range(40):
        mark = random.normal(0, 1, len(FEATURES))
        for _ in range(6):
            features = mark + random.normal(0, 0.01, len(FEATURES))
            rows.append({"case": str(spine), "features": features, "grade_true": spine % 4, "grade_thresholds": 0})
    card = fit_grading(rows, 0, {}).card
    assert abs(card["unseen_spines"]["svm"]["kappa_linear"]) < 0.35


def test_sides_of_the_body_are_told_apart() -> None:
    features = dict(
        zip(FEATURES, grading_features(losses(0.1, 0.3, 0.2), flat_map(0.1, 0.3, 0.2, tilt=0.1)), strict=True)
    )
    assert (features["anterior"], features["middle"], features["posterior"]) == (0.1, 0.3, 0.2)
    assert features["worst"] == 0.3
    assert features["right"] < features["centre"] < features["left"]
    assert features["centre"] == pytest.approx(0.3, abs=0.01)


def test_a_map_without_columns_leaves_the_sagittal_thirds() -> None:
    features = grading_features(losses(0.1, 0.3, 0.2), np.full((5, 5), np.nan))
    assert features.tolist() == pytest.approx([0.1, 0.3, 0.2, 0.2, 0.2, 0.2, 0.3])


def test_a_machine_fitted_on_the_losses_of_other_weights_is_said(fitted: SvmGrading) -> None:
    loss = replace(
        fractured_report().loss,
        rhlv=losses(0.55, 0.45, 0.3),
        loss_map=flat_map(0.55, 0.45, 0.3),
        genant=Genant(2, "wedge"),
        warnings=("one",),
    )
    same = graded(loss, fitted, {"sha256": "0" * 64})
    assert (same.genant.grade, same.genant.by, same.warnings) == (3, "svm", ("one",))
    other = graded(loss, fitted, {"sha256": "1" * 64})
    assert other.genant == same.genant and "other weights" in other.warnings[1]


def test_too_few_vertebrae_of_a_grade_are_refused() -> None:
    rows = [row for row in measured_rows() if row["grade_true"] != 3]
    with pytest.raises(HealthiVertError, match="only 0 vertebrae of Genant grade 3"):
        fit_grading(rows, 0, {})
    with pytest.raises(HealthiVertError, match="3 spines cannot be split into 5 parts"):
        fit_grading(measured_rows(3), 0, {})


def test_the_shipped_grading_loads_and_knows_the_clear_cases() -> None:
    assert resources.files("healthivert").joinpath("data/genant_svm.json").is_file()
    shipped = load_grading()
    assert shipped.grade(losses(0.0, 0.0, 0.0), flat_map(0.0, 0.0, 0.0)).grade == 0
    assert shipped.grade(losses(0.55, 0.45, 0.3), flat_map(0.55, 0.45, 0.3)).grade == 3
    assert set(shipped.card["unseen_spines"]) == {"svm", "thresholds"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": "another"}, "this is not a fitted grading"),
        ({"features": ["anterior"]}, "other features"),
        ({"kernel": "sigmoid"}, "damaged"),
        ({"mean": [0.0]}, "damaged"),
        ({"intercepts": [float("nan")] * 6}, "damaged"),
        ({"counts": [1, 1]}, "damaged"),
        ({"vectors": None}, "damaged"),
    ],
)
def test_a_file_that_is_no_grading_is_said_in_one_line(change, told: str, fitted: SvmGrading, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    save_grading(fitted, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(HealthiVertError, match=told) as raised:
        load_grading(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_or_torn_file_is_said_in_one_line(fitted: SvmGrading, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    with pytest.raises(HealthiVertError, match="cannot be read"):
        load_grading(path)
    save_grading(fitted, path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(HealthiVertError, match="this is not JSON"):
        load_grading(path)


def test_a_saved_grading_comes_back_whole(fitted: SvmGrading, tmp_path: Path) -> None:
    save_grading(fitted, tmp_path / "machine.json")
    back = load_grading(tmp_path / "machine.json")
    for name in ("mean", "scale", "vectors", "coefficients", "intercepts"):
        assert np.array_equal(getattr(back, name), getattr(fitted, name))
    assert (back.kernel, back.gamma, back.counts) == (fitted.kernel, fitted.gamma, fitted.counts)
    assert replace(back, card={}).grade_of(np.full(len(FEATURES), 0.5)) == 3
