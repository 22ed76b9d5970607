"""A CT painted onto a real label map keeps the patient's bones and shows what a CT would."""

import numpy as np
import pytest
import SimpleITK as sitk

from healthivert.errors import HealthiVertError
from healthivert.phantom import level_grid, paint_ct, render, sample_spine
from healthivert.phantom.posture import poses


@pytest.fixture(scope="module")
def labels():
    spine = sample_spine(31)
    return render(spine, level_grid(spine, "L2", (80.0, 90.0, 120.0), 2.0), None).labels


def painted_and_labels(labels, seed=3):
    return sitk.GetArrayFromImage(paint_ct(labels, seed)).astype(float), sitk.GetArrayFromImage(labels)


def test_bone_is_brighter_than_disc_and_disc_than_fat(labels):
    hu, numbers = painted_and_labels(labels)
    spine = sample_spine(31)
    between = (poses(spine)["L2"].centre + poses(spine)["L3"].centre) / 2
    i, j, k = labels.TransformPhysicalPointToIndex(tuple(between))
    disc = hu[k, j - 3 : j + 4, i - 4 : i + 5]
    assert np.all(numbers[k, j - 3 : j + 4, i - 4 : i + 5] == 0)
    assert 40 < disc.mean() < 150
    assert hu[numbers > 0].mean() > disc.mean() + 50


def test_the_cortex_is_brighter_than_the_marrow(labels):
    from scipy import ndimage

    hu, numbers = painted_and_labels(labels)
    bone = numbers == 21
    marrow = ndimage.binary_erosion(bone, iterations=3)
    shell = bone & ~ndimage.binary_erosion(bone)
    assert hu[shell].mean() > hu[marrow].mean() + 60


def test_the_painting_lies_on_the_label_map_s_own_grid_in_any_orientation(labels):
    turned = sitk.DICOMOrient(labels, "ASL")
    painted = paint_ct(turned, 3)
    assert painted.GetSize() == turned.GetSize()
    assert np.allclose(painted.GetDirection(), turned.GetDirection())
    assert np.allclose(painted.GetOrigin(), turned.GetOrigin())
    assert painted.GetPixelID() == sitk.sitkInt16
    upright = sitk.GetArrayFromImage(sitk.DICOMOrient(painted, "LPS"))
    assert np.array_equal(upright, sitk.GetArrayFromImage(paint_ct(labels, 3)))


def test_bodies_without_arches_can_be_painted_too():
    spine = sample_spine(31)
    bodies = render(spine, level_grid(spine, "L2", (70.0, 70.0, 110.0), 2.0), None).bodies
    hu, numbers = painted_and_labels(bodies)
    assert hu[numbers > 0].mean() > hu[numbers == 0].mean() + 50


def test_the_same_seed_paints_the_same_and_another_seed_another_scan(labels):
    first, again, other = (sitk.GetArrayFromImage(paint_ct(labels, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_label_map_cannot_be_painted(labels):
    with pytest.raises(HealthiVertError):
        paint_ct(labels * 0, 1)
