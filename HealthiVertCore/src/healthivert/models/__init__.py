"""Generators that draw a healthy vertebra into the gap. They know tensors; nothing here imports geometry.

A generator is a folder here and an entry in MODELS, in weights.ARCHITECTURES and in training.recipe.TRAINERS:
docs/training.md has the steps.
"""

from importlib import resources
from pathlib import Path

SUFFIX = ".safetensors"  # of weights
MODELS = ("gan", "diffusion")  # the first is the default


def shipped_weights(name: str) -> Path:
    """The weights of that name in the package; their card lies beside them."""
    return Path(str(resources.files("healthivert").joinpath("weights", f"{name}{SUFFIX}")))
