"""The training loop: from shards to weights that can be shipped. Read it from `train` downwards.

In: shards of training.samples. Out, in the run's folder: configuration.json, checkpoint.json and its tensors,
metrics.jsonl, figures. `export` makes the shipped weights of a run. What is trained is a Task (gan_task,
diffusion_task). The same loop serves one CPU, one GPU, and the many processes that torchrun starts (distributed). Every
step draws its randomness from (seed, step) alone, so a run that is stopped or killed, and resumed, goes on exactly as
if it had never stopped, with no random state and no place in the data to store but the step.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from healthivert.errors import HealthiVertError, complaint
from healthivert.familiarity import seen_range
from healthivert.gap import GAP, HU_WINDOW, ROWS
from healthivert.models.devices import choose_device, ran_out_of_memory
from healthivert.models.interface import SLICE_DIVISOR
from healthivert.models.weights import ARCHITECTURES, save_weights
from healthivert.output_folder import NO_SPACE
from healthivert.progress import WARNING, quiet
from healthivert.training.batches import NETWORK, StepBatches, TrainingBatch, batches_of, random_stream
from healthivert.training.checkpoint import (
    AVERAGE,
    NEW_RUN,
    check_free,
    holds_run,
    last_good,
    load_checkpoint,
    remove_unused,
    save_checkpoint,
    with_prefix,
)
from healthivert.training.configuration import (
    CONFIGURATION,
    RECORDED,
    as_json,
    check_not_foreign,
    check_same_data,
    check_unchanged,
    is_begun,
    resolved_configuration,
    worker_count,
)
from healthivert.training.distributed import (
    LostProcesses,
    Processes,
    processes_of_torchrun,
    take_own_gpu,
    told_once_a_machine,
)
from healthivert.training.lost_worker import is_of_lost_worker, let_go_of_workers
from healthivert.training.machine import machine
from healthivert.training.metrics import METRICS, MetricsLog, Stopwatch
from healthivert.training.numerics import determinism
from healthivert.training.sample_folder import check_filled, contents_of, shards
from healthivert.training.slices import SliceDataset
from healthivert.training.sole_use import sole_use
from healthivert.training.stopping import STOPS, StopRequest, stop_requests
from healthivert.training.task import RunSettings, Task
from healthivert.training.validation import SCORED, draw_validation, poorer_than_neighbours, validate
from healthivert.whole_file import remove_unfinished, write_whole

Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class TrainingEnd:
    """What a call of train came to. step: of the `wanted` ones. validation: the last one. signal: what stopped it, None
    if nothing did. process: which of many this one is. seconds: of the steps made by this call; images_per_second and
    data_share (waiting for data) are of these."""

    step: int
    wanted: int
    validation: dict[str, float]
    signal: int | None
    process: int
    seconds: float
    images_per_second: float
    data_share: float

    @property
    def exit_status(self) -> int:
        """As a shell names an end by a signal, so that a script can tell it from a finished training."""
        return 128 + self.signal if self.signal and self.step < self.wanted else 0

    @property
    def rates_in_words(self) -> str:
        return rates_in_words(self.images_per_second, self.data_share)


class ReadyRun(NamedTuple):
    """A run that could begin: its data (contents: what they are told by), its networks (restored if it goes on), and of
    the steps so far the last validation, the hours they took and the machines that made them. unvalidated: the
    validation of its step was cut short."""

    data: SliceDataset
    held_out: SliceDataset
    contents: dict[str, Any]
    task: Task
    validation: dict[str, float]
    hours: float
    machines: tuple[str, ...]
    unvalidated: bool
    configuration: dict[str, Any]


def train(
    settings: RunSettings, data_dir: Path, run_dir: Path, resume: bool = False, progress: Progress | None = None
) -> TrainingEnd:
    """Train until settings.steps, the wall-clock limit, or one of STOPS; each of these leaves a checkpoint.

    Raises HealthiVertError for unusable shards, for a folder that already holds a run (without resume), holds a
    different one (with it), is being trained in, or has a foreign file where the run writes one, for a full disk, a
    lost process, and when the training diverges. Whatever was the last checkpoint is still there then.
    """
    with this_process(settings) as (processes, device), told_plainly(run_dir), ExitStack() as folder:
        tell = progress if progress is not None and processes.first else quiet
        killed = alone_in(run_dir, processes, folder)
        with processes.all_or_none():
            ready = ready_run(settings, data_dir, run_dir, resume, killed, processes, device, tell)
        with stop_requests() as stop:  # until here a signal ends the command: there is nothing to save
            return _loop(settings, ready, run_dir, processes, device, stop, tell)


def alone_in(run_dir: Path, processes: Processes, until: ExitStack) -> bool:
    """Keep all but these processes out of run_dir until the end of a block; whether one was killed that had it."""
    with processes.all_or_none():
        killed = processes.first and until.enter_context(sole_use(run_dir, "training"))
    return processes.any(killed)[0]


def ready_run(
    settings: RunSettings,
    data_dir: Path,
    run_dir: Path,
    resume: bool,
    killed: bool,
    processes: Processes,
    device: torch.device,
    tell: Progress,
    trial: bool = False,
) -> ReadyRun:
    """Everything that can be wrong before the first step. Writes nothing. killed: whether a process was that had the
    folder before. trial: for steps that are thrown away, which cost what the last ones would."""
    if not resume:
        check_free(run_dir)
    elif not holds_run(run_dir) and (killed or is_begun(run_dir)):
        tell(WARNING, 0.0, f"{run_dir}: ended before its first checkpoint, so it begins anew")
        resume = False
    stored = load_checkpoint(run_dir, partial(tell, WARNING, 0.0), RECORDED) if resume else None
    if stored is None:
        check_not_foreign(run_dir)
    processes.share(settings.batch_size)
    if data_dir.resolve() != run_dir.resolve():  # that one is in our own use
        check_filled(data_dir)
    training_paths, validation_paths = shards(data_dir, settings.held_out)
    contents = contents_of([*training_paths, *validation_paths])
    if len(training_paths) < processes.count:
        raise HealthiVertError(
            f"{data_dir}: {len(training_paths)} vertebrae to train on are fewer than the {processes.count} processes; "
            "start fewer processes or make more samples"
        )
    tell("load", 0.0, f"reading {len(training_paths)} + {len(validation_paths)} vertebrae")
    data, held_out = SliceDataset(training_paths), SliceDataset(validation_paths)
    _check_frames(data, held_out, data_dir)
    task = (settings.at_full_cost() if trial else settings).start(data.gap, device, processes)
    record: dict[str, Any] = {}
    if stored is not None:
        tensors, record = stored
        check_unchanged(settings, task.name, record, run_dir)
        check_same_data(contents, record, run_dir)
        try:
            task.restore(tensors, record["step"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise HealthiVertError(
                f"{run_dir}: the checkpoint is of another {task.name} architecture than this version's "
                f"({_first_difference(error)}); {NEW_RUN}"
            ) from None
    configuration = resolved_configuration(settings, task, data_dir, data, held_out, processes)
    here = machine(device) if processes.count == 1 else f"{processes.count} processes on {machine(device)}"
    machines = tuple(dict.fromkeys([*record.get("machines", ()), here]))
    validation, hours = record.get("validation", {}), record.get("hours", 0.0)
    unvalidated = bool(record.get("unvalidated"))
    return ReadyRun(data, held_out, contents, task, validation, hours, machines, unvalidated, configuration)


def _check_frames(data: SliceDataset, held_out: SliceDataset, data_dir: Path) -> None:
    """Raise HealthiVertError unless all samples are laid out alike, and so that networks can be passed through."""
    shape, other = (side.volumes.shape[1:4] for side in (data, held_out))
    if data.gap != GAP or held_out.gap != GAP:
        gap = data.gap if data.gap != GAP else held_out.gap
        found = f"its samples have the gap {gap}, this version's have {GAP}"
    elif shape != other:
        found = f"its samples to train on have the shape {shape}, those held out {other}"
    elif any(length % SLICE_DIVISOR for length in shape):
        found = f"its samples have the shape {shape}, but lengths must be multiples of {SLICE_DIVISOR}"
    else:
        return
    raise complaint(data_dir, found, "make them again with `healthivert samples`")


def _loop(
    settings: RunSettings,
    ready: ReadyRun,
    run_dir: Path,
    processes: Processes,
    device: torch.device,
    stop: StopRequest,
    tell: Progress,
) -> TrainingEnd:
    data, held_out, contents, task, validation, hours_before, machines, unvalidated, configuration = ready
    log = _open_run(run_dir, task.step, configuration, tell) if processes.first else None
    share = processes.share(settings.batch_size)
    batches = batches_of(
        StepBatches(data, settings.augmentation, settings.seed, share),
        range(task.step, settings.steps),
        worker_count(settings, device),
        pinned=device.type == "cuda",
    )
    watch = Stopwatch()
    seen = seen_range([*data.features, *held_out.features])

    def learn() -> None:
        with watch.step():
            with watch.waiting():
                batch = next(batches).to(device)
            losses = processes.mean(_step(task, batch, settings, processes))
        with processes.all_or_none():
            _check_finite(losses, task.step, run_dir)
        if task.step % settings.log_every == 0 and log is not None:
            rates = watch.lap(settings.batch_size)
            log.write("training", task.step, losses | rates)
            message = f"step {task.step}, {rates_in_words(**rates)}, ct loss {losses['ct']:.4f}"
            tell("train", task.step / settings.steps, message)

    def checkpoint() -> None:
        with processes.all_or_none():
            if processes.first:
                record = {"step": task.step, "settings": as_json(settings), "validation": validation}
                record |= {"vertebrae": len(data), "data": contents, "model": task.name, "seen": seen}
                record |= {"hours": hours_before + watch.hours, "machines": machines, "unvalidated": unvalidated}
                save_checkpoint(run_dir, task.tensors(), record)
        watch.saved()

    def score() -> None:
        nonlocal validation, unvalidated
        # the last one, whose figures go on the card, is of all vertebrae, and is not cut short
        last = task.step == settings.steps
        stopped = (lambda: False) if last else stop.wanted
        found = validate(task.average, held_out, device, processes, stopped, None if last else SCORED)
        unvalidated = found is None
        if found is None:
            return
        with processes.all_or_none():
            _check_finite(found, task.step, run_dir)
        validation = found
        if log is not None:
            log.write("validation", task.step, found)
            draw_validation(task.average, held_out, device, run_dir, task.step)
            message = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
            tell("validate", task.step / settings.steps, message)
        if last and (poorer := poorer_than_neighbours(found)):
            tell(
                WARNING,
                1.0,
                f"the model is far worse than the neighbours alone ({poorer}): the training has most likely diverged; "
                f"look at {METRICS}, and begin again with a lower learning rate",
            )

    stopping = False
    while (task.step < settings.steps or unvalidated) and not stopping:
        if not unvalidated:  # or the validation that was cut short comes first
            learn()
        if unvalidated or task.step % settings.validate_every == 0 or task.step == settings.steps:
            score()
        *signals, late, due = processes.any(
            *(stop.signal == number for number in STOPS),
            watch.past(settings.wall_clock_minutes),
            watch.due(settings.checkpoint_minutes),
        )
        if any(signals):
            stop.signal = next(compress(STOPS, signals))  # whichever process it reached
        stopping = late or any(signals)
        if due and task.step < settings.steps and not stopping:
            checkpoint()
    checkpoint()
    rates = watch.whole(settings.batch_size)
    if log is not None:
        log.write("end", task.step, rates)
        log.close()
    tell("end", task.step / settings.steps, f"ended at step {task.step}, {rates_in_words(**rates)}")
    return TrainingEnd(task.step, settings.steps, validation, stop.signal, processes.rank, **rates)


def _step(task: Task, batch: TrainingBatch, settings: RunSettings, processes: Processes) -> dict[str, torch.Tensor]:
    """One update. What a network draws by itself (dropout) depends on seed, step and process alone, too."""
    torch.manual_seed(int(random_stream(NETWORK, settings.seed, task.step, processes.rank).integers(2**62)))
    return task.train_step(batch)


def _open_run(run_dir: Path, step: int, configuration: dict[str, Any], tell: Progress) -> MetricsLog:
    run_dir.mkdir(parents=True, exist_ok=True)
    remove_unused(run_dir)
    for name in (CONFIGURATION, METRICS):
        remove_unfinished(run_dir, re.escape(name))
    write_whole(run_dir / CONFIGURATION, (json.dumps(configuration, indent=2) + "\n").encode())
    return MetricsLog(run_dir / METRICS, step, partial(tell, WARNING, 0.0))


def _check_finite(losses: dict[str, float], step: int, run_dir: Path) -> None:
    diverged = [name for name, value in losses.items() if not math.isfinite(value)]
    if diverged:
        raise HealthiVertError(
            f"training diverged at step {step} ({', '.join(diverged)} not finite); "
            f"{last_good(run_dir, 'a lower learning rate')}"
        )


def export(run_dir: Path, out: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write the averaged weights of a run's last checkpoint and their card; `card` adds to it (data, metrics, licence).

    Raises HealthiVertError if the run has no whole checkpoint, and for a full disk.
    """
    tensors, record = load_checkpoint(run_dir, kinds=RECORDED)
    arguments = record["settings"]["generator"]
    if "spectral_norm" in arguments:  # the average is kept in the plain form
        arguments = {**arguments, "spectral_norm": False}
    model: Any = ARCHITECTURES[record["model"]](**arguments)
    model.load_state_dict(with_prefix(tensors, AVERAGE))
    facts = {
        "spacing_mm": 1.0,
        "hu_window": list(HU_WINDOW),
        "rows": ROWS,
        "gap": list(GAP),
        "recipe": {**record["settings"], "steps_done": record["step"]},
        "data": {"training_vertebrae": record["vertebrae"]},
        "metrics": record["validation"],
        "seen": record["seen"],
        "hours": round(record["hours"], 3),
        "machines": record["machines"],
    }
    with told_plainly(run_dir, f"{out} was not written"):
        out.parent.mkdir(parents=True, exist_ok=True)
        for path in (out, out.with_suffix(".json")):
            remove_unfinished(out.parent, re.escape(path.name))
        return save_weights(out, model, {**facts, **card})


