"""Training samples of real scans: every healthy, whole level is hidden in turn, and the scan itself is the truth.

In: a folder of scans (scan_folders). Out: OUT/SUBJECT_[SCAN-]LEVEL.npz, and OUT/levels.csv, which says of every level
whether it was used or why not. Scans that levels.csv names are done: an interrupted call goes on where it stopped. A
scan that cannot be used does not end the call, and is tried again by the next one, as is one whose mask has changed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

from healthivert.case import load_case
from healthivert.errors import HealthiVertError, complaint
from healthivert.evaluate import evaluable_levels
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.progress import WARNING
from healthivert.training.sample_folder import filling
from healthivert.training.samples import sample_of_scan, save_sample
from healthivert.training.scan_folders import Scan, find_scans, unpaired_files
from healthivert.training.worker_processes import results_of
from healthivert.whole_file import write_whole

LEVELS_FILE = "levels.csv"
HEADER = ("scan", "level", "outcome", "ct_bytes", "mask", "warnings")
USED = "used"
FRACTURED, CUT, ALONE, REFUSED = "looks fractured", "cut by the scan's border", "no whole level beside it", "refused"
CERVICAL = "cervical heights are not known"
FEW = 5  # files that a warning names


@dataclass(frozen=True)
class LevelOutcome:
    """level: "" for a scan that could not be read. outcome: USED, or why not. ct_bytes: the size of the scan's CT, by
    which two scans of one name are told from each other, wherever they lie. mask: a digest of its mask. warnings: what
    is odd about the scan."""

    scan: str
    level: str
    outcome: str
    ct_bytes: str
    mask: str
    warnings: str = ""


def samples_of_scans(folder: Path, out: Path, workers: int, progress: Callable[..., None]) -> Counter[str]:
    """Write the samples of all scans in folder into out; returns how many levels in out had which outcome.

    Raises HealthiVertError if the folder holds no scan, or no level of them can be used; if out has the samples of
    another scan of the same name; and if another call makes samples in out, or it cannot be used or is full.
    """
    scans = find_scans(folder)
    if alone := unpaired_files(folder, scans):
        named = ", ".join(str(path) for path in alone[:FEW]) + (", ..." if len(alone) > FEW else "")
        progress(WARNING, 0.0, f"left out: {len(alone)} without the mask or CT that belongs to it ({named})")
    with filling(out):
        outcomes = _still_there(scans, out, progress)
        done = {row.scan for row in outcomes}
        left = [scan for scan in scans if scan.name not in done]
        with closing(results_of(partial(scan_levels, out=out), left, workers)) as results:
            for number, found in enumerate(results, start=1):
                outcomes += found
                _write_outcomes(out, outcomes)
                used = sum(row.outcome == USED for row in found)
                if used and found[0].warnings:
                    progress(WARNING, number / len(left), f"{found[0].scan}: {found[0].warnings}")
                progress("samples", number / len(left), f"{found[0].scan}: {used} of {len(found)} levels")
    counts = Counter(row.outcome if row.level else REFUSED for row in outcomes)
    if not counts[USED]:
        raise HealthiVertError(f"{folder}: no level can be trained on; {out / LEVELS_FILE} says why, level by level")
    return counts


def _still_there(scans: list[Scan], out: Path, tell: Callable[..., None]) -> list[LevelOutcome]:
    """What an earlier call found in scans that need not be read again: not of those that could not be read, which may
    have been mended, nor of those of which a sample is gone, or whose mask has changed: their samples are removed."""
    outcomes = read_outcomes(out)
    sizes = {row.scan: row.ct_bytes for row in outcomes if row.level}
    for scan in scans:
        if sizes.get(scan.name, _size(scan)) != _size(scan):
            raise complaint(
                scan.ct, f"{out} has samples of another scan named {scan.name}", "rename it, or take another --out"
            )
    names = {scan.name: scan for scan in scans}
    masks = {row.scan: row.mask for row in outcomes if row.level}
    changed = [name for name, mask in masks.items() if name in names and mask != _digest(names[name].mask)]
    for name in changed:
        tell(WARNING, 0.0, f"the mask of {name} has changed: its samples are made again")
        for row in outcomes:
            if row.scan == name and row.outcome == USED:
                _shard(out, names[name], row.level).unlink(missing_ok=True)
    again = {row.scan for row in outcomes if not row.level} | set(changed)
    again |= {
        row.scan
        for row in outcomes
        if row.outcome == USED and row.scan in names and not _shard(out, names[row.scan], row.level).exists()
    }
    return [row for row in outcomes if row.scan not in again]


def scan_levels(scan: Scan, out: Path) -> list[LevelOutcome]:
    """Write the samples of one scan; what became of each of its levels."""
    try:
        case = load_case(scan.ct, scan.mask)
        analysis = analyse(case)
    except HealthiVertError as error:
        return [LevelOutcome(scan.name, "", str(error), _size(scan), "")]
    outcomes, mask, warnings = [], _digest(scan.mask), "; ".join(analysis.warnings)
    for level in case.levels:
        outcome = why_not(analysis, level)
        if outcome == USED:
            try:
                save_sample(sample_of_scan(case, analysis, level), _shard(out, scan, level))
            except HealthiVertError as error:
                outcome = str(error)
        outcomes.append(LevelOutcome(scan.name, level, outcome, _size(scan), mask, warnings))
    return outcomes


def why_not(analysis: SpineAnalysis, level: str) -> str:
    """USED for a level that can be hidden and looked up, or the reason against it."""
    if level not in analysis.bodies:
        return "no body was found in its label"
    if not analysis.bodies[level].complete:
        return CUT
    if level in evaluable_levels(analysis):
        return USED
    if level.startswith("C"):
        return CERVICAL
    return ALONE if analysis.levels[level].neighbour_reference is None else FRACTURED


def _shard(out: Path, scan: Scan, level: str) -> Path:
    return out / f"{shard_name(scan, level)}.npz"


def _size(scan: Scan) -> str:
    return str(scan.ct.stat().st_size)


def _digest(mask: Path) -> str:
    """Of what a mask's file holds, or each of its folder's."""
    digest = hashlib.sha256()
    for file in sorted(path for path in mask.rglob("*") if path.is_file()) if mask.is_dir() else [mask]:
        digest.update(file.name.encode(errors="surrogateescape") + file.read_bytes())
    return digest.hexdigest()[:16]


def shard_name(scan: Scan, level: str) -> str:
    """SUBJECT_LEVEL or SUBJECT_SCAN-LEVEL: the trainer takes what stands before the last underscore for one person,
    whose scans must not be trained and validated on."""
    rest = scan.name.removeprefix(scan.subject).strip("_").replace("_", "-")
    return f"{scan.subject}_{f'{rest}-' if rest else ''}{level}"


def read_outcomes(out: Path) -> list[LevelOutcome]:
    path = out / LEVELS_FILE
    if not path.exists():
        return []
    rows = list(csv.reader(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()))
    columns = len(rows[0]) if rows else 0
    known = columns >= HEADER.index("warnings") and tuple(rows[0]) == HEADER[:columns]  # earlier versions had none
    if not known or any(len(row) != columns for row in rows):
        raise HealthiVertError(f"{path}: is not the list of levels that this command writes; choose another --out")
    return [LevelOutcome(*row) for row in rows[1:]]


def _write_outcomes(out: Path, outcomes: list[LevelOutcome]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(astuple(row) for row in outcomes)
    write_whole(out / LEVELS_FILE, text.getvalue().encode(errors="surrogateescape"))
