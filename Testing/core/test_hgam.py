"""The fracture classifier behind the attention map: Grad-CAM++, calibration, patches, training, attention."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from command_line_case import call, usable_weights, write_spine
from conftest import Block, block_spine, lumbar_blocks
from torch import nn

from healthivert.attention import everywhere, suspicion_beside
from healthivert.errors import HealthiVertError
from healthivert.hgam import train as hgam_training
from healthivert.hgam.attention import attention_by, place_into
from healthivert.hgam.batches import epoch_of_batches, pictures_of, vary
from healthivert.hgam.calibration import (
    Calibration,
    area_under_curve,
    expected_calibration_error,
    fit_calibration,
    reliability,
)
from healthivert.hgam.classifier import CLASSIFIERS, FractureClassifier, load_classifier
from healthivert.hgam.gradcam import grad_cam
from healthivert.hgam.patches import SIDE, LevelPatches, level_patches
from healthivert.hgam.realism import fracture_probability, looks_healthy_to, regrown_patches
from healthivert.hgam.samples import SpinePatches, load_patches, patches_path
from healthivert.hgam.train import ClassifierRecipe, level_logits, make_classifier, train_classifier, unseen_metrics
from healthivert.inspection import analyse
from healthivert.models.fracture import CnnSettings, FractureCnn
from healthivert.models.weights import load_weights, save_weights
from healthivert.phantom import level_grid, render, sample_spine, truth
from healthivert.pipeline import prepare
from healthivert.progress import quiet
from healthivert.training.samples import case_from_images
from healthivert.types import PseudoHealthy

BLOCKS = [
    Block(level, bottom, 26, 26) for level, bottom in (("L4", 0), ("L3", 34), ("L2", 68), ("L1", 102), ("T12", 136))
]


@pytest.fixture(scope="module")
def case_and_analysis():
    case = block_spine(BLOCKS)
    return case, analyse(case)


class TinyNetwork(nn.Module):
    """score = sum over places of a positive, a negative and a squared channel of the layer's output."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, pictures):
        out = self.features(pictures)
        return 0.5 * out[:, 0].sum(dim=(1, 2)) - 2.0 * out[:, 1].sum(dim=(1, 2)) + (out[:, 2] ** 2).sum(dim=(1, 2))


def test_grad_cam_gives_the_closed_form_on_a_tiny_network():
    torch.manual_seed(0)
    model, pictures = TinyNetwork(), torch.rand(2, 3, 4, 5)
    scores, maps = grad_cam(model, model.features, pictures)

    first, _, third = pictures.unbind(1)
    # channel 0: g is 0.5 everywhere; channel 1: g is negative, so it counts nothing; channel 2: g is 2 A
    weight_first = 20 * 0.5 * 0.5**2 / (2 * 0.5**2 + 0.5**3 * first.sum(dim=(1, 2)))
    g = 2 * third
    alpha = g**2 / (2 * g**2 + g**3 * third.sum(dim=(1, 2), keepdim=True))
    weight_third = (alpha * g).sum(dim=(1, 2))
    expected = weight_first[:, None, None] * first + weight_third[:, None, None] * third
    assert torch.allclose(maps, expected, atol=1e-5)
    assert torch.allclose(scores, model(pictures))


def test_grad_cam_works_on_frozen_weights_and_leaves_no_hook_behind():
    model = FractureCnn(CnnSettings(4)).eval().requires_grad_(False)
    pictures = torch.rand(2, 2, SIDE, SIDE)
    _, maps = grad_cam(model, model.features, pictures)
    assert maps.shape == (2, 12, 12) and (maps >= 0).all()
    assert not model.features._forward_hooks
    assert not model(pictures).requires_grad


