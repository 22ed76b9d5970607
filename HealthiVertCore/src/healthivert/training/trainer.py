"""Training, from a folder of shards to weights that can be shipped. Read it from `train` downwards.

In: shards of training.samples. Out, in the run's folder: checkpoint.json and its tensors, metrics.jsonl. `export` makes
the shipped weights of a run. What is trained is a Task (training.task); the GAN's is here, the diffusion model's in
training.diffusion_task. Every step draws its randomness from (seed, step) alone, so a run that is stopped and
resumed goes on exactly as if it had never stopped, with no random state to store.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from healthivert.errors import HealthiVertError
from healthivert.gap import GAP, HU_WINDOW, ROWS
from healthivert.models.devices import choose_device
from healthivert.models.gan import Discriminators, DiscriminatorSettings, GanGenerator, GanSettings, plain_state
from healthivert.models.interface import GeneratorOutput, SliceBatch
from healthivert.models.losses import (
    LossWeights,
    SliceTargets,
    generator_losses,
    hinge_discriminator_loss,
    total_loss,
)
from healthivert.models.weights import ARCHITECTURES, save_weights
from healthivert.training.checkpoint import (
    RECORD,
    load_checkpoint,
    optimiser_tensors,
    restore_optimiser,
    save_checkpoint,
    with_prefix,
)
from healthivert.training.metrics import MetricsLog, Stopwatch
from healthivert.training.slices import SliceDataset, shards
from healthivert.training.task import (
    FREE_ON_RESUME,
    RunSettings,
    learning_rate,
    next_batch,
    set_learning_rate,
    update_average,
)
from healthivert.training.validation import validate

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class TrainerSettings(RunSettings):
    """The GAN's. Learning rate and betas of both sides, as published."""

    betas: tuple[float, float] = (0.5, 0.999)
    adversarial_start: int = 3_000  # before it, drawings are so poor that discriminators would learn nothing lasting
    generator: GanSettings = field(default_factory=lambda: GanSettings(spectral_norm=True))
    discriminators: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)
    weights: LossWeights = field(default_factory=LossWeights)

    def start(self, gap: tuple[int, int], device: torch.device) -> GanRun:
        return GanRun(self, gap, device)


class GanRun:
    """The two players, their optimisers, the average that is shipped, and the step they are at."""

    name = GanGenerator.name

    def __init__(self, settings: TrainerSettings, gap: tuple[int, int], device: torch.device) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.device, self.step = settings, device, 0
        self.generator = GanGenerator(settings.generator).to(device)
        self.discriminators = Discriminators(settings.discriminators, gap).to(device)
        self.average = GanGenerator(GanSettings(width=settings.generator.width)).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(plain_state(self.generator))
        adam = {"lr": settings.learning_rate, "betas": settings.betas}
        self.optimiser = torch.optim.Adam(self.generator.parameters(), **adam)  # type: ignore[arg-type]
        self.critics_optimiser = torch.optim.Adam(self.discriminators.parameters(), **adam)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor]:
        modules = {"generator": self.generator, "discriminators": self.discriminators, "average": self.average}
        tensors = {f"{part}.{name}": value for part, m in modules.items() for name, value in m.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, "optimiser")
        return tensors | optimiser_tensors(self.critics_optimiser, "critics_optimiser")

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        self.generator.load_state_dict(with_prefix(tensors, "generator"))
        self.discriminators.load_state_dict(with_prefix(tensors, "discriminators"))
        self.average.load_state_dict(with_prefix(tensors, "average"))
        restore_optimiser(self.optimiser, tensors, "optimiser")
        restore_optimiser(self.critics_optimiser, tensors, "critics_optimiser")
        self.step = step

    def train_step(self, data: SliceDataset, watch: Stopwatch) -> dict[str, float]:
        return train_step(self, data, watch)


