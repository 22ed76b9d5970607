"""`evaluate`, with scans and with phantoms, and `fit-grading`: what they write, what they print, what they refuse."""

from __future__ import annotations

import csv
import json
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from command_line_case import call, usable_weights, write_spine
from conftest import lumbar_blocks

from healthivert import evaluation_commands
from healthivert.evaluate import METRICS, likeness, summarise, two_neighbours
from healthivert.evaluate_phantoms import compared_levels, summarise_phantoms
from healthivert.evaluation_commands import person_of
from healthivert.evaluation_files import evaluation_table, write_evaluation
from healthivert.inspection import SpineAnalysis
from healthivert.measure import relative_height_loss
from healthivert.reference import normal_heights
from healthivert.types import HEIGHT_KEYS, Heights

Captured = pytest.CaptureFixture[str]
LEVELS = ("T12", "L1", "L2", "L3", "L4", "L5")
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return usable_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case in the layout of `healthivert phantom`: blocks of 27 mm, L1 a wedge of 15 to 25 mm, and its twin."""
    folder = tmp_path_factory.mktemp("phantoms")
    case = folder / "case_0000"
    write_spine(case)
    healthy = write_spine(folder / "twin", lumbar_blocks())
    for path in healthy:
        shutil.move(path, case / f"healthy_{path.name}")
    (folder / "twin").rmdir()
    whole, wedge = Heights(27.0, 27.0, 27.0, 27.0), Heights(16.7, 20.0, 23.3, 20.0)
    rows = []
    for label, level in enumerate(LEVELS, start=19):
        now = wedge if level == "L1" else whole
        loss = relative_height_loss(now, whole).as_dict()
        facts = {"level": level, "label": label, "fractured": level == "L1", "shape": "wedge" if level == "L1" else ""}
        heights = {"heights_mm": now.as_dict(), "healthy_heights_mm": whole.as_dict(), "rhlv": loss}
        rows.append({**facts, **heights, "genant": 2 if level == "L1" else 0})
    (case / "truth.json").write_text(json.dumps({"seed": 1, "levels": rows, "scanner": {}}))
    return folder


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def made_up(cases: int, levels: tuple[str, ...] = ("L1", "L2"), **changed) -> list[dict]:
    """Rows as evaluate_phantom makes them, without any image."""
    random = np.random.default_rng(0)
    rows = []
    for case in range(cases):
        for level in levels:
            true = random.uniform(0, 0.5)
            found = true + random.normal(0.02, 0.03)
            grades = [sum(value >= limit for limit in (0.2, 0.25, 0.4)) for value in (true, found)]
            row = dict.fromkeys(METRICS, 1.0) | {"rhdr": 1.0 + case, "rhdr_reference": 3.0}
            row |= {"case": f"case_{case}", "vertebra": level, "true_mm": 25.0, "predicted_mm": 25.5}
            row |= {"reference_mm": 24.0, "fractured": True, "shape": "wedge", "original_error_mm": 0.3}
            row |= {f"rhlv_{key}": found for key in HEIGHT_KEYS} | {f"rhlv_{key}_true": true for key in HEIGHT_KEYS}
            row |= {"rhlv_mean_reference": true + 0.05}
            row |= {f"interval_{key}_holds": abs(found - true) < 0.03 for key in HEIGHT_KEYS}
            row |= {"grade_true": grades[0], "grade_thresholds": grades[1], "features": [0.0]}
            rows.append(row | changed)
    return rows


# scans


def test_two_scans_give_rows_means_intervals_by_case_and_pictures(weights, tmp_path: Path, capsys: Captured) -> None:
    scans = [*write_spine(tmp_path / "a"), *write_spine(tmp_path / "b", lumbar_blocks())]
    out = tmp_path / "out"
    assert call("evaluate", *scans, "--levels", "l3", "--out", out, *weights) == 0
    metrics = metrics_of(out)
    assert [row["case"] for row in metrics["rows"]] == ["a", "b"]
    assert metrics["bootstrap"] == {"unit": "case", "units": 2, "seed": 0}
    for name in ("rhdr", "dice", "height_mae_mm", "rhdr_reference", "height_mae_mm_reference"):
        values = [row[name] for row in metrics["rows"]]
        assert metrics["mean"][name] == pytest.approx(np.mean(values))
        low, high = metrics["interval"][name]
        assert min(values) <= low <= metrics["mean"][name] <= high <= max(values)
    assert [(row["vertebra"], row["count"]) for row in metrics["levels"]] == [("L3", 2)]
    assert [float(row["rhdr"]) for row in rows_of(out / "metrics.csv")] == [row["rhdr"] for row in metrics["rows"]]
    assert [row["vertebra"] for row in rows_of(out / "levels.csv")] == ["L3"]
    pictures = {path.name: path.read_bytes()[:4] for path in (out / "figures").iterdir()}
    assert pictures == {"heights.png": PNG, "rhdr_by_level.png": PNG}
    table = capsys.readouterr().out.splitlines()
    assert " ".join(table[0].split()) == "gan 95 % interval reference two healthy ones two neighbours"
    assert [line.split()[0] for line in table[1:6]] == ["RHDR", "height", "Dice", "SSIM", "PSNR"]
    assert f"{metrics['mean']['rhdr_reference']:.1f}" in table[1]
    assert table[6] == "2 levels; intervals by bootstrap over 2 cases"


def test_a_level_that_one_of_several_scans_lacks_is_left_out_there_and_one_named_twice_counts_once(
    weights, tmp_path: Path, capsys: Captured
) -> None:
    scans = [*write_spine(tmp_path / "a", lumbar_blocks()), *write_spine(tmp_path / "b", lumbar_blocks()[:-1])]
    levels = ("--levels", "T12,L3,L3")
    assert call("evaluate", *scans, *levels, "--out", tmp_path / "out", *weights) == 0
    rows = metrics_of(tmp_path / "out")["rows"]
    assert [(row["case"], row["vertebra"]) for row in rows] == [("a", "T12"), ("a", "L3"), ("b", "L3")]
    assert "left out: T12 is not in the segmentation of b" in capsys.readouterr().err
    assert call("evaluate", *scans[2:], *levels, "--out", tmp_path / "alone", *weights) == 2
    assert "T12 is not in the segmentation of b" in capsys.readouterr().err and not (tmp_path / "alone").exists()


def test_a_scan_that_cannot_be_read_costs_nothing_of_the_others(weights, tmp_path: Path, capsys: Captured) -> None:
    good, bad = write_spine(tmp_path / "a", lumbar_blocks()), write_spine(tmp_path / "b", lumbar_blocks())
    bad[0].write_bytes(bad[0].read_bytes()[:9999])
    assert call("evaluate", *good, *bad, "--levels", "L3", "--out", tmp_path / "out", *weights) == 0
    assert [(row["case"], row["vertebra"]) for row in metrics_of(tmp_path / "out")["rows"]] == [("a", "L3")]
    told = capsys.readouterr().err
    assert "left out: " in told and "truncated" in told
    assert any("truncated" in warning for warning in metrics_of(tmp_path / "out")["warnings"])
    assert call("evaluate", *bad, *bad, "--levels", "L3", "--out", tmp_path / "none", *weights) == 2
    assert "none of the scans has a level to evaluate on" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_scans_of_one_name_stay_apart(tmp_path: Path) -> None:
    names = ("x/ct.nii.gz", "y/ct.nii.gz", "y/ct.nii.gz", "y/spine.nrrd", "z/one.nrrd", "w/one.nrrd", "v/x/ct.nii.gz")
    scans = [tmp_path / name for name in names]
    for scan in scans:
        scan.parent.mkdir(parents=True, exist_ok=True)
        scan.touch()
    assert evaluation_commands.distinct_names(scans) == [
        f"{tmp_path.name}/x",
        f"{tmp_path.name}/y (2)",
        f"{tmp_path.name}/y (3)",
        "spine",
        "z/one",
        "w/one",
        "v/x",
    ]
    assert evaluation_commands.distinct_names(scans[:1]) == ["x"], "as run calls it"


def test_levels_of_one_scan_are_drawn_one_by_one() -> None:
    found = summarise(made_up(1, LEVELS, case="one"), seed=0)
    assert (found["bootstrap"]["unit"], found["bootstrap"]["units"]) == ("level", 6)


def test_the_worst_third_is_compared_with_the_worst_third() -> None:
    lost = {"rhlv_anterior": 0.30, "rhlv_middle": 0.10, "rhlv_posterior": 0.0, "rhlv_mean": 0.13}
    true = {"rhlv_anterior_true": 0.10, "rhlv_middle_true": 0.25, "rhlv_posterior_true": 0.0, "rhlv_mean_true": 0.12}
    rows = made_up(2, **lost, **true)
    rows[0] |= {"rhlv_anterior": 0.20}
    found = summarise_phantoms(rows, 0)["rhlv"]["fractured"]["worst_third"]
    assert found["bias"] == pytest.approx((-5 + 3 * 5) / 4) and found["mean_absolute_error"] == pytest.approx(5.0)
    assert found["limits"] == pytest.approx([2.5 - 1.96 * 5, 2.5 + 1.96 * 5])


def test_spared_levels_are_told_apart() -> None:
    rows = made_up(3)
    for row in rows[:2]:
        row["fractured"] = False
    found = summarise_phantoms(rows, 0)["rhlv"]
    assert {name: part["count"] for name, part in found.items()} == {"fractured": 4, "spared": 2, "all": 6}


def test_a_baseline_that_a_level_lacks_is_left_out_of_its_mean() -> None:
    rows = made_up(3)
    rows[0]["rhdr_two_neighbours"] = None
    rows[1]["rhdr_two_neighbours"] = 4.0
    found = summarise(rows, seed=0)
    assert found["mean"]["rhdr_two_neighbours"] == pytest.approx((4.0 + 4 * 1.0) / 5)
    assert summarise(made_up(3, rhdr_two_neighbours=None), 0)["mean"]["rhdr_two_neighbours"] is None


def test_what_is_undefined_is_null_and_empty_and_a_dash(tmp_path: Path) -> None:
    rows = made_up(1, ("L1",), grade_true=0, grade_thresholds=0, rhdr_two_neighbours=None)
    about = {"model": {"name": "gan"}}
    metrics = {"rows": rows, **summarise(rows, 0), **summarise_phantoms(rows, 0), **about}
    write_evaluation(metrics, tmp_path)
    text = (tmp_path / "metrics.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["grading"]["thresholds"]["kappa_linear"] is None
    assert rows_of(tmp_path / "metrics.csv")[0]["rhdr_two_neighbours"] == ""
    table = evaluation_table(metrics)
    assert table[1].split()[-1] == "-" and any("kappa, linear - " in line for line in table)


# phantoms


def test_phantoms_are_held_against_their_truth(phantoms: Path, weights, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert call("evaluate", "--phantoms", phantoms, "--out", out, *weights) == 0
    metrics = metrics_of(out)
    fractured = [row for row in metrics["rows"] if row["fractured"]]
    assert [row["vertebra"] for row in fractured] == ["L1"] and len(metrics["rows"]) == 2
    row = fractured[0]
    assert row["rhlv_mean_true"] == pytest.approx(7 / 27, abs=0.001)
    assert row["rhlv_mean"] == pytest.approx(7 / 27, abs=0.1)
    assert row["rhdr"] == pytest.approx(100 * abs(row["predicted_mm"] - 27) / 27)
    assert row["original_error_mm"] == pytest.approx(0, abs=0.8)
    # the fixture's weights are untrained: what they draw is the neighbours alone
    for name in ("dice", "ssim", "psnr"):
        assert row[name] == pytest.approx(row[f"{name}_prior"], rel=0.05) and row[name] > 0
        assert metrics["mean"][f"{name}_prior"] is not None
    loss = metrics["rhlv"]["fractured"]
    assert loss["mean_absolute_error"] == pytest.approx(100 * abs(row["rhlv_mean"] - row["rhlv_mean_true"]))
    for way in ("thresholds", "svm"):
        assert np.sum(metrics["grading"][way]["confusion"]) == 2
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names == {"heights", "rhdr_by_level", "height_loss", "grades_by_thresholds", "grades_by_svm"}
    told = capsys.readouterr().out
    assert "RHLV, fractured levels (1): mean absolute error" in told and "grade by svm: kappa, linear" in told


def test_agreement_of_loss_and_grade_is_that_of_the_rows() -> None:
    rows = made_up(40)
    error = 100 * np.array([row["rhlv_mean"] - row["rhlv_mean_true"] for row in rows])
    found = summarise_phantoms(rows, seed=0)
    loss = found["rhlv"]["fractured"]
    assert loss["bias"] == pytest.approx(error.mean())
    assert loss["limits"] == pytest.approx(
        [error.mean() - 1.96 * error.std(ddof=1), error.mean() + 1.96 * error.std(ddof=1)]
    )
    assert loss["mean_absolute_error_reference"] == pytest.approx(5)
    assert loss["interval"][0] < loss["mean_absolute_error"] < loss["interval"][1]
    assert loss["interval_90_holds"]["anterior"] == pytest.approx(np.mean(np.abs(error) < 3))
    assert 0.9 < loss["icc"] < 1
    grading = found["grading"]["thresholds"]
    exact = np.mean([row["grade_true"] == row["grade_thresholds"] for row in rows])
    assert grading["accuracy"] == pytest.approx(exact) and grading["kappa_quadratic"] > grading["kappa_linear"]
    assert "svm" not in found["grading"]


def test_each_fractured_level_is_joined_by_a_spared_one() -> None:
    analysis = SimpleNamespace(bodies={level: SimpleNamespace(complete=level != "T12") for level in LEVELS})
    truth = {level: {"fractured": level in ("T12", "L2")} for level in LEVELS}
    chosen = compared_levels(analysis, truth)  # type: ignore[arg-type]
    assert "T12" not in chosen and "L2" in chosen and len(chosen) == 2
    nobody = {level: {"fractured": False} for level in LEVELS}
    assert len(compared_levels(analysis, nobody)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda case: shutil.rmtree(case), "no phantom is in it"),
        (lambda case: (case / "seg.nii.gz").unlink(), "seg.nii.gz is missing"),
        (lambda case: (case / "truth.json").write_text("{"), "this is no phantom's truth"),
        (lambda case: (case / "truth.json").write_text('{"levels": [{"level": "L1"}]}'), "this is no phantom's truth"),
    ],
)
def test_a_spoilt_phantom_is_said_before_any_work(
    spoil, told: str, phantoms: Path, tmp_path: Path, capsys: Captured
) -> None:
    shutil.copytree(phantoms, tmp_path / "phantoms")
    spoil(tmp_path / "phantoms" / "case_0000")
    assert call("evaluate", "--phantoms", tmp_path / "phantoms", "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]
    assert not (tmp_path / "out").exists()


def test_scans_and_phantoms_are_not_mixed(phantoms: Path, tmp_path: Path, capsys: Captured) -> None:
    for words in (
        [],
        ["ct.nii.gz"],
        ["ct.nii.gz", "seg.nii.gz", "--phantoms", phantoms],
        ["--phantoms", phantoms, "--levels", "L1"],
    ):
        assert call("evaluate", *words, "--out", tmp_path / "out") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "--phantoms" in line


# grading


def test_a_grading_is_fitted_on_phantoms_and_grades_a_run(
    phantoms: Path, weights, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(evaluation_commands, "evaluate_phantom", partial(_measured, spine=iter(range(1000))))
    monkeypatch.setattr(evaluation_commands, "phantom_folders", lambda folder: [folder / "case_0000"] * 12)
    machine, out = tmp_path / "machine.json", tmp_path / "out"
    assert call("fit-grading", "--phantoms", phantoms, "--out", machine, *weights) == 0
    assert "svm on unseen spines: kappa" in capsys.readouterr().out
    card = json.loads(machine.read_text(encoding="utf-8"))["card"]
    assert card["spines"] == 12 and len(card["model"]["sha256"]) == 64 and "scikit-learn" in card["versions"]
    case = phantoms / "case_0000"
    words = ["run", case / "ct.nii.gz", case / "seg.nii.gz", "--vertebra", "L1", "--out", out, "--grade-by", machine]
    assert call(*words, *weights) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["genant"]["by"] == "svm"
    assert not any("grading was fitted" in warning for warning in report["warnings"])


def _measured(*_, spine) -> list[dict]:
    name, random = f"spine {next(spine)}", np.random.default_rng(0)
    return [
        {"case": name, "features": loss + random.normal(0, 0.01, 7), "grade_true": grade, "grade_thresholds": grade}
        for grade, loss in enumerate((0.0, 0.23, 0.33, 0.5))
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "ct", "seg", "--vertebra", "L1", "--grade-by", "guess"], "guess: cannot be read"),
        (["fit-grading", "--phantoms", "nowhere"], "a fitted grading is a .json file"),
    ],
)
def test_an_unusable_grading_is_said_in_one_line(words, told: str, tmp_path: Path, capsys: Captured) -> None:
    assert call(*words, "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]


def test_only_what_the_window_shows_within_5_mm_of_the_body_counts():
    random = np.random.default_rng(0)
    before = random.normal(100, 50, (60, 60, 60))
    body = np.zeros(before.shape, bool)
    body[20:40, 20:40, 20:40] = True
    before[25:30, 25:30, 25:30] = 800.0
    after = before + 55.0  # a tenth of the half width of -300..800 HU
    after[25:30, 25:30, 25:30] = 3000.0  # as white as 800 HU
    changed = 1 - 5**3 / 30**3
    assert likeness(before, after, body, 1.0)["psnr"] == pytest.approx(10 * np.log10(4 / (changed * 0.1**2)), abs=1e-6)
    far = after.copy()
    far[:15], far[45:] = 800.0, -300.0
    assert likeness(before, far, body, 1.0) == likeness(before, after, body, 1.0)
    far[15] = 800.0
    assert likeness(before, far, body, 1.0)["psnr"] < likeness(before, after, body, 1.0)["psnr"] - 1


def spine_of(heights: dict[str, float], cut: str = "", fractured: str = "") -> SpineAnalysis:
    """What two_neighbours reads of an analysis."""
    levels = {
        level: SimpleNamespace(heights=SimpleNamespace(mean=mm), suspicious=level == fractured)
        for level, mm in heights.items()
    }
    bodies = {level: SimpleNamespace(complete=level != cut) for level in levels}
    return cast(SpineAnalysis, SimpleNamespace(levels=levels, bodies=bodies))


def test_the_levels_beside_it_are_a_baseline_as_they_are_and_healthy_ones_by_normal_ratios() -> None:
    normal = {level: normal_heights(level).mean for level in ("T12", "L1", "L2", "L3", "L4")}
    spine = {level: 0.9 * mm for level, mm in normal.items()} | {"L1": 10.0}
    found = two_neighbours(spine_of(spine, fractured="L1"), "L2")
    assert found.as_they_are == pytest.approx((10.0 + spine["L3"]) / 2)
    assert found.healthy == pytest.approx(0.9 * normal["L2"])  # of T12 and L3


def test_a_cut_neighbour_is_no_baseline() -> None:
    assert two_neighbours(spine_of({"L1": 20.0, "L2": 24.0, "L3": 28.0}, cut="L1"), "L2").as_they_are == 28.0
    assert two_neighbours(spine_of({"L2": 24.0}), "L2") == (None, None)


def test_two_scans_of_one_person_are_one_unit(tmp_path: Path) -> None:
    files = ["sub-a/ct.nii.gz", "x/sub-a_dir-sag_ct.nii.gz", "sub-b_ses-1/anat/scan.nii.gz", "plain/ct.nii.gz"]
    found = [person_of(tmp_path / file, "its name") for file in files]
    assert found == ["sub-a", "sub-a", "sub-b", "its name"]
    rows = made_up(4)
    twice = [row | {"person": f"sub-{row['case'][-1]}", "case": f"{row['case']} {n}"} for row in rows for n in range(2)]
    once, found = summarise(rows, seed=0), summarise(twice, seed=0)
    assert found["bootstrap"]["units"] == 4 and found["interval"]["rhdr"] == once["interval"]["rhdr"]


def test_what_lies_beyond_the_scan_does_not_count():
    random = np.random.default_rng(0)
    before = random.normal(100, 50, (40, 40, 40))
    body, seen = np.zeros(before.shape, bool), np.ones(before.shape, bool)
    body[10:30, 10:30, 10:30] = True
    seen[:, :, 28:] = False
    alike = before + random.normal(0, 20, before.shape)
    worse = np.where(seen, alike, -1000.0)
    assert likeness(before, worse, body, 1.0, seen) == likeness(before, alike, body, 1.0, seen)
    assert likeness(before, worse, body, 1.0)["psnr"] < likeness(before, alike, body, 1.0)["psnr"] - 5
    everywhere = likeness(before, alike, body, 1.0, np.ones_like(seen))
    assert everywhere == pytest.approx(likeness(before, alike, body, 1.0))
