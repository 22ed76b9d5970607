"""Which vertebra a label means: names, numbers and terminology of the segmentations people have.

In: names of segments or files, or the values of a label image with where each lies along the spine. Out: our level
numbers (anatomy.LEVEL_NUMBER), with warnings. Raises HealthiVertError if it cannot be decided.

Conventions: VerSe (Sekuboyina 2021) numbers 1-28; TotalSegmentator's class maps "total" of version 2 and of version 1
(totalsegmentator/map_to_binary.py); SNOMED CT codes of TotalSegmentator's totalsegmentator_snomed_mapping.csv, which
3D Slicer writes as a segment's terminology; names in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from healthivert.anatomy import LEAST_BODY_MM3, LEVEL_NUMBER, LEVELS, SACRUM
from healthivert.errors import HealthiVertError
from healthivert.types import SpineCase

SACRUM_NAME = "sacrum"
PASS_MAP = "pass --level-map with the level of each value, such as --level-map 1=L1,2=L2"
USUAL_LEVELS = tuple(level for level in LEVELS if level not in ("T13", "L6"))
VERSE = {number: level for level, number in LEVEL_NUMBER.items()} | {SACRUM: SACRUM_NAME, 27: SACRUM_NAME}
CAUDAL_TO_CRANIAL = USUAL_LEVELS[::-1]
TOTALSEGMENTATOR = {27 + i: level for i, level in enumerate(CAUDAL_TO_CRANIAL)} | {26: SACRUM_NAME, 25: SACRUM_NAME}
TOTALSEGMENTATOR_V1 = {18 + i: level for i, level in enumerate(CAUDAL_TO_CRANIAL)} | {92: SACRUM_NAME}
SNOMED = {
    **dict(
        zip(
            ["14806007", "39976000", "113205007", "5329002", "36978003", "36054005", "87391001"],
            USUAL_LEVELS[:7],
            strict=True,
        )
    ),
    **dict(
        zip(["64864005", "53733008", "1626008", "73071006", "56401006", "45296009"], USUAL_LEVELS[7:13], strict=True)
    ),
    **dict(
        zip(["62487009", "11068009", "82687006", "7610001", "12989004", "23215003"], USUAL_LEVELS[13:19], strict=True)
    ),
    **dict(zip(["66794005", "14293000", "36470004", "11994002", "49668003"], USUAL_LEVELS[19:], strict=True)),
    "54735007": SACRUM_NAME,
}
SHARED_VALUES = {25, 26, 27, 28}  # L6, sacrum, coccyx, T13 in VerSe; sacrum, S1, L5, L4 in TotalSegmentator
NEARLY_ORDERED = 0.7  # of them: labels may be exchanged
MINIMUM_ORDERED = 0.9  # of the neighbouring levels must lie one below the other for a convention to be believed
OLD_CONVENTION = "TotalSegmentator v1"
FEWEST_ORDERED_V1 = 3  # its numbers overlap with the others', and it is rare
LARGEST_CERVICAL_ML = 40.0  # a whole cervical vertebra has 8 to 20 ml, a lumbar one 45 to 90 ml

_REGION = {
    **dict.fromkeys(("c", "hwk", "cervical"), "C"),
    **dict.fromkeys(("t", "th", "d", "bwk", "thoracic", "dorsal"), "T"),
    **dict.fromkeys(("l", "lwk", "lumbar"), "L"),
}
_ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
]
_PADDING = {
    "vert",
    "vertebra",
    "vertebrae",
    "vertebral",
    "body",
    "spine",
    "label",
    "segment",
    "seg",
    "bone",
    "level",
    "of",
    "the",
    "mask",
    "fracture",
    "fractured",
    "nii",
    "gz",
    "nrrd",
}


def level_of_name(text: str) -> str | None:
    """The level a name means ("L1", "Th12", "vertebrae_L1", "First lumbar vertebra (L1)", "sacrum"), None if none.

    Every word must belong to it: "disc L1", "rib T1" or "L1-L2" are no vertebrae.
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()  # VertebraL1
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", parted))
    found: set[str] = set()
    number: int | None = None
    region: str | None = None
    for word in words:
        if word in ("sacrum", "sacral", "s"):
            found.add(SACRUM_NAME)
        elif word in _REGION:
            region = _REGION[word] if region in (None, _REGION[word]) else "two"
        elif word.isdigit() or word in _ORDINALS:
            value = int(word) if word.isdigit() else _ORDINALS.index(word) + 1
            if number not in (None, value):
                return None
            number = value
        elif word not in _PADDING:
            return None
    if SACRUM_NAME in found:
        return SACRUM_NAME if region is None and number in (None, 1) else None
    level = f"{region}{number}"
    return level if level in LEVEL_NUMBER else None


