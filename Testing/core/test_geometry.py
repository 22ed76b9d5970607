"""Boxes around labels, distances from them, and images that moved as one piece."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from healthivert.geometry import distance_to, label_boxes, labelled_box, shifted_slice


def test_the_box_around_labels_holds_them_all_and_nothing_beyond():
    array = np.zeros((7, 8, 9), np.uint8)
    assert array[labelled_box(array)].size == 0
    array[2, 5, 3] = array[4, 1, 8] = 1
    assert labelled_box(array) == (slice(2, 5), slice(1, 6), slice(3, 9))
    assert labelled_box(-array.astype(float)) == labelled_box(array)


def test_every_label_has_its_own_box_in_the_images_own_order():
    array = np.zeros((7, 8, 9), np.uint8)
    array[2:4, 5, 3] = 20
    array[6, 1:8, 8] = 255
    assert label_boxes(sitk.GetImageFromArray(array)) == {20: ((3, 5, 2), (4, 6, 4)), 255: ((8, 1, 6), (9, 8, 7))}
    assert label_boxes(sitk.GetImageFromArray(np.zeros_like(array))) == {}


@pytest.mark.parametrize("step", [(0.0, 0.0, 0.0), (-2.0, 3.0, 1.0), (-2.3, 0.4, -0.75), (1.6, -1.2, 0.01)])
def test_a_shifted_slice_is_what_resampling_gives(step):
    array = np.random.default_rng(0).integers(-1000, 1500, (9, 11, 13)).astype(np.int16)
    image = sitk.Cast(sitk.GetImageFromArray(array), sitk.sitkFloat32)
    move = sitk.TranslationTransform(3, step[::-1])
    expected = sitk.GetArrayFromImage(sitk.Resample(image, image, move, sitk.sitkLinear, -1024.0))
    for k in range(9):
        assert np.abs(shifted_slice(array, k, np.array(step), -1024) - expected[k]).max() <= 0.51


def test_the_distance_to_voxels_is_the_one_between_their_middles():
    voxels = np.random.default_rng(0).random((9, 14, 11)) > 0.99
    spacing = np.array([0.7, 1.3, 2.9])
    every = np.argwhere(np.ones_like(voxels)) * spacing
    least = np.linalg.norm(every[:, None] - np.argwhere(voxels) * spacing, axis=2).min(axis=1)
    np.testing.assert_allclose(distance_to(voxels, spacing), least.reshape(voxels.shape), atol=1e-5)
    assert np.isinf(distance_to(np.zeros_like(voxels), spacing)).all()
    assert (distance_to(np.ones_like(voxels), spacing) == 0).all()
