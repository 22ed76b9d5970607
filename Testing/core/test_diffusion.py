"""The diffusion generator: what it is told, what it draws, what it is trained by."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from slice_batches import batch_of, conditioning_of
from torch import Tensor
from training_case import TINY_DIFFUSION

from healthivert.errors import HealthiVertError
from healthivert.models.diffusion import (
    DiffusionGenerator,
    DiffusionLossWeights,
    DiffusionSettings,
    diffusion_losses,
)
from healthivert.models.diffusion.generator import LARGEST_CHANGE, change_of, drawn, shared_noise
from healthivert.models.diffusion.losses import SNR_CEILING, min_snr_weight
from healthivert.models.diffusion.scheduler import PREDICTIONS, SCHEDULES, DDPMScheduler, SchedulerSettings
from healthivert.models.diffusion.unet import sinusoids
from healthivert.models.interface import GeneratorOutput, SliceBatch
from healthivert.models.losses import SliceTargets, total_loss
from healthivert.models.weights import load_weights, save_weights
from healthivert.training.checkpoint import load_checkpoint
from healthivert.training.diffusion_task import DiffusionTrainerSettings, spread_timesteps
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.recipe import trainer_settings
from healthivert.training.samples import TrainingSample, save_sample
from healthivert.training.trainer import export, train

pytestmark = pytest.mark.usefixtures("one_thread")


def targets_for(batch: SliceBatch) -> SliceTargets:
    body = torch.zeros_like(batch.ct)
    body[:, :, 36:60, 16:48] = 1
    neighbours = torch.zeros_like(body)
    neighbours[:, :, :28, 16:48] = 1
    count = body.shape[0]
    ct = batch.mask * (0.4 * body - 0.4) + (1 - batch.mask) * batch.ct  # within LARGEST_CHANGE of the prior
    distance = torch.where(body > 0, -0.5, 0.5)
    return SliceTargets(ct, body, neighbours, distance, torch.full((count,), 0.05), torch.ones(count))


def lively(settings: DiffusionSettings) -> DiffusionGenerator:
    """A generator whose heads, 0 when untrained, say something."""
    torch.manual_seed(0)
    model = DiffusionGenerator(settings)
    for head in (model.unet.noise_head[-1], model.unet.segmentation_head[-1], model.unet.height.linear):
        torch.nn.init.normal_(head.weight, std=0.1)
    return model.eval()


def tensors_of(output: GeneratorOutput) -> dict[str, Tensor]:
    return {field.name: getattr(output, field.name) for field in fields(output)}


@pytest.fixture(scope="module")
def generator() -> DiffusionGenerator:
    return lively(DiffusionSettings(width=8, steps=5))


@pytest.mark.parametrize(("width", "plane"), [(64, 0.0), (72, 1.0)])
def test_one_generator_serves_both_planes_within_the_ranges_of_the_interface(generator, width, plane):
    output = generator(batch_of(3, width, plane))
    for image in (output.x_stage1, output.x_stage2, output.coarse_seg, output.fine_seg):
        assert image.shape == (3, 1, 96, width)
        assert image.min() >= -1 and image.max() <= 1
    for seg in (output.coarse_seg, output.fine_seg):
        assert seg.min() >= 0
    assert output.pred1_h.shape == output.pred2_h.shape == (3,)
    assert output.offset_flow.shape == (3, 2, 12, width // 8) and not output.offset_flow.any()


def test_only_the_gap_of_any_image_that_the_network_sees_holds_noise(generator):
    batch, seen = batch_of(), []
    known = batch.mask == 0
    hook = generator.unet.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    output = generator(batch)
    hook.remove()
    assert [int(timesteps[0]) for _, timesteps in seen] == [999, 749, 500, 250, 0]
    for x_t, _ in seen:
        assert not x_t[known].any() and (x_t[~known] != 0).float().mean() > 0.9
    for ct in (output.x_stage1, output.x_stage2):
        assert torch.equal(ct[known], batch.ct[known])
    assert (output.fine_seg[known] == 0).all()


def test_the_stages_are_what_the_network_believes_half_way_and_at_the_end(generator):
    batch, seen = batch_of(), []
    hook = generator.unet.register_forward_hook(lambda _, inputs, denoised: seen.append((inputs, denoised)))
    output = generator(batch)
    hook.remove()
    gap = batch.mask > 0
    for number, t, ct, height in (
        (2, 500, output.x_stage1, output.pred1_h),
        (4, 0, output.x_stage2, output.pred2_h),
    ):
        inputs, denoised = seen[number]
        believed = generator.scheduler.predict_x0(denoised.output, t, inputs[0])
        torch.testing.assert_close(ct[gap], drawn(believed, batch)[gap], atol=1e-6, rtol=0)
        assert torch.equal(height, denoised.log_height_ratio)
    torch.testing.assert_close(output.coarse_seg, torch.sigmoid(seen[2][1].coarse_logit))
    torch.testing.assert_close(output.fine_seg, batch.mask * torch.sigmoid(seen[4][1].fine_logit))


def test_the_same_seed_draws_the_same_and_another_seed_another(generator):
    batch = batch_of()
    first, again, other = (tensors_of(generator(batch, seed)) for seed in (3, 3, 4))
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
    assert not torch.allclose(first["x_stage2"], other["x_stage2"], atol=1e-3)


def test_drawing_leaves_the_random_numbers_of_the_program_alone(generator):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    generator(batch_of(1))
    assert torch.equal(torch.rand(3), expected)


def test_neighbouring_slices_share_their_noise_whatever_batch_they_are_in(generator):
    noise = shared_noise(batch_of(3), seed=5)
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2])
    assert torch.equal(noise[:1], shared_noise(batch_of(1), seed=5))
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    one = batch_of(1)
    two_alike = SliceBatch(**{f.name: getattr(one, f.name).expand(2, -1, -1, -1) for f in fields(one)})
    both = generator(two_alike).x_stage2
    torch.testing.assert_close(both[0], both[1])
    alone = generator(SliceBatch(**{f.name: getattr(two_alike, f.name)[:1] for f in fields(two_alike)}))
    torch.testing.assert_close(alone.x_stage2[0], both[0], atol=1e-4, rtol=0)  # a twentieth of a HU


def test_the_untrained_model_says_exactly_the_neighbours_height_and_nothing_else_by_chance():
    model, batch = DiffusionGenerator(DiffusionSettings(width=8, steps=2)), batch_of()
    output = model(batch)
    assert not output.pred1_h.any() and not output.pred2_h.any()
    untrained = model.denoise(batch.ct, 500, batch)
    assert not untrained.output.any() and not untrained.coarse_logit.any()
    assert torch.equal(untrained.fine_logit > 0, batch.prior_body > 0.5)


@pytest.mark.parametrize(
    "changed", ["ct", "mask", "attention", "prior_ct", "prior_body", "outline", "slice_ratio", "plane"]
)
def test_everything_it_is_told_changes_its_answer(generator, changed):
    batch, x_t = batch_of(), torch.zeros(2, 1, 96, 64)
    other = replace(batch, **{changed: getattr(batch, changed) * 0.5 + 0.2})
    with torch.no_grad():
        first, second = generator.denoise(x_t, 500, batch), generator.denoise(x_t, 500, other)
    for name in ("output", "coarse_logit", "fine_logit", "log_height_ratio"):
        assert not torch.allclose(getattr(first, name), getattr(second, name), atol=1e-6, rtol=0), name


def test_the_timestep_of_each_sample_reaches_that_sample_alone(generator):
    batch, x_t = batch_of(), torch.zeros(2, 1, 96, 64)
    with torch.no_grad():
        both = generator.denoise(x_t, torch.tensor([10, 900]), batch)
        early, late = generator.denoise(x_t, 10, batch), generator.denoise(x_t, 900, batch)
    torch.testing.assert_close(both.output[0], early.output[0])
    torch.testing.assert_close(both.output[1], late.output[1])
    assert not torch.allclose(early.output, late.output, atol=1e-4, rtol=0)


def test_no_two_timesteps_are_told_alike():
    told = sinusoids(torch.arange(1000))
    distances = torch.cdist(told, told) + 10 * torch.eye(1000)
    assert told.shape == (1000, 32) and distances.min() > 0.05


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_gradients_reach_every_parameter(prediction):
    model = lively(DiffusionSettings(width=8, prediction=prediction)).train()
    batch = batch_of()
    losses = diffusion_losses(model, batch, targets_for(batch), torch.tensor([20, 400]), torch.randn_like(batch.ct))
    total_loss(losses, DiffusionLossWeights()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_answer_costs_nothing_and_every_loss_is_of_one_sample(prediction, monkeypatch):
    model = DiffusionGenerator(DiffusionSettings(width=8, prediction=prediction))
    batch, noise = batch_of(), torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(1))
    targets, timesteps = targets_for(batch), torch.tensor([20, 700])
    truth = change_of(targets.ct, batch)
    denoised = model.denoise(truth, timesteps, batch)
    certain = 1e4 * (2 * torch.stack([targets.neighbours, targets.body]) - 1)
    perfect = replace(
        denoised,
        output=model.scheduler.target(truth, noise, timesteps),
        coarse_logit=certain[0],
        fine_logit=certain[1],
        log_height_ratio=targets.log_height_ratio,
    )
    spoilt = replace(perfect, output=perfect.output + torch.tensor([0.0, 0.5]).view(2, 1, 1, 1))
    answers = iter((perfect, spoilt))
    monkeypatch.setattr(model, "denoise", lambda *_: next(answers))
    right = diffusion_losses(model, batch, targets, timesteps, noise)
    wrong = diffusion_losses(model, batch, targets, timesteps, noise)
    assert set(right) == {field.name for field in fields(DiffusionLossWeights)}
    for name, value in right.items():
        assert value.shape == (2,) and value.abs().max() < 1e-3, name
    for name in ("denoising", "ct"):
        assert wrong[name][0] == right[name][0] and wrong[name][1] > right[name][1] + 1e-3, name


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_no_timestep_outweighs_the_others(schedule, prediction):
    """The weighted error is min(SNR, 5) times the image's; undamped, noise prediction would multiply it by 24000."""
    scheduler = DDPMScheduler(SchedulerSettings(schedule=schedule, prediction=prediction))
    everywhere = torch.arange(1000)
    weight = min_snr_weight(scheduler, everywhere)
    of_the_image = weight / scheduler.x0_gain(everywhere).square()
    torch.testing.assert_close(of_the_image, scheduler.snr(everywhere).clamp_max(SNR_CEILING))
    assert weight.max() <= SNR_CEILING and (weight > 0).all()


