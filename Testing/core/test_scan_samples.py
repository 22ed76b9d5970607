"""Data sets of real scans: finding their pairs, making samples of their healthy levels, and weights from them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line_case import call, write_spine
from conftest import Block
from worker_case import killed_at_three, slow_but_for_zero

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.errors import HealthiVertError
from healthivert.phantom import level_grid
from healthivert.phantom import write as phantom_files
from healthivert.training.sample_folder import shards
from healthivert.training.samples import load_sample
from healthivert.training.scan_folders import Scan, find_scans, unpaired_files
from healthivert.training.scan_samples import (
    LEVELS_FILE,
    LevelOutcome,
    _write_outcomes,
    read_outcomes,
    samples_of_scans,
    shard_name,
)
from healthivert.training.worker_processes import results_of

HEIGHT_MM, PITCH_MM = 27.0, 35.0


def quiet(*_: object) -> None:
    """No progress."""


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def three_levels(*heights: float) -> list[Block]:
    """L3 to L1 from below, of the given heights."""
    levels = ("L3", "L2", "L1")
    return [Block(level, PITCH_MM * i, h, h) for i, (level, h) in enumerate(zip(levels, heights, strict=True))]


@pytest.fixture(scope="module")
def verse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects in VerSe's layout; the first has its L3 crushed."""
    root = tmp_path_factory.mktemp("verse")
    for subject, blocks in (
        ("sub-verse004", three_levels(13.0, HEIGHT_MM, HEIGHT_MM)),
        ("sub-verse005", three_levels(HEIGHT_MM, HEIGHT_MM, HEIGHT_MM)),
    ):
        ct, mask = write_spine(root / "drawn", blocks)
        raw, derived = (root / branch / subject for branch in ("rawdata", "derivatives"))
        raw.mkdir(parents=True), derived.mkdir(parents=True)
        shutil.move(ct, raw / f"{subject}_ct.nii.gz")
        shutil.move(mask, derived / f"{subject}_seg-vert_msk.nii.gz")
        (derived / f"{subject}_seg-vb_ctd.json").write_text("[]")
    return root


def test_verse_pairs_are_found_by_name_whatever_branch_they_lie_in(tmp_path):
    for subject, scan in (("sub-gl003", "_dir-ax"), ("sub-gl003", "_dir-sag"), ("sub-verse500", "")):
        touch(
            tmp_path / "dataset-01training/rawdata" / subject / f"{subject}{scan}_ct.nii.gz",
            tmp_path / "dataset-01training/derivatives" / subject / f"{subject}{scan}_seg-vert_msk.nii.gz",
        )
    touch(tmp_path / "dataset-01training/rawdata/sub-alone/sub-alone_ct.nii.gz")
    found = find_scans(tmp_path)
    assert [(scan.subject, scan.name) for scan in found] == [
        ("sub-gl003", "sub-gl003_dir-ax"),
        ("sub-gl003", "sub-gl003_dir-sag"),
        ("sub-verse500", "sub-verse500"),
    ]
    assert found[1].mask.name == "sub-gl003_dir-sag_seg-vert_msk.nii.gz" and found[1].ct.name.endswith("sag_ct.nii.gz")
    assert [path.name for path in unpaired_files(tmp_path, found)] == ["sub-alone_ct.nii.gz"]


def test_what_a_phantom_holds_besides_its_scan_is_not_missing_anything(tmp_path):
    touch(*(tmp_path / "case_0000" / f"{name}.nii.gz" for name in ("ct", "seg", "healthy_ct", "healthy_seg")))
    touch(tmp_path / "case_0001" / "ct.nii.gz")
    assert [path.parent.name for path in unpaired_files(tmp_path, find_scans(tmp_path))] == ["case_0001"]


def test_names_that_samples_could_not_tell_from_each_other_are_refused(tmp_path):
    for name in ("sub-x_run_1", "sub-x_run-1"):
        touch(tmp_path / "sub-x" / f"{name}_ct.nii.gz", tmp_path / "sub-x" / f"{name}_seg-vert_msk.nii.gz")
    with pytest.raises(HealthiVertError, match="has the same name as"):
        find_scans(tmp_path)


