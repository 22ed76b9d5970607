"""A constant of the prior or of footprints tried at several values, with the neighbours alone, without any model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from unittest.mock import patch

from rows import cell_of_way

from healthivert.evaluate import picture_metrics
from healthivert.inspection import SpineAnalysis
from healthivert.pipeline import Prepared, prepare
from healthivert.prior import prior_vertebra
from healthivert.types import SpineCase

DECIMALS = {"dice": 4, "ssim": 4, "psnr": 2}
ByValue = dict[float, dict[str, float]]


def by_value(
    constant: str,
    values: Sequence[float],
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    truth: Prepared | None = None,
) -> ByValue:
    """Value -> metrics of the level put together from its neighbours. constant: e.g. "prior.MIRRORED_SHARE". truth: of
    its healthy twin; None: its own."""
    told = {}
    for value in values:
        with patch(f"healthivert.{constant}", value):
            prepared = prepare(case, analysis, level)
        told[value] = picture_metrics(truth or prepared, prior_vertebra(prepared.conditioning))
    return told


def lines_by_value(group: str, told: Sequence[ByValue], units: Sequence[Hashable]) -> Iterator[str]:
    """Means; in brackets the 95 % interval (bootstrap over units) of the change against the first value."""
    first, *_ = told[0]
    for value in told[0]:
        cells = [cell_of_way(told, value, first, metric, units, decimals) for metric, decimals in DECIMALS.items()]
        yield f"| {group} ({len(told)}) | {value} | {' | '.join(cells)} |"
