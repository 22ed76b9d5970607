"""The files of a finished run -> nodes in the scene, and back from a saved scene.

In: the folder that `healthivert run` wrote, and the inputs. Out: ResultNodes, in a folder of the subject hierarchy
beside the CT and under its transform. A second run of the same vertebra brings the same nodes up to date.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from HealthiVertSlicerLib import filling, frames, made_from
from HealthiVertSlicerLib.difference import refill_difference
from HealthiVertSlicerLib.filling import BODIES, THIRDS
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.pieces import UNBROKEN, InThread, Pieces
from HealthiVertSlicerLib.result_nodes import (
    LPS_TO_RAS,
    SAME_FRAME,
    ImageFile,
    ResultSet,
    cropped,
    folder_of,
    image_data,
    nodes_by_role,
    read_image,
)

LINE_ROLES = tuple(f"{body}_{third}" for body in BODIES for third in THIRDS)


@dataclass(frozen=True)
class ConditioningNodes:
    """What the generator is given. conditioning_mask: label map, 1 where it sees nothing; attention: 0 to 1."""

    folder_item: int
    conditioning_mask: Any
    attention: Any


@dataclass(frozen=True)
class ResultNodes:
    """One vertebra's result. A node that the user has deleted is None.

    folder_item: of the subject hierarchy. volume, segmentation: the scan after restoration; the segments "original" and
    "pseudo_healthy". loss_volume (percent), loss_model: what was lost, on the healthy body. displacement: carries the
    original scan's tissue to where it is after restoration. table: heights. profile_table, plot_chart, plot_series:
    heights from front to back. height_lines: LINE_ROLES in their order. report: report.json.
    """

    folder_item: int
    volume: Any
    segmentation: Any
    loss_volume: Any
    loss_model: Any
    displacement: Any
    table: Any
    profile_table: Any
    plot_chart: Any
    plot_series: tuple[Any, ...]
    height_lines: tuple[Any, ...]
    conditioning_mask: Any
    attention: Any
    report_text: Any
    page_text: Any

    @property
    def report(self) -> dict:
        return json.loads(self.report_text.GetText())

    def write_report(self, folder: Path) -> Path:
        """report.html, which is returned, with its report.json beside it. The folder is made. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / "report.html"
        for path, text in ((folder / "report.json", self.report_text), (page, self.page_text)):
            path.write_text(text.GetText(), encoding="utf-8")
        return page


@dataclass(frozen=True)
class Start:
    """The inputs when the run started, which the user may have changed or moved since.

    state: made_from.state_of. frame: ijk_to_ras of the CT, in which the run's files lie. body: gives the voxels (K, J,
    I bool) of the vertebra on the CT's grid; it is called in a thread. named(text, written): a text of the run in which
    the images have the user's names; written makes of a name how it is written there.
    """

    state: str
    frame: np.ndarray
    body: Callable[[], np.ndarray]
    named: Callable[[str, Callable[[str], str]], str] = lambda text, written: text


@dataclass(frozen=True)
class Run:
    """What a run wrote, in memory. lines: body -> third -> two ends, LPS mm. ct: vtkImageData, labels: (K, J, I), both
    on the CT's grid; the other images have grids of their own."""

    report: dict
    page: str
    lines: Mapping[str, Mapping[str, Any]]
    ct: Any
    labels: np.ndarray
    loss: ImageFile
    displacement: ImageFile
    mask: ImageFile
    attention: ImageFile


def read_run(folder: Path, named: Callable[[str, Callable[[str], str]], str]) -> Run:
    """Touches no node, so it may be called from another thread: a large scan takes seconds. named: as in Start.

    Raises HealthiVertSlicerError if a file is missing or damaged.
    """
    from slicer.i18n import tr as _

    try:
        report = json.loads(named((folder / "report.json").read_text(encoding="utf-8"), in_json))
        page = named((folder / "report.html").read_text(encoding="utf-8"), escape)
        ct, labels, loss, displacement = (
            read_image(folder / f"{name}.nii.gz")
            for name in ("pseudo_healthy_ct", "pseudo_healthy_seg", "height_loss_map", "displacement")
        )
    except (OSError, RuntimeError, ValueError) as error:
        text = _("The results in {folder} cannot be read ({reason}): run it again.")
        raise HealthiVertSlicerError(text.format(folder=folder, reason=_line(error))) from error
    images = (image_data(ct.array), labels.array, loss, displacement, *_read_conditioning(folder))
    return Run(report, page, report["height_lines_lps_mm"], *images)