def test_the_area_under_the_curve_counts_pairs_in_the_right_order():
    random = np.random.default_rng(0)
    true, scores = random.integers(0, 2, 60), random.integers(0, 8, 60)
    pairs = [
        (1.0 if a > b else 0.5 if a == b else 0.0) for a, b in itertools.product(scores[true == 1], scores[true == 0])
    ]
    assert area_under_curve(true, scores) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_curve(np.ones(3), np.arange(3)))


def test_calibration_finds_how_much_too_sure_and_how_far_off_logits_are():
    random = np.random.default_rng(1)
    honest = random.normal(-1, 2, 20000)
    true = random.random(20000) < 1 / (1 + np.exp(-honest))
    boastful = 3 * honest + 2
    found = fit_calibration(true, boastful)
    assert found.scale == pytest.approx(1 / 3, abs=0.03) and found.offset == pytest.approx(-2 / 3, abs=0.1)
    assert expected_calibration_error(true, found.probability(boastful)) < 0.02
    assert expected_calibration_error(true, Calibration().probability(boastful)) > 0.1


def test_calibration_stays_finite_when_the_logits_separate_perfectly():
    found = fit_calibration([0, 0, 1, 1], [-2.0, -1.0, 1.0, 2.0])
    assert 0 < found.scale < 100 and abs(found.offset) < 1


def test_the_reliability_table_holds_what_was_said_and_what_came_true():
    rows = reliability([0, 1, 1, 1], [0.05, 0.05, 0.95, 1.0])
    assert [(row.vertebrae, row.true_share) for row in rows] == [(2, 0.5), (2, 1.0)]
    assert expected_calibration_error([0, 1, 1, 1], [0.05, 0.05, 0.95, 1.0]) == pytest.approx(0.2375)


def test_a_patch_shows_the_body_in_its_middle_and_says_where_it_lies(case_and_analysis):
    case, analysis = case_and_analysis
    patches = level_patches(case, analysis, "L2")
    assert patches.ct.shape == patches.body.shape == (5, SIDE, SIDE)
    rows, columns = np.nonzero(patches.body[2])
    assert rows.mean() == pytest.approx(SIDE / 2 - 0.5, abs=1) and columns.mean() == pytest.approx(SIDE / 2, abs=2)
    assert rows.max() - rows.min() + 1 == pytest.approx(26, abs=1)
    straight = prepare(case, analysis, "L2").straight
    drawn = np.zeros(straight.bodies.shape, np.float32)
    place_into(drawn, patches.body, patches, straight, straight.bodies > 0)
    middle = drawn[:, :, patches.slices[0] : patches.slices[-1] + 1] > 0.5
    own = (straight.bodies == 21)[:, :, patches.slices[0] : patches.slices[-1] + 1]
    assert 2 * (middle & own).sum() / (middle.sum() + own.sum()) > 0.97


def test_maps_are_joined_between_their_slices_and_held_beside_the_outermost(case_and_analysis):
    straight = prepare(*case_and_analysis, "L2").straight
    volume = np.zeros((60, 64, 72), np.float32)
    maps = np.array([0.0, 1.0, 0.0], np.float32)[:, None, None] * np.ones((3, 10, 10), np.float32)
    patches = LevelPatches(maps, maps, straight.arc_start + 55.0, 20, (30, 34, 38))
    place_into(volume, maps, patches, straight, np.ones(volume.shape, bool))
    assert np.allclose(volume[55:, 20:30, 28:42], np.interp(np.arange(28, 42), (30, 34, 38), (0, 1, 0)), atol=1e-6)
    assert volume[:55].max() == 0 and volume[:, 30:].max() == 0 and volume[:, :20].max() == 0


