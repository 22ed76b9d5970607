"""What `run`, `inspect` and their kin do, from paths to files, and the generator that every command loads.

cli.py parses the arguments and calls these; other programs may, too. cohort_commands, evaluation_commands and
training_commands have the rest.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path

import SimpleITK as sitk

from healthivert import __version__
from healthivert.attention import AttentionSource, everywhere, suspicion_beside
from healthivert.case import check_can_write, load_case, load_labels, write_image, write_volume
from healthivert.errors import HealthiVertError, complaint
from healthivert.familiarity import unfamiliar
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.iterate import prepare_beside_regrown
from healthivert.labels import parse_level
from healthivert.models import MODELS, SUFFIX
from healthivert.output_folder import OutputFolder
from healthivert.pipeline import Clock, GenerateSamples, Outcome, regrow
from healthivert.progress import part_of
from healthivert.report import check_can_draw, level_as_dict, write_report
from healthivert.svm_grading import SHIPPED, SvmGrading, graded, load_grading
from healthivert.threads import begun, one_beside
from healthivert.types import Report, SpineCase

THRESHOLDS, SVM = "thresholds", "svm"  # the ways of grading
SUSPICION, HGAM, NO_ATTENTION = "suspicion", "hgam", "none"  # the sources of attention


@dataclass(frozen=True)
class GeneratorChoice:
    """Which generator to load and how to run it."""

    model: str = MODELS[0]
    weights: Path | None = None  # None: the weights that ship with the package
    device: str = "auto"
    samples: int = 1
    seed: int = 0
    attention: str = SUSPICION  # what tells it which tissue to trust


@dataclass(frozen=True)
class LoadedGenerator:
    """generate_one: the first of generate's samples, for whoever needs no others. attend: what it is told to trust."""

    generate: GenerateSamples
    generate_one: GenerateSamples
    attend: AttentionSource
    card: Mapping
    device: str  # that it runs on
    warnings: tuple[str, ...] = ()  # if it does not run on what one would expect here


def check_can_generate(choice: GeneratorChoice) -> None:
    """Raise HealthiVertError if the choice cannot be run, as far as that shows without loading anything."""
    if choice.samples < 1:
        raise HealthiVertError(f"--samples {choice.samples}: at least one sample is needed; pass 1 or more")
    if choice.attention not in (sources := (SUSPICION, HGAM, NO_ATTENTION)):
        raise HealthiVertError(f"--attention {choice.attention}: no such source; use one of {', '.join(sources)}")
    if choice.weights is None and choice.model not in MODELS:
        raise HealthiVertError(
            f"--model {choice.model}: this version ships no such generator; use one of "
            f"{', '.join(MODELS)}, or --weights"
        )
    if choice.weights is not None and choice.weights.suffix != SUFFIX:
        raise complaint(choice.weights, f"this is not a {SUFFIX} file", "give weights as `train` writes them")


def load_generator(choice: GeneratorChoice) -> LoadedGenerator:
    """The generator, ready to be called. torch is imported here and not before: inspecting a spine needs none of it."""
    check_can_generate(choice)
    import torch

    from healthivert.generate import height_head_helps, sampler
    from healthivert.hgam.attention import attention_by
    from healthivert.hgam.classifier import load_classifier
    from healthivert.hgam.realism import looks_healthy_to
    from healthivert.models.devices import choose_device, slower_device_warning
    from healthivert.models.weights import load_weights

    device = choose_device(choice.device)
    model, card = load_weights(choice.weights or choice.model, device)
    if choice.weights and (own := card["architecture"]["name"]) != choice.model:
        raise complaint(choice.weights, f"these are weights of the model {own}", f"pass --model {own}")
    torch.manual_seed(choice.seed)
    warning = slower_device_warning(choice.device, device)
    classifier = load_classifier()
    accept = looks_healthy_to(classifier)
    attend = {SUSPICION: suspicion_beside, HGAM: attention_by(classifier), NO_ATTENTION: everywhere}[choice.attention]
    generate, generate_one = (
        sampler(model, device, samples, choice.seed, accept, height_head_helps(card)) for samples in (choice.samples, 1)
    )
    return LoadedGenerator(generate, generate_one, attend, card, device.type, (warning,) if warning else ())


