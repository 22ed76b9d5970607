"""Files that are replaced as a whole: whoever reads one, or is killed while it is written, finds the old or the new."""

from __future__ import annotations

import os
import re
from pathlib import Path

PARTIAL = ".partial-"  # and the process's number


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by its new content in one step, on the disk before this returns. After an OSError the old one is
    still there."""
    partial = path.with_name(f"{path.name}{PARTIAL}{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path, name: str) -> None:
    """Remove what killed processes had begun to write of a file; to be called where no other can be writing it now.

    name: a regular expression of the file's whole name.
    """
    for file in list(folder.iterdir()):
        if re.fullmatch(rf"{name}{re.escape(PARTIAL)}\d+", file.name):
            file.unlink(missing_ok=True)
