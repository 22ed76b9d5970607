"""What the panel's tests share: the opened panel with a logic whose jobs the test itself moves on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import slicer
import vtk
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError


class PlayedJob:
    """A job that says what the test lets it say, at the panel's next look (as a real one: from poll())."""

    def __init__(self) -> None:
        self.on_progress = self.on_part = self.on_done = self.on_error = lambda *_: None
        self.running, self.cancelled, self.stopped, self.log = True, False, False, "what the child said"
        self.notes: list[str] = []
        self._said: list[Callable[[], None]] = []

    def progress(self, stage: str, fraction: float, message: str) -> None:
        self._said.append(lambda: self.on_progress(stage, fraction, message))

    def part(self, result: Any) -> None:
        self._said.append(lambda: self.on_part(result))

    def finish(self, result: Any) -> None:
        self._end(lambda: self.on_done(result))

    def fail(self, message: str) -> None:
        self._end(lambda: self.on_error(message))

    def poll(self) -> None:
        while self._said:
            self._said.pop(0)()

    def cancel(self) -> None:
        self.cancelled = True
        self.fail("Cancelled: nothing was changed.")

    def stop(self) -> None:
        self.stopped, self.running = True, False

    def _end(self, tell: Callable[[], None]) -> None:
        def end() -> None:
            self.running = False
            tell()

        self._said.append(end)


class PlayedLogic:
    """Stands in for HealthiVertSlicerLogic: remembers what was asked (calls) and hands out a PlayedJob for each."""

    def __init__(self, refusal: str = "") -> None:
        self.calls: list[tuple[str, tuple, dict]] = []
        self.job = PlayedJob()
        self.refusal = refusal

    def _start(self, name: str, given: tuple, choices: dict) -> PlayedJob:
        if self.refusal:
            raise HealthiVertSlicerError(self.refusal)
        self.calls.append((name, given, choices))
        self.job = PlayedJob()
        return self.job

    def start_inspect(self, *given: Any, **choices: Any) -> PlayedJob:
        return self._start("inspect", given, choices)

    def start_process(self, *given: Any, **choices: Any) -> PlayedJob:
        return self._start("process", given, choices)

    def start_screen(self, *given: Any, **choices: Any) -> PlayedJob:
        return self._start("screen", given, choices)

    def start_conditioning(self, *given: Any, **choices: Any) -> PlayedJob:
        return self._start("conditioning", given, choices)

    def start_devices(self) -> PlayedJob:
        return self._start("devices", (), {})


def open_with_played_logic(panel_stand: Any) -> Any:
    """The opened panel (PanelStand); what it starts, the test plays."""
    stand = panel_stand()
    stand.widget.panel.logic = PlayedLogic()
    return stand


def choose_inputs(panel: Any, nodes: Any) -> None:
    """As with the two selectors."""
    panel.ui.volumeSelector.setCurrentNode(nodes.volume)
    panel.ui.segmentationSelector.setCurrentNode(nodes.segmentation)


def choose_target(panel: Any, level: str) -> None:
    """As with the combo box below the table."""
    box = panel.ui.targetSelector
    box.setCurrentIndex(box.findText(level))


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """Lets the event loop turn until the condition holds; how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not come about in time"
        slicer.app.processEvents()
        time.sleep(0.005)
    return time.monotonic() - start


def bend(node: Any) -> None:
    """Put the node under a nonlinear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "tilted scan")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(transform.GetID())


def row(level: str, height: float, expected: float, suspicion: float, grade: int = 0, complete: bool = True) -> dict:
    """A row of `healthivert inspect --json`."""
    return {
        "level": level,
        "label": 20,
        "heights_mm": dict.fromkeys(("anterior", "middle", "posterior", "mean"), height),
        "neighbour_reference": dict.fromkeys(("anterior", "middle", "posterior", "mean"), expected),
        "suspicion": suspicion,
        "grade": grade,
        "shape": "wedge" if grade else "normal",
        "complete": complete,
        "warnings": [],
    }
