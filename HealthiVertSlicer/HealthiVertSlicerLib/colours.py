"""Colour tables for what lies over a CT: where it shows nothing of interest, the CT shows through.

They are made here because Slicer's own tables are opaque. Both are told apart with every common colour blindness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

NUMBER_OF_COLOURS = 256

# Share of the range -> (red, green, blue, opacity), straight lines between. Slicer knows opacities of 0 and more than 0
# only, so colours next to a transparent part are dull, lest noise looks like a finding.
# Tissue that the healthy CT has more of is blue, what it has less of is orange: after and before, as everywhere.
DIFFERENCE_STOPS = {
    0.00: (1.00, 0.52, 0.00, 1.0),
    0.25: (0.90, 0.50, 0.05, 1.0),
    0.41: (0.50, 0.38, 0.22, 1.0),
    0.42: (0.50, 0.38, 0.22, 0.0),
    0.58: (0.22, 0.40, 0.52, 0.0),
    0.59: (0.22, 0.40, 0.52, 1.0),
    0.75: (0.15, 0.55, 0.90, 1.0),
    1.00: (0.20, 0.75, 1.00, 1.0),
}
# viridis (van der Walt and Smith 2015), whose lightness rises evenly. 0 is also the value off the map: nothing there.
ATTENTION_STOPS = {
    0.000: (0.267, 0.005, 0.329, 0.0),
    0.004: (0.267, 0.005, 0.329, 1.0),
    0.125: (0.278, 0.176, 0.482, 1.0),
    0.250: (0.231, 0.322, 0.545, 1.0),
    0.375: (0.173, 0.447, 0.557, 1.0),
    0.500: (0.129, 0.569, 0.549, 1.0),
    0.625: (0.157, 0.682, 0.502, 1.0),
    0.750: (0.369, 0.788, 0.384, 1.0),
    0.875: (0.678, 0.863, 0.188, 1.0),
    1.000: (0.993, 0.906, 0.144, 1.0),
}
MASK_STOPS = {0.0: (0.0, 0.0, 0.0, 0.0), 1.0: (1.0, 0.35, 0.75, 1.0)}  # pink: in none of the other tables


def difference_colours() -> Any:
    """Orange over transparent to blue: for differences whose range is symmetrical about 0."""
    return _table("HealthiVert difference", DIFFERENCE_STOPS)


def attention_colours() -> Any:
    """Transparent through violet and green to yellow: for shares from 0 to 1."""
    return _table("HealthiVert attention", ATTENTION_STOPS)


def mask_colours() -> Any:
    """For a label map of 0 and 1."""
    return _table("HealthiVert mask", MASK_STOPS, 2)


def _table(name: str, stops: Mapping[float, tuple[float, ...]], number: int = NUMBER_OF_COLOURS) -> Any:
    """The scene's colour table of that name, made when it is not there yet."""
    found = slicer.mrmlScene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if found is not None:
        return found
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(name)
    table.SetTypeToUser()
    table.SetHideFromEditors(True)
    table.SetNumberOfColors(number)
    shares = np.linspace(0.0, 1.0, number)
    channels = [np.interp(shares, list(stops), channel) for channel in zip(*stops.values(), strict=True)]
    for index, colour in enumerate(np.stack(channels, axis=1)):
        table.SetColor(index, str(index), *map(float, colour))
    return slicer.mrmlScene.AddNode(table)
