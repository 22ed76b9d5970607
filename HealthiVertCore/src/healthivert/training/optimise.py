"""One network's updates: backward, gradients averaged over the processes, clipped, and a step of Adam.

In: a loss. Out: the gradient's norm. The state (Adam's moments, the scale of float16 gradients) goes to a checkpoint as
tensors under flat names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from healthivert.training.checkpoint import optimiser_tensors, restore_optimiser, with_prefix
from healthivert.training.distributed import Processes
from healthivert.training.task import RunSettings, learning_rate

SMALLEST_SCALE = 1.0  # float16 gradients that overflow even unscaled are no matter of precision any more


class Optimiser:
    """Adam on a network's parameters, with the settings' rate for each step."""

    def __init__(
        self,
        network: nn.Module,
        settings: RunSettings,
        precision: torch.dtype,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.network, self.settings, self.processes = network, settings, processes
        self.adam = torch.optim.Adam(network.parameters(), settings.learning_rate, settings.betas)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)

    def update(self, loss: Tensor, step: int, clip_norm: float = math.inf) -> Tensor:
        """One update; the gradient's norm before it was clipped. A gradient that is not finite changes nothing.

        The norm is 0 for a step that was skipped because float16 gradients overflowed; their scale is halved then.
        """
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        self.adam.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.processes.average_gradients(self.network.parameters())
        self.scaler.unscale_(self.adam)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        finite = bool(torch.isfinite(norm))
        if self.scaler.is_enabled():
            self.scaler.step(self.adam)
            self.scaler.update()
            overflowed = not finite and self.scaler.get_scale() >= SMALLEST_SCALE
            return torch.zeros_like(norm) if overflowed else norm
        if finite:
            self.adam.step()
        return norm

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        tensors = optimiser_tensors(self.adam, prefix)
        if self.scaler.is_enabled():
            scale = self.scaler.state_dict()
            tensors[f"{prefix}_scale.factor"] = torch.tensor(scale["scale"], dtype=torch.float64)
            tensors[f"{prefix}_scale.growth"] = torch.tensor(scale["_growth_tracker"])
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """The inverse of tensors; the settings stay those of this optimiser."""
        restore_optimiser(self.adam, tensors, prefix)
        scale = with_prefix(tensors, f"{prefix}_scale")
        if self.scaler.is_enabled() and scale:
            state = {"scale": float(scale["factor"]), "_growth_tracker": int(scale["growth"])}
            self.scaler.load_state_dict(self.scaler.state_dict() | state)