def parse_level(text: str, case: SpineCase) -> str:
    """The level of the case that the user asks for ("l1", "L1", "Th12", "D12"). Raises HealthiVertError if absent."""
    level = level_of_name(text)
    there = ", ".join(case.levels)
    if level is None or level == SACRUM_NAME:
        raise HealthiVertError(
            f"'{text}' is not the name of a vertebra; the segmentation of {case.name} has {there}: give one of them"
        )
    if level not in case.label_values:
        why = "".join(f" ({words})" for words in case.warnings if f"({level})" in words)
        raise HealthiVertError(
            f"{level} is not in the segmentation of {case.name}{why}; it has {there}: give one of them"
        )
    return level


@dataclass(frozen=True)
class LabelProfile:
    """Where one value of a label image lies: mm along the spine (rising to superior), volume, and number of pieces."""

    centre_mm: float
    volume_ml: float
    stacked_pieces: int = 1  # big pieces one above the other with empty slices between them


@dataclass(frozen=True)
class LabelMeaning:
    """Value of the user's image -> level name (or the sacrum), with what the user should know."""

    levels: Mapping[int, str]
    convention: str
    warnings: list[str] = field(default_factory=list)


def recognise_values(profiles: Mapping[int, LabelProfile], where: str) -> LabelMeaning:
    """Decide which convention the values of a label image follow.

    VerSe's numbers rise downward and TotalSegmentator's rise upward, so the convention whose levels lie in their
    anatomical order is the right one; of several, the one that puts most of the values in order.
    """
    if set(profiles) == {1}:
        raise HealthiVertError(
            f"{where}: the mask has only the value 1, which does not say which vertebra it is; {PASS_MAP}"
        )
    if profiles and set(profiles) <= SHARED_VALUES:
        values = ", ".join(map(str, sorted(profiles)))
        raise HealthiVertError(
            f"{where}: the label values {values} mean other levels in VerSe than in TotalSegmentator; {PASS_MAP}"
        )
    named = (
        ("VerSe", VERSE, 28),
        ("TotalSegmentator", TOTALSEGMENTATOR, 117),
        (OLD_CONVENTION, TOTALSEGMENTATOR_V1, 104),
    )
    readings = {convention: {v: table[v] for v in sorted(profiles) if v in table} for convention, table, _ in named}
    readings = {convention: levels for convention, levels in readings.items() if _plausible(convention, levels)}
    # a speck of another number, as automatic segmentations leave them, says nothing of the order, nor does a value that
    # two vertebrae share: it lies in the middle between them
    voting = {
        v: one for v, one in profiles.items() if 1000 * one.volume_ml >= LEAST_BODY_MM3 and one.stacked_pieces == 1
    } or profiles
    order = {
        convention: _pairs_in_order({value: level for value, level in levels.items() if value in voting}, voting)
        for convention, levels in readings.items()
    }
    exchanged = _exchanged(order)
    best: tuple[tuple[int, float], LabelMeaning] | None = None
    for convention, _, last in named:
        if convention not in readings:
            continue
        in_order, pairs = order[convention]
        if in_order < MINIMUM_ORDERED * pairs or (convention == OLD_CONVENTION and in_order < FEWEST_ORDERED_V1):
            continue
        if pairs == 0 and exchanged:  # a single vertebra is in order, whatever it is
            continue
        score = (in_order, sum(value <= last for value in profiles) / len(profiles))
        if best is None or score > best[0]:
            best = score, LabelMeaning(readings[convention], convention, _ignored(profiles, last, where))
    if best is None:
        values = ", ".join(map(str, sorted(profiles)[:12]))
        found = f"the label values {values} fit neither VerSe nor TotalSegmentator numbering"
        raise HealthiVertError(f"{where}: {found}{exchanged}; {PASS_MAP}")
    _check_cervical_size(best[1], profiles, where)
    return best[1]


