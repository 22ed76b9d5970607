"""Fractured levels of generated spines regrown and held against the very same person without fractures: what a run is
asked for, and what no real scan can tell."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from rows import Row, Subject, picture_rows
from spines import Scan, Twins, scanned_twins

from healthivert.evaluate import beside_the_prior, summarise
from healthivert.phantom import sample_spine
from healthivert.pipeline import prepare

FIRST_SEED = 902_000  # those of the other benchmarks begin below


def fractured_pictures(subject: Subject) -> Iterator[Row]:
    rows = []
    for seed in range(FIRST_SEED, FIRST_SEED + subject.phantoms):
        levels, twins = with_its_twin(seed)
        for level in levels:
            given = prepare(*twins.scan, level).conditioning
            told = beside_the_prior(twins.truth(level), subject.generate(given)[0], given)
            rows.append({"case": twins.scan[0].name, "vertebra": level, **told})
    found = summarise(rows, FIRST_SEED)
    dice, ssim, psnr = picture_rows(found)
    what = f"{len(rows)} fractured levels of {found['bootstrap']['units']} phantoms against their healthy twins: Dice"
    yield Row(what, dice.target, dice.measured, dice.met)
    yield from (ssim, psnr)


@cache
def with_its_twin(seed: int) -> tuple[list[str], Twins]:
    """Its fractured levels that are whole in the scan and in its twin's, and both."""
    spine = sample_spine(seed, fractured=True)
    twins = scanned_twins(spine, f"phantom {seed}")
    whole = [level for level in spine.fractured_levels if _whole(level, twins.scan) and _whole(level, twins.healthy)]
    return whole, twins


def _whole(level: str, scan: Scan) -> bool:
    """A strongly curved spine leaves the field of view."""
    bodies = scan[1].bodies
    return level in bodies and bodies[level].complete