class SeesUpperHalf(FractureClassifier):
    """Calls every level fractured with the given probability, at the upper half of its patch."""

    def __init__(self, probability: float) -> None:
        self.called, self.sure = [], probability

    def probability(self, patches):
        return self.sure

    def seen_at(self, patches):
        self.called.append(patches)
        where = np.zeros(patches.ct.shape, np.float32)
        where[:, SIDE // 2 :] = 1.0
        return self.sure, where


def test_attention_is_dimmed_where_the_fracture_was_seen_and_only_as_surely(case_and_analysis):
    case, analysis = case_and_analysis
    straight = prepare(case, analysis, "L2").straight
    attention = attention_by(SeesUpperHalf(0.8))(case, analysis, straight, "L2")
    assert attention.shape == straight.bodies.shape and attention.min() > 0.19 and attention.max() <= 1
    column = attention[:, 32, 36]
    target, above = (np.flatnonzero((straight.bodies == number).any(axis=(1, 2))) for number in (21, 20))
    assert column[target[6:-6]].min() > 0.99  # the target is withheld, not judged
    lower, upper = above[2:7], above[18:22]  # of a body of 26 rows
    assert column[lower].min() > 0.97 and column[upper].max() < 0.25


def test_attention_reaches_the_generator_through_the_gap(case_and_analysis):
    plain = prepare(*case_and_analysis, "L2").conditioning
    seen = prepare(*case_and_analysis, "L2", attention_by(SeesUpperHalf(1.0))).conditioning
    trusted = prepare(*case_and_analysis, "L2", everywhere).conditioning
    assert np.array_equal(plain.attention, prepare(*case_and_analysis, "L2", suspicion_beside).conditioning.attention)
    assert np.array_equal(trusted.attention, (trusted.mask == 0) * (trusted.attention > 0))
    assert (seen.attention < trusted.attention - 0.5).sum() > 5000
    assert np.array_equal(seen.ct, trusted.ct)


def test_run_takes_the_source_of_attention_that_is_asked_for(tmp_path, monkeypatch):
    scan = write_spine(tmp_path, lumbar_blocks(L1=(15.0, 25.0), L2=(13.0, 13.0)))
    weights = usable_weights(tmp_path)
    monkeypatch.setattr("healthivert.hgam.classifier.load_classifier", lambda: SeesUpperHalf(0.4))
    trust = {}
    for source in ("none", "suspicion", "hgam"):
        out = tmp_path / source
        assert call("run", *scan, "--vertebra", "L1", "--out", out, "--attention", source, *weights) == 0
        assert json.loads((out / "report.json").read_text(encoding="utf-8"))["attention"] == source
        trust[source] = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "conditioning" / "cam.nii.gz")))
    shown = trust["none"] == 1  # it is 0 where nothing is shown
    assert set(np.unique(trust["none"])) == {0, 1}
    assert trust["suspicion"][shown].min() < 0.2  # L2 has lost half of its height
    assert trust["hgam"][shown].min() == pytest.approx(0.6, abs=0.02)


def made_up(levels: int, seed: int, spine: int = 1) -> SpinePatches:
    """Bodies of even height; fractured ones have lost the upper front."""
    random = np.random.default_rng(seed)
    body = np.zeros((levels, 5, SIDE, SIDE), np.uint8)
    body[:, :, 12:36, 8:40] = 1
    fractured = random.integers(0, 2, levels).astype(np.uint8)
    body[fractured == 1, :, 26:36, 8:24] = 0
    ct = (120 + 60 * body + random.normal(0, 5, body.shape)).astype(np.uint8)
    loss = 0.4 * fractured.astype(np.float32)
    return SpinePatches(ct, body, fractured, loss, loss, np.full(levels, spine))


