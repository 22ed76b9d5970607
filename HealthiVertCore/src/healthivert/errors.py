"""The one exception a user is meant to read."""

import sys


class HealthiVertError(Exception):
    """Bad input or bad arguments: the message is one line that says what was found, where, and what to do.

    The command line prints it and exits with 2. Anything else that is raised is a bug (exit 1).
    """


def not_installed(package: str, extra: str, purpose: str) -> HealthiVertError:
    """What to say where an optional package is missing. purpose: what needs it, with its verb."""
    return HealthiVertError(
        f"{purpose} {package}, which is not installed in this Python: "
        f'run {sys.executable} -m pip install "healthivert-core[{extra}]" and try again'
    )
