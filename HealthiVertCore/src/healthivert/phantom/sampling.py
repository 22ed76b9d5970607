"""Drawing a person: normal dimensions (anatomy.normal_spine), the spread between people, what may be wrong with them.

One stream of random numbers makes the healthy person, a second one the fractures, so that the healthy person does not
depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from healthivert.anatomy import LEVELS, NormalVertebra, normal_spine
from healthivert.errors import HealthiVertError
from healthivert.measure import third_heights
from healthivert.phantom.fracture import SHAPES, Fracture
from healthivert.phantom.scanner import sample_scanner
from healthivert.phantom.shape import height_map
from healthivert.phantom.spine import CHAIN, BoneIsland, Osteophyte, PhantomSpine, Ripple, SchmorlNode, Vertebra
from healthivert.phantom.tissue import sample_tissue

# Disc wedge (degrees of lordosis) below each lumbar level and T12: about 45 in all, a supine adult's lordosis with the
# bodies' own wedging.
DISC_LORDOSIS = {"T12": 2.0, "L1": 4.0, "L2": 6.0, "L3": 8.0, "L4": 12.0, "L5": 14.0, "L6": 14.0}
# Mean and spread of (posterior - anterior rim) / height added to the table's: L4 and above all L5 vary most.
EXTRA_WEDGE = {"L4": (-0.03, 0.07), "L5": (-0.10, 0.11), "L6": (-0.10, 0.11)}

LOSSES = ((0.20, 0.25), (0.25, 0.40), (0.40, 0.60))  # of the worst third: mild, moderate and severe


@dataclass(frozen=True)
class Ranges:
    """What a spine is drawn from: (low, high) of a uniform draw, or a probability. Lengths mm, angles degrees."""

    size: tuple[float, float] = (0.88, 1.12)
    women: float = 0.5
    level_jitter: tuple[float, float] = (0.012, 0.025)
    lordosis: tuple[float, float] = (0.45, 1.25)
    thoracic_disc_kyphosis: tuple[float, float] = (-1.0, 1.6)
    scoliosis: float = 0.35
    cobb: tuple[float, float] = (4.0, 22.0)
    osteophytes: float = 0.4
    schmorl: float = 0.08
    islands: float = 0.03
    hardware: float = 0.0
    trabecular_hu: tuple[float, float] = (40.0, 220.0)
    fracture_count: tuple[int, int] = (1, 4)
    no_grade: float = 0.15  # part of the deformities that stay below Genant 1


def sample_spine(
    seed: int, fractured: bool = False, levels: Sequence[str] = CHAIN[1:], **ranges: object
) -> PhantomSpine:
    """One person. `levels` are labelled, reported and (if fractured) fractured; `ranges` override fields of Ranges."""
    unknown = sorted(set(ranges) - {f.name for f in fields(Ranges)})
    if unknown:
        raise HealthiVertError(
            f"phantom: no range is called {unknown[0]!r}; ranges are {[f.name for f in fields(Ranges)]}"
        )
    drawn = Ranges(**ranges)  # type: ignore[arg-type]
    chain = tuple(level for level in LEVELS if level in (*CHAIN, *levels))
    wrong = [level for level in levels if level not in chain[1:] or level.startswith("C")]
    if wrong or not levels:
        raise HealthiVertError(f"phantom: {wrong or 'no levels'} cannot be drawn; name levels from T1 to L6")
    healthy, broken = (np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(2))
    vertebrae = _vertebrae(healthy, chain, drawn)
    lean = (float(healthy.normal(0, 0.04)), float(healthy.normal(0, 0.02)))
    tissue = sample_tissue(healthy, drawn.trabecular_hu)
    scanner = sample_scanner(healthy)
    labelled = tuple(level for level in chain if level in levels)
    if fractured:
        vertebrae = _break_some(broken, vertebrae, labelled, drawn)
    return PhantomSpine(seed, labelled, vertebrae, tissue, scanner, lean)


def _smooth_trend(generator: np.random.Generator, count: int, spread: float) -> np.ndarray:
    """An individual's smooth deviation from the normal ratios between levels, as relative lengths."""
    x = np.linspace(-1, 1, count)
    return spread * (generator.normal() * x + generator.normal() * (x * x - 0.4) + 0.5 * generator.normal() * x**3)


