"""What the user hides from the generator besides the target: a segmentation, painted in the Segment Editor.

Cement in a neighbour or an osteophyte that bridges to it is not what a healthy vertebra continues. All segments of this
segmentation are withheld from every run on its CT, whatever their names. It belongs to the CT, as results do, and is
saved with the scene.
"""

from __future__ import annotations

from typing import Any

from HealthiVertSlicerLib import frames
from HealthiVertSlicerLib.result_nodes import ResultSet, nodes_by_role

ROLE_WITHHELD = "withheld"
SEGMENT = "withheld"
COLOUR = (0.835, 0.369, 0.0)  # Okabe and Ito's vermilion


def find(volume: Any) -> Any:
    """The segmentation of what is withheld on this CT; None if there is none, or nothing in it."""
    node = nodes_by_role(volume, "").get(ROLE_WITHHELD)
    if node is None or not frames.has_voxels_or_surface(node):
        return None
    images = _images(node)
    erased = images and all(image.GetScalarRange()[1] == 0 for image in images)
    return None if erased else node


def _images(node: Any) -> set[Any]:
    """What its segments are painted in; several may be painted in one image."""
    segments = node.GetSegmentation()
    images = {segments.GetSegment(key).GetRepresentation(frames.BINARY_LABELMAP) for key in segments.GetSegmentIDs()}
    return {image for image in images if image is not None and not image.IsEmpty()}


def make(volume: Any) -> Any:
    """The segmentation of what is withheld on this CT, with a segment to paint in, made if there is none."""
    from slicer.i18n import tr as _

    own = ResultSet(volume, "")
    name = _("{ct} withheld besides the target").format(ct=volume.GetName())
    node = own.node(ROLE_WITHHELD, "vtkMRMLSegmentationNode", name)
    if own.is_new(node):
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if node.GetSegmentation().GetNumberOfSegments() == 0:
        node.GetSegmentation().AddEmptySegment(SEGMENT, _("Withheld"), COLOUR)
    return node
