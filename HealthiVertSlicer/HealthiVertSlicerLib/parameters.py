"""What the user chose, as the scene keeps it.

The values live in the module's parameter node, so they are saved with the scene and come back with it.
"""

from __future__ import annotations

import json
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class HealthiVertParameters:
    """One field per choice of the panel.

    volume, segmentation: the inputs.
    target: ID of the segment that is regrown, "" for none.
    level_overrides: JSON {segment ID: level}, where the user corrected what a segment is.
    model, device, samples, seed: as of `healthivert run`.
    threshold: suspicion (0 to 1) from which screening regrows a vertebra.
    spine_of: IDs of the volume and the segmentation that spine_rows was measured on.
    spine_rows: JSON list, the rows of `healthivert inspect --json`.
    spine_outdated: the segmentation was edited after spine_rows was measured.
    """

    volume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    target: str
    level_overrides: str
    model: str = "gan"
    device: str = "auto"
    samples: Annotated[int, WithinRange(1, 50)] = 1
    seed: Annotated[int, WithinRange(0, 999999)] = 0
    threshold: Annotated[float, WithinRange(0, 1)] = 0.5
    spine_of: str
    spine_rows: str
    spine_outdated: bool = False


def overrides_of(parameters: HealthiVertParameters) -> dict[str, str]:
    """The user's corrections: segment ID -> level."""
    return json.loads(parameters.level_overrides or "{}")


def spine_rows_of(parameters: HealthiVertParameters) -> list[dict]:
    """The measured levels of the chosen inputs; empty if they were not measured."""
    return json.loads(parameters.spine_rows or "[]") if parameters.spine_of == inputs_key(parameters) else []


def inputs_key(parameters: HealthiVertParameters) -> str:
    """Names the chosen pair of inputs, so that measurements of another pair are not shown for it."""
    nodes = (parameters.volume, parameters.segmentation)
    return " ".join(node.GetID() for node in nodes if node is not None)
