"""The anatomical axes of an image's grid, such as "RAS": where each of its axes points to, to the nearest axis.

Changing them permutes and flips axes; no value is interpolated, and every voxel stays where it is in the patient.
"""

from __future__ import annotations

from collections.abc import Callable

import SimpleITK as sitk

AXIS_OF_LETTER = {"L": 0, "R": 0, "P": 1, "A": 1, "S": 2, "I": 2}


def orientation_of(image: sitk.Image) -> str:
    """The axes of the image's grid; of an oblique one the nearest."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def orienting_steps(image: sitk.Image, wanted: str) -> list[Callable[[sitk.Image], sitk.Image]]:
    """What to call one after the other to bring the image to the wanted axes.

    In steps, because a caller who keeps only the last result never has more than two copies of a whole-body CT
    (sitk.DICOMOrient holds three).
    """
    own = orientation_of(image)
    axis_at = [AXIS_OF_LETTER[letter] for letter in own]
    order = [axis_at.index(AXIS_OF_LETTER[letter]) for letter in wanted]
    flips = [own[axis] != letter for axis, letter in zip(order, wanted, strict=True)]
    steps: list[Callable[[sitk.Image], sitk.Image]] = []
    if order != [0, 1, 2]:
        steps.append(lambda one: sitk.PermuteAxes(one, order))
    if any(flips):
        steps.append(lambda one: sitk.Flip(one, flips))
    return steps


def oriented(image: sitk.Image, wanted: str) -> sitk.Image:
    """The image with the wanted axes; itself if it has them already."""
    for step in orienting_steps(image, wanted):
        image = step(image)
    return image
