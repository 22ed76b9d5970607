"""`healthivert cohort`: tables of scans, resumed, with cases that fail, die or are stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cohort_work import done, task
from command_line_case import call, command, usable_weights, write_spine, write_weights
from conftest import lumbar_blocks

from healthivert.cohort import (
    BROKEN,
    DONE,
    FAILED,
    NOTHING,
    UNCOMPARED,
    do_case,
    failed_row,
    finished_rows,
    row_in_words,
)
from healthivert.cohort_commands import CohortOptions, suspicious_levels
from healthivert.cohort_manifest import read_manifest
from healthivert.cohort_workers import in_processes, on_cluster
from healthivert.commands import GeneratorChoice, inspect
from healthivert.errors import HealthiVertError
from healthivert.models import shipped_weights
from healthivert.progress import quiet

Captured = pytest.CaptureFixture[str]
STOPPED_WITHIN_S = 6.0  # promised are 2 s; the tests may have a busy computer


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    return usable_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wedged/ with a fractured L1, healthy/ without."""
    folder = tmp_path_factory.mktemp("scans")
    write_spine(folder / "wedged")
    write_spine(folder / "healthy", lumbar_blocks())
    return folder


def write_manifest(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "cohort.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# the manifest


def test_a_manifest_names_scans_from_its_own_folder(tmp_path: Path) -> None:
    text = "\ufeffct,seg,vertebra,id\nscans/a.nii.gz,/data/a_seg.nii.gz,L1; t12 L1,patient-7\n\nb,c,,\n"
    first, second = read_manifest(write_manifest(tmp_path / "m.csv", text))
    assert (first.name, first.ct, first.seg) == ("patient-7", tmp_path / "scans/a.nii.gz", Path("/data/a_seg.nii.gz"))
    assert first.levels == ("L1", "t12")
    assert (second.ct, second.levels) == (tmp_path / "b", ())


def test_a_scan_without_an_id_keeps_its_name_when_rows_come_and_go(tmp_path: Path) -> None:
    scans = "sub-1/ct.nii.gz,sub-1/seg.nii.gz\nsub-2/ct.nii.gz,sub-2/seg.nii.gz\nnew/sub-2.nii.gz,s\nÄ é.nii,s\n"
    before = [case.name for case in read_manifest(write_manifest(tmp_path / "m.csv", f"ct,seg\n{scans}"))]
    after = [case.name for case in read_manifest(write_manifest(tmp_path / "m.csv", f"ct,seg\n\nx,y\n{scans}"))]
    assert after[1:] == before
    assert [name.rpartition("-")[0] for name in before] == ["sub-1", "sub-2", "sub-2", "scan"]
    assert len(set(before)) == 4


def test_columns_may_stand_in_any_order_and_be_split_by_semicolons(tmp_path: Path) -> None:
    (case,) = read_manifest(write_manifest(tmp_path / "m.csv", "id;Seg;CT\nx;s;c\n"))
    assert (case.name, case.ct.name, case.seg.name) == ("x", "c", "s")


@pytest.mark.parametrize(
    "text",
    [
        "ct,seg,vertebra,id\nc,s,L1 T12,x\n",
        "ct,seg,vertebra,id,,\nc,s,L1 T12,x,,,\n,,,,,,\n",
        "\n\nct;seg;vertebra;id\nc;s;L1,T12;x\n",
        "sep=;\nct;seg;vertebra;id\nc;s;L1 T12;x\n",
        "\ufeffsep=\t\nct\tseg\tvertebra\tid\nc\ts\tL1 T12\tx\n",
        'ct, seg, vertebra, id\nc, s, "L1, T12", "x"\n',
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(text: str, tmp_path: Path) -> None:
    (case,) = read_manifest(write_manifest(tmp_path / "m.csv", text))
    assert (case.name, case.ct, case.seg, case.levels) == ("x", tmp_path / "c", tmp_path / "s", ("L1", "T12"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("ct,vertebra\na,L1\n", "row 1 has no column 'seg'"),
        ("ct,seg,vertebrae\na,b,L1\n", "row 1 has the column 'vertebrae'"),
        ("ct,seg,ct\na,b,c\n", "row 1 has the column 'ct' twice"),
        ("ct,seg\n", "no row below"),
        ("ct,seg\na,b\n,b\n", "row 3 has no ct"),
        ("ct,seg\na\n", "row 2 has no seg"),
        ("ct,seg\na,b,c\n", "row 2 has 3 fields for 2 columns"),
        ("ct,seg,id\na,b,p\nc,d,e\nf,g,P\n", "row 4 has the id 'P' of row 2"),
        ("ct,seg,id\na,b,../p\n", "row 2 has the id '../p'"),
        ("ct,seg,id\na,b,cohort.csv\n", "row 2 has the id 'cohort.csv'"),
        ('ct,seg\na,"b"x\n', "row 2 is not CSV"),
        ("\nct,vertebra\na,L1\n", "row 2 has no column 'seg'"),
        ("sep=;\nct;seg\na;\n", "row 3 has no seg"),
        (
            "ct,seg\na,b\na,./b\n",
            "of row 2; give every row an id of its own, or write all levels of a scan into one row",
        ),
        ("ct,seg,vertebra\na,b,L1,L2\n", "row 2 has 4 fields for 3 columns; separate levels by spaces"),
        ("ct,seg,vertebra,id\na,b,L1,L2\n", "row 2 has the id 'L2', which is a level; separate levels by spaces"),
        ("ct,seg\na,b\nc\0,d\n", "row 3 has a NUL character"),
    ],
)
def test_a_bad_manifest_is_one_line_with_its_row(text: str, told: str, tmp_path: Path, capsys: Captured) -> None:
    manifest = write_manifest(tmp_path / "m.csv", text)
    assert call("cohort", manifest, "--out", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0] and str(manifest) in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_manifest_that_is_no_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"ct,seg\n\xff\xfe,b\n")
    with pytest.raises(HealthiVertError, match="not UTF-8 text"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(HealthiVertError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "0"], "--workers 0"),
        (["--samples", "0"], "--samples 0"),
        (["--grade-by", "none.json"], "none.json"),
        (["--weights", "none.safetensors"], "none.safetensors: cannot be read"),
        (["--workers", "2", "--scheduler", "tcp://localhost:1"], "not allowed with"),
    ],
)
def test_options_are_checked_before_any_work(words: list[str], told: str, tmp_path: Path, capsys: Captured) -> None:
    manifest = write_manifest(tmp_path / "m.csv", "ct,seg\na,b\n")
    assert call("cohort", manifest, "--out", tmp_path / "out", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and told in lines[0]
    assert not (tmp_path / "out").exists()


# the whole command


def test_a_cohort_is_done_row_by_row_and_goes_on_where_it_was(
    scans: Path, weights, tmp_path: Path, capsys: Captured
) -> None:
    header, bad = "ct,seg,vertebra,id", f"{scans}/none.nii.gz,{scans}/none.nii.gz,L1,bad"
    good = [f"{scans}/{name}/ct.nii.gz,{scans}/{name}/seg.nii.gz,,{name}" for name in ("wedged", "healthy")]
    manifest, out = write_manifest(tmp_path / "m.csv", "\n".join([header, *good, bad])), tmp_path / "out"
    options = ("--attention", "none", *weights)
    assert call("cohort", manifest, "--out", out, "--workers", 2, "--json-progress", *options) == 2
    shown = capsys.readouterr()
    progress = [json.loads(line) for line in shown.out.splitlines()]
    fractions = [line["fraction"] for line in progress]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert any(line["message"].startswith("wedged: L1 lost") for line in progress)
    assert shown.err.splitlines()[-1].endswith("cohort.csv says why") and "Traceback" not in shown.err

    wedged, healthy, wrong = rows_of(out)
    assert (wedged["id"], wedged["vertebra"], wedged["status"]) == ("wedged", "L1", DONE)
    report = json.loads((out / "wedged" / "L1" / "report.json").read_text(encoding="utf-8"))
    assert float(wedged["rhlv_mean_percent"]) == pytest.approx(100 * report["rhlv"]["mean"], abs=0.01)
    assert int(wedged["genant_grade"]) == report["genant"]["grade"] and report["attention"] == "none"
    assert (out / wedged["report"]).is_file()
    assert (healthy["status"], healthy["vertebra"]) == (NOTHING, "")
    assert (wedged["levels_compared"], healthy["levels_compared"], wrong["levels_compared"]) == ("6", "6", "")
    assert wrong["status"] == FAILED and "none.nii.gz" in wrong["error"]
    summary = json.loads((out / "cohort.json").read_text(encoding="utf-8"))
    assert summary["counts"] == {DONE: 1, NOTHING: 1, UNCOMPARED: 0, FAILED: 1, BROKEN: 0}
    assert [row["id"] for row in summary["rows"]] == ["wedged", "healthy", "bad"]

    made = (out / "wedged" / "L1" / "report.json").stat().st_mtime_ns
    bad = f"{scans}/healthy/ct.nii.gz,{scans}/healthy/seg.nii.gz,T1 L9,bad"  # levels that are not there
    write_manifest(manifest, "\n".join([header, *good, bad]))
    assert call("cohort", manifest, "--out", out, *options) == 2
    assert (out / "wedged" / "L1" / "report.json").stat().st_mtime_ns == made
    assert json.loads((out / "cohort.json").read_text(encoding="utf-8"))["done_before"] == 2
    assert [row["vertebra"] for row in rows_of(out)] == ["L1", "", "T1", "L9"]
    assert "L9" in rows_of(out)[3]["error"]


def test_a_scan_in_which_nothing_can_be_compared_is_not_called_unsuspicious(weights, tmp_path: Path) -> None:
    scan = tmp_path / "lone"
    write_spine(scan, lumbar_blocks()[2:3])
    manifest = write_manifest(tmp_path / "m.csv", f"ct,seg,vertebra,id\n{scan}/ct.nii.gz,{scan}/seg.nii.gz,,lone")
    for _ in range(2):  # the second time it is known
        assert call("cohort", manifest, "--out", tmp_path / "out", *weights) == 0
        (row,) = rows_of(tmp_path / "out")
        assert (row["status"], row["levels_compared"]) == (UNCOMPARED, "0")
        assert "L3: no other complete level to compare with" in row["warnings"]
    assert json.loads((tmp_path / "out" / "cohort.json").read_text(encoding="utf-8"))["done_before"] == 1


def test_levels_that_are_done_are_not_done_again_for_one_that_cannot_be(scans: Path, weights, tmp_path: Path) -> None:
    scan, out = f"{scans}/wedged/ct.nii.gz,{scans}/wedged/seg.nii.gz", tmp_path / "out"
    manifest = write_manifest(tmp_path / "m.csv", f"ct,seg,vertebra,id\n{scan},T1 L1,p\n")
    made = set()
    for _ in range(2):
        assert call("cohort", manifest, "--out", out, *weights) == 2
        made.add((out / "p" / "L1" / "report.json").stat().st_mtime_ns)
        assert [(row["vertebra"], row["status"]) for row in rows_of(out)] == [("T1", FAILED), ("L1", DONE)]
    assert len(made) == 1


def test_another_manifest_does_not_replace_results_of_another_scan(
    scans: Path, weights, tmp_path: Path, capsys: Captured
) -> None:
    def manifest(scan: str) -> Path:
        text = f"ct,seg,id\nnew.nii.gz,seg.nii.gz,new\n{scans}/{scan}/ct.nii.gz,{scans}/{scan}/seg.nii.gz,p\n"
        return write_manifest(tmp_path / f"{scan}.csv", text)

    out = tmp_path / "out"
    assert call("cohort", manifest("wedged"), "--out", out, *weights) == 2  # "new" is not there
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert out / "p" / "L1" / "report.html" in before
    capsys.readouterr()
    assert call("cohort", manifest("healthy"), "--out", out, *weights) == 2
    (told,) = capsys.readouterr().err.splitlines()
    files = f"{scans}/wedged/ct.nii.gz, {scans}/wedged/seg.nii.gz"
    assert f"{out / 'p'}: there are results of another scan in it ({files}); choose another --out or id" in told
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_level_from_which_on_it_is_suspicious_is_regrown(scans: Path) -> None:
    """The panel's screening regrows levels of at least its threshold, 0.5 unless told otherwise."""
    _, found = inspect(scans / "healthy" / "ct.nii.gz", scans / "healthy" / "seg.nii.gz", quiet)
    doubts = {"T12": 0.4999, "L1": 0.5, "L2": 0.9}
    levels = {level: replace(one, suspicion=doubts.get(level, 0.0)) for level, one in found.levels.items()}
    levels["L2"] = replace(levels["L2"], complete=False)
    assert suspicious_levels(replace(found, levels=levels)) == ("L1",)


def with_work(one, *levels: str, failing: bool = False):
    """The same task, and the list of levels that its work will have done."""
    did = []

    def work(case, folder, kept):
        for level in levels:
            if level not in kept:
                did.append(level)
            yield kept.get(level) or done(case, level, folder)
        if failing:
            raise HealthiVertError("unreadable")

    return replace(one, work=work), did


def test_what_a_case_depends_on_decides_whether_it_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "ct").write_text("one")
    one, did = with_work(task("p", tmp_path, "L1"), "L1")
    do_case(one)
    assert finished_rows(task("p", tmp_path, "L1")) is not None
    for other in (task("p", tmp_path, "L1", seed=1), task("p", tmp_path, "L2"), task("p", tmp_path)):
        assert finished_rows(other) is None
    (tmp_path / "scan" / "ct").write_text("three")
    assert finished_rows(task("p", tmp_path, "L1")) is None
    (tmp_path / "scan" / "ct").unlink()
    assert did == ["L1"]


