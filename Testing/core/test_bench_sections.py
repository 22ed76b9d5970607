"""What the benchmark has measured is kept section by section, and the results say with what."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from bench import MEASURED, ROOT, write_results
from sections import Section, kept, markdown

from healthivert.models import MODELS
from healthivert.models.weights import load_weights

SECTION = Section("gan", "lumbar", "a" * 64, "1234567", "2 cores", 100, ("| heights | <= 1 mm | 0.4 mm | met |",))


def test_a_section_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    assert kept(folder, "gan", "lumbar") is None
    SECTION.keep(folder)
    assert kept(folder, "gan", "lumbar") == SECTION
    replace(SECTION, commit="7654321").keep(folder)
    assert kept(folder, "gan", "lumbar").commit == "7654321"
    assert [path.name for path in folder.iterdir()] == ["gan_lumbar.json"]


def test_results_name_other_commits_and_what_is_missing() -> None:
    later = replace(SECTION, name="verse", commit="7654321", rows=("| SSIM |  | 0.5 |  |",))
    diffusion = replace(SECTION, model="diffusion", weights="b" * 64)
    text = markdown([SECTION, later, diffusion], ["lumbar", "verse", "timings"], seed=900_000)
    assert "- commit 1234567, if not said otherwise below; 2 cores\n- phantom seeds from 900000" in text
    gan, other = text.split("## diffusion")
    assert "Weights with sha256 aaaaaaaaaaaaaaaa...; at commit 7654321: *verse*; not measured: *timings*" in gan
    assert "Weights with sha256 bbbbbbbbbbbbbbbb...; not measured: *verse*, *timings*" in other
    assert gan.index("| heights |") < gan.index("| SSIM |")
    assert "| SSIM |" not in other


def test_the_results_are_what_was_measured_with_the_shipped_weights(tmp_path: Path) -> None:
    weights = {model: load_weights(model)[1]["sha256"] for model in MODELS}
    write_results(weights, MEASURED, tmp_path / "results.md")
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == (ROOT / "docs" / "results.md").read_text("utf-8")


def test_results_leave_out_what_other_weights_gave(tmp_path: Path) -> None:
    SECTION.keep(tmp_path)
    replace(SECTION, model="diffusion", weights="b" * 64).keep(tmp_path)
    write_results({"gan": SECTION.weights, "diffusion": "c" * 64}, tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "## gan" in text
    assert "## diffusion" not in text
