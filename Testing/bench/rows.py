"""What a benchmark measures, and a line of what it finds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from healthivert.agreement import bootstrap_interval
from healthivert.evaluate import mean_row
from healthivert.pipeline import GenerateSamples
from healthivert.types import THIRDS, FloatArray

Way = TypeVar("Way", bound=Hashable)


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, on so many fractured spines and as many healthy ones."""

    model: str
    weights: str  # sha256
    generate: GenerateSamples
    phantoms: int


@dataclass(frozen=True)
class Row:
    """One line of the results: what was measured, what it should be, what came out, and whether it is met."""

    what: str
    target: str
    measured: str
    met: bool | None

    def __str__(self) -> str:
        mark = {True: "met", False: "**missed**", None: ""}[self.met]
        return f"| {self.what} | {self.target} | {self.measured} | {mark} |"


def pictures(mean: dict[str, float]) -> str:
    return (
        f"Dice {mean['dice']:.3f} (neighbours alone {mean['dice_prior']:.3f}); "
        f"SSIM {mean['ssim']:.3f} ({mean['ssim_prior']:.3f}); PSNR {mean['psnr']:.1f} dB ({mean['psnr_prior']:.1f})"
    )


def regrown_row(what: str, rows: list[dict]) -> Row:
    mean = mean_row(rows)
    text = (
        f"RHDR {mean['rhdr']:.1f} % (reference from all levels {mean['rhdr_reference']:.1f} %, two healthy neighbours "
        f"by normal ratios {mean['rhdr_two_healthy']:.1f} %, mean of the two beside it "
        f"{mean['rhdr_two_neighbours']:.1f} %); thirds {mean['height_mae_mm']:.2f} mm "
        f"({mean['height_mae_mm_reference']:.2f}); {pictures(mean)}"
    )
    return Row(what, "RHDR <= 2 %", text, mean["rhdr"] <= 2)


def picture_rows(found: Mapping) -> Iterator[Row]:
    """found: what evaluate.summarise says of rows with dice, ssim and psnr, and the neighbours' own."""
    for key, name, least, decimals in (
        ("dice", "Dice", 0.94, 3),
        ("ssim", "SSIM", 0.92, 3),
        ("psnr", "PSNR, dB", 28.5, 1),
    ):
        value, alone = found["mean"][key], found["mean"][f"{key}_prior"]
        text = (
            f"{value:.{decimals}f} {between(found['interval'][key], decimals)} (neighbours alone {alone:.{decimals}f})"
        )
        yield Row(f"the same: {name}", f">= {least:g}", text, value >= least)


def loss_rows(loss: dict, levels: str) -> Iterator[Row]:
    """loss: of the fractured ones, as evaluate_phantoms.loss_agreement tells it; levels: which those are."""
    error = loss["mean_absolute_error"]
    alone = loss["mean_absolute_error_reference"]
    text = f"{error:.1f} points {between(loss['interval'], 1)} (reference alone {alone:.1f})"
    yield Row(f"{loss['count']} {levels}: RHLV error", "<= 4 points", text, error <= 4)
    limits = limits_row("the same: 95 % limits of agreement", loss)
    yield replace(limits, measured=f"{limits.measured}; ICC {loss['icc']:.3f}")
    yield worst_third_row("the same: worst third, by which is graded", loss)
    height = loss["original_height_mae_mm"]
    yield Row("the same: height of the fractured body", "<= 0.8 mm", f"{height:.2f} mm", height <= 0.8)


def limits_row(what: str, loss: Mapping) -> Row:
    low, high = loss["limits"]
    text = f"bias {loss['bias']:+.1f}, {low:+.1f} to {high:+.1f}"
    return Row(what, "within +-8 points", text, max(-low, high) <= 8)


def worst_third_row(what: str, loss: Mapping) -> Row:
    worst = loss["worst_third"]
    low, high = worst["limits"]
    text = f"error {worst['mean_absolute_error']:.1f} points; bias {worst['bias']:+.1f}, {low:+.1f} to {high:+.1f}"
    return Row(what, "within +-8 points", text, max(-low, high) <= 8)


def grade_rows(levels: str, found: dict, judged: bool) -> Iterator[Row]:
    """judged: whether `run` grades them this way by default: the targets are for that one."""
    for name, key, least in (("linear kappa", "kappa_linear", 0.90), ("macro-F1", "macro_f1", 0.85)):
        text = f"{found[key]:.3f} {between(found['interval'][key], 2)}; quadratic {found['kappa_quadratic']:.3f}"
        text = text if key == "kappa_linear" else text.split(";")[0]
        met = found[key] >= least if judged else None
        target = f">= {least:.2f}" if judged else ""
        yield Row(f"{found['count']} {levels}: {name}", target, text, met)
    confusion = confusion_text(found["confusion"])
    yield Row(f"the same: confusion (a row for each true grade), exact {found['accuracy']:.0%}", "", confusion, None)


def between(interval: tuple[float, float] | None, decimals: int) -> str:
    return "" if interval is None else f"[{interval[0]:.{decimals}f}, {interval[1]:.{decimals}f}]"


def interval_row(what: str, holds: Mapping[str, float]) -> Row:
    """holds: of each of HEIGHT_KEYS, the share that lies within its interval of nine in ten."""
    text = f"{holds['mean']:.0%}; by third {', '.join(f'{holds[third]:.0%}' for third in THIRDS)}"
    return Row(what, "85 to 95 %", text, all(0.85 <= share <= 0.95 for share in holds.values()))


def confusion_text(counts: Iterable[Iterable[int]]) -> str:
    """The rows of a confusion matrix, one for each true grade."""
    return " / ".join(" ".join(map(str, row)) for row in counts)


def mean_and_change(
    found: FloatArray, base: FloatArray, units: Sequence[Hashable], mean_format: str, change_format: str, seed: int
) -> str:
    """Mean of found; in brackets the 95 % interval (bootstrap over units), where there is one, of its mean difference
    to base. Values that are not finite are left out."""
    text, difference = f"{np.nanmean(found):{mean_format}}", found - base
    kept = np.flatnonzero(np.isfinite(difference))
    interval = bootstrap_interval([units[i] for i in kept], lambda drawn: float(difference[kept][drawn].mean()), seed)
    return text if interval is None else f"{text} [{interval[0]:{change_format}}, {interval[1]:{change_format}}]"


def cell_of_way(
    told: Sequence[Mapping[Way, Mapping[str, float]]],
    way: Way,
    first: Way,
    metric: str,
    units: Sequence[Hashable],
    decimals: int,
    change_format: str = "",
    seed: int = 0,
) -> str:
    """Mean of a metric as one way of doing it tells; of all ways but the first with what mean_and_change says of the
    difference. told: way -> metric -> value, of every case. change_format: as decimals say if it is empty."""
    value, without = (np.array([ways[name][metric] for ways in told]) for name in (way, first))
    mean_format = f".{decimals}f"
    if way == first:
        return f"{value.mean():{mean_format}}"
    return mean_and_change(value, without, units, mean_format, change_format or f"+{mean_format}", seed)