def test_weights_that_changed_within_a_version_are_other_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gan", "diffusion", "fracture_cnn"):
        for suffix in (".safetensors", ".json"):
            shutil.copy(shipped_weights(name).with_suffix(suffix), tmp_path)
    monkeypatch.setattr("healthivert.cohort_commands.shipped_weights", lambda name: tmp_path / f"{name}.safetensors")
    options = CohortOptions(GeneratorChoice("gan"), "svm")
    first = options.as_dict()
    card = json.loads((tmp_path / "gan.json").read_text(encoding="utf-8"))
    assert first["weights"] == card["sha256"] and options.as_dict() == first
    write_weights(tmp_path / "diffusion.safetensors")  # another model's
    assert options.as_dict() == first
    for name in ("fracture_cnn.json", "gan.json"):
        with (tmp_path / name).open("a") as file:
            file.write(" ")
        before, first = first, options.as_dict()
        assert first != before
    write_weights(tmp_path / "gan.safetensors")
    assert options.as_dict()["weights"] != first["weights"]
    monkeypatch.setattr("healthivert.commands.SHIPPED", tmp_path / "gan.json")
    assert options.as_dict()["grade_by"] != first["grade_by"]


def test_only_missing_levels_are_done_and_what_is_done_stays(tmp_path: Path) -> None:
    failing, did = with_work(task("p", tmp_path, "L1", "L2"), "L1", failing=True)
    assert [row["status"] for row in do_case(failing)] == [DONE, FAILED] and did == ["L1"]
    assert finished_rows(failing) is None
    whole, did = with_work(task("p", tmp_path, "L1", "L2"), "L1", "L2")
    assert [row["vertebra"] for row in do_case(whole)] == ["L1", "L2"] and did == ["L2"]
    assert finished_rows(whole) is not None
    fewer, did = with_work(task("p", tmp_path, "L2"), "L2")
    assert finished_rows(fewer) is None
    assert len(do_case(fewer)) == 1 and did == []
    assert (tmp_path / "p" / "L1").is_dir()  # it is as good as it was, and may be asked for again
    (tmp_path / "p" / "L2" / "report.html").unlink()
    assert finished_rows(fewer) is None
    again, did = with_work(task("p", tmp_path, "L1", "L2"), "L1", "L2")
    do_case(again)
    assert did == ["L2"]
    other, did = with_work(task("p", tmp_path, "L1", "L2", seed=1), "L1", "L2")
    do_case(other)
    assert did == ["L1", "L2"]


