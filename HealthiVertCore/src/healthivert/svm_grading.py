"""Genant's grade by a support vector machine on height loss, as the publication grades; evaluated without scikit-learn.

In: signed RHLV per third and the map of height loss of one vertebra. Out: a Genant with by = "svm". The fit is a JSON
file: kernel, scaler, support vectors and a card that says what it was fitted on and how well it grades what it has not
seen. fit_grading.py makes such files.

One machine per pair of grades votes, and the lowest of the grades with most votes wins (Knerr 1990; LIBSVM's rule).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from healthivert.errors import HealthiVertError
from healthivert.grade import GRADES, genant_shape
from healthivert.types import THIRDS, FloatArray, Genant, HeightLoss, Heights

SCHEMA = "healthivert-grading-1"
SHIPPED = Path(str(resources.files("healthivert").joinpath("data/genant_svm.json")))
CORONAL_THIRDS = ("right", "centre", "left")
FEATURES = (*THIRDS, *CORONAL_THIRDS, "worst")  # the publication's six, and what Genant's definition looks at
BAND_OF_DEPTH = 0.15  # mid-coronal band: rows of the map within this part of its depth of the middle
NUMBERS = ("gamma", "mean", "scale", "vectors", "coefficients", "intercepts")


def grading_features(rhlv: Heights, loss_map: FloatArray) -> FloatArray:
    """(len(FEATURES),) signed fractions. loss_map: (AP, LR), NaN off the body.

    The coronal thirds are means of the map in the mid-coronal band; one without any column takes the body's mean.
    """
    sagittal = [getattr(rhlv, third) for third in THIRDS]
    rows, columns = (np.flatnonzero(np.isfinite(loss_map).any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return np.array([*sagittal, *[rhlv.mean] * len(CORONAL_THIRDS), max(sagittal)])
    middle, half = (rows[0] + rows[-1]) / 2, max(BAND_OF_DEPTH * (rows[-1] - rows[0] + 1), 0.5)
    band = loss_map[int(np.ceil(middle - half)) : int(np.floor(middle + half)) + 1, columns[0] : columns[-1] + 1]
    parts = [part[np.isfinite(part)] for part in np.array_split(band, len(CORONAL_THIRDS), axis=1)]
    return np.array([*sagittal, *(part.mean() if part.size else rhlv.mean for part in parts), max(sagittal)])


@dataclass(frozen=True)
class SvmGrading:
    """A fitted machine. mean, scale: (features,) of the scaler; vectors: (N, features) scaled support vectors, sorted
    by grade; counts: how many of each grade; coefficients: (GRADES - 1, N) as LIBSVM lays them out; intercepts: one a
    pair of grades."""

    kernel: str  # "linear" or "rbf"
    gamma: float
    mean: FloatArray
    scale: FloatArray
    vectors: FloatArray
    counts: tuple[int, ...]
    coefficients: FloatArray
    intercepts: FloatArray
    card: Mapping[str, Any]

    def grade_of(self, features: FloatArray) -> int:
        """0..3 for one vertebra's (features,)."""
        scaled = (features - self.mean) / self.scale
        if self.kernel == "linear":
            alike = self.vectors @ scaled
        else:
            alike = np.exp(-self.gamma * ((self.vectors - scaled) ** 2).sum(axis=1))
        ends = np.cumsum(self.counts)
        of_grade = [slice(end - count, end) for end, count in zip(ends, self.counts, strict=True)]
        votes = np.zeros(GRADES, int)
        for pair, (low, high) in enumerate(combinations(range(GRADES), 2)):
            ours, theirs = of_grade[low], of_grade[high]
            side = self.coefficients[high - 1, ours] @ alike[ours] + self.coefficients[low, theirs] @ alike[theirs]
            votes[low if side + self.intercepts[pair] > 0 else high] += 1
        return int(votes.argmax())

    def grade(self, rhlv: Heights, loss_map: FloatArray) -> Genant:
        grade = self.grade_of(grading_features(rhlv, loss_map))
        return Genant(grade, genant_shape(rhlv, grade), "svm")


def graded(loss: HeightLoss, grading: SvmGrading, card: Mapping[str, Any]) -> HeightLoss:
    """The loss with the machine's grade. card: the generator's; a machine fitted on another one's losses is said."""
    warnings = (*loss.warnings, *fitted_on_others(grading, card))
    return replace(loss, genant=grading.grade(loss.rhlv, loss.loss_map), warnings=warnings)


def fitted_on_others(grading: SvmGrading, card: Mapping[str, Any]) -> list[str]:
    """A warning where a machine was fitted on the losses of other weights than those of the card."""
    fitted_on = grading.card.get("model", {})
    if fitted_on.get("sha256") == card["sha256"]:
        return []
    return [
        f"the grading was fitted on height losses of other weights ({fitted_on.get('name', 'unknown')} "
        f"{str(fitted_on.get('sha256'))[:8]}), so its grade may be off"
    ]


def save_grading(grading: SvmGrading, path: Path) -> None:
    content = {"schema": SCHEMA, "features": FEATURES, **asdict(grading)}
    content |= {name: np.asarray(content[name]).tolist() for name in NUMBERS}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def load_grading(where: Path = SHIPPED) -> SvmGrading:
    """The grading in a file, by default the one that ships with the package.

    Raises HealthiVertError if the file cannot be read, is no grading, or is one of other features.
    """
    remedy = "give a file that `healthivert fit-grading` wrote"
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise HealthiVertError(f"{where}: cannot be read ({error.strerror}); {remedy}") from None
    except ValueError:
        raise HealthiVertError(f"{where}: this is not JSON; {remedy}") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise HealthiVertError(f"{where}: this is not a fitted grading; {remedy}")
    if tuple(content.get("features", ())) != FEATURES:
        raise HealthiVertError(f"{where}: it was fitted on other features than this version measures; fit it again")
    try:
        grading = _from_content(content)
    except (KeyError, TypeError, ValueError):
        raise HealthiVertError(f"{where}: the fitted grading is damaged; fit it again") from None
    return grading


def _from_content(content: Mapping[str, Any]) -> SvmGrading:
    """Raises KeyError, TypeError or ValueError where something is missing or does not fit together."""
    numbers = {name: np.asarray(content[name], float) for name in NUMBERS}
    counts = tuple(int(n) for n in content["counts"])
    vectors = (sum(counts), len(FEATURES))
    shapes = {
        "gamma": (),
        "mean": vectors[1:],
        "scale": vectors[1:],
        "vectors": vectors,
        "coefficients": (GRADES - 1, vectors[0]),
        "intercepts": (GRADES * (GRADES - 1) // 2,),
    }
    if len(counts) != GRADES or content["kernel"] not in ("linear", "rbf"):
        raise ValueError("kernel or counts")
    for name, shape in shapes.items():
        if numbers[name].shape != shape or not np.isfinite(numbers[name]).all():
            raise ValueError(name)
    gamma = float(numbers.pop("gamma"))
    return SvmGrading(kernel=content["kernel"], gamma=gamma, counts=counts, card=dict(content["card"]), **numbers)