def _exchanged(order: Mapping[str, tuple[int, int]]) -> str:
    """What is wrong with the convention that fits best, where some levels lie out of order; "" where none nearly fits.
    order: of each convention how many of its neighbours lie as they should, and how many there are."""
    for convention, (in_order, pairs) in order.items():
        if pairs > 1 and NEARLY_ORDERED * pairs <= in_order < MINIMUM_ORDERED * pairs:
            wrong = f"{pairs - in_order} of {pairs} neighbours lie in the wrong order"
            return f" (as {convention}'s, {wrong}: are labels exchanged?)"
    return ""


def _plausible(convention: str, levels: Mapping[int, str]) -> bool:
    """At least one vertebra, and for VerSe not only T13, whose number TotalSegmentator has for L4."""
    vertebrae = {level for level in levels.values() if level != SACRUM_NAME}
    return bool(vertebrae) and not (convention == "VerSe" and vertebrae == {"T13"})


def _pairs_in_order(levels: Mapping[int, str], profiles: Mapping[int, LabelProfile]) -> tuple[int, int]:
    """How many neighbours in the convention's order lie one below the other, and how many there are."""
    ladder = [*LEVELS, SACRUM_NAME]
    ordered = sorted(levels, key=lambda value: ladder.index(levels[value]))
    pairs = [(a, b) for a, b in pairwise(ordered) if levels[a] != levels[b]]
    return sum(profiles[a].centre_mm > profiles[b].centre_mm for a, b in pairs), len(pairs)


def _ignored(profiles: Mapping[int, LabelProfile], last: int, where: str) -> list[str]:
    unknown = [str(value) for value in sorted(profiles) if value > last]
    return [f"{where}: the values {', '.join(unknown[:8])} are no known label and were left out"] if unknown else []


def _check_cervical_size(meaning: LabelMeaning, profiles: Mapping[int, LabelProfile], where: str) -> None:
    """Masks numbered 1, 2, 3, ... from L1 or T1 read as the neck in VerSe's numbers; their size tells."""
    volumes = sorted(profiles[value].volume_ml for value, level in meaning.levels.items() if level.startswith("C"))
    if volumes and volumes[len(volumes) // 2] > LARGEST_CERVICAL_ML:
        raise HealthiVertError(
            f"{where}: these label values mean cervical vertebrae in {meaning.convention}'s numbers, "
            f"but {volumes[len(volumes) // 2]:.0f} ml is too large for them; {PASS_MAP}"
        )


def oddities(levels: Sequence[str]) -> list[str]:
    """What is unusual about the levels present: T13, L6, levels missing in between."""
    words = [
        f"{level} is present: an extra vertebra, measured against its neighbours"
        for level in levels
        if level in ("T13", "L6")
    ]
    present = [USUAL_LEVELS.index(level) for level in levels if level in USUAL_LEVELS]
    if present and (missing := [USUAL_LEVELS[i] for i in range(min(present), max(present)) if i not in present]):
        words.append(
            f"the segmentation lacks {', '.join(missing)} "
            f"between {USUAL_LEVELS[min(present)]} and {USUAL_LEVELS[max(present)]}"
        )
    return words
