"""Training samples: a vertebra as the generator will see it in a patient, with the healthy truth in the gap.

In: a scan and the truth behind it, which is a phantom's healthy twin or, of a healthy level, the scan itself. Out: one
.npz shard per vertebra. The conditioning is made by the very functions that `run` uses.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from healthivert.anatomy import LEVEL_NAME
from healthivert.bend import rebent
from healthivert.gap import GAP
from healthivert.healthy_twin import in_columns_of
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.measure import body_heights
from healthivert.phantom import Pose
from healthivert.pipeline import Prepared, complete_body, prepare
from healthivert.prior import canonical_slab
from healthivert.types import Conditioning, FloatArray, SpineCase
from healthivert.whole_file import write_whole

VOLUMES = ("ct", "mask", "attention", "neighbours", "prior_ct", "prior_body", "outline", "target_ct", "target_body")
LENGTHS = ("reference_mm", "spacing_mm", "margin_mm")


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


def make_sample(scan: SpineCase, healthy: SpineCase, level: str, pose: Pose, healthy_pose: Pose) -> TrainingSample:
    """The level hidden in scan, its twin in healthy, segmented as scan is, as the truth. The poses are the level's in
    either."""
    analysis, truth = analyse(scan), analyse(healthy)
    given = prepare(scan, analysis, level)
    complete_body(truth, level, healthy)  # or its axis could not be told
    return _sample(given, healthy, in_columns_of(analysis, truth, level, pose, healthy_pose), level)


def sample_of_scan(scan: SpineCase, analysis: SpineAnalysis, level: str) -> TrainingSample:
    """A healthy level hidden in a scan, the scan itself as the truth."""
    return _sample(prepare(scan, analysis, level), scan, analysis, level)


def _sample(given: Prepared, healthy: SpineCase, truth: SpineAnalysis, level: str) -> TrainingSample:
    height = body_heights(complete_body(truth, level, healthy)).mean
    target_ct, target_body = given.conditioning.ct.copy(), np.zeros_like(given.conditioning.ct)
    slab = canonical_slab(healthy, truth, level)
    in_its_place = rebent(slab.ct, slab.body, slab.stretch / given.conditioning.stretch)
    target_ct[GAP[0] : GAP[1]], target_body[GAP[0] : GAP[1]] = in_its_place
    ratio = float(np.log(height / given.conditioning.reference_mm))
    return TrainingSample(given.conditioning, target_ct, target_body, ratio)


def save_sample(sample: TrainingSample, path: Path) -> None:
    """One compressed .npz, written whole or not at all. Volumes are 8 bit: finer than the scanner's noise."""
    c = sample.conditioning
    shard = io.BytesIO()
    np.savez_compressed(
        shard,
        ct=_encode(c.ct, True),
        mask=_encode(c.mask, False),
        attention=_encode(c.attention, False),
        neighbours=_encode(c.neighbours, False),
        prior_ct=_encode(c.prior_ct, True),
        prior_body=_encode(c.prior_body, False),
        outline=_encode(c.outline, False),
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
    write_whole(path, shard.getvalue())


def load_sample(path: Path) -> TrainingSample:
    """What save_sample kept: all that training reads of a sample; the rest of its Conditioning is as by default. Raises
    ValueError, KeyError or OSError if the file is not a whole sample."""
    if not zipfile.is_zipfile(path):  # numpy would advise to unpickle it
        raise ValueError("it is no .npz file")
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}  # each is unpacked once
    _check(stored)
    conditioning = Conditioning(
        ct=_decode(stored["ct"], True),
        mask=_decode(stored["mask"], False),
        attention=_decode(stored["attention"], False),
        neighbours=_decode(stored["neighbours"], False),
        prior_ct=_decode(stored["prior_ct"], True),
        prior_body=_decode(stored["prior_body"], False),
        outline=_decode(stored["outline"], False),
        gap=_rows(stored["gap"]),
        cut=_rows(stored["cut"]),
        level=str(stored["level"]),
        spacing_mm=float(stored["spacing_mm"]),
        reference_mm=float(stored["reference_mm"]),
        margin_mm=float(stored["margin_mm"]),
    )
    return TrainingSample(
        conditioning,
        _decode(stored["target_ct"], True),
        _decode(stored["target_body"], False),
        float(stored["log_height_ratio"]),
    )


def _check(stored: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError, or KeyError, unless these are the arrays of a sample."""
    shape = stored["ct"].shape
    if len(shape) != 3 or shape[0] < GAP[1] or 0 in shape:
        raise ValueError(f"ct has the shape {shape}")
    for name in VOLUMES:
        if stored[name].dtype != np.uint8 or stored[name].shape != shape:
            raise ValueError(f"{name} is no volume of 8 bit like the others")
    for name in (*LENGTHS, "log_height_ratio"):
        if stored[name].shape != () or stored[name].dtype.kind not in "fiu":
            raise ValueError(f"{name} is no single number")
        if not np.isfinite(stored[name]):
            raise ValueError(f"{name} is not finite")
        if name in LENGTHS and stored[name] <= 0:
            raise ValueError(f"{name} is {stored[name]}")
    for name in ("gap", "cut"):
        if stored[name].shape != (2,) or stored[name].dtype.kind not in "iu":
            raise ValueError(f"{name} is no pair of rows")
    if not 0 <= stored["gap"][0] < stored["gap"][1] <= shape[0]:
        raise ValueError(f"gap is {stored['gap'].tolist()}, of {shape[0]} rows")


def _rows(pair: np.ndarray) -> tuple[int, int]:
    return int(pair[0]), int(pair[1])


def _encode(values: FloatArray, signed: bool) -> np.ndarray:
    scaled = (values + 1.0) * 127.5 if signed else values * 255.0
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def _decode(values: np.ndarray, signed: bool) -> FloatArray:
    out = values.astype(np.float32)
    return out / 127.5 - 1.0 if signed else out / 255.0
