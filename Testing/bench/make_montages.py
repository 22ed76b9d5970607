"""Draw docs/montages: one vertebra a picture, in the scan, when healthy, and as either model regrows it.

Real vertebrae are healthy ones that were hidden: there the scan itself is the truth. In one a fracture is made
(broken_scans.py): there the truth is the scan before. Generated ones are fractured, and the truth is the scan of their
healthy twin. All panels of a picture are mid-sagittal cuts through the straightened
spine, on the scan's grid; the real scan is TotalSegmentator's example CT (Apache-2.0). README.md beside the pictures is
written here, too, and names the weights that they were drawn with.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from bench import REAL, ROOT, SEED, commit, lumbar_case
from broken_scans import FIRST_SEED as BROKEN_SEED
from broken_scans import broken
from matplotlib.figure import Figure
from montage_sheet import CT_MM, DIFFERENCE, DPI, MAP_MM, TRUTH_LINE, UNCERTAINTY, Sheet
from numpy.typing import NDArray
from scipy import ndimage
from spines import Twins, scanned_twins

from healthivert import commands
from healthivert.body import plate_rows
from healthivert.generate import height_head_helps
from healthivert.geometry import rows_at
from healthivert.healthy_twin import in_columns_of
from healthivert.inspection import analyse
from healthivert.measure import body_heights
from healthivert.phantom import PhantomSpine, Pose, sample_spine, standing, truth
from healthivert.phantom.sampling import unit_fracture
from healthivert.pipeline import Prepared, prepare
from healthivert.report.style import AFTER_LINE, BEFORE_LINE, STYLE
from healthivert.restore import place, restore_straightened
from healthivert.straighten import to_straightened
from healthivert.types import FloatArray, PseudoHealthy
from healthivert.variation import with_spread
from healthivert.whole_file import write_whole

SAMPLES = 5
SHOWN = {"gan": "GAN", "diffusion": "diffusion"}
FIRST_SEED = SEED + 700
GENERATED_LEVEL = "L1"  # fractured most often, and of all three generated spines, so that they can be compared
BROKEN_LEVEL, BROKEN_SHAPE, BROKEN_LOSS = "L2", "wedge", 0.45
LEAST_DEPTH_MM, BOTH_PLATES = 9.0, (0.4, 0.6)
LEAST_SHARE = 0.05  # of generated tissue, where a voxel counts as changed
NEAR_MM = 2.0  # around the truth: its blurred cortex


class Truth(NamedTuple):
    """The level as it was when healthy: CT in HU, body 0..1, and where its scan shows anything; all (SI, AP, LR) on
    the grid of the scan."""

    ct: FloatArray
    body: FloatArray
    seen: NDArray[np.bool_]
    height_mm: float


@dataclass(frozen=True)
class Subject:
    """name: the file's stem. what: of the title. seen: one clause on what there is to be seen."""

    name: str
    level: str
    what: str
    seen: str
    scan: Prepared
    scan_mm: float
    truth: Truth

    @property
    def is_hidden(self) -> bool:
        """Whether the scan shows the level healthy, so that it is the truth itself."""
        return self.name.startswith("real")


@dataclass(frozen=True)
class Regrown:
    """A vertebra put into the scan: CT in HU, body 0..1, uncertainty in HU, and the share of generated tissue 0..1."""

    ct: FloatArray
    body: FloatArray
    uncertainty: FloatArray
    share: FloatArray
    height_mm: float


REAL_SEEN = {
    "L1": "its bone island is nothing that the neighbours know of, so neither model draws it",
    "L3": "the bright spot in the uncertainty is the bone island of L1, which one of the samples takes over",
    "L4": "its rims jut out farther and its walls are more hollow than the neighbours tell",
}
GENERATED_SEEN = {
    "wedge": "the anterior wall has given way, and the posterior one stands",
    "biconcave": "both plates have sunk in the middle, and what is regrown rests on the sunken lower one",
    "crush": "the whole upper plate has come down, the posterior wall with it",
}


def real_subjects() -> Iterator[Subject]:
    case = lumbar_case()
    analysis = analyse(case)
    for level, seen in REAL_SEEN.items():
        scan, height_mm = prepare(case, analysis, level), body_heights(analysis.bodies[level]).mean
        healthy = Truth(scan.straight.ct, scan.old_body, scan.straight.seen, height_mm)
        yield Subject(f"real_{level}", level, "healthy, hidden and regrown", seen, scan, height_mm, healthy)


