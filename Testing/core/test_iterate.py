"""Neighbours that look fractured are regrown before the target: it then grows beside healthy ones, in its own scan."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import SimpleITK as sitk
from command_line_case import call, usable_weights, write_spine
from conftest import block_spine, lumbar_blocks

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.body import find_bodies
from healthivert.gap import GAP
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.iterate import (
    HEALTHIEST,
    expected_heights,
    in_order,
    levels_in_reach,
    prepare_beside_regrown,
    regrow_in_turn,
    suspected_in_reach,
    turns_of,
)
from healthivert.measure import body_heights
from healthivert.phantom import PhantomSpine, render, sample_spine, truth, whole_spine_grid
from healthivert.pipeline import Outcome, Prepared, prepare, regrow
from healthivert.prior import prior_vertebra
from healthivert.progress import quiet
from healthivert.training.samples import case_from_images
from healthivert.types import Conditioning, PseudoHealthy, SpineCase

TARGET, UPPER, LOWER = "L2", "L1", "L3"
COLLAPSED_MM, HEALTHY_MM = 13.5, 27.0  # whole voxels of 1.5 mm
Scan = tuple[SpineCase, SpineAnalysis]


def prior_generator(conditioning: Conditioning) -> list[PseudoHealthy]:
    """Draws the prior at the expected height."""
    return [prior_vertebra(conditioning)]


def block_generator(conditioning: Conditioning) -> list[PseudoHealthy]:
    """Draws the prior at the blocks' healthy height."""
    return [replace(prior_generator(conditioning)[0], height_mm=HEALTHY_MM)]


def no_generator(conditioning: Conditioning) -> list[PseudoHealthy]:
    raise AssertionError(f"{conditioning.level} was regrown")


def scan_of(**heights: tuple[float, float]) -> Scan:
    """Blocks from T9 to L5, 27 mm tall but for the given ones."""
    blocks = lumbar_blocks(**heights)
    top = max(block.bottom + max(block.anterior, block.posterior) for block in blocks) + 8.0
    blocks += [replace(blocks[0], level=f"T{11 - i}", bottom=top + 35.0 * i) for i in range(3)]
    case = block_spine(blocks, (1.5, 1.5, 1.5))
    return case, analyse(case)


@pytest.fixture(scope="module")
def three_in_a_row() -> Scan:
    return scan_of(**dict.fromkeys((UPPER, TARGET, LOWER), (COLLAPSED_MM, COLLAPSED_MM)))


@pytest.fixture(scope="module")
def repaired(three_in_a_row: Scan) -> Scan:
    expected = expected_heights(three_in_a_row[1], (UPPER, TARGET, LOWER))
    return regrow_in_turn(*three_in_a_row, (UPPER, LOWER), expected, block_generator)


@pytest.fixture(scope="module")
def beside_regrown(three_in_a_row: Scan) -> Prepared:
    return prepare_beside_regrown(*three_in_a_row, TARGET, block_generator, passes=1)


@pytest.fixture(scope="module")
def alone(three_in_a_row: Scan) -> Prepared:
    return prepare(*three_in_a_row, TARGET)


def height_of(case: SpineCase, level: str) -> float:
    return body_heights(find_bodies(case)[level]).mean


def test_only_fractured_vertebrae_that_the_generator_sees_are_regrown():
    _, spine = scan_of(L1=(COLLAPSED_MM, COLLAPSED_MM), L5=(COLLAPSED_MM, COLLAPSED_MM))
    assert levels_in_reach(spine, TARGET) == ["T12", UPPER, LOWER]  # L1 is low enough to show what is beyond it
    assert levels_in_reach(spine, LOWER) == [TARGET, "L4"]
    assert suspected_in_reach(spine, TARGET) == [UPPER]
    assert suspected_in_reach(spine, "L4") == ["L5"]


def test_a_neighbour_cut_by_the_border_is_not_regrown(three_in_a_row: Scan):
    spine = three_in_a_row[1]
    bodies = {level: replace(body, complete=level != UPPER) for level, body in spine.bodies.items()}
    assert suspected_in_reach(replace(spine, bodies=bodies), TARGET) == [LOWER]


