"""What the clinician sees: the CT and its vertebrae, what the generator is given, before and after, the height loss.

Everything is done on MRML nodes, so it works with any arrangement of views, and with none (a script without a window).
What is changed on nodes that are not results (layers of slice views, window of the CT, visibility of other
segmentations) is remembered by layouts.py, and restore_layout puts it back. A node of the results that the user has
deleted is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from HealthiVertSlicerLib import colours, layouts
from HealthiVertSlicerLib.centres import body_centre, box_of_filled
from HealthiVertSlicerLib.difference import fill_difference
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError
from HealthiVertSlicerLib.layouts import register_layouts, restore_layout, unlink_windows
from HealthiVertSlicerLib.pieces import Pieces, at_once
from HealthiVertSlicerLib.result_nodes import INPUT_REFERENCE, ROLE, follow

__all__ = [
    "centre_on",
    "compare",
    "comparing",
    "fade",
    "is_compared",
    "link_compared",
    "register_layouts",
    "restore_layout",
    "show_conditioning",
    "show_inputs",
    "show_loss_surface",
    "unlink_windows",
]

BONE_HU = (-200.0, 600.0)  # as in the report: spongy bone well apart from muscle and disc
DIFFERENCE_HU = 400.0  # spongy bone against a disc or fat is about half of it
DIFFERENCE_OPACITY = 0.75
ATTENTION_OPACITY = 0.35
HEIGHTS_IN_VIEW = 5.2  # of the healthy body: the target with a neighbour on both sides
ROOM_AROUND = 1.15
CAMERA_FROM = np.array([-0.9, 1.0, 0.75])  # RAS: from the left, so that the front is on the left as in sagittal views
CAMERA_DISTANCE = 4.2  # in heights of the body
AMBIENT = 0.4  # light from everywhere, so that shade is not taken for a colour of the scale
LABEL_SCALE = 2.8  # percent of the view: three numbers beside each other on a body
LEGEND_GROUND = 0.6  # opacity of the black behind a legend, which may lie on bone
LINE_THICKNESS = 0.5  # of the size of its ends
BELOW_PLATE = 8.0  # pixels: a number clears the outline of the plate that its line ends on
WHOLE_WITHIN_MM = 15.0  # of a view's plane a height line is drawn whole: the body's middle plane may be oblique to it
DARK, LESS_DARK = (0.07, 0.08, 0.10), (0.22, 0.24, 0.28)  # legends are white


def show_inputs(volume: Any, segmentation: Any) -> None:
    """CT and segmentation in the slice views that are shown, the middle of the spine in their middle.

    Neither the window of the CT nor the looks of the segmentation are touched.
    """
    bounds = np.zeros(6)
    segmentation.GetRASBounds(bounds)
    if (bounds[::2] > bounds[1::2]).any():  # nothing is segmented
        volume.GetRASBounds(bounds)
    for node, composite in layouts.slice_views():
        layouts.set_layers(composite, volume)
        _frame_box(node, bounds[::2], bounds[1::2])


def centre_on(volume: Any, segmentation: Any, segment_id: str) -> None:
    """Bring the middle of a vertebra's body to the middle of every slice view, at the zoom they have.

    volume is put into views that show no volume yet.
    """
    centre = body_centre(segmentation, segment_id)
    for node, composite in layouts.slice_views():
        if composite.GetBackgroundVolumeID() is None:
            layouts.set_layers(composite, volume)
        node.JumpSliceByCentering(*centre)


def show_conditioning(results: Any) -> None:
    """What the generator is given: the CT, the outline of what is hidden from it (mask and gap), and the attention.

    results: with nodes conditioning_mask (a label map) and attention (0 to 1). Enters the arrangement READING. Raises
    HealthiVertSlicerError if one of the nodes is no longer there.
    """
    from slicer.i18n import tr as _

    mask, attention = results.conditioning_mask, results.attention
    if mask is None or attention is None:
        raise HealthiVertSlicerError(_("The preview was deleted from the scene: make it again."))
    original = _input_of(mask)
    layouts.enter(layouts.READING)
    _colour_map(attention, colours.attention_colours(), (0.0, 1.0))
    mask.GetDisplayNode().SetAndObserveColorNodeID(colours.mask_colours().GetID())
    layouts.set_window(original.GetDisplayNode(), *BONE_HU)
    _hide_others(keep=())
    low, high = box_of_filled(attention)
    views = layouts.slice_views(layouts.SAGITTAL, layouts.AXIAL, layouts.CORONAL)
    for node, composite in views:
        layouts.set_layers(composite, original, attention, ATTENTION_OPACITY, mask)
        layouts.outline_labels(node)
        _frame_box(node, low, high)
    _legend(attention, _("Attention (0 to 1)"), "%.1f", [node for node, _composite in views[:1]])


def compare(results: Any) -> None:
    """Original, pseudo-healthy and difference side by side, a fade, the surface and the plot: arrangement COMPARE.

    Raises HealthiVertSlicerError if the CT is no longer there.
    """
    at_once(comparing(results))


def comparing(results: Any) -> Pieces:
    """compare in pieces."""
    original, healthy = _input_of(results.volume), results.volume
    difference = None
    if results.loss_volume is not None:
        difference = fill_difference(original, healthy, results.loss_volume)
        _colour_map(difference, colours.difference_colours(), (-DIFFERENCE_HU, DIFFERENCE_HU))
        yield None
    layouts.enter(layouts.COMPARE)
    yield None
    layouts.link_windows(original.GetDisplayNode(), healthy.GetDisplayNode(), *BONE_HU)
    layers = {
        layouts.ORIGINAL: (original,),
        layouts.HEALTHY: (healthy,),
        layouts.DIFFERENCE: (original, difference, DIFFERENCE_OPACITY),
        layouts.FADE: (original, healthy, 0.5),
    }
    for node, composite in layouts.slice_views(*layers):
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        layouts.set_layers(composite, *layers[node.GetLayoutName()])
        _frame(node, _middle_of_body(results), HEIGHTS_IN_VIEW * results.report["heights_mm"]["pseudo_healthy"]["mean"])
        yield None
    _hide_others(keep=_shown_nodes(results))
    _show_outlines(results.segmentation)
    yield None
    for line in results.height_lines:
        _show_line(line)
        yield None
    _show_difference_legend(difference)
    yield None
    _show_surface(results)
    for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
        if view.GetLayoutName() == layouts.PLOT and results.plot_chart is not None:
            view.SetPlotChartNodeID(results.plot_chart.GetID())


def is_compared(results: Any) -> bool:
    """Whether the arrangement COMPARE is shown, with these results (or None) in it, or with what deleting them left."""
    if results is None or not layouts.is_shown(layouts.COMPARE):
        return False
    views = layouts.slice_views(layouts.HEALTHY)
    return any(composite.GetBackgroundVolumeID() in (results.volume.GetID(), None) for _node, composite in views)


def link_compared() -> None:
    """Two CT that are compared are seen through one window, also where the scene was loaded like that."""
    if not layouts.is_shown(layouts.COMPARE):
        return
    views = layouts.slice_views(layouts.ORIGINAL, layouts.HEALTHY)
    volumes = [slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "") for _node, composite in views]
    if len(volumes) == 2 and None not in volumes:
        layouts.link_windows(*(volume.GetDisplayNode() for volume in volumes), *BONE_HU)


def fade(results: Any, share: float) -> None:
    """The original at 0, the pseudo-healthy CT at 1, and a mixture between, in one view.

    In COMPARE that is the view for it; in other arrangements the sagittal one, else the first that is shown. Raises
    HealthiVertSlicerError if the CT is no longer there.
    """
    original, healthy = _input_of(results.volume), results.volume
    name = layouts.FADE if layouts.is_shown(layouts.COMPARE) else layouts.SAGITTAL
    views = sorted(layouts.slice_views(), key=lambda view: view[0].GetLayoutName() != name)
    window = original.GetDisplayNode()
    healthy.GetDisplayNode().SetAutoWindowLevel(False)
    healthy.GetDisplayNode().SetWindowLevel(window.GetWindow(), window.GetLevel())
    for _node, composite in views[:1]:
        layouts.set_layers(composite, original, healthy, min(max(share, 0.0), 1.0))


def show_loss_surface(results: Any) -> None:
    """The healthy body in 3D in the colours of what was lost of it, with its legend, seen from the front and left.

    Where no 3D view is shown, the arrangement COMPARE brings one. Raises HealthiVertSlicerError if the CT is no longer
    there.
    """
    if _views_in_3d():
        _input_of(results.volume)
        _show_surface(results)
    else:
        compare(results)


def _input_of(node: Any) -> Any:
    """The CT that a result belongs to; the result follows to where that is now."""
    from slicer.i18n import tr as _

    original = node.GetNodeReference(INPUT_REFERENCE)
    if original is None:
        raise HealthiVertSlicerError(_("The CT of this result is no longer in the scene: load it and run again."))
    original.CreateDefaultDisplayNodes()
    follow(original)
    return original


def _middle_of_body(results: Any) -> np.ndarray | None:
    """World RAS mm; the heights are measured in the body's middle plane, so the views go through their lines."""
    ends = [line.GetNthControlPointPositionWorld(end) for line in results.height_lines for end in (0, 1)]
    if ends:
        return np.mean([[point[axis] for axis in range(3)] for point in ends], axis=0)
    return np.mean(box_of_filled(results.loss_volume), axis=0) if results.loss_volume is not None else None


