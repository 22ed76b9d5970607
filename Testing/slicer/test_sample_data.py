"""The phantom in Slicer's Sample Data module: from the extension's own files, checked, with documented numbers."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import sample_data_stand_in
import slicer
from HealthiVertSlicerLib import levels, sample_data, selftest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "HealthiVertCore" / "src" / "healthivert" / "data" / "demo"


@pytest.fixture(autouse=True)
def sample_data_module(monkeypatch):
    sample_data_stand_in.install(monkeypatch)


def truth() -> dict[str, dict]:
    rows = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["levels"]
    return {row["level"]: row for row in rows}


def test_the_files_are_those_of_the_installation_and_have_the_registered_checksums():
    registered = (sample_data.CT_CHECKSUM, sample_data.SEGMENTATION_CHECKSUM)
    for path, checksum in zip(sample_data.sample_files(), registered, strict=True):
        assert f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == checksum, path


def test_the_sample_is_offered_once_with_its_picture(scene):
    sample_data.register_sample_data()
    sample_data.register_sample_data()
    [source] = slicer.modules.sampleDataSources[sample_data.CATEGORY]
    assert source.sampleName == sample_data.SAMPLE
    assert all(uri.startswith("file:///") for uri in source.uris)
    assert Path(source.thumbnailFileName).is_file()
    assert sample_data.CATEGORY in slicer.modules.sampleDataSourceCategories


def test_an_incomplete_installation_is_said_in_the_log_and_slicer_starts(scene, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(sample_data, "RESOURCES", tmp_path)
    with caplog.at_level(logging.WARNING):
        sample_data.register_sample_data()
    assert "install the extension again" in caplog.text
    assert slicer.modules.sampleDataSources == {}


def test_the_loaded_segments_are_the_phantoms_labels_on_the_scans_grid(scene):
    volume, segmentation = sample_data.load_sample()
    labels = slicer.util.arrayFromVolume(slicer.util.loadLabelVolume(str(DEMO / "seg.nii.gz")))
    found = levels.segment_levels(segmentation)
    assert set(found.values()) == set(truth())
    for segment_id, level in found.items():
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume)
        np.testing.assert_array_equal(voxels != 0, labels == truth()[level]["label"], err_msg=level)


def test_the_vertebrae_are_known_by_their_terminology_alone(scene):
    segmentation = sample_data.load_sample()[1]
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segments.GetSegment(segment_id).SetName("renamed")
    assert set(levels.segment_levels(segmentation).values()) == set(truth())


def test_a_damaged_copy_in_the_cache_is_replaced(scene):
    cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
    (cache / f"{sample_data.SAMPLE}.seg.nrrd").write_bytes(b"damaged")
    segmentation = sample_data.load_sample()[1]
    assert segmentation.GetSegmentation().GetNumberOfSegments() == len(truth())


def test_the_documented_numbers_are_the_phantoms_and_those_the_self_test_checks():
    fractured = truth()[selftest.FRACTURED]
    text = (ROOT / "docs" / "slicer.md").read_text(encoding="utf-8")
    for key in selftest.PHANTOM_LOSS:
        row = re.search(rf"\| {key} \| ([\d.]+) mm \| ([\d.]+) mm \| \+([\d.]+) % \|", text)
        assert row, f"docs/slicer.md has no row for {key}"
        documented = [float(number) for number in row.groups()]
        expected = [fractured["heights_mm"][key], fractured["healthy_heights_mm"][key], 100 * fractured["rhlv"][key]]
        np.testing.assert_allclose(documented, expected, atol=0.051)
        assert selftest.PHANTOM_LOSS[key] == pytest.approx(fractured["rhlv"][key], abs=6e-4)
        assert selftest.PHANTOM_HEIGHTS_MM[key] == pytest.approx(fractured["heights_mm"][key], abs=0.051)
    assert {"grade": fractured["genant"], "shape": fractured["shape"]} == selftest.PHANTOM_GRADE
