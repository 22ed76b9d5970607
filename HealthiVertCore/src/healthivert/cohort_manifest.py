"""The manifest of a cohort: a CSV file with one scan a row.

Columns: ct and seg (paths, relative ones from the manifest's folder), vertebra (levels; empty: all suspicious ones) and
id (the name of the case's folder; empty or absent: one made from the paths, so that it stays when rows come and go).
Whatever is wrong with the file itself is said with its row before any work begins; scans that turn out to be unusable
are the business of cohort.py.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path

from healthivert.anatomy import LEVELS
from healthivert.errors import HealthiVertError
from healthivert.image_files import stem_of

NEEDED, OPTIONAL = ("ct", "seg"), ("vertebra", "id")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
NO_ID = {"cohort.csv", "cohort.json"}  # the names that the cohort's own files have
COLUMNS = "the columns are ct, seg, vertebra, id"


@dataclass(frozen=True)
class CohortCase:
    """One row. ct, seg: absolute, since another process, on a cluster on another machine, works in another folder.
    levels: as the user wrote them; none: all suspicious ones."""

    name: str
    ct: Path
    seg: Path
    levels: tuple[str, ...]


def read_manifest(path: Path) -> list[CohortCase]:
    """All rows. Raises HealthiVertError, naming the row, if the file cannot be understood."""
    (top, names), *rows = _rows(path)
    header = [name.strip().lower() for name in names]
    for name in NEEDED:
        if name not in header:
            raise HealthiVertError(f"{path}: row {top} has no column '{name}'; {COLUMNS}")
    strange = next((name for name in header if name not in (*NEEDED, *OPTIONAL) or header.count(name) > 1), None)
    if strange is not None:
        raise HealthiVertError(f"{path}: row {top} has the column '{strange}' twice, or it is not known; {COLUMNS}")
    cases: dict[str, CohortCase] = {}
    rows_of: dict[str, int] = {}
    for number, fields in rows:
        case = _case(path, number, header, fields)
        key = case.name.lower()  # some file systems do not tell A from a
        if key in cases:
            raise HealthiVertError(
                f"{path}: row {number} has the id '{case.name}' of row {rows_of[key]}; "
                "give every row an id of its own, or write all levels of a scan into one row"
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
    before, nul, _ = text.partition("\0")
    if nul:
        row = before.count("\n") + 1
        raise HealthiVertError(f"{path}: row {row} has a NUL character; save the table as CSV, UTF-8")
    text = re.sub(r'\A"?sep=."?$', "", text, flags=re.IGNORECASE | re.MULTILINE)  # Excel's; the next row shows it, too
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True)
    rows = []
    try:
        for fields in reader:
            while fields and not fields[-1].strip():
                fields.pop()  # a spreadsheet's columns that hold nothing
            if fields:
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise HealthiVertError(f"{path}: row {reader.line_num} is not CSV ({error}); correct it") from None
    if not rows:
        raise HealthiVertError(f"{path}: the file is empty; {COLUMNS}")
    return rows


def _case(path: Path, number: int, header: list[str], fields: list[str]) -> CohortCase:
    if len(fields) > len(header):
        raise HealthiVertError(
            f"{path}: row {number} has {len(fields)} fields for {len(header)} columns; separate levels by spaces, and "
            "put quotes around a path that has a comma in it"
        )
    row = {name: field.strip() for name, field in zip(header, fields, strict=False)}
    for name in NEEDED:
        if not row.get(name):
            raise HealthiVertError(f"{path}: row {number} has no {name}; give the path of a file or folder")
    ct, seg = (Path(os.path.abspath(path.parent / row[name])) for name in NEEDED)
    name = row.get("id") or _name_of(ct, seg)
    if not ID.fullmatch(name) or name.lower() in NO_ID:
        raise HealthiVertError(
            f"{path}: row {number} has the id '{name}', which cannot name a folder; use letters, digits, . _ and -"
        )
    levels = tuple(dict.fromkeys(level for level in re.split(r"[;,\s]+", row.get("vertebra", "")) if level))
    if levels and name.upper() in LEVELS:  # L1,L2 without quotes
        raise HealthiVertError(
            f"{path}: row {number} has the id '{name}', which is a level; separate levels by spaces, or give another id"
        )
    return CohortCase(name, ct, seg, levels)


def _name_of(ct: Path, seg: Path) -> str:
    """What a scan without an id is called: as its file or folder, and what tells it from others of that name."""
    stem = stem_of(ct.parent if stem_of(ct).lower() == "ct" else ct)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:80] or "scan"
    return f"{readable}-{hashlib.sha256(os.fsencode(f'{ct}|{seg}')).hexdigest()[:8]}"
