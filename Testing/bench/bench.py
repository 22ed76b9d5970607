"""Measure everything that README and docs state, and write it to docs/results.md. `make bench` runs this.

Real scans are looked for in HEALTHIVERT_REAL_CASES (default ../shared/real_cases) and HEALTHIVERT_VERSE (see
verse_scans.py); what needs them is named as not measured when they are not there. Every other row is made from seeds
that no training has seen. Timings are of whole processes: nothing else should run beside them.

Each section is kept as it is finished (measured/, see sections.py): stopped, the same command goes on with what has not
been measured at this commit with these weights. A part of the sections or models leaves the others as they are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from as_published import published_row
from broken_scans import fractures_in_real_scans
from ceilings import best_height_errors, nearly_the_same
from rows import (
    Row,
    Subject,
    between,
    grade_rows,
    interval_row,
    limits_row,
    loss_rows,
    picture_rows,
    regrown_row,
    worst_third_row,
)
from scipy.stats import spearmanr
from sections import Section, kept, markdown
from spines import scanned
from timings import timings
from twins import fractured_pictures
from verse_scans import VERSE, held_against_readers, levels_of_scans, within_interval

from healthivert import commands
from healthivert.anatomy import LEVEL_NUMBER, LEVELS
from healthivert.case import load_case, load_labels
from healthivert.evaluate import evaluate_level, mean_row, summarise
from healthivert.evaluate_phantoms import (
    PhantomScan,
    compare_with_truth,
    compared_levels,
    loss_agreement,
    summarise_phantoms,
)
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.models import MODELS
from healthivert.phantom import paint_ct, sample_spine, truth
from healthivert.pipeline import NINE_OF_TEN, GenerateSamples, regrow
from healthivert.progress import quiet
from healthivert.svm_grading import load_grading
from healthivert.training.machine import machine
from healthivert.types import HEIGHT_KEYS, THIRDS, FloatArray, SpineCase
from healthivert.whole_file import write_whole

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(__file__).resolve().parent / "measured"
REAL = Path(os.environ.get("HEALTHIVERT_REAL_CASES", ROOT.parent / "shared" / "real_cases"))
UNCOMMITTED = " with uncommitted changes"
SEED = 900_000  # phantoms of training start at 20 000, the tests use small numbers
FLOOR_SPINES = 1000
SAMPLES = 8
WHOLE_SPINE = [level for level in LEVELS[LEVELS.index("T1") : LEVELS.index("L5") + 1] if level != "T13"]
HEALTHY = {"lumbar": ("L1", "L2", "L3", "L4", "L5"), "verse004": ("T11", "T12", "L2", "L3", "L4", "L5")}

# Mid-sagittal heights of the real cases (anterior, middle, posterior thirds, mm), measured independently to +-0.7 mm.
INDEPENDENT = {
    "lumbar": {
        "L1": (21.3, 22.7, 24.8),
        "L2": (23.6, 24.0, 24.0),
        "L3": (22.9, 23.3, 24.7),
        "L4": (24.9, 23.8, 20.5),
        "L5": (27.9, 26.9, 20.5),
    },
    "verse004": {
        "T11": (22.7, 22.9, 23.0),
        "T12": (23.0, 23.8, 24.3),
        "L1": (11.8, 9.5, 13.4),
        "L2": (27.8, 26.1, 26.4),
        "L3": (27.9, 25.6, 25.8),
        "L4": (27.6, 25.5, 25.1),
    },
}


def height_errors(analysis: SpineAnalysis, case: str) -> np.ndarray:
    reference = INDEPENDENT[case]
    return np.array(
        [
            getattr(analysis.levels[level].heights, third) - value
            for level, values in reference.items()
            for third, value in zip(THIRDS, values, strict=True)
        ]
    )


def lumbar_case() -> SpineCase:
    return load_case(REAL / "lumbar" / "ct.nii.gz", REAL / "lumbar" / "seg.nii.gz")


def real_lumbar(subject: Subject) -> Iterator[Row]:
    case = lumbar_case()
    analysis = analyse(case)
    errors = height_errors(analysis, "lumbar")
    measured = f"mean {np.abs(errors).mean():.2f} mm, worst {errors[np.abs(errors).argmax()]:+.2f} mm"
    yield Row("real lumbar CT: body heights", "<= 1 mm on average", measured, bool(np.abs(errors).mean() <= 1))
    rows = {level: evaluate_level(case, analysis, level, subject.generate) for level in HEALTHY["lumbar"]}
    for name, levels in (("L2-L4", ("L2", "L3", "L4")), ("L1-L5", tuple(rows))):
        yield regrown_row(f"real lumbar CT: {name} hidden and regrown", [rows[level] for level in levels])
    yield published_row(subject, "real lumbar CT", ((case, analysis, level) for level in HEALTHY["lumbar"]))
    held = np.mean([within_interval(analysis.levels[level]) for level in HEALTHY["lumbar"]], axis=0)
    what = f"real lumbar CT, {len(HEALTHY['lumbar'])} levels: the interval of 90 % holds the height"
    yield replace(interval_row(what, dict(zip(HEIGHT_KEYS, held, strict=True))), target="", met=None)


def painted_case() -> SpineCase:
    """The real mask of VerSe 004 with a CT painted onto it."""
    mask = load_labels(REAL / "verse004" / "seg.nii.gz")
    return SpineCase(paint_ct(mask.labels, 3), mask.labels, "verse004", mask.orientation, mask.label_values)


def painted_verse004(subject: Subject) -> Iterator[Row]:
    case = painted_case()
    analysis = analyse(case)
    errors = height_errors(analysis, "verse004")
    measured = f"mean {np.abs(errors).mean():.2f} mm, worst {errors[np.abs(errors).argmax()]:+.2f} mm"
    yield Row("verse004: body heights", "<= 1 mm on average", measured, bool(np.abs(errors).mean() <= 1))
    first = max(analysis.levels, key=lambda level: analysis.levels[level].suspicion)
    yield Row("verse004: most suspicious level", "L1", first, first == "L1")
    found = {level: regrow(case, analysis, level, subject.generate, quiet).loss for level in ("L1", "L2", "L3", "L4")}
    loss = found["L1"].rhlv.mean
    yield Row(
        "verse004: L1 (severe)", "RHLV >= 40 %", f"{100 * loss:.0f} %, grade {found['L1'].genant.grade}", loss >= 0.4
    )
    grades = {level: found[level].genant.grade for level in ("L2", "L3", "L4")}
    text = ", ".join(f"{level} {grade}" for level, grade in grades.items())
    yield Row("verse004: grades of L2-L4", "0", text, not any(grades.values()))
    rows = [evaluate_level(case, analysis, level, subject.generate) for level in HEALTHY["verse004"]]
    yield regrown_row("verse004, painted: T11, T12, L2-L5 hidden and regrown", rows)


def fractured_phantoms(subject: Subject) -> Iterator[Row]:
    """Every fractured level of each spine is regrown, all other fractures left in place, and as many spared ones."""
    grading = load_grading()
    rows: list[dict] = []
    for number in range(subject.phantoms):
        scan = phantom_scan(SEED + number, fractured=True)
        for level in compared_levels(scan.analysis, scan.truth):
            told = compare_with_truth(scan, level, subject.generate, grading)
            rows.append({"case": scan.case.name, "beside_fracture": beside_fracture(scan, level), **told})
        print(f"  phantom {number}: {len(rows)} levels so far", flush=True)
    fractured = [row for row in rows if row["fractured"]]
    found = summarise_phantoms(rows, SEED)
    yield from loss_rows(found["rhlv"]["fractured"], f"fractured levels of {subject.phantoms} phantoms")
    spared = found["rhlv"]["spared"]
    yield limits_row(f"{spared['count']} spared levels: loss of the mean height", spared)
    yield worst_third_row("the same: worst third, by which is graded", spared)
    loss = found["rhlv"]["all"]
    yield interval_row(f"{loss['count']} levels: the interval of 90 % holds the true loss", loss["interval_90_holds"])
    graded = [row for row in rows if row["grade_thresholds"]]
    loss = loss_agreement(graded, SEED)["all"]
    what = f"{loss['count']} of them, found to be of grade 1 or more: the interval of 90 % holds the true loss"
    yield interval_row(what, loss["interval_90_holds"])
    yield rhdr_row(f"{len(fractured)} fractured ones: RHDR", summarise(fractured, SEED))
    for beside, most, what in ((False, 2.0, "between healthy levels"), (True, 4.0, "beside a fractured level")):
        part = [row for row in rows if row["beside_fracture"] == beside]
        yield rhdr_row(f"{len(part)} levels {what}, themselves fractured or not: RHDR", summarise(part, SEED), most)
    for way, agreement in found["grading"].items():
        yield from grade_rows(f"levels, Genant by {way}", agreement, judged=way == commands.THRESHOLDS)


def beside_fracture(scan: PhantomScan, level: str) -> bool:
    """Whether the level above or below, as far as there is one, is truly fractured."""
    present = list(scan.truth)
    place = present.index(level)
    return any(scan.truth[other]["fractured"] for other in present[max(0, place - 1) : place + 2] if other != level)


@cache
def phantom_scan(seed: int, fractured: bool) -> PhantomScan:
    """A whole spine, rendered and analysed once for all models."""
    spine = sample_spine(seed, fractured=fractured)
    facts = {row["level"]: row for row in truth(spine)["levels"]}
    return PhantomScan(*scanned(spine, f"phantom {seed}", spacing_mm=1.0, field_mm=140), facts)


def rhdr_row(what: str, found: dict, most: float | None = None) -> Row:
    mean = found["mean"]
    text = (
        f"{mean['rhdr']:.1f} % {between(found['interval']['rhdr'], 1)} (reference {mean['rhdr_reference']:.1f} %, two "
        f"healthy neighbours by normal ratios {mean['rhdr_two_healthy']:.1f} %, the two beside it "
        f"{mean['rhdr_two_neighbours']:.1f} %)"
    )
    return Row(what, "" if most is None else f"<= {most:g} %", text, None if most is None else mean["rhdr"] <= most)


def healthy_phantoms(subject: Subject) -> Iterator[Row]:
    """A level of each of so many unseen healthy spines hidden and regrown, T1 to L5 as they are drawn; of every fifth,
    what the very same vertebra would reach."""
    rows, limits = [], []
    for seed, level in healthy_levels(subject.phantoms):
        scan = phantom_scan(seed, fractured=False)
        rows.append(evaluate_level(scan.case, scan.analysis, level, subject.generate))
        if len(rows) % 5 == 1:
            limits.extend(same_but(seed, level))
    found = summarise(rows, SEED)
    yield rhdr_row(f"a healthy level of each of {len(rows)} phantoms hidden and regrown, T1 to L5: RHDR", found, 2.0)
    yield floor_row(subject.phantoms)
    yield from picture_rows(found)
    for wrong in dict.fromkeys(name for name, _ in limits):
        same = [row for name, row in limits if name == wrong]
        mean = mean_row(same)
        text = f"SSIM {mean['ssim']:.3f}, PSNR {mean['psnr']:.1f} dB"
        yield Row(f"{len(same)} of these very vertebrae, {wrong}", "", text, None)


def uncertainty_on_phantoms(subject: Subject) -> Iterator[Row]:
    """How far the truth lies from the answer, and how far it is said to: healthy levels, within the body."""
    generate = sampled(subject)
    pairs = []
    for seed, level in healthy_levels(max(2, subject.phantoms // 10)):
        scan = phantom_scan(seed, fractured=False)
        pairs.append(uncertainty_and_error(scan.case, scan.analysis, level, generate))
    yield uncertainty_row(f"{len(pairs)} healthy phantom levels, T1 to L5", pairs)


def uncertainty_on_lumbar(subject: Subject) -> Iterator[Row]:
    """The same of the real lumbar CT."""
    case, generate = lumbar_case(), sampled(subject)
    analysis = analyse(case)
    pairs = [uncertainty_and_error(case, analysis, level, generate) for level in HEALTHY["lumbar"]]
    yield uncertainty_row("real lumbar CT, L1-L5", pairs)


def sampled(subject: Subject) -> GenerateSamples:
    return commands.load_generator(commands.GeneratorChoice(subject.model, samples=SAMPLES)).generate


def uncertainty_row(what: str, pairs: list[tuple[FloatArray, FloatArray]]) -> Row:
    held = [float((error <= NINE_OF_TEN * uncertainty).mean()) for uncertainty, error in pairs]
    agreement = np.mean([spearmanr(error, uncertainty).statistic for uncertainty, error in pairs])
    shares = f"{np.mean(held):.0%} ({min(held):.0%} to {max(held):.0%})"
    text = f"{shares}; rank correlation of it and the error {agreement:.2f}"
    return Row(f"{what}, {SAMPLES} samples: voxels within 1.645 times `uncertainty` of the truth", "", text, None)


def uncertainty_and_error(
    case: SpineCase, analysis: SpineAnalysis, level: str, generate: GenerateSamples
) -> tuple[FloatArray, FloatArray]:
    """Of each voxel of the regrown body, in the patient: the uncertainty, and how far the answer is from the truth,
    both HU. The level has to be healthy."""
    restored = regrow(case, analysis, level, generate, quiet).restored
    uncertainty = sitk.GetArrayFromImage(sitk.Resample(restored.ct_sd, case.ct))
    within = (sitk.GetArrayFromImage(restored.labels) == LEVEL_NUMBER[level]) & (uncertainty > 0)
    before, after = (sitk.GetArrayFromImage(ct)[within].astype(float) for ct in (case.ct, restored.ct))
    return uncertainty[within], np.abs(after - before)


@cache
def same_but(seed: int, level: str) -> list[tuple[str, dict[str, float]]]:
    return list(nearly_the_same(phantom_scan(seed, fractured=False), seed, level))


def healthy_levels(phantoms: int) -> list[tuple[int, str]]:
    """Seed and level of each healthy phantom, the level drawn from those that every spine has."""
    seeds = range(SEED + 500, SEED + 500 + phantoms)
    return [(seed, str(np.random.default_rng(seed).choice(WHOLE_SPINE))) for seed in seeds]


@cache
def floor_row(phantoms: int) -> Row:
    known = range(SEED + 1_000, SEED + 1_000 + FLOOR_SPINES)
    levels = healthy_levels(phantoms)
    errors = best_height_errors(known, (seed for seed, _ in levels))
    here = np.mean([errors[level][place] for place, (_, level) in enumerate(levels)])
    text = f"{here:.1f} % ({np.mean(list(errors.values())):.1f} % over all of their levels)"
    what = "the same: the best linear prediction from all other levels' true mean heights, knowing how such spines vary"
    return Row(what, "", text, None)


SECTIONS: dict[str, tuple[Callable[[Subject], Iterator[Row]], Path | None]] = {
    "timings": (partial(timings, lumbar=REAL / "lumbar", seed=SEED), None),
    "lumbar": (real_lumbar, REAL / "lumbar"),
    "verse004": (painted_verse004, REAL / "verse004"),
    "verse": (levels_of_scans, VERSE),
    "broken": (partial(fractures_in_real_scans, lumbar=REAL / "lumbar"), VERSE),
    "readers": (held_against_readers, VERSE),
    "fractured": (fractured_phantoms, None),
    "twins": (fractured_pictures, None),
    "healthy": (healthy_phantoms, None),
    "uncertainty": (uncertainty_on_phantoms, None),
    "real uncertainty": (uncertainty_on_lumbar, REAL / "lumbar"),
}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "HealthiVertCore/src"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() + (UNCOMMITTED if changed.stdout.strip() else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    spines = "fractured spines for each model, the last number for all that follow; and as many healthy ones"
    parser.add_argument("--phantoms", type=int, nargs="+", default=[100], help=spines)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, help="measure these, again if need be, and no others")
    parser.add_argument("--kept", type=Path, default=MEASURED, help="folder of the finished sections")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results.md")
    arguments = parser.parse_args()
    generators = {model: commands.load_generator(commands.GeneratorChoice(model)) for model in MODELS}
    weights = {model: str(generator.card["sha256"]) for model, generator in generators.items()}
    subjects = []
    for number, model in enumerate(arguments.models):
        phantoms = arguments.phantoms[min(number, len(arguments.phantoms) - 1)]
        subjects.append(Subject(model, weights[model], generators[model].generate, phantoms))
    present = commit()
    for name in arguments.only or SECTIONS:
        for subject in subjects:
            found = kept(arguments.kept, subject.model, name)
            done = found and found.measured_with(subject) and found.commit == present and UNCOMMITTED not in present
            if done and not arguments.only:
                continue
            if section := measured(subject, name, present):
                section.keep(arguments.kept)
                write_results(weights, arguments.kept, arguments.out)
        phantom_scan.cache_clear()  # a hundred spines take 5 GB
    write_results(weights, arguments.kept, arguments.out)


def measured(subject: Subject, name: str, present: str) -> Section | None:
    """None: the section needs real scans that are not on this machine."""
    measure, needed = SECTIONS[name]
    if needed and not needed.is_dir():
        print(f"{subject.model}: {name} left out, its scans are not in {needed}", flush=True)
        return None
    rows = []
    for row in measure(subject):
        print(subject.model, row, flush=True)
        rows.append(str(row))
    return Section(subject.model, name, subject.weights, present, machine(), subject.phantoms, tuple(rows))


def write_results(weights: Mapping[str, str], folder: Path, out: Path) -> None:
    """All that was measured with these weights (sha256 by model), at whatever commit."""
    found = (kept(folder, model, name) for model in weights for name in SECTIONS)
    sections = [section for section in found if section and section.weights == weights[section.model]]
    if sections:
        write_whole(out, markdown(sections, list(SECTIONS), SEED).encode())


if __name__ == "__main__":
    main()
