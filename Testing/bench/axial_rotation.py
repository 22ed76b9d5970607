"""How well do bodies without their arches tell how far they are turned about their axis?

Prints the table of docs/decisions.md, "Bodies without arches tell their own direction". On generated spines the arches
of the same scan tell the truth; of the real lumbar CT, whose mask has none, it is known by how much it was turned.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from unittest.mock import patch

import numpy as np
import SimpleITK as sitk
from bench import lumbar_case

from healthivert import symmetry
from healthivert.body import find_bodies
from healthivert.measure import body_heights
from healthivert.phantom import render, sample_spine, whole_spine_grid
from healthivert.training.samples import case_from_images
from healthivert.types import THIRDS, FloatArray, SpineCase, VertebralBody

FIRST_SEED = 48_000  # neither of training nor of the bench
SPACING_MM, FIELD_MM = 1.5, 120.0
TURNS_DEG = (-20, -10, -5, 5, 10, 20)


def turned_by(body: VertebralBody) -> float:
    """Degrees from the scan's posterior to its left."""
    return float(np.rad2deg(np.arctan2(body.axes[1][0], body.axes[1][1])))


def beside_arches(seed: int) -> FloatArray:
    """(levels, 2) degrees that the scan's posterior, and that the bodies' symmetry, are off from where arches lie."""
    spine = sample_spine(seed, fractured=True)
    picture = render(spine, whole_spine_grid(spine, SPACING_MM, FIELD_MM), spine.scanner)
    whole, alone = (
        find_bodies(case_from_images(picture.ct, mask, str(seed))) for mask in (picture.labels, picture.bodies)
    )
    angles = np.array([(turned_by(whole[level]), turned_by(alone[level])) for level in whole if level in alone])
    return np.abs(np.stack([angles[:, 0], angles[:, 1] - angles[:, 0]], axis=1))


def turned(case: SpineCase, degrees: float) -> SpineCase:
    """The patient turned about the scan's axis, the grid as it was."""
    middle = case.ct.TransformContinuousIndexToPhysicalPoint([size / 2 for size in case.ct.GetSize()])
    turn = sitk.Euler3DTransform(middle, 0.0, 0.0, np.deg2rad(degrees))
    labels = sitk.Resample(case.labels, case.labels, turn, sitk.sitkNearestNeighbor, 0)
    return case_from_images(sitk.Resample(case.ct, case.ct, turn, sitk.sitkLinear, -1000), labels, case.name)


def change(bodies: Mapping[str, VertebralBody], straight: Mapping[str, VertebralBody]) -> tuple[float, float]:
    """By how many degrees the levels are turned on average, and by how many mm their thirds change on average."""
    angle = [turned_by(bodies[level]) - turned_by(straight[level]) for level in straight]
    thirds = [
        abs(getattr(body_heights(bodies[level]), third) - getattr(body_heights(straight[level]), third))
        for level in straight
        for third in THIRDS
    ]
    return float(np.mean(angle)), float(np.mean(thirds))


def bodies_as_they_lie(case: SpineCase) -> Mapping[str, VertebralBody]:
    """With the scan's posterior for every body's."""
    with patch.object(symmetry, "ASSUMED_SD_DEG", 1e-6):
        return find_bodies(case)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spines", type=int, default=20)
    arguments = parser.parse_args()
    found = np.concatenate([beside_arches(FIRST_SEED + number) for number in range(arguments.spines)])
    print(
        f"{len(found)} levels of {arguments.spines} generated spines (from seed {FIRST_SEED}), degrees from the arch:\n"
    )
    print("| | mean | nine of ten within | worst |\n|---|---|---|---|")
    for way, off in zip(("the scan's posterior", "symmetry of the bodies"), found.T, strict=True):
        print(f"| {way} | {off.mean():.1f} | {np.percentile(off, 90):.1f} | {off.max():.1f} |")
    case = lumbar_case()
    straight = find_bodies(case)
    print(
        "\n| real lumbar CT turned by, degrees | found, mean of five levels | thirds change by, mm | without symmetry |"
    )
    print("|---|---|---|---|")
    for degrees in TURNS_DEG:
        oblique = turned(case, degrees)
        angle, thirds = change(find_bodies(oblique), straight)
        _, as_it_lies = change(*(bodies_as_they_lie(each) for each in (oblique, case)))
        print(f"| {degrees} | {angle:.1f} | {thirds:.2f} | {as_it_lies:.2f} |")


if __name__ == "__main__":
    main()
