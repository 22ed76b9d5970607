"""Where a generator starts from: the neighbours over the target's footprint, without a trace of the collapse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import block_spine, lumbar_blocks

from healthivert import prior
from healthivert.anatomy import normal_spine
from healthivert.body import cut_posterior_elements
from healthivert.gap import GAP, GAP_ROWS, from_window
from healthivert.generate import FOOTPRINT_WEIGHT, model_share
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.pipeline import prepare
from healthivert.prior import MIRRORED_SHARE, canonical_slab, trusted_neighbours, upright_prior
from healthivert.reference import normal_heights
from healthivert.types import SpineCase

TARGET = "L2"


def dice(first: np.ndarray, second: np.ndarray) -> float:
    a, b = first > 0.5, second > 0.5
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def prior_of(case: SpineCase) -> np.ndarray:
    return prepare(case, analyse(case), TARGET).conditioning.prior_body


@pytest.fixture(scope="module")
def healthy(healthy_case) -> np.ndarray:
    return prior_of(healthy_case)


def test_among_equal_vertebrae_the_prior_is_the_hidden_one(healthy_case, healthy):
    body = canonical_slab(healthy_case, analyse(healthy_case), TARGET).body
    assert dice(healthy[GAP[0] : GAP[1]], body) > 0.97
    assert not healthy[: GAP[0]].any() and not healthy[GAP[1] :].any()


@pytest.mark.parametrize("heights", [(14.0, 14.0), (12.0, 26.0)])
def test_a_collapse_does_not_show_in_the_prior(healthy, heights):
    collapsed = prior_of(block_spine(lumbar_blocks(L2=heights)))
    assert dice(collapsed, healthy) > 0.97


@pytest.mark.parametrize(
    ("height", "width", "drawn"),
    [
        (None, 50.0, 50.0),  # healthy: as wide as it is, though its neighbours are 42 mm wide
        (14.0, 50.0, 42.0),  # collapsed: as wide as its neighbours let expect
        (14.0, 38.0, 38.0),  # a fracture makes no vertebra narrow
    ],
)
def test_a_target_is_drawn_as_wide_as_it_is_but_for_the_bulge_of_a_fracture(height, width, drawn):
    heights = {} if height is None else {TARGET: (height, height)}
    blocks = [replace(b, width=width) if b.level == TARGET else b for b in lumbar_blocks(**heights)]
    case = block_spine(blocks)
    given = prepare(case, analyse(case), TARGET).conditioning
    across = (given.prior_body > 0.5).any(axis=(0, 1)).sum()
    outlined = (given.outline[GAP[0]] > 0.5).any(axis=0).sum()
    assert (across, outlined) == pytest.approx((drawn, drawn), abs=2)


def test_of_a_bulge_half_as_much_is_taken_back_where_neighbours_are_on_one_side_only():
    blocks = [replace(b, width=50.0) if b.level == TARGET else b for b in lumbar_blocks(**{TARGET: (14.0, 14.0)})]
    from_target = blocks[[b.level for b in blocks].index(TARGET) :]
    across = (prior_of(block_spine(from_target)) > 0.5).any(axis=(0, 1)).sum()
    normal = {level: normal_spine()[level].width for level in ("T12", "L1", TARGET)}
    grown = np.average([normal[TARGET] / normal["L1"], normal[TARGET] / normal["T12"]], weights=[1, 0.5])
    assert across == pytest.approx(50 * (42 * grown / 50) ** 0.5, abs=1)


def test_plates_of_the_neighbours_are_averaged_where_they_lie_together(monkeypatch):
    """A neighbour whose cut lies 3 mm away from its plate, for a spur, leaves the plates of the mean sharp."""
    case = block_spine(lumbar_blocks())
    cut = prior.find_cut

    def with_spur(straight, level, *margin):
        first, last = cut(straight, level, *margin)
        return first, last + 3 * (level == "L1")

    monkeypatch.setattr(prior, "find_cut", with_spur)
    body = prior_of(case)[GAP[0] : GAP[1]]
    middle = body[:, body.shape[1] // 2, body.shape[2] // 2]
    assert ((middle > 0.1) & (middle < 0.9)).sum() <= 4  # two rows at each plate


def test_what_neighbours_have_on_one_side_is_expected_less_there_and_a_little_on_the_other(healthy_case):
    hu = sitk.GetArrayFromImage(healthy_case.ct)
    left = np.broadcast_to(np.arange(hu.shape[2]) > hu.shape[2] // 2, hu.shape)
    hu[(hu == 250) & left] = 450
    ct = sitk.GetImageFromArray(hu)
    ct.CopyInformation(healthy_case.ct)
    case = replace(healthy_case, ct=ct)
    given = prepare(case, analyse(case), TARGET).conditioning
    inside = np.where(given.prior_body > 0.9, from_window(given.prior_ct), np.nan)
    middle = inside.shape[2] // 2
    on_left, on_right = np.nanmedian(inside[:, :, middle + 5 :]), np.nanmedian(inside[:, :, : middle - 5])
    assert on_left - on_right == pytest.approx(200 * (1 - 2 * MIRRORED_SHARE), abs=10)
    assert on_left + on_right == pytest.approx(700, abs=10)


def test_a_suspected_neighbour_is_passed_over():
    spine = analyse(block_spine(lumbar_blocks(L1=(13.0, 13.0))))
    assert trusted_neighbours(spine, TARGET) == [("T12", 2), ("L3", 1), ("L4", 2)]
    assert trusted_neighbours(spine, "T12") == [("L2", 2), ("L3", 3)]


def test_where_all_are_suspected_the_nearest_must_do(healthy_case):
    spine = analyse(healthy_case)
    doubted = {level: replace(summary, suspicion=0.9) for level, summary in spine.levels.items()}
    everywhere = SpineAnalysis(spine.bodies, spine.frame, doubted, ())
    assert trusted_neighbours(everywhere, TARGET) == [("L1", 1), ("T12", 2), ("L3", 1), ("L4", 2)]


def test_a_neighbour_cut_by_the_border_is_no_model(healthy_case):
    spine = analyse(healthy_case)
    cut = {level: replace(body, complete=level in (TARGET, "L4")) for level, body in spine.bodies.items()}
    assert trusted_neighbours(SpineAnalysis(cut, spine.frame, spine.levels, ()), TARGET) == [("L4", 2)]


def test_the_more_healthy_neighbours_there_are_the_less_the_model_counts(healthy_case):
    def share_with(suspicion: dict[str, float]) -> float:
        spine = analyse(healthy_case)
        levels = {
            level: replace(summary, suspicion=suspicion.get(level, 0.0)) for level, summary in spine.levels.items()
        }
        return model_share(
            prepare(healthy_case, SpineAnalysis(spine.bodies, spine.frame, levels, ()), TARGET).conditioning
        )

    beside_four = share_with({})
    assert beside_four == pytest.approx(1 / (1 + FOOTPRINT_WEIGHT + 2 * (1 + 1 / 2)))
    assert share_with({"L1": 0.4}) == pytest.approx(1 / (1 / beside_four - 0.4))
    assert share_with({"L1": 0.9}) == pytest.approx(1 / (1 / beside_four - 1))  # T12 alone is left above
    assert share_with(dict.fromkeys(healthy_case.levels, 1.0)) > 0.6
    nobody = prepare(healthy_case, analyse(healthy_case), TARGET).conditioning
    assert model_share(replace(nobody, neighbour_slabs=())) == pytest.approx(1 / (1 + FOOTPRINT_WEIGHT))


def test_without_any_neighbour_the_footprint_stands_upright():
    outline = np.zeros((64, 72), np.float32)
    outline[20:44, 20:52] = 1
    prior = upright_prior(outline)
    assert prior.body.shape == prior.ct.shape == (GAP_ROWS, 64, 72)
    assert (prior.body == outline).all()
    assert prior.ct[:, outline > 0].min() > prior.ct[:, outline == 0].max()


def test_what_the_border_leaves_of_a_vertebra_may_hold_no_body():
    empty = np.zeros((60, 60, 60))
    empty[:, 50:, 28:32] = 1  # only the arch, far behind the centre
    assert not cut_posterior_elements(empty, 1.0, "L1").any()


def test_the_prior_tells_what_its_thirds_normally_gain_from_the_neighbours_levels(healthy_case):
    analysis = analyse(healthy_case)
    gained = {level: prepare(healthy_case, analysis, level).conditioning.thirds_growth for level in ("L3", "L5")}
    own, above, second = (np.divide(normal_heights(v).thirds, normal_heights(v).mean) for v in ("L5", "L4", "L3"))
    assert gained["L5"] == pytest.approx(own / above ** (2 / 3) / second ** (1 / 3), abs=0.002)
    assert gained["L5"][0] > 1.02 and gained["L5"][2] < 0.98, "the last lumbar body is a wedge"
    assert gained["L3"] == pytest.approx((1, 1, 1), abs=0.01), "between its neighbours"
