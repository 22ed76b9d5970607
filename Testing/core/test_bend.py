"""Where the spine is bent: heights are the patient's, and a vertebra from elsewhere is brought to the bend."""

from dataclasses import replace

import numpy as np
import pytest
from slice_batches import GAP

from healthivert.bend import column_stretch, rebent
from healthivert.evaluate import evaluate_level
from healthivert.gap import from_window
from healthivert.inspection import analyse
from healthivert.measure import body_heights, gap_height_map, third_heights
from healthivert.phantom import level_grid, render, sample_spine
from healthivert.pipeline import healthy_heights, prepare, regrow
from healthivert.prior import canonical_slab, prior_vertebra
from healthivert.progress import quiet
from healthivert.training.samples import case_from_images
from healthivert.types import THIRDS, Conditioning, PseudoHealthy, StraightFrame

LEVEL = "L4"  # where the lordosis is strongest


def arc_of(radius_mm: float) -> StraightFrame:
    """A centreline on a circle around a point behind it, as in a lordosis."""
    arc = np.arange(0.0, 100.0, 0.5)
    angle = (arc - 50) / radius_mm
    nothing, sine, cosine = np.zeros_like(arc), np.sin(angle), np.cos(angle)
    points = np.stack([nothing, radius_mm * (1 - cosine), radius_mm * sine], axis=1)
    left = np.stack([nothing + 1, nothing, nothing], axis=1)
    return StraightFrame(
        arc, points, left, np.stack([nothing, cosine, -sine], 1), np.stack([nothing, sine, cosine], axis=1)
    )


def test_a_column_is_longer_on_the_outer_side_of_a_bend():
    stretch = column_stretch(arc_of(200.0), 35.0, 65.0, 1.0)
    behind = np.arange(64) - 31.5
    assert np.allclose(stretch, (1 - behind / 200)[:, None], atol=0.002)


def test_there_and_back_is_the_same_slab():
    body = np.zeros((32, 64, 72), np.float32)
    for back in range(16, 48):
        body[2 : 30 - (back - 16) // 8, back, 15:57] = 1.0
    ct = np.random.default_rng(0).normal(size=(32, 1, 1)).cumsum(axis=0).astype(np.float32) * np.ones_like(body)
    scale = np.linspace(1.12, 0.88, 64)[:, None] * np.ones((64, 72))
    there = rebent(ct, body, scale)
    back = rebent(*there, 1 / scale)
    changed = ((there[1] > 0.5) != (body > 0.5)).sum() / body.sum()
    assert changed > 0.04 and ((back[1] > 0.5) != (body > 0.5)).sum() / body.sum() < 0.02
    assert np.abs(back[0] - ct)[4:28].mean() < 0.5
    rows = np.flatnonzero((there[1] > 0.5).any(axis=(1, 2)))
    assert (rows[0], rows[-1]) == (2, 29)  # the slab is as high as it was


@pytest.fixture(scope="module")
def lordotic():
    spine = replace(sample_spine(47001), levels=("L2", "L3", "L4", "L5"))
    picture = render(spine, level_grid(spine, LEVEL, (110.0, 120.0, 150.0), 1.5), spine.scanner)
    case = case_from_images(picture.ct, picture.labels, "phantom")
    return case, analyse(case)


def truth(case, analysis) -> PseudoHealthy:
    """The vertebra that is hidden, as a generator would draw it that knew it."""
    given = prepare(case, analysis, LEVEL).conditioning
    ct, body = given.prior_ct.copy(), np.zeros_like(given.prior_body)
    ct[slice(*GAP)], body[slice(*GAP)], _ = canonical_slab(case, analysis, LEVEL)
    return PseudoHealthy(from_window(ct), body, body_heights(analysis.bodies[LEVEL]).mean, stretch=given.stretch)


def test_the_truth_has_its_own_thirds_and_no_loss(lordotic):
    case, analysis = lordotic
    vertebra = truth(case, analysis)
    own = body_heights(analysis.bodies[LEVEL]).form
    assert healthy_heights(vertebra, 1.0)[0].form == pytest.approx(own, abs=0.01)
    assert np.abs(third_heights(gap_height_map(vertebra.body, 1.0), 1.0).form - own).max() > 0.02  # rows alone
    outcome = regrow(case, analysis, LEVEL, lambda given: [vertebra], quiet)
    assert [getattr(outcome.loss.rhlv, third) for third in THIRDS] == pytest.approx([0, 0, 0], abs=0.015)


def test_the_restored_segmentation_measures_what_the_report_says(lordotic):
    case, analysis = lordotic

    def a_fifth_taller(given: Conditioning) -> list[PseudoHealthy]:
        vertebra = truth(case, analysis)
        return [replace(vertebra, height_mm=1.2 * vertebra.height_mm)]

    outcome = regrow(case, analysis, LEVEL, a_fifth_taller, quiet)
    restored = analyse(replace(case, ct=outcome.restored.ct, labels=outcome.restored.labels))
    found, told = body_heights(restored.bodies[LEVEL]), outcome.loss.pseudo_healthy
    for third in THIRDS:
        assert getattr(found, third) == pytest.approx(getattr(told, third), rel=0.03)


def test_the_prior_is_brought_to_the_targets_bend(lordotic):
    case, analysis = lordotic
    row = evaluate_level(case, analysis, LEVEL, lambda given: [truth(case, analysis)])
    assert row["dice"] > 0.97 and row["dice_prior"] > 0.9
    prior = prior_vertebra(prepare(case, analysis, LEVEL).conditioning)
    own = body_heights(analysis.bodies[LEVEL]).form
    assert np.abs(healthy_heights(prior, 1.0)[0].form - own).max() < 0.05
