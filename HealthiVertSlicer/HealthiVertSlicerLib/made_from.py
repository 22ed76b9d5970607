"""What a result was made from, kept with it, so that it is said where that is not what is chosen now.

The segmentation is kept as a node reference, the rest as text in one attribute of every result node: digests of the
voxels, so that it does not matter who has changed them, nor when, nor whether they were changed back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from HealthiVertSlicerLib import digests, frames, withheld
from HealthiVertSlicerLib.result_nodes import SAME_FRAME

SEGMENTATION_REFERENCE = "HealthiVert.Segmentation"  # from every result to the segmentation it was made from
STATE = "MadeFrom"  # name in a ResultSet's provenance


def state_of(volume: Any, segmentation: Any, levels: Mapping[str, str]) -> str:
    """The inputs as they are now, as text. levels: segment ID -> level."""
    hidden = withheld.find(volume)
    state = {"levels": dict(levels), "ct": {"ct": digests.of_volume(volume)}}
    state["segments"] = digests.of_segments(volume, segmentation, levels)
    state["withheld"] = {}
    if hidden is not None:
        ids = hidden.GetSegmentation().GetSegmentIDs()
        state["withheld"] = digests.of_segments(volume, hidden, ids)
    return json.dumps(state)


def change_since(result: Any, volume: Any, segmentation: Any, levels: Mapping[str, str]) -> str:
    """What is no longer as it was when this result (ResultNodes) was made, in a sentence; "" if nothing is."""
    from slicer.i18n import tr as _

    text = result.report_text.GetAttribute(f"HealthiVert.{STATE}")
    if not text:
        return ""
    own = result.report_text.GetNodeReference(SEGMENTATION_REFERENCE)
    if own is None:
        return _("This result is of a segmentation that is no longer in the scene: apply again for the chosen one.")
    if own is not segmentation:
        told = _('This result is of another segmentation, "{name}": choose that one, or apply again.')
        return told.format(name=own.GetName())
    changed = changes(text, state_of(volume, segmentation, levels))
    if "ct" in changed:
        return _("The CT has changed since this result was made: apply again.")
    if "segments" in changed:
        return _("The segmentation has changed since this result was made: apply again.")
    if "levels" in changed:
        return _("The levels of the segments have changed since this result was made: apply again.")
    if "withheld" in changed:
        return _("What is withheld has changed since this result was made: apply again.")
    places = [frames.to_world(node) @ frames.ijk_to_ras(node) for node in (volume, result.volume)]
    if not np.allclose(*places, atol=SAME_FRAME):
        return _("The CT has been moved away from this result: apply again.")
    return ""


def changes(before: str, now: str) -> set[str]:
    """Which parts of two states differ ("ct", "segments", "levels", "withheld"). Of one that is not known none do."""
    if not before:
        return set()
    one, other = json.loads(before), json.loads(now)
    different = {part for part in ("ct", "segments", "withheld") if not digests.same(one[part], other[part])}
    return different | ({"levels"} if one["levels"] != other["levels"] else set())
