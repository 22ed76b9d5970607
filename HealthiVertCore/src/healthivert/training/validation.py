"""How good a generator is on vertebrae it was not trained on."""

from __future__ import annotations

import torch

from healthivert.gap import HU_WINDOW
from healthivert.models.interface import Generator
from healthivert.models.losses import masked_l1, soft_dice_loss
from healthivert.models.slices_of import PLANES
from healthivert.training.slices import SliceDataset


@torch.no_grad()
def validate(
    generator: Generator, dataset: SliceDataset, device: torch.device, vertebrae: int = 24, slices: int = 6
) -> dict[str, float]:
    """Means over up to `vertebrae` vertebrae, `slices` of each plane.

    l1_hu: of the CT inside the gap. dice: of the thresholded body. height_error: |predicted - true| / true of the mean
    body height in percent, and baseline_height_error the same for the neighbours' reference alone.
    """
    hu_per_unit = (HU_WINDOW[1] - HU_WINDOW[0]) / 2
    sums = {"l1_hu": 0.0, "dice": 0.0, "height_error": 0.0, "baseline_height_error": 0.0}
    count = min(vertebrae, len(dataset))
    chosen = torch.linspace(0, len(dataset) - 1, count).round().int().tolist()
    for vertebra in chosen:
        heights = []
        for plane in PLANES:
            batch, targets = dataset.middle_slices(vertebra, plane, slices)
            output = generator(batch.to(device))
            ct, body = output.x_stage2.cpu(), (output.fine_seg.cpu() > 0.5).float()
            sums["l1_hu"] += hu_per_unit * float(masked_l1(ct, targets.ct, batch.mask).mean()) / len(PLANES)
            dice = 1 - soft_dice_loss(body, (targets.body > 0.5).float())
            sums["dice"] += float(dice.mean()) / len(PLANES)
            heights.append(output.pred2_h.cpu())
        true = float(dataset.log_height_ratios[vertebra])
        predicted = float(torch.cat(heights).mean())
        sums["height_error"] += 100 * abs(float(torch.tensor(predicted - true).expm1()))
        sums["baseline_height_error"] += 100 * abs(float(torch.tensor(-true).expm1()))
    return {name: value / count for name, value in sums.items()}
