"""Generators that draw a healthy vertebra into the gap. They know tensors; nothing here imports geometry.

A generator is a folder here and an entry in MODELS, in weights.ARCHITECTURES and in training.recipe.TRAINERS:
docs/training.md has the steps.
"""

MODELS = ("gan", "diffusion")  # the first is the default
