"""Work that takes a while: one or more runs of the core, and what is done with their results in the scene.

A Job is written as a generator of Steps: it yields a run of the core and gets the run's result back when that has
ended, or yields a Note, a Part or pieces of work (pieces.py); it returns what on_done is called with. poll(), from a
timer or a loop, takes it one step further in the caller's thread, so that the scene is only touched there, and briefly.

Inputs may be changed or deleted meanwhile: the core works on copies in a temporary folder, a job knows its nodes by ID
only, and it ends when one of them is gone or the scene is closed. However it ends, the folder goes with it.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import slicer

from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.pieces import UNBROKEN, InThread, Unbroken, next_piece
from HealthiVertSlicerLib.runner import CommandRun, RunResult, words_after_cancelling

FOLDER_PREFIX = "healthivert-"


class Step(NamedTuple):
    """A run of the core, and the part of the whole job's progress that it makes up. name: said before its messages, of
    which told makes what the user reads."""

    run: CommandRun
    first: float = 0.0
    last: float = 1.0
    name: str = ""
    told: Callable[[str], str] = str


class Note(NamedTuple):
    """What the user must know besides the job's result: told at once, and again when the job has ended."""

    text: str


class Part(NamedTuple):
    """What is in the scene for good, whatever becomes of the rest of the job. name: what the user calls it."""

    result: Any
    name: str


Steps = Generator[Step | Note | Part | InThread | Unbroken | None, Any, Any]