def test_results_of_something_else_are_not_mixed_with_a_cohorts(tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    (out / "p").mkdir(parents=True)
    (out / "p" / "mine.txt").write_text("mine")
    (row,) = do_case(task("p", out))
    assert row["status"] == FAILED and "files of something else" in row["error"]
    manifest = write_manifest(tmp_path / "m.csv", "ct,seg,id\na,b,first\na,b,p\n")
    assert call("cohort", manifest, "--out", out) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{out / 'p'}: there are files of something else in it" in told
    assert {path.name for path in out.rglob("*")} == {"p", "mine.txt"}


def test_results_of_what_has_changed_since_go_when_they_are_no_longer_asked_for(tmp_path: Path) -> None:
    first, _ = with_work(task("p", tmp_path, "L1", "L2"), "L1", "L2")
    do_case(first)
    (tmp_path / "else").mkdir()
    state = json.loads((tmp_path / "p" / "case.json").read_text(encoding="utf-8"))
    state["made"]["../else"] = None
    (tmp_path / "p" / "case.json").write_text(json.dumps(state), encoding="utf-8")

    changed = task("p", tmp_path, "L2", seed=1)
    do_case(with_work(changed, failing=True)[0])
    assert (tmp_path / "p" / "L1").is_dir()  # a failure takes nothing away, and forgets nothing
    do_case(with_work(changed, "L2")[0])
    assert {entry.name for entry in (tmp_path / "p").iterdir()} == {"L2", "case.json"}
    assert (tmp_path / "else").is_dir()


def test_the_path_of_a_scan_that_could_not_be_used_may_be_corrected(tmp_path: Path) -> None:
    do_case(with_work(task("p", tmp_path, scan="typo"), failing=True)[0])
    right, did = with_work(task("p", tmp_path), "L1")
    assert [row["status"] for row in do_case(right)] == [DONE] and did == ["L1"]
    do_case(task("healthy", tmp_path))
    for name in ("p", "healthy"):  # that nothing suspicious was found in it is a result, too
        with pytest.raises(HealthiVertError, match="results of another scan"):
            finished_rows(task(name, tmp_path, scan="typo"))


def test_a_progress_line_names_a_level_once() -> None:
    rows = [failed_row("p", "T1", "T1 is not in the segmentation"), failed_row("p", "L1", "the disk is full")]
    assert row_in_words(rows) == "T1 is not in the segmentation; L1: the disk is full"


# processes


def test_a_case_that_dies_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    names = ["killed", "fine-1", "leaves", "bug", "fine-2", "late"]
    with closing(in_processes([task(name, tmp_path) for name in names], 2)) as ended:
        found = {one.case.name: rows for one, rows in ended}
    assert [(row["vertebra"], row["status"]) for row in found.pop("late")] == [("L1", DONE), ("", FAILED)]
    rows = {name: rows[0] for name, rows in found.items()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "killed": FAILED, "fine-1": NOTHING, "leaves": FAILED, "bug": BROKEN, "fine-2": NOTHING
    }  # fmt: skip
    assert "signal 9" in rows["killed"]["error"] and "status 3" in rows["leaves"]["error"]
    assert "ZeroDivisionError: one by nothing" in rows["bug"]["error"]
    assert "in work" in (tmp_path / "bug" / "error.txt").read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("*.partial-*"))
    for name in names:
        again = finished_rows(task(name, tmp_path))
        assert (again is not None) == name.startswith("fine")


