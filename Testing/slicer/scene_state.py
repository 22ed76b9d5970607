"""What a test compares to know that everything stayed as it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from HealthiVertSlicerLib.jobs import FOLDER_PREFIX
from vtk.util.numpy_support import vtk_to_numpy

VOLATILE = ("Modified Time", "MTime", "UpdateTime", "Reference Count", "0x")


def state_of_inputs(volume: Any, segmentation: Any) -> dict[str, Any]:
    """Voxels, representations, conversion settings, transforms and looks of both input nodes."""
    segments = segmentation.GetSegmentation()
    names = [name for name in ("Binary labelmap", "Closed surface") if segments.ContainsRepresentation(name)]
    data = {
        (segment_id, name): segments.GetSegment(segment_id).GetRepresentation(name)
        for segment_id in segments.GetSegmentIDs()
        for name in names
    }
    return {
        "CT": _digest(slicer.util.arrayFromVolume(volume)),
        "segments": {key: _digest_of_data(value) for key, value in data.items()},
        "terminologies": [segments.GetSegment(key).GetTerminology() for key in segments.GetSegmentIDs()],
        "conversion": segments.SerializeAllConversionParameters(),
        "nodes": [_attributes(node) for node in (volume, segmentation)],
        "looks": [_attributes(node.GetDisplayNode()) for node in (volume, segmentation)],
    }


def scene_content() -> list[tuple[str, str]]:
    """(ID, name) of every node: what must be the same after something that went wrong."""
    scene = slicer.mrmlScene
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [(node.GetID(), node.GetName()) for node in nodes]


def temporary_folders() -> list[Path]:
    """What jobs have put among Slicer's temporary files, and not removed."""
    return list(Path(slicer.app.temporaryPath).glob(f"{FOLDER_PREFIX}*"))


def _digest(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _digest_of_data(data: Any) -> str:
    if data.IsA("vtkPolyData"):
        return _digest(vtk_to_numpy(data.GetPoints().GetData()))
    return f"{data.GetExtent()} {_digest(vtk_to_numpy(data.GetPointData().GetScalars()))}"


def _attributes(node: Any) -> str | None:
    """All that the node prints of itself, without what changes by looking at it."""
    if node is None:
        return None
    return "\n".join(line for line in str(node).splitlines() if not any(word in line for word in VOLATILE))
