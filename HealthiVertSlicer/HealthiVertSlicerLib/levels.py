"""Which vertebra a segment is: what the user said, else its terminology, its name, its number.

In: a segmentation node. Out: level names as the core has them ("C1" .. "L5", also "T13" and "L6"). The panel asks at
every change, before the core may be imported, so the codes and the reading of names are here, too; a test holds them
against the core's (healthivert.labels).

Codes: SNOMED CT, as in TotalSegmentator's totalsegmentator_snomed_mapping.csv.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import slicer

from HealthiVertSlicerLib.label_numbers import levels_of_numbers

NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})
NO_VERTEBRA = "none"  # as an override: whatever it is called, this segment is not to be used

LEVELS = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 14)),
    *(f"L{number}" for number in range(1, 7)),
)
EXTRA_LEVELS = ("T13", "L6")  # that few people have
SNOMED_CODES = {
    **{"C1": "14806007", "C2": "39976000", "C3": "113205007", "C4": "5329002", "C5": "36978003", "C6": "36054005"},
    **{"C7": "87391001", "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006"},
    **{"T6": "45296009", "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004"},
    **{"T12": "23215003", "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003"},
}
ANY_VERTEBRA = "51282000"  # for T13 and L6, which have no code of their own

_REGIONS = {
    **dict.fromkeys(("c", "hwk", "cervical"), "C"),
    **dict.fromkeys(("t", "th", "d", "bwk", "thoracic", "dorsal"), "T"),
    **dict.fromkeys(("l", "lwk", "lumbar"), "L"),
}
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh"),
    *("eighth", "ninth", "tenth", "eleventh", "twelfth", "thirteenth"),
)
_NUMBERS = {word: number for number, word in enumerate(_ORDINALS, start=1)}
_SAY_NOTHING = {
    *("vert", "vertebra", "vertebrae", "vertebral", "body", "spine", "label", "segment"),
    *("seg", "bone", "level", "of", "the", "mask", "fracture", "fractured", "nii", "gz", "nrrd"),
}


def segment_levels(segmentation_node: Any, overrides: Mapping[str, str] = NO_OVERRIDES) -> dict[str, str]:
    """Segment ID -> level of the segments that are vertebrae, from cranial to caudal.

    overrides: segment ID -> level as the user has it ("L1", "Th12", ...), or NO_VERTEBRA.
    """
    segmentation = segmentation_node.GetSegmentation()
    found = {}
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        level = _level_of_terminology(segment.GetTerminology()) or level_of_name(segment.GetName())
        if level is not None:
            found[segment_id] = level
    found.update(levels_of_numbers(segmentation_node, LEVELS, found))
    for segment_id, said in overrides.items():
        level = level_of_name(said)
        if level is None:
            found.pop(segment_id, None)
        elif segmentation.GetSegment(segment_id) is not None:
            found[segment_id] = level
    return dict(sorted(found.items(), key=lambda item: LEVELS.index(item[1])))


def terminology_for(level: str) -> str:
    """What a segment of this level has as its terminology (vtkSegment.SetTerminology)."""
    code = SNOMED_CODES.get(level, ANY_VERTEBRA)
    return "~".join(
        (
            "Segmentation category and type - Total Segmentator",
            "SCT^123037004^Anatomical Structure",
            f"SCT^{code}^{level} vertebra",
            "^^",
            "Anatomic codes - DICOM master list",
            "^^",
            "^^",
        )
    )


def level_of_name(name: str) -> str | None:
    """The level that a name means ("L1", "Th12", "vertebrae_L1", "First lumbar vertebra"), None if it means none.

    Every word must belong to it: "disc L1" and "L1-L2" are no vertebrae.
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()  # VertebraL1
    text = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", parted)
    words = [word for word in re.findall(r"[a-z]+|\d+", text) if word not in _SAY_NOTHING]
    regions = {_REGIONS[word] for word in words if word in _REGIONS}
    numbers = {_number(word) for word in words if word not in _REGIONS}
    if len(regions) != 1 or len(numbers) != 1:
        return None
    level = f"{regions.pop()}{numbers.pop()}"
    return level if level in LEVELS else None


def _number(word: str) -> int | None:
    return int(word) if word.isdigit() else _NUMBERS.get(word)


def _level_of_terminology(serialized: str) -> str | None:
    """None also for what says no level: a new segment's "Tissue", and Slicer's own "Vertebra"."""
    entry = slicer.vtkSlicerTerminologyEntry()
    if not slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(serialized, entry):
        return None
    kind = entry.GetTypeObject()
    if kind.GetCodingSchemeDesignator() != "SCT":
        return None
    return next((level for level, code in SNOMED_CODES.items() if code == kind.GetCodeValue()), None)
