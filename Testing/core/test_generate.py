"""From a conditioning to a vertebra: slices of both planes, threads, redraws, and who has a say in the height."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Block, block_spine

from healthivert.commands import GeneratorChoice, load_generator
from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, from_window
from healthivert.generate import LARGEST_LOG_RATIO, Drawing, averaged, height_head_helps, redraw_seeds, sampler
from healthivert.inspection import analyse
from healthivert.models.interface import GeneratorOutput
from healthivert.pipeline import prepare, regrow
from healthivert.progress import quiet

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def case_and_analysis():
    bottoms = {"L4": 0, "L3": 34, "L2": 68, "L1": 102, "T12": 136}
    case = block_spine([Block(level, bottom, 26, 26) for level, bottom in bottoms.items()])
    return case, analyse(case)


class Counting:
    """A generator that draws the same upright vertebra and counts how often it is asked."""

    def __init__(self, log_ratio: float = 0.0) -> None:
        self.seeds: list[int] = []
        self.log_ratio = log_ratio

    def __call__(self, batch, seed=0):
        self.seeds.append(seed)
        body = torch.zeros_like(batch.ct)
        body[:, :, 32:64, 12:52] = 1.0
        heights = torch.full((len(body),), self.log_ratio)
        flow = torch.zeros(len(body), 2, 12, 8)
        return GeneratorOutput(body, body, batch.ct, batch.ct, flow, heights, heights)


@pytest.mark.parametrize(
    ("answers", "rejected", "accepted"),
    [([True], 0, True), ([False, False, True], 2, True), ([False] * 4, 4, False)],
)
def test_a_drawing_that_is_refused_is_drawn_again_and_counted(case_and_analysis, answers, rejected, accepted):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    model, left = Counting(), list(answers)
    generate = sampler(model, CPU, 1, 5, lambda vertebra, spacing_mm: left.pop(0))
    (vertebra,) = generate(conditioning)
    assert (vertebra.rejected, vertebra.accepted) == (rejected, accepted)
    assert not left  # asked as often as expected, and never more than three redraws
    assert list(dict.fromkeys(model.seeds)) == [5, *redraw_seeds(5)][: len(answers)]


@pytest.mark.parametrize("samples", [2, 3])
def test_the_answer_is_the_same_whatever_the_number_of_samples_though_it_was_drawn_again(samples, case_and_analysis):
    conditioning = prepare(*case_and_analysis, "L2").conditioning

    def first_of(count: int):
        left = [False, False, *[True] * count]
        return sampler(Counting(), CPU, count, 5, lambda vertebra, spacing_mm: left.pop(0))(conditioning)[0]

    alone, one_of_some = first_of(1), first_of(samples)
    assert alone.rejected == one_of_some.rejected == 2
    assert np.array_equal(alone.ct, one_of_some.ct) and np.array_equal(alone.body, one_of_some.body)


def test_the_spread_of_the_loss_is_how_far_the_others_lie_from_the_answer(case_and_analysis):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    plain = sampler(Counting(), CPU, 1, 5)(conditioning)[0]
    taller = replace(plain, height_mm=1.1 * plain.height_mm)
    lost = regrow(*case_and_analysis, "L2", lambda given: [plain, taller, taller], quiet).loss
    other = regrow(*case_and_analysis, "L2", lambda given: [taller], quiet).loss
    assert lost.rhlv_sd.mean == pytest.approx(abs(other.rhlv.mean - lost.rhlv.mean), rel=1e-6)


def test_what_is_judged_is_what_is_shown(case_and_analysis):
    """With the thirds that are expected, which the drawing has not."""
    conditioning = replace(prepare(*case_and_analysis, "L2").conditioning, reference_thirds=(30.0, 26.0, 22.0))
    judged = []

    def accept(vertebra, spacing_mm):
        judged.append(vertebra)
        return True

    shown = sampler(Counting(), CPU, 2, 5, accept)(conditioning)
    plain = sampler(Counting(), CPU, 1, 5)(replace(conditioning, reference_thirds=None))[0]
    assert not np.array_equal(shown[0].body, plain.body)
    for one, other in zip(judged, shown, strict=True):
        assert np.array_equal(one.body, other.body) and np.array_equal(one.ct, other.ct)


def test_a_vertebra_that_never_looks_healthy_is_the_plain_drawing_with_a_warning(case_and_analysis):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    plain = sampler(Counting(), CPU, 1, 0)(conditioning)[0]
    doubtful = sampler(Counting(), CPU, 1, 0, lambda vertebra, spacing_mm: False)(conditioning)[0]
    assert np.array_equal(plain.body, doubtful.body) and np.array_equal(plain.ct, doubtful.ct)
    outcome = regrow(*case_and_analysis, "L2", lambda given: [doubtful, doubtful], quiet)
    assert outcome.rejected_samples == 8
    assert any("looks fractured itself" in warning for warning in outcome.loss.warnings)
    half = regrow(*case_and_analysis, "L2", lambda given: [plain, doubtful], quiet)
    assert half.rejected_samples == 4
    assert "L2 was drawn again 4 times, because it looked fractured" in half.loss.warnings
    assert not any("looks fractured itself" in warning for warning in half.loss.warnings)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", ["gan", "diffusion"])
def test_the_numbers_are_the_same_with_any_number_of_threads(case_and_analysis, three_threads, model):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    generate = load_generator(GeneratorChoice(model)).generate
    (together,) = generate(conditioning)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    (alone,) = generate(conditioning)
    assert np.array_equal(together.ct, alone.ct) and np.array_equal(together.body, alone.body)
    assert together.height_mm == alone.height_mm


def test_torchs_threads_draw_a_batch_each(case_and_analysis, three_threads):
    drawing, met = set(), threading.Barrier(3, timeout=60)

    class Waiting(Counting):
        """Draws only when three threads draw at the same time; each of them may use one."""

        def __call__(self, batch, seed=0):
            if threading.get_ident() not in drawing:
                drawing.add(threading.get_ident())
                met.wait()
            assert torch.get_num_threads() == 1
            return super().__call__(batch, seed)

    sampler(Waiting(), CPU, 1, 0)(prepare(*case_and_analysis, "L2").conditioning)
    assert len(drawing) == 3


@pytest.mark.parametrize(
    ("metrics", "helps"),
    [
        ({"height_error": 1.8, "baseline_height_error": 2.4, "height_gain_at_least": 0.2}, True),
        ({"height_error": 1.8, "baseline_height_error": 2.4, "height_gain_at_least": -0.1}, False),
        ({"height_error": 1.8, "baseline_height_error": 2.4}, False),
        ({}, False),
    ],
)
def test_a_model_has_a_say_in_the_height_only_if_its_validation_shows_that_it_helps(case_and_analysis, metrics, helps):
    assert height_head_helps({"metrics": metrics}) is helps
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    model = Counting(log_ratio=0.1)
    height = sampler(model, CPU, 1, 0, height_head=helps)(conditioning)[0].height_mm
    assert height == pytest.approx(conditioning.reference_mm * (np.exp(0.1) if helps else 1.0))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_model_counts_for_its_share_and_the_neighbours_for_the_rest(case_and_analysis, share):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    drawn, gap = np.full_like(conditioning.ct, 0.5), slice(*GAP)
    planes = Drawing(drawn, np.ones_like(drawn), np.ones_like(drawn))
    found = averaged(planes, 26.0, conditioning, share)
    expected = share * 0.5 + (1 - share) * conditioning.prior_ct
    assert found.ct[gap] == pytest.approx(from_window(expected[gap]), abs=1e-2)
    assert found.body[gap] == pytest.approx(share + (1 - share) * conditioning.prior_body[gap], abs=1e-6)
    assert found.ct[: GAP[0]] == pytest.approx(from_window(conditioning.prior_ct[: GAP[0]]), abs=1e-2)


def test_a_height_head_that_went_astray_is_not_followed(case_and_analysis):
    conditioning = prepare(*case_and_analysis, "L2").conditioning
    for said in (3.0, -3.0):
        height = sampler(Counting(log_ratio=said), CPU, 1, 0)(conditioning)[0].height_mm
        assert abs(np.log(height / conditioning.reference_mm)) == pytest.approx(LARGEST_LOG_RATIO)


def test_an_unknown_source_of_attention_is_refused():
    with pytest.raises(HealthiVertError, match=r"--attention guess: no such source; use one of suspicion, hgam, none"):
        load_generator(GeneratorChoice(attention="guess"))
