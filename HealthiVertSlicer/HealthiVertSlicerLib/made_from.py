"""What a result was made from, kept with it, so that it is said where that is not what is chosen now.

The segmentation is kept as a node reference, the rest as one attribute of every result node. Edits are counted on the
segmentation: the count is saved with the scene, where a comparison of voxels would have to read them at every change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from HealthiVertSlicerLib import withheld

SEGMENTATION_REFERENCE = "HealthiVert.Segmentation"  # from every result to the segmentation it was made from
STATE = "MadeFrom"  # name in a ResultSet's provenance
EDITS = "HealthiVert.Edits"  # attribute of a segmentation


def edits_of(segmentation: Any) -> int:
    """How often a segmentation was edited while it was chosen in the panel."""
    return int(segmentation.GetAttribute(EDITS) or 0)


def count_edit(segmentation: Any) -> None:
    segmentation.SetAttribute(EDITS, str(edits_of(segmentation) + 1))


def state_of(volume: Any, segmentation: Any, levels: Mapping[str, str]) -> str:
    """The inputs as they are now, as text. levels: segment ID -> level."""
    state = {"edits": edits_of(segmentation), "levels": dict(levels), "withheld": withheld.amount(volume)}
    return json.dumps(state)


def change_since(node: Any, volume: Any, segmentation: Any, levels: Mapping[str, str]) -> str:
    """What is no longer as it was when this result node was made, in a sentence; "" if nothing is."""
    from slicer.i18n import tr as _

    text = node.GetAttribute(f"HealthiVert.{STATE}")
    if not text:
        return ""
    own = node.GetNodeReference(SEGMENTATION_REFERENCE)
    if own is None:
        return _("This result is of a segmentation that is no longer in the scene: apply again for the chosen one.")
    if own is not segmentation:
        told = _('This result is of another segmentation, "{name}": choose that one, or apply again.')
        return told.format(name=own.GetName())
    before, now = json.loads(text), json.loads(state_of(volume, segmentation, levels))
    if before["edits"] != now["edits"]:
        return _("The segmentation has changed since this result was made: apply again.")
    if before["levels"] != now["levels"]:
        return _("The levels of the segments have changed since this result was made: apply again.")
    if before["withheld"] != now["withheld"]:
        return _("What is withheld has changed since this result was made: apply again.")
    return ""
