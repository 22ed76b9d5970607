"""Many scans, one folder of results: `healthivert cohort`.

In: the cases of a manifest. Out: OUT/ID/LEVEL/ with the results of `run`, OUT/ID/case.json with what was done and from
what, OUT/cohort.csv and OUT/cohort.json with one row a vertebra. A level that was done already from the same files with
the same options is not done again. A scan that cannot be used becomes a row with its error; it stops no other.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from healthivert import __version__
from healthivert.anatomy import LEVELS
from healthivert.cohort_manifest import CohortCase
from healthivert.errors import HealthiVertError
from healthivert.grade import grade_range
from healthivert.types import HEIGHT_KEYS, Report

STATE = "case.json"
ERROR = "error.txt"
FILES = ("cohort.csv", "cohort.json")
DONE, NOTHING, UNCOMPARED, FAILED, BROKEN = "done", "nothing suspicious", "not comparable", "failed", "bug"
ENDED = (DONE, NOTHING, UNCOMPARED)  # doing it again would say the same
STATUSES = (*ENDED, FAILED, BROKEN)
ENDS = ("low", "high")
COLUMNS = (
    *("id", "vertebra", "status", "genant_grade", "shape", "graded_by"),
    *(f"original_{key}_mm" for key in HEIGHT_KEYS),
    *(f"pseudo_healthy_{key}_mm" for key in HEIGHT_KEYS),
    *(f"rhlv_{key}_percent" for key in HEIGHT_KEYS),
    *("rhlv_sd_mean_percent", "warnings", "seconds", "report", "error", "levels_compared"),
    *(f"rhlv_{key}_interval_90_{end}_percent" for key in HEIGHT_KEYS for end in ENDS),
    *(f"genant_grade_90_{end}" for end in ENDS),
)

Row = dict[str, Any]
# (case, its folder, the rows of levels that need not be done) -> its rows; cohort_commands.do_levels is one
Work = Callable[[CohortCase, Path, Mapping[str, Row]], Iterable[Row]]


@dataclass(frozen=True)
class CaseTask:
    """A case that has to be done. source: what its results depend on, as as_source gives it. work: does it."""

    case: CohortCase
    folder: Path
    source: Mapping[str, Any]
    work: Work


def as_source(case: CohortCase, options: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides about what a level's results are: files by size and time, options, version. Ready for JSON."""
    return {
        "ct": file_stamp(case.ct),
        "seg": file_stamp(case.seg),
        "options": dict(options),
        "version": __version__,
    }


def file_stamp(path: Path) -> list[str | int | None]:
    """Path, size and time of a file; of a folder a digest of those of its files. Only the path of what is not there."""
    try:
        if path.is_dir():
            digest = hashlib.sha256()
            for entry in sorted(path.rglob("*")):
                state = entry.stat()
                digest.update(f"{entry.relative_to(path)}:{state.st_size}:{state.st_mtime_ns}\n".encode())
            return [str(path), digest.hexdigest()]
        state = path.stat()
        return [str(path), state.st_size, state.st_mtime_ns]
    except OSError:
        return [str(path), None]


def finished_rows(task: CaseTask) -> list[Row] | None:
    """The rows of a case that was done from this source before; None if it, or a part of it, has to be done.

    Raises HealthiVertError if the case's folder holds what is not its own.
    """
    state = _own_state(task)
    if state is None or state["source"] != task.source or state["levels"] != list(task.case.levels):
        return None
    done = all(row["status"] in ENDED and (row["status"] != DONE or _is_there(row, task)) for row in state["rows"])
    return state["rows"] if done else None


def _is_there(row: Row, task: CaseTask) -> bool:
    return (task.folder.parent / row["report"]).is_file()


def _own_state(task: CaseTask) -> dict[str, Any] | None:
    """What case.json says, None if there is none yet.

    Raises HealthiVertError if somebody else's files are in the folder, with which the results would be mixed, or
    results of another scan, which would be replaced.
    """
    folder = task.folder
    elsewhere = "choose another --out or id"
    state = _read_state(folder)
    if state is None:
        try:
            strange = folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())
        except OSError as error:
            raise HealthiVertError(f"{folder}: cannot be read ({error.strerror}); correct it or {elsewhere}") from None
        if strange:
            raise HealthiVertError(f"{folder}: there are files of something else in it; {elsewhere}")
        return None
    scan, own = ([source[file][0] for file in ("ct", "seg")] for source in (state["source"], task.source))
    if scan != own and (state["made"] or any(row["status"] in ENDED for row in state["rows"])):
        raise HealthiVertError(f"{folder}: there are results of another scan in it ({', '.join(scan)}); {elsewhere}")
    return state


