"""What a setting may be, said where its field is declared, and held against every value that the settings are made of.

@dataclass(frozen=True)
class Settings:
    steps: int = at_least(1, 20_000)

    def __post_init__(self) -> None:
        check_allowed(self)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ALLOWED = "allowed"  # the key in a field's metadata
LARGEST_SEED = 2**63 - 1  # what every random generator in use takes
LARGEST = 10**9  # of what has no limit of its own: beyond it there are only slips of the pen


class Allowed(NamedTuple):
    """words: what a value must be, as it follows "it must be"."""

    words: str
    holds: Callable[[Any], bool]


def at_least(least: float, default: Any, most: int = LARGEST) -> Any:
    return _field(default, f"{least:g} or more, and {most} at most", lambda value: least <= value <= most)


def above(bound: float, default: Any) -> Any:
    return _field(default, f"more than {bound:g}, and {LARGEST} at most", lambda value: bound < value <= LARGEST)


def from_to(least: float, most: float, default: Any) -> Any:
    return _field(default, f"{least} to {most}", lambda value: least <= value <= most)


def between(low: float, high: float, default: Any) -> Any:
    return _field(default, f"more than {low:g} and less than {high:g}", lambda value: low < value < high)


def multiple_of(factor: int, default: Any, most: int) -> Any:
    words = f"a multiple of {factor}, and {most} at most"
    return _field(default, words, lambda value: 0 < value <= most and value % factor == 0)


def one_of(names: Sequence[str], default: str) -> Any:
    return _field(default, f"one of {', '.join(names)}", lambda value: value in names)


def random_seed(default: int) -> Any:
    return from_to(0, LARGEST_SEED, default)


def check_allowed(settings: DataclassInstance) -> None:
    """Raise ValueError for the first value that its field does not allow. None is allowed where it is the default."""
    for each in fields(settings):
        value, allowed = getattr(settings, each.name), each.metadata.get(ALLOWED)
        if allowed is not None and not (value is None is each.default) and not allowed.holds(value):
            raise ValueError(f"{each.name} is {value!r}; it must be {allowed.words}")


def _field(default: Any, words: str, holds: Callable[[Any], bool]) -> Any:
    return field(default=default, metadata={ALLOWED: Allowed(words, holds)})