def _frame(slice_node: Any, centre: np.ndarray | None, height_mm: float) -> None:
    """Show height_mm of the patient around a point (None: where the view is). The height is what Slicer keeps when a
    view is resized later."""
    width, height, _depth = slice_node.GetDimensions()
    slice_node.SetFieldOfView(height_mm * width / height, height_mm, slice_node.GetFieldOfView()[2])
    if centre is not None:
        slice_node.JumpSliceByCentering(*centre)


def _frame_box(slice_node: Any, low: np.ndarray, high: np.ndarray) -> None:
    """Show a box (lower and upper corner, world RAS mm) whole: an axial view is as wide as the spine, not as long."""
    width, height, _depth = slice_node.GetDimensions()
    axes = np.abs(slicer.util.arrayFromVTKMatrix(slice_node.GetSliceToRAS())[:3, :2])
    across, along = axes.T @ (high - low)
    _frame(slice_node, (low + high) / 2, ROOM_AROUND * max(along, across * height / width))


def _colour_map(volume: Any, colour_table: Any, limits: tuple[float, float]) -> None:
    display = volume.GetDisplayNode()
    display.SetAndObserveColorNodeID(colour_table.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*limits)


def _legend(node: Any, title: str, label_format: str, views: list[Any]) -> None:
    """A colour legend at the lower border of these views, with a title that says the unit."""
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetAttribute(layouts.LEGEND, title)
    legend.SetTitleText(title)
    legend.SetLabelFormat(label_format)
    legend.SetNumberOfLabels(3)  # more run into each other in a narrow view
    legend.SetOrientation(legend.Horizontal)
    legend.SetPosition(0.5, 0.02)
    legend.SetSize(0.1, 0.7)  # no narrower than its title
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetFontFamilyToArial()
        text.SetBackgroundColor(0.0, 0.0, 0.0)
        text.SetBackgroundOpacity(LEGEND_GROUND)
    legend.RemoveAllViewNodeIDs()
    for view in views:
        legend.AddViewNodeID(view.GetID())
    legend.SetVisibility(bool(views))


