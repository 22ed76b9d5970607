"""A small CT of three block vertebrae as nodes, on any grid, and a run of it that gives the CT back unchanged.

For tests of the way out of the scene and back: the core's own reader and writers are in it, no generator is.
"""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util

from healthivert.case import load_case, write_image, write_volume

LEVELS = ("L1", "L2", "L3")
TARGET = "L2"
SHAPE = (48, 44, 40)  # (superior, anterior, right): SI, AP, LR of an axial scan
SPACING = (1.5, 1.0, 0.75)
AXES = [
    np.array(signs) * np.eye(3)[list(order)] for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
OBLIQUE = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])


def rotation_of(number: int) -> np.ndarray:
    """Every second pair of AXES is oblique, so that right-handed and left-handed grids come both ways."""
    return OBLIQUE if number // 2 % 2 else np.eye(3)


def spine_arrays() -> tuple[np.ndarray, np.ndarray]:
    """CT in HU and labels 1 to 3 (cranial to caudal), axes rising to superior, anterior and right."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, bottom in ((1, 33), (2, 18), (3, 3)):
        labels[bottom : bottom + 12, 12:38, 8:32] = value
    noise = np.random.default_rng(0).integers(-60, 60, SHAPE)
    return (np.where(labels > 0, 250, 40) + noise).astype(np.int16), labels


def small_spine(axes: np.ndarray | None = None, rotation: np.ndarray | None = None) -> tuple[Any, Any]:
    """(volume, segmentation with segments L1 to L3), the same tissue at the same place whatever the axes.

    axes: (3, 3) signed permutation, rows are the RAS directions of i, j, k. rotation: of the whole in space, RAS.
    """
    axes = np.eye(3) if axes is None else axes
    rotation = np.eye(3) if rotation is None else rotation
    ct, labels = spine_arrays()
    step = rotation @ np.diag(SPACING[::-1])  # of the axes right, anterior, superior
    corner = rotation @ np.array([-15.3, -20.7, 31.1])
    order = [int(np.flatnonzero(row)[0]) for row in axes]  # which of them i, j, k run along
    signs = axes[range(3), order]
    last = np.where(signs < 0, np.array(SHAPE[::-1])[order] - 1, 0)
    matrix = np.eye(4)
    matrix[:3, :3] = step[:, order] * signs
    matrix[:3, 3] = corner + step[:, order] @ last
    volume = slicer.util.addVolumeFromArray(_along(ct, order, signs), ijkToRAS=matrix, name="CT")
    volume.CreateDefaultDisplayNodes()
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Vertebrae")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for value, level in enumerate(LEVELS, start=1):
        segmentation.GetSegmentation().AddEmptySegment(level, level)
        mask = _along((labels == value).astype(np.uint8), order, signs)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, level, volume)
    return volume, segmentation


def _along(array: np.ndarray, order: list[int], signs: np.ndarray) -> np.ndarray:
    """(superior, anterior, right) -> (k, j, i)."""
    turned = np.transpose(array, [2 - axis for axis in order[::-1]])
    return np.ascontiguousarray(turned[tuple(slice(None, None, int(sign)) for sign in signs[::-1])])


def run_without_change(ct: Path, segmentation: Path, levels: dict[int, str], pattern: dict, out: Path) -> Path:
    """Write what `healthivert run` writes for TARGET, with the images as they are. pattern: some run's report."""
    case = load_case(ct, segmentation, levels)
    out.mkdir()
    (out / "conditioning").mkdir()
    target = sitk.GetArrayFromImage(case.labels) == 21  # L2
    percent = _like(case.ct, np.where(target, 25.0, 0.0).astype(np.float32))
    write_image(case.ct, out / "pseudo_healthy_ct.nii.gz", case)
    write_image(case.labels, out / "pseudo_healthy_seg.nii.gz", case, labels=True)
    write_image(percent[:, :, 8:40], out / "height_loss_map.nii.gz", case)
    write_image(_like(case.ct, target.astype(np.uint8)), out / "conditioning" / "mask.nii.gz", case)
    write_image(_like(case.ct, (~target).astype(np.float32)), out / "conditioning" / "cam.nii.gz", case)
    still = sitk.GetImageFromArray(np.zeros((*target.shape, 3), np.float32), isVector=True)
    still.CopyInformation(case.ct)
    write_volume(still, out / "displacement.nii.gz")
    spine = [{**pattern["spine"][0], "level": level, "label": value} for value, level in levels.items()]
    report = {**pattern, "vertebra": TARGET, "spine": spine}
    (out / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (out / "report.html").write_text("<html>L2</html>", encoding="utf-8")
    return out


def _like(image: sitk.Image, array: np.ndarray) -> sitk.Image:
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    return new
