"""People of whom only a mask is at hand: `python Testing/bench/unseen_masks.py MASKS GRADES.json`.

Prints the figures of docs/trials.md, "Unseen people". MASKS: a folder with SUBJECT/seg.nii.gz in it. GRADES.json: the
readers' grades, {"any set": {"sub-SUBJECT_20": 0, ...}}, as vertebra_data.json of HealthiVert-GAN lists them (Loeffler
et al. 2020, doi:10.1148/ryai.2020190138). A subject without grades tells only how well the heights of what looks normal
are known. How hollow a body is, is asked of the graded scans of HEALTHIVERT_VERSE (verse_scans), too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rows import interval_row
from sklearn.metrics import roc_auc_score
from verse_scans import GradedLevel, graded_levels, rows_of_graded, whole_levels, within_interval

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.case import load_labels
from healthivert.measure import hollowness, relative_height_loss
from healthivert.types import HEIGHT_KEYS, THIRDS, Heights, LevelSummary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("masks", type=Path)
    parser.add_argument("grades", type=Path)
    arguments = parser.parse_args()
    grades = {name: grade for one in json.loads(arguments.grades.read_text()).values() for name, grade in one.items()}
    graded, normal, names = [], [], set()
    subjects = sorted(arguments.masks.glob("*/seg.nii.gz"))
    for mask in subjects:
        for level, found, body in whole_levels(load_labels(mask)):
            if found.neighbour_reference is None:  # of the neck
                continue
            grade = grades.get(f"sub-{mask.parent.name}_{LEVEL_NUMBER[level]}")
            if grade is not None:
                graded.append(GradedLevel(grade, found, body))
                names.add(mask.parent.name)
            if found.genant.grade == 0:
                normal.append(found)
    print(f"{len(subjects)} masks; graded: {', '.join(sorted(names))}")
    for row in rows_of_graded(graded):
        print(row)
    print(f"of their grade 0: RHDR {rhdr([level.found for level in graded if level.grade == 0]):.1f} %")
    held = dict(zip(HEIGHT_KEYS, np.mean([within_interval(found) for found in normal], axis=0), strict=True))
    print(interval_row(f"{len(normal)} levels found normal: the interval of 90 % holds the height", held))
    print(f"of these: RHDR {rhdr(normal):.1f} %")
    for line in lines_of_hollowness([*graded_levels(), *graded]):
        print(line)


def lines_of_hollowness(levels: Sequence[GradedLevel]) -> Iterator[str]:
    """How well what a body shows is told from what the readers call healthy, by its loss and by its own form."""
    grades = np.array([level.grade for level in levels])
    has_grade = np.array([level.found.genant.grade > 0 for level in levels])
    worst = np.array([max(getattr(loss_of(level.found), third) for third in THIRDS) for level in levels])
    own = np.array([hollowness(level.body) for level in levels])
    usual = np.array([hollow(level.found.neighbour_reference) for level in levels])
    sums = worst + own
    counts = [int((grades == grade).sum()) for grade in range(4)]
    yield f"{counts} levels of the readers' grades 0 to 3, these and those of the bench"
    for name, value in (
        ("worst third", worst),
        ("hollow", own),
        ("hollow beyond the others", own - usual),
        ("sum", sums),
    ):
        yield f"{name}: area under the curve {roc_auc_score(grades > 0, value):.3f}"
    for name, value, limit in (("hollow", own, 0.2), ("hollow", own, 0.18), ("sum", sums, 0.22), ("sum", sums, 0.24)):
        found = has_grade | (value >= limit)
        more = [int((found & ~has_grade)[grades == grade].sum()) for grade in range(4)]
        yield f"{name} {limit}: finds {more} more of each grade than the thresholds"


def loss_of(found: LevelSummary) -> Heights:
    return relative_height_loss(found.heights, found.neighbour_reference)


def hollow(heights: Heights) -> float:
    return 1 - heights.middle / max(heights.anterior, heights.posterior)


def rhdr(levels: Sequence[LevelSummary]) -> float:
    """Mean of the relative errors of the reference's mean height, in percent."""
    errors = [abs(found.neighbour_reference.mean / found.heights.mean - 1) for found in levels if found.comparable]
    return 100 * float(np.mean(errors))


if __name__ == "__main__":
    main()
