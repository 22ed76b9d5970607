"""Fitting the grading machine on generated spines whose grades are known. The only module that uses scikit-learn.

In: rows of evaluate_phantoms.evaluate_phantom. Out: an SvmGrading whose card holds how well it grades spines that it
has not seen, beside the thresholds on the same vertebrae. All vertebrae of a spine stay on one side of every split
(GroupKFold), and the scaler is fitted inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from healthivert.agreement import confusion_matrix, weighted_kappa
from healthivert.errors import HealthiVertError, not_installed
from healthivert.evaluate_phantoms import grade_agreement
from healthivert.grade import GRADES
from healthivert.svm_grading import SvmGrading
from healthivert.types import FloatArray

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5
LEAST_PER_GRADE = 5  # fewer vertebrae of a grade cannot show where it begins
SETTINGS = tuple(
    {"kernel": kernel, "C": strength} for kernel in ("linear", "rbf") for strength in (0.1, 1.0, 10.0, 100.0)
)


def check_can_fit() -> None:
    """Raise HealthiVertError, telling what to install, if scikit-learn cannot be imported."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise not_installed("scikit-learn", "grading", "fitting a grading needs") from None


def fit_grading(rows: Sequence[Mapping[str, Any]], seed: int, source: Mapping[str, Any]) -> SvmGrading:
    """The machine with the settings that grade unseen spines best by linear kappa, fitted on all rows.

    source: what the rows were measured on and with; it goes into the card. Raises HealthiVertError if there are too few
    spines, or too few vertebrae of a grade.
    """
    check_can_fit()
    features = np.array([row["features"] for row in rows])
    grades = np.array([row["grade_true"] for row in rows])
    spines = np.array([row["case"] for row in rows])
    _check_enough(grades, spines)
    settings = best_settings(features, grades, spines)
    unseen = _nested_grades(features, grades, spines)
    card = {
        **source,
        "settings": settings,
        "spines": len(set(spines)),
        "vertebrae": {str(grade): int((grades == grade).sum()) for grade in range(GRADES)},
        "unseen_spines": {
            "svm": grade_agreement(grades, unseen, spines.tolist(), seed),
            "thresholds": grade_agreement(grades, [row["grade_thresholds"] for row in rows], spines.tolist(), seed),
        },
    }
    return as_grading(_machine(settings).fit(features, grades), card)


def check_enough_spines(count: int) -> None:
    if count < FOLDS:
        raise HealthiVertError(f"{count} spines cannot be split into {FOLDS} parts; make more phantoms")


def _check_enough(grades: NDArray, spines: NDArray) -> None:
    check_enough_spines(len(set(spines)))
    counts = Counter(grades.tolist())
    for grade in range(GRADES):
        if counts[grade] < LEAST_PER_GRADE:
            raise HealthiVertError(
                f"only {counts[grade]} vertebrae of Genant grade {grade} among the phantoms, {LEAST_PER_GRADE} are "
                "needed; make more phantoms"
            )


def best_settings(features: FloatArray, grades: NDArray, spines: NDArray) -> dict[str, Any]:
    """Of SETTINGS, the one whose cross-validated grades agree best with the truth (linear kappa)."""

    def kappa(settings: dict[str, Any]) -> float:
        found = np.empty_like(grades)
        for fitted, tested in _folds(features, grades, spines):
            found[tested] = _machine(settings).fit(features[fitted], grades[fitted]).predict(features[tested])
        return weighted_kappa(confusion_matrix(grades, found, GRADES))

    return max(SETTINGS, key=kappa)


def _nested_grades(features: FloatArray, grades: NDArray, spines: NDArray) -> NDArray:
    """Grades of each vertebra by a machine whose fit and settings have not seen its spine."""
    found = np.empty_like(grades)
    for fitted, tested in _folds(features, grades, spines):
        known = features[fitted], grades[fitted]
        settings = best_settings(*known, spines[fitted])
        found[tested] = _machine(settings).fit(*known).predict(features[tested])
    return found


def _folds(features: FloatArray, grades: NDArray, spines: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    from sklearn.model_selection import GroupKFold

    yield from GroupKFold(min(FOLDS, len(set(spines)))).split(features, grades, spines)


def _machine(settings: Mapping[str, Any]) -> Pipeline:
    """Balanced, because healthy vertebrae are many and grade 1 is a narrow band between its neighbours."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(**settings, gamma="scale", class_weight="balanced"))


def as_grading(machine: Pipeline, card: Mapping[str, Any]) -> SvmGrading:
    """The fitted pipeline as numbers. It must have been fitted on all GRADES grades."""
    scaler, svm = (step for _, step in machine.steps)
    return SvmGrading(
        kernel=svm.kernel,
        gamma=float(svm._gamma),  # what "scale" came to; scikit-learn keeps it under no public name
        mean=scaler.mean_,
        scale=scaler.scale_,
        vectors=svm.support_vectors_,
        counts=tuple(int(n) for n in svm.n_support_),
        coefficients=svm.dual_coef_,
        intercepts=svm.intercept_,
        card=card,
    )
