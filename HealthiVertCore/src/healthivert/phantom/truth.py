"""What is true of a phantom, as truth.json holds it: heights, loss and grade from its analytic endplates, and where
each vertebra stands (the body's centre in LPS mm, axes to left, posterior and superior), before and after fractures."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from healthivert.grade import genant_grade
from healthivert.measure import relative_height_loss, third_heights
from healthivert.phantom.posture import standing
from healthivert.phantom.shape import height_map
from healthivert.phantom.spine import PhantomSpine, Vertebra
from healthivert.types import Heights

COLUMN_MM = 0.5
POSES = ("pose", "healthy_pose")  # as standing() tells them


def true_heights(vertebra: Vertebra) -> Heights:
    """Heights in mm of the columns along the body's axis between the analytic endplates."""
    return third_heights(height_map(vertebra, COLUMN_MM), COLUMN_MM)


def truth(spine: PhantomSpine) -> dict[str, Any]:
    """{"seed", "levels": [one row a labelled level, cranial to caudal], "scanner"}, ready for JSON."""
    return {
        "seed": spine.seed,
        "levels": [_row(spine, level) for level in spine.levels],
        "scanner": asdict(spine.scanner),
    }


def _row(spine: PhantomSpine, level: str) -> dict[str, Any]:
    vertebra = spine.vertebra(level)
    original, healthy = true_heights(vertebra), true_heights(replace(vertebra, fracture=None))
    loss = relative_height_loss(original, healthy)
    return {
        "level": vertebra.level,
        "label": vertebra.number,
        "fractured": vertebra.fracture is not None,
        "shape": vertebra.fracture.shape if vertebra.fracture is not None else "normal",
        "heights_mm": original.as_dict(),
        "healthy_heights_mm": healthy.as_dict(),
        "rhlv": loss.as_dict(),
        "genant": genant_grade(loss).grade,
        **{name: pose.as_dict() for name, pose in zip(POSES, standing(spine, level), strict=True)},
    }
