"""The phantom that ships with the core, as nodes in the scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer
import slicer.util


def load_phantom(folder: Path) -> tuple[Any, Any]:
    """(volume, segmentation) nodes of ct.nii.gz and seg.nii.gz; segments are named by truth.json ("T10" to "L3")."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    level_of_label = {row["label"]: row["level"] for row in truth["levels"]}
    volume = slicer.util.loadVolume(str(folder / "ct.nii.gz"), {"name": "Phantom CT"})
    labels = slicer.util.loadLabelVolume(str(folder / "seg.nii.gz"), {"name": "Phantom labels"})
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Phantom vertebrae")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    slicer.mrmlScene.RemoveNode(labels)
    segments = segmentation.GetSegmentation()
    for index in range(segments.GetNumberOfSegments()):
        segment = segments.GetNthSegment(index)
        segment.SetName(level_of_label[segment.GetLabelValue()])
    return volume, segmentation
