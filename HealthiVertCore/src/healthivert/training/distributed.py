"""Many processes that train one model: who they are, and what they have to tell each other.

torchrun starts the processes, on one machine or on many, and says in the environment which of them each one is. Each
learns from its share of every step's images; the gradients are averaged before they are used, so all hold the same
networks without ever exchanging them. One collective of a few MB per step is all that is sent: the models are small,
and it works for networks that are passed through several times in a step, for which
torch.nn.parallel.DistributedDataParallel is not made.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from healthivert.errors import HealthiVertError
from healthivert.training.lost_worker import is_of_lost_worker
from healthivert.types import FloatArray

CPU = torch.device("cpu")
NUMBERS = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")  # that torchrun says, with MASTER_ADDR
FAREWELL = timedelta(seconds=5)  # how long a process waits for the others at its end


class LostProcesses(HealthiVertError):
    """Another process has ended before this one."""


@dataclass(frozen=True)
class Processes:
    """rank: which of `count` processes this is; the first writes what the run writes. device: where they exchange."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, total: int) -> range:
        """This process's part of `total` images. Raises HealthiVertError if they cannot be shared evenly."""
        each, rest = divmod(total, self.count)
        if rest:
            raise HealthiVertError(
                f"batch_size {total}: cannot be shared evenly by {self.count} processes; "
                f"set it to a multiple of {self.count} in the recipe, or start fewer processes"
            )
        return range(self.rank * each, (self.rank + 1) * each)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """The mean over all processes of each value, which must be a single number."""
        together = torch.stack([value.detach().float() for value in values.values()]).to(self.device)
        self._add_up(together)
        return dict(zip(values, (together / self.count).tolist(), strict=True))

    def total(self, values: FloatArray) -> FloatArray:
        """The sum over all processes of an array, element by element; float32."""
        together = torch.from_numpy(values.astype(np.float32)).to(self.device)
        self._add_up(together)
        return together.cpu().numpy()

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is true for one of the processes."""
        if self.count == 1:
            return list(flags)
        together = torch.tensor([float(flag) for flag in flags], device=self.device)
        self._add_up(together)
        return [bool(value) for value in together.tolist()]

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every process gets the mean of all processes' gradients."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._add_up(together)
        together /= self.count
        for gradient, mean in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """If the block fails for bad input in one process, it ends in all of them, and one tells why.

        The others leave with the same exit status and no word: one mistake is one line.
        """
        complaint: HealthiVertError | None = None
        try:
            yield
        except HealthiVertError as error:
            complaint = error
        failed = self.any(*(complaint is not None and rank == self.rank for rank in range(self.count)))
        if self.count > 1 and any(failed):
            _wait_for_the_others()
        if any(failed) and failed.index(True) != self.rank:
            raise SystemExit(2)
        if complaint is not None:
            raise complaint

    def _add_up(self, values: Tensor) -> None:
        if self.count > 1:
            try:
                dist.all_reduce(values)
            except RuntimeError as error:
                if is_of_lost_worker(error):
                    raise
                raise LostProcesses(
                    f"process {self.rank} of {self.count} has lost the others: one of them was killed or stopped; "
                    "see what it says"
                ) from error


ALONE = Processes()


@contextmanager
def processes_of_torchrun(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """(the processes, this one's own device); a process that torchrun did not start is alone.

    Raises HealthiVertError if the machine has fewer GPUs than processes, or if the environment does not say what
    torchrun would.
    """
    if not _with_others():
        yield ALONE, device
        return
    with told_once_a_machine():
        _check_environment()
    own = _own_device(device, _place_on_machine())
    if not dist.is_initialized():
        # once in a process's life: a second group would find the first one's addresses in torchrun's store, and hang
        dist.init_process_group("nccl" if own.type == "cuda" else "gloo")
        atexit.register(_leave)
    exchange = own if own.type == "cuda" else CPU
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), exchange), own
    except BaseException:
        atexit.unregister(_leave)  # the others may still be at work, and would be waited for as long as that takes
        raise


def _leave() -> None:
    """Close the connections, all processes at once."""
    _wait_for_the_others()
    dist.destroy_process_group()


def _wait_for_the_others() -> None:
    """Before the end that all come to: where one was faster, another was seen to abort (Gloo)."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        with suppress(RuntimeError):  # the others are gone or stuck
            dist.monitored_barrier(timeout=FAREWELL)


def _with_others() -> bool:
    """RANK and LOCAL_RANK alone, as other programs leave them, make no group of processes."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _check_environment() -> None:
    """Raise HealthiVertError unless it says which of how many this process is, and where they meet."""
    said = {"LOCAL_RANK": "0"} | os.environ
    wrong = [name for name in NUMBERS if not said.get(name, "").isdecimal()]
    if not wrong and int(said["RANK"]) >= int(said["WORLD_SIZE"]):
        wrong = ["RANK"]
    if "MASTER_ADDR" not in said:
        wrong.append("MASTER_ADDR")
    if wrong:
        raise HealthiVertError(
            f"WORLD_SIZE is {said['WORLD_SIZE']!r}, but missing in the environment or wrong: {', '.join(wrong)}; "
            "start the processes with torchrun, or a single one without WORLD_SIZE"
        )


@contextmanager
def told_once_a_machine() -> Iterator[None]:
    """What is wrong before the processes know each other is wrong for all of a machine: the first of them tells it,
    the others leave with the same exit status and no word."""
    try:
        yield
    except HealthiVertError:
        if _place_on_machine():
            raise SystemExit(2) from None
        raise


def take_own_gpu() -> None:
    """Let "cuda" mean this process's own GPU from here on, so that none but its own is ever touched."""
    if torch.cuda.is_available() and _place_on_machine() < torch.cuda.device_count():
        torch.cuda.set_device(_place_on_machine())


def _place_on_machine() -> int:
    place = os.environ.get("LOCAL_RANK", "0")
    return int(place) if _with_others() and place.isdecimal() else 0


def _own_device(device: torch.device, place: int) -> torch.device:
    """The GPU of the process's place on its machine."""
    if device.type != "cuda":
        return device
    there = torch.cuda.device_count()
    if place >= there:
        raise HealthiVertError(f"{place + 1} processes or more on a machine of {there} GPUs; start one for each GPU")
    return torch.device("cuda", place)
