"""The spine at a glance refuses what cannot be a spine, and knows a person's size from their endplates."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import block_spine, lumbar_blocks, on_grid_of

from healthivert.anatomy import LEVEL_NUMBER
from healthivert.errors import HealthiVertError
from healthivert.inspection import analyse, endplate_size, healthy_reference, hollow_warnings, reference_warnings
from healthivert.measure import hollowness
from healthivert.reference import population
from healthivert.types import Genant, SpineCase


@pytest.mark.parametrize("exchanged", [("T12", "L1"), ("L2", "L4")])
def test_exchanged_labels_are_refused(exchanged):
    names = dict(zip(exchanged, exchanged[::-1], strict=True))
    blocks = [replace(block, level=names.get(block.level, block.level)) for block in lumbar_blocks()]
    with pytest.raises(HealthiVertError, match=r"lies \d+ mm below .*exchanged; correct the segmentation"):
        analyse(block_spine(blocks))


def test_a_spine_upside_down_is_refused():
    levels = [block.level for block in lumbar_blocks()]
    blocks = [replace(block, level=level) for block, level in zip(lumbar_blocks(), levels[::-1], strict=True)]
    with pytest.raises(HealthiVertError, match="exchanged"):
        analyse(block_spine(blocks))


def test_a_level_that_is_implausibly_tall_is_warned_of():
    tall = analyse(block_spine(lumbar_blocks(L3=(33.0, 33.0))))
    assert [level for level, one in tall.levels.items() if any("taller than" in w for w in one.warnings)] == ["L3"]
    (warning,) = (w for w in tall.levels["L3"].warnings if "taller" in w)
    assert re.match(r"L3 is 2\d % taller than the other levels predict: either they have lost height, or more", warning)


def test_two_vertebrae_in_one_label_are_warned_of(healthy_case):
    numbers = sitk.GetArrayFromImage(healthy_case.labels)
    numbers[numbers == LEVEL_NUMBER["L3"]] = LEVEL_NUMBER["L2"]
    labels = on_grid_of(healthy_case, numbers)
    values = {level: value for level, value in healthy_case.label_values.items() if level != "L3"}
    levels = analyse(replace(healthy_case, labels=labels, label_values=values)).levels
    told = {level: summary.warnings for level, summary in levels.items() if summary.warnings}
    assert set(told) == {"L2"} and any("the label of L2 is 2.0 times as large" in words for words in told["L2"])
    assert levels["L2"].heights.mean == pytest.approx(27.0, abs=0.3)  # of one of the two


def test_a_long_spur_that_is_not_measured_is_said(healthy_case):
    numbers = sitk.GetArrayFromImage(healthy_case.labels)
    rows, depths, _ = np.argwhere(numbers == LEVEL_NUMBER["L3"]).T
    top, front, middle = rows.max(), depths.min(), numbers.shape[2] // 2
    numbers[top - 6 : top + 1, front - 9 : front + 2, middle - 8 : middle + 8] = LEVEL_NUMBER["L3"]
    labels = on_grid_of(healthy_case, numbers)
    spurred = analyse(replace(healthy_case, labels=labels)).levels["L3"]
    assert any("at the anterior wall" in words and "taken for an osteophyte" in words for words in spurred.warnings)
    assert spurred.heights.thirds == pytest.approx(analyse(healthy_case).levels["L3"].heights.thirds, abs=0.3)


@pytest.mark.parametrize("degrees", [90, 180])
def test_arches_tell_posterior_where_the_header_is_wrong_about_it(degrees, wedged_case):
    """A header that turns the patient about the long axis, as a careless conversion writes it."""
    turned = []
    cosine, sine = round(np.cos(np.deg2rad(degrees))), round(np.sin(np.deg2rad(degrees)))
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], float)
    for image in (wedged_case.ct, wedged_case.labels):
        copy = sitk.Image(image)
        copy.SetDirection((turn @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
        copy.SetOrigin((turn @ np.array(image.GetOrigin())).tolist())
        turned.append(sitk.DICOMOrient(copy, "LPS"))
    ct, labels = turned
    found, plain = analyse(replace(wedged_case, ct=ct, labels=labels)), analyse(wedged_case)
    assert any("do not lie to the scan's posterior" in words for words in found.warnings) and not plain.warnings
    for level, summary in plain.levels.items():
        assert found.levels[level].heights.thirds == pytest.approx(summary.heights.thirds, abs=0.3), level


@pytest.fixture(scope="module")
def hollow_case(healthy_case) -> SpineCase:
    """Every body 6 of its 27 mm lower in its middle third, in all of its width."""
    images = sitk.Image(healthy_case.ct), sitk.Image(healthy_case.labels)
    ct, labels = (sitk.GetArrayFromImage(image) for image in images)
    posterior = np.arange(labels.shape[1]) + images[1].GetOrigin()[1]
    middle = (np.abs(posterior) < 4)[None, :, None]
    for number in healthy_case.label_values.values():
        body = (labels == number) & middle
        rows = np.flatnonzero(body.any(axis=(1, 2)))
        plates = np.zeros(len(labels), bool)
        plates[[*rows[:3], *rows[-3:]]] = True
        gone = body & plates[:, None, None]
        labels[gone], ct[gone] = 0, 50
    return replace(healthy_case, ct=on_grid_of(healthy_case, ct), labels=on_grid_of(healthy_case, labels))


def test_hollow_plates_are_told_where_the_other_levels_are_hollow_too(healthy_case, hollow_case):
    analysis = analyse(hollow_case)
    for level, summary in analysis.levels.items():
        assert hollowness(analysis.bodies[level]) == pytest.approx(6 / 27, abs=0.02)
        assert summary.genant.grade == 0
        assert any(re.search(rf"{level} is 2\d % lower in its middle .*biconcave", w) for w in summary.warnings)
    plain = analyse(healthy_case)
    assert not any("lower in its middle" in w for summary in plain.levels.values() for w in summary.warnings)


def test_the_warning_of_a_hollow_body_claims_nothing_of_other_levels_where_there_are_none(hollow_case):
    labels = sitk.Cast(hollow_case.labels == hollow_case.label_values["L2"], sitk.sitkUInt8) * LEVEL_NUMBER["L2"]
    alone = replace(hollow_case, labels=labels, label_values={"L2": LEVEL_NUMBER["L2"]})
    warnings = analyse(alone).levels["L2"].warnings
    assert any("no other complete level" in w for w in warnings)
    assert any("loss it has no grade" in w and "other levels" not in w for w in warnings)


def test_a_cervical_level_is_told_why_it_has_no_grade():
    low = ((block, 14.0) for block in lumbar_blocks()[:3])
    neck = [replace(b, level=f"C{7 - i}", anterior=mm, posterior=mm) for i, (b, mm) in enumerate(low)]
    for level, summary in analyse(block_spine(neck)).levels.items():
        assert (summary.genant.grade, summary.neighbour_reference) == (0, None)
        assert any(w.startswith(f"{level}: cervical heights are not known") for w in summary.warnings)


def test_a_back_that_is_labelled_as_a_neck_is_refused():
    numbered_from_one = [replace(block, level=f"C{6 - i}") for i, block in enumerate(lumbar_blocks())]
    with pytest.raises(
        HealthiVertError, match=r"cervical vertebrae \(C3, C4, C5, C6\), but their bodies are 27 mm tall"
    ):
        analyse(block_spine(numbered_from_one))


def test_a_label_that_leaks_into_a_disc_makes_no_fracture_of_the_other_levels():
    """In few levels one that is half as tall again would outweigh the others."""
    leaking = {"L3": (40.0, 40.0)}
    found = analyse(block_spine(lumbar_blocks(**leaking)[:4])).levels
    assert all(summary.genant.grade == 0 and summary.suspicion < 0.1 for summary in found.values())
    assert found["L2"].neighbour_reference.mean == pytest.approx(27.0, rel=0.05)


def test_what_the_reference_rests_on_is_doubted_where_a_label_holds_too_much():
    analysis = analyse(block_spine(lumbar_blocks(L3=(40.0, 40.0))))
    told = reference_warnings("L1", analysis)
    assert told[0].startswith("L3 is ") and "more than L3 is labelled as it" in told[0]
    assert "the label of L3 is 1.4 times as large" in told[1] and len(told) == 2
    assert reference_warnings("L3", analysis) == []


def test_two_vertebrae_whose_disc_is_as_thin_as_a_cleft_are_not_measured_as_one():
    """Their arches hold the label together."""
    nearer = [replace(b, bottom=b.bottom - 3.0 * (b.level in ("L2", "L1", "T12"))) for b in lumbar_blocks()]
    case = block_spine(nearer)
    numbers = sitk.GetArrayFromImage(case.labels)
    both = (numbers == LEVEL_NUMBER["L3"]) | (numbers == LEVEL_NUMBER["L2"])
    rows, behind, _ = np.nonzero(both)
    lamina = np.arange(behind.max() - 24, behind.max() - 18)
    numbers[both] = LEVEL_NUMBER["L2"]
    numbers[rows.min() + 15 : rows.max() - 15, lamina[:, None], 40:50] = LEVEL_NUMBER["L2"]
    values = {level: value for level, value in case.label_values.items() if level != "L3"}
    found = analyse(replace(case, labels=on_grid_of(case, numbers), label_values=values)).levels
    assert found["L2"].heights.mean == pytest.approx(27.0, abs=1.0)
    assert all(summary.genant.grade == 0 for summary in found.values())


def test_a_hollow_body_needs_no_warning_if_it_has_a_grade_or_could_have_none(hollow_case):
    body = analyse(hollow_case).bodies["L2"]
    assert hollow_warnings(body, Genant(0, "normal")) and not hollow_warnings(body, Genant(1, "biconcave"))
    for other in (replace(body, complete=False), replace(body, level="C5")):
        assert not hollow_warnings(other, Genant(0, "normal"))


def test_of_a_lone_level_what_is_measured_of_people_of_its_size_is_expected():
    analysis = analyse(block_spine(lumbar_blocks()[2:3]))
    body = analysis.bodies["L3"]
    assert healthy_reference(analysis, "L3") == population("L3", endplate_size([body]))
    assert analysis.levels["L3"].neighbour_reference is None


def test_wide_endplates_let_expect_tall_vertebrae_but_only_a_third_as_much(healthy_case):
    wide = [replace(block, width=1.2 * block.width, depth=1.2 * block.depth) for block in lumbar_blocks()]
    bodies, wider = (analyse(case).bodies for case in (healthy_case, block_spine(wide)))
    assert endplate_size(wider.values()) - endplate_size(bodies.values()) == pytest.approx(np.log(1.2) / 3, abs=0.01)
    assert endplate_size([]) is None