def test_a_mask_that_does_not_lie_on_the_spine_is_said_and_kept_in_the_list(verse, tmp_path):
    subject = tmp_path / "data" / "sub-beside"
    subject.mkdir(parents=True)
    ct = sitk.ReadImage(str(verse / "rawdata/sub-verse005/sub-verse005_ct.nii.gz"))
    muscle = sitk.GetImageFromArray(np.random.default_rng(0).normal(50, 20, ct.GetSize()[::-1]).astype(np.int16))
    muscle.CopyInformation(ct)
    sitk.WriteImage(muscle, str(subject / "sub-beside_ct.nii.gz"))
    mask = verse / "derivatives/sub-verse005/sub-verse005_seg-vert_msk.nii.gz"
    shutil.copy(mask, subject / "sub-beside_seg-vert_msk.nii.gz")
    touch(subject / "sub-alone_ct.nii.gz")
    told: list[str] = []
    samples_of_scans(tmp_path / "data", tmp_path / "out", 1, lambda stage, _, text: told.append(f"{stage} {text}"))
    assert any(line.startswith("warning sub-beside: ") and "may not lie on the spine" in line for line in told)
    assert any(line.startswith("warning left out: 1 ") and "sub-alone_ct.nii.gz" in line for line in told)
    rows = read_outcomes(tmp_path / "out")
    assert rows and all("may not lie on the spine" in row.warnings for row in rows)


def test_a_list_of_an_earlier_version_is_gone_on_with(tmp_path):
    (tmp_path / LEVELS_FILE).write_text("scan,level,outcome,ct_bytes,mask\na,L1,used,10,ab\n")
    assert read_outcomes(tmp_path) == [LevelOutcome("a", "L1", "used", "10", "ab", "")]