def broken_subject() -> Subject:
    """A fracture made in a level of the real CT that is not shown healthy."""
    case = lumbar_case()
    unit = unit_fracture(np.random.default_rng(BROKEN_SEED), BROKEN_SHAPE, BROKEN_LOSS)
    found = broken(case, analyse(case), BROKEN_LEVEL, unit, BROKEN_LOSS)
    scan, row = prepare(found.case, found.analysis, BROKEN_LEVEL), found.truth[BROKEN_LEVEL]
    body, pose = found.twin[1].bodies[BROKEN_LEVEL], Pose.from_dict(row["pose"])
    twin = prepare(case, in_columns_of(found.analysis, found.twin[1], BROKEN_LEVEL, pose, pose), BROKEN_LEVEL)
    foot = body.centre + float(np.nanmean(body.inferior)) * body.axes[2]
    healthy = truth_of(twin, scan, (foot, foot), row["healthy_heights_mm"]["mean"])
    what = f"{BROKEN_SHAPE} made in the real CT"
    seen = "it is as tall as what was there, and its rims jut out less; its bright spot is the bone island of L1"
    height_mm = body_heights(found.analysis.bodies[BROKEN_LEVEL]).mean
    return Subject(f"broken_{BROKEN_LEVEL}", BROKEN_LEVEL, what, seen, scan, height_mm, healthy)


def generated_subjects() -> Iterator[Subject]:
    """The first unseen spine with each shape of fracture; the models are not asked."""
    for shape, seen in GENERATED_SEEN.items():
        spine = clear_case(shape)
        twins = scanned_twins(spine, shape, spacing_mm=1.0, field_mm=180)
        scan = prepare(*twins.scan, GENERATED_LEVEL)
        height_mm = body_heights(twins.scan[1].bodies[GENERATED_LEVEL]).mean
        about = f"{shape} (generated spine {spine.seed})"
        healthy = truth_of_twin(twins, GENERATED_LEVEL, scan)
        yield Subject(f"phantom_{shape}", GENERATED_LEVEL, about, seen, scan, height_mm, healthy)


def clear_case(shape: str) -> PhantomSpine:
    spines = (sample_spine(seed, fractured=True) for seed in range(FIRST_SEED, FIRST_SEED + 300))
    return next(spine for spine in spines if is_clear(spine, shape))


def is_clear(spine: PhantomSpine, shape: str) -> bool:
    """The level has collapsed far enough to be seen, in this shape and between healthy neighbours; of a biconcave one,
    both plates."""
    at = [vertebra.level for vertebra in spine.vertebrae].index(GENERATED_LEVEL)
    above, own, below = (vertebra.fracture for vertebra in spine.vertebrae[at - 1 : at + 2])
    if own is None or own.shape != shape or own.depth_mm < LEAST_DEPTH_MM or above or below:
        return False
    return shape != "biconcave" or BOTH_PLATES[0] <= own.superior_share <= BOTH_PLATES[1]


def truth_of_twin(twins: Twins, level: str, scan: Prepared) -> Truth:
    half = twins.spine.vertebra(level).height / 2
    feet = [pose.centre - half * pose.axes[2] for pose in standing(twins.spine, level)]
    row = next(row for row in truth(twins.spine)["levels"] if row["level"] == level)
    return truth_of(twins.truth(level), scan, feet, row["healthy_heights_mm"]["mean"])


def truth_of(healthy: Prepared, scan: Prepared, feet: Sequence[FloatArray], height_mm: float) -> Truth:
    """The healthy level on the scan's grid. feet: LPS mm of the foot of the vertebra's own axis in the scan and in the
    healthy one. They lie in the same place of the picture: a fracture moves what is above."""
    straights = scan.straight, healthy.straight
    here, there = (
        (to_straightened(straight.frame, foot)[2] - straight.arc_start) / straight.spacing_mm
        for straight, foot in zip(straights, feet, strict=True)
    )
    rows = np.arange(len(scan.straight.ct)) + there - here
    within = (rows >= 0) & (rows <= len(healthy.straight.ct) - 1)
    ct, body, seen = (
        rows_at(array.astype(np.float32), rows)
        for array in (healthy.straight.ct, healthy.old_body, healthy.straight.seen)
    )
    return Truth(ct, body, (seen > 0.99) & within[:, None, None], height_mm)


def put_into(scan: Prepared, vertebra: PseudoHealthy) -> Regrown:
    straight = scan.straight
    settled, placement = place(straight, scan.conditioning, vertebra, scan.old_body)
    ct, body = restore_straightened(straight, scan.old_body, settled, placement)

    def on_nothing(values: FloatArray) -> FloatArray:
        """Values of the generated tissue alone: what stands for the patient's own is 0."""
        bare = replace(straight, ct=np.zeros_like(straight.ct))
        return restore_straightened(bare, scan.old_body, replace(settled, ct=values), placement)[0]

    spread = np.zeros_like(settled.ct) if settled.ct_sd is None else settled.ct_sd
    return Regrown(ct, body, on_nothing(spread), on_nothing(np.ones_like(settled.ct)), vertebra.height_mm)


