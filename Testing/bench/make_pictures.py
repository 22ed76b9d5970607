"""Make the pictures of README and of the extension: Resources/HealthiVert.png and Resources/report.png.

The second is the demo's report.html as a browser (chromium) shows it, from its top to the end of the pairs of pictures.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from healthivert import commands
from healthivert.progress import quiet

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
BROWSER_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
WIDTH, TALLEST = 1200, 4000  # pixels
END = 'document.body.dataset.end = Math.ceil(document.querySelector(".pairs").getBoundingClientRect().bottom)'
MARGIN = 14  # below the pairs' captions: less than the page's own gap, so that nothing of what follows is seen


def body(left: float, right: float, bottom: float, anterior: float, posterior: float) -> np.ndarray:
    """The outline of a vertebral body with concave sides, from its corners."""
    t = np.linspace(0, 1, 30)
    bow = 0.05 * np.sin(np.pi * t)
    top = np.stack([left + (right - left) * t, bottom + anterior + (posterior - anterior) * t - bow], axis=1)
    base = np.stack([right - (right - left) * t, bottom + bow], axis=1)
    return np.concatenate([top, base])


def icon(path: Path) -> None:
    """A wedged body in orange under the blue outline of what it was; its neighbours in grey."""
    figure = Figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    for bottom in (0.02, 0.71):
        axes.add_patch(Polygon(body(0.2, 0.8, bottom, 0.27, 0.27), facecolor="#b9c2cc"))
    axes.add_patch(Polygon(body(0.18, 0.82, 0.35, 0.15, 0.27), facecolor="#e07b00"))
    axes.add_patch(Polygon(body(0.18, 0.82, 0.35, 0.3, 0.3), facecolor="none", edgecolor="#0072b2", linewidth=3))
    axes.set_axis_off()
    figure.savefig(path, transparent=True)


def report(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        commands.demo(out, commands.GeneratorChoice(), quiet, force=False)
        page = out / "report.html"
        browse(page, f"--window-size={WIDTH},{end_of_pairs(page) + MARGIN}", f"--screenshot={path}")


def end_of_pairs(page: Path) -> int:
    """How far the pairs of pictures reach down the page, with their captions, in pixels. The page itself has no
    scripts, so a copy of it is asked."""
    asked = page.with_name("asked.html")
    text = page.read_text(encoding="utf-8")
    asked.write_text(text.replace("</body>", f"<script>{END}</script></body>"), encoding="utf-8")
    found = re.search(r'data-end="(\d+)"', browse(asked, f"--window-size={WIDTH},{TALLEST}", "--dump-dom"))
    assert found is not None, "the page has no pairs of pictures"
    return int(found[1])


def browse(page: Path, *arguments: str) -> str:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [browser, *BROWSER_FLAGS, *arguments, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    RESOURCES.mkdir(exist_ok=True)
    icon(RESOURCES / "HealthiVert.png")
    report(RESOURCES / "report.png")
