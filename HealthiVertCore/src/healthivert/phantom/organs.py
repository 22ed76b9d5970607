"""Where organs, muscles and vessels lie along the spine.

Each is an elliptic tube, tabled over the "rank": a continuous level number (T1 0, T12 11, L1 12, L5 16), as offsets in
mm from the line of the body centres. The tables were drawn after atlases of sectional anatomy, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from healthivert.anatomy import LEVELS
from healthivert.phantom.tissue import Tissue
from healthivert.types import FloatArray

_LADDER = [level for level in LEVELS if level not in ("T13", "L6")]
RANK = {level: float(i - _LADDER.index("T1")) for i, level in enumerate(_LADDER)} | {
    "T13": 11.5,
    "L6": 16.7,
    "S1": 17.0,
}
Knots = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Tube:
    """Centre (left, posterior) and radii (left, posterior) in mm over the rank."""

    hu: float
    left: Knots
    posterior: Knots
    radius_left: Knots
    radius_posterior: Knots

    def distance(self, rank: FloatArray, left: FloatArray, posterior: FloatArray) -> FloatArray:
        """mm, < 0 inside; far away where a radius closes to nothing."""
        across, ahead = at(rank, self.radius_left), at(rank, self.radius_posterior)
        closed = 4 * np.clip(2 - np.minimum(across, ahead), 0, 2)
        across, ahead = np.maximum(across, 0.5), np.maximum(ahead, 0.5)
        x = (left - at(rank, self.left)) / across
        y = (posterior - at(rank, self.posterior)) / ahead
        return (np.hypot(x, y) - 1) * np.minimum(across, ahead) + closed


def at(rank: FloatArray, knots: Knots) -> FloatArray:
    """Linear interpolation of a table over the rank, constant beyond its ends."""
    ranks, values = zip(*knots, strict=True)
    return np.interp(rank, ranks, values).astype(np.float32)


def _egg(first: float, last: float, radius: float) -> Knots:
    """A radius that swells and closes between two ranks."""
    place = np.linspace(-1, 1, 9)
    middle, half = (first + last) / 2, (last - first) / 2
    return tuple((float(middle + half * x), float(radius * np.sqrt(max(1 - x * x, 0)))) for x in place)


def _constant(value: float) -> Knots:
    return ((0.0, value),)


def _scaled(knots: Knots, factor: float) -> Knots:
    return tuple((rank, factor * value) for rank, value in knots)


def viscera(tissue: Tissue) -> list[Tube]:
    """Kidneys, liver, spleen and heart: what the lungs overlap."""
    return [
        Tube(tissue.kidney, _constant(62), _constant(0), _egg(10.6, 13.4, 29), _egg(10.6, 13.4, 25)),
        Tube(tissue.kidney, _constant(-62), _constant(-2), _egg(11.0, 14.0, 29), _egg(11.0, 14.0, 25)),
        Tube(tissue.liver, _constant(-88), _constant(-52), _egg(7.8, 13.6, 74), _egg(7.8, 13.6, 70)),
        Tube(tissue.liver + 5, _constant(98), _constant(-12), _egg(8.4, 12.0, 28), _egg(8.4, 12.0, 40)),
        Tube(
            0.6 * tissue.cava + 15,
            ((4.5, 22.0), (9.8, 44.0)),
            ((4.5, -82.0), (9.8, -98.0)),
            _egg(3.6, 9.9, 56),
            _egg(3.6, 9.9, 44),
        ),
    ]


def muscles(tissue: Tissue) -> list[Tube]:
    """Psoas, quadratus lumborum and the three columns of erector spinae, right and left."""
    bulk, hu = tissue.muscle_bulk, tissue.muscle
    psoas = ((11.8, 0.0), (13.0, 10.0), (15.0, 18.0), (17.0, 22.0))
    column = ((-1.0, 8.0), (8.0, 9.0), (12.0, 13.0), (15.0, 14.0), (17.5, 13.0))
    spread = ((12.0, 24.0), (14.0, 34.0), (16.0, 42.0), (17.5, 52.0))
    back = ((-1.0, 36.0), (8.0, 40.0), (12.0, 47.0), (16.0, 48.0))
    table = []
    for side in (-1.0, 1.0):
        table += [
            Tube(
                hu,
                _scaled(spread, side),
                ((12.0, 6.0), (17.0, -12.0)),
                _scaled(psoas, bulk),
                _scaled(psoas, 1.15 * bulk),
            ),
            Tube(hu, _constant(66 * side), _constant(22), _egg(11.6, 16.5, 16), _egg(11.6, 16.5, 8)),
            Tube(
                hu, _constant(55 * side), _scaled(back, 0.94), _scaled(column, 0.9 * bulk), _scaled(column, 1.15 * bulk)
            ),
            Tube(hu + 3, _constant(33 * side), back, _scaled(column, 1.05 * bulk), _scaled(column, 1.3 * bulk)),
            Tube(
                hu, _constant(13 * side), _scaled(back, 1.02), _scaled(column, 0.75 * bulk), _scaled(column, 1.1 * bulk)
            ),
        ]
    return table


def vessels(tissue: Tissue) -> list[Tube]:
    """Aorta and iliac arteries first (their walls may be calcified), then vena cava, windpipe and oesophagus."""
    radius = tissue.aorta_radius_mm
    front: Knots = ((2.0, -22.0), (3.0, -28.0), (8.0, -26.0), (12.0, -32.0), (16.0, -34.0))
    aorta = ((2.6, 0.0), (3.0, 1.1 * radius), (9.0, radius), (14.6, 0.8 * radius), (15.3, 0.0))
    cava = ((7.4, 0.0), (8.0, 11.0), (14.8, 10.0), (15.6, 0.0))
    iliac: Knots = ((14.5, 0.0), (15.0, 0.62 * radius), (18.0, 0.62 * radius))
    gullet: Knots = ((-2.0, 7.0), (9.0, 8.0), (9.6, 0.0))
    windpipe: Knots = ((-2.0, 9.0), (3.6, 9.0), (4.0, 0.0))
    arteries = [Tube(tissue.aorta, ((3.0, 22.0), (8.0, 20.0), (11.0, 6.0), (15.0, 8.0)), front, aorta, aorta)]
    for side in (-1.0, 1.0):
        apart: Knots = _scaled(((14.8, 6.0), (18.0, 46.0)), side)
        arteries.append(Tube(tissue.aorta, apart, ((15.0, -33.0), (18.0, -40.0)), iliac, iliac))
    return [
        *arteries,
        Tube(
            tissue.cava,
            ((8.0, -26.0), (15.0, -20.0)),
            ((8.0, -48.0), (11.0, -38.0), (15.0, -32.0)),
            cava,
            _scaled(cava, 0.75),
        ),
        Tube(-980.0, _constant(0), ((0.0, -32.0), (4.0, -42.0)), windpipe, windpipe),
        Tube(35.0, _constant(4), ((0.0, -20.0), (6.0, -26.0), (9.0, -38.0)), gullet, _scaled(gullet, 0.75)),
    ]
