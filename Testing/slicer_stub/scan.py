"""A CT and the labels of its vertebrae, from their files into the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import slicer.util


def load_phantom(folder: Path) -> tuple[Any, Any]:
    """The phantom that ships with the core, "T10" to "L3" as its truth.json says."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    level_of_value = {row["label"]: row["level"] for row in truth["levels"]}
    return load_scan(folder / "ct.nii.gz", folder / "seg.nii.gz", level_of_value, ("Phantom CT", "Phantom vertebrae"))


def load_scan(
    ct: Path, labels: Path, level_of_value: Mapping[int, str], names: tuple[str, str] = ("CT", "Vertebrae")
) -> tuple[Any, Any]:
    """(volume, segmentation) nodes with these names; segments are named by level_of_value."""
    volume = slicer.util.loadVolume(str(ct), {"name": names[0]})
    label_map = slicer.util.loadLabelVolume(str(labels), {"name": "labels"})
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", names[1])
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_map, segmentation)
    slicer.mrmlScene.RemoveNode(label_map)
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        segment.SetName(level_of_value.get(segment.GetLabelValue(), segment.GetName()))
    return volume, segmentation