def run(
    ct: Path,
    seg: Path,
    vertebra: str,
    out: Path,
    choice: GeneratorChoice,
    progress: Callable[..., None],
    level_map: Mapping[int, str] | None = None,
    force: bool = False,
    grade_by: str = THRESHOLDS,
    withhold: Path | None = None,
    passes: int = 0,
) -> Report:
    """Regrow one vertebra and write every result into out, all or nothing; README lists them.

    withhold: a mask on the CT's grid of what the generator must not look at besides the target. passes: how often
    neighbours that look fractured are regrown before it.
    """
    if passes < 0:
        raise HealthiVertError(f"--passes {passes}: passes are counted from 0; pass 0 or more")
    check_can_draw()
    grading = grading_of(grade_by)
    clock = Clock()
    with OutputFolder(out, force) as folder:
        case = load_case(ct, seg, level_map, part_of(progress, 0.0, 0.15), withhold)
        level = parse_level(vertebra, case)
        check_not_alone(case, level, seg)
        clock.lap("load")
        progress("generator", 0.15, f"loading {choice.model}")
        loaded = begun(load_generator, choice)  # importing torch takes about as long as what follows
        progress("bodies", 0.16, "finding vertebral bodies")
        analysis = analyse(case)  # in this thread, which a signal can end
        clock.lap("bodies")
        generator = loaded.result()
        clock.lap("load_generator")
        progress("generator", 0.2, f"{choice.model} runs on the device {generator.device}")
        report = write_vertebra(folder, case, analysis, level, generator, choice, grading, progress, clock, passes)
    progress("done", 1.0, f"{out}")
    return report


def write_vertebra(
    folder: Path,
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    generator: LoadedGenerator,
    choice: GeneratorChoice,
    grading: SvmGrading | None,
    progress: Callable[..., None],
    clock: Clock,
    passes: int = 0,
) -> Report:
    """Regrow a level of a spine that is read and analysed, and write what `run` writes into folder, which is there."""
    prepared = None
    if passes:
        told = part_of(progress, 0.25, 0.30)
        attend = generator.attend
        prepared = prepare_beside_regrown(case, analysis, level, generator.generate_one, passes, told, attend)
        clock.lap("neighbours")
    outcome = regrow(case, analysis, level, generator.generate, progress, clock, prepared, generator.attend)
    if grading is not None:
        outcome = replace(outcome, loss=graded(outcome.loss, grading, generator.card))
    report = _report(case, analysis, level, outcome, choice, generator, clock.laps, passes)
    progress("write", 0.8, "writing images")
    with one_beside() as beside:  # packing a large scan takes as long as drawing the report
        images = beside.submit(_write_images, folder, case, outcome)
        progress("report", 0.82, "drawing the report")
        write_report(report, folder)
        images.result()
    return report


def grading_file(way: str) -> Path | None:
    """--grade-by: None for thresholds, the file of the shipped machine for "svm", else the file of that name."""
    if way == THRESHOLDS:
        return None
    return SHIPPED if way == SVM else Path(way)


def grading_of(way: str) -> SvmGrading | None:
    file = grading_file(way)
    return None if file is None else load_grading(file)


def _write_images(folder: Path, case: SpineCase, outcome: Outcome) -> None:
    restored = outcome.restored
    with ThreadPoolExecutor(1) as beside:  # the two whole scans take nearly all of the time
        labels = beside.submit(write_image, restored.labels, folder / "pseudo_healthy_seg.nii.gz", case, labels=True)
        write_image(restored.ct, folder / "pseudo_healthy_ct.nii.gz", case)
        labels.result()
    write_volume(restored.displacement, folder / "displacement.nii.gz")
    write_image(restored.loss_map, folder / "height_loss_map.nii.gz", case)
    if restored.ct_sd is not None:
        write_image(restored.ct_sd, folder / "uncertainty.nii.gz", case)
    write_conditioning(folder, outcome.withheld, outcome.attention, case)


def write_conditioning(folder: Path, withheld: sitk.Image, attention: sitk.Image, case: SpineCase) -> None:
    """conditioning/{mask,cam}.nii.gz into folder, which is there."""
    conditioning = folder / "conditioning"
    conditioning.mkdir()
    for name, image in (("mask", withheld), ("cam", attention)):
        write_image(image, conditioning / f"{name}.nii.gz", case)