def test_the_nearest_neighbour_is_regrown_first_or_the_one_with_the_healthiest_surroundings():
    _, spine = scan_of(**dict.fromkeys(("T11", "T12", "L2"), (COLLAPSED_MM, COLLAPSED_MM)))
    assert in_order(spine, "L1", ["T11", "T12"]) == ["T12", "T11"]
    assert in_order(spine, "T12", ["T11", "L2"], HEALTHIEST) == ["L2", "T11"]


def test_the_target_grows_too_before_its_neighbours_grow_again():
    assert turns_of("L2", ["L1", "L3"], 1) == ["L1", "L3"]
    assert turns_of("L2", ["L1", "L3"], 3) == ["L1", "L3", "L2", "L1", "L3", "L2", "L1", "L3"]


@pytest.mark.parametrize(("level", "passes"), [(TARGET, 0), ("T9", 1)])
def test_without_passes_or_fractured_neighbours_nothing_is_regrown(three_in_a_row: Scan, level: str, passes: int):
    usual = prepare(*three_in_a_row, level)
    found = prepare_beside_regrown(*three_in_a_row, level, no_generator, passes)
    assert found.regrown_first == ()
    for name in ("ct", "mask", "attention", "prior_ct", "prior_body"):
        assert (getattr(found.conditioning, name) == getattr(usual.conditioning, name)).all()


def test_neighbours_get_their_height_back_and_are_suspected_no_more(three_in_a_row: Scan, repaired: Scan):
    case, spine = repaired
    for level in (UPPER, LOWER):
        assert three_in_a_row[1].suspicion[level] > 0.9 > 0.1 > spine.suspicion[level]
        assert spine.levels[level].heights.mean == pytest.approx(HEALTHY_MM, abs=1.0)
    assert case.ct.GetSize() == three_in_a_row[0].ct.GetSize()


def test_the_target_moves_with_its_neighbours_and_keeps_its_form(three_in_a_row: Scan, repaired: Scan):
    before, after = (spine.bodies[TARGET] for _, spine in (three_in_a_row, repaired))
    assert after.centre[2] - before.centre[2] == pytest.approx(HEALTHY_MM - COLLAPSED_MM, abs=2.0)
    assert body_heights(after).mean == pytest.approx(COLLAPSED_MM, abs=0.3)