@pytest.mark.parametrize("name", ["slow", "deaf"])
def test_leaving_the_loop_ends_what_is_running_at_once(name: str, tmp_path: Path) -> None:
    """deaf does not hear SIGTERM and is ended by force."""
    tasks = [task("fine", tmp_path), *(task(f"{name}-{number}", tmp_path) for number in range(3))]
    with closing(in_processes(tasks, 2)) as ended:
        assert next(ended)[0].case.name == "fine"
        while not list(tmp_path.glob("*/begun")):
            time.sleep(0.02)
        start = time.monotonic()
    assert time.monotonic() - start < STOPPED_WITHIN_S
    assert not (tmp_path / f"{name}-2" / "begun").exists()
    assert not list(tmp_path.rglob("*.partial-*"))


def test_a_signal_stops_a_cohort_soon(scans: Path, weights, tmp_path: Path) -> None:
    case = f"{scans}/wedged/ct.nii.gz,{scans}/wedged/seg.nii.gz,L1"
    manifest = write_manifest(tmp_path / "m.csv", f"ct,seg,vertebra,id\n{case},a\n{case},b\n{case},c\n")
    out = tmp_path / "out"
    words = command("cohort", manifest, "--out", out, "--workers", 2, "--json-progress", *weights)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list(out.glob("*/.L1.partial-*")):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.02)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - start < STOPPED_WITHIN_S
        assert process.returncode == 128 + signal.SIGTERM
    assert told == "healthivert: cancelled; no unfinished results were left behind\n"
    left = {path.name for path in out.rglob("*")}
    assert left <= {"a", "b", "case.json"} and not (out / "cohort.csv").exists()