def _show_difference_legend(difference: Any) -> None:
    from slicer.i18n import tr as _

    if difference is not None:
        views = [node for node, _composite in layouts.slice_views(layouts.DIFFERENCE)]
        _legend(difference, _("Healthy − original (HU)"), "%.0f", views)


def _shown_nodes(results: Any) -> tuple[Any, ...]:
    return (results.segmentation, results.loss_model, *results.height_lines)


def _hide_others(keep: tuple[Any, ...]) -> None:
    """Hide all segmentations and all that belongs to results, except nodes in keep."""
    kept = {node.GetID() for node in keep if node is not None}
    for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode"):
        ours = node.GetAttribute(ROLE) is not None and not node.IsA("vtkMRMLVolumeNode")  # those are layers of views
        if node.GetID() in kept or ours or node.IsA("vtkMRMLSegmentationNode"):
            change = layouts.unhide if node.GetID() in kept else layouts.hide
            for index in range(node.GetNumberOfDisplayNodes()):
                change(node.GetNthDisplayNode(index))


def _show_outlines(segmentation: Any) -> None:
    """The body before and after as outlines, so that the CT is seen in them; on the original only what is there."""
    if segmentation is None:
        return
    shown = [segmentation.GetDisplayNode()]
    views = slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")
    for view in views:
        if view.GetLayoutName() == layouts.ORIGINAL:
            layouts.only_in(shown[0], [other for other in views if other is not view])
            shown.append(_display_on_original(segmentation, view))
    for display in shown:
        display.SetVisibility(True)
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)
        display.SetSliceIntersectionThickness(2)