def test_the_generator_sees_healthy_neighbours_and_trusts_them(alone: Prepared, beside_regrown: Prepared):
    assert beside_regrown.regrown_first == (UPPER, LOWER)
    collapsed, healthy = alone.conditioning, beside_regrown.conditioning
    middle = [n // 2 for n in healthy.ct.shape[1:]]
    for rows in (slice(None, GAP[0]), slice(GAP[1], None)):
        own, other = (c.neighbours[rows, middle[0], middle[1]] for c in (collapsed, healthy))
        assert own.sum() < 21  # the collapsed body, a disc, and the first rows of the vertebra beyond it
        assert other.sum() > 24
        for given, trusted in ((collapsed, False), (healthy, True)):
            near = (given.neighbours[rows] > 0) & (given.mask[rows] == 0)
            assert (given.attention[rows][near].min() > 0.7) == trusted


def test_what_was_regrown_is_no_evidence_for_the_targets_height_or_form(alone: Prepared, beside_regrown: Prepared):
    own, found = alone.conditioning, beside_regrown.conditioning
    assert found.reference_mm == own.reference_mm and found.cut == own.cut
    assert beside_regrown.reference_spread == alone.reference_spread
    for name in ("prior_ct", "prior_body", "outline"):
        assert (getattr(found, name)[slice(*GAP)] == getattr(own, name)[slice(*GAP)]).all()
    beside = [*range(GAP[0]), *range(GAP[1], len(own.ct))]
    seen = found.mask[beside] == 0
    assert (found.prior_ct[beside][seen] == found.ct[beside][seen]).all()


@pytest.fixture(scope="module")
def outcome(three_in_a_row: Scan, beside_regrown: Prepared) -> Outcome:
    return regrow(*three_in_a_row, TARGET, block_generator, quiet, prepared=beside_regrown)


def test_in_the_written_scan_the_target_alone_is_regrown(three_in_a_row: Scan, outcome: Outcome):
    written = replace(three_in_a_row[0], ct=outcome.restored.ct, labels=outcome.restored.labels)
    assert height_of(written, TARGET) == pytest.approx(HEALTHY_MM, abs=1.0)
    for level in (UPPER, LOWER):
        assert height_of(written, level) == pytest.approx(COLLAPSED_MM, abs=0.5)
    own, after = (sitk.GetArrayFromImage(c.labels) == LEVEL_NUMBER[LOWER] for c in (three_in_a_row[0], written))
    assert (own == after).all()


def test_the_report_measures_the_original_and_says_what_was_regrown(outcome: Outcome):
    assert outcome.loss.original.mean == pytest.approx(COLLAPSED_MM, abs=0.3)
    assert outcome.loss.rhlv.mean == pytest.approx(1 - COLLAPSED_MM / HEALTHY_MM, abs=0.04)
    assert f"regrown before {TARGET}, because they look fractured: {UPPER}, {LOWER}" in outcome.loss.warnings


def test_a_neighbour_that_would_push_the_target_out_of_the_scan_stays_as_it_is():
    case = block_spine(lumbar_blocks(L1=(8.0, 8.0)), (1.5, 1.5, 1.5))  # 15 mm are left above T12
    spine = analyse(case)
    assert suspected_in_reach(spine, "T12") == ["L1"]
    expected = expected_heights(spine, ("T12", "L1"))
    assert regrow_in_turn(case, spine, ["L1"], expected, prior_generator) == (case, spine)


def test_what_is_withheld_moves_with_its_tissue_and_goes_with_a_regrown_vertebra(three_in_a_row: Scan):
    case, spine = three_in_a_row
    cement = sitk.BinaryErode(case.labels == LEVEL_NUMBER["T12"], (2, 2, 2))
    filled = replace(case, withheld=cement | (case.labels == LEVEL_NUMBER[UPPER]))
    expected = expected_heights(spine, (UPPER, TARGET))
    after, _ = regrow_in_turn(filled, spine, [UPPER], expected, prior_generator)
    assert after.withheld is not None
    withheld, labels = (sitk.GetArrayFromImage(image) for image in (after.withheld, after.labels))
    hidden = labels[withheld > 0]
    assert (hidden == LEVEL_NUMBER["T12"]).sum() == pytest.approx(sitk.GetArrayFromImage(cement).sum(), rel=0.1)
    assert not (hidden == LEVEL_NUMBER[UPPER]).any()


def phantom_with_three_fractures() -> PhantomSpine:
    broken = sample_spine(46_102, True, ("T12", "L1", "L2"), fracture_count=(3, 3), no_grade=0.0)
    return replace(broken, levels=("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"))


def test_three_fractures_in_a_row_of_a_phantom_become_a_healthy_surrounding():
    spine = phantom_with_three_fractures()
    picture = render(spine, whole_spine_grid(spine, 2.0, 120.0), spine.scanner)
    case = case_from_images(picture.ct, picture.labels, "phantom")
    analysis = analyse(case)
    healthy = {row["level"]: row["healthy_heights_mm"]["mean"] for row in truth(spine)["levels"]}
    assert suspected_in_reach(analysis, "L1") == ["T12", "L2"]
    expected = expected_heights(analysis, ("T12", "L1", "L2"))
    _, after = regrow_in_turn(case, analysis, ("T12", "L2", "L1"), expected, prior_generator)
    for level in ("T12", "L1", "L2"):
        assert analysis.levels[level].heights.mean < 0.9 * healthy[level]
        assert after.levels[level].heights.mean == pytest.approx(expected[level].mean, rel=0.05)
        assert after.suspicion[level] < 0.3


def test_run_regrows_fractured_neighbours_first_if_asked(tmp_path):
    scan = write_spine(tmp_path, lumbar_blocks(L1=(15.0, 25.0), L2=(13.0, 13.0)))
    weights = usable_weights(tmp_path)
    assert call("run", *scan, "--vertebra", "L1", "--out", tmp_path / "out", "--passes", 1, *weights) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert "regrown before L1, because they look fractured: L2" in report["warnings"]
    assert report["timing_s"]["neighbours"] > 0


def test_fewer_than_no_passes_are_refused(tmp_path, capsys):
    scan = write_spine(tmp_path)
    assert call("run", *scan, "--vertebra", "L1", "--out", tmp_path / "out", "--passes", -1) == 2
    assert "--passes -1" in capsys.readouterr().err
