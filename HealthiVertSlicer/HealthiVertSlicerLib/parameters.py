"""What the user chose, as the scene keeps it.

The values live in the module's parameter node, so they are saved with the scene and come back with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from HealthiVertSlicerLib.made_from import changes, state_of

OVERRIDES = "HealthiVert.Levels"  # attribute of a segmentation: JSON {segment ID: level}, where the user corrected them


@parameterNodeWrapper
class HealthiVertParameters:
    """One field per choice of the panel.

    volume, segmentation: the inputs.
    target, target_of: ID of the segment that is regrown, "" for none, and the segmentation that it is in: the same IDs
        are in other patients' segmentations, too, and may be other vertebrae there.
    model, device, samples, seed: as of `healthivert run`.
    threshold: suspicion (0 to 1) from which screening regrows a vertebra.
    spine_of_volume, spine_of_segmentation: what spine_rows was measured on. References, not IDs as text: where a scene
        is added to another, nodes get other IDs, and references follow them.
    spine_rows: JSON list, the rows of `healthivert inspect --json`, each with the ID of its "segment".
    spine_state: of the inputs when measuring spine_rows started (made_from.state_of).
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    target: str
    target_of: vtkMRMLSegmentationNode
    model: str = "gan"
    device: str = "auto"
    samples: Annotated[int, WithinRange(1, 50)] = 1
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    spine_of_volume: vtkMRMLScalarVolumeNode
    spine_of_segmentation: vtkMRMLSegmentationNode
    spine_rows: str
    spine_state: str


def overrides_of(parameters: HealthiVertParameters) -> dict[str, str]:
    """The user's corrections: segment ID -> level. The segmentation keeps them, since the same IDs are in other
    patients' segmentations, too."""
    segmentation = parameters.segmentation
    return json.loads((segmentation and segmentation.GetAttribute(OVERRIDES)) or "{}")


def keep_override(parameters: HealthiVertParameters, segment_id: str, level: str) -> None:
    """level: "" to believe the segment's name again."""
    overrides = {**overrides_of(parameters), segment_id: level}
    kept = {segment: name for segment, name in overrides.items() if name}
    parameters.segmentation.SetAttribute(OVERRIDES, json.dumps(kept) if kept else None)


def keep_spine(parameters: HealthiVertParameters, inputs: tuple, spine: Any) -> None:
    """spine: the SpineTable of these inputs (CT, segmentation)."""
    modified = parameters.StartModify()
    parameters.spine_of_volume, parameters.spine_of_segmentation = inputs
    rows = [{**row, "segment": spine.segment_of_level.get(row["level"])} for row in spine.rows]
    parameters.spine_rows = json.dumps(rows)
    parameters.spine_state = spine.state
    parameters.EndModify(modified)


def spine_rows_of(parameters: HealthiVertParameters, levels: Mapping[str, str]) -> list[dict]:
    """The measured levels of the chosen inputs; none if they were not measured. levels: segment ID -> level, as it is
    now: what was measured as another level is left out."""
    chosen = parameters.volume, parameters.segmentation
    if None in chosen or (parameters.spine_of_volume, parameters.spine_of_segmentation) != chosen:
        return []
    return [row for row in json.loads(parameters.spine_rows or "[]") if levels.get(row["segment"]) == row["level"]]


def spine_is_outdated(parameters: HealthiVertParameters, levels: Mapping[str, str]) -> bool:
    """Whether the chosen inputs are not as they were when their spine was measured. levels: segment ID -> level."""
    now = state_of(parameters.volume, parameters.segmentation, levels)
    return bool(changes(parameters.spine_state, now) - {"withheld"})


def inputs_key(parameters: HealthiVertParameters) -> str:
    """Names the chosen pair of inputs, so that measurements of another pair are not shown for it."""
    nodes = (parameters.volume, parameters.segmentation)
    return " ".join(node.GetID() for node in nodes if node is not None)