class Job:
    """A job under way; it starts when it is made.

    on_progress(stage, fraction, message), on_done(result) and on_error(message) are called from poll(). Exactly one of
    on_done and on_error comes, once; a cancelled job ends with on_error, too. on_part(result) comes before them, with
    what stays even then.
    status: "running", "done", "cancelled" or "failed". result: what on_done gets. message: what on_error gets.
    notes: what the user must know besides; on_progress and the log tell each of them at once.
    """

    def __init__(self, steps: Steps, node_ids: Sequence[str] = (), folder: Path | None = None) -> None:
        self.on_progress: Callable[[str, float, str], None] = lambda stage, fraction, message: None
        self.on_part: Callable[[Any], None] = lambda result: None
        self.on_done: Callable[[Any], None] = lambda result: None
        self.on_error: Callable[[str], None] = lambda message: None
        self.status = "running"
        self.result: Any = None
        self.message = ""
        self.notes: list[str] = []
        self._kept: list[str] = []  # names of the parts
        self._steps = steps
        self._node_ids = tuple(node_ids)
        self._folder = folder
        self._logs: list[str] = []
        self._step: Step | InThread | Unbroken | None = None
        self._fraction = 0.0
        self._cancelled = False
        self._reason = ""  # why it is being cancelled, if nobody asked for it
        self._outcome: tuple[str, Any, str] | None = None  # status, result, message, once there is one
        self._polling = False
        scene = slicer.mrmlScene
        self._observation = scene.AddObserver(scene.StartCloseEvent, self._scene_closes)
        self._go_on(lambda: next(self._steps))

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def log(self) -> str:
        """All that the runs so far said, the current one included."""
        current = [self._step.run.log] if isinstance(self._step, Step) else []
        return "\n".join([*self._logs, *current])

    def poll(self) -> None:
        """Go on by one step, without waiting."""
        if self._polling or not self.running:  # a listener may let the event loop turn, and with it the timer
            return
        self._polling = True
        try:
            if self._outcome is None:
                self._look_for_nodes()
                self._follow(self._step)
            if self._outcome is not None:
                self._report(*self._outcome)
        finally:
            self._polling = False

    def cancel(self) -> None:
        """Returns at once; the job ends with on_error at a later poll(), when its processes are gone. A result that is
        just being put into the scene is put there whole before that, which may be the job's own end."""
        if self.running:
            self._cancelled = True
            if isinstance(self._step, Step):
                self._step.run.cancel()

    def wait(self) -> Any:
        """For scripts: the result, when it is there. Raises HealthiVertSlicerError if the job failed."""
        try:
            while self.running:
                self.poll()
                time.sleep(0.02 if isinstance(self._step, Step | InThread) else 0.0)
        except BaseException:  # Ctrl-C in the console
            self.stop()
            raise
        if self.status != "done":
            raise HealthiVertSlicerError(self.message)
        return self.result

    def stop(self, within_s: float = 2.0) -> None:
        """Cancel and wait for the end: for the moment at which nobody will poll any more."""
        self.cancel()
        end = time.monotonic() + within_s
        while self.running and time.monotonic() < end:
            self.poll()
            time.sleep(0.02)

    def _follow(self, step: Step | InThread | Unbroken | None) -> None:
        if isinstance(step, Step):
            step.run.poll()
            if step.run.result is None:
                return
            self._logs.append(step.run.result.log)
            self._step = None
        if self._reason:
            self._end("failed", message=self._reason)
        elif self._cancelled and step is not UNBROKEN:
            # work in a thread is left to itself: nobody will ask for its result
            self._end("cancelled", message=words_after_cancelling(self._kept))
        elif isinstance(step, Step):
            self._go_on(lambda: self._steps.send(step.run.result))
        elif not isinstance(step, InThread) or not step.running:
            self._go_on(lambda: next_piece(self._steps, step))

    def _scene_closes(self, caller: Any, event: str) -> None:
        from slicer.i18n import tr as _

        self._give_up(_("The scene was closed during the calculation: it was cancelled and left nothing behind."))

    def _look_for_nodes(self) -> None:
        from slicer.i18n import tr as _

        if any(slicer.mrmlScene.GetNodeByID(node_id) is None for node_id in self._node_ids):
            self._give_up(
                _("The CT or the segmentation was deleted during the calculation: choose them again and repeat it.")
            )

    def _give_up(self, reason: str) -> None:
        self._reason = self._reason or reason
        self.cancel()

    def _go_on(self, proceed: Callable[[], Step | Note | Part | InThread | Unbroken | None]) -> None:
        """Run the job's own code up to its next step or its end. proceed: takes it there."""
        from slicer.i18n import tr as _

        try:
            piece = proceed()
        except StopIteration as end:
            self._end("done", result=end.value)
        except HealthiVertSlicerError as error:
            self._end("failed", message=str(error))
        except OSError as error:
            self._end(
                "failed",
                message=_(
                    "{place}: cannot be used ({reason}). Make room on the disk or correct its permissions, "
                    "and try again."
                ).format(place=error.filename or _("The temporary folder"), reason=error.strerror),
            )
        except Exception as error:
            logging.exception("HealthiVert: a job failed")
            self._end(
                "failed",
                message=_("The results could not be shown ({reason}). The log tells more.").format(reason=error),
            )
        else:
            self._step = None if isinstance(piece, Note | Part) else piece
            if isinstance(piece, Step):
                piece.run.on_progress = self._pass_on
            elif isinstance(piece, Note):
                self._take_note(piece.text)
            elif isinstance(piece, Part):
                self._kept.append(piece.name)
                self.on_part(piece.result)

    def _take_note(self, text: str) -> None:
        logging.warning("HealthiVert: %s", text)
        self.notes.append(text)
        self._logs.append(text)
        self.on_progress("note", self._fraction, text)

    def _pass_on(self, stage: str, fraction: float, message: str) -> None:
        step = self._step
        if isinstance(step, Step):
            self._fraction = step.first + fraction * (step.last - step.first)
            message = step.told(message)
            self.on_progress(stage, self._fraction, f"{step.name}: {message}" if step.name else message)

    def _end(self, status: str, result: Any = None, message: str = "") -> None:
        self._step = None
        self._steps.close()
        slicer.mrmlScene.RemoveObserver(self._observation)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._outcome = status, result, message

    def _report(self, status: str, result: Any, message: str) -> None:
        self.status, self.result, self.message = status, result, message
        try:
            if status == "done":
                self.on_done(result)
            else:
                self.on_error(message)
        except Exception:
            logging.exception("HealthiVert: a listener to a job failed")


def temporary_path() -> str:
    """Slicer's own temporary folder; the system's where Slicer runs without its application."""
    application = getattr(slicer, "app", None)
    return application.temporaryPath if application is not None else tempfile.gettempdir()


def temporary_folder() -> Path:
    """A new folder that only this user can read, among Slicer's temporary files."""
    from slicer.i18n import tr as _

    place = temporary_path()
    try:
        return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place))
    except OSError as error:
        raise HealthiVertSlicerError(
            _(
                "The temporary folder {place} cannot be written ({reason}). Correct its permissions, or choose another "
                "one in Slicer's application settings."
            ).format(place=place, reason=error.strerror)
        ) from error


def succeeded(result: RunResult) -> RunResult:
    """The result of a run that ended well. Raises HealthiVertSlicerError with its message if it did not."""
    if result.status != "done":
        raise HealthiVertSlicerError(result.message)
    return result


def answer_of(result: RunResult) -> Any:
    """What a run printed as JSON in its last line. Raises HealthiVertSlicerError if that is none."""
    from slicer.i18n import tr as _

    lines = succeeded(result).output.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError, RecursionError) as error:
        raise HealthiVertSlicerError(
            _("The calculation gave no answer that can be read. Look into the log, and install HealthiVert again.")
        ) from error
