"""The two arrangements of views that HealthiVert brings, and the way back to what was shown before them.

READING puts a large sagittal view first; it is made of Slicer's own three slice views, so that every other module works
in it. COMPARE shows original, healthy and difference side by side, and under them a fade, the 3D surface and the plot,
in views of its own, so that the layers of Slicer's views stay as they are.

Both are entered on a click only. What they change is remembered in attributes of the nodes concerned, so it is saved
with the scene, and restore_layout puts it back: the arrangement, the layers of Slicer's slice views, the window of the
CT, and what was visible.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape  # xml.sax.saxutils would load urllib and http, a quarter of what opening the panel takes
from typing import Any

import slicer
import vtk

from HealthiVertSlicerLib.result_nodes import HEALTHY_COLOUR, ORIGINAL_COLOUR

# Slicer keeps a layout by its number alone; numbers up to 999 are its own, and other extensions use round ones.
READING, COMPARE = 84210, 84211

SAGITTAL, AXIAL, CORONAL = "Yellow", "Red", "Green"  # Slicer's own names of its slice views
ORIGINAL, HEALTHY, DIFFERENCE, FADE = (f"HealthiVert{name}" for name in ("Original", "Healthy", "Difference", "Fade"))
COMPARED = (ORIGINAL, HEALTHY, DIFFERENCE, FADE)
SURFACE, PLOT = "HealthiVertSurface", "HealthiVertPlot"
VIEW_GROUP = 84  # linked slice views follow each other within a group only

DIFFERENCE_COLOUR, NEUTRAL_COLOUR = (0.80, 0.47, 0.65), (0.60, 0.65, 0.69)

LEGEND = "HealthiVert.Legend"  # attribute of the legends that we make
BEFORE = "HealthiVert.Before."  # attribute names begin with this; the value is JSON

# Display nodes whose windows are linked, held weakly, and the tags of the observers that keep them the same.
_links: list[tuple[vtk.vtkWeakReference, int]] = []


def register_layouts(layout_node: Any) -> None:
    """Make both arrangements known to Slicer; to be called at start-up, since a scene saves only a layout's number."""
    for number, description in ((READING, _reading()), (COMPARE, _compare())):
        if layout_node.IsLayoutDescription(number):
            layout_node.SetLayoutDescription(number, description)
        else:
            layout_node.AddLayoutDescription(number, description)


def enter(number: int) -> None:
    """Show an arrangement, remembering the one before it, unless that was one of ours."""
    node = layout_node()
    if node is None or node.GetViewArrangement() == number:
        return
    if node.GetViewArrangement() not in (READING, COMPARE):
        remember(node, "Layout", node.GetViewArrangement(), again=True)
    register_layouts(node)
    _arrange(node, number)


def is_shown(number: int) -> bool:
    node = layout_node()
    return node is not None and node.GetViewArrangement() == number


def restore_layout() -> None:
    """Put back the arrangement, layers, window and visibilities that were there before enter, set_layers and hide.

    An arrangement that the user has chosen in the meantime is kept.
    """
    node = layout_node()
    if node is not None:
        number = recall(node, "Layout")
        if node.GetViewArrangement() in (READING, COMPARE):
            _arrange(node, node.SlicerLayoutFourUpView if number is None else number)
    unlink_windows()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        layers = recall(composite, "Layers")
        if layers is not None:
            _put_layers(composite, *layers)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        outline = recall(view, "Outline")
        if outline is not None:
            view.SetUseLabelOutline(outline)
    for display in slicer.util.getNodesByClass("vtkMRMLDisplayNode"):
        _restore_display(display)
    scene = slicer.mrmlScene
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        if legend.GetAttribute(LEGEND) and legend.GetDisplayableNode() is None:  # it outlives what it is the legend of
            scene.RemoveNode(legend)


def _restore_display(display: Any) -> None:
    unhide(display)
    views = recall(display, "Views")
    if views is not None:
        _put_views(display, views)
    window = recall(display, "Window")
    if window is not None:
        display.SetWindowLevel(*window["window_level"])
        display.SetAutoWindowLevel(window["auto"])


