"""Fractured levels of generated spines regrown and held against their healthy twins, whose heights are known exactly.

In: the folders that `healthivert phantom --fractured` writes, and a generator. Out: rows of metrics per vertebra, and
the agreement of height loss and Genant grade with the truth. For each fractured level one spared level of the same
spine is regrown as well, so that grade 0 is put to the test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from healthivert.agreement import (
    bootstrap_interval,
    confusion_matrix,
    intraclass_correlation,
    limits_of_agreement,
    macro_f1,
    resampling_units,
    weighted_kappa,
)
from healthivert.attention import AttentionSource, suspicion_beside
from healthivert.case import load_case
from healthivert.errors import HealthiVertError
from healthivert.evaluate import (
    Regrown,
    beside_the_prior,
    height_metrics,
    mean_interval,
    regrow_level,
    two_neighbours,
)
from healthivert.grade import GRADES, genant_grade
from healthivert.healthy_twin import in_columns_of
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights, height_loss_map, relative_height_loss
from healthivert.phantom import Pose
from healthivert.phantom.truth import POSES
from healthivert.pipeline import GenerateSamples, loss_interval, prepare
from healthivert.svm_grading import SvmGrading, grading_features
from healthivert.types import HEIGHT_KEYS, THIRDS, Heights, SpineCase

SCAN = ("ct.nii.gz", "seg.nii.gz")
TWIN = ("healthy_ct.nii.gz", "healthy_seg.nii.gz")
TRUTH_KEYS = {"level", "fractured", "shape", "heights_mm", "healthy_heights_mm", "rhlv", "genant"}
GRADING_STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "kappa_linear": weighted_kappa,
    "kappa_quadratic": lambda confusion: weighted_kappa(confusion, "quadratic"),
    "macro_f1": macro_f1,
    "accuracy": lambda confusion: float(np.trace(confusion) / confusion.sum()),
}


class PhantomScan(NamedTuple):
    """A generated scan, what was found in it, what is true of it (level -> row of truth.json), its healthy twin."""

    case: SpineCase
    analysis: SpineAnalysis
    truth: Mapping[str, Mapping[str, Any]]
    twin: tuple[SpineCase, SpineAnalysis] | None = None


def phantom_folders(folder: Path) -> list[Path]:
    """The cases in a folder of phantoms, by name. Raises HealthiVertError if there is none or one lacks a file."""
    cases = sorted(path.parent for path in folder.glob("*/truth.json"))
    if not cases:
        raise HealthiVertError(
            f"{folder}: no phantom is in it; make some with `healthivert phantom --fractured --out {folder}`"
        )
    for case in cases:
        missing = next((name for name in SCAN if not (case / name).is_file()), None)
        if missing:
            raise HealthiVertError(f"{case}: {missing} is missing; make the phantom again")
    return cases


def read_truth(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Level -> its row of truth.json."""
    path = folder / "truth.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["levels"]
        if not all(set(row) >= TRUTH_KEYS for row in rows):
            raise KeyError
        for row in rows:
            _poses(row)
    except (ValueError, KeyError, TypeError):
        raise HealthiVertError(f"{path}: this is no phantom's truth; make the phantom again") from None
    return {row["level"]: row for row in rows}


