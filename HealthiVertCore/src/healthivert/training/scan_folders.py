"""Folders of real scans with vertebra masks, as data sets come: which CT belongs to which mask.

In: a folder. Out: Scan, one for each pair. Layouts: VerSe 2020 (rawdata/SUBJECT/SUBJECT[_...]_ct.nii.gz and
derivatives/SUBJECT/SUBJECT[_...]_seg-vert_msk.nii.gz, as in its BIDS-like release, in one folder or in several below
it), VerSe 2019 (NAME.nii.gz beside NAME_seg.nii.gz), TotalSegmentator (SUBJECT/ct.nii.gz beside SUBJECT/segmentations/
with a file for each structure), and any folders that hold a ct and a seg file, as `healthivert phantom` writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from healthivert.errors import complaint
from healthivert.image_files import BIDS_SUBJECT, stem_of, suffix_of

VERSE_MASK = "_seg-vert_msk"
VERSE_CT = "_ct"
VERSE_2019_MASK = "_seg"
MASKS_BESIDE_CT = ("segmentations", "seg", "segmentation", "mask", "labels", "ct_seg")  # folder or file, the first wins


@dataclass(frozen=True)
class Scan:
    """A CT and its mask (file or folder). subject: the person, as far as names tell; name: the scan."""

    subject: str
    name: str
    ct: Path
    mask: Path


def find_scans(folder: Path) -> list[Scan]:
    """All pairs in a folder and the folders below it, linked ones included, by name. Raises HealthiVertError if there
    is none, or if two have the same name."""
    if not folder.is_dir():
        found = "this is a file, not a folder" if folder.exists() else "there is no such folder"
        raise complaint(folder, found, "give the folder of a data set")
    images = sorted(path for path in _files(folder) if suffix_of(path))
    scans = [*_verse(folder, images), *_verse_2019(folder, images), *_beside_ct(folder, images)]
    if not scans:
        raise complaint(
            folder,
            "holds no CT with a vertebra mask",
            "give a folder in the layout of VerSe or TotalSegmentator, or with folders of ct.nii.gz and seg.nii.gz",
        )
    names: dict[str, Scan] = {}
    for scan in scans:
        name = scan.name.replace("_", "-")  # the names of samples do not tell these from each other
        if name in names:
            raise complaint(scan.mask, f"has the same name as {names[name].mask}", "rename or remove one of them")
        names[name] = scan
    return sorted(names.values(), key=lambda scan: scan.name)


def unpaired_files(folder: Path, scans: Sequence[Scan]) -> list[Path]:
    """What is named as a CT or a mask, but belongs to none of the scans: a typing error, or a file that is missing."""
    taken = {path for scan in scans for path in (scan.ct, scan.mask)}
    plain = {scan.ct.parent for scan in scans if stem_of(scan.ct) == "ct"}  # may hold others, as a phantom's healthy_ct
    images = (path for path in _files(folder) if suffix_of(path) and path.parent not in plain)
    named = (
        path for path in images if stem_of(path) in ("ct", "seg") or stem_of(path).endswith((VERSE_CT, VERSE_MASK))
    )
    return sorted(path for path in named if path not in taken)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder. A link may lead to a subject that lies elsewhere; one that leads back is not followed
    again."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _verse(folder: Path, images: list[Path]) -> Iterator[Scan]:
    """A mask's CT may lie in another branch of the data set, but has the same subject and scan in its name."""
    cts: dict[tuple[str | None, str], list[Path]] = {}
    for path in images:
        if stem_of(path).endswith(VERSE_CT):
            name = stem_of(path).removesuffix(VERSE_CT)
            cts.setdefault((_subject_above(folder, path), name), []).append(path)
    for mask in images:
        name = stem_of(mask).removesuffix(VERSE_MASK)
        found = cts.get((_subject_above(folder, mask), name), [])
        if name == stem_of(mask) or not found:
            continue
        ct, *others = found
        if others:
            raise complaint(others[0], f"has the same name as {ct}", "rename or remove one of them")
        yield _named_scan(folder, name, name.partition("_")[0], ct, mask)


def _verse_2019(folder: Path, images: list[Path]) -> Iterator[Scan]:
    cts = {path.with_name(stem_of(path)): path for path in images if stem_of(path) != "ct"}
    for mask in images:
        name = stem_of(mask).removesuffix(VERSE_2019_MASK)
        if name != stem_of(mask) and name and (ct := cts.get(mask.with_name(name))):
            yield _named_scan(folder, name, name, ct, mask)


def _named_scan(folder: Path, name: str, subject: str, ct: Path, mask: Path) -> Scan:
    """A scan that its files name. Where a folder above is a subject's, that is the person, whatever they are called."""
    person = _subject_above(folder, ct) or subject
    return Scan(person, name if name.startswith(person) else f"{person}_{name}", ct, mask)


def _subject_above(folder: Path, file: Path) -> str | None:
    """The first folder between folder and file that is named as a subject's."""
    parts = file.parent.relative_to(folder).parts
    return next((part.replace("_", "-") for part in parts if part.startswith(BIDS_SUBJECT)), None)


def _beside_ct(folder: Path, images: list[Path]) -> Iterator[Scan]:
    for ct in images:
        if stem_of(ct) != "ct":
            continue
        beside = {stem_of(path): path for path in sorted(ct.parent.iterdir(), reverse=True)}
        mask = next((beside[name] for name in MASKS_BESIDE_CT if name in beside), None)
        if mask is not None:
            place = ct.parent.relative_to(folder).parts or (ct.parent.resolve().name,)
            name = "-".join(place).replace("_", "-")
            # of other folders nothing tells whether they are persons, or hospitals, or halves of a data set
            yield Scan(_subject_above(folder, ct) or name, name, ct, mask)
