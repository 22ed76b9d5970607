"""What the neighbours themselves look like, laid over the target's own footprint: where a generator starts from.

In: a case, its analysis, a level and its body straightened. Out: Prior, in the gap's canonical rows. No model is
involved: this is the picture that a generator has to beat, as reference.py is the height.

A fracture takes height and little width, so the footprint of the target, seen along the spine, is the one thing that is
kept of it; if the target looks fractured, narrowed towards what its neighbours let expect, since walls that gave way
bulge.
The two nearest trusted vertebrae on each side, and their mirror images, are laid over that footprint, wall on wall,
brought to the bend of the spine there, and averaged: the nearer and the less suspected, the more weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from healthivert.anatomy import normal_spine
from healthivert.bend import column_stretch, rebent
from healthivert.body import plate_rows
from healthivert.footprint import (
    LARGEST_STRETCH,
    footprint,
    footprint_moments,
    narrowed,
    read_columns,
    soft_footprint,
    source_columns,
)
from healthivert.gap import GAP_ROWS, TISSUE_HU, find_cut, from_window, slab_to_gap, to_window
from healthivert.geometry import filled_from_nearest, rows_at
from healthivert.inspection import SpineAnalysis
from healthivert.reference import normal_heights
from healthivert.straighten import body_occupancy, grid_points, straighten_around
from healthivert.thirds import as_expected
from healthivert.types import Conditioning, FloatArray, NeighbourSlab, Prior, PseudoHealthy, SpineCase

LEAST_TRUST = 0.05  # a crushed neighbour still shows a vertebra's form
ON_EACH_SIDE = 2  # a third one changed nothing
# of a neighbour's weight: what it has on one side, the target may have on the other (docs/decisions.md)
MIRRORED_SHARE = 0.25
SLAB_MARGIN_MM = 4.0  # straightened beyond a neighbour's body
BONE_HU = 150.0  # of a body where no vertebra is there to look at


class Slab(NamedTuple):
    """ct (-1..1) and body (0..1), (GAP_ROWS, AP, LR); stretch: (AP, LR), see bend."""

    ct: FloatArray
    body: FloatArray
    stretch: FloatArray


class Neighbour(NamedTuple):
    """above: the target. growth: (2,), by how much depth and width grow from its level to the target's in a normal
    spine; thirds_growth: (3,), the same of the thirds' heights, of their mean."""

    slab: Slab
    weight: float
    above: bool
    growth: FloatArray
    thirds_growth: FloatArray


def neighbours_prior(
    case: SpineCase, analysis: SpineAnalysis, level: str, old_body: FloatArray, stretch: FloatArray | float
) -> Prior:
    """old_body: (SI, AP, LR) 0..1 at 1 mm, the target on its straightened grid. stretch: (AP, LR), of the target's slab
    (see bend). Without a complete neighbour the footprint alone stands in, upright from plate to plate."""
    suspicion = analysis.suspicion[level]
    outline, walls = footprint(old_body), soft_footprint(old_body)
    neighbours = neighbours_of(case, analysis, level)
    if not neighbours:
        return upright_prior(outline)
    unbulged = 1 / bulge(walls, neighbours, suspicion)
    outline, walls = np.round(narrowed(outline, unbulged)), narrowed(walls, unbulged)
    slabs: list[NeighbourSlab] = []
    for one in neighbours:
        for slab, share in ((one.slab, 1 - MIRRORED_SHARE), (_mirrored(one.slab), MIRRORED_SHARE)):
            ct, body = _laid_over(slab, walls, stretch)
            slabs.append(NeighbourSlab(ct, body, share * one.weight))
    slabs = _plates_together(slabs)
    weights = [slab.weight for slab in slabs]
    ct = np.average([slab.ct for slab in slabs], axis=0, weights=weights).astype(np.float32)
    body = np.average([slab.body for slab in slabs], axis=0, weights=weights).astype(np.float32)
    growth = np.average(
        [np.log(one.thirds_growth) for one in neighbours], axis=0, weights=[n.weight for n in neighbours]
    )
    anterior, middle, posterior = np.exp(growth).tolist()
    return Prior(ct, body, outline, tuple(slabs), (anterior, middle, posterior))