def compared_levels(analysis: SpineAnalysis, truth: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The complete fractured levels, and as many spared ones spread evenly over the spine."""
    usable = [level for level, body in analysis.bodies.items() if body.complete and level in truth]
    fractured = [level for level in usable if truth[level]["fractured"]]
    spared = [level for level in usable if not truth[level]["fractured"]]
    count = min(len(fractured) or 1, len(spared))
    places = np.unique(np.round((np.arange(count) + 0.5) * len(spared) / max(count, 1) - 0.5).astype(int))
    return [level for level in usable if level in fractured or level in [spared[i] for i in places]]


def evaluate_phantom(
    folder: Path,
    generate: GenerateSamples,
    grading: SvmGrading | None,
    pictures: bool,
    progress: Callable[[float, str], None],
    attend: AttentionSource = suspicion_beside,
) -> list[dict]:
    """The rows of one phantom on disk. pictures: SSIM, PSNR and Dice against its twin's scan, if that is there."""
    case = load_case(folder / SCAN[0], folder / SCAN[1])
    scan = PhantomScan(case, analyse(case), read_truth(folder), _twin(folder) if pictures else None)
    levels = compared_levels(scan.analysis, scan.truth)
    rows = []
    for number, level in enumerate(levels):
        progress(number / len(levels), f"{folder.name} {level}")
        rows.append({"case": folder.name, **compare_with_truth(scan, level, generate, grading, attend)})
    return rows


def compare_with_truth(
    scan: PhantomScan,
    level: str,
    generate: GenerateSamples,
    grading: SvmGrading | None,
    attend: AttentionSource = suspicion_beside,
) -> dict[str, Any]:
    """One row: what `evaluate` measures, with the healthy twin as truth, and loss and grade.

    True and found rhlv are signed fractions per third and mean, beside whether the interval of nine in ten holds the
    true one; grades are by thresholds and, with a grading, by svm; features are what a grading is fitted on.
    """
    truth, body = scan.truth[level], scan.analysis.bodies[level]
    regrown = regrow_level(scan.case, scan.analysis, level, generate, attend)
    original = body_heights(body)
    loss = relative_height_loss(original, regrown.heights)
    loss_map = height_loss_map(body.height_map, regrown.height_map, body.column_mm)
    interval = loss_interval(loss, None, regrown.prepared.reference_spread)
    beside = two_neighbours(scan.analysis, level)
    return {
        "vertebra": level,
        "fractured": bool(truth["fractured"]),
        "shape": truth["shape"],
        **_pictures(scan, level, regrown),
        **height_metrics(regrown, Heights(**truth["healthy_heights_mm"]), beside),
        "original_error_mm": original.mean - truth["heights_mm"]["mean"],
        **{f"rhlv_{key}": getattr(loss, key) for key in HEIGHT_KEYS},
        **{f"rhlv_{key}_true": truth["rhlv"][key] for key in HEIGHT_KEYS},
        **{f"interval_{key}_holds": low <= truth["rhlv"][key] <= high for key, (low, high) in interval.items()},
        "rhlv_mean_reference": relative_height_loss(original, regrown.prepared.reference).mean,
        "grade_true": int(truth["genant"]),
        "grade_thresholds": genant_grade(loss).grade,
        **({"grade_svm": grading.grade(loss, loss_map).grade} if grading else {}),
        "features": grading_features(loss, loss_map).tolist(),
    }


def _pictures(scan: PhantomScan, level: str, regrown: Regrown) -> dict[str, float]:
    """The regrown vertebra put into the twin's scan, against the twin's own, and the neighbours alone beside it; empty
    without a complete one."""
    if scan.twin is None or level not in scan.twin[1].bodies or not scan.twin[1].bodies[level].complete:
        return {}
    case, twin = scan.twin
    poses = _poses(scan.truth[level])
    if poses:
        twin = in_columns_of(scan.analysis, twin, level, *poses)
    return beside_the_prior(prepare(case, twin, level), regrown.vertebra, regrown.prepared.conditioning)


def _poses(row: Mapping[str, Any]) -> tuple[Pose, ...]:
    """In the scan and in its twin; none if truth.json does not tell them, as it did not at first."""
    return tuple(Pose.from_dict(row[name]) for name in POSES) if all(name in row for name in POSES) else ()


def _twin(folder: Path) -> tuple[SpineCase, SpineAnalysis] | None:
    if not all((folder / name).is_file() for name in TWIN):
        return None
    case = load_case(folder / TWIN[0], folder / TWIN[1])
    return case, analyse(case)


def loss_agreement(rows: Sequence[Mapping], seed: int) -> dict[str, Any]:
    """Height loss against the truth, in points (percent of the healthy height): of the mean body height, of the worst
    third, by which is graded, and the former with the neighbours' reference in the model's place. Of fractured levels,
    of spared ones and of all."""
    fractured, spared = ([row for row in rows if row["fractured"] is yes] for yes in (True, False))
    parts = (("fractured", fractured), ("spared", spared), ("all", rows))
    return {name: _loss_errors(part, seed) for name, part in parts if part}


def _loss_errors(rows: Sequence[Mapping], seed: int) -> dict[str, Any]:
    true = np.array([row["rhlv_mean_true"] for row in rows])
    found = np.array([row["rhlv_mean"] for row in rows])
    error = 100 * (found - true)
    reference = 100 * np.array([row["rhlv_mean_reference"] - row["rhlv_mean_true"] for row in rows])
    limits = limits_of_agreement(error)
    worst = 100 * np.array([_worst_loss(row, "") - _worst_loss(row, "_true") for row in rows])
    worst_limits = limits_of_agreement(worst)
    units, _ = resampling_units([row["case"] for row in rows])
    return {
        "count": len(rows),
        "mean_absolute_error": float(np.abs(error).mean()),
        "interval": mean_interval([{"error": abs(value)} for value in error], "error", units, seed),
        "mean_absolute_error_reference": float(np.abs(reference).mean()),
        "bias": limits.bias,
        "limits": [limits.low, limits.high],
        "worst_third": {
            "mean_absolute_error": float(np.abs(worst).mean()),
            "bias": worst_limits.bias,
            "limits": [worst_limits.low, worst_limits.high],
        },
        "limits_reference": [limits_of_agreement(reference).low, limits_of_agreement(reference).high],
        "icc": intraclass_correlation(np.stack([true, found], axis=1)),
        "interval_90_holds": {
            key: float(np.mean([row[f"interval_{key}_holds"] for row in rows])) for key in HEIGHT_KEYS
        },
        "original_height_mae_mm": float(np.mean([abs(row["original_error_mm"]) for row in rows])),
    }


def _worst_loss(row: Mapping, ending: str) -> float:
    return max(row[f"rhlv_{third}{ending}"] for third in THIRDS)


def grade_agreement(true: ArrayLike, found: ArrayLike, cases: Sequence[Hashable], seed: int) -> dict[str, Any]:
    """Weighted kappas, macro-F1 and accuracy of found grades, each with its bootstrap interval, and the confusion."""
    grades = np.array([true, found], int)
    units, unit = resampling_units(cases)

    def drawn(statistic: Callable[[np.ndarray], float]) -> Callable[[np.ndarray], float]:
        return lambda rows: statistic(confusion_matrix(grades[0, rows], grades[1, rows], GRADES))

    confusion = confusion_matrix(true, found, GRADES)
    return {
        "count": grades.shape[1],
        "bootstrap_unit": unit,
        "confusion": confusion.tolist(),
        **{name: statistic(confusion) for name, statistic in GRADING_STATISTICS.items()},
        "interval": {
            name: bootstrap_interval(units, drawn(statistic), seed) for name, statistic in GRADING_STATISTICS.items()
        },
    }


def summarise_phantoms(rows: Sequence[Mapping], seed: int) -> dict[str, Any]:
    """{"rhlv": loss_agreement, "grading": {"thresholds": grade_agreement, "svm": the same if it was graded so}}."""
    cases = [row["case"] for row in rows]
    true = [row["grade_true"] for row in rows]
    ways = [way for way in ("thresholds", "svm") if all(f"grade_{way}" in row for row in rows)]
    return {
        "rhlv": loss_agreement(rows, seed),
        "grading": {way: grade_agreement(true, [row[f"grade_{way}"] for row in rows], cases, seed) for way in ways},
    }
