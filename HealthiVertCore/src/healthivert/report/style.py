"""Colours and type of the report's pictures.

Before is orange and after is blue everywhere: the two stay apart for every common colour blindness (Okabe and Ito 2008)
and, by their lightness, on a grey print.
"""

from __future__ import annotations

from typing import Any

BEFORE_TEXT = "#B35900"  # dark enough to be read on white
AFTER_TEXT = "#00639C"
BEFORE_LINE = "#FF9A1F"  # bright enough to be seen on a CT
AFTER_LINE = "#39B6F2"
INK = "#1F2933"
MUTED = "#65737E"
OTHER_LEVEL = "#C3CCD4"

HU_WINDOW = (-200.0, 600.0)  # spongy bone well apart from muscle and disc, and those still apart from fat and air
PNG_DPI = 160

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so pictures are the same on every machine
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
    "text.usetex": False,
}