def _vertebrae(generator: np.random.Generator, chain: tuple[str, ...], ranges: Ranges) -> tuple[Vertebra, ...]:
    normal = {**normal_spine(), "C7": normal_spine()["T1"]}
    size = generator.uniform(*ranges.size) * (0.92 if generator.random() < ranges.women else 1.0)
    tallness, breadth = np.exp(generator.normal(0, 0.035, 2))
    jitter = generator.uniform(*ranges.level_jitter)
    heights = (
        size * tallness * (1 + _smooth_trend(generator, len(chain), 0.025) + generator.normal(0, jitter, len(chain)))
    )
    widths = (
        size * breadth * (1 + _smooth_trend(generator, len(chain), 0.025) + generator.normal(0, jitter, len(chain)))
    )
    depths = size * breadth * (1 + _smooth_trend(generator, len(chain), 0.03) + generator.normal(0, jitter, len(chain)))
    lordosis = generator.uniform(*ranges.lordosis)
    kyphosis = generator.uniform(*ranges.thoracic_disc_kyphosis)
    coronal, axial = _scoliosis(generator, len(chain), ranges)
    ageing = generator.random()
    dish = generator.uniform(0.6, 1.5)
    vertebrae = []
    for i, level in enumerate(chain):
        row = replace(normal[level], level=level)  # C7, T13 and L6 borrow a neighbour's row
        sagittal = -DISC_LORDOSIS[level] * lordosis if level in DISC_LORDOSIS else kyphosis
        angles = np.deg2rad([sagittal + generator.normal(0, 0.8), coronal[i], axial[i]])
        vertebra = _vertebra(generator, row, heights[i], widths[i], depths[i], angles, dish)
        vertebrae.append(_blemishes(generator, vertebra, ageing, ranges))
    if generator.random() < ranges.hardware:
        first = int(generator.integers(len(chain) - 5, len(chain) - 1))
        vertebrae[first : first + 2] = [replace(v, screws=True) for v in vertebrae[first : first + 2]]
    return tuple(vertebrae)


def _scoliosis(generator: np.random.Generator, count: int, ranges: Ranges) -> tuple[np.ndarray, np.ndarray]:
    """Coronal and axial angle (degrees) of each joint; their sums are a smooth curve with the drawn Cobb angle."""
    cobb = (
        generator.uniform(*ranges.cobb)
        if generator.random() < ranges.scoliosis
        else generator.uniform(0, ranges.cobb[0])
    )
    place = np.arange(count) / count
    wave = np.cos(2 * np.pi * (generator.uniform(0.8, 1.6) * place + generator.random()))
    curve = cobb / 2 * wave
    steps = np.diff(curve, append=curve[-1])
    return steps + generator.normal(0, 0.35, count), 0.6 * steps + generator.normal(0, 0.3, count)


def _vertebra(generator, row: NormalVertebra, tall: float, wide: float, deep: float, angles, dish: float) -> Vertebra:
    """One vertebra: the table's row scaled to this person, with what varies from level to level drawn."""
    lumbar = row.level.startswith("L")
    anterior, posterior = row.height_anterior * tall, row.height_posterior * tall
    mean, spread = EXTRA_WEDGE.get(row.level, (0.0, 0.03))
    wedge = float(np.clip(generator.normal(mean, spread), -0.42, 0.25)) * (anterior + posterior) / 4
    shape = 1.0 if lumbar else 0.7
    draw = generator.uniform
    return Vertebra(
        level=row.level,
        height_anterior=anterior - wedge,
        height_posterior=posterior + wedge,
        width_superior=row.width * wide * draw(0.96, 1.01),
        width_inferior=row.width * wide * draw(1.0, 1.06),
        depth=row.depth * deep,
        dish_superior=draw(0.6, 1.5) * dish * shape,
        dish_inferior=draw(1.0, 2.3) * dish * shape,
        dish_shift=draw(0.05, 0.25),
        dish_split=float(draw(0.2, 0.42)) if lumbar and generator.random() < 0.5 else 0.0,
        waist=draw(1.6, 3.2) * shape * wide,
        posterior_concavity=draw(0.05, 0.16),
        anterior_taper=draw(0.0, 0.08) if lumbar else draw(0.08, 0.24),
        rim_radius=draw(1.0, 2.2),
        pedicle_width=row.pedicle_width * wide * draw(0.88, 1.1),
        canal_width=row.canal_width * wide * draw(0.95, 1.05),
        canal_depth=row.canal_depth * wide * draw(0.93, 1.05),
        arch_scale=wide * draw(0.92, 1.08),
        spinous_angle=float(np.deg2rad(draw(2, 18) if lumbar else _thoracic_slope(row.level) + draw(-6, 6))),
        disc_below=max(row.disc_below * tall * draw(0.72, 1.1), 2.2),
        sagittal=float(angles[0]),
        coronal=float(angles[1]),
        axial=float(angles[2]),
        density=float(np.exp(generator.normal(0, 0.06))),
        texture_offset=tuple(float(x) for x in generator.uniform(0, 96, 3)),  # type: ignore[arg-type]
    )


def _thoracic_slope(level: str) -> float:
    """How steeply a thoracic spinous process points down (degrees): most in the middle of the thorax."""
    number = int(level[1:]) if level.startswith("T") else 0
    return float(np.interp(number, [0, 1, 3, 6, 8, 10, 12, 13], [15, 22, 38, 52, 52, 38, 16, 14]))