def _read_state(folder: Path) -> dict[str, Any] | None:
    """case.json, None if there is none that this module wrote."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and {"source", "levels", "rows", "made"} <= set(state) else None


def _write_state(
    task: CaseTask, rows: Sequence[Row], made: Mapping[str, Row | None], levels: Sequence[str] | None = None
) -> None:
    """Whole or not at all. made: the levels that have results in the folder, each with its row, or None where they were
    made from another source. levels: what was asked for, once all of it has its rows."""
    unfinished = task.folder / f".{STATE}.partial-{os.getpid()}"
    state = {"source": task.source, "levels": levels, "rows": rows, "made": made}
    unfinished.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, task.folder / STATE)


def do_case(task: CaseTask) -> list[Row]:
    """Do what is missing of one case and keep its rows in its folder. Only an interruption ends it without rows."""
    folder = task.folder
    name = task.case.name
    rows: list[Row] = []
    try:
        made = _claim(task)
        (folder / ERROR).unlink(missing_ok=True)
        for row in _worked(task, {level: row for level, row in made.items() if row}):
            rows.append(row)
            if row["status"] == DONE:
                made[row["vertebra"]] = row
                _write_state(task, rows, made)  # it stays done whatever the next level brings
        if all(row["status"] in ENDED for row in rows):
            for level in [level for level, row in made.items() if row is None]:
                shutil.rmtree(folder / level, ignore_errors=True)  # of another source, and no longer asked for
                del made[level]
        _write_state(task, rows, made, task.case.levels)
    except HealthiVertError as error:
        return [failed_row(name, "", str(error))]
    except OSError as error:
        what = f"{folder}: cannot be written ({error.strerror}); make room or correct it"
        return [*rows, failed_row(name, "", what)]
    return rows


def _worked(task: CaseTask, kept: Mapping[str, Row]) -> Iterator[Row]:
    """The rows of a case as they come; what ends it early is a row, too."""
    name = task.case.name
    try:
        yield from task.work(task.case, task.folder, kept)
    except HealthiVertError as error:
        yield failed_row(name, "", str(error))
    except Exception as error:
        (task.folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8")
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield failed_row(name, "", f"{what}; see {name}/{ERROR}", BROKEN)


def rows_of_lost(task: CaseTask, error: str) -> list[Row]:
    """Of a case whose process was lost: the levels that it had done, and why there are no more."""
    state = _read_state(task.folder)
    done = state["rows"] if state and state["source"] == task.source else []
    return [*(row for row in done if row["status"] == DONE), failed_row(task.case.name, "", error)]


def _claim(task: CaseTask) -> dict[str, Row | None]:
    """Make the case's folder, or take over its own. Returns what _write_state calls made.

    Raises HealthiVertError as _own_state does.
    """
    state = _own_state(task)
    task.folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Row | None] = {}
    if state is not None:
        same = state["source"] == task.source
        for level in LEVELS:  # and no other name that a file may hold: what is no longer asked for is removed
            if level in state["made"]:
                row = state["made"][level]
                made[level] = row if same and row and _is_there(row, task) else None
    _write_state(task, [], made)
    return made


def done_row(name: str, report: Report, report_file: str, levels_compared: int) -> Row:
    """The row of a vertebra that was regrown. report_file: relative to the cohort's folder. levels_compared: of its
    scan, those held against others."""
    loss = report.loss
    return {
        "id": name,
        "vertebra": report.vertebra,
        "status": DONE,
        "genant_grade": loss.genant.grade,
        "shape": loss.genant.shape,
        "graded_by": loss.genant.by,
        **{f"original_{key}_mm": round(value, 3) for key, value in loss.original.as_dict().items()},
        **{f"pseudo_healthy_{key}_mm": round(value, 3) for key, value in loss.pseudo_healthy.as_dict().items()},
        **{f"rhlv_{key}_percent": round(100 * value, 2) for key, value in loss.rhlv.as_dict().items()},
        "rhlv_sd_mean_percent": None if loss.rhlv_sd is None else round(100 * loss.rhlv_sd.mean, 2),
        "warnings": "; ".join(report.warnings),
        "seconds": round(sum(report.timing_s.values()), 2),
        "report": report_file,
        "error": None,
        "levels_compared": levels_compared,
        **{
            f"rhlv_{key}_interval_90_{end}_percent": round(100 * value, 2)
            for key in HEIGHT_KEYS
            for end, value in zip(ENDS, loss.rhlv_interval[key], strict=True)
        },
        **{f"genant_grade_90_{end}": grade for end, grade in zip(ENDS, grade_range(loss), strict=True)},
    }


def failed_row(name: str, level: str, error: str, status: str = FAILED) -> Row:
    return _empty_row(name, level, status) | {"error": error}


def nothing_row(name: str, levels_compared: int, warnings: Iterable[str]) -> Row:
    """The row of a scan in which no level was asked for and none looks suspicious, be it that none could be held
    against another. warnings: what `inspect` says of the scan."""
    status = NOTHING if levels_compared else UNCOMPARED
    return _empty_row(name, "", status) | {"warnings": "; ".join(warnings), "levels_compared": levels_compared}


def _empty_row(name: str, level: str, status: str) -> Row:
    return dict.fromkeys(COLUMNS, None) | {"id": name, "vertebra": level, "status": status}


def write_summary(rows: Sequence[Row], about: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """cohort.csv and cohort.json into folder; returns the content of the latter."""
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    summary = {"counts": counts, **about, "rows": list(rows)}
    (folder / "cohort.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    with (folder / "cohort.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return summary


def row_in_words(rows: Iterable[Row]) -> str:
    """What a progress line says of a case that has just ended."""
    words = []
    for row in rows:
        if row["status"] == DONE:
            loss, grade = row["rhlv_mean_percent"], row["genant_grade"]
            words.append(f"{row['vertebra']} lost {loss:.0f} %, grade {grade}")
        else:
            level, told = row["vertebra"], row["error"] or row["status"]
            words.append(told if level in told else f"{level}: {told}")
    return "; ".join(words)
