"""Ways to put a level together from its neighbours alone, without any model: each patches something of the package, a
constant of the prior or of footprints at another value for instance."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar
from unittest.mock import patch

from rows import cell_of_way

from healthivert.evaluate import picture_metrics
from healthivert.inspection import SpineAnalysis
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra
from healthivert.types import SpineCase

DECIMALS = {"dice": 4, "ssim": 4, "psnr": 2}
Way = TypeVar("Way", bound=Hashable)
Told = dict[Way, dict[str, float]]
ByValue = Told[float]


def by_way(
    ways: Mapping[Way, Mapping[str, Any]],
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    truth: Prepared | None = None,
) -> Told[Way]:
    """Way -> metrics of the level put together from its neighbours. ways: name -> {"prior.bulge": what is there
    instead}. truth: of its healthy twin; None: its own."""
    told = {}
    for way, changes in ways.items():
        with ExitStack() as stack:
            for name, instead in changes.items():
                stack.enter_context(patch(f"healthivert.{name}", instead))
            prepared = prepare(case, analysis, level)
        told[way] = picture_metrics(truth or prepared, prior_vertebra(prepared.conditioning))
    return told


def by_value(
    constant: str,
    values: Sequence[float],
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    truth: Prepared | None = None,
) -> ByValue:
    """by_way with one constant at several values, e.g. "prior.MIRRORED_SHARE"."""
    return by_way({value: {constant: value} for value in values}, case, analysis, level, truth)


def lines_by_value(group: str, told: Sequence[Told[Way]], units: Sequence[Hashable]) -> Iterator[str]:
    """Means; in brackets the 95 % interval (bootstrap over units) of the change against the first value or way."""
    first, *_ = told[0]
    for way in told[0]:
        cells = [cell_of_way(told, way, first, metric, units, decimals) for metric, decimals in DECIMALS.items()]
        yield f"| {group} ({len(told)}) | {way} | {' | '.join(cells)} |"