def loading(folder: Path, volume: Any, segmentation: Any, level: str, start: Start) -> Pieces:
    """ResultNodes of a finished run, in pieces: the files are read in a thread, and one node after the other is filled.
    They lie on the voxels of the CT, wherever those have been moved since the start.

    Raises HealthiVertSlicerError, leaving the scene as it was, if the files cannot be read or are of something else.
    Where the filling itself fails, what was made is taken back, and an earlier result that was half filled is none.
    """
    run = yield InThread(lambda: read_run(folder, start.named))
    _check_belongs(run, volume, level, folder)
    grid, moved = frames.ijk_to_ras(volume), _moved_since(start.frame, volume)
    run = yield InThread(lambda: _carried(run, moved))
    number = _label_of(run.report, level)
    bodies = yield InThread(
        lambda: {"original": cropped(start.body(), grid), "pseudo_healthy": cropped(run.labels == number, grid)}
    )
    results = ResultSet(volume, level)
    results.references = {made_from.SEGMENTATION_REFERENCE: segmentation.GetID()}
    results.provenance = {**filling.provenance(run.report), made_from.STATE: start.state}
    earlier = find_results(volume, level)
    try:
        for fill in _fillings(results, run, bodies, grid):
            fill()
            yield UNBROKEN
    except BaseException as error:  # also if nobody goes on with it
        results.take_back()
        if earlier is not None:
            earlier.report_text.SetText("")
        if earlier is None or isinstance(error, GeneratorExit):
            raise
        from slicer.i18n import tr as _

        logging.exception("HealthiVert: results could not be renewed")
        text = _(
            "The earlier result of {level} was renewed in part only ({reason}), so it is no longer shown: apply again. "
            "The log tells more."
        )
        raise HealthiVertSlicerError(text.format(level=level, reason=error)) from error
    return _collected(volume, level)


def load_conditioning(folder: Path, volume: Any, level: str, frame: np.ndarray) -> ConditioningNodes:
    """The conditioning alone, before a run. frame: as in Start. Raises HealthiVertSlicerError, leaving the scene as it
    was."""
    moved = _moved_since(frame, volume)
    mask, attention = (_placed(image, moved) for image in _read_conditioning(folder))
    results = ResultSet(volume, level)
    try:
        nodes = filling.fill_conditioning(results, mask, attention)
    except BaseException:
        results.take_back()
        raise
    return ConditioningNodes(folder_of(nodes, level), *nodes)


def find_results(volume: Any, level: str) -> ResultNodes | None:
    """The results that are in the scene, also after it was saved and loaded; None if there are none, or none that are
    whole: a filling that failed leaves no report."""
    found = nodes_by_role(volume, level)
    report = found.get("report_text")
    return _collected(volume, level) if report is not None and report.GetText() and "volume" in found else None


def show_spine_table(rows: Sequence[Mapping], volume: Any) -> Any:
    """The table of all levels as a node, with its plot beside it. rows: as `inspect --json` prints the levels."""
    return filling.fill_spine(ResultSet(volume, ""), rows)