def layout_node() -> Any:
    """Slicer's layout node; None where nothing lays out views."""
    application = getattr(slicer, "app", None)
    manager = application.layoutManager() if application is not None else None
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def slice_views(*names: str) -> list[tuple[Any, Any]]:
    """Pairs of slice node and composite node of the named views, in the order of the names; without names, of every
    view that the present arrangement shows. Views that do not exist are left out."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    if names:
        by_name = {node.GetLayoutName(): node for node in nodes}
        nodes = [by_name[name] for name in names if name in by_name]
    else:
        nodes = [node for node in nodes if node.IsMappedInLayout()]
    pairs = [(node, slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(node)) for node in nodes]
    return [(node, composite) for node, composite in pairs if composite is not None]


def set_layers(
    composite: Any, background: Any, foreground: Any = None, opacity: float = 0.0, label: Any = None
) -> None:
    """Show volumes (or None) in a slice view. What a view that is not ours showed before is remembered."""
    if composite.GetLayoutName() not in COMPARED:
        before = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
        remember(composite, "Layers", [*before, composite.GetForegroundOpacity(), composite.GetLabelVolumeID()])
    ids = (volume.GetID() if volume else None for volume in (background, foreground))
    _put_layers(composite, *ids, opacity, label.GetID() if label else None)


def outline_labels(slice_node: Any) -> None:
    """Draw label maps as outlines in a view until restore_layout."""
    remember(slice_node, "Outline", bool(slice_node.GetUseLabelOutline()))
    slice_node.SetUseLabelOutline(True)


def hide(display: Any) -> None:
    """Make a display node invisible until restore_layout or unhide."""
    if display is not None and display.GetVisibility():
        remember(display, "Visible", True)
        display.SetVisibility(False)


def unhide(display: Any) -> None:
    """Undo hide; what the user has hidden stays hidden."""
    if display is not None and recall(display, "Visible") is not None:
        display.SetVisibility(True)


def only_in(display: Any, views: Sequence[Any]) -> None:
    """Show something in these views only until restore_layout."""
    before = [display.GetNthViewNodeID(index) for index in range(display.GetNumberOfViewNodeIDs())]
    remember(display, "Views", before)
    _put_views(display, [view.GetID() for view in views])


def set_window(display: Any, lowest: float, highest: float) -> None:
    """Show a volume's values from lowest (black) to highest (white) until restore_layout; what the user chooses in the
    meantime is kept till then."""
    before = {"window_level": [display.GetWindow(), display.GetLevel()], "auto": display.GetAutoWindowLevel()}
    if remember(display, "Window", before):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(lowest, highest)


def link_windows(one: Any, other: Any, lowest: float, highest: float) -> None:
    """set_window on two volumes, which then follow each other when the user changes one of them."""
    set_window(one, lowest, highest)
    set_window(other, lowest, highest)
    unlink_windows()
    pair = [vtk.vtkWeakReference(), vtk.vtkWeakReference()]
    for reference, display in zip(pair, (one, other), strict=True):
        reference.Set(display)
        tag = display.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda changed, _event: _follow_window(changed, pair))
        _links.append((reference, tag))


def unlink_windows() -> None:
    while _links:
        reference, tag = _links.pop()
        if reference.Get() is not None:
            reference.Get().RemoveObserver(tag)


def _follow_window(changed: Any, pair: Sequence[vtk.vtkWeakReference]) -> None:
    for reference in pair:
        display = reference.Get()
        if display is not None and display is not changed:
            display.SetWindowLevel(changed.GetWindow(), changed.GetLevel())


def _put_views(display: Any, view_ids: Sequence[str]) -> None:
    display.RemoveAllViewNodeIDs()
    for view_id in view_ids:
        display.AddViewNodeID(view_id)


def remember(node: Any, what: str, value: Any, again: bool = False) -> bool:
    """Keep what a node was like before the first of our changes; with again, before the latest. False: kept already."""
    if not again and node.GetAttribute(BEFORE + what) is not None:
        return False
    node.SetAttribute(BEFORE + what, json.dumps(value))
    return True


def recall(node: Any, what: str) -> Any:
    """What was remembered, or None; it is forgotten by this."""
    text = node.GetAttribute(BEFORE + what)
    if text is None:
        return None
    node.RemoveAttribute(BEFORE + what)
    return json.loads(text)


def _arrange(node: Any, number: int) -> None:
    node.RemoveAllMaximizedViewNodes()  # a maximised view would hide the arrangement
    node.SetViewArrangement(number)


def _put_layers(composite: Any, background: str, foreground: str, opacity: float, label: str) -> None:
    unfinished = composite.StartModify()
    composite.SetBackgroundVolumeID(background)
    composite.SetForegroundVolumeID(foreground)
    composite.SetForegroundOpacity(opacity)
    composite.SetLabelVolumeID(label)
    composite.EndModify(unfinished)


def _reading() -> str:
    sagittal = _slice_view(SAGITTAL, "Sagittal", "Y", (0.93, 0.84, 0.30), 0)  # label and colour are Slicer's own
    axial = _slice_view(AXIAL, "Axial", "R", (0.95, 0.29, 0.20), 0)
    others = [axial, _slice_view(CORONAL, "Coronal", "G", (0.43, 0.69, 0.29), 0)]
    return _arranged("horizontal", [sagittal, _arranged("vertical", others)], sizes=(620, 380))


def _compare() -> str:
    from slicer.i18n import tr as _

    slices = [
        _slice_view(ORIGINAL, "Sagittal", _("Original"), ORIGINAL_COLOUR, VIEW_GROUP),
        _slice_view(HEALTHY, "Sagittal", _("Pseudo-healthy"), HEALTHY_COLOUR, VIEW_GROUP),
        _slice_view(DIFFERENCE, "Sagittal", _("Difference"), DIFFERENCE_COLOUR, VIEW_GROUP),
    ]
    below = [
        _slice_view(FADE, "Sagittal", _("Fade"), NEUTRAL_COLOUR, VIEW_GROUP),
        _view("vtkMRMLViewNode", SURFACE, {"viewlabel": _("Height loss")}),
        _view("vtkMRMLPlotViewNode", PLOT, {"viewlabel": _("Height profile")}),
    ]
    rows = [_arranged("horizontal", slices), _arranged("horizontal", below)]
    return _arranged("vertical", rows, sizes=(560, 440))


def _slice_view(name: str, orientation: str, label: str, colour: tuple[float, float, float], group: int) -> str:
    colour = "#" + "".join(f"{round(255 * share):02X}" for share in colour)
    properties = {"orientation": orientation, "viewlabel": label, "viewcolor": colour, "viewgroup": group}
    return _view("vtkMRMLSliceNode", name, properties)


def _view(node_class: str, name: str, properties: dict[str, Any]) -> str:
    text = "".join(
        f'<property name="{key}" action="default">{escape(str(value))}</property>' for key, value in properties.items()
    )
    return f'<view class="{node_class}" singletontag="{name}">{text}</view>'


def _arranged(direction: str, contents: list[str], sizes: tuple[int, ...] = ()) -> str:
    """Contents beside or above each other, with movable borders; sizes are their shares."""
    attributes = [f' splitSize="{size}"' for size in sizes] or [""] * len(contents)
    items = "".join(f"<item{size}>{content}</item>" for size, content in zip(attributes, contents, strict=True))
    return f'<layout type="{direction}" split="true">{items}</layout>'
