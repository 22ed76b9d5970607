"""slicer.packaging that installs nothing. Stands in for Base/Python/slicer/packaging.py.

pip_check really looks at what is installed, by metadata alone. Differs: pip_install only notes in `installed` what it
would have installed; the extras of a requirement are not looked into; no progress, no restart.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import slicer
import slicer.util
from packaging.requirements import InvalidRequirement, Requirement

Requirements = str | Requirement | list[str | Requirement]

installed: list[str] = []


def pip_check(req: Requirements) -> bool:
    return all(_is_met(requirement) for requirement in _as_list(req))


def pip_install(requirements: str | list[str], **options: Any) -> None:
    if not isinstance(requirements, (str, list)):
        raise ValueError("pip_install requirement input must be string or list")
    installed.extend(str(requirement) for requirement in _as_list(requirements))


def pip_ensure(
    requirements: Requirements,
    constraints: Any = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> None:
    """Raises RuntimeError if the user declines. In testing mode nothing happens at all."""
    missing = [requirement for requirement in _as_list(requirements) if not _is_met(requirement)]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return
    if prompt_install:
        names = "\n".join(f"- {requirement}" for requirement in missing)
        question = f"{len(missing)} Python packages need to be installed. Continue?"
        if not slicer.util.confirmOkCancelDisplay(question, f"{requester or ''} - Install", detailedText=names):
            raise RuntimeError("User declined package installation")
    pip_install([str(requirement) for requirement in missing])


def _as_list(requirements: Requirements) -> list[Requirement]:
    if isinstance(requirements, str):
        try:
            return [Requirement(requirements)]
        except InvalidRequirement:
            return [Requirement(part) for part in requirements.split()]
    if isinstance(requirements, Requirement):
        return [requirements]
    if isinstance(requirements, list):
        return [Requirement(item) if isinstance(item, str) else item for item in requirements]
    raise TypeError(f"Expected str, Requirement, or list, got {type(requirements).__name__}")


def _is_met(requirement: Requirement) -> bool:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        return False
