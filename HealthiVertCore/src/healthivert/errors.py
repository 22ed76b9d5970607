"""The one exception a user is meant to read."""

import sys
from pathlib import Path


class HealthiVertError(Exception):
    """Bad input or bad arguments: the message is one line that says what was found, where, and what to do.

    The command line prints it and exits with 2. Anything else that is raised is a bug (exit 1).
    """


def complaint(path: Path, found: str, remedy: str) -> HealthiVertError:
    """The one line a user reads: where, what was found, what to do."""
    return HealthiVertError(" ".join(f"{path}: {found}; {remedy}".split()))


def not_installed(package: str, extra: str, purpose: str) -> HealthiVertError:
    """What to say where an optional package is missing. purpose: what needs it, with its verb."""
    return HealthiVertError(
        f"{purpose} {package}, which is not installed in this Python: "
        f'run {sys.executable} -m pip install "healthivert-core[{extra}]" and try again'
    )
