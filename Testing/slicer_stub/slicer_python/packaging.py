"""slicer.packaging that installs nothing. Stands in for Base/Python/slicer/packaging.py.

pip_check really looks at what is installed, by metadata alone. Differs: the extras of a requirement are not looked
into, and installing is left to be played by a test.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

from packaging.requirements import Requirement


def pip_check(req: str | Requirement | list[str | Requirement]) -> bool:
    if isinstance(req, list):
        return all(pip_check(one) for one in req)
    if not isinstance(req, str | Requirement):
        raise TypeError(f"Expected str, Requirement, or list, got {type(req).__name__}")
    requirement = Requirement(req) if isinstance(req, str) else req
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        return False


def pip_ensure(requirements: Any, **options: Any) -> None:
    """No test may change the Python it runs in: one that is about installing puts its own in the place of this."""
    raise NotImplementedError(f"The stand installs nothing: {requirements}")