def _fillings(
    results: ResultSet, run: Run, bodies: Mapping[str, tuple[np.ndarray, np.ndarray]], grid: np.ndarray
) -> Iterator[Callable[[], Any]]:
    """What fills every node of one run. bodies: name -> voxels and their ijk_to_ras. grid: ijk_to_ras of the CT."""
    yield lambda: filling.fill_ct(results, run.ct, grid)
    for body in BODIES:
        yield partial(filling.fill_body, results, body, *bodies[body])
    yield lambda: filling.fill_loss(results, run.loss)
    yield lambda: refill_difference(results)
    yield lambda: filling.fill_movement(results, run.displacement)
    yield lambda: filling.fill_heights(results, run.report)
    yield lambda: filling.fill_profile(results, run.report["height_profile_mm"])
    for body, third in product(BODIES, THIRDS):
        yield partial(filling.fill_height_line, results, body, third, run.lines[body][third])
    yield lambda: filling.fill_conditioning(results, run.mask, run.attention)
    yield lambda: filling.fill_texts(results, run.report, run.page)


def _check_belongs(run: Run, volume: Any, level: str, folder: Path) -> None:
    from slicer.i18n import tr as _

    size = volume.GetImageData().GetDimensions()
    same_grid = run.ct.GetDimensions() == run.labels.shape[::-1] == size
    if not same_grid or run.report["vertebra"] != level:
        text = _('The results in {folder} are not those of {level} in "{ct}": run it again.')
        raise HealthiVertSlicerError(text.format(folder=folder, level=level, ct=volume.GetName()))


def _moved_since(frame: np.ndarray, volume: Any) -> np.ndarray:
    """What the CT's voxels were moved by since its ijk_to_ras was frame, as where a transform is hardened on it."""
    moved = frames.ijk_to_ras(volume) @ np.linalg.inv(frame)
    if np.allclose(moved, np.eye(4), atol=SAME_FRAME):
        return np.eye(4)
    if not frames.is_orthogonal(moved[:3, :3]):
        from slicer.i18n import tr as _

        text = _('The voxels of "{ct}" were given another size or shape during the calculation: repeat it.')
        raise HealthiVertSlicerError(text.format(ct=volume.GetName()))
    return moved


def _carried(run: Run, moved: np.ndarray) -> Run:
    """The run where the CT's voxels are now."""
    lps = LPS_TO_RAS @ moved @ LPS_TO_RAS
    lines = {
        body: {third: frames.mapped(lps, np.array(ends)) for third, ends in thirds.items()}
        for body, thirds in run.lines.items()
    }
    turned = replace(run.displacement, array=run.displacement.array @ lps[:3, :3].T)
    images = {"loss": run.loss, "displacement": turned, "mask": run.mask, "attention": run.attention}
    return replace(run, lines=lines, **{name: _placed(image, moved) for name, image in images.items()})


def _placed(image: ImageFile, moved: np.ndarray) -> ImageFile:
    return replace(image, ijk_to_ras=moved @ image.ijk_to_ras)


def _read_conditioning(folder: Path) -> tuple[ImageFile, ImageFile]:
    from slicer.i18n import tr as _

    try:
        return read_image(folder / "conditioning" / "mask.nii.gz"), read_image(folder / "conditioning" / "cam.nii.gz")
    except (OSError, RuntimeError) as error:
        text = _("What the generator was given cannot be read from {folder} ({reason}): run it again.")
        raise HealthiVertSlicerError(text.format(folder=folder, reason=_line(error))) from error


def in_json(words: str) -> str:
    """As it is written within a text of JSON."""
    return json.dumps(words)[1:-1]


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _label_of(report: Mapping, level: str) -> int:
    """The value of the level in the run's segmentation."""
    return next(row["label"] for row in report["spine"] if row["level"] == level)


def _collected(volume: Any, level: str) -> ResultNodes:
    found = nodes_by_role(volume, level)
    single = ("volume", "segmentation", "loss_volume", "loss_model", "displacement", "table", "profile_table")
    return ResultNodes(
        folder_of(found.values(), level),
        **{role: found.get(role) for role in (*single, "plot_chart", "conditioning_mask", "attention")},
        plot_series=tuple(found[role] for role in ("original_series", "healthy_series") if role in found),
        height_lines=tuple(found[role] for role in LINE_ROLES if role in found),
        report_text=found.get("report_text"),
        page_text=found.get("page_text"),
    )
