"""Training the GAN: a generator of two stages against three discriminators, which join when there is much to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from healthivert.allowed import at_least
from healthivert.models.gan import Discriminators, DiscriminatorSettings, GanGenerator, GanSettings, plain_state
from healthivert.models.interface import GeneratorOutput
from healthivert.models.losses import GanLossWeights, generator_losses, hinge_discriminator_loss, total_loss
from healthivert.training.batches import TrainingBatch
from healthivert.training.checkpoint import AVERAGE, with_prefix
from healthivert.training.distributed import ALONE, Processes
from healthivert.training.numerics import choose_precision, in_float32, passes_in, scores_in_float32
from healthivert.training.optimise import Optimiser
from healthivert.training.task import RunSettings, update_average


@dataclass(frozen=True)
class GanTrainerSettings(RunSettings):
    """Learning rate and betas of both sides, as published."""

    betas: tuple[float, float] = (0.5, 0.999)
    # before it, drawings are so poor that discriminators would learn nothing lasting
    adversarial_start: int = at_least(0, 3_000)
    generator: GanSettings = field(default_factory=lambda: GanSettings(spectral_norm=True))
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    weights: GanLossWeights = field(default_factory=GanLossWeights)

    def at_full_cost(self) -> GanTrainerSettings:
        return replace(self, adversarial_start=0)

    def start(self, gap: tuple[int, int], device: torch.device, processes: Processes = ALONE) -> GanRun:
        return GanRun(self, gap, device, processes)


class GanRun:
    """The Task of the GAN: the two players, their optimisers, and the average that is shipped."""

    name = GanGenerator.name

    def __init__(
        self, settings: GanTrainerSettings, gap: tuple[int, int], device: torch.device, processes: Processes = ALONE
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.generator = GanGenerator(settings.generator).to(device)
        self.discriminators = Discriminators(settings.discriminators, gap).to(device)
        self.average = GanGenerator(GanSettings(width=settings.generator.width)).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(plain_state(self.generator))
        self.precision = choose_precision(settings.precision, device)
        self.optimiser = Optimiser(self.generator, settings, self.precision, device, processes)
        self.critics_optimiser = Optimiser(self.discriminators, settings, self.precision, device, processes)

    def tensors(self) -> dict[str, Tensor]:
        modules = {"generator": self.generator, "discriminators": self.discriminators, AVERAGE: self.average}
        tensors = {f"{part}.{name}": value for part, m in modules.items() for name, value in m.state_dict().items()}
        return tensors | self.optimiser.tensors("optimiser") | self.critics_optimiser.tensors("critics_optimiser")

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        self.generator.load_state_dict(with_prefix(tensors, "generator"))
        self.discriminators.load_state_dict(with_prefix(tensors, "discriminators"))
        self.average.load_state_dict(with_prefix(tensors, AVERAGE))
        self.optimiser.restore(tensors, "optimiser")
        self.critics_optimiser.restore(tensors, "critics_optimiser")
        self.step = step

    def train_step(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """One update of the discriminators (once they play) and of the generator."""
        with passes_in(self.precision, self.device):
            output = self.generator(batch.slices)
        output = in_float32(output)
        adversarial = self.step >= self.settings.adversarial_start
        losses: dict[str, Tensor] = {}
        if adversarial:
            losses["discriminators"] = self._update_discriminators(batch, output)
        losses |= self._update_generator(batch, output, adversarial)
        self.step += 1
        update_average(self.average, self.generator, self.settings, self.step)
        return losses

    def _update_discriminators(self, batch: TrainingBatch, output: GeneratorOutput) -> Tensor:
        """Real and drawn slices in one pass: the same spectral norm for both, and half of the overhead."""
        mask = batch.slices.mask
        real_ct = mask * batch.targets.ct + (1 - mask) * batch.slices.ct
        ct = torch.cat([real_ct, output.x_stage2.detach()])
        body = torch.cat([batch.targets.body, output.fine_seg.detach()])
        scores = [score.chunk(2) for score in self._judge(ct, body)]
        loss = hinge_discriminator_loss([real for real, _ in scores], [fake for _, fake in scores]).mean()
        self.critics_optimiser.update(loss, self.step)
        return loss.detach()

    def _update_generator(self, batch: TrainingBatch, output: GeneratorOutput, adversarial: bool) -> dict[str, Tensor]:
        self.discriminators.requires_grad_(False)  # they only pass the gradient on
        fake = self._judge(output.x_stage2, output.fine_seg) if adversarial else None
        losses = generator_losses(output, batch.targets, batch.slices.mask, fake)
        loss = total_loss(losses, self.settings.weights)
        norm = self.optimiser.update(loss, self.step, self.settings.clip_norm)
        self.discriminators.requires_grad_(True)
        means = {name: value.detach().mean() for name, value in losses.items()}
        return means | {"total": loss.detach(), "gradient_norm": norm}

    def _judge(self, ct: Tensor, body: Tensor) -> tuple[Tensor, ...]:
        with passes_in(self.precision, self.device):
            scores = self.discriminators(ct, body)
        return scores_in_float32(scores)
