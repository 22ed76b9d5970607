"""The manifest of a cohort: a CSV file with one scan a row.

Columns: ct and seg (paths, relative ones from the manifest's folder), vertebra (levels separated by spaces or
semicolons; empty: all suspicious ones) and id (the name of the case's folder; empty or absent: the row's number).
Whatever is wrong with the file itself is said with its row before any work begins; scans that turn out to be unusable
are the business of cohort.py.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from healthivert.errors import HealthiVertError

NEEDED, OPTIONAL = ("ct", "seg"), ("vertebra", "id")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NO_ID = {"cohort.csv", "cohort.json"}  # the names that the cohort's own files have


@dataclass(frozen=True)
class CohortCase:
    """One row. levels: as the user wrote them; none: all suspicious ones."""

    name: str
    ct: Path
    seg: Path
    levels: tuple[str, ...]


def read_manifest(path: Path) -> list[CohortCase]:
    """All rows. Raises HealthiVertError, naming the row, if the file cannot be understood."""
    rows = _rows(path)
    header = [name.strip().lower() for name in rows[0][1]]
    for name in NEEDED:
        if name not in header:
            raise HealthiVertError(f"{path}: row 1 has no column '{name}'; the columns are ct, seg, vertebra, id")
    strange = next((name for name in header if name not in (*NEEDED, *OPTIONAL) or header.count(name) > 1), None)
    if strange is not None:
        raise HealthiVertError(
            f"{path}: row 1 has the column '{strange}' twice, or it is not known; the columns are ct, seg, vertebra, id"
        )
    cases: dict[str, CohortCase] = {}
    rows_of: dict[str, int] = {}
    for number, fields in rows[1:]:
        case = _case(path, number, header, fields)
        key = case.name.lower()  # some file systems do not tell A from a
        if key in cases:
            raise HealthiVertError(
                f"{path}: row {number} has the id '{case.name}' of row {rows_of[key]}; give every row an id of its own"
            )
        cases[key], rows_of[key] = case, number
    if not cases:
        raise HealthiVertError(f"{path}: there is no row below the column names; add a scan")
    return list(cases.values())


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """(Line number, fields) of each row that is not empty, the column names first."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise HealthiVertError(f"{path}: cannot be read ({error.strerror}); give a CSV file") from None
    except UnicodeDecodeError:
        raise HealthiVertError(f"{path}: this is not UTF-8 text; save the table as CSV, UTF-8") from None
    first = text.splitlines()[0] if text.strip() else ""
    reader = csv.reader(io.StringIO(text), delimiter=";" if ";" in first and "," not in first else ",", strict=True)
    rows = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise HealthiVertError(f"{path}: row {reader.line_num} is not CSV ({error}); correct it") from None
    if not rows:
        raise HealthiVertError(f"{path}: the file is empty; its columns are ct, seg, vertebra, id")
    return rows


def _case(path: Path, number: int, header: list[str], fields: list[str]) -> CohortCase:
    if len(fields) > len(header):
        raise HealthiVertError(
            f"{path}: row {number} has {len(fields)} fields for {len(header)} columns; put quotes around a comma"
        )
    row = {name: field.strip() for name, field in zip(header, fields, strict=False)}
    for name in NEEDED:
        if not row.get(name):
            raise HealthiVertError(f"{path}: row {number} has no {name}; give the path of a file or folder")
    name = row.get("id") or f"row_{number:04d}"
    if not ID.fullmatch(name) or name.lower() in NO_ID:
        raise HealthiVertError(
            f"{path}: row {number} has the id '{name}', which cannot name a folder; use letters, digits, . _ and -"
        )
    levels = tuple(dict.fromkeys(level for level in re.split(r"[;\s]+", row.get("vertebra", "")) if level))
    return CohortCase(name, path.parent / row["ct"], path.parent / row["seg"], levels)