def compared(subject: Subject, regrown: Regrown) -> NDArray[np.bool_]:
    """Where a difference tells of the regrown vertebra: in the generated tissue and around the true body, as far as
    either scan shows anything. Elsewhere it would be of tissue that has moved as a whole."""
    near = ndimage.distance_transform_edt(subject.truth.body < 0.5) * subject.scan.straight.spacing_mm <= NEAR_MM
    return ((regrown.share > LEAST_SHARE) | near) & subject.truth.seen & subject.scan.straight.seen


def title_of(subject: Subject, regrown: Mapping[str, Regrown]) -> str:
    heights = ", ".join(f"{SHOWN[name]} {one.height_mm:.1f}" for name, one in regrown.items())
    if subject.is_hidden:
        return f"{subject.level}, {subject.what}: scan = truth {subject.scan_mm:.1f} mm, {heights}"
    scan, healthy = subject.scan_mm, subject.truth.height_mm
    return f"{subject.level}, {subject.what}: scan {scan:.1f} mm, healthy truth {healthy:.1f}, {heights}"


def montage(subject: Subject, regrown: Mapping[str, Regrown]) -> Figure:
    cut = cut_through(subject)
    sheet = Sheet(title_of(subject, regrown), subject.scan.straight.spacing_mm)
    ct, healthy = subject.scan.straight.ct, subject.truth
    if subject.is_hidden:
        seen = ct.copy()
        seen[slice(*subject.scan.conditioning.cut)] = np.nan
        sheet.show_ct(0, f"{subject.level} hidden", cut.ct(seen), {})
        sheet.show_ct(1, "scan = truth", cut.ct(ct), {TRUTH_LINE: cut.ct(healthy.body)})
    else:
        sheet.show_ct(0, "scan", cut.ct(ct), {BEFORE_LINE: cut.ct(subject.scan.old_body)})
        sheet.show_ct(1, "healthy truth", cut.ct(healthy.ct), {TRUTH_LINE: cut.ct(healthy.body)})
    for column, (name, one) in enumerate(regrown.items(), start=2):
        bodies = {AFTER_LINE: one.body, TRUTH_LINE: healthy.body}
        sheet.show_ct(column, SHOWN[name], cut.ct(one.ct), {line: cut.ct(body) for line, body in bodies.items()})
        difference = np.ma.masked_where(~compared(subject, one), one.ct - healthy.ct)
        outlines = {line: cut.map(body) for line, body in bodies.items()}
        sheet.show_map(column, f"{SHOWN[name]} − truth", cut.map(difference), DIFFERENCE, outlines)
    gan = regrown["gan"]
    uncertainty = np.ma.masked_where(gan.share <= LEAST_SHARE, gan.uncertainty)
    title = f"uncertainty (GAN, {SAMPLES} samples)"
    sheet.show_map(1, title, cut.map(uncertainty), UNCERTAINTY, {AFTER_LINE: cut.map(gan.body)})
    lines = {"regrown body": AFTER_LINE, "true body": TRUTH_LINE}
    if subject.is_hidden:
        sheet.show_key(0, lines, "hidden, or not compared")
    else:
        sheet.show_key(0, {"body in the scan": BEFORE_LINE, **lines}, "not compared")
    return sheet.figure


@dataclass(frozen=True)
class Cut:
    """The mid-sagittal cut of all panels. Rows around the true body: more for the CT, fewer for the maps."""

    ct_rows: slice
    map_rows: slice
    middle: int

    def ct(self, array: FloatArray) -> FloatArray:
        return array[self.ct_rows, :, self.middle]

    def map(self, array: FloatArray) -> FloatArray:
        return array[self.map_rows, :, self.middle]


def cut_through(subject: Subject) -> Cut:
    spacing_mm = subject.scan.straight.spacing_mm
    rows = np.flatnonzero((subject.truth.body > 0.5).any(axis=(1, 2)))
    centre = (rows[0] + rows[-1] + 1) // 2
    halves = (round(height_mm / 2 / spacing_mm) for height_mm in (CT_MM, MAP_MM))
    middle = round(np.argwhere(subject.scan.old_body > 0.5)[:, 2].mean())
    return Cut(*(slice(centre - half, centre + half) for half in halves), middle)