def test_a_name_that_is_no_utf_8_is_kept_as_it_is(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    _write_outcomes(tmp_path, [LevelOutcome(name, "L1", "used", "10", "ab")])
    assert read_outcomes(tmp_path)[0].scan == name


def test_totalsegmentator_verse_2019_and_plain_folders_are_found(tmp_path):
    touch(tmp_path / "total/s0001/ct.nii.gz", tmp_path / "total/s0001/segmentations/vertebrae_L1.nii.gz")
    touch(tmp_path / "total/s0001/segmentations/spleen.nii.gz")
    touch(tmp_path / "old/verse010.nii.gz", tmp_path / "old/verse010_seg.nii.gz")
    touch(tmp_path / "plain/case_0000/ct.nii.gz", tmp_path / "plain/case_0000/seg.nii.gz")
    touch(tmp_path / "plain/case_0000/healthy_ct.nii.gz", tmp_path / "plain/case_0000/healthy_seg.nii.gz")
    found = {scan.name: (scan.ct.name, scan.mask.name) for scan in find_scans(tmp_path)}
    assert found == {
        "verse010": ("verse010.nii.gz", "verse010_seg.nii.gz"),
        "total-s0001": ("ct.nii.gz", "segmentations"),
        "plain-case-0000": ("ct.nii.gz", "seg.nii.gz"),
    }


def test_folders_named_as_bids_names_subjects_tell_whose_scan_it_is(tmp_path):
    for place in ("sub-01/ses-1", "sub-01/ses-2", "sub-02/ses-1"):
        touch(tmp_path / place / "ct.nii.gz", tmp_path / place / "seg.nii.gz")
    assert [(scan.subject, scan.name) for scan in find_scans(tmp_path)] == [
        ("sub-01", "sub-01-ses-1"),
        ("sub-01", "sub-01-ses-2"),
        ("sub-02", "sub-02-ses-1"),
    ]


@pytest.mark.parametrize(("ct", "mask"), [("{}", "{}_seg"), ("{}_ct", "{}_seg-vert_msk")])
def test_a_subjects_folder_is_a_person_whatever_the_files_in_it_are_called(tmp_path, ct, mask):
    for subject in ("sub-01", "sub-02"):
        for day in ("monday", "tuesday"):
            touch(*(tmp_path / subject / f"{name.format(day)}.nii.gz" for name in (ct, mask)))
    assert [(scan.subject, scan.name) for scan in find_scans(tmp_path)] == [
        (subject, f"{subject}_{day}") for subject in ("sub-01", "sub-02") for day in ("monday", "tuesday")
    ]


def test_a_mask_named_after_its_ct_is_found_in_folder_after_folder_and_no_ct_twice(tmp_path):
    touch(tmp_path / "a/ct.nii.gz", tmp_path / "a/ct_seg.nii.gz")
    touch(*(tmp_path / "b" / name for name in ("ct.nii.gz", "ct_seg.nii.gz", "seg.nii.gz")))
    assert [(scan.name, scan.mask.name) for scan in find_scans(tmp_path)] == [
        ("a", "ct_seg.nii.gz"),
        ("b", "seg.nii.gz"),
    ]


def test_two_cts_of_one_name_are_refused(tmp_path):
    touch(*(tmp_path / split / "rawdata/s_ct.nii.gz" for split in "ab"))
    touch(tmp_path / "a/derivatives/s_seg-vert_msk.nii.gz")
    with pytest.raises(HealthiVertError, match=r"s_ct\.nii\.gz: has the same name as .*a/rawdata"):
        find_scans(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs rights there")
def test_a_subject_that_is_a_link_is_found_and_one_that_leads_back_is_not_followed(tmp_path):
    touch(tmp_path / "elsewhere/s2/ct.nii.gz", tmp_path / "elsewhere/s2/seg.nii.gz")
    touch(tmp_path / "data/s1/ct.nii.gz", tmp_path / "data/s1/seg.nii.gz")
    (tmp_path / "data/s2").symlink_to(tmp_path / "elsewhere/s2")
    (tmp_path / "data/s1/back").symlink_to(tmp_path / "data")
    assert [scan.name for scan in find_scans(tmp_path / "data")] == ["s1", "s2"]


def test_a_folder_without_pairs_is_refused(tmp_path):
    touch(tmp_path / "notes.txt", tmp_path / "lonely_ct.nii.gz")
    with pytest.raises(HealthiVertError, match="holds no CT with a vertebra mask; give a folder in the layout of"):
        find_scans(tmp_path)
    with pytest.raises(HealthiVertError, match="there is no such folder"):
        find_scans(tmp_path / "absent")


def test_two_scans_of_one_person_are_kept_on_one_side_of_the_validation(tmp_path):
    for subject, scan in (("sub-1", "sub-1_dir-ax"), ("sub-1", "sub-1_dir-sag"), ("sub-2", "sub-2")):
        touch(tmp_path / f"{shard_name(Scan(subject, scan, tmp_path, tmp_path), 'L1')}.npz")
    training, validation = shards(tmp_path, 0.5)
    assert [path.name for path in training] == ["sub-1_dir-ax-L1.npz", "sub-1_dir-sag-L1.npz"]
    assert [path.name for path in validation] == ["sub-2_L1.npz"]


def test_samples_are_made_of_every_healthy_level_of_a_folder_in_verse_layout(verse, tmp_path, capsys):
    data = tmp_path / "data"
    assert call("samples", "--from", verse, "--out", data) == 0
    assert "5 used, 1 looks fractured" in capsys.readouterr().out
    rows = [line.split(",") for line in (data / "levels.csv").read_text().splitlines()]
    assert rows[0] == ["scan", "level", "outcome", "ct_bytes", "mask", "warnings"]
    assert ["sub-verse004", "L3", "looks fractured"] in [row[:3] for row in rows]
    assert {path.name for path in data.glob("*.npz")} == {
        *(f"sub-verse004_{level}.npz" for level in ("L1", "L2")),
        *(f"sub-verse005_{level}.npz" for level in ("L1", "L2", "L3")),
    }
    sample = load_sample(data / "sub-verse005_L2.npz")
    true = sample.conditioning.reference_mm * np.exp(sample.log_height_ratio)
    assert true == pytest.approx(HEIGHT_MM, abs=1.0) and sample.target_body.max() == 1


def test_a_file_for_each_structure_gives_the_samples_of_the_one_mask_with_all_of_them(tmp_path):
    ct, mask = write_spine(tmp_path / "drawn", three_levels(HEIGHT_MM, HEIGHT_MM, HEIGHT_MM))
    subject = tmp_path / "total" / "s0001"
    (subject / "segmentations").mkdir(parents=True)
    shutil.copy(ct, subject / "ct.nii.gz")
    numbers = sitk.ReadImage(str(mask))
    structures = {f"vertebrae_{level}": numbers == LEVEL_NUMBER[level] for level in ("T12", "L1", "L2", "L3")}
    for name, structure in {**structures, "spleen": numbers == 0}.items():  # of T12, an empty file
        sitk.WriteImage(structure, str(subject / "segmentations" / f"{name}.nii.gz"))
    plain = tmp_path / "plain" / "s0001"
    plain.mkdir(parents=True)
    shutil.copy(ct, plain / "ct.nii.gz"), shutil.copy(mask, plain / "seg.nii.gz")
    for layout in ("total", "plain"):
        assert call("samples", "--from", tmp_path / layout, "--out", tmp_path / f"{layout} data") == 0
    found, expected = ({path.name: path for path in tmp_path.glob(f"{of} data/*.npz")} for of in ("total", "plain"))
    assert found.keys() == expected.keys() == {f"s0001_{level}.npz" for level in ("L1", "L2", "L3")}
    for name in found:
        with np.load(found[name]) as one, np.load(expected[name]) as other:
            assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases of `healthivert phantom`, of a few levels around L2 only and coarse: whole ones would take minutes."""
    out = tmp_path_factory.mktemp("phantoms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_files, "scan_grid", lambda spine: level_grid(spine, "L2", (110.0, 120.0, 150.0), 3.0))
        assert call("phantom", "--out", out, "--count", 2, "--seed", 1) == 0
    return out


def test_phantoms_are_read_as_they_are_written(phantoms, tmp_path):
    one = shutil.copytree(phantoms / "case_0000", tmp_path / "phantoms" / "case_0000").parent
    assert call("samples", "--from", one, "--out", tmp_path / "data") == 0
    assert {"case-0000_L1.npz", "case-0000_L2.npz", "case-0000_L3.npz"} <= {p.name for p in tmp_path.glob("data/*.npz")}


def test_from_a_folder_in_verse_layout_to_new_weights_in_three_commands(phantoms, tmp_path):
    root, data, run = tmp_path / "verse", tmp_path / "data", tmp_path / "run"
    for number in range(2):
        subject = f"sub-verse{number:03d}"
        for branch, file, name in (("rawdata", "ct", "ct"), ("derivatives", "seg", "seg-vert_msk")):
            (root / branch / subject).mkdir(parents=True)
            goal = root / branch / subject / f"{subject}_{name}.nii.gz"
            shutil.copy(phantoms / f"case_{number:04d}" / f"{file}.nii.gz", goal)
    recipe = tmp_path / "recipe.json"
    trainer = {"steps": 2, "batch_size": 2, "adversarial_start": 1, "held_out": 0.5}
    content = {"model": "gan", "samples": {"count": 1, "seed": 0}, "trainer": trainer, "generator": {"width": 4}}
    recipe.write_text(json.dumps(content))
    assert call("samples", "--from", root, "--out", data) == 0
    assert call("train", "--data", data, "--out", run, "--recipe", recipe) == 0
    scan = (root / "rawdata/sub-verse001/sub-verse001_ct.nii.gz", goal)
    assert call("run", *scan, "--vertebra", "L2", "--out", tmp_path / "r", "--weights", run / "gan.safetensors") == 0
    loss = json.loads((tmp_path / "r" / "report.json").read_text())["rhlv"]["mean"]
    assert abs(loss) < 0.15, "two steps leave nearly the neighbours' picture, and this level is healthy"


def test_what_is_done_is_not_done_again_and_a_bad_scan_ends_nothing(verse, tmp_path, monkeypatch):
    root, out = tmp_path / "verse", tmp_path / "data"
    shutil.copytree(verse, root)
    (root / "rawdata/sub-verse004/sub-verse004_ct.nii.gz").write_bytes(b"cut short")
    made = samples_of_scans(root, out, 1, quiet)
    assert made == {"used": 3, "refused": 1}
    assert "sub-verse004_ct.nii.gz" in (out / "levels.csv").read_text()

    def fail(*_: object) -> None:
        raise AssertionError("a scan that is done was read again")

    monkeypatch.setattr("healthivert.training.scan_samples.load_case", fail)
    with pytest.raises(AssertionError):
        samples_of_scans(root, out, 1, quiet)  # the one that was refused is tried again
    monkeypatch.undo()
    mended = "rawdata/sub-verse004/sub-verse004_ct.nii.gz"
    shutil.copy(verse / mended, root / mended)
    whole = samples_of_scans(root, out, 1, quiet)
    assert whole["used"] > made["used"] and "refused" not in whole
    monkeypatch.setattr("healthivert.training.scan_samples.load_case", fail)
    assert samples_of_scans(root, out, 1, quiet) == whole


def test_a_sample_that_is_gone_is_made_again(verse, tmp_path):
    out = tmp_path / "data"
    made = samples_of_scans(verse, out, 1, quiet)
    gone = min(out.glob("*.npz"))
    content = gone.read_bytes()
    gone.unlink()
    assert samples_of_scans(verse, out, 1, quiet) == made and gone.read_bytes() == content


def test_samples_of_a_mask_that_has_changed_are_made_again_and_that_is_said(verse, tmp_path):
    root, out, said = tmp_path / "verse", tmp_path / "data", []
    shutil.copytree(verse, root)
    mask = root / "derivatives/sub-verse005/sub-verse005_seg-vert_msk.nii.gz"
    image = sitk.ReadImage(str(mask))
    sitk.WriteImage(image * (image != LEVEL_NUMBER["L3"]), str(mask))
    samples_of_scans(root, out, 1, quiet)
    before = {path.name: path.read_bytes() for path in out.glob("*.npz")}
    assert "sub-verse005_L3.npz" not in before
    sitk.WriteImage(image * (image != LEVEL_NUMBER["L1"]), str(mask))
    samples_of_scans(root, out, 1, lambda *words: said.append(words[2]))
    after = {path.name: path.read_bytes() for path in out.glob("*.npz")}
    assert "the mask of sub-verse005 has changed: its samples are made again" in said
    assert "sub-verse005_L3.npz" in after and "sub-verse005_L1.npz" not in after
    assert after["sub-verse005_L2.npz"] != before["sub-verse005_L2.npz"]
    assert all(after[name] == content for name, content in before.items() if "verse004" in name)
    samples_of_scans(root, out, 1, lambda *words: said.append(words[2]))
    assert sum("has changed" in line for line in said) == 1


def test_another_scan_of_the_same_name_is_refused_before_anything_is_made(verse, tmp_path):
    root, out = tmp_path / "verse", tmp_path / "data"
    samples_of_scans(verse, out, 1, quiet)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moved = tmp_path / "moved"
    shutil.copytree(verse, moved)
    samples_of_scans(moved, out, 1, quiet)  # the same scans, wherever they lie
    shutil.copytree(verse, root)
    other, name = sorted(root.glob("rawdata/*/*_ct.nii.gz"))[:2]
    shutil.copy(other, name)
    with pytest.raises(HealthiVertError, match=r"has samples of another scan named sub-verse\d+; rename it"):
        samples_of_scans(root, out, 1, quiet)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_whose_levels_are_all_unusable_is_refused_and_says_where_to_look(verse, tmp_path):
    root = tmp_path / "verse"
    shutil.copytree(verse, root)
    for ct in root.glob("rawdata/*/*_ct.nii.gz"):
        ct.write_bytes(b"cut short")
    with pytest.raises(HealthiVertError, match=r"no level can be trained on; .*levels\.csv says why"):
        samples_of_scans(root, tmp_path / "data", 1, quiet)


def test_a_killed_worker_is_noticed_and_said():
    with pytest.raises(HealthiVertError, match=r"worker processes was killed.*what was finished is kept.*--workers"):
        list(results_of(killed_at_three, range(4), 2))
    assert sorted(results_of(killed_at_three, range(3), 2)) == [0, 1, 4]


def test_whoever_stops_waiting_ends_the_workers_at_once():
    results = results_of(slow_but_for_zero, range(3), 2)
    assert next(results) == 0
    begin = time.monotonic()
    results.close()
    assert time.monotonic() - begin < 20
