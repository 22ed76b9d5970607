"""report.json and heights.csv say what was measured, in the contract's words, and say nothing where nothing was."""

from __future__ import annotations

import csv
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from report_example import fractured_report, with_rhlv

from healthivert.errors import HealthiVertError
from healthivert.report import headline, report_as_dict, write_report
from healthivert.report.wording import format_mm, format_percent
from healthivert.types import Genant, Heights

KEYS = {"anterior", "middle", "posterior", "mean"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "not" / "there" / "yet"
    write_report(fractured_report(), folder)
    return folder


def read_strict_json(path: Path) -> dict:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_promised_file_is_written(folder: Path) -> None:
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = ("sagittal", "coronal", "height_profile", "height_loss_map", "spine", "conditioning")
    files = {"report.json", "heights.csv", "levels.csv", "report.html"}
    assert written == files | {f"figures/{name}.png" for name in figures}


def test_report_json_keeps_the_contract(folder: Path) -> None:
    report = read_strict_json(folder / "report.json")
    assert report["schema"] == "healthivert-report-1"
    assert (report["vertebra"], report["seed"], report["samples"]) == ("L1", 0, 8)
    assert report["model"].keys() == {"name", "sha256"}
    assert report["heights_mm"].keys() == {"original", "pseudo_healthy", "neighbour_reference"}
    for heights in (*report["heights_mm"].values(), report["rhlv"], report["rhlv_sd"], report["rhlv_reference"]):
        assert heights.keys() == KEYS
    assert report["rhlv"]["mean"] == 0.46
    assert report["genant"] == {"grade": 3, "shape": "wedge", "by": "thresholds"}
    assert report["genant_grade_range_90"] == [3, 3]
    assert report["timing_s"]["generate"] == 6.4
    assert report["versions"]["healthivert"] == "0.1.0"


def test_spine_rows_have_the_keys_of_inspect(folder: Path) -> None:
    rows = read_strict_json(folder / "report.json")["spine"]
    assert [row["level"] for row in rows] == ["T11", "T12", "L1", "L2", "L3", "L4"]
    assert rows[0]["neighbour_reference"] is None
    assert rows[2]["neighbour_reference"].keys() == rows[2]["heights_mm"].keys() == KEYS
    assert {"label", "suspicion", "grade", "warnings"} <= rows[2].keys()


def test_one_sample_without_neighbours_gives_null_and_not_a_number_is_never_written() -> None:
    example = fractured_report()
    rhlv = Heights(math.nan, 0.1, math.inf, 0.1)
    loss = replace(example.loss, rhlv=rhlv, rhlv_sd=None, neighbour_reference=None)
    content = report_as_dict(replace(example, samples=1, loss=loss))
    assert content["rhlv_sd"] is None
    assert content["heights_mm"]["neighbour_reference"] is None
    assert content["rhlv"] == {"anterior": None, "middle": 0.1, "posterior": None, "mean": 0.1}
    json.dumps(content, allow_nan=False)


def test_warnings_of_run_and_measurement_are_told_once_each() -> None:
    example = fractured_report(warnings=("one", "two"))
    content = report_as_dict(replace(example, loss=replace(example.loss, warnings=("two", "three"))))
    assert content["warnings"] == ["one", "two", "three"]


def test_heights_csv_has_a_row_per_third_the_mean_and_six_point_heights(folder: Path) -> None:
    rows = read_csv(folder / "heights.csv")
    assert [(row["region"], row["method"]) for row in rows] == [
        *((region, "mean of columns") for region in ("anterior", "middle", "posterior", "mean")),
        *((region, "six-point") for region in ("anterior", "middle", "posterior")),
    ]
    assert float(rows[1]["original_mm"]) == pytest.approx(10.584)
    assert float(rows[1]["rhlv_percent"]) == pytest.approx(58.0)
    assert float(rows[3]["rhlv_interval_90_low_percent"]) == pytest.approx(42)
    assert float(rows[1]["rhlv_sd_percent"]) == pytest.approx(1.4)
    six_point = rows[4]
    lost = 100 * (1 - float(six_point["original_mm"]) / float(six_point["pseudo_healthy_mm"]))
    assert float(six_point["rhlv_percent"]) == pytest.approx(lost, abs=0.01)
    assert six_point["rhlv_sd_percent"] == ""


def test_levels_csv_has_a_row_per_level(folder: Path) -> None:
    rows = read_csv(folder / "levels.csv")
    assert [row["level"] for row in rows] == ["T11", "T12", "L1", "L2", "L3", "L4"]
    assert float(rows[2]["mean_mm"]) == 13.8
    assert rows[0]["neighbour_reference_mean_mm"] == ""


WEDGE, NONE = Genant(3, "wedge"), Genant(0, "normal")


@pytest.mark.parametrize(
    ("rhlv", "genant", "sentence"),
    [
        (
            Heights(0.52, 0.58, 0.22, 0.46),
            WEDGE,
            "L1 has lost 46 % of its height (anterior 52 %, middle 58 %, posterior 22 %): Genant grade 3, wedge.",
        ),
        (
            Heights(0.3, 0.1, -0.05, 0.12),
            Genant(1, "wedge"),
            "L1 has lost 12 % of its height (anterior 30 %, middle 10 %, posterior 5 % taller): Genant grade 1, wedge.",
        ),
        (
            Heights(-0.03, 0.01, -0.05, -0.024),
            NONE,
            "L1 is 2 % taller than predicted (anterior 3 % taller, middle 1 % lost, posterior 5 % taller): "
            "Genant grade 0 by its height.",
        ),
        (
            Heights(0.004, -0.004, 0.0, -0.001),
            NONE,
            "L1 has the height predicted for it (anterior 0 % lost, middle 0 % lost, posterior 0 % lost): "
            "Genant grade 0 by its height.",
        ),
        (
            Heights(math.nan, 0.2, 0.2, 0.2),
            Genant(2, "crush"),
            "L1 has lost 20 % of its height (anterior not measured, middle 20 %, posterior 20 %): "
            "Genant grade 2, crush.",
        ),
        (
            Heights(math.nan, math.nan, math.nan, math.nan),
            NONE,
            "The height loss of L1 could not be measured: Genant grade 0 by its height.",
        ),
    ],
)
def test_headline_turns_the_sign_into_words(rhlv: Heights, genant: Genant, sentence: str) -> None:
    assert headline(with_rhlv(fractured_report(), rhlv, genant)) == sentence


def test_numbers_that_were_not_measured_are_a_dash_and_minus_zero_is_zero() -> None:
    assert (format_mm(None), format_mm(math.nan), format_percent(math.inf)) == ("–", "–", "–")
    assert (format_percent(-0.001), format_mm(-0.01), format_percent(-0.031, 1)) == ("0 %", "0.0", "−3.1 %")


def test_without_matplotlib_nothing_is_written_and_the_user_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HealthiVertError, match=r' -m pip install "healthivert-core\[report\]"'):
        write_report(fractured_report(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_importing_the_report_does_not_import_matplotlib() -> None:
    import subprocess

    code = "import sys, healthivert.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