def _blemishes(generator: np.random.Generator, vertebra: Vertebra, ageing: float, ranges: Ranges) -> Vertebra:
    """Spurs, pits and bone islands, more with age."""
    spurs = [
        Osteophyte(
            angle=float(generator.uniform(-np.pi, 0.15)),
            length_mm=float(generator.uniform(0.8, 1.5 + 3.5 * ageing) * vertebra.depth / 35),
            superior=bool(rim),
        )
        for rim in (0, 1)
        for _ in range(2)
        if generator.random() < ranges.osteophytes * ageing
    ]
    ripples = [
        Ripple(
            amplitude_mm=float(generator.uniform(0.08, 0.3)),
            left=float(generator.uniform(-0.35, 0.35)),
            posterior=float(generator.uniform(-0.35, 0.35)),
            phase=float(generator.uniform(0, 2 * np.pi)),
            superior=bool(rim),
        )
        for rim in (0, 0, 1, 1)
    ]
    nodes = [
        SchmorlNode(
            float(generator.uniform(-0.25, 0.25) * vertebra.width),
            float(generator.uniform(-0.15, 0.3) * vertebra.depth),
            float(generator.uniform(1.5, 4.5)),
            float(generator.uniform(2, 4)),
            bool(rim),
        )
        for rim in (0, 1)
        if generator.random() < ranges.schmorl
    ]
    islands = []
    if generator.random() < ranges.islands:
        place = generator.uniform(-0.3, 0.3, 3) * (vertebra.width, vertebra.depth, vertebra.height)
        islands = [BoneIsland(tuple(float(x) for x in place), float(generator.uniform(1.5, 4)))]  # type: ignore[arg-type]
    return replace(
        vertebra, ripples=tuple(ripples), osteophytes=tuple(spurs), nodes=tuple(nodes), islands=tuple(islands)
    )


def _break_some(
    generator, vertebrae: tuple[Vertebra, ...], levels: tuple[str, ...], ranges: Ranges
) -> tuple[Vertebra, ...]:
    """Fracture some of the labelled vertebrae: the thoracolumbar junction and T7-T8 most often."""
    common = {"T7": 2.0, "T8": 2.0, "T11": 2.5, "T12": 4.0, "L1": 4.0, "L2": 2.5, "L3": 1.5, "L4": 1.2}
    weight = np.array([common.get(level, 0.8) for level in levels])
    low, high = ranges.fracture_count
    count = min(low + int(generator.geometric(0.55)) - 1, high, len(levels))
    chosen = {levels[i] for i in generator.choice(len(levels), count, replace=False, p=weight / weight.sum())}
    return tuple(replace(v, fracture=_fracture(generator, v, ranges)) if v.level in chosen else v for v in vertebrae)


def _fracture(generator: np.random.Generator, vertebra: Vertebra, ranges: Ranges) -> Fracture:
    """A collapse whose worst third loses a drawn fraction of its height."""
    shape = str(generator.choice(SHAPES, p=[0.5, 0.27, 0.23]))
    band = (0.10, 0.20) if generator.random() < ranges.no_grade else LOSSES[generator.integers(3)]
    loss = generator.uniform(*band)
    unit = unit_fracture(generator, shape, loss)
    healthy = third_heights(height_map(vertebra), 0.5)
    after = third_heights(height_map(replace(vertebra, fracture=unit)), 0.5)
    worst = max(
        (getattr(healthy, k) - getattr(after, k)) / getattr(healthy, k) for k in ("anterior", "middle", "posterior")
    )
    return replace(unit, depth_mm=float(loss / worst))


def unit_fracture(generator: np.random.Generator, shape: str, loss: float) -> Fracture:
    """A collapse of 1 mm, whose wall gives way as much as it does where a third loses this fraction of its height."""
    draw = generator.uniform
    return Fracture(
        shape,
        depth_mm=1.0,
        superior_share=float(generator.choice([1.0, draw(0.75, 1.0), draw(0.45, 0.6)], p=[0.55, 0.3, 0.15])),
        exponent=draw(0.8, 1.7),
        floor=draw(0.0, 0.22),
        tilt=float(np.clip(generator.normal(0, 0.1), -0.25, 0.25)),
        bulge_mm=draw(0.3, 2.2) * min(loss / 0.4, 1.2),
        step_mm=draw(0.5, 2.5) if shape != "biconcave" and generator.random() < 0.6 else 0.0,
        impaction=draw(0.1, 1.0),
        kyphosis=draw(0.35, 0.8),
        lumps=tuple((draw(-0.8, 0.8), draw(-0.8, 0.8), draw(0.2, 0.45), draw(-0.12, 0.15)) for _ in range(3)),
    )
