"""A plausible report of a fractured L1, drawn from simple shapes: what the report tests write and look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from healthivert.types import Genant, HeightLoss, HeightProfile, Heights, LevelSummary, Report, View

SPACING = 0.8
ROWS, COLUMNS = 150, 112
HEALTHY_MM = {"T11": 22.9, "T12": 23.9, "L1": 25.6, "L2": 26.8, "L3": 26.4, "L4": 26.1}
LOST = {"anterior": 0.52, "middle": 0.58, "posterior": 0.22}


def fractured_report(**changes: object) -> Report:
    """L1 with a wedge of grade 3; keywords replace fields of the Report."""
    healthy = Heights(24.6, 25.2, 27.0, 25.6)
    original = Heights(*(getattr(healthy, third) * (1 - lost) for third, lost in LOST.items()), 13.8)
    report = Report(
        case="phantom 0001",
        vertebra="L1",
        model={"name": "gan", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        device="cpu",
        seed=0,
        samples=8,
        attention="suspicion",
        loss=HeightLoss(
            original=original,
            pseudo_healthy=healthy,
            neighbour_reference=Heights(24.9, 25.0, 26.2, 25.4),
            rhlv=Heights(*LOST.values(), 0.46),
            rhlv_sd=Heights(0.011, 0.014, 0.009, 0.01),
            rhlv_interval={**{third: (lost - 0.04, lost + 0.04) for third, lost in LOST.items()}, "mean": (0.42, 0.5)},
            rhlv_reference={**LOST, "mean": 0.47},
            six_point={
                "original": {"anterior": 11.6, "middle": 9.9, "posterior": 21.2},
                "pseudo_healthy": {"anterior": 24.4, "middle": 25.0, "posterior": 27.2},
            },
            loss_map=_loss_map(),
            genant=Genant(3, "wedge"),
            warnings=("T12 looks fractured too: it was left out of the neighbours' reference.",),
        ),
        spine=_spine(),
        warnings=("The scan ends inside T11: its heights are not complete.",),
        timing_s={"read": 1.2, "straighten": 2.8, "generate": 6.4, "measure": 0.6},
        versions={"healthivert": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "SimpleITK": "2.5.5"},
        views=(_view("sagittal"), _view("coronal")),
        profile=_profile(),
    )
    return replace(report, **changes)


def with_rhlv(report: Report, rhlv: Heights, genant: Genant) -> Report:
    """The same report with another height loss."""
    return replace(report, loss=replace(report.loss, rhlv=rhlv, genant=genant))


def _spine() -> tuple[LevelSummary, ...]:
    rows = []
    for label, (level, mm) in enumerate(HEALTHY_MM.items(), start=18):
        mean = 13.8 if level == "L1" else 20.1 if level == "T12" else mm
        grade = Genant(3, "wedge") if level == "L1" else Genant(1, "wedge") if level == "T12" else Genant(0, "normal")
        reference = None if level == "T11" else Heights(mm, mm, mm, mm + 0.4)
        rows.append(LevelSummary(level, label, Heights(mean, mean, mean, mean), reference, 0.9, grade))
    return tuple(rows)


def _loss_map() -> np.ndarray:
    ap, lr = np.mgrid[0:34, 0:46]
    footprint = ((ap - 16.5) / 16) ** 2 + ((lr - 22.5) / 22) ** 2 <= 1
    return np.where(footprint, 0.62 - 0.02 * ap + 0.003 * (lr - 22), np.nan)


def _profile() -> HeightProfile:
    ap = np.arange(36.0)
    inside = (ap >= 2) & (ap <= 33)
    healthy = np.where(inside, 25.6 - 1.2 * np.sin(np.pi * (ap - 2) / 31), np.nan)
    return HeightProfile(ap, healthy * (0.45 + 0.33 * ap / 35), healthy)


def _view(plane: str) -> View:
    rng = np.random.default_rng(3)
    before, body_before = _picture(14.0, plane, rng)
    after, body_after = _picture(25.6, plane, rng)
    gap = np.zeros((ROWS, COLUMNS))
    gap[50:100, 20:92] = 1
    window = np.clip((before + 300) / 550 - 1, -1, 1)
    attention = np.clip(np.abs(np.arange(ROWS) - 75.0) / 60, 0, 1)[:, None] * np.ones(COLUMNS) * (1 - gap)
    return View(plane, SPACING, before, after, body_before, body_after, np.where(gap > 0, -1, window), gap, attention)


def _picture(height_mm: float, plane: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three bodies with cortical shells in muscle, fat at the sides; and the soft mask of the middle one."""
    si, across = np.mgrid[0:ROWS, 0:COLUMNS] * SPACING
    image = np.where(np.abs(across - 45) < 38, 55.0, -95.0)
    target = np.zeros((ROWS, COLUMNS))
    floor = 60 - 12.8
    slope = 0.14 if plane == "sagittal" and height_mm < 20 else 0
    for low, height, tilt in ((floor - 36, 28, 0), (floor, height_mm, slope), (floor + height_mm + 9, 26, 0)):
        top = low + height + tilt * (across - 45)
        waist = 17 + 0.012 * (si - low - height / 2) ** 2
        body = ndimage.gaussian_filter(((si > low) & (si < top) & (np.abs(across - 45) < waist)).astype(float), 0.7)
        shell = body - ndimage.binary_erosion(body > 0.5, iterations=2)
        image = image * (1 - body) + body * 170 + np.clip(shell, 0, 1) * (body > 0.4) * 420
        target = body if low == floor else target
    return ndimage.gaussian_filter(image + rng.normal(0, 60, image.shape), 0.6), target
