"""An image's own memory as an array that can be written to: SimpleITK hands out read-only views, and a copy of a whole
scan costs what a run's memory is short of.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def writable_view(image: sitk.Image) -> np.ndarray:
    """(k, j, i), a view of the image's memory, which is no other image's from then on."""
    image.MakeUnique()
    view = sitk.GetArrayViewFromImage(image)
    interface = dict(view.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_ArrayMemory(interface, image))


class _ArrayMemory:
    """Exposes memory through the array interface and keeps its owner alive."""

    def __init__(self, interface: dict, owner: sitk.Image) -> None:
        self.__array_interface__ = interface
        self.owner = owner
