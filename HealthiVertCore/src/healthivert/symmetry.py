"""How far a vertebra without its arch is turned about its axis, by its own mirror symmetry.

In: maps of thickness of neighbouring bodies. Out: an angle for each. A body is its own mirror image across the
mid-sagittal plane; the line across which a map is most alike to its mirror image, through its centroid, is the
direction to posterior. Neighbouring levels are turned alike, so they share what they show.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from healthivert.types import FloatArray

ANGLES_DEG = np.arange(-30, 31)  # tried, from the assumed posterior; patients who lie on their side are not meant
REACH_MM = 36.0  # the largest body's half diagonal
AROUND = 720  # samples of a circle: mirrored angles of whole degrees are whole samples
# A likeness that is lower by this much is less likely by e. One real spine's bodies then tell their own direction to
# about 3 degrees, as far as they differ from each other.
LIKENESS_STEP = 0.003
ASSUMED_SD_DEG = 6.0  # of a patient's rotation against the axes of the scan
NEAR_LEVELS = 1.5  # standard deviation of the distance over which levels are pooled


def mirror_likeness(thickness: FloatArray, step_mm: float) -> FloatArray:
    """(len(ANGLES_DEG),) correlation 0..1 of a map (AP, LR) with its mirror image, for lines turned from AP to LR.

    The mirror image across a line through the centroid is a sum over angles of the map in polar coordinates, and all
    lines at once are the map's convolution with itself. A map without anything near its centroid (a label in two far
    pieces) is alike to nothing.
    """
    if not thickness.any():
        return np.zeros(len(ANGLES_DEG))
    angle = np.arange(AROUND) * (2 * np.pi / AROUND)
    radius = np.arange(0.5, REACH_MM)
    centre = ndimage.center_of_mass(thickness)
    places = [
        middle + np.outer(radius, way) / step_mm
        for middle, way in zip(centre, (np.cos(angle), np.sin(angle)), strict=True)
    ]
    polar = ndimage.map_coordinates(thickness, places, order=1)
    spectrum = np.fft.fft(polar, axis=1)
    alike = radius @ np.fft.ifft(spectrum**2, axis=1).real / max(float((radius @ polar**2).sum()), 1e-6)
    return alike[(2 * ANGLES_DEG * AROUND // 360) % AROUND]


def axial_rotations(likeness: FloatArray, trust: FloatArray) -> FloatArray:
    """(N,) radians from AP towards LR, as is likely; likeness (N, angles) of N levels in a row, trust (N,) 0..1.

    Without anything to trust they are 0: the scan's own posterior.
    """
    level = np.arange(len(likeness))
    near = np.exp(-0.5 * ((level[:, None] - level) / NEAR_LEVELS) ** 2) * trust
    log_likely = near @ likeness / LIKENESS_STEP - 0.5 * (ANGLES_DEG / ASSUMED_SD_DEG) ** 2
    likely = np.exp(log_likely - log_likely.max(axis=1, keepdims=True))
    return np.deg2rad(likely @ ANGLES_DEG / likely.sum(axis=1))
