"""The gap hides everything of the target, keeps everything else, and does not tell how much was cut out."""

import numpy as np
import pytest
from conftest import block_spine, lumbar_blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import find_bodies
from healthivert.gap import (
    CONTEXT_ROWS,
    GAP,
    GAP_ROWS,
    ROWS,
    find_cut,
    from_window,
    make_conditioning,
    open_gap,
    slab_to_gap,
    to_window,
)
from healthivert.straighten import centreline, straighten_around
from healthivert.types import Conditioning, Heights, Prior, SpineCase, StraightenedSpine

NO_PRIOR = Prior(*(np.zeros(shape, np.float32) for shape in ((GAP_ROWS, 64, 72), (GAP_ROWS, 64, 72), (64, 72))))


def seen_by_generator(straight: StraightenedSpine, level: str) -> Conditioning:
    everywhere = np.ones(straight.ct.shape, np.float32)
    return make_conditioning(
        straight, level, find_cut(straight, level), everywhere, NO_PRIOR, Heights(25.0, 26.0, 27.0, 26.0)
    )


def straightened(case: SpineCase, level: str):
    bodies = find_bodies(case)
    return straighten_around(case, bodies, centreline(bodies), level, 44.0)


def close_gap(gapped: np.ndarray, cut: tuple[int, int], into: np.ndarray) -> np.ndarray:
    """The inverse of open_gap: into (SI, ...) with the rows beside the cut taken back from gapped; the cut stays
    into's."""
    first, last = cut
    out = into.copy()
    below = min(CONTEXT_ROWS, first)
    above = min(CONTEXT_ROWS, len(into) - last)
    out[first - below : first] = gapped[CONTEXT_ROWS - below : CONTEXT_ROWS]
    out[last : last + above] = gapped[GAP[1] : GAP[1] + above]
    return out


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(20, 140))
def test_opening_then_closing_is_the_identity_beside_the_cut(first, height, rows):
    last = min(first + height, rows)
    array = np.random.default_rng(0).normal(size=(rows, 3, 2)).astype(np.float32)
    if first >= last:
        return
    gapped = open_gap(array, (first, last), -1.0)
    emptied = array.copy()
    emptied[:first], emptied[last:] = 0, 0
    back = close_gap(gapped, (first, last), emptied)
    near = slice(max(0, first - CONTEXT_ROWS), min(rows, last + CONTEXT_ROWS))
    assert np.array_equal(back[near], array[near])


def test_the_rows_beside_the_gap_are_the_rows_beside_the_cut():
    array = np.arange(100.0)[:, None, None] * np.ones((1, 2, 2))
    gapped = open_gap(array, (40, 55), -1.0)
    assert gapped.shape[0] == ROWS
    assert gapped[GAP[0] - 1, 0, 0] == 39  # half-open: row 40 is cut ...
    assert gapped[GAP[1], 0, 0] == 55  # ... and row 55 is not
    assert (gapped[GAP[0] : GAP[1]] == -1).all()


def test_a_slab_of_gap_height_passes_unchanged():
    array = np.random.default_rng(1).normal(size=(90, 4, 4)).astype(np.float32)
    assert np.allclose(slab_to_gap(array, (20, 20 + GAP_ROWS)), array[20 : 20 + GAP_ROWS], atol=1e-6)


def test_no_voxel_of_the_target_is_left_in_what_the_generator_sees():
    """The target is painted with a value that nothing else has; blurred traces of it would show as well."""
    case = block_spine(lumbar_blocks(L2=(16.0, 24.0)), spacing=(1.0, 1.0, 1.5))
    import SimpleITK as sitk

    labels = sitk.GetArrayFromImage(case.labels)
    ct = np.where(labels == LEVEL_NUMBER["L2"], 790, 50).astype(np.int16)
    image = sitk.GetImageFromArray(ct)
    image.CopyInformation(case.ct)
    told = SpineCase(image, case.labels, "told", "LPS", case.label_values)
    straight = straightened(told, "L2")
    conditioning = seen_by_generator(straight, "L2")
    seen = from_window(conditioning.ct[conditioning.mask == 0])
    assert straight.ct.max() > 700  # the value is in the scan ...
    assert seen.max() < 51  # ... and nowhere in the conditioning
    assert (conditioning.attention[conditioning.mask > 0] == 0).all()


@pytest.mark.parametrize("lost", [(27.0, 27.0), (20.0, 20.0), (12.0, 12.0)])
def test_what_is_seen_does_not_depend_on_the_height_that_was_lost(lost):
    """Plane collapse: whatever is left of the vertebra, the anatomy beside the gap is the same."""
    seen = {}
    for height in (27.0, lost[0]):
        case = block_spine(lumbar_blocks(L2=(height, height)), arches=False)
        straight = straightened(case, "L2")
        seen[height] = seen_by_generator(straight, "L2")
    full, collapsed = seen[27.0], seen[lost[0]]
    assert np.array_equal(full.mask, collapsed.mask)
    differing = np.abs(full.neighbours - collapsed.neighbours).mean() / full.neighbours.mean()
    assert differing < 0.05


def test_the_cut_holds_the_whole_body_and_a_margin(healthy_case):
    straight = straightened(healthy_case, "L3")
    first, last = find_cut(straight, "L3")
    rows = np.flatnonzero((straight.bodies == LEVEL_NUMBER["L3"]).any(axis=(1, 2)))
    assert (first, last) == (rows[0] - 1, rows[-1] + 2)


def test_the_window_has_an_inverse_inside_it():
    hu = np.linspace(-300, 800, 50)
    assert np.allclose(from_window(to_window(hu)), hu)
    assert to_window(np.array([-1000.0]))[0] == -1 and to_window(np.array([2000.0]))[0] == 1


def test_the_end_of_the_scan_is_not_shown_as_air():
    import SimpleITK as sitk

    whole = block_spine(lumbar_blocks())
    size = whole.ct.GetSize()
    crop = [sitk.RegionOfInterest(i, [size[0], size[1], 60], [0, 0, 75]) for i in (whole.ct, whole.labels)]
    case = SpineCase(crop[0], crop[1], "cropped", "LPS", {"L4": 23, "L3": 22, "L2": 21})
    straight = straightened(case, "L3")
    assert not straight.seen.all() and (straight.ct[~straight.seen] == -1000).all()
    conditioning = seen_by_generator(straight, "L3")
    assert from_window(conditioning.ct[conditioning.mask == 0]).min() > 40  # nothing in this spine is darker than 50 HU
