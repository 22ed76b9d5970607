"""What the user withholds besides the target (cement, a bridging osteophyte) is nowhere in what the generator sees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line_case import call, usable_weights, write_spine
from conftest import block_spine, lumbar_blocks, on_grid_of

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.case import load_case
from healthivert.gap import from_window, withheld_beside_gap
from healthivert.geometry import Patch, affine_of, sample
from healthivert.inspection import analyse
from healthivert.pipeline import prepare
from healthivert.restore_patient import conditioning_on_patient
from healthivert.straighten import grid_points
from healthivert.types import SpineCase

CEMENT_HU = 790  # as nothing else in the spine


def cemented(level: str) -> tuple[SpineCase, np.ndarray]:
    """A spine with cement in a body, and where that is (SI, AP, LR)."""
    case = block_spine(lumbar_blocks(L2=(16.0, 24.0)))
    voxels = np.argwhere(sitk.GetArrayFromImage(case.labels) == LEVEL_NUMBER[level])
    middle = np.round(voxels.mean(axis=0)).astype(int)
    cement = np.zeros(case.labels.GetSize()[::-1], bool)
    cement[tuple(slice(place - 4, place + 5) for place in middle)] = True
    hu = sitk.GetArrayFromImage(case.ct)
    hu[cement] = CEMENT_HU
    return replace(case, ct=on_grid_of(case, hu)), cement


@pytest.mark.parametrize("level", ["L3", "L1"])  # below and above the target
def test_withheld_voxels_are_neither_seen_nor_laid_into_the_prior(level):
    case, cement = cemented(level)
    seen = prepare(case, analyse(case), "L2").conditioning
    assert from_window(seen.prior_ct).max() > 500  # it would be laid over the target's footprint ...
    grown = sitk.BinaryDilate(on_grid_of(case, cement.astype(np.uint8)), [1, 1, 1])  # with what interpolation spreads
    told = prepare(replace(case, withheld=grown), analyse(case), "L2").conditioning
    assert from_window(told.ct).max() < 400 and from_window(told.prior_ct).max() < 400  # ... and is nowhere now
    more = (told.mask > 0) & (seen.mask == 0)
    assert more.any() and (told.attention[more] == 0).all() and (told.ct[more] == -1).all()
    assert ((told.mask > 0) >= (seen.mask > 0)).all()
    same = told.mask == 0
    assert np.array_equal(told.ct[same], seen.ct[same])


def test_the_mask_that_is_written_holds_the_withheld_voxels():
    case, cement = cemented("L3")
    case = replace(case, withheld=on_grid_of(case, cement.astype(np.uint8)))
    given = prepare(case, analyse(case), "L2")
    withheld, attention = conditioning_on_patient(case, given.straight, given.conditioning, given.attention)
    on_ct = sitk.Resample(withheld, case.ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert (sitk.GetArrayFromImage(on_ct)[cement] == 1).all()
    dimmed = sitk.Resample(attention, case.ct, sitk.Transform(), sitk.sitkNearestNeighbor, 1.0)
    assert (sitk.GetArrayFromImage(dimmed)[cement] == 0).all()


def test_the_mask_that_is_written_holds_what_is_withheld_of_the_targets_arch_and_around_it():
    case, _ = cemented("L3")
    given = prepare(case, analyse(case), "L2")
    withheld, _ = conditioning_on_patient(case, given.straight, given.conditioning, given.attention)
    hidden = withheld_beside_gap(given.straight, "L2", given.conditioning.margin_mm)
    hidden[slice(*given.conditioning.cut)] = True
    grid = grid_points(given.straight.frame, given.straight.arc, given.straight.spacing_mm)
    found = sample(Patch(sitk.GetArrayFromImage(withheld), affine_of(withheld)), grid, order=0)
    assert (found == hidden).mean() > 0.99
    around = hidden & (given.straight.labels != LEVEL_NUMBER["L2"])
    around[slice(*given.conditioning.cut)] = False
    # which carry the label's partial volume; the two grids lie half a voxel apart
    assert around.any() and found[around].mean() > 0.5


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_spine(tmp_path_factory.mktemp("scan"))


def write_mask(path: Path, seg: Path, level: str = "L3", orientation: str = "LPS") -> Path:
    labels = sitk.ReadImage(str(seg))
    mask = sitk.Cast(sitk.Equal(labels, LEVEL_NUMBER[level]), sitk.sitkUInt8)
    sitk.WriteImage(sitk.DICOMOrient(mask, orientation), str(path))
    return path


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIL"])
def test_a_mask_in_any_orientation_is_read_on_the_cts_grid(scan, tmp_path, orientation):
    mask = write_mask(tmp_path / "mask.nii.gz", scan[1], orientation=orientation)
    case = load_case(*scan, withhold=mask)
    on_ct = sitk.Resample(case.withheld, case.ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    expected = sitk.GetArrayFromImage(case.labels) == LEVEL_NUMBER["L3"]
    assert np.array_equal(sitk.GetArrayFromImage(on_ct) > 0, expected)
    assert case.withheld.GetNumberOfPixels() < expected.size / 4  # only the box around it is kept
    assert any("besides the target were withheld" in warning for warning in case.warnings)
    assert not any("another grid" in warning for warning in case.warnings)


def test_a_mask_on_another_grid_is_resampled_and_that_is_said(scan, tmp_path):
    mask = sitk.ReadImage(str(write_mask(tmp_path / "mask.nii.gz", scan[1])))
    crop = sitk.RegionOfInterest(mask, [mask.GetSize()[0] - 6, *mask.GetSize()[1:]], [3, 0, 0])
    sitk.WriteImage(crop, str(tmp_path / "crop.nii.gz"))
    case = load_case(*scan, withhold=tmp_path / "crop.nii.gz")
    assert sitk.GetArrayViewFromImage(case.withheld).sum() == sitk.GetArrayViewFromImage(mask).sum()
    assert any("another grid" in warning for warning in case.warnings)


def test_a_run_withholds_what_it_is_given_and_says_so(scan, tmp_path):
    mask = write_mask(tmp_path / "cement.nii.gz", scan[1], "L2")
    weights = usable_weights(tmp_path)
    out = tmp_path / "out"
    assert call("run", *scan, "--vertebra", "L1", "--withhold", mask, "--out", out, *weights) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert any("withheld from the generator (cement.nii.gz)" in warning for warning in report["warnings"])
    hidden = sitk.ReadImage(str(out / "conditioning" / "mask.nii.gz"))
    labels = sitk.ReadImage(str(scan[1]))
    covered = sitk.GetArrayFromImage(sitk.Resample(hidden, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
    beside = np.argwhere(sitk.GetArrayFromImage(labels) == LEVEL_NUMBER["L2"])
    assert covered[tuple(np.round(beside.mean(axis=0)).astype(int))] == 1


def empty(folder: Path, scan: tuple[Path, Path]) -> Path:
    labels = sitk.ReadImage(str(scan[1]))
    sitk.WriteImage(labels * 0, str(folder / "empty.nii.gz"))
    return folder / "empty.nii.gz"


def elsewhere(folder: Path, scan: tuple[Path, Path]) -> Path:
    mask = sitk.ReadImage(str(write_mask(folder / "far.nii.gz", scan[1])))
    mask.SetOrigin([value + 1000 for value in mask.GetOrigin()])
    sitk.WriteImage(mask, str(folder / "far.nii.gz"))
    return folder / "far.nii.gz"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder, scan: folder / "nothing.nii.gz", "no such file"),
        (empty, "the mask is empty"),
        (elsewhere, "does not overlap"),
    ],
    ids=["missing", "empty", "elsewhere"],
)
def test_a_mask_that_cannot_be_used_is_one_clear_line(make, told, scan, tmp_path, capsys):
    mask = make(tmp_path, scan)
    assert call("run", *scan, "--vertebra", "L1", "--withhold", mask, "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert told in lines[-1] and str(mask) in lines[-1]
    assert not (tmp_path / "out").exists()
