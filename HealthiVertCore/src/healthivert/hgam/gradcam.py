"""Grad-CAM++: where a classifier looked (Chattopadhyay et al. 2018, https://arxiv.org/abs/1710.11063).

In: a network, one of its layers, a batch. Out: the scores, and a map of the layer's size for each picture. With
A the layer's output, g the score's gradient at it, and exp(score) as the function that is explained (the paper's
eq. 19), the second and third derivatives are powers of g, and
    alpha = g^2 / (2 g^2 + g^3 sum(A)),    weight = sum(alpha relu(g)),    map = relu(sum over channels of weight A).
The common factor exp(score) is left out: maps are compared within a picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def grad_cam(model: nn.Module, layer: nn.Module, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """(scores [B], maps [B, h, w] >= 0, not normalised) of a model that gives one score per picture.

    The hook puts a leaf in the layer's place, so that gradients are computed from there on only, and the model's
    parameters need none.
    """
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    handle = layer.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            scores = model(pictures)
            (gradient,) = torch.autograd.grad(scores.sum(), outputs[-1])
    finally:
        handle.remove()
    features = outputs[-1].detach()
    squared = gradient**2
    below = 2 * squared + gradient**3 * features.sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(below != 0, squared / torch.where(below != 0, below, 1.0), 0.0)
    weight = (alpha * gradient.clamp(min=0)).sum(dim=(2, 3), keepdim=True)
    return scores.detach(), (weight * features).sum(dim=1).clamp(min=0)