def readme(entries: Mapping[str, tuple[Subject, Mapping[str, Regrown]]], cards: Mapping[str, Mapping[str, Any]]) -> str:
    """docs/montages/README.md. entries: picture's file name -> what it shows. cards: of each model's weights."""
    drawn = " and ".join(f"{SHOWN[name]} `{card['sha256'][:8]}`" for name, card in cards.items())
    lines = [
        "# Montages",
        "",
        "Pictures and text are written by `Testing/bench/make_montages.py`. Drawn at commit "
        f"{commit()} with the weights (sha256) {drawn}.",
        "",
        "Mid-sagittal cuts through the straightened spine; heights are mean body heights in the mid-sagittal band. The "
        "generated levels are fractured, and the truth is the same person without fractures, scanned the same way; "
        f"each is the first from seed {FIRST_SEED} on with {GENERATED_LEVEL} broken in that shape, at least "
        f"{LEAST_DEPTH_MM:.0f} mm deep and between healthy neighbours. The real levels are healthy ones of "
        "TotalSegmentator's example CT (Apache-2.0, 3 mm) that were hidden, so the scan is the truth; in "
        f"{BROKEN_LEVEL} of it a fracture was made ([how](../method.md#fractures-made-in-real-scans)). Differences are "
        "shown where the regrown vertebra may change the scan, and around the true body: beyond, the patient's own "
        "tissue stays or moves as a whole. The uncertainty is how far the truth's HU are expected to be from the "
        "GAN's answer where that stands (one standard deviation); that it lies too high or too low is not counted, nor "
        "is what no neighbour shows, such as a bone island.",
    ]
    if not any(height_head_helps(card) for card in cards.values()):
        lines[-1] += (
            " Both models take the height from the other levels: neither's own has proved better in its training."
        )
    for file, (subject, regrown) in entries.items():
        lines += ["", f"![{alt(subject, regrown)}]({file})", "", sentence(subject, regrown)]
    return "\n".join(lines) + "\n"


def sentence(subject: Subject, regrown: Mapping[str, Regrown]) -> str:
    """What there is to be seen, and how far off the regrown bodies are; heights as the title rounds them."""
    true_mm = round(subject.truth.height_mm, 1)
    heights = per_model({name: round(one.height_mm, 1) - true_mm for name, one in regrown.items()})
    plates = per_model({name: plate_above_truth(subject, one) for name, one in regrown.items()})
    return (
        f"**{subject.level}, {subject.what}**: {subject.seen}. Against the truth: height {heights}; lower plate "
        f"{plates} (up is positive)."
    )


def per_model(millimetres: Mapping[str, float]) -> str:
    said = {name: f"{round(value, 1) + 0.0:+.1f} mm".replace("-", "−") for name, value in millimetres.items()}
    if len(set(said.values())) == 1:
        return f"{next(iter(said.values()))} with both models"
    return ", ".join(f"{SHOWN[name]} {words}" for name, words in said.items())


def plate_above_truth(subject: Subject, regrown: Regrown) -> float:
    """mm from the true lower plate up to the regrown one, the median over the body."""
    regrown_low, true_low = (plate_rows(body)[0] for body in (regrown.body, subject.truth.body))
    return float(np.nanmedian(regrown_low - true_low)) * subject.scan.straight.spacing_mm


def alt(subject: Subject, regrown: Mapping[str, Regrown]) -> str:
    first = "the scan without the level, the scan" if subject.is_hidden else "the scan, the healthy truth"
    return (
        f"Mid-sagittal cuts of {title_of(subject, regrown)}. Upper row: {first}, and what the GAN and the diffusion "
        "model regrow. Lower row: uncertainty, and what either model differs from the truth by, both in HU."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "montages")
    arguments = parser.parse_args()
    if not (REAL / "lumbar").is_dir():
        raise SystemExit(f"{REAL}: no real scan there; say with HEALTHIVERT_REAL_CASES where it is")
    arguments.out.mkdir(parents=True, exist_ok=True)
    choices = (commands.GeneratorChoice(name, samples=SAMPLES if name == "gan" else 1) for name in SHOWN)
    models = {choice.model: commands.load_generator(choice) for choice in choices}
    entries = {}
    for subject in (broken_subject(), *generated_subjects(), *real_subjects()):
        samples = {name: model.generate(subject.scan.conditioning) for name, model in models.items()}
        spacing_mm = subject.scan.straight.spacing_mm
        regrown = {name: put_into(subject.scan, with_spread(drawn, spacing_mm)) for name, drawn in samples.items()}
        with matplotlib.rc_context(STYLE):
            montage(subject, regrown).savefig(arguments.out / f"{subject.name}.png", dpi=DPI)
        entries[f"{subject.name}.png"] = subject, regrown
        print(title_of(subject, regrown), flush=True)
    text = readme(entries, {name: model.card for name, model in models.items()})
    write_whole(arguments.out / "README.md", text.encode())


if __name__ == "__main__":
    main()
