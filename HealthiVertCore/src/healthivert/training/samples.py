"""Training samples: a phantom vertebra as the generator will see it in a patient, with the healthy truth in the gap.

In: seeds. Out: one .npz shard per vertebra. The conditioning is made by the very functions that `run` uses, on the
rendered labels, half of the time from a fractured scan whose healthy twin is the truth.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from healthivert.anatomy import LEVEL_NAME
from healthivert.gap import GAP, slab_to_gap, to_window
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights
from healthivert.pipeline import Prepared, prepare
from healthivert.types import Conditioning, FloatArray, SpineCase


@dataclass(frozen=True)
class TrainingSample:
    """conditioning as in a run; target_ct (-1..1) and target_body (0..1), (SI, AP, LR), are the conditioning's frame
    with the healthy vertebra in the gap; log_height_ratio = log(true healthy mean height /
    conditioning.reference_mm)."""

    conditioning: Conditioning
    target_ct: FloatArray
    target_body: FloatArray
    log_height_ratio: float


def case_from_images(ct: sitk.Image, labels: sitk.Image, name: str) -> SpineCase:
    """A SpineCase from images that are already in LPS and hold our level numbers (rendered phantoms)."""
    present = np.unique(sitk.GetArrayViewFromImage(labels))
    values = {LEVEL_NAME[int(v)]: int(v) for v in present if int(v) in LEVEL_NAME}
    return SpineCase(ct, sitk.Cast(labels, sitk.sitkUInt8), name, "LPS", values)


def make_sample(scan: SpineCase, healthy: SpineCase, level: str) -> TrainingSample:
    """The level hidden in scan, its twin in healthy as the truth. Both may be the same case.

    healthy's labels may lie on a finer grid than its CT, since both are read in millimetres.
    """
    given = prepare(scan, analyse(scan), level)
    truth_analysis = analyse(healthy)
    truth = prepare(healthy, truth_analysis, level)
    return _sample(given, truth, truth_analysis, level)


def _sample(given: Prepared, truth: Prepared, truth_analysis: SpineAnalysis, level: str) -> TrainingSample:
    height = body_heights(truth_analysis.bodies[level]).mean
    target_ct, target_body = given.conditioning.ct.copy(), np.zeros_like(given.conditioning.ct)
    cut = truth.conditioning.cut
    target_ct[GAP[0] : GAP[1]] = slab_to_gap(to_window(truth.straight.ct).astype(np.float32), cut)
    target_body[GAP[0] : GAP[1]] = slab_to_gap(truth.old_body.astype(np.float32), cut)
    ratio = float(np.log(height / given.conditioning.reference_mm))
    return TrainingSample(given.conditioning, target_ct, target_body, ratio)


def save_sample(sample: TrainingSample, path: Path) -> None:
    """One compressed .npz, written whole or not at all. Volumes are 8 bit: finer than the scanner's noise."""
    c = sample.conditioning
    partial = path.with_suffix(f".partial-{os.getpid()}.npz")
    np.savez_compressed(
        partial,
        ct=_encode(c.ct, True),
        mask=_encode(c.mask, False),
        attention=_encode(c.attention, False),
        neighbours=_encode(c.neighbours, False),
        target_ct=_encode(sample.target_ct, True),
        target_body=_encode(sample.target_body, False),
        log_height_ratio=np.float32(sample.log_height_ratio),
        reference_mm=np.float32(c.reference_mm),
        spacing_mm=np.float32(c.spacing_mm),
        margin_mm=np.float32(c.margin_mm),
        gap=np.array(c.gap),
        cut=np.array(c.cut),
        level=np.array(c.level),
    )
    os.replace(partial, path)


def load_sample(path: Path) -> TrainingSample:
    """The inverse of save_sample. Raises ValueError, KeyError or OSError if the file is not a whole sample."""
    with np.load(path, allow_pickle=False) as file:
        conditioning = Conditioning(
            ct=_decode(file["ct"], True),
            mask=_decode(file["mask"], False),
            attention=_decode(file["attention"], False),
            neighbours=_decode(file["neighbours"], False),
            gap=_rows(file["gap"]),
            cut=_rows(file["cut"]),
            level=str(file["level"]),
            spacing_mm=float(file["spacing_mm"]),
            reference_mm=float(file["reference_mm"]),
            margin_mm=float(file["margin_mm"]),
        )
        return TrainingSample(
            conditioning,
            _decode(file["target_ct"], True),
            _decode(file["target_body"], False),
            float(file["log_height_ratio"]),
        )


def _rows(pair: np.ndarray) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])


def _encode(values: FloatArray, signed: bool) -> np.ndarray:
    scaled = (values + 1.0) * 127.5 if signed else values * 255.0
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _decode(values: np.ndarray, signed: bool) -> FloatArray:
    out = values.astype(np.float32)
    return out / 127.5 - 1.0 if signed else out / 255.0
