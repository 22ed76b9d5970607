"""What the command writes and prints, and how it is stopped: the contract that scripts and the panel rely on."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line_case import call, command, usable_weights, write_shards, write_spine
from conftest import Block, lumbar_blocks

import healthivert
from healthivert import __version__
from healthivert.anatomy import LEVEL_NUMBER
from healthivert.phantom import write as phantom_files
from healthivert.phantom.grid import Grid

HEIGHT_KEYS = {"anterior", "middle", "posterior", "mean"}
RESULTS = {
    *("report.json", "heights.csv", "levels.csv", "report.html", "figures", "conditioning"),
    *("pseudo_healthy_ct.nii.gz", "pseudo_healthy_seg.nii.gz", "displacement.nii.gz", "height_loss_map.nii.gz"),
}
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return usable_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """T12 to L5, L1 wedged, 2 mm."""
    return write_spine(tmp_path_factory.mktemp("scan"))


@pytest.fixture(scope="module")
def results(scan, weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "out"
    assert call("run", *scan, "--vertebra", "L1", "--out", out, *weights) == 0
    return out


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def progress_lines(text: str) -> list[dict]:
    assert text.isascii()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(set(line) == {"stage", "fraction", "message"} for line in lines)
    return lines


def assert_rises_to_one(lines: list[dict]) -> None:
    fractions = [line["fraction"] for line in lines]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1


# run


def test_run_writes_every_file_of_the_contract_and_nothing_else(results: Path) -> None:
    assert {entry.name for entry in results.iterdir()} == RESULTS
    assert {entry.name for entry in (results / "conditioning").iterdir()} == {"mask.nii.gz", "cam.nii.gz"}
    assert any(entry.suffix == ".png" for entry in (results / "figures").iterdir())
    assert {entry.name for entry in results.parent.iterdir()} == {"out"}
    assert next(csv.DictReader((results / "heights.csv").open(encoding="utf-8")))["vertebra"] == "L1"


def test_report_json_has_the_keys_of_the_contract(results: Path) -> None:
    report = report_of(results)
    assert report["vertebra"] == "L1" and report["seed"] == 0 and report["samples"] == 1
    assert report["device"] in ("cpu", "cuda", "mps")
    assert set(report["model"]) >= {"name", "sha256"} and len(report["model"]["sha256"]) == 64
    assert set(report["heights_mm"]) >= {"original", "pseudo_healthy", "neighbour_reference"}
    assert all(set(heights) == HEIGHT_KEYS for heights in report["heights_mm"].values())
    assert set(report["rhlv"]) == HEIGHT_KEYS
    assert report["rhlv_sd"] is None or set(report["rhlv_sd"].values()) == {None}
    assert set(report["genant"]) == {"grade", "shape", "by"} and report["genant"]["by"] in ("thresholds", "svm")
    assert {"schema", "rhlv_reference", "warnings", "timing_s", "versions"} <= set(report)
    assert report["versions"]["healthivert"] == __version__


def test_the_loss_is_that_of_the_wedge(results: Path) -> None:
    report = report_of(results)
    original, healthy, loss = (report[k[0]][k[1]] if k[1] else report[k[0]] for k in LOSS_KEYS)
    assert original["anterior"] == pytest.approx(17.0, abs=1.5)  # 15 mm in front, 25 behind: 16.7, 20, 23.3 by thirds
    assert original["posterior"] == pytest.approx(23.0, abs=1.5)
    for key in HEIGHT_KEYS:
        assert loss[key] == pytest.approx(1 - original[key] / healthy[key], abs=1e-3)
    assert loss["anterior"] > loss["posterior"]


LOSS_KEYS = (("heights_mm", "original"), ("heights_mm", "pseudo_healthy"), ("rhlv", ""))


def test_images_lie_on_the_scans_grid_under_the_users_labels(results: Path, scan) -> None:
    before = sitk.ReadImage(str(scan[0]))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(scan[1])))
    for name in ("pseudo_healthy_ct", "pseudo_healthy_seg"):
        assert_same_grid(sitk.ReadImage(str(results / f"{name}.nii.gz")), before)
    regrown = sitk.GetArrayFromImage(sitk.ReadImage(str(results / "pseudo_healthy_seg.nii.gz")))
    assert set(np.unique(regrown)) == set(np.unique(labels))
    assert np.count_nonzero(regrown == 20) > 1.05 * np.count_nonzero(labels == 20)
    assert np.array_equal(regrown == 24, labels == 24)


def assert_same_grid(one: sitk.Image, other: sitk.Image) -> None:
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(one, what)(), getattr(other, what)(), atol=1e-4), what


def test_one_seed_gives_one_answer_and_force_replaces_results(
    results: Path, scan, weights, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "again"
    out.mkdir()
    (out / "report.json").write_text("old")
    (out / "notes.txt").write_text("the user's own")
    assert call("run", *scan, "--vertebra", "L1", "--out", out, *weights) == 2
    assert (out / "report.json").read_text() == "old"
    capsys.readouterr()
    assert call("run", *scan, "--vertebra", "l1", "--out", out, "--force", "--json-progress", *weights) == 0
    shown = capsys.readouterr()
    first, second = (report_of(folder) | {"timing_s": None} for folder in (results, out))
    assert first == second
    assert {entry.name for entry in out.iterdir()} == RESULTS | {"notes.txt"}
    assert_rises_to_one(progress_lines(shown.out))
    assert "Genant grade" in shown.err, "with --json-progress the numbers for people go to standard error"


def test_weights_of_the_other_model_are_refused_by_its_name(scan, tmp_path: Path, capsys: Captured) -> None:
    diffusion = Path(healthivert.__file__).parent / "weights" / "diffusion.safetensors"
    assert call("run", *scan, "--vertebra", "L1", "--out", tmp_path / "out", "--weights", diffusion) == 2
    told = capsys.readouterr().err
    assert str(diffusion) in told and "--model diffusion" in told
    assert not (tmp_path / "out").exists()


def test_several_samples_give_a_spread(scan, weights, tmp_path: Path) -> None:
    assert call("run", *scan, "--vertebra", "L2", "--out", tmp_path / "out", "--samples", 2, *weights) == 0
    report = report_of(tmp_path / "out")
    assert report["samples"] == 2
    assert set(report["rhlv_sd"]) == HEIGHT_KEYS and all(value >= 0 for value in report["rhlv_sd"].values())


def oriented(scan, code: str, folder: Path) -> list[Path]:
    paths = [folder / f"{code}_{name}.nrrd" for name in ("ct", "seg")]
    for path, original in zip(paths, scan, strict=True):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(original)), code), str(path))
    return paths


def test_a_turned_scan_gives_the_same_answer_on_its_own_grid(results: Path, scan, weights, tmp_path: Path) -> None:
    files = oriented(scan, "PIR", tmp_path)
    assert call("run", *files, "--vertebra", "L1", "--out", tmp_path / "out", *weights) == 0
    before, after = report_of(results), report_of(tmp_path / "out")
    for kind in ("original", "pseudo_healthy"):
        assert after["heights_mm"][kind] == pytest.approx(before["heights_mm"][kind], abs=0.3)
    image = sitk.ReadImage(str(tmp_path / "out" / "pseudo_healthy_ct.nii.gz"))
    assert_same_grid(image, sitk.ReadImage(str(files[0])))
    turned_back = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")).astype(float)
    reference = sitk.GetArrayFromImage(sitk.ReadImage(str(results / "pseudo_healthy_ct.nii.gz"))).astype(float)
    assert np.abs(turned_back - reference).mean() < 2


# What is said, not refused


def write_changed(folder: Path, blocks: list[Block], paint=None) -> tuple[Path, Path]:
    ct, seg = write_spine(folder, blocks)
    if paint is not None:
        image = sitk.ReadImage(str(ct))
        changed = sitk.GetImageFromArray(paint(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(ct))
    return ct, seg


def write_unlabelled(folder: Path, *levels: str) -> tuple[Path, Path]:
    """All vertebrae are in the scan, some not in the segmentation: it often ends before the scan does."""
    ct, seg = write_spine(folder, lumbar_blocks())
    image = sitk.ReadImage(str(seg))
    for level in levels:
        image = sitk.ChangeLabel(image, {LEVEL_NUMBER[level]: 0})
    sitk.WriteImage(image, str(seg))
    return ct, seg


def cut_above_l2(folder: Path) -> tuple[Path, Path]:
    """L1 to L3, the scan ending in L1 and in L3."""
    blocks = [block for block in lumbar_blocks() if block.level in ("L1", "L2", "L3")]
    low = min(block.bottom for block in blocks)
    paths = write_spine(folder, [Block(b.level, b.bottom - low, b.anterior, b.posterior) for b in blocks])
    for path in paths:
        image = sitk.ReadImage(str(path))
        sitk.WriteImage(image[:, :, 13 : image.GetSize()[2] - 13], str(path))
    return paths


def cleft_in_l2(folder: Path) -> tuple[Path, Path]:
    ct, seg = write_spine(folder, lumbar_blocks())
    image = sitk.ReadImage(str(seg))
    numbers = sitk.GetArrayFromImage(image)
    rows, depths, _ = np.argwhere(numbers == LEVEL_NUMBER["L2"]).T
    parted = numbers[rows.min() + 5 : rows.min() + 7, : depths.min() + 15]
    parted[parted == LEVEL_NUMBER["L2"]] = 0
    changed = sitk.GetImageFromArray(numbers)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(seg))
    return ct, seg


def metal(hu: np.ndarray) -> np.ndarray:
    hu[60:70, 20:26, 20:26] = 3000
    return hu


SAID = {
    "one neighbour missing": (
        lambda folder: write_unlabelled(folder, "L1"),
        ["L1, the neighbour above L2, has no body in the segmentation"],
    ),
    "both neighbours missing": (
        lambda folder: write_unlabelled(folder, "L1", "L3"),
        ["L1, the neighbour above L2, has no body", "L3, the neighbour below L2, has no body"],
    ),
    "both neighbours cut": (
        cut_above_l2,
        ["L1, the neighbour above L2, is cut by the border", "L3, the neighbour below L2, is cut by the border"],
    ),
    "a neighbour fractured": (
        lambda folder: write_changed(folder, lumbar_blocks(L1=(13.0, 20.0))),
        ["L1, the neighbour above L2, looks fractured itself"],
    ),
    "too few healthy ones": (
        lambda folder: write_changed(
            folder, lumbar_blocks(T12=(13.0, 20.0), L1=(14.0, 20.0), L4=(13.0, 19.0), L5=(14.0, 20.0))
        ),
        ["the other levels say little of L2's healthy height"],
    ),
    "a neighbour's label leaks": (
        lambda folder: write_changed(folder, lumbar_blocks(L3=(40.0, 40.0))),
        ["more than L3 is labelled as it"],
    ),
    "a cleft": (cleft_in_l2, ["the label of L2 has a cleft of 4 mm: heights are from plate to plate, over it"]),
    "metal": (lambda folder: write_changed(folder, lumbar_blocks(), metal), ["metal or cement"]),
}


@pytest.mark.parametrize("what", SAID)
def test_what_makes_an_answer_doubtful_is_said_in_the_report(
    what: str, weights, tmp_path: Path, capsys: Captured
) -> None:
    make, expected = SAID[what]
    assert call("run", *make(tmp_path), "--vertebra", "L2", "--out", tmp_path / "out", *weights) == 0
    shown = capsys.readouterr().out
    for words in expected:
        assert any(words in warning for warning in report_of(tmp_path / "out")["warnings"]), words
        assert words in shown


# inspect


def inspected(capsys: Captured, *files: Path) -> dict:
    capsys.readouterr()
    assert call("inspect", *files, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_prints_every_level_as_json(scan, capsys: Captured) -> None:
    found = inspected(capsys, *scan)
    assert [row["level"] for row in found["levels"]] == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert [row["label"] for row in found["levels"]] == [19, 20, 21, 22, 23, 24]
    assert isinstance(found["warnings"], list)
    for row in found["levels"]:
        assert set(row["heights_mm"]) == set(row["neighbour_reference"]) == HEIGHT_KEYS
        assert 0 <= row["suspicion"] <= 1 and row["grade"] in (0, 1, 2, 3) and row["warnings"] == []
        if row["level"] != "L1":
            assert row["heights_mm"]["mean"] == pytest.approx(27.0, abs=1.5) and row["grade"] == 0
    assert max(found["levels"], key=lambda row: row["suspicion"])["level"] == "L1"


def test_inspect_prints_a_table_for_people_and_writes_nothing(scan, capsys: Captured) -> None:
    there = sorted(scan[0].parent.iterdir())
    assert call("inspect", *scan) == 0
    shown = capsys.readouterr()
    header, *rows = shown.out.splitlines()
    assert header.split()[:5] == ["level", "label", "anterior", "middle", "posterior"]
    assert [row.split()[:2] for row in rows[:2]] == [["T12", "19"], ["L1", "20"]] and len(rows) == 6
    assert shown.err == ""
    assert sorted(scan[0].parent.iterdir()) == there


def test_inspect_tells_programs_how_far_it_is(scan, capsys: Captured) -> None:
    assert call("inspect", *scan, "--json-progress") == 0
    shown = capsys.readouterr()
    assert_rises_to_one(progress_lines(shown.out))
    assert "suspicion" in shown.err


@pytest.mark.parametrize("code", ["RAS", "ASL", "IAL"])
def test_any_orientation_has_the_same_heights(scan, code: str, tmp_path: Path, capsys: Captured) -> None:
    one, other = inspected(capsys, *scan), inspected(capsys, *oriented(scan, code, tmp_path))
    for before, after in zip(one["levels"], other["levels"], strict=True):
        assert after["level"] == before["level"]
        assert after["heights_mm"] == pytest.approx(before["heights_mm"], abs=0.3)


def test_a_level_map_overrides_the_numbers(scan, capsys: Captured) -> None:
    assert call("inspect", *scan, "--json", "--level-map", "19=T11,20=T12,21=L1") == 0
    levels = json.loads(capsys.readouterr().out)["levels"]
    assert [(row["level"], row["label"]) for row in levels] == [("T11", 19), ("T12", 20), ("L1", 21)]


# evaluate


def test_evaluate_writes_metrics_of_each_level_and_their_mean(scan, weights, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert call("evaluate", *scan, "--levels", "L2,l3", "--out", out, "--json-progress", *weights) == 0
    shown = capsys.readouterr()
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    case = scan[0].parent.name
    assert [(row["case"], row["vertebra"]) for row in metrics["rows"]] == [(case, "L2"), (case, "L3")]
    for row in metrics["rows"]:
        assert {"ssim", "psnr", "dice", "rhdr", "height_mae_mm"} <= set(row)
        assert -1 <= row["ssim"] <= 1 and 0 <= row["dice"] <= 1 and row["rhdr"] >= 0
    for name in ("ssim", "rhdr"):
        assert metrics["mean"][name] == pytest.approx(np.mean([row[name] for row in metrics["rows"]]))
    assert {entry.name for entry in out.iterdir()} == {"metrics.json", "metrics.csv", "levels.csv", "figures"}
    assert_rises_to_one(progress_lines(shown.out))
    assert shown.err.splitlines()[-1].startswith("2 levels; ")


# phantom, paint, samples, train


def test_phantom_writes_cases_with_their_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    whole = phantom_files.scan_grid

    def middle(spine) -> Grid:
        """A small part of the scan: the whole would take a minute."""
        grid = whole(spine)
        size, kept = np.array(grid.size), np.array((48, 48, 48))
        start = (size - kept) // 2 * grid.spacing
        origin = np.asarray(grid.origin) + np.reshape(grid.direction, (3, 3)) @ start
        return Grid((48, 48, 48), grid.spacing, tuple(origin), grid.direction)

    monkeypatch.setattr(phantom_files, "scan_grid", middle)
    assert call("phantom", "--out", tmp_path / "p", "--count", 1, "--seed", 5, "--fractured", "--json-progress") == 0
    assert_rises_to_one(progress_lines(capsys.readouterr().out))
    case = tmp_path / "p" / "case_0000"
    names = {"ct.nii.gz", "seg.nii.gz", "healthy_ct.nii.gz", "healthy_seg.nii.gz", "truth.json"}
    assert {entry.name for entry in case.iterdir()} == names
    truth = json.loads((case / "truth.json").read_text(encoding="utf-8"))
    assert {"seed", "levels", "scanner"} <= set(truth)
    assert any(row["fractured"] and row["rhlv"]["mean"] > 0 and row["genant"] > 0 for row in truth["levels"])
    for row in truth["levels"]:
        assert set(row["heights_mm"]) == set(row["healthy_heights_mm"]) == set(row["rhlv"]) == HEIGHT_KEYS


def test_a_painted_ct_can_be_inspected_with_its_labels(scan, tmp_path: Path, capsys: Captured) -> None:
    painted = tmp_path / "painted.nrrd"
    assert call("paint", scan[1], "--out", painted, "--seed", 3) == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["painted.nrrd"]
    assert_same_grid(sitk.ReadImage(str(painted)), sitk.ReadImage(str(scan[1])))
    first = painted.read_bytes()
    assert call("paint", scan[1], "--out", painted, "--seed", 3, "--force") == 0
    assert painted.read_bytes() == first
    levels = {row["level"]: row for row in inspected(capsys, painted, scan[1])["levels"]}
    assert levels["L3"]["heights_mm"]["mean"] == pytest.approx(27.0, abs=1.5)


def test_training_goes_on_where_it_stopped_and_its_weights_load(scan, tmp_path: Path, capsys: Captured) -> None:
    shards = write_shards(tmp_path / "shards")
    recipe, out = tmp_path / "recipe.json", tmp_path / "run"
    for steps, more in ((2, []), (3, ["--resume"])):
        trainer = {"steps": steps, "batch_size": 2, "adversarial_start": 1, "log_every": 1}
        recipe.write_text(json.dumps({"model": "gan", "samples": {"count": 1, "seed": 6}, "trainer": trainer}))
        capsys.readouterr()
        words = ("train", "--data", shards, "--out", out, "--recipe", recipe, "--json-progress")
        assert call(*words, *more) == 0
        lines = progress_lines(capsys.readouterr().out)
        assert_rises_to_one(lines)
        assert json.loads((out / "gan.json").read_text())["recipe"]["steps_done"] == steps
    trained = [line["message"] for line in lines if line["stage"] == "train"]
    assert len(trained) == 1 and trained[0].startswith("step 3,"), "only the third step was left to do"
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in logged if entry["kind"] == "training"] == [1, 2, 3]
    call("run", *scan, "--vertebra", "L1", "--out", tmp_path / "r", "--weights", out / "gan.safetensors")
    assert "weights" not in capsys.readouterr().err.partition("or use other")[0], "the trained weights load"


# The command as it is installed


def test_the_module_is_the_command_and_tells_its_version() -> None:
    done = subprocess.run(command("--version"), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"healthivert {__version__}\n")
    installed = shutil.which("healthivert", path=str(Path(sys.executable).parent))
    if installed is None:
        pytest.skip("the command is not installed beside this Python")
    assert subprocess.run([installed, "--version"], capture_output=True, text=True).stdout == done.stdout


@pytest.mark.parametrize(
    "name",
    ["demo", "inspect", "run", "cohort", "evaluate", "fit-grading", "phantom", "paint", "train", "samples"],
)
def test_every_command_explains_itself(name: str, capsys: Captured) -> None:
    assert call(name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: healthivert {name} ")


def test_a_reader_that_goes_away_is_no_bug(scan) -> None:
    with subprocess.Popen(command("inspect", *scan), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_demo_regrows_the_bundled_phantom_and_tells_its_truth(weights, tmp_path: Path, capsys: Captured):
    assert call("demo", "--out", tmp_path / "demo", *weights) == 0
    said = capsys.readouterr().out
    assert "true loss: +28.7 %, Genant grade 3" in said
    report = report_of(tmp_path / "demo")
    assert report["vertebra"] == "L1" and not report["warnings"]
    assert report["heights_mm"]["original"]["mean"] == pytest.approx(15.7, abs=0.5)
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
