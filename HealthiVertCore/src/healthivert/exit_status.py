"""How a command ends: its exit status, and what it tells on stderr.

0 done, 1 a bug, 2 bad input, 130 and 143 stopped by Ctrl-C and by SIGTERM.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from healthivert.errors import HealthiVertError
from healthivert.progress import Cancellation, ignore_signals
from healthivert.threads import has_unawaited_work

READER_GONE = 141  # as the shell names the end by SIGPIPE, which Windows does not have
UNUSABLE_PLACE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EINVAL),
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)


def exit_status(work: Callable[[], int | None], cancellation: Cancellation) -> int:
    """Of the work of a command: its own, or that of the error or signal that ended it, which stderr then tells."""
    try:
        status = work() or 0
        sys.stdout.flush()
        ignore_signals()  # the results are in place: a late signal cannot undo them
        return status
    except HealthiVertError as error:
        ignore_signals()  # torchrun sends one to the processes that are left
        return complain(str(error))
    except KeyboardInterrupt:
        ignore_signals()  # what was begun is removed: an impatient second signal must not change the exit status
        print("healthivert: cancelled; no unfinished results were left behind", file=sys.stderr)
        return 128 + (cancellation.signal or signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at its exit
        return READER_GONE
    except OSError as error:
        if error.errno not in UNUSABLE_PLACE:
            raise
        place = error.filename or "the place for the results"
        return complain(f"{place}: cannot be used ({error.strerror}); make room, or choose another path")


def complain(line: str) -> int:
    """Print a line on stderr; returns the exit status of bad input."""
    print(f"healthivert: {line}", file=sys.stderr)
    return 2


def leave(status: int) -> NoReturn:
    """End the process, at once where a thread still does what a stopped command no longer needs.

    Python would take such a thread's libraries down under its feet.
    """
    if has_unawaited_work():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
