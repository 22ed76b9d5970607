"""The one job that runs at a time: asked after by a timer, its progress and log shown, and how it ended.

A job comes from the logic (jobs.py). Its own functions are called from here, in Slicer's main thread, so that they may
touch the scene and the widgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.pieces import Pieces
from HealthiVertSlicerLib.widgets import say

POLL_MS = 50


class Job(Protocol):
    """What is asked of a job; see jobs.Job."""

    running: bool
    log: str
    notes: list[str]
    on_progress: Callable[[str, float, str], None]
    on_part: Callable[[Any], None]
    on_done: Callable[[Any], None]
    on_error: Callable[[str], None]

    def poll(self) -> None: ...
    def cancel(self) -> None: ...
    def stop(self) -> None: ...


class JobView:
    """Starts jobs and follows them. on_change() is called when one has started and when it has ended."""

    def __init__(self, ui, on_change: Callable[[], None]) -> None:
        self._ui, self._on_change = ui, on_change
        self._job: Job | None = None
        self._starting = False
        self._cancelled = False
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._showing: Pieces | None = None
        self._showing_timer = qt.QTimer()
        self._showing_timer.setInterval(0)
        self._showing_timer.connect("timeout()", self._show_more)

    @property
    def busy(self) -> bool:
        return self._starting or self.running

    @property
    def running(self) -> bool:
        """Whether there is something that can be cancelled."""
        return self._job is not None

    @property
    def showing(self) -> bool:
        return self._showing is not None

    def say(self, text: str) -> None:
        """One sentence below the Apply button, which stays until the next one."""
        say(self._ui.statusLabel, text)

    def start(
        self,
        start_job: Callable[[], Job],
        on_done: Callable[[Any], None],
        on_part: Callable[[Any], None] = lambda result: None,
    ) -> None:
        """start_job makes the job, or raises HealthiVertSlicerError, which is shown; on_done gets the job's result,
        on_part what stays of it whatever comes. start_job may let Qt work, as an installation does: a second start is
        ignored meanwhile."""
        if self.busy:
            return
        self._starting, self._cancelled = True, False
        self._on_change()
        try:
            self._follow(start_job(), on_done, on_part)
        except HealthiVertSlicerError as error:
            self._complain(str(error))
        finally:
            self._starting = False
            self._on_change()

    def _follow(self, job: Job, on_done: Callable[[Any], None], on_part: Callable[[Any], None]) -> None:
        job.on_progress, job.on_error = self._progressed, self._complain
        job.on_part, job.on_done = on_part, lambda result: self._hand_over(result, on_done)
        self._job = job
        self.say(_("Starting…"))
        self._ui.logText.setPlainText("")
        self._ui.progressBar.setValue(0)
        self._ui.progressBar.setVisible(True)
        self._timer.start()

    def _hand_over(self, result: Any, on_done: Callable[[Any], None]) -> None:
        try:
            on_done(result)
        except HealthiVertSlicerError as error:
            self._complain(str(error))
        except Exception as error:  # the job writes it into the application's log
            self._complain(_("The results could not be shown ({reason}). The log tells more.").format(reason=error))
            raise

    def show_in_pieces(self, pieces: Pieces) -> None:
        """Work on the views (pieces.py, without threads), a piece whenever Qt has nothing else to do. Such work that is
        not finished is given up for it."""
        self._showing = pieces
        self._showing_timer.start()

    def _show_more(self) -> None:
        try:
            next(self._showing)
        except StopIteration:
            self.stop_showing()
        except HealthiVertSlicerError as error:
            self.stop_showing()
            self._complain(str(error))
        except Exception:
            self.stop_showing()
            raise

    def cancel(self) -> None:
        if self._job is not None:
            self._cancelled = True
            self.say(_("Stopping…"))
            self._job.cancel()

    def stop_showing(self) -> None:
        """Gives up what is not shown yet: for the moment at which the scene closes."""
        self._showing_timer.stop()
        self._showing = None

    def stop(self) -> None:
        """Ends the job and waits for its end: for the moment after which no timer asks after it any more."""
        self.stop_showing()
        if self._job is not None:
            self._job.stop()
            self._finish()

    def _poll(self) -> None:
        job = self._job
        if job is None:
            return
        job.poll()
        if not job.running:
            self._finish()

    def _finish(self) -> None:
        self._timer.stop()
        job, self._job = self._job, None
        self._ui.logText.setPlainText(job.log if job is not None else "")
        self._ui.progressBar.setVisible(False)
        if job is not None and job.notes:
            self.say("\n".join([self._ui.statusLabel.text, *(f"⚠ {note}" for note in job.notes)]))
        self._on_change()

    def _progressed(self, stage: str, fraction: float, message: str) -> None:
        self._ui.progressBar.setValue(round(100 * fraction))
        self._ui.logText.appendPlainText(f"{100 * fraction:3.0f} %  {stage}  {message}")
        self.say(message or stage)

    def _complain(self, message: str) -> None:
        self.say(message if self._cancelled else f"⚠ {message}")
