"""The diffusion process: how noise is added to an image, and how it is taken away again step by step.

In and out: image tensors [B, ...] of any floating type, in -1..1 where they are clean. A timestep is one int for the
whole batch or a tensor [B]; 0 is almost clean, `timesteps - 1` almost pure noise, -1 stands for the clean image. Knows
nothing of networks, and remembers nothing between calls: every random number is handed in, so that one scheduler
serves any number of loops.

Formulas, by their numbers on arXiv: Ho 2020 (2006.11239), Song 2020 (DDIM, 2010.02502), Nichol 2021 (2102.09672),
Salimans 2022 (2202.00512).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from healthivert.allowed import at_least, between, check_allowed, one_of

SCHEDULES = ("linear", "cosine")
PREDICTIONS = ("epsilon", "x0", "v")
Timesteps = int | Tensor


@dataclass(frozen=True)
class SchedulerSettings:
    """schedule: how beta grows. prediction: what the network's output means. beta_first and beta_last: linear only."""

    timesteps: int = at_least(2, 1000, most=100_000)
    schedule: str = one_of(SCHEDULES, "linear")
    prediction: str = one_of(PREDICTIONS, "v")  # matters alike at both ends; DiffusionSettings has x0, which was better
    beta_first: float = between(0, 1, 1e-4)
    beta_last: float = between(0, 1, 0.02)

    def __post_init__(self) -> None:
        check_allowed(self)


@dataclass(frozen=True)
class SchedulerStep:
    """previous_sample: the image at the previous, less noisy timestep. x0: the clean image believed in, in -1..1."""

    previous_sample: Tensor
    x0: Tensor