def train(
    settings: RunSettings, data_dir: Path, run_dir: Path, resume: bool = False, progress: Progress | None = None
) -> dict[str, float]:
    """Train until settings.steps, the wall-clock limit, SIGTERM or Ctrl-C; returns the last validation.

    Each of the three ends leaves a checkpoint to resume from. Raises HealthiVertError for unusable shards, for a folder
    that already holds a run (without resume) or holds a different one (with it), and when the training diverges.
    """
    device = choose_device(settings.device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    stored = _stored_run(settings, run_dir, resume)
    training_paths, validation_paths = shards(data_dir, settings.held_out)
    _report(progress, "load", 0.0, f"reading {len(training_paths)} + {len(validation_paths)} vertebrae")
    data, held_out = SliceDataset(training_paths), SliceDataset(validation_paths)
    run = settings.start(data.gap, device)
    validation: dict[str, float] = {}
    if stored is not None:
        tensors, record = stored
        run.restore(tensors, record["step"])
        validation = record["validation"]
    log = MetricsLog(run_dir / "metrics.jsonl", keep_until=run.step)
    watch = Stopwatch()

    def checkpoint() -> None:
        record = {"step": run.step, "settings": asdict(settings), "validation": validation, "vertebrae": len(data)}
        record["model"] = run.name
        save_checkpoint(run_dir, run.tensors(), record)

    with _stop_requests() as stop_requested:
        while run.step < settings.steps and not stop_requested() and not watch.past(settings.wall_clock_minutes):
            losses = run.train_step(data, watch)
            diverged = [name for name, value in losses.items() if not math.isfinite(value)]
            if diverged:
                raise HealthiVertError(
                    f"training diverged at step {run.step} ({', '.join(diverged)} not finite); "
                    f"the last good checkpoint is {run_dir / RECORD}: resume it with a lower learning rate"
                )
            if run.step % settings.log_every == 0:
                entry = {**losses, **watch.lap(settings.batch_size)}
                log.write("training", run.step, entry)
                message = f"step {run.step}, {entry['images_per_second']:.1f} images/s, ct loss {losses['ct']:.4f}"
                _report(progress, "train", run.step / settings.steps, message)
            if run.step % settings.validate_every == 0 or run.step == settings.steps:
                with watch.pause():
                    validation = validate(run.average, held_out, device)
                log.write("validation", run.step, validation)
                message = ", ".join(f"{name} {value:.3f}" for name, value in validation.items())
                _report(progress, "validate", run.step / settings.steps, message)
            if watch.due(settings.checkpoint_minutes):
                checkpoint()
    checkpoint()
    return validation


def train_step(run: GanRun, data: SliceDataset, watch: Stopwatch) -> dict[str, float]:
    """One update of the discriminators (once they play) and of the generator; the mean of every loss, before it."""
    settings = run.settings
    batch, targets, _ = next_batch(settings, run.step, data, run.device, watch)
    for optimiser in (run.optimiser, run.critics_optimiser):
        set_learning_rate(optimiser, learning_rate(settings, run.step))

    output = run.generator(batch)
    adversarial = run.step >= settings.adversarial_start
    losses: dict[str, float] = {}
    if adversarial:
        with watch.part("discriminator_share"):
            losses["discriminators"] = update_discriminators(run, batch, targets, output)
    losses |= update_generator(run, batch, targets, output, adversarial)
    run.step += 1
    update_average(run.average, run.generator, settings, run.step)
    watch.count_step()
    return losses


def update_discriminators(run: GanRun, batch: SliceBatch, targets: SliceTargets, output: GeneratorOutput) -> float:
    """Real and drawn slices in one pass: the same spectral norm for both, and half of the overhead."""
    real_ct = batch.mask * targets.ct + (1 - batch.mask) * batch.ct
    ct = torch.cat([real_ct, output.x_stage2.detach()])
    body = torch.cat([targets.body, output.fine_seg.detach()])
    scores = [score.chunk(2) for score in run.discriminators(ct, body)]
    loss = hinge_discriminator_loss([real for real, _ in scores], [fake for _, fake in scores]).mean()
    run.critics_optimiser.zero_grad(set_to_none=True)
    loss.backward()
    run.critics_optimiser.step()
    return float(loss.detach())


def update_generator(
    run: GanRun, batch: SliceBatch, targets: SliceTargets, output: GeneratorOutput, adversarial: bool
) -> dict[str, float]:
    run.discriminators.requires_grad_(False)  # they only pass the gradient on
    fake = run.discriminators(output.x_stage2, output.fine_seg) if adversarial else None
    losses = generator_losses(output, targets, batch.mask, fake)
    loss = total_loss(losses, run.settings.weights)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    run.discriminators.requires_grad_(True)
    norm = torch.nn.utils.clip_grad_norm_(run.generator.parameters(), run.settings.clip_norm)
    means = {name: float(value.detach().mean()) for name, value in losses.items()}
    means |= {"total": float(loss.detach()), "gradient_norm": float(norm)}
    if math.isfinite(means["gradient_norm"]):
        run.optimiser.step()
    return means


def export(run_dir: Path, out: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write the averaged weights of a run's last checkpoint and their card; `card` adds to it (data, metrics, licence).

    Raises HealthiVertError if the run has no whole checkpoint.
    """
    tensors, record = load_checkpoint(run_dir)
    arguments = record["settings"]["generator"]
    if "spectral_norm" in arguments:  # the average is kept in the plain form
        arguments = {**arguments, "spectral_norm": False}
    model: Any = ARCHITECTURES[record.get("model", "gan")](**arguments)
    model.load_state_dict(with_prefix(tensors, "average"))
    facts = {
        "spacing_mm": 1.0,
        "hu_window": list(HU_WINDOW),
        "rows": ROWS,
        "gap": list(GAP),
        "recipe": {**record["settings"], "steps_done": record["step"]},
        "data": {"training_vertebrae": record["vertebrae"]},
        "metrics": record["validation"],
    }
    return save_weights(out, model, {**facts, **card})


def _stored_run(settings: RunSettings, run_dir: Path, resume: bool) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    if not resume:
        if (run_dir / RECORD).exists():
            raise HealthiVertError(f"{run_dir}: already holds a training run; resume it or choose another folder")
        return None
    tensors, record = load_checkpoint(run_dir)
    wanted = json.loads(json.dumps(asdict(settings)))
    for name, value in wanted.items():
        if name not in FREE_ON_RESUME and record["settings"].get(name) != value:
            before = record["settings"].get(name)
            raise HealthiVertError(
                f"{run_dir}: was trained with {name} {before}, not {value}; keep it or start a new run"
            )
    return tensors, record


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Within it SIGTERM and Ctrl-C only raise a flag, so that the step in hand ends and is saved."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # only the main thread may listen to signals; elsewhere the caller ends the run
        before = {}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(progress: Progress | None, stage: str, fraction: float, message: str) -> None:
    if progress is not None:
        progress(stage, fraction, message)
