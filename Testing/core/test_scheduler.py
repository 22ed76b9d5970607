"""The diffusion process: against diffusers as an independent oracle, against closed forms, and as whole loops."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers import DDPMScheduler as OracleDDPM
from torch import Tensor

from healthivert.models.diffusion import DDPMScheduler, SchedulerSettings
from healthivert.models.diffusion.scheduler import PREDICTIONS, SCHEDULES

CONFIGURATIONS = [(schedule, prediction) for schedule in SCHEDULES for prediction in PREDICTIONS]
ORACLE_SCHEDULE = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
ORACLE_PREDICTION = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
PINNED = (999, 998, 700, 500, 250, 100, 1)


def scheduler_of(schedule: str, prediction: str = "epsilon") -> DDPMScheduler:
    return DDPMScheduler(SchedulerSettings(schedule=schedule, prediction=prediction))


def written_out_betas(schedule: str) -> list[float]:
    if schedule == "linear":
        return [1e-4 + (0.02 - 1e-4) * t / 999 for t in range(1000)]
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    return [min(0.999, 1 - f[t + 1] / f[t]) for t in range(1000)]


def oracle_of(kind: type, schedule: str, prediction: str):
    """A scheduler of diffusers whose tables, float32 by default, are raised to float64."""
    oracle = kind(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=ORACLE_SCHEDULE[schedule],
        prediction_type=ORACLE_PREDICTION[prediction],
        clip_sample=True,
    )
    oracle.betas = torch.tensor(written_out_betas(schedule), dtype=torch.float64)
    oracle.alphas = 1 - oracle.betas
    oracle.alphas_cumprod = torch.cumprod(oracle.alphas, dim=0)
    oracle.one = torch.ones((), dtype=torch.float64)
    oracle.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    return oracle


def images(seed: int, count: int = 3) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 1, 8, 8, generator=random, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_tables_are_those_of_diffusers(schedule):
    oracle = OracleDDPM(beta_start=1e-4, beta_end=0.02, beta_schedule=ORACLE_SCHEDULE[schedule])
    ours = scheduler_of(schedule)
    torch.testing.assert_close(ours.betas, oracle.betas.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.alpha_bar, oracle.alphas_cumprod.double(), atol=1e-6, rtol=0)
    assert ours.alpha_bar.dtype == torch.float64
    assert (ours.alpha_bar.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_noise_and_velocity_are_those_of_diffusers(schedule):
    oracle, ours = oracle_of(OracleDDPM, schedule, "v"), scheduler_of(schedule, "v")
    x0, noise, _ = images(0)
    for t in PINNED:
        both = torch.tensor([t, 999 - t])
        close(ours.add_noise(x0, noise, both), oracle.add_noise(x0, noise, both))
        close(ours.get_velocity(x0, noise, both), oracle.get_velocity(x0, noise, both))


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_a_ddpm_step_is_that_of_diffusers(schedule, prediction):
    oracle, ours = oracle_of(OracleDDPM, schedule, prediction), scheduler_of(schedule, prediction)
    sample, output, _ = images(1)
    for t in (*PINNED, 0):
        expected = oracle.step(output, t, sample, generator=torch.Generator().manual_seed(t))
        noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        step = ours.ddpm_step(output, t, sample, noise, previous=t - 1)
        close(step.x0, expected.pred_original_sample)
        close(step.previous_sample, expected.prev_sample)


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_a_ddpm_step_over_skipped_timesteps_is_that_of_diffusers(schedule, prediction):
    oracle, ours = oracle_of(OracleDDPM, schedule, prediction), scheduler_of(schedule, prediction)
    oracle.set_timesteps(10)
    sample, output, _ = images(2)
    for t in oracle.timesteps.tolist():
        expected = oracle.step(output, t, sample, generator=torch.Generator().manual_seed(t))
        noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
        close(ours.ddpm_step(output, t, sample, noise, previous=max(t - 100, -1)).previous_sample, expected.prev_sample)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_a_ddim_step_is_that_of_diffusers(schedule, prediction, eta):
    oracle, ours = oracle_of(DDIMScheduler, schedule, prediction), scheduler_of(schedule, prediction)
    oracle.set_timesteps(10)
    sample, output, noise = images(3)
    for t in (999, 900, 500, 100, 99, 0):  # pinned: diffusers steps by 1000 / 10 from wherever it stands
        step = ours.ddim_step(output, t, sample, previous=max(t - 100, -1), eta=eta, noise=noise)
        expected = oracle.step(output, t, sample, eta, use_clipped_model_output=True, variance_noise=noise)
        close(step.x0, expected.pred_original_sample)
        close(step.previous_sample, expected.prev_sample)


@pytest.mark.parametrize("count", [2, 7, 10, 11, 20, 1000])
def test_the_visited_timesteps_reach_from_the_noisiest_to_zero_as_those_of_diffusers(count):
    oracle = DDIMScheduler(timestep_spacing="linspace")
    oracle.set_timesteps(count)
    found = scheduler_of("linear").set_timesteps(count)
    assert found == oracle.timesteps.tolist()
    assert found[0] == 999 and found[-1] == 0 and len(set(found)) == count


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0, 300, 700, 999])
def test_noised_images_have_the_mean_and_variance_of_the_closed_form(schedule, t):
    """q(x_t | x_0) is N(sqrt(a) x_0, (1 - a) I), with a the product of 1 - beta up to t."""
    a = math.prod(1 - beta for beta in written_out_betas(schedule)[: t + 1])
    noise = torch.randn(200_000, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    noised = scheduler_of(schedule).add_noise(torch.full_like(noise, 0.8), noise, t)
    tolerance = 5 * math.sqrt((1 - a) / noise.numel())
    assert float(noised.mean()) == pytest.approx(0.8 * math.sqrt(a), abs=tolerance)
    assert float(noised.var()) == pytest.approx(1 - a, rel=0.02)


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_with_the_true_answer_the_clean_image_comes_back(schedule, prediction):
    ours = scheduler_of(schedule, prediction)
    noise, x0, _ = images(4)
    x0 = x0.clamp(-1, 1)
    for t in (*PINNED, 0):
        noised = ours.add_noise(x0, noise, t)
        torch.testing.assert_close(ours.predict_x0(ours.target(x0, noise, t), t, noised), x0, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_with_the_true_answer_ddim_walks_along_the_noised_images(schedule, prediction):
    """Each stride must land on the same mixture of image and noise that add_noise makes."""
    ours = scheduler_of(schedule, prediction)
    noise, x0, _ = images(5)
    x0 = x0.clamp(-1, 1)
    timesteps = ours.set_timesteps(9)
    sample = ours.add_noise(x0, noise, timesteps[0])
    for t, previous in zip(timesteps, [*timesteps[1:], -1], strict=True):
        sample = ours.ddim_step(ours.target(x0, noise, t), t, sample, previous).previous_sample
        torch.testing.assert_close(sample, ours.add_noise(x0, noise, previous), atol=1e-8, rtol=0)
    torch.testing.assert_close(sample, x0, atol=1e-8, rtol=0)


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_a_wild_answer_never_leaves_the_window(schedule, prediction):
    ours = scheduler_of(schedule, prediction)
    sample, output, noise = images(6)
    for t in PINNED:
        for step in (
            ours.ddpm_step(1e4 * output, t, sample, noise, t - 1),
            ours.ddim_step(1e4 * output, t, sample, t - 1),
        ):
            assert step.x0.abs().max() == 1
            assert torch.isfinite(step.previous_sample).all()


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_the_gain_is_how_far_an_error_moves_the_clean_image(schedule, prediction):
    ours = scheduler_of(schedule, prediction)
    sample = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for t in PINNED:
        moved = ours.predict_x0(sample + 1e-6, t, sample) / 1e-6
        assert float(moved.abs()) == pytest.approx(float(ours.x0_gain(t)), rel=1e-6)


def test_a_timestep_of_each_sample_counts_for_that_sample_alone():
    ours = scheduler_of("cosine", "v")
    x0, noise, _ = images(7)
    together = ours.add_noise(x0, noise, torch.tensor([10, 800]))
    for sample, t in enumerate((10, 800)):
        torch.testing.assert_close(together[sample], ours.add_noise(x0[sample], noise[sample], t))


def test_single_precision_images_stay_single_precision():
    x0, noise, _ = (image.float() for image in images(8))
    ours = scheduler_of("linear", "v")
    step = ours.ddim_step(noise, 500, ours.add_noise(x0, noise, 500), 400, eta=1.0, noise=noise)
    assert step.x0.dtype == step.previous_sample.dtype == torch.float32


# The mean of |x| at the end of `loop` with DDPM, with DDIM, and with DDIM at eta 0.5.
GOLDEN = {
    ("linear", "epsilon"): (0.341219920220, 0.903711980318, 0.743985370528),
    ("linear", "x0"): (0.078339235132, 0.045122602733, 0.057754344104),
    ("linear", "v"): (0.207788636169, 0.366874868957, 0.228561830460),
    ("cosine", "epsilon"): (0.378031156566, 0.907175085771, 0.795396356867),
    ("cosine", "x0"): (0.086728199483, 0.049025988737, 0.060652750407),
    ("cosine", "v"): (0.207076880135, 0.402346953238, 0.277252023294),
}


def first_sample() -> Tensor:
    return torch.linspace(-2, 2, 64, dtype=torch.float64).view(1, 1, 8, 8)


def closed_form_model(sample: Tensor, t: int) -> Tensor:
    """No network: an answer that depends smoothly on the image and the timestep."""
    return 0.6 * torch.sin(sample) * t / (t + 1) + 0.1 * torch.cos(3 * sample)


def loop(ours: DDPMScheduler, kind: str) -> float:
    sample = first_sample()
    timesteps = ours.set_timesteps(10)
    for number, (t, previous) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
        output = closed_form_model(sample, t)
        noise = torch.cos(torch.arange(64, dtype=torch.float64) * (number + 1)).view_as(sample)
        if kind == "ddpm":
            sample = ours.ddpm_step(output, t, sample, noise, previous).previous_sample
        else:
            eta = 0.0 if kind == "ddim" else 0.5
            sample = ours.ddim_step(output, t, sample, previous, eta, noise).previous_sample
    return float(sample.abs().mean())


@pytest.mark.parametrize(("schedule", "prediction"), CONFIGURATIONS)
def test_whole_loops_end_at_their_golden_numbers(schedule, prediction):
    ours = scheduler_of(schedule, prediction)
    found = [loop(ours, kind) for kind in ("ddpm", "ddim", "ddim with noise")]
    assert found == pytest.approx(GOLDEN[schedule, prediction], abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"schedule": "sigmoid"}, {"prediction": "score"}, {"timesteps": 1}], ids=lambda wrong: next(iter(wrong))
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SchedulerSettings(**wrong)


def test_steps_that_lead_nowhere_are_refused():
    ours = scheduler_of("linear")
    sample, output, noise = images(9)
    for t, previous in ((500, 500), (500, 600), (1000, 500), (500, -2)):
        with pytest.raises(ValueError, match="must go down"):
            ours.ddim_step(output, t, sample, previous)
        with pytest.raises(ValueError, match="must go down"):
            ours.ddpm_step(output, t, sample, noise, previous)
    with pytest.raises(ValueError, match="needs noise"):
        ours.ddim_step(output, 500, sample, 400, eta=0.5)
    for count in (1, 1001):
        with pytest.raises(ValueError, match="2 to 1000"):
            ours.set_timesteps(count)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
