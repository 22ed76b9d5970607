"""Files that are replaced as a whole: whoever reads one, or is killed while it is written, finds the old or the new."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

PARTIAL = ".partial-"  # and the process's number


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by its new content in one step, on the disk before this returns. After an OSError the old one is
    still there."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """write_whole of several files: all of them are on the disk before the first one is replaced."""
    partials = {path: path.with_name(f"{path.name}{PARTIAL}{os.getpid()}") for path in contents}
    try:
        for path, content in contents.items():
            with partials[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, partial in partials.items():
            os.replace(partial, path)
    except BaseException:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path, name: str) -> None:
    """Remove what killed processes had begun to write of a file; to be called where no other can be writing it now.

    name: a regular expression of the file's whole name.
    """
    for file in list(folder.iterdir()):
        if re.fullmatch(rf"{name}{re.escape(PARTIAL)}\d+", file.name):
            file.unlink(missing_ok=True)