def _report(
    case: SpineCase,
    analysis: SpineAnalysis,
    level: str,
    outcome: Outcome,
    choice: GeneratorChoice,
    generator: LoadedGenerator,
    timing_s: Mapping[str, float],
    passes: int,
) -> Report:
    spine = tuple(analysis.levels.values())
    strange = unfamiliar(outcome.features, generator.card)
    return Report(
        case=case.name,
        vertebra=level,
        model={"name": choice.model, "sha256": str(generator.card["sha256"])},
        device=generator.device,
        seed=choice.seed,
        samples=choice.samples,
        attention=choice.attention,
        loss=outcome.loss,
        spine=spine,
        warnings=tuple(dict.fromkeys((*analysis.warnings, *outcome.loss.warnings, *generator.warnings, *strange))),
        timing_s=timing_s,
        versions=versions(),
        views=outcome.views,
        profile=outcome.profile,
        height_lines=outcome.height_lines,
        rejected_samples=outcome.rejected_samples,
        passes=passes,
    )


def versions() -> dict[str, str]:
    packages = ("numpy", "scipy", "SimpleITK", "scikit-image", "torch")
    return {
        "healthivert": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def check_not_alone(case: SpineCase, level: str, seg: Path) -> None:
    """Neighbours that are cut or fractured are said; without any, a healthy height would be made up."""
    if case.levels == (level,):
        raise HealthiVertError(
            f"{seg}: {level} is the only vertebra in it, so nothing tells how tall it was; segment its neighbours, too"
        )


def inspect(
    ct: Path, seg: Path, progress: Callable[..., None], level_map: Mapping[int, str] | None = None
) -> tuple[SpineCase, SpineAnalysis]:
    """Measure every level of a scan and hold it against the others. Raises HealthiVertError for what cannot be read."""
    case = load_case(ct, seg, level_map, part_of(progress, 0.0, 0.4))
    progress("bodies", 0.4, "finding vertebral bodies")
    analysis = analyse(case)
    progress("done", 1.0, "")
    return case, analysis


def inspection_as_dict(analysis: SpineAnalysis) -> dict:
    """The contract of `inspect --json`."""
    return {
        "levels": [level_as_dict(summary) for summary in analysis.levels.values()],
        "warnings": list(analysis.warnings),
    }


def phantom(out: Path, count: int, seed: int, fractured: bool, progress: Callable[..., None]) -> None:
    from healthivert.phantom import write_phantoms

    if count < 1:
        raise HealthiVertError(f"--count {count}: at least one phantom is needed; pass 1 or more")
    for folder in (out / f"case_{number:04d}" for number in range(count)):
        if folder.exists():  # said before the minutes that the cases before it would take
            raise HealthiVertError(f"{folder}: there is a case already; move it away or choose another --out")
    write_phantoms(out, count, seed, fractured, progress)


def paint(
    seg: Path,
    out: Path,
    seed: int,
    progress: Callable[..., None],
    level_map: Mapping[int, str] | None = None,
    force: bool = False,
) -> None:
    """A CT painted onto a real label map, on its grid."""
    from healthivert.phantom import paint_ct

    check_can_write(out)
    with OutputFolder(out.parent, force, names=(out.name,)) as folder:
        progress("load", 0.0, "reading the labels")
        case = load_labels(seg, level_map)
        progress("paint", 0.2, "painting")
        image = paint_ct(case.labels, seed)
        progress("write", 0.9, str(out))
        write_image(image, folder / out.name, case)
    progress("done", 1.0, str(out))


def demo(out: Path, choice: GeneratorChoice, progress: Callable[..., None], force: bool) -> tuple[Report, dict]:
    """`run` on the phantom that ships with the package; returns the report and the phantom's truth of that level."""
    folder = resources.files("healthivert").joinpath("data/demo")
    with resources.as_file(folder) as path:
        truth = json.loads((path / "truth.json").read_text(encoding="utf-8"))
        level = next(row for row in truth["levels"] if row["fractured"])
        report = run(path / "ct.nii.gz", path / "seg.nii.gz", level["level"], out, choice, progress, force=force)
    return report, level
