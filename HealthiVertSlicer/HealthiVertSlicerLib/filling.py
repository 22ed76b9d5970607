"""What each result node holds and how it first looks.

In: a ResultSet and what a run's files hold. Looks are set when a node is made and then left to the user; ranges and
names of what is shown follow the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from HealthiVertSlicerLib.levels import terminology_for
from HealthiVertSlicerLib.loss_surface import SCALAR_NAME, loss_surface
from HealthiVertSlicerLib.result_nodes import (
    HEALTHY_COLOUR,
    ORIGINAL_COLOUR,
    Column,
    Curve,
    ImageFile,
    ResultSet,
    copy_window,
    fill_displacement,
    fill_line,
    fill_plot,
    fill_segment,
    fill_table,
    fill_volume,
)

BODIES = ("original", "pseudo_healthy")
THIRDS = ("anterior", "middle", "posterior")
HEIGHT_KEYS = (*THIRDS, "mean")
LOSS_COLOURS = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"  # red: height is lost
LOSS_RANGE = 50.0  # percent, up and down, for everybody: colours of two patients can be compared; few bodies lose more
ORIGINAL_OPACITY_3D = 0.4


def provenance(report: Mapping) -> dict[str, str]:
    return {
        "Model": report["model"]["name"],
        "ModelSha256": report["model"]["sha256"],
        "Device": report["device"],
        "Seed": str(report["seed"]),
        "Samples": str(report["samples"]),
        "Version": report["versions"]["healthivert"],
    }


def node_name(results: ResultSet, what: str) -> str:
    return f"{results.volume.GetName()} {results.level} {what}"


def fill_ct(results: ResultSet, image: Any, grid: np.ndarray) -> None:
    """image: vtkImageData on the CT's grid, of which grid is ijk_to_ras."""
    from slicer.i18n import tr as _

    node = results.node("volume", "vtkMRMLScalarVolumeNode", node_name(results, _("pseudo-healthy")))
    if results.is_new(node):
        copy_window(node, results.volume)
    fill_volume(node, image, grid)


def fill_body(results: ResultSet, body: str, mask: np.ndarray, grid: np.ndarray) -> None:
    """One of BODIES: its voxels mask (K, J, I bool), and ijk_to_ras of them."""
    from slicer.i18n import tr as _

    node = results.node("segmentation", "vtkMRMLSegmentationNode", node_name(results, _("before and after")))
    names = {"original": _("{level} original"), "pseudo_healthy": _("{level} pseudo-healthy")}
    colours = {"original": ORIGINAL_COLOUR, "pseudo_healthy": HEALTHY_COLOUR}
    if results.is_new(node) and node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(results.volume)
    is_new = fill_segment(node, body, mask, grid)
    segment = node.GetSegmentation().GetSegment(body)
    segment.SetTerminology(terminology_for(results.level))
    node.CreateClosedSurfaceRepresentation()  # of this body alone: others have theirs
    if is_new:
        segment.SetName(names[body].format(level=results.level))
        segment.SetColor(*colours[body])
    if results.is_new(node) and body == BODIES[-1]:
        shown = node.GetDisplayNode()
        shown.SetSegmentOpacity3D("original", ORIGINAL_OPACITY_3D)
        shown.SetSegmentVisibility3D("pseudo_healthy", False)  # the surface with the loss on it is the same body


def fill_loss(results: ResultSet, loss: ImageFile) -> None:
    from slicer.i18n import tr as _

    surface = loss_surface(loss)
    volume = results.node("loss_volume", "vtkMRMLScalarVolumeNode", node_name(results, _("height loss (%)")))
    fill_volume(volume, loss.array, loss.ijk_to_ras)
    model = results.node("loss_model", "vtkMRMLModelNode", node_name(results, _("height loss surface (%)")))
    model.SetAndObserveMesh(surface)
    if results.is_new(model):
        model.CreateDefaultDisplayNodes()
        model.GetDisplayNode().SetScalarVisibility(True)
    for node in (volume, model):
        if results.is_new(node):
            node.GetDisplayNode().SetAndObserveColorNodeID(LOSS_COLOURS)
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(-LOSS_RANGE, LOSS_RANGE)
    shown = model.GetDisplayNode()
    shown.SetActiveScalarName(SCALAR_NAME)
    shown.SetScalarRangeFlag(shown.UseManualScalarRange)
    shown.SetScalarRange(-LOSS_RANGE, LOSS_RANGE)


def fill_movement(results: ResultSet, field: ImageFile) -> None:
    from slicer.i18n import tr as _

    node = results.node("displacement", "vtkMRMLGridTransformNode", node_name(results, _("displacement")))
    fill_displacement(node, field)


def fill_texts(results: ResultSet, report: Mapping, page: str) -> None:
    """report.json and report.html, so that a saved scene holds them."""
    for role, name, text in (("report_text", "report.json", json.dumps(report)), ("page_text", "report.html", page)):
        results.node(role, "vtkMRMLTextNode", node_name(results, name)).SetText(text)