# a cluster


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_does_the_same_cases(scheduler: str, tmp_path: Path) -> None:
    with closing(on_cluster([task(name, tmp_path) for name in ("fine-1", "bug", "fine-2")], scheduler)) as ended:
        rows = {one.case.name: found[0] for one, found in ended}
    assert {name: row["status"] for name, row in rows.items()} == {"fine-1": NOTHING, "bug": BROKEN, "fine-2": NOTHING}
    assert finished_rows(task("fine-1", tmp_path)) is not None


def test_a_scheduler_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("healthivert.cohort_workers.CONNECT_S", 0.5)
    with pytest.raises(HealthiVertError, match="no Dask scheduler answers there"):
        list(on_cluster([task("fine", tmp_path)], "tcp://127.0.0.1:9"))


def test_without_dask_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(HealthiVertError, match=r"healthivert-core\[cluster\]"):
        list(on_cluster([task("fine", tmp_path)], "tcp://127.0.0.1:9"))


def test_nobody_survives_a_cohort_that_was_killed(tmp_path: Path) -> None:
    """The processes watch their parent: a kill -9 of the command does not leave scans being worked on."""
    script = (
        "from pathlib import Path\nfrom cohort_work import task\nfrom healthivert.cohort_workers import in_processes\n"
        f"if __name__ == '__main__':\n    list(in_processes([task('slow', Path({str(tmp_path)!r}))], 1))\n"
    )
    here = Path(__file__).parent
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([*command()[:1], str(tmp_path / "script.py")], env=environment) as process:
        while not (tmp_path / "slow" / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
        (unfinished,) = (tmp_path / "slow").glob(".L1.partial-*")
        worker = int(unfinished.name.rpartition("-")[2])
        process.kill()
    end = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
