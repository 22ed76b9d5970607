"""Back on the patient: nothing below moves, what is above moves up, the vertebra has its height."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import block_spine, lumbar_blocks

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import find_bodies
from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, ROWS, from_window, slab_to_gap, to_window
from healthivert.geometry import patch_around, sample
from healthivert.inspection import analyse
from healthivert.measure import body_heights
from healthivert.pipeline import prepare, regrow
from healthivert.restore import Placement, generated_share, source_arc
from healthivert.straighten import grid_points
from healthivert.types import Conditioning, PseudoHealthy, SpineCase

HEALTHY_MM = 27.0
LEVEL = "L2"


def block_generator(conditioning: Conditioning, half_width: float = 21, half_depth: float = 16) -> list[PseudoHealthy]:
    """Draws an ellipse over the whole gap, 400 HU bright: brighter than anything in the scan."""
    shape = conditioning.ct.shape
    back, left = np.meshgrid(
        np.arange(shape[1]) - (shape[1] - 1) / 2, np.arange(shape[2]) - (shape[2] - 1) / 2, indexing="ij"
    )
    inside = (left / half_width) ** 2 + (back / half_depth) ** 2 <= 1
    body = np.zeros(shape, np.float32)
    body[GAP[0] + 1 : GAP[1] - 1, inside] = 1.0
    ct = from_window(conditioning.prior_ct)
    ct[slice(*GAP)] = np.where(body[slice(*GAP)] > 0, 400.0, 50.0)
    return [PseudoHealthy(ct.astype(np.float32), body, HEALTHY_MM)]


def quiet(*_) -> None:
    pass


@pytest.fixture(scope="module")
def collapsed() -> SpineCase:
    return block_spine(lumbar_blocks(L2=(15.0, 15.0)))


@pytest.fixture(scope="module")
def outcome(collapsed):
    return regrow(collapsed, analyse(collapsed), LEVEL, block_generator, quiet)


def arrays(case: SpineCase, outcome):
    images = case.ct, case.labels, outcome.restored.ct, outcome.restored.labels
    return [sitk.GetArrayFromImage(image).astype(int) for image in images]


def with_arrays(case: SpineCase, **changed: np.ndarray) -> SpineCase:
    """The case with its ct or its labels replaced."""
    images = {name: sitk.GetImageFromArray(array) for name, array in changed.items()}
    for name, image in images.items():
        image.CopyInformation(getattr(case, name))
    return replace(case, **images)


def test_results_lie_on_the_input_grid(collapsed, outcome):
    for image in (outcome.restored.ct, outcome.restored.labels):
        assert image.GetSize() == collapsed.ct.GetSize()
        assert image.GetOrigin() == collapsed.ct.GetOrigin()
        assert image.GetDirection() == collapsed.ct.GetDirection()


def test_nothing_below_the_target_changes(collapsed, outcome):
    ct, labels, new_ct, new_labels = arrays(collapsed, outcome)
    for level in ("L3", "L4", "L5"):
        own = labels == LEVEL_NUMBER[level]
        assert (new_ct[own] == ct[own]).all()
        assert (new_labels[own] == labels[own]).all()


def test_the_vertebra_above_moves_up_by_what_was_restored(collapsed, outcome):
    _, labels, _, new_labels = arrays(collapsed, outcome)
    own, moved = (np.argwhere(m == LEVEL_NUMBER["L1"]).mean(axis=0) for m in (labels, new_labels))
    assert moved[0] - own[0] == pytest.approx(HEALTHY_MM - 15.0, abs=1.5)
    assert moved[1:] == pytest.approx(own[1:], abs=1.0)


def test_the_vertebra_above_keeps_its_form_where_it_reaches_into_what_is_cut(collapsed):
    """A lip in front of the collapsed body: 12 mm long, the lower 4 of which lie beside it."""
    labels, top = sitk.GetArrayFromImage(collapsed.labels), LEVEL_NUMBER["L1"]
    target = np.argwhere(labels == LEVEL_NUMBER[LEVEL])
    (_, front, _), (_, _, middle) = target.min(axis=0), target.mean(axis=0).astype(int)
    upper = target[target[:, 1] < front + 5, 0].max()
    labels[upper - 3 : upper + 9, front - 3 : front - 1, middle - 5 : middle + 6] = top
    case = with_arrays(collapsed, labels=labels)
    moved = sitk.GetArrayFromImage(regrow(case, analyse(case), LEVEL, block_generator, quiet).restored.labels)
    lips = [(found == top)[:, front - 2, middle] for found in (labels, moved)]
    rise = [np.flatnonzero(lip)[0] for lip in lips]
    assert lips[1].sum() == lips[0].sum() == 12
    assert rise[1] - rise[0] == pytest.approx(HEALTHY_MM - 15.0, abs=1.5)


def lowest_and_highest(labels: np.ndarray, level: str, column: tuple) -> tuple[int, int]:
    rows = np.flatnonzero((labels == LEVEL_NUMBER[level])[:, *column])
    return int(rows[0]), int(rows[-1])


def spurred(case: SpineCase) -> tuple[SpineCase, tuple, tuple]:
    """A collapsed body whose front rim is drawn out by 6 mm up and by 4 mm down, and a lip of the body above that
    reaches down by 3 mm at the back, all of them bone. With a column between the two, and one through the lip."""
    labels, ct = sitk.GetArrayFromImage(case.labels), sitk.GetArrayFromImage(case.ct)
    target = np.argwhere(labels == LEVEL_NUMBER[LEVEL])
    _, front, _ = target.min(axis=0)
    _, _, middle = np.round(target.mean(axis=0)).astype(int)
    low, high = lowest_and_highest(labels, LEVEL, (front + 16, middle))
    above, _ = lowest_and_highest(labels, "L1", (front + 16, middle))
    for number, rows, columns in (
        (LEVEL_NUMBER[LEVEL], slice(low - 4, high + 7), slice(front + 2, front + 8)),
        (LEVEL_NUMBER["L1"], slice(above - 3, above), slice(front + 22, front + 28)),
    ):
        labels[rows, columns, middle - 7 : middle + 8] = number
        ct[rows, columns, middle - 7 : middle + 8] = 700
    return with_arrays(case, labels=labels, ct=ct), (front + 15, middle), (front + 25, middle)


def test_a_spur_of_the_collapsed_body_costs_no_disc(collapsed):
    """The cut goes from the lowest spur to the highest. The regrown body lies on its own lower plate all the same, and
    both discs are as thick as they were."""
    case, between, _ = spurred(collapsed)
    outcome = regrow(case, analyse(case), LEVEL, block_generator, quiet)
    before, after = (sitk.GetArrayFromImage(labels) for labels in (case.labels, outcome.restored.labels))
    for upper, lower in ((LEVEL, "L3"), ("L1", LEVEL)):
        discs = [
            lowest_and_highest(labels, upper, between)[0] - lowest_and_highest(labels, lower, between)[1]
            for labels in (before, after)
        ]
        assert discs[1] == pytest.approx(discs[0], abs=1)
    moved = lowest_and_highest(after, "L1", between)[0] - lowest_and_highest(before, "L1", between)[0]
    assert moved == pytest.approx(HEALTHY_MM - 15.0, abs=1.5)


def test_what_lies_beyond_the_scan_is_no_disc():
    """Above the uppermost vertebra the scan ends; below it is a disc of 3 mm, which is drawn as tissue."""
    blocks = [replace(b, bottom=b.bottom - 5) if b.level == "T12" else b for b in lumbar_blocks()]
    whole = block_spine(blocks)
    top = int(np.argwhere(sitk.GetArrayViewFromImage(whole.labels) == LEVEL_NUMBER["T12"])[:, 0].max())
    size = [*whole.ct.GetSize()[:2], top + 3]
    ct, labels = (sitk.RegionOfInterest(image, size, [0, 0, 0]) for image in (whole.ct, whole.labels))
    case = replace(whole, ct=ct, labels=labels)
    restored = regrow(case, analyse(case), "T12", block_generator, quiet).restored
    assert sitk.GetArrayViewFromImage(restored.ct)[: top - 10].min() >= 40


def test_no_bone_of_the_body_above_is_carried_into_the_disc(collapsed):
    case, _, through_lip = spurred(collapsed)
    restored = regrow(case, analyse(case), LEVEL, block_generator, quiet).restored
    labels, ct = (sitk.GetArrayFromImage(image) for image in (restored.labels, restored.ct))
    plate, lip = lowest_and_highest(labels, LEVEL, through_lip)[1], lowest_and_highest(labels, "L1", through_lip)[0]
    assert lip - plate >= 4
    disc = ct[(slice(plate + 2, lip - 1), *through_lip)]
    assert disc.size and disc.max() < 150


def test_the_lip_of_the_body_above_keeps_its_form_in_the_pictures(collapsed):
    """It reaches into the rows that are cut, and is the brightest of what is left."""
    case, *_ = spurred(collapsed)
    sagittal = regrow(case, analyse(case), LEVEL, block_generator, quiet).views[0]
    rows = np.flatnonzero((sagittal.after > 450).any(axis=1))
    assert len(rows) == 3 and np.ptp(rows) == 2  # mm, neither cut off nor stretched


def test_without_a_level_above_the_upper_plate_moves_by_what_it_gained():
    blocks = [block for block in lumbar_blocks(L2=(15.0, 15.0)) if block.level not in ("L1", "T12")]
    case = block_spine(blocks)
    outcome = regrow(case, analyse(case), LEVEL, block_generator, quiet)
    heights = [
        lowest_and_highest(sitk.GetArrayFromImage(i), LEVEL, (40, 45)) for i in (case.labels, outcome.restored.labels)
    ]
    assert heights[1][0] == pytest.approx(heights[0][0], abs=1)
    assert heights[1][1] - heights[0][1] == pytest.approx(HEALTHY_MM - 15.0, abs=1.5)


def test_a_body_drawn_beside_the_target_is_refused(collapsed):
    def astray(conditioning: Conditioning) -> list[PseudoHealthy]:
        (drawn,) = block_generator(conditioning)
        body = np.zeros_like(drawn.body)
        body[GAP[0] + 2 : GAP[1] - 2, :8, :8] = 1.0
        return [replace(drawn, body=body)]

    with pytest.raises(HealthiVertError, match="L2: the generator drew its body beside the target"):
        regrow(collapsed, analyse(collapsed), LEVEL, astray, quiet)


def test_the_regrown_vertebra_measures_what_was_predicted(collapsed, outcome):
    restored = SpineCase(outcome.restored.ct, outcome.restored.labels, "restored", "LPS", collapsed.label_values)
    body = find_bodies(restored)[LEVEL]
    assert body_heights(body).mean == pytest.approx(HEALTHY_MM, abs=0.7)


def test_a_broad_vertebra_is_drawn_and_told_from_wall_to_wall(collapsed):
    broad = partial(block_generator, half_width=29, half_depth=22)
    restored = regrow(collapsed, analyse(collapsed), LEVEL, broad, quiet).restored
    told = np.argwhere(sitk.GetArrayFromImage(restored.loss_map) != 0)
    _, depth, width = np.ptp(told, axis=0) * restored.loss_map.GetSpacing()[::-1]
    assert (depth, width) == pytest.approx((44, 58), abs=2.5)
    corner = collapsed.ct.TransformPhysicalPointToIndex(restored.loss_map.GetOrigin())[::-1]
    at = tuple((told + corner).T)
    assert (sitk.GetArrayFromImage(restored.labels)[at] == LEVEL_NUMBER[LEVEL]).all()
    assert (sitk.GetArrayFromImage(restored.ct)[at] > 300).mean() > 0.95


def test_loss_is_the_height_that_is_missing(outcome):
    for third in ("anterior", "middle", "posterior", "mean"):
        assert getattr(outcome.loss.rhlv, third) == pytest.approx(1 - 15 / 27, abs=0.04)
    assert outcome.loss.genant.grade == 3 and outcome.loss.genant.shape == "crush"
    assert np.nanmedian(outcome.loss.loss_map) == pytest.approx(1 - 15 / 27, abs=0.04)
    painted = sitk.GetArrayFromImage(outcome.restored.loss_map)
    assert np.median(painted[painted != 0]) == pytest.approx(100 * (1 - 15 / 27), abs=4)


def test_no_ghost_of_the_old_vertebra_is_left(collapsed, outcome):
    """The old body is painted -200: wherever that value showed, the old vertebra would shine through."""
    labels = sitk.GetArrayFromImage(collapsed.labels)
    ct = sitk.GetArrayFromImage(collapsed.ct)
    ct[labels == LEVEL_NUMBER[LEVEL]] = -200
    case = with_arrays(collapsed, ct=ct)
    painted = regrow(case, analyse(case), LEVEL, block_generator, quiet)
    new_ct, new_labels = (sitk.GetArrayFromImage(i) for i in (painted.restored.ct, painted.restored.labels))
    body = new_labels == LEVEL_NUMBER[LEVEL]
    rows = np.flatnonzero(body.any(axis=(1, 2)))
    middle = [n // 2 for n in ct.shape[1:]]
    column = new_ct[rows[0] - 4 : rows[-1] + 5, middle[0] - 20 : middle[0], middle[1] - 8 : middle[1] + 8]
    assert column.min() > 0
    assert np.median(new_ct[body & (new_ct > 0)]) > 350


def a_block(rows: slice) -> np.ndarray:
    body = np.zeros((40, 40, 40), np.float32)
    body[rows, 10:30, 10:30] = 1
    return body


def test_beside_a_border_that_stayed_the_patients_own_tissue_begins_at_once():
    share = generated_share(a_block(slice(8, 32)), a_block(slice(8, 31)), (1.0, 1.0, 1.0))[20, 20]
    assert share[10:31] == pytest.approx(1)  # the body, and the voxel that its cortex is blurred over
    assert share[31:] == pytest.approx(0)


def test_around_what_a_body_lost_the_tissue_beside_it_is_drawn_too():
    """The upper half is gone: there the old tissue is stretched, below it is not."""
    share = generated_share(a_block(slice(8, 32)), a_block(slice(8, 20)), (1.0, 1.0, 1.0))[:, 20]
    assert share[28, 30:35] == pytest.approx([1, 1, 1, 0.5, 0])
    assert share[10, 30:35] == pytest.approx([1, 0, 0, 0, 0])


def test_displacement_points_from_the_restored_scan_back_to_the_tissue(collapsed, outcome):
    field = outcome.restored.displacement
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    labels = sitk.GetArrayFromImage(outcome.restored.labels)
    for level, expected in (("T12", -(HEALTHY_MM - 15.0)), ("L4", 0.0)):
        k, j, i = np.argwhere(labels == LEVEL_NUMBER[level]).mean(axis=0)
        point = np.array(outcome.restored.labels.TransformContinuousIndexToPhysicalPoint((i, j, k)))
        assert np.array(transform.TransformPoint(point)) - point == pytest.approx([0, 0, expected], abs=1.5)


def test_what_was_withheld_covers_the_target_and_little_else(collapsed, outcome):
    withheld = outcome.withheld
    labels = sitk.Resample(collapsed.labels, withheld, sitk.Transform(), sitk.sitkNearestNeighbor)
    own = sitk.GetArrayFromImage(labels) == LEVEL_NUMBER[LEVEL]
    mask = sitk.GetArrayFromImage(withheld) > 0
    assert mask[own].all()
    other = np.isin(sitk.GetArrayFromImage(labels), [LEVEL_NUMBER["L1"], LEVEL_NUMBER["L3"]])
    assert mask[other].mean() < 0.12  # facets that lie in the target's rows
    attention = sitk.GetArrayFromImage(outcome.attention)
    assert attention[mask].max() == 0 and attention.max() <= 1


def test_the_truth_in_the_gap_gives_the_scan_back():
    """With the hidden rows themselves as the drawing, restoration is the identity, up to interpolation."""
    case = block_spine(lumbar_blocks())
    analysis = analyse(case)
    prepared = prepare(case, analysis, "L3")
    cut = prepared.conditioning.cut

    def truth(conditioning: Conditioning) -> list[PseudoHealthy]:
        ct = np.full((ROWS, *conditioning.ct.shape[1:]), -1.0, np.float32)
        body = np.zeros_like(ct)
        ct[GAP[0] : GAP[1]] = slab_to_gap(to_window(prepared.straight.ct).astype(np.float32), cut)
        body[GAP[0] : GAP[1]] = slab_to_gap(prepared.old_body.astype(np.float32), cut)
        own = analysis.bodies["L3"]
        return [PseudoHealthy(from_window(ct), body, body_heights(own).mean)]

    outcome = regrow(case, analysis, "L3", truth, quiet)
    assert abs(outcome.loss.rhlv.mean) < 1e-6
    before, after = (sitk.GetArrayFromImage(i).astype(float) for i in (case.ct, outcome.restored.ct))
    assert np.abs(before - after).mean() < 2.0
    assert np.isclose(before, after, atol=60).mean() > 0.99


def test_what_lies_above_comes_from_as_much_farther_down_as_was_restored():
    placement = Placement(arc_bottom=100.0, row_mm=0.9, bottom_mm=1.0, top_mm=2.0, shift_mm=12.0)
    arcs = np.array(
        [50.0, placement.arc_bottom, placement.arc_bottom + placement.slab_mm / 2, placement.arc_top, 180.0]
    )
    assert arcs - source_arc(arcs, placement) == pytest.approx([0.0, 0.0, 6.0, 12.0, 12.0])


def test_the_pictures_show_the_restored_scan(collapsed, outcome):
    """What is drawn in the straightened frame, and judged there, is what lies in the patient."""
    straight = prepare(collapsed, analyse(collapsed), LEVEL).straight
    ap, lr = (n // 2 for n in straight.ct.shape[1:])
    points = grid_points(straight.frame, straight.arc, straight.spacing_mm)
    ct, labels = (
        sample(patch_around(image, points, 2.0), points, order=order)[:, ap, lr]
        for image, order in ((outcome.restored.ct, 1), (outcome.restored.labels, 0))
    )
    sagittal = outcome.views[0]
    assert np.isclose(sagittal.after[:, ap], ct, atol=60).mean() > 0.95
    assert ((sagittal.body_after[:, ap] > 0.5) == (labels == LEVEL_NUMBER[LEVEL])).mean() > 0.95


def test_no_label_of_the_old_body_is_left_beside_the_regrown_one(collapsed):
    """The collapsed body has bulged by 6 mm: there nothing is drawn, and the label must not stay."""
    labels = sitk.GetArrayFromImage(collapsed.labels)
    own = labels == LEVEL_NUMBER[LEVEL]
    rows, depths, across = np.argwhere(own).T
    middle, centre = int(np.median(rows)), int(np.median(across))
    front = depths.min()
    labels[middle - 3 : middle + 4, front - 6 : front + 4, centre - 14 : centre + 15] = LEVEL_NUMBER[LEVEL]
    case = with_arrays(collapsed, labels=labels)
    restored = regrow(case, analyse(case), LEVEL, block_generator, quiet).restored
    found = sitk.GetArrayFromImage(restored.labels) == LEVEL_NUMBER[LEVEL]
    in_front = found[:, : front + 2, centre - 10 : centre + 11]
    per_row = in_front.any(axis=(1, 2))
    assert not per_row.any() or in_front.sum(axis=1).max() <= 4, "a piece of the old wall stands in front of the body"


def test_a_facet_of_the_level_below_stays_where_it_is(collapsed):
    """It reaches up right behind the target's wall, into what is moved."""
    labels, ct = sitk.GetArrayFromImage(collapsed.labels), sitk.GetArrayFromImage(collapsed.ct)
    front, middle = np.argwhere(labels == LEVEL_NUMBER[LEVEL])[:, 1].min(), labels.shape[2] // 2
    top = np.argwhere(labels == LEVEL_NUMBER["L3"])[:, 0].max()
    facet = slice(top - 8, top + 12), slice(front + 31, front + 35), slice(middle - 5, middle + 6)
    assert not labels[facet].any()
    labels[facet], ct[facet] = LEVEL_NUMBER["L3"], 700
    case = with_arrays(collapsed, labels=labels, ct=ct)
    restored = regrow(case, analyse(case), LEVEL, block_generator, quiet).restored
    drawn = sitk.GetArrayFromImage(restored.labels) == LEVEL_NUMBER[LEVEL]
    own = (labels == LEVEL_NUMBER["L3"]) & ~drawn
    assert (sitk.GetArrayFromImage(restored.labels)[own] == LEVEL_NUMBER["L3"]).all()
    assert (sitk.GetArrayFromImage(restored.ct)[own] == ct[own]).all()
    assert drawn[facet].mean() < 0.1
