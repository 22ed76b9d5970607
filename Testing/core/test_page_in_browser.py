"""report.html is complete in itself, safe to open, and a real browser renders it and prints it on one sheet."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib import image
from report_example import fractured_report, with_rhlv

from healthivert.report import write_report
from healthivert.types import Genant, Heights

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; `make test` installs it")


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_report(fractured_report(), folder)
    return folder / "report.html"


def words(page: Path) -> str:
    """The page's text as a reader sees it, with ordinary spaces."""
    text = re.sub(r"<style>.*?</style>|data:image/png;base64,[^\"]*", "", page.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text))


def chromium(page: Path, profile: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def pages_printed(page: Path, folder: Path) -> int:
    chromium(page, folder / "profile", f"--print-to-pdf={folder / 'page.pdf'}", "--no-pdf-header-footer")
    return len(re.findall(rb"/Type\s*/Page\b", (folder / "page.pdf").read_bytes()))


def test_page_holds_all_it_needs_and_reaches_for_nothing(page: Path) -> None:
    tags = Tags(page.read_text(encoding="utf-8"))
    assert tags.named("html") == [{"lang": "en"}]
    assert not tags.named("script") and not tags.named("link") and not tags.named("iframe")
    images = tags.named("img")
    assert len(images) == 6
    assert all((picture["src"] or "").startswith("data:image/png;base64,") for picture in images)
    assert all(picture["alt"] for picture in images)
    assert "http" not in words(page) and "url(" not in page.read_text(encoding="utf-8")


def test_page_says_the_finding_the_numbers_and_where_they_come_from(page: Path) -> None:
    text = words(page)
    assert "L1 has lost 46 % of its height (anterior 52 %, middle 58 %, posterior 22 %): Genant grade 3, wedge" in text
    assert "52.0 ± 1.1" in text and "the 7 other samples lie" in text
    assert "Within the intervals of the thirds: grade 3 only" in text
    assert "T12 looks fractured too" in text and "The scan ends inside T11" in text
    for fact in (fractured_report().model["sha256"], "torch 2.13.0", "Seed 0", "Samples 8"):
        assert fact in text
    assert "For research use only. Not a medical device." in text


def test_one_sample_has_no_spread_and_a_taller_vertebra_has_a_minus_sign(tmp_path: Path) -> None:
    report = with_rhlv(fractured_report(samples=1), Heights(-0.03, 0.01, -0.05, -0.024), Genant(0, "normal"))
    report = replace(report, loss=replace(report.loss, rhlv_sd=None, neighbour_reference=None))
    write_report(report, tmp_path)
    text = words(tmp_path / "report.html")
    assert "L1 is 2 % taller than predicted" in text
    assert "−2.4" in text and "±" not in text
    assert "No neighbour is sound enough" in text


def test_words_from_outside_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    attack = '<script>alert("1")</script><img src=x onerror=alert(2)> $title'
    report = fractured_report(case=attack, warnings=(attack,), model={"name": attack, "sha256": "0"})
    write_report(report, tmp_path)
    tags = Tags((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not tags.named("script") and len(tags.named("img")) == 6
    assert "&lt;script&gt;alert(&quot;1&quot;)" in (tmp_path / "report.html").read_text(encoding="utf-8")


@needs_browser
def test_browser_renders_the_page_wide_and_narrow(page: Path, tmp_path: Path) -> None:
    assert "L1 has lost" in chromium(page, tmp_path / "profile", "--dump-dom")
    narrow = tmp_path / "narrow.html"  # a window cannot be made this narrow, a frame can
    narrow.write_text(
        f'<body style="margin:0"><iframe src="{page.as_uri()}" width="400" height="2600" frameborder="0">'
    )
    for name, address, size in (("wide", page, (1400, 1900)), ("narrow", narrow, (600, 2600))):
        shot = tmp_path / f"{name}.png"
        chromium(address, tmp_path / "profile", f"--window-size={size[0]},{size[1]}", f"--screenshot={shot}")
        grey = image.imread(shot)[..., :3].mean(axis=-1)[:, : 400 if name == "narrow" else None]
        assert (grey < 0.6).mean() > 0.1 and (grey > 0.95).mean() > 0.2  # pictures and paper
        assert grey[:, -8:].min() > 0.95  # nothing runs out of the page


@needs_browser
def test_page_prints_on_one_sheet(page: Path, tmp_path: Path) -> None:
    assert pages_printed(page, tmp_path) == 1


@needs_browser
def test_many_long_warnings_still_print_on_one_sheet(tmp_path: Path) -> None:
    long = "the model and the neighbours disagree by more than ten points, so look at the pictures before the number."
    write_report(fractured_report(warnings=tuple(f"Warning {i}: {long}" for i in range(9))), tmp_path)
    assert pages_printed(tmp_path / "report.html", tmp_path) == 1