SMALL = ClassifierRecipe(epochs=3, batch_size=16)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_training_tells_collapsed_bodies_from_whole_ones(architecture, tmp_path):
    recipe = replace(SMALL, architecture=architecture, epochs=6)
    model = train_classifier(recipe, made_up(96, 0), tmp_path, quiet)
    test = made_up(40, 1)
    assert area_under_curve(test.fractured, level_logits(model, test)) > 0.95


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    patches = made_up(32, 0)
    whole = train_classifier(SMALL, patches, tmp_path / "whole", quiet)

    class Stopped(Exception):
        pass

    def stop(stage, fraction, message):
        if fraction > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        train_classifier(SMALL, patches, tmp_path / "stopped", stop)
    said = []
    again = train_classifier(SMALL, patches, tmp_path / "stopped", lambda *step: said.append(step))
    assert len(said) == 1  # two of three epochs were done
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_classifier_is_trained_calibrated_and_tested_on_spines_of_its_own(tmp_path, monkeypatch):
    asked: list[tuple[int, ...]] = []

    def patches_of(folder: object, seeds: Iterable[int]) -> SpinePatches:
        asked.append(tuple(seeds))
        return made_up(32, len(asked))

    monkeypatch.setattr(hgam_training, "make_patches", lambda *_: None)
    monkeypatch.setattr(hgam_training, "load_patches", patches_of)
    fitted = []
    fit = hgam_training.fit_calibration
    monkeypatch.setattr(
        hgam_training, "fit_calibration", lambda true, logits: fitted.append(true.tolist()) or fit(true, logits)
    )
    card = make_classifier(replace(SMALL, epochs=1), tmp_path, tmp_path / "w.safetensors", 1, quiet)
    recipe = replace(SMALL, epochs=1)
    assert asked == [tuple(recipe.training_seeds), tuple(recipe.calibration_seeds), tuple(recipe.test_seeds)]
    assert fitted == [made_up(32, 2).fractured.tolist()]
    assert card["metrics"]["levels"] == 32 and card["metrics"]["fractured"] == int(made_up(32, 3).fractured.sum())


def test_a_run_with_other_settings_is_refused(tmp_path):
    train_classifier(replace(SMALL, epochs=1), made_up(16, 0), tmp_path, quiet)
    with pytest.raises(HealthiVertError, match="another epochs, learning_rate"):
        train_classifier(replace(SMALL, learning_rate=1e-4), made_up(16, 0), tmp_path, quiet)


def test_every_level_comes_once_an_epoch_and_otherwise_in_the_next(tmp_path):
    pictures, fractured = pictures_of(made_up(20, 3)), torch.arange(20.0)
    orders = [
        torch.cat([true for _, true in epoch_of_batches(pictures, fractured, 8, (0, epoch))]) for epoch in (0, 0, 1)
    ]
    assert torch.equal(orders[0].sort().values, fractured)
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])


def test_variation_keeps_front_and_top_where_they_are():
    pictures = pictures_of(made_up(30, 4))[:, 0]
    varied = vary(pictures, torch.Generator().manual_seed(0))
    assert varied.shape == pictures.shape and varied[:, 0].abs().max() <= 1 and not torch.equal(varied, pictures)
    fractured = made_up(30, 4).fractured == 1
    front, back = (varied[fractured, 1][:, 28:33, columns].mean() for columns in (slice(10, 20), slice(28, 38)))
    assert back > front + 0.5


