"""How far the height that the other levels predict is from the truth, on generated spines' analytic heights.

Prints the tables of docs/method.md, "What the neighbours say" and "How sure". Nothing is rendered: what segmentation
and measuring add is not in it. The best possible is a linear prediction by one who knows how the generator's spines
vary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ceilings import best_height_errors

from healthivert.anatomy import LEVELS, normal_spine
from healthivert.grade import genant_grade
from healthivert.inspection import believed_size
from healthivert.measure import relative_height_loss
from healthivert.phantom import PhantomSpine, sample_spine, truth
from healthivert.pipeline import NINE_OF_TEN
from healthivert.reference import normal_heights, population, predictions, suspicion
from healthivert.types import HEIGHT_KEYS, SUSPICIOUS, Heights

FIRST_SEED, SPINES = 910_000, 200
FIRST_KNOWN, KNOWN = 920_000, 1000  # spines from which it is known how they vary
SPINE = [level for level in LEVELS[LEVELS.index("T4") : LEVELS.index("L5") + 1] if level != "T13"]
WITHOUT_GRADE_0 = {"no_grade": 0.0}


def seen(levels: int, fractured: tuple[int, int] | None = None) -> Callable[[int], PhantomSpine]:
    """Seed -> so many levels of a spine, between so few and so many of them fractured; None for healthy ones."""
    if fractured is None:
        return lambda seed: sample_spine(seed, False, window(seed, levels))
    return lambda seed: sample_spine(seed, True, window(seed, levels), fracture_count=fractured, **WITHOUT_GRADE_0)


KINDS: dict[str, Callable[[int], PhantomSpine]] = {
    "whole healthy spine": lambda seed: sample_spine(seed),
    "five healthy levels": seen(5),
    "whole spine, 1 to 4 fractures": lambda seed: sample_spine(seed, True),
    "five levels, 2 or 3 of them fractured": seen(5, (2, 3)),
    "five levels, 4 or all fractured": seen(5, (4, 5)),
}
WHOLE = ("whole healthy spine", "whole spine, 1 to 4 fractures")
SHORT: dict[str, Callable[[int], PhantomSpine]] = {
    "one healthy level": seen(1),  # a fractured one is expected to be as high
    "three healthy levels": seen(3),
    "three levels, 2 of them fractured": seen(3, (2, 2)),
    "three levels, all fractured": seen(3, (3, 3)),
    "two healthy levels": seen(2),
    "two levels, one fractured": seen(2, (1, 1)),
    "two levels, both fractured": seen(2, (2, 2)),
}


def window(seed: int, count: int) -> list[str]:
    first = int(np.random.default_rng(seed).integers(len(SPINE) - count + 1))
    return SPINE[first : first + count]


def size_of(spine: PhantomSpine) -> float:
    """As inspection.endplate_size, from the spine's own widths and depths."""
    normal = normal_spine()
    sides = [
        np.sqrt(v.width * v.depth / (normal[v.level].width * normal[v.level].depth))
        for v in spine.vertebrae
        if v.level in spine.levels
    ]
    return float(np.mean([believed_size(side) for side in sides]))


def errors(spine: PhantomSpine) -> Iterator[tuple[float, ...]]:
    """For every level, in percent: of the reference with and without the person's size, of the nearest unsuspected one
    on each side by the ratio of normal heights, and of the two neighbours' mean."""
    rows = truth(spine)["levels"]
    seen = {row["level"]: Heights(**row["heights_mm"]) for row in rows}
    ways = predictions(seen, size_of(spine)), predictions(seen)
    ratio = {level: heights.mean / normal_heights(level).mean for level, heights in seen.items()}
    healthy = {
        level for level in seen if (found := ways[0][level]) and suspicion(seen[level], found.heights) < SUSPICIOUS
    }
    for number, row in enumerate(rows):
        sides = [one["level"] for one in rows[:number][::-1]], [one["level"] for one in rows[number + 1 :]]
        beside = [seen[level].mean for side in sides for level in side[:1]]
        nearest = [ratio[v] for side in sides for v in [v for v in side if v in healthy][:1]] or [1.0]
        predicted = [prediction.heights.mean for way in ways if (prediction := way[row["level"]]) is not None]
        by_ratio = float(np.mean(nearest)) * normal_heights(row["level"]).mean
        true = row["healthy_heights_mm"]["mean"]
        yield tuple(100 * abs(mm / true - 1) for mm in (*predicted, by_ratio, float(np.mean(beside))))


class Held(NamedTuple):
    """grade: by thresholds, of what was found. within: of each of HEIGHT_KEYS, whether the interval of 90 % holds
    the true height."""

    level: str
    grade: int
    within: list[bool]


def held(spine: PhantomSpine) -> Iterator[Held]:
    """For every level."""
    rows = truth(spine)["levels"]
    found = predictions({row["level"]: Heights(**row["heights_mm"]) for row in rows}, size_of(spine))
    for row in rows:
        prediction = found[row["level"]] or population(row["level"], size_of(spine))
        grade = genant_grade(relative_height_loss(Heights(**row["heights_mm"]), prediction.heights)).grade
        within = [
            abs(getattr(prediction.heights, key) / row["healthy_heights_mm"][key] - 1)
            <= NINE_OF_TEN * getattr(prediction.spread, key)
            for key in HEIGHT_KEYS
        ]
        yield Held(row["level"], grade, within)


def line(what: str, found: Sequence[tuple[float, ...]]) -> str:
    means, worst = np.mean(found, axis=0), np.quantile(found, 0.9, axis=0)
    cells = [f"{mean:.1f} ({high:.1f})" for mean, high in zip(means, worst, strict=True)]
    return f"| {what} | {' | '.join(cells)} |"


def line_of_held(what: str, levels: Sequence[Held]) -> str:
    shares = 100 * np.mean([level.within for level in levels], axis=0)
    return f"| {what} | {' | '.join(f'{share:.0f}' for share in shares)} |"


def main() -> None:
    print(
        f"{SPINES} spines each, seeds from {FIRST_SEED}; mean (and 90th percentile) of the absolute error in percent."
    )
    columns = (
        "reference",
        "without the person's size",
        "two healthy neighbours by normal ratios",
        "mean of two neighbours",
    )
    print(f"| | {' | '.join(columns)} |\n|---|---|---|---|---|")
    seeds = range(FIRST_SEED, FIRST_SEED + SPINES)
    for what, sample in KINDS.items():
        print(line(what, [error for seed in seeds for error in errors(sample(seed))]), flush=True)
    best = np.mean(list(best_height_errors(range(FIRST_KNOWN, FIRST_KNOWN + KNOWN), seeds).values()))
    print(f"The best linear prediction on whole healthy spines: {best:.1f} %")
    print("How many of the true heights the interval of 90 % holds, in percent.")
    print(f"| | {' | '.join(HEIGHT_KEYS)} |\n|---|---|---|---|---|")
    for what, sample in {**KINDS, **SHORT}.items():
        levels = [level for seed in seeds for level in held(sample(seed))]
        print(line_of_held(what, levels), flush=True)
        if what in WHOLE:
            for end in ("T1", "L5"):
                print(line_of_held(f"{what}: {end}", [level for level in levels if level.level == end]), flush=True)
            found = [level for level in levels if level.grade]
            print(line_of_held(f"{what}: {len(found)} found to be of grade 1 or more", found), flush=True)


if __name__ == "__main__":
    main()
