"""The trained fracture classifier at work: how probable a fracture is, and where it was seen.

In: patches.LevelPatches. Out: a probability for the level and, from FractureCnn, a map by Grad-CAM++.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from healthivert.errors import HealthiVertError
from healthivert.hgam import CLASSIFIER
from healthivert.hgam.calibration import Calibration
from healthivert.hgam.gradcam import grad_cam
from healthivert.hgam.patches import LevelPatches
from healthivert.models.fracture import CnnSettings, FractureCnn, FractureVit, VitSettings
from healthivert.models.weights import load_weights
from healthivert.types import FloatArray

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "fracture_cnn": lambda **arguments: FractureCnn(CnnSettings(**arguments)),
    "fracture_vit": lambda **arguments: FractureVit(VitSettings(**arguments)),
}
FRACTURED = 0.5  # of a calibrated probability: more likely than not


class FractureClassifier:
    """model: one of CLASSIFIERS, on the CPU. calibration: what makes its logits probabilities."""

    def __init__(self, model: nn.Module, calibration: Calibration) -> None:
        self.model, self.calibration = model, calibration

    def probability(self, patches: LevelPatches) -> float:
        """0..1 for the level: its slices vote with their logits."""
        with torch.inference_mode():
            return float(self.calibration.probability(self.model(as_batch(patches)).mean().item()))

    def seen_at(self, patches: LevelPatches) -> tuple[float, FloatArray]:
        """The probability, and where the fracture was seen: (slices, SI, AP), 1 at the strongest place of the level."""
        if not isinstance(self.model, FractureCnn):
            raise HealthiVertError("attention needs the convolutional classifier: no other has a map to look at")
        scores, maps = grad_cam(self.model, self.model.features, as_batch(patches))
        zoom = patches.ct.shape[1] / maps.shape[1]
        fine = ndimage.zoom(maps.numpy(), (1, zoom, zoom), order=1, mode="nearest", grid_mode=True)
        strongest = float(fine.max())
        probability = float(self.calibration.probability(scores.mean().item()))
        return probability, fine / strongest if strongest > 0 else fine


def load_classifier(name_or_path: str | Path = CLASSIFIER) -> FractureClassifier:
    """The shipped classifier, or one that healthivert.hgam.train wrote. Raises HealthiVertError as load_weights does,
    and if the card holds no calibration."""
    model, card = load_weights(name_or_path, architectures=CLASSIFIERS)
    try:
        own = card["calibration"]
        return FractureClassifier(model, Calibration(float(own["scale"]), float(own["offset"])))
    except (KeyError, TypeError, ValueError):
        raise HealthiVertError(f"{name_or_path}: the classifier's card lacks its calibration; train it again") from None


def as_batch(patches: LevelPatches) -> Tensor:
    """[slices, 2, SI, AP]."""
    return torch.from_numpy(np.stack([patches.ct, patches.body], axis=1).astype(np.float32))
