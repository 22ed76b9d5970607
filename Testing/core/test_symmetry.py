"""Bodies without their arches tell by their own symmetry how far they are turned about their axis."""

import numpy as np
import pytest
import SimpleITK as sitk

from healthivert.body import find_bodies
from healthivert.phantom import render, sample_spine, whole_spine_grid
from healthivert.symmetry import ANGLES_DEG, axial_rotations, mirror_likeness
from healthivert.training.samples import case_from_images
from healthivert.types import SpineCase, VertebralBody

STEP_MM = 1.0


def kidney(degrees: float, off_centre_mm: float = 0.0) -> np.ndarray:
    """(AP, LR) thickness of a body, 46 mm wide and 34 mm deep, hollow behind, posterior turned from AP towards LR."""
    ap, lr = np.meshgrid(np.arange(80) - 40.0, np.arange(88) - 44.0 - off_centre_mm, indexing="ij")
    turn = np.deg2rad(degrees)
    back, left = np.cos(turn) * ap + np.sin(turn) * lr, -np.sin(turn) * ap + np.cos(turn) * lr
    inside = ((back / 17) ** 2 + (left / 23) ** 2 < 1) & (np.hypot(back - 22, left) > 9)
    return np.where(inside, 25.0, 0.0)


@pytest.mark.parametrize("degrees", [-20, -7, 0, 12])
@pytest.mark.parametrize("off_centre_mm", [0.0, 5.0])
def test_a_body_is_most_alike_to_its_mirror_image_across_its_own_middle(degrees, off_centre_mm):
    likeness = mirror_likeness(kidney(degrees, off_centre_mm), STEP_MM)
    assert abs(ANGLES_DEG[likeness.argmax()] - degrees) <= 1
    assert likeness.max() == pytest.approx(1.0, abs=0.05)
    assert np.rad2deg(axial_rotations(likeness[None], np.ones(1)))[0] == pytest.approx(degrees, abs=2.0)


def test_a_round_body_says_nothing_and_is_taken_as_the_scan_lies():
    ap, lr = np.meshgrid(np.arange(80) - 40.0, np.arange(88) - 44.0, indexing="ij")
    round_body = np.clip(20 - np.hypot(ap, lr), 0.0, 10.0)
    assert np.rad2deg(axial_rotations(mirror_likeness(round_body, STEP_MM)[None], np.ones(1)))[0] == pytest.approx(
        0, abs=0.5
    )


def test_what_is_not_trusted_is_told_by_its_neighbours():
    likeness = np.array([mirror_likeness(kidney(degrees), STEP_MM) for degrees in (8, -25, 8)])
    trusted = np.rad2deg(axial_rotations(likeness, np.array([1.0, 0.0, 1.0])))
    assert trusted == pytest.approx(8, abs=1.5)
    assert axial_rotations(likeness, np.zeros(3)) == pytest.approx(0.0, abs=1e-9)


def test_a_label_in_two_far_pieces_says_nothing():
    apart = np.zeros((80, 88))
    apart[40, [2, 85]] = 20.0
    for thickness in (apart, np.zeros((80, 88))):
        assert axial_rotations(mirror_likeness(thickness, STEP_MM)[None], np.ones(1)) == pytest.approx(0.0, abs=1e-9)


@pytest.fixture(scope="module")
def picture():
    spine = sample_spine(48_001, False)  # with a curve: T1 to T9 are turned by up to nine degrees, L1 to L5 are not
    return render(spine, whole_spine_grid(spine, 1.5, 110.0), spine.scanner)


def turned(image: sitk.Image, degrees: float) -> sitk.Image:
    """The patient turned about the scan's axis, the image's grid as it was."""
    middle = image.TransformContinuousIndexToPhysicalPoint([size / 2 for size in image.GetSize()])
    turn = sitk.Euler3DTransform(middle, 0.0, 0.0, -np.deg2rad(degrees))
    return sitk.Resample(image, image, turn, sitk.sitkNearestNeighbor, 0.0)


def bodies_of(ct: sitk.Image, labels: sitk.Image) -> dict[str, VertebralBody]:
    case: SpineCase = case_from_images(ct, labels, "turned")
    return find_bodies(case)


def apart_deg(one: VertebralBody, other: VertebralBody) -> float:
    return float(np.rad2deg(np.arccos(np.clip(one.axes[1] @ other.axes[1], -1.0, 1.0))))


def test_bodies_alone_face_where_their_arches_lie(picture):
    whole, alone = bodies_of(picture.ct, picture.labels), bodies_of(picture.ct, picture.bodies)
    apart = [apart_deg(whole[level], alone[level]) for level in alone]
    assert np.mean(apart) < 2.0
    turned_by = {level: np.rad2deg(np.arctan2(*body.axes[1][:2])) for level, body in whole.items()}
    assert max(map(abs, turned_by.values())) > 5.0  # the image's posterior would miss by so much


@pytest.mark.parametrize("degrees", [-15, 10])
def test_an_oblique_patient_without_arches_is_measured_the_same(degrees, picture):
    straight = bodies_of(picture.ct, picture.bodies)
    oblique = bodies_of(turned(picture.ct, degrees), turned(picture.bodies, degrees))
    for level in ("T9", "T12", "L3"):
        found = np.rad2deg(np.arctan2(*oblique[level].axes[1][:2]) - np.arctan2(*straight[level].axes[1][:2]))
        assert -found == pytest.approx(degrees, abs=4.0), level
