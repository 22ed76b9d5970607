"""The one exception a user is meant to read."""


class HealthiVertError(Exception):
    """Bad input or bad arguments: the message is one line that says what was found, where, and what to do.

    The command line prints it and exits with 2. Anything else that is raised is a bug (exit 1).
    """