def _laid_over(slab: Slab, walls: FloatArray, stretch: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """CT and body of slab in the columns of the target's soft footprint walls (AP, LR), where a slab's bend is
    stretch."""
    source = source_columns(soft_footprint(slab.body), walls)
    ct, body, its_stretch = (read_columns(part, source) for part in (slab.ct, slab.body, slab.stretch[None]))
    return rebent(ct, body, its_stretch[0] / stretch)


def bulge(walls: FloatArray, neighbours: Sequence[Neighbour], suspicion: float) -> FloatArray:
    """(2,) along AP and LR: how many times as wide the target's soft footprint is as when it was healthy, as far as it
    is suspected. Neighbours on one side only tell it worse, and are believed by half. No fracture makes a body narrow.
    """
    believed = len({one.above for one in neighbours}) / 2 * suspicion
    return np.clip(wider_than_expected(walls, neighbours), 1.0, LARGEST_STRETCH) ** believed


def wider_than_expected(walls: FloatArray, neighbours: Sequence[Neighbour]) -> FloatArray:
    """(2,) along AP and LR: how many times as wide the target's soft footprint is as the neighbours let expect."""
    expected = [footprint_moments(soft_footprint(one.slab.body))[1] * one.growth for one in neighbours]
    return footprint_moments(walls)[1] / np.average(expected, axis=0, weights=[one.weight for one in neighbours])


def _mirrored(slab: Slab) -> Slab:
    """Right for left; the centreline, and with it the canal, is in the middle of the columns."""
    return Slab(*(np.ascontiguousarray(part[..., ::-1]) for part in slab))


def _plates_together(slabs: list[NeighbourSlab]) -> list[NeighbourSlab]:
    """The slabs with their rows moved and scaled so that the plates of all lie, in the middle (median), where they lie
    on average: how far a rim reaches beyond its plate differs, and would blur both plates of the mean."""
    plates = np.array([[np.nanmedian(plate) for plate in plate_rows(slab.body)] for slab in slabs])
    low, high = np.average(plates, axis=0, weights=[slab.weight for slab in slabs])
    together = []
    for slab, (own_low, own_high) in zip(slabs, plates, strict=True):
        place = own_low + (np.arange(GAP_ROWS) - low) * (own_high - own_low) / (high - low)
        within = ((place > -0.5) & (place < GAP_ROWS - 0.5))[:, None, None]
        together.append(slab._replace(ct=rows_at(slab.ct, place), body=rows_at(slab.body, place) * within))
    return together


def upright_prior(outline: FloatArray) -> Prior:
    """A footprint (AP, LR) raised to a column through the whole gap."""
    ct, body = upright(np.repeat(outline[None], GAP_ROWS, axis=0))
    return Prior(ct, body, outline)


def upright(column: FloatArray) -> tuple[FloatArray, FloatArray]:
    """CT (-1..1) and body of a column of bone in soft tissue; column: 1 inside, 0 outside, any shape."""
    bone, tissue = to_window(np.array([BONE_HU, TISSUE_HU]))
    return (column * bone + (1 - column) * tissue).astype(np.float32), column.astype(np.float32)


def neighbours_of(case: SpineCase, analysis: SpineAnalysis, level: str) -> list[Neighbour]:
    """Its trusted neighbours, the nearer and the less suspected the weightier."""
    found, present = [], list(analysis.bodies)
    for other, distance in trusted_neighbours(analysis, level):
        weight = max(1.0 - analysis.suspicion[other], LEAST_TRUST) / distance
        above = present.index(other) < present.index(level)
        slab = canonical_slab(case, analysis, other)
        found.append(Neighbour(slab, weight, above, *_normal_growth(other, level)))
    return found


def _normal_growth(first: str, second: str) -> tuple[FloatArray, FloatArray]:
    """(2,) by how much depth and width grow from one level to another, and (3,) the heights of the thirds, of their
    mean; 1 where the tables do not know both levels."""
    known = normal_spine()
    if first not in known or second not in known:
        return np.ones(2), np.ones(3)
    before, after = known[first], known[second]
    sizes = np.array([after.depth / before.depth, after.width / before.width])
    return sizes, normal_heights(second).form / normal_heights(first).form


def trusted_neighbours(analysis: SpineAnalysis, level: str) -> list[tuple[str, int]]:
    """(level, distance in levels) of the ON_EACH_SIDE nearest complete levels that are not suspected of fracture.

    Where all are suspected, the nearest complete ones.
    """
    present = list(analysis.bodies)
    place = present.index(level)
    sides = (present[:place][::-1], present[place + 1 :])
    complete = [[(v, i) for i, v in enumerate(side, start=1) if analysis.bodies[v].complete] for side in sides]
    trusted = [[(v, i) for v, i in side if not analysis.levels[v].suspicious] for side in complete]
    if not any(trusted):
        trusted = complete
    return [found for side in trusted for found in side[:ON_EACH_SIDE]]


def prior_vertebra(conditioning: Conditioning) -> PseudoHealthy:
    """The prior as if it had been generated: what a model is measured against."""
    ct = from_window(conditioning.prior_ct)
    vertebra = PseudoHealthy(ct, conditioning.prior_body, conditioning.reference_mm, stretch=conditioning.stretch)
    return as_expected(vertebra, conditioning)


def canonical_slab(case: SpineCase, analysis: SpineAnalysis, level: str) -> Slab:
    """One vertebra as it is, in canonical rows and in its own bend.

    Raises HealthiVertError if the level's body is not in the scan.
    """
    straight = straighten_around(case, analysis.bodies, analysis.frame, level, SLAB_MARGIN_MM)
    body = body_occupancy(analysis.bodies[level], grid_points(analysis.frame, straight.arc, straight.spacing_mm))
    cut = find_cut(straight, level)
    first, last = (straight.arc_start + row * straight.spacing_mm for row in cut)
    stretch = column_stretch(analysis.frame, first, last, straight.spacing_mm)
    known = straight.seen if straight.withheld is None else straight.seen & ~straight.withheld
    ct = to_window(filled_from_nearest(straight.ct, known))
    return Slab(slab_to_gap(ct, cut), slab_to_gap(body, cut), stretch)
