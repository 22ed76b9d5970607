"""A program in the place of the core: it answers at once, rightly or not, as the test's own code says.

The fixture core (conftest.py) puts it there. The code may use what PRELUDE defines.
"""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

PRELUDE = """
import json, os, shutil, sys, time
from pathlib import Path
words = sys.argv[sys.argv.index("--parent") + 2:]
words = words[2:] if words[0] == "--folder" else words
command, finished, spine = words[0], Path({finished!r}), {spine!r}
def value(name): return words[words.index(name) + 1]
def step(fraction): print(json.dumps({{"stage": "generate", "fraction": fraction, "message": "regrowing"}}), flush=True)
def fail(words, code=2): print(words, file=sys.stderr); sys.exit(code)
def write(level=None):
    out = Path(value("--out"))
    shutil.copytree(finished, out)
    if level:
        text = (out / "report.json").read_text()
        (out / "report.json").write_text(text.replace('"vertebra": "L1"', f'"vertebra": "{{level}}"'))
def answer():
    step(0.5)
    if command == "spine": print(json.dumps(spine))
    else: write()
"""
ANSWERS = "answer()"
SLEEPS = "step(0.5); time.sleep(60)"


def write_program(path: Path, code: str, finished_run: Path) -> None:
    """path becomes a program that takes the words of the core and runs the code. finished_run: what it hands out."""
    report: dict[str, Any] = json.loads((finished_run / "report.json").read_text(encoding="utf-8"))
    spine = {"levels": report["spine"], "warnings": ["the spine is short"]}
    prelude = PRELUDE.format(finished=str(finished_run), spine=spine)
    path.write_text(f"#!{sys.executable}\n{prelude}\n{code}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
