"""Real scans of VerSe 2019 whose vertebrae readers have graded: levels hidden and regrown, our grades beside theirs.

The scans are not in this repository (CC BY-SA 4.0, https://osf.io/nqjyw). They are looked for in HEALTHIVERT_VERSE
(default ../verse), as SUBJECT_ct.nii.gz beside SUBJECT_seg-vert_msk.nii.gz; a mask without its CT counts for the
grades only. The figures in docs/results.md are of copies reduced to 1 mm in the sagittal plane and slices of 1 to 3 mm,
cropped closely around the spine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from as_published import published_row
from rows import Row, Subject, confusion_text, interval_row, regrown_row

from healthivert.agreement import confusion_matrix, weighted_kappa
from healthivert.body import VertebralBody
from healthivert.case import load_case, load_labels
from healthivert.evaluate import evaluate_level
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import hollowness
from healthivert.pipeline import NINE_OF_TEN
from healthivert.training.scan_folders import VERSE_MASK, find_scans
from healthivert.types import HEIGHT_KEYS, LevelSummary, SpineCase

VERSE = Path(os.environ.get("HEALTHIVERT_VERSE", Path(__file__).resolve().parents[3] / "verse"))
MOST = 1  # of the readers' grades at which a level is hidden as if it were healthy

# Genant grades by VerSe's readers (Loeffler et al. 2020, doi:10.1148/ryai.2020190138), as vertebra_data.json of
# HealthiVert-GAN lists them; all other vertebrae of these scans are 0.
FRACTURED = {
    "sub-verse004": {"T9": 2, "T10": 2, "L1": 3},
    "sub-verse005": {"L1": 1, "L2": 1, "L3": 1, "L4": 1},
    "sub-verse006": {},
    "sub-verse007": {"T12": 2, "L1": 2},
    "sub-verse008": {"L2": 2},
    "sub-verse009": {"T5": 3, "T7": 1, "T8": 1, "L1": 1, "L2": 1, "L3": 3, "L4": 2, "L5": 2},
    "sub-verse010": {"L1": 3},
    "sub-verse012": {"L1": 3, "L3": 1},
    "sub-verse014": {},
}


class GradedScan(NamedTuple):
    """healthy: its complete levels that are hidden as if they were."""

    subject: str
    case: SpineCase
    analysis: SpineAnalysis
    healthy: list[str]


class GradedLevel(NamedTuple):
    """grade: the readers'."""

    grade: int
    found: LevelSummary
    body: VertebralBody


def graded_scans() -> Iterator[GradedScan]:
    for scan in find_scans(VERSE):
        if scan.subject not in FRACTURED:
            continue
        case = load_case(scan.ct, scan.mask)
        analysis = analyse(case)
        healthy = [level for level in analysis.levels if FRACTURED[scan.subject].get(level, 0) <= MOST]
        yield GradedScan(scan.subject, case, analysis, [level for level in healthy if analysis.bodies[level].complete])


def graded_masks() -> Iterator[tuple[str, SpineCase]]:
    """Every graded subject and its segmentation, with its CT or without."""
    for mask in sorted(VERSE.rglob(f"*{VERSE_MASK}.nii.gz")):
        subject = mask.name.split("_")[0]
        if subject in FRACTURED:
            yield subject, load_labels(mask)


def levels_of_scans(subject: Subject) -> Iterator[Row]:
    """A row for each graded scan with a CT, and two for all of their levels together."""
    scans = list(graded_scans())
    together: list[dict] = []
    for name, case, analysis, healthy in scans:
        rows = [evaluate_level(case, analysis, level, subject.generate) for level in healthy]
        yield regrown_row(f"{name}, real CT: {', '.join(healthy)} hidden and regrown", rows)
        together.extend(rows)
    yield regrown_row(f"these {len(together)} levels together", together)
    levels = ((scan.case, scan.analysis, level) for scan in scans for level in scan.healthy)
    yield published_row(subject, "real CT of VerSe", levels)


def held_against_readers(_: Subject) -> Iterator[Row]:
    """What the other levels' heights alone say, which every model shares."""
    return rows_of_graded(graded_levels())


def graded_levels() -> Iterator[GradedLevel]:
    """Every whole level of the graded masks."""
    for subject, labels in graded_masks():
        for level, found, body in whole_levels(labels):
            yield GradedLevel(FRACTURED[subject].get(level, 0), found, body)


def whole_levels(labels: SpineCase) -> Iterator[tuple[str, LevelSummary, VertebralBody]]:
    analysis = analyse(labels)
    for level, found in analysis.levels.items():
        if analysis.bodies[level].complete:
            yield level, found, analysis.bodies[level]


def rows_of_graded(levels: Iterable[GradedLevel]) -> Iterator[Row]:
    """Our grades against the readers', how hollow the bodies of each grade are, and how often the height of a healthy
    level lies where nine of ten should."""
    readers, ours, within, hollow = [], [], [], []
    for grade, found, body in levels:
        readers.append(grade)
        ours.append(found.genant.grade)
        hollow.append(hollowness(body))
        if grade == 0:
            within.append(within_interval(found))
    counts = confusion_matrix(readers, ours, 4)
    kappas = ", ".join(f"{kind} {weighted_kappa(counts, kind):.2f}" for kind in ("linear", "quadratic"))
    seen = f"{counts[2:, 1:].sum()} of {counts[2:].sum()} of their grades 2 and 3 found as fractures"
    wrong = f"{counts[0, 1:].sum()} of {counts[0].sum()} of their grade 0 called fractures"
    what = f"{len(readers)} levels graded by VerSe's readers: ours by thresholds (a row for each of their grades)"
    yield Row(what, "", f"{confusion_text(counts)}; kappa {kappas}; {seen}, {wrong}", None)
    by_grade = ((grade, np.array(hollow)[np.array(readers) == grade]) for grade in range(4))
    text = "; ".join(f"{grade}: {h.mean():.0%} ({h.min():.0%} to {h.max():.0%})" for grade, h in by_grade if h.size)
    what = "the same by the readers' grade: by how much the middle of the body itself is lower than its higher rim"
    yield Row(what, "", text, None)
    held = dict(zip(HEIGHT_KEYS, np.mean(within, axis=0), strict=True))
    yield interval_row(f"{len(within)} of them, of the readers' grade 0: the interval of 90 % holds the height", held)


def within_interval(level: LevelSummary) -> list[bool]:
    """Of each of HEIGHT_KEYS, whether pipeline.loss_interval holds that nothing is lost."""
    expected, spread = level.neighbour_reference, level.reference_spread
    if expected is None or spread is None:
        raise ValueError(f"{level.level} is the only level of its scan")
    return [
        abs(getattr(expected, key) / getattr(level.heights, key) - 1) <= NINE_OF_TEN * getattr(spread, key)
        for key in HEIGHT_KEYS
    ]