def fill_heights(results: ResultSet, report: Mapping) -> None:
    from slicer.i18n import tr as _

    table = results.node("table", "vtkMRMLTableNode", node_name(results, _("heights")))
    words = {"anterior": _("Anterior"), "middle": _("Middle"), "posterior": _("Posterior"), "mean": _("Mean")}
    heights = report["heights_mm"]
    columns = [Column("region", _("Part of the body"), [words[key] for key in HEIGHT_KEYS])]
    for key, title in (
        ("original", _("Original (mm)")),
        ("pseudo_healthy", _("Pseudo-healthy (mm)")),
        ("neighbour_reference", _("Neighbours (mm)")),
    ):
        columns.append(Column(f"{key}_mm", title, _rounded(_by_key(heights[key]))))
    for key, title in (("rhlv", _("Height loss RHLV (%)")), ("rhlv_sd", _("Spread of RHLV (%)"))):
        percent = [None if value is None else 100 * value for value in _by_key(report[key])]
        columns.append(Column(f"{key}_percent", title, _rounded(percent)))
    interval = report["rhlv_interval_90"]
    titles = _("90 % interval from (%)"), _("90 % interval to (%)")
    for end, (name, title) in enumerate(zip(("low", "high"), titles, strict=True)):
        percent = [100 * interval[key][end] for key in HEIGHT_KEYS]
        columns.append(Column(f"rhlv_interval_90_{name}_percent", title, _rounded(percent)))
    fill_table(table, columns)


def _by_key(values: Mapping | None) -> list[float | None]:
    return [None if values is None else values[key] for key in HEIGHT_KEYS]


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    """To a tenth: no height is known better than that, and tables show every digit."""
    return [None if value is None else round(value, 1) for value in values]


def fill_profile(results: ResultSet, profile: Mapping | None) -> None:
    """profile: None where the core could not measure one."""
    from slicer.i18n import tr as _

    table = results.node("profile_table", "vtkMRMLTableNode", node_name(results, _("height profile")))
    columns = {
        "from_anterior_wall": _("From the anterior wall (mm)"),
        "original": _("Original (mm)"),
        "pseudo_healthy": _("Pseudo-healthy (mm)"),
    }
    fill_table(table, [Column(f"{key}_mm", title, profile[key] if profile else []) for key, title in columns.items()])
    x = "from_anterior_wall_mm"
    fill_plot(
        results,
        "plot_chart",
        table,
        [
            Curve("original_series", _("Original"), "original_mm", ORIGINAL_COLOUR, x),
            Curve("healthy_series", _("Pseudo-healthy"), "pseudo_healthy_mm", HEALTHY_COLOUR, x),
        ],
        {
            "title": _("Height of {level} from front to back").format(level=results.level),
            "x": columns["from_anterior_wall"],
            "y": _("Body height (mm)"),
        },
    )


def fill_height_line(results: ResultSet, body: str, third: str, ends: Sequence[Sequence[float]]) -> None:
    """The line of one of THIRDS of one of BODIES. ends: LPS mm of the CT's own frame."""
    from slicer.i18n import tr as _

    bodies = {"original": _("original"), "pseudo_healthy": _("pseudo-healthy")}
    thirds = {"anterior": _("anterior"), "middle": _("middle"), "posterior": _("posterior")}
    colours = {"original": ORIGINAL_COLOUR, "pseudo_healthy": HEALTHY_COLOUR}
    name = f"{results.level} {thirds[third]} {bodies[body]}"
    node = results.node(f"{body}_{third}", "vtkMRMLMarkupsLineNode", name)
    fill_line(node, ends)
    if results.is_new(node):
        shown = node.GetDisplayNode()
        shown.SetSelectedColor(*colours[body])
        shown.SetColor(*colours[body])
        shown.SetGlyphScale(1.0)
        shown.SetTextScale(2.0)


def fill_conditioning(results: ResultSet, mask: ImageFile, attention: ImageFile) -> tuple[Any, Any]:
    from slicer.i18n import tr as _

    withheld = results.node("conditioning_mask", "vtkMRMLLabelMapVolumeNode", node_name(results, _("hidden")))
    fill_volume(withheld, mask.array, mask.ijk_to_ras)
    seen = results.node("attention", "vtkMRMLScalarVolumeNode", node_name(results, _("attention")))
    fill_volume(seen, attention.array, attention.ijk_to_ras)
    if results.is_new(seen):
        seen.GetDisplayNode().SetAutoWindowLevel(False)
        seen.GetDisplayNode().SetWindowLevelMinMax(0.0, 1.0)
    return withheld, seen


def fill_spine(results: ResultSet, rows: Sequence[Mapping]) -> Any:
    """The table of all levels, which is returned, and its plot. rows: as `inspect --json` prints the levels."""
    from slicer.i18n import tr as _

    table = results.node("spine_table", "vtkMRMLTableNode", _("{ct} vertebrae").format(ct=results.volume.GetName()))
    own = [row["heights_mm"]["mean"] for row in rows]
    expected = [row["neighbour_reference"]["mean"] if row["neighbour_reference"] else None for row in rows]
    lost = [  # of one that the border cuts nobody knows
        100 * (1 - one / other) if other is not None and row["complete"] else None
        for row, one, other in zip(rows, own, expected, strict=True)
    ]
    fill_table(
        table,
        [
            Column("level", _("Level"), [row["level"] for row in rows]),
            Column("height_mm", _("Height (mm)"), _rounded(own)),
            Column("neighbours_mm", _("Neighbours (mm)"), _rounded(expected)),
            Column("loss_percent", _("Loss against neighbours (%)"), _rounded(lost)),
            Column("suspicion_percent", _("Suspicion (%)"), _rounded([100 * row["suspicion"] for row in rows])),
            Column("grade", _("Genant grade"), [float(row["grade"]) for row in rows]),
        ],
    )
    fill_plot(
        results,
        "spine_chart",
        table,
        [
            Curve("spine_original", _("Measured"), "height_mm", ORIGINAL_COLOUR, label="level"),
            Curve("spine_expected", _("From the neighbours"), "neighbours_mm", HEALTHY_COLOUR, label="level"),
        ],
        {"title": _("Mean body heights"), "x": _("Level"), "y": _("Height (mm)")},
    )
    return table
