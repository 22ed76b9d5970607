"""The levels of segments that are only numbered ("Segment_20"), as Slicer names those of a label image.

In: a segmentation node. Out: levels in VerSe's numbers (Sekuboyina 2021: C1 1 .. L5 24, L6 25, T13 28) or those of
TotalSegmentator's task "total" (L5 27 .. C1 50). Numbers that fit both say different levels, so a convention is only
believed if the segments lie below one another in its order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import slicer

from HealthiVertSlicerLib import frames

NUMBERED = re.compile(r"(?:segment|label|class)?[ _-]*(\d+)", re.IGNORECASE)
FEWEST_IN_ORDER = 2  # pairs of neighbours; fewer may lie in order by chance
NEXT = 2  # places down the list of levels: T13 and L6, which few people have, may lie between


def levels_of_numbers(segmentation_node: Any, levels: tuple[str, ...], named: Mapping[str, str]) -> dict[str, str]:
    """Segment ID -> level of the numbered segments that are vertebrae; empty if the numbers fit no convention.

    levels: every level, cranial to caudal. named: segment ID -> level of those that are known otherwise; the numbers
    must fit to them.
    """
    segments = segmentation_node.GetSegmentation()
    others = (segment_id for segment_id in segments.GetSegmentIDs() if segment_id not in named)
    names = {segment_id: segments.GetSegment(segment_id).GetName() for segment_id in others}
    numbers = {key: int(match[1]) for key, name in names.items() if (match := NUMBERED.fullmatch(name))}
    conventions = (_verse(levels), _totalsegmentator(levels))
    candidates = [
        {key: convention[number] for key, number in numbers.items() if number in convention}
        for convention in conventions
    ]
    candidates = [found for found in candidates if found and len({**named, **found}) > FEWEST_IN_ORDER]
    if not candidates:
        return {}
    asked = (*named, *numbers)
    images = (segments.GetSegment(key).GetRepresentation(frames.BINARY_LABELMAP) for key in asked)
    state = tuple(0 if image is None else image.GetMTime() for image in images)
    height = _heights(segmentation_node.GetID(), asked, state)
    fitting = [found for found in candidates if _fits(found, named, height, levels)]
    return max(fitting, key=len, default={})


def _verse(levels: tuple[str, ...]) -> dict[int, str]:
    usual = [level for level in levels if level not in ("T13", "L6")]
    return {**dict(enumerate(usual, start=1)), 25: "L6", 28: "T13"}


def _totalsegmentator(levels: tuple[str, ...]) -> dict[int, str]:
    usual = [level for level in levels if level not in ("T13", "L6")]
    return dict(enumerate(reversed(usual), start=27))


def _fits(
    found: Mapping[str, str], named: Mapping[str, str], height: Mapping[str, float], levels: tuple[str, ...]
) -> bool:
    """Whether each of the segments lies above the next one. So few numbered ones that they may do so by chance must go
    on where the named ones end: "Segment_1" is also what is drawn beside a named spine."""
    place = {key: levels.index(level) for key, level in {**named, **found}.items() if key in height}
    ordered = sorted(place, key=lambda key: (place[key], -height[key]))
    pairs = list(pairwise(ordered))
    if len(ordered) <= FEWEST_IN_ORDER or not all(height[above] > height[below] for above, below in pairs):
        return False
    few = sum(key in height for key in found) <= FEWEST_IN_ORDER
    return not few or all(place[below] - place[above] <= NEXT for above, below in pairs)


@lru_cache(maxsize=4)
def _heights(node_id: str, segment_ids: tuple[str, ...], state: tuple[int, ...]) -> dict[str, float]:
    """Segment ID -> how far superior its middle is, of those with voxels. Looked for once per state of the voxels: the
    panel asks at every change."""
    node = slicer.mrmlScene.GetNodeByID(node_id)
    centres = {segment_id: frames.segment_centre(node, segment_id) for segment_id in segment_ids}
    return {segment_id: float(centre[2]) for segment_id, centre in centres.items() if centre is not None}
