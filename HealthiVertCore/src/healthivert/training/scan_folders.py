"""Folders of real scans with vertebra masks, as data sets come: which CT belongs to which mask.

In: a folder. Out: Scan, one for each pair. Layouts: VerSe 2020 (rawdata/SUBJECT/SUBJECT[_...]_ct.nii.gz and
derivatives/SUBJECT/SUBJECT[_...]_seg-vert_msk.nii.gz, as in its BIDS-like release, in one folder or in several below
it), VerSe 2019 (NAME.nii.gz beside NAME_seg.nii.gz), TotalSegmentator (SUBJECT/ct.nii.gz beside SUBJECT/segmentations/
with a file for each structure), and any folders that hold a ct and a seg file, as `healthivert phantom` writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from healthivert.image_files import complaint, stem_of, suffix_of

VERSE_MASK = "_seg-vert_msk"
VERSE_CT = "_ct"
VERSE_2019_MASK = "_seg"
BIDS_SUBJECT = "sub-"
MASKS_BESIDE_CT = ("segmentations", "seg", "segmentation", "mask", "labels")  # a folder or a file, first found wins


@dataclass(frozen=True)
class Scan:
    """A CT and its mask (file or folder). subject: the person, as far as names tell; name: the scan."""

    subject: str
    name: str
    ct: Path
    mask: Path


def find_scans(folder: Path) -> list[Scan]:
    """All pairs in a folder and the folders below it, by name. Raises HealthiVertError if there is none, or if two
    have the same name."""
    if not folder.is_dir():
        raise complaint(folder, "there is no such folder", "give the folder of a data set")
    images = [path for path in sorted(folder.rglob("*")) if suffix_of(path) and path.is_file()]
    scans = [*_verse(images), *_verse_2019(images), *_beside_ct(folder, images)]
    if not scans:
        raise complaint(
            folder,
            "holds no CT with a vertebra mask",
            "give a folder in the layout of VerSe or TotalSegmentator, or with folders of ct.nii.gz and seg.nii.gz",
        )
    names: dict[str, Scan] = {}
    for scan in scans:
        if scan.name in names:
            raise complaint(scan.mask, f"has the same name as {names[scan.name].mask}", "rename or remove one of them")
        names[scan.name] = scan
    return [names[name] for name in sorted(names)]


def _verse(images: list[Path]) -> Iterator[Scan]:
    """A mask's CT may lie in another branch of the data set, but has the same subject and scan in its name."""
    cts = {stem_of(path).removesuffix(VERSE_CT): path for path in images if stem_of(path).endswith(VERSE_CT)}
    for mask in images:
        name = stem_of(mask).removesuffix(VERSE_MASK)
        if name != stem_of(mask) and name in cts:
            yield Scan(name.partition("_")[0], name, cts[name], mask)


def _verse_2019(images: list[Path]) -> Iterator[Scan]:
    cts = {path.with_name(stem_of(path)): path for path in images}
    for mask in images:
        name = stem_of(mask).removesuffix(VERSE_2019_MASK)
        if name != stem_of(mask) and name and (ct := cts.get(mask.with_name(name))):
            yield Scan(name, name, ct, mask)


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
            person = next((part.replace("_", "-") for part in place if part.startswith(BIDS_SUBJECT)), name)
            yield Scan(person, name, ct, mask)