@pytest.mark.parametrize("t", [500, 999])
def test_late_timesteps_do_not_blow_the_image_terms_up(t, monkeypatch):
    """At t = 999 an error of the predicted noise moves the image 157 times as far, but costs no more than its size."""
    model = DiffusionGenerator(DiffusionSettings(width=8, prediction="epsilon"))
    batch = batch_of(1)
    noise = torch.full_like(batch.ct, 1e-3)
    output = torch.zeros_like(noise, requires_grad=True)
    quiet = replace(model.denoise(batch.ct, t, batch), output=output)
    monkeypatch.setattr(model, "denoise", lambda *_: quiet)
    losses = diffusion_losses(model, batch, targets_for(batch), torch.tensor([t]), noise)
    gradient = torch.autograd.grad(losses["ct"].sum(), output)[0]
    two_stages = 2 * LARGEST_CHANGE / float(batch.mask.sum())
    assert float(gradient.abs().max()) == pytest.approx(two_stages, rel=1e-3)


def test_a_change_leads_back_to_the_picture_it_was_taken_from():
    batch = batch_of()
    ct = targets_for(batch).ct
    torch.testing.assert_close(drawn(change_of(ct, batch), batch), ct)
    assert not change_of(ct, batch)[batch.mask == 0].any()


def test_one_batch_can_be_learnt():
    torch.manual_seed(0)
    model = DiffusionGenerator(DiffusionSettings(width=8, steps=3))
    batch = batch_of(4)
    targets = targets_for(batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    random = torch.Generator().manual_seed(0)
    curve = []
    for _ in range(60):
        timesteps = torch.randint(0, 1000, (4,), generator=random)
        noise = torch.randn(batch.ct.shape, generator=random)
        loss = total_loss(diffusion_losses(model, batch, targets, timesteps, noise), DiffusionLossWeights())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        curve.append(float(loss.detach()))
    assert sum(curve[-5:]) < sum(curve[:5]) / 2
    output = model.eval()(batch)
    gap = batch.mask > 0
    assert (output.x_stage2 - targets.ct)[gap].abs().mean() < 0.25
    assert ((output.fine_seg > 0.5) == (targets.body > 0.5))[gap].float().mean() > 0.9


def test_weights_come_back_and_draw_the_same(tmp_path, generator):
    path = tmp_path / "diffusion.safetensors"
    card = save_weights(path, generator, {}, storage=torch.float32)
    loaded, _ = load_weights(path)
    assert card["architecture"]["name"] == "diffusion"
    assert isinstance(loaded, DiffusionGenerator) and loaded.settings == generator.settings
    assert torch.equal(loaded(batch_of()).x_stage2, generator(batch_of()).x_stage2)


def test_a_card_with_a_schedule_that_does_not_exist_is_refused(tmp_path, generator):
    path = tmp_path / "diffusion.safetensors"
    save_weights(path, generator, {})
    card = path.with_suffix(".json")
    card.write_text(card.read_text().replace('"linear"', '"sigmoid"'))
    with pytest.raises(HealthiVertError, match=r"sigmoid.*do not describe a diffusion model"):
        load_weights(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three spines of one flat-grey vertebra each."""
    path = tmp_path_factory.mktemp("shards")
    for spine in range(3):
        body = np.zeros((96, 64, 72), np.float32)
        body[34:62, 15:45, 16:56] = 1
        neighbours = np.zeros_like(body)
        neighbours[:28, 15:45, 16:56] = neighbours[68:, 15:45, 16:56] = 1
        ct = np.where(body + neighbours > 0, 0.1 + 0.1 * spine, -0.6).astype(np.float32)
        given = conditioning_of(ct, neighbours, body)
        save_sample(TrainingSample(given, ct, body, 0.04), path / f"sample_{spine:04d}_L1.npz")
    return path


TINY_RUN = replace(TINY_DIFFUSION, validate_every=4)


def test_a_training_run_ends_in_weights_of_this_architecture_that_load(folder, tmp_path):
    validation = train(TINY_RUN, folder, tmp_path / "run").validation
    card = export(tmp_path / "run", tmp_path / "diffusion.safetensors", {})
    model, _ = load_weights(tmp_path / "diffusion.safetensors")
    assert isinstance(model, DiffusionGenerator) and model.settings == TINY_RUN.generator
    assert card["metrics"] == validation and set(validation) >= {"l1_hu", "dice", "height_error"}
    tensors, record = load_checkpoint(tmp_path / "run")
    assert record["model"] == "diffusion"
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, tensors[f"average.{name}"].half().float(), rtol=0, atol=0)


def test_a_training_run_stopped_and_resumed_is_the_uninterrupted_one_to_the_bit(folder, tmp_path):
    def stop_after_two(stage: str, fraction: float, message: str) -> None:
        if message.startswith("step 2"):
            os.kill(os.getpid(), signal.SIGTERM)

    train(TINY_RUN, folder, tmp_path / "whole")
    train(TINY_RUN, folder, tmp_path / "parts", progress=stop_after_two)
    assert load_checkpoint(tmp_path / "parts")[1]["step"] == 2
    train(TINY_RUN, folder, tmp_path / "parts", resume=True)
    whole, parts = (load_checkpoint(tmp_path / run)[0] for run in ("whole", "parts"))
    assert set(whole) == set(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_a_run_of_another_model_is_not_mixed_into_this_one(folder, tmp_path):
    train(replace(TINY_RUN, steps=1), folder, tmp_path / "run")
    with pytest.raises(HealthiVertError, match="holds the training of a diffusion model"):
        train(GanTrainerSettings(steps=1, batch_size=2, held_out=0.3), folder, tmp_path / "run", resume=True)


def test_every_batch_sees_the_whole_process():
    random = np.random.default_rng(0)
    batches = torch.stack([spread_timesteps(random, 8, 1000) for _ in range(200)])
    parts = batches.sort(dim=1).values // 125
    assert torch.equal(parts, torch.arange(8).expand(200, 8))
    assert batches.float().mean() == pytest.approx(499.5, abs=8) and batches.min() >= 0 and batches.max() <= 999
    assert (batches.argmax(dim=1).bincount(minlength=8) > 5).all()  # no slot of the batch is always the noisiest


def test_a_recipe_names_its_model_and_changes_plain_settings_only():
    settings = trainer_settings("diffusion", {"steps": 7, "learning_rate": 1e-3})
    assert settings == replace(DiffusionTrainerSettings(), steps=7, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"trainer\.adversarial_start"):
        trainer_settings("diffusion", {"adversarial_start": 3})
    with pytest.raises(ValueError, match="'vae'"):
        trainer_settings("vae", {})


@pytest.mark.parametrize(("steps", "allowed"), [(1, "2 or more"), (1001, "1000 (timesteps) or less")])
def test_a_number_of_steps_that_cannot_be_walked_is_refused(steps, allowed):
    with pytest.raises(ValueError, match=re.escape(f"steps is {steps}; it must be {allowed}")):
        DiffusionSettings(steps=steps)


def test_a_process_that_does_not_end_in_noise_is_refused():
    with pytest.raises(ValueError, match=r"timesteps is 500: the noisiest one still holds 8 % of the picture"):
        DiffusionSettings(timesteps=500)
    assert DiffusionSettings(timesteps=500, beta_last=0.04).timesteps == 500
    assert DiffusionSettings(timesteps=100, schedule="cosine").timesteps == 100


def test_the_shipped_size_fits():
    assert sum(p.numel() for p in DiffusionGenerator().parameters()) * 2 < 10e6