class DDPMScheduler:
    """betas and alpha_bar are float64 tables [timesteps]: in float32 alpha_bar's end is wrong in its sixth digit."""

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self.settings = settings or SchedulerSettings()
        self.betas = _betas(self.settings)
        self.alpha_bar = torch.cumprod(1 - self.betas, dim=0)  # Ho 2020, below eq. 3
        # With the clean image's own entry, 1, at the end: there the index -1 finds it.
        self._alpha_bar = torch.cat([self.alpha_bar, torch.ones(1, dtype=torch.float64)])

    def set_timesteps(self, count: int) -> list[int]:
        """`count` timesteps to visit, evenly spread from the noisiest down to 0, both included.

        Raises ValueError unless 2 <= count <= timesteps.
        """
        last = self.settings.timesteps - 1
        if not 2 <= count <= self.settings.timesteps:
            raise ValueError(f"steps must be 2 to {self.settings.timesteps}, got {count}")
        return torch.linspace(last, 0, count, dtype=torch.float64).round().int().tolist()

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        """A sample of q(x_t | x_0), Ho 2020 eq. 4."""
        signal, spread = self._signal_and_spread(timesteps, x0)
        return signal * x0 + spread * noise

    def get_velocity(self, x0: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        """v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x_0, Salimans 2022 section 4."""
        signal, spread = self._signal_and_spread(timesteps, x0)
        return signal * noise - spread * x0

    def target(self, x0: Tensor, noise: Tensor, timesteps: Timesteps) -> Tensor:
        """What the network should answer, under the settings' prediction."""
        if self.settings.prediction == "epsilon":
            return noise
        return x0 if self.settings.prediction == "x0" else self.get_velocity(x0, noise, timesteps)

    def predict_x0(self, output: Tensor, timesteps: Timesteps, sample: Tensor) -> Tensor:
        """The clean image that the network's output stands for, clamped to -1..1. sample: x_t."""
        if self.settings.prediction == "epsilon":
            return self.predict_x0_from_eps(output, timesteps, sample)
        if self.settings.prediction == "x0":
            return output.clamp(-1, 1)
        signal, spread = self._signal_and_spread(timesteps, sample)
        return (signal * sample - spread * output).clamp(-1, 1)  # Salimans 2022 section 4, v solved for x_0

    def predict_x0_from_eps(self, eps: Tensor, timesteps: Timesteps, sample: Tensor) -> Tensor:
        """Ho 2020 eq. 15, clamped to -1..1: late in the process an error of eps is multiplied by more than 100."""
        signal, spread = self._signal_and_spread(timesteps, sample)
        return ((sample - spread * eps) / signal).clamp(-1, 1)

    def snr(self, timesteps: Timesteps) -> Tensor:
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar), float64, [] or [B]."""
        alpha_bar = self._table(timesteps)
        return alpha_bar / (1 - alpha_bar)

    def x0_gain(self, timesteps: Timesteps) -> Tensor:
        """By how much an error of the network's output is multiplied in predict_x0, float64, [] or [B]."""
        alpha_bar = self._table(timesteps)
        if self.settings.prediction == "x0":
            return torch.ones_like(alpha_bar)
        spread = (1 - alpha_bar).sqrt()
        return spread if self.settings.prediction == "v" else spread / alpha_bar.sqrt()

    def ddpm_step(self, output: Tensor, timestep: int, sample: Tensor, noise: Tensor, previous: int) -> SchedulerStep:
        """A draw from p(x_previous | x_t), Ho 2020 algorithm 2 with the smaller of its two variances.

        previous: the timestep to arrive at, timestep - 1 in a full loop. noise is not used when that is -1.
        """
        x0 = self.predict_x0(output, timestep, sample)
        alpha_bar, alpha_bar_previous = self._pair(timestep, previous)
        alpha = alpha_bar / alpha_bar_previous  # the alpha_t of a process that visits only these timesteps
        beta = 1 - alpha
        mean = (  # Ho 2020 eq. 7
            math.sqrt(alpha_bar_previous) * beta / (1 - alpha_bar) * x0
            + math.sqrt(alpha) * (1 - alpha_bar_previous) / (1 - alpha_bar) * sample
        )
        variance = (1 - alpha_bar_previous) / (1 - alpha_bar) * beta  # Ho 2020 eq. 7, beta tilde
        return SchedulerStep(mean + math.sqrt(variance) * noise, x0)

    def ddim_step(
        self,
        output: Tensor,
        timestep: int,
        sample: Tensor,
        previous: int,
        eta: float = 0.0,
        noise: Tensor | None = None,
    ) -> SchedulerStep:
        """From timestep to previous in one stride, Song 2020 eq. 12; eta 0 is deterministic, 1 as noisy as DDPM.

        Raises ValueError if eta is positive and no noise is given.
        """
        if eta > 0 and noise is None:
            raise ValueError("a step with eta > 0 needs noise")
        x0 = self.predict_x0(output, timestep, sample)
        alpha_bar, alpha_bar_previous = self._pair(timestep, previous)
        # Ho 2020 eq. 4 solved for the noise: after clamping, x0 and the noise must still add up to the sample.
        eps = (sample - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
        variance = (1 - alpha_bar_previous) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_previous)
        sigma = eta * math.sqrt(variance)  # Song 2020 eq. 16
        direction = math.sqrt(1 - alpha_bar_previous - sigma**2) * eps
        previous_sample = math.sqrt(alpha_bar_previous) * x0 + direction  # Song 2020 eq. 12
        if noise is not None:
            previous_sample = previous_sample + sigma * noise
        return SchedulerStep(previous_sample, x0)

    def _pair(self, timestep: int, previous: int) -> tuple[float, float]:
        """alpha_bar of both ends of a step. Raises ValueError unless -1 <= previous < timestep."""
        if not -1 <= previous < timestep < self.settings.timesteps:
            raise ValueError(f"a step must go down within the schedule, got {timestep} to {previous}")
        return float(self._alpha_bar[timestep]), float(self._alpha_bar[previous])

    def _table(self, timesteps: Timesteps) -> Tensor:
        """alpha_bar of the timesteps, on the processor: not every device has float64."""
        return self._alpha_bar[timesteps.cpu() if isinstance(timesteps, Tensor) else timesteps]

    def _signal_and_spread(self, timesteps: Timesteps, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(alpha_bar) and sqrt(1 - alpha_bar), shaped and typed to multiply `like` [B, ...]."""
        alpha_bar = self._table(timesteps)
        shape = (-1, *(1,) * (like.dim() - 1)) if alpha_bar.dim() else ()
        signal, spread = (value.sqrt().view(shape).to(like) for value in (alpha_bar, 1 - alpha_bar))
        return signal, spread


def last_signal(settings: SchedulerSettings) -> float:
    """sqrt(alpha_bar) of the noisiest timestep: the share of the clean image that is left there."""
    return float(torch.prod(1 - _betas(settings)).sqrt())


def _betas(settings: SchedulerSettings) -> Tensor:
    """float64 [timesteps]."""
    count = settings.timesteps
    if settings.schedule == "linear":  # Ho 2020 section 4
        return torch.linspace(settings.beta_first, settings.beta_last, count, dtype=torch.float64)
    way = torch.arange(count + 1, dtype=torch.float64) / count
    f = torch.cos((way + 0.008) / 1.008 * math.pi / 2).square()  # Nichol 2021 eq. 17
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)  # below eq. 17: or the last steps would be singular
