"""What README shows of the use from Python works as it stands there."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

from command_line_case import write_spine

README = Path(__file__).parents[2] / "README.md"


def test_the_program_in_the_readme_finds_the_wedged_vertebra(tmp_path: Path, monkeypatch) -> None:
    ct, seg = write_spine(tmp_path)
    for path, name in ((ct, "ct.nii.gz"), (seg, "seg.nii.gz")):
        if path != tmp_path / name:
            shutil.copy(path, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {})
    level, loss, *_, grade = printed.getvalue().split()
    assert level == "L1" and float(loss) > 0.2 and int(grade) >= 2
    assert (tmp_path / "results" / "report.html").is_file()
