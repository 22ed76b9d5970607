"""The conditional diffusion model: its process, its U-Net, the generator they make, and what it is trained by."""

from healthivert.models.diffusion.generator import DiffusionGenerator, DiffusionSettings
from healthivert.models.diffusion.losses import DiffusionLossWeights, diffusion_losses
from healthivert.models.diffusion.scheduler import DDPMScheduler, SchedulerSettings, SchedulerStep

__all__ = [
    "DDPMScheduler",
    "DiffusionGenerator",
    "DiffusionLossWeights",
    "DiffusionSettings",
    "SchedulerSettings",
    "SchedulerStep",
    "diffusion_losses",
]
