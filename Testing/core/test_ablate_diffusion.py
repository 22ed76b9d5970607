"""The ablation of the diffusion model: what it compares with is the product itself, and variants do as named."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from slice_batches import batch_of
from torch import Tensor
from training_case import TINY_DIFFUSION, elliptic_vertebra, write_vertebrae

from healthivert.gap import from_window
from healthivert.models.diffusion import DiffusionGenerator, DiffusionSettings
from healthivert.models.interface import SliceBatch
from healthivert.training.batches import StepBatches
from healthivert.training.diffusion_task import DiffusionRun
from healthivert.training.samples import save_sample
from healthivert.training.slices import SliceDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import ablate_diffusion as ablation
import diffusion_variants as variants

pytestmark = pytest.mark.usefixtures("one_thread")


def lively(model: DiffusionGenerator) -> DiffusionGenerator:
    """With heads, 0 when untrained, that say something."""
    random = torch.Generator().manual_seed(0)
    for head in (model.unet.noise_head[-1], model.unet.segmentation_head[-1], model.unet.height.linear):
        torch.nn.init.normal_(head.weight, std=0.5, generator=random)
    return model.eval()


def ablated(**differences: object) -> variants.AblatedGenerator:
    torch.manual_seed(0)
    return lively(variants.AblatedGenerator(variants.Variant(**{"strides": 3, **differences}), width=8))


def seen_by_the_network(model: variants.AblatedGenerator, batch: SliceBatch) -> list[Tensor]:
    """Every x_t of a drawing."""
    samples: list[Tensor] = []
    model.unet.register_forward_pre_hook(lambda module, given: samples.append(given[0].clone()))
    model(batch)
    return samples


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> SliceDataset:
    folder = write_vertebrae(tmp_path_factory.mktemp("shards"), 2)
    return SliceDataset(ablation.shards_in(folder))


def test_the_reference_draws_exactly_what_the_product_draws():
    batch = batch_of()
    torch.manual_seed(0)
    product = lively(DiffusionGenerator(DiffusionSettings(width=8, steps=3, prediction="v")))(batch, 5)
    ours = ablated()(batch, 5)
    for name in ("x_stage2", "fine_seg", "pred2_h"):
        assert torch.equal(getattr(ours, name), getattr(product, name))


@pytest.mark.parametrize("prediction", ["v", "epsilon", "x0"])
def test_the_reference_learns_exactly_what_the_product_learns(data, prediction):
    settings = replace(TINY_DIFFUSION, generator=DiffusionSettings(width=8, prediction=prediction))
    product = DiffusionRun(settings, torch.device("cpu"))
    ours = variants.AblatedRun(settings, variants.Variant(prediction=prediction))
    batches = StepBatches(data, settings.augmentation, settings.seed, range(settings.batch_size))
    for step in range(3):
        assert torch.equal(ours.train_step(batches[step])["total"], product.train_step(batches[step])["total"])
    assert all(map(torch.equal, ours.average.state_dict().values(), product.average.state_dict().values()))


def test_a_tanh_keeps_the_output_within_one():
    batch, sample = batch_of(), 3 * torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    assert ablated().denoise(sample, 500, batch).output.abs().max() > 1
    assert ablated(tanh=True).denoise(sample, 500, batch).output.abs().max() <= 1


@pytest.mark.parametrize("everywhere", [True, False])
def test_noise_lies_beside_the_gap_only_where_the_variant_says_so(everywhere):
    batch = batch_of()
    outside = batch.mask == 0
    for x_t in seen_by_the_network(ablated(noise_everywhere=everywhere), batch):
        assert bool(x_t[outside].any()) is everywhere


def test_without_anatomy_in_the_channels_only_mask_attention_and_ratio_matter():
    model = ablated(noise_everywhere=True, sees_anatomy=False, diffuses_change=False)
    batch, other = batch_of(seed=1, plane=0.0), batch_of(seed=2, plane=1.0)
    other = replace(other, prior_body=1 - other.prior_body)
    here, there = model(batch), model(other)
    inside = batch.mask > 0
    assert not torch.equal(batch.ct, other.ct)
    assert torch.equal(here.x_stage2[inside], there.x_stage2[inside])
    assert torch.equal(here.fine_seg, there.fine_seg) and torch.equal(here.pred2_h, there.pred2_h)
    assert not torch.equal(model(replace(batch, attention=0.5 * batch.attention)).x_stage2, here.x_stage2)


@pytest.mark.parametrize("variant", [v for v in variants.VARIANTS.values() if v.weights_of is None])
def test_what_is_diffused_stands_for_the_picture_in_the_gap(variant):
    batch = batch_of()
    near_the_prior = torch.rand(batch.ct.shape, generator=torch.Generator().manual_seed(3)) - 0.5
    truth = batch.mask * (batch.prior_ct + near_the_prior).clamp(-1, 1) + (1 - batch.mask) * batch.ct
    model = variants.AblatedGenerator(variant, width=8)
    torch.testing.assert_close(model.decoded(model.encoded(truth, batch), batch), truth)


def test_slices_have_one_noise_field_or_each_its_own():
    batch = batch_of()
    shared, own = ablated().noise(batch, 0), ablated(noise_of_its_own=True).noise(batch, 0)
    assert torch.equal(shared[0], shared[1])
    assert not torch.equal(own[0], own[1])


def test_the_first_pass_answers_to_noise_alone_at_the_last_timestep():
    model, batch = ablated(), batch_of()
    seen: list[tuple] = []
    model.unet.register_forward_pre_hook(lambda module, given: seen.append(given))
    answer = model.first_pass(batch, 4)
    ((x_t, timesteps, _),) = seen
    assert torch.equal(x_t, batch.mask * model.noise(batch, 4)) and set(timesteps.tolist()) == {999}
    assert torch.equal(answer.x_stage2[batch.mask == 0], batch.ct[batch.mask == 0])


def test_an_absolute_height_head_is_taught_and_read_in_its_own_measure(tmp_path):
    sample = elliptic_vertebra(0)
    save_sample(sample, tmp_path / "sample_0000_L1.npz")
    true_mm = sample.conditioning.reference_mm * math.exp(sample.log_height_ratio)
    assert variants.absolute_heights([tmp_path / "sample_0000_L1.npz"])[0] == pytest.approx(math.log(true_mm / 25))
    model = variants.AblatedGenerator(variants.Variant(absolute_height=True, strides=2), width=8).eval()
    untrained = 100 * abs(25 / true_mm - 1)  # heads start at 0
    assert ablation.score(model, sample)["height_error"] == pytest.approx(untrained, rel=1e-4)


def test_a_perfect_answer_scores_as_one_and_an_answer_that_is_no_number_as_none():
    sample = elliptic_vertebra(0)
    truth = from_window(sample.target_ct)
    perfect = ablation.compared(truth, sample.target_body, variants.true_height(sample), sample)
    assert (perfect["dice"], perfect["l1_hu"]) == (1, 0) and perfect["height_error"] == pytest.approx(0, abs=1e-9)
    assert perfect["fused_flicker_hu"] == perfect["true_flicker_hu"] > 0
    lost = ablation.compared(np.full_like(truth, np.nan), sample.target_body, 25.0, sample)
    assert all(math.isnan(value) for value in lost.values())


def test_the_model_is_judged_without_the_prior():
    sample = elliptic_vertebra(0)
    model = variants.AblatedGenerator(variants.Variant(strides=2, sees_anatomy=False), width=8).eval()
    assert ablation.score(model, sample)["dice"] == 0  # untold, an untrained model draws no body at all
    assert ablation.neighbours_alone(sample)["dice"] > 0.5


def test_the_script_keeps_its_rows_and_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    training = write_vertebrae(tmp_path / "training", 2)
    (tmp_path / "others").mkdir()
    save_sample(elliptic_vertebra(7), tmp_path / "others" / "sample_0007_L1.npz")
    others = ["--held-out", str(tmp_path / "others"), "--work", str(tmp_path / "work")]
    small = ["--steps", "2", "--batch-size", "2", "--only", "5 strides"]
    words = ["--data", str(training), *others, *small]
    monkeypatch.setattr(ablation, "FIELDS", ((96, 64),))
    ablation.main(words)
    printed = capsys.readouterr().out
    assert "5 strides: " in printed and "| 96 x 64 |" in printed and "| x0-prediction" not in printed
    monkeypatch.setattr(ablation, "trained", pytest.fail)
    ablation.main(words)
    assert printed.endswith(capsys.readouterr().out)
    kept = json.loads((tmp_path / "work" / "rows.json").read_text())
    assert set(kept["rows"]) == {ablation.NEIGHBOURS, "5 strides"}
    with pytest.raises(ablation.HealthiVertError, match="other settings"):
        ablation.main([*words, "--steps", "3"])


def test_a_training_that_diverges_is_said_in_its_row(tmp_path, monkeypatch, capsys):
    training = write_vertebrae(tmp_path / "training", 2)
    (tmp_path / "others").mkdir()
    save_sample(elliptic_vertebra(7), tmp_path / "others" / "sample_0007_L1.npz")
    losses = variants.ablated_losses
    monkeypatch.setattr(variants, "ablated_losses", lambda *a: {k: v * math.nan for k, v in losses(*a).items()})
    monkeypatch.setattr(ablation, "FIELDS", ((96, 64),))
    words = ["--data", str(training), "--held-out", str(tmp_path / "others"), "--work", str(tmp_path / "work")]
    ablation.main([*words, "--steps", "2", "--batch-size", "2", "--only", "x0-prediction"])
    assert "| x0-prediction | - | - | - | - | - | training diverged at step 1 |" in capsys.readouterr().out


def test_vertebrae_are_spread_over_spines_and_levels(tmp_path):
    for name in ("sample_1_L1", "sample_1_L3", "sample_1_T8", "sample_2_L1", "sample_2_L3"):
        (tmp_path / f"{name}.npz").touch()
    (tmp_path / "sample_3_L1.npz.partial-7").touch()
    assert [path.stem for path in ablation.chosen_shards(tmp_path, 1)] == ["sample_1_L1", "sample_2_L3"]
    two = [path.stem for path in ablation.chosen_shards(tmp_path, 2)]
    assert two == ["sample_1_L1", "sample_1_L3", "sample_2_L3", "sample_2_L1"]


def test_every_variant_but_the_reference_differs_from_it():
    reference = variants.VARIANTS[variants.REFERENCE]
    names = [field.name for field in fields(reference)]
    for name, variant in variants.VARIANTS.items():
        different = [n for n in names if getattr(variant, n) != getattr(reference, n)]
        assert bool(different) is (name != variants.REFERENCE)