def test_the_metrics_of_unseen_spines_stand_beside_the_suspicion_of_the_heights():
    parts = [made_up(20, seed, spine=seed) for seed in range(4)]
    patches = SpinePatches(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    found = unseen_metrics(patches, patches.fractured * 2.0 - 1.0, Calibration(3.0, 0.0), 0)
    assert found["auc"] == 1.0 and found["auc_suspicion"] == 1.0 and found["auc_interval"] == (1.0, 1.0)
    assert found["ece"] < 0.1 < found["ece_uncalibrated"]
    assert found["levels"] == 80 and found["fractured"] == int(patches.fractured.sum())
    json.dumps(found)


def test_a_damaged_file_of_patches_is_named(tmp_path):
    patches_path(tmp_path, 7).write_bytes(b"PK\x03\x04 half of a file")
    with pytest.raises(HealthiVertError, match="spine_000007"):
        load_patches(tmp_path, [7])


def test_a_written_classifier_comes_back_with_its_calibration(tmp_path, case_and_analysis):
    path = tmp_path / "own.safetensors"
    model = FractureCnn(CnnSettings(4))
    save_weights(path, model, {"calibration": {"scale": 2.0, "offset": -0.5}})
    classifier = load_classifier(path)
    assert classifier.calibration == Calibration(2.0, -0.5)
    patches = level_patches(*case_and_analysis, "L2")
    probability, seen_at = classifier.seen_at(patches)
    assert probability == pytest.approx(classifier.probability(patches), abs=1e-5)
    assert seen_at.shape == patches.ct.shape and seen_at.max() in (0, 1)


def test_a_classifier_is_no_generator_and_a_card_without_calibration_no_classifier(tmp_path):
    path = tmp_path / "own.safetensors"
    save_weights(path, FractureCnn(CnnSettings(4)), {})
    with pytest.raises(HealthiVertError, match="fracture_cnn"):
        load_weights(path)
    with pytest.raises(HealthiVertError, match="calibration"):
        load_classifier(path)


def test_attention_is_refused_to_a_classifier_without_a_feature_map(case_and_analysis):
    classifier = FractureClassifier(CLASSIFIERS["fracture_vit"]().eval(), Calibration())
    with pytest.raises(HealthiVertError, match="convolutional"):
        classifier.seen_at(level_patches(*case_and_analysis, "L2"))


def drawn_vertebra(height_mm: float) -> PseudoHealthy:
    """A block that fills the gap, and a bright sheet six rows above it."""
    body = np.zeros((96, 64, 72), np.float32)
    body[32:64, 14:46, 15:57] = 1.0
    ct = np.where(body > 0, 300.0, 0.0).astype(np.float32)
    ct[70] = 800.0
    return PseudoHealthy(ct, body, height_mm)


@pytest.mark.parametrize("height_mm", [16.0, 24.0, 32.0])
def test_a_drawn_vertebra_is_judged_at_its_predicted_height(height_mm):
    patches = regrown_patches(drawn_vertebra(height_mm), 1.0)
    assert patches.ct.shape == patches.body.shape == (5, SIDE, SIDE)
    rows, columns = np.nonzero(patches.body[2])
    assert rows.max() - rows.min() + 1 == pytest.approx(height_mm, abs=1)
    assert (columns.min(), columns.max()) == (8, 39)
    if height_mm < 32:
        sheet = patches.ct[2, :, 24].argmax()
        assert sheet == pytest.approx(SIDE / 2 + height_mm / 2 + 6, abs=1)


def test_a_drawn_vertebra_gets_the_classifiers_probability():
    class Area(nn.Module):
        def forward(self, pictures):
            return pictures[:, 1].mean(dim=(1, 2))

    classifier = FractureClassifier(Area(), Calibration(-100.0, 33.0))
    tall, flat = (fracture_probability(classifier, drawn_vertebra(height), 1.0) for height in (30.0, 12.0))
    assert tall < 0.05 and flat > 0.95
    accept = looks_healthy_to(classifier)
    assert accept(drawn_vertebra(30.0), 1.0) and not accept(drawn_vertebra(12.0), 1.0)


def test_the_shipped_classifier_tells_a_severe_fracture_from_its_healthy_twin():
    seen = ("T12", "L1", "L2")
    broken = sample_spine(45012, True, ("L1",), fracture_count=(1, 1), no_grade=0.0)
    assert truth(broken)["levels"][0]["genant"] == 3
    classifier, said = load_classifier(), []
    for spine in (broken, broken.healthy_twin()):
        spine = replace(spine, levels=seen)
        picture = render(spine, level_grid(spine, "L1", (100.0, 110.0, 130.0), 1.5), spine.scanner)
        case = case_from_images(picture.ct, picture.labels, "phantom")
        said.append(classifier.probability(level_patches(case, analyse(case), "L1")))
    assert said[0] > 0.8 and said[1] < 0.2