@contextmanager
def this_process(settings: RunSettings) -> Iterator[tuple[Processes, torch.device]]:
    """(the processes that train together, the device of this one), which computes within it as the settings say."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    take_own_gpu()
    with told_once_a_machine():
        wanted = choose_device(settings.device)
    with processes_of_torchrun(wanted) as (processes, device), determinism(settings.deterministic, device):
        yield processes, device


@contextmanager
def told_plainly(run_dir: Path, loss: str = "") -> Iterator[None]:
    """What is no bug of the program, but comes as an exception of others, as one line that says how to go on.

    loss: what a full disk prevents.
    """
    of_threads = threading.excepthook
    threading.excepthook = lambda told: None if _is_full(told.exc_value) else of_threads(told)  # TensorBoard's writer
    try:
        yield
    except LostProcesses as error:
        raise HealthiVertError(f"{error}; {last_good(run_dir)}") from error
    except OSError as error:
        if not _is_full(error):
            raise
        full = f"the disk is full{loss and f', so {loss}'}"
        raise HealthiVertError(f"{run_dir}: {full}; free some space; {last_good(run_dir)}") from error
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            remedy = "more processes, fewer other programs or, in a new run, a smaller batch_size"
            raise HealthiVertError(f"the training ran out of memory; {last_good(run_dir, remedy)}") from error
        if not is_of_lost_worker(error):
            raise
        let_go_of_workers()
        raise HealthiVertError(
            f"a process that prepares batches was killed, most often for want of memory; "
            f"{last_good(run_dir, 'fewer --workers')}"
        ) from error
    finally:
        threading.excepthook = of_threads


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in NO_SPACE


def _first_difference(error: Exception) -> str:
    """The first thing that load_state_dict complains of, without its heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[1] if len(lines) > 1 else lines[0]).rstrip(". ")


def rates_in_words(images_per_second: float, data_share: float, **others: float) -> str:
    return f"{images_per_second:.1f} images/s, {100 * data_share:.0f} % of the time waiting for data"
