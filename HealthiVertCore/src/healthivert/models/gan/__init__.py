"""The two-stage GAN of the reference method: a coarse and a fine generator, and three patch discriminators."""

from healthivert.models.gan.discriminators import Discriminators, DiscriminatorSettings
from healthivert.models.gan.generator import GanGenerator, GanSettings, fold_spectral_norm, plain_state

__all__ = [
    "DiscriminatorSettings",
    "Discriminators",
    "GanGenerator",
    "GanSettings",
    "fold_spectral_norm",
    "plain_state",
]