def _display_on_original(segmentation: Any, view: Any) -> Any:
    """The segmentation's second display node, for one view alone and without the regrown body: that would lie over its
    upper neighbour, which only the restored scan has moved up."""
    display = segmentation.GetNthDisplayNode(1)
    if display is None:
        display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
        display.AddViewNodeID(view.GetID())
        segmentation.AddAndObserveDisplayNodeID(display.GetID())
    display.SetSegmentVisibility("pseudo_healthy", False)
    display.SetVisibility3D(False)
    return display


def _show_line(line: Any) -> None:
    """A measured height with its number, where its body is: before on the original, after on the healthy."""
    name = layouts.ORIGINAL if line.GetAttribute(ROLE).startswith("original") else layouts.HEALTHY
    views = [node for node, _composite in layouts.slice_views(name)]
    display = line.GetDisplayNode()
    if views:
        layouts.only_in(display, views)
    display.SetVisibility(True)
    display.SetPropertiesLabelVisibility(False)  # it would repeat the node's long name
    display.SetPointLabelsVisibility(True)
    display.SetTextScale(LABEL_SCALE)
    display.SetSliceProjection(True)  # the vertebra's middle plane may be oblique to the view
    display.SetSliceProjectionOpacity(1.0)
    display.SetLineColorFadingStart(WHOLE_WITHIN_MM)
    display.SetLineColorFadingEnd(2 * WHOLE_WITHIN_MM)
    display.SetLineThickness(LINE_THICKNESS)
    text = display.GetTextProperty()  # below the lower end, so that numbers stand in the dark disc and not on bone
    text.SetVerticalJustificationToTop()
    text.SetJustificationToCentered()
    text.SetLineOffset(BELOW_PLATE)


def _views_in_3d() -> list[Any]:
    return [view for view in slicer.util.getNodesByClass("vtkMRMLViewNode") if view.IsMappedInLayout()]


def _show_surface(results: Any) -> None:
    from slicer.i18n import tr as _

    model, views = results.loss_model, _views_in_3d()
    if model is None:
        return
    display = model.GetDisplayNode()
    display.SetVisibility(True)
    display.SetScalarVisibility(True)
    display.SetAmbient(AMBIENT)
    display.SetDiffuse(1.0 - AMBIENT)
    if results.segmentation is not None:
        results.segmentation.GetDisplayNode().SetVisibility3D(False)  # it would tint the colours that are to be read
    _legend(model, _("Height loss (%)"), "%.0f", views)
    bounds = np.zeros(6)
    model.GetRASBounds(bounds)
    for view in views:
        _look_at(view, (bounds[::2] + bounds[1::2]) / 2, bounds[5] - bounds[4])


def _look_at(view: Any, centre: np.ndarray, size_mm: float) -> None:
    if view.GetLayoutName() == layouts.SURFACE:
        view.SetBoxVisible(False)
        view.SetAxisLabelsVisible(False)
        view.SetBackgroundColor(*DARK)
        view.SetBackgroundColor2(*LESS_DARK)
        view.SetOrientationMarkerType(view.OrientationMarkerTypeCube)
        view.SetOrientationMarkerSize(view.OrientationMarkerSizeSmall)
    camera = slicer.modules.cameras.logic().GetViewActiveCameraNode(view)
    if camera is None:
        return
    direction = CAMERA_FROM / np.linalg.norm(CAMERA_FROM)
    camera.SetFocalPoint(*centre)
    camera.SetPosition(*(centre + CAMERA_DISTANCE * size_mm * direction))
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.ResetClippingRange()
