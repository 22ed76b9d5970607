"""What `evaluate` and `fit-grading` do, from paths to files, as commands.py has it for the other commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from healthivert.case import case_name, load_case
from healthivert.commands import GeneratorChoice, LoadedGenerator, check_not_alone, load_generator, versions
from healthivert.errors import HealthiVertError, complaint
from healthivert.evaluate import evaluable_levels, evaluate_level, summarise
from healthivert.evaluate_phantoms import evaluate_phantom, phantom_folders, read_truth, summarise_phantoms
from healthivert.evaluation_files import FILES, write_evaluation
from healthivert.image_files import BIDS_SUBJECT, stem_of
from healthivert.inspection import analyse
from healthivert.labels import parse_level
from healthivert.output_folder import OutputFolder
from healthivert.progress import WARNING, part_of
from healthivert.report import check_can_draw
from healthivert.svm_grading import SvmGrading, fitted_on_others, load_grading, save_grading
from healthivert.types import SpineCase

StepProgress = Callable[[str, float, str], None]


def evaluate(
    pairs: Sequence[tuple[Path, Path]],
    levels: Sequence[str] | None,
    out: Path,
    choice: GeneratorChoice,
    progress: StepProgress,
    level_map: Mapping[int, str] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Leave-one-out over all cases; writes metrics.json, tables and figures, and returns the content of the first."""
    check_can_draw()
    for path in (path for pair in pairs for path in pair):
        if not path.exists():  # said before the hours that the cases before it may take
            raise complaint(path, "there is no such file or folder", "check the path")
    generator = load_generator(replace(choice, samples=1))
    with OutputFolder(out, force, FILES) as folder:
        rows: list[dict[str, Any]] = []
        warnings: list[str] = []
        names = distinct_names([ct for ct, _ in pairs])
        for number, (ct, seg) in enumerate(pairs):
            alone = len(pairs) == 1
            tell = partial(_say, warnings, progress, number / len(pairs))
            with _left_out_unless(alone, tell):
                case = replace(load_case(ct, seg, level_map), name=names[number])
                analysis = analyse(case)
                for warning in analysis.warnings:
                    tell(f"{case.name}: {warning}")
                chosen = _levels_there(levels, case, alone, tell) if levels else evaluable_levels(analysis)
                if not chosen:
                    raise HealthiVertError(f"{ct}: no healthy, complete level to evaluate on; name some with --levels")
                for place, level in enumerate(chosen):
                    progress("evaluate", (number + place / len(chosen)) / len(pairs), f"{case.name} {level}")
                    with _left_out_unless(alone, tell):
                        check_not_alone(case, level, seg)
                        row = evaluate_level(case, analysis, level, generator.generate, generator.attend)
                        rows.append({"case": case.name, "person": person_of(ct, case.name), **row})
        if not rows:
            raise HealthiVertError("none of the scans has a level to evaluate on; name others with --levels")
        metrics = {"rows": rows, **summarise(rows, choice.seed), **_evaluated_with(choice, generator)}
        metrics["warnings"] = warnings
        write_evaluation(metrics, folder)
    progress("done", 1.0, str(out))
    return metrics


def _say(kept: list[str], progress: StepProgress, share: float, words: str) -> None:
    """Say something that must not be lost, and keep it for metrics.json. share: of the work that is done."""
    kept.append(words)
    progress(WARNING, share, words)


def _levels_there(levels: Sequence[str], case: SpineCase, alone: bool, tell: Callable[[str], None]) -> list[str]:
    """The levels of those named that a scan has; of one among several the others are said, not refused."""
    there: dict[str, None] = {}  # in their order, each once
    for level in levels:
        with _left_out_unless(alone, tell):
            there[parse_level(level, case)] = None
    return list(there)


@contextmanager
def _left_out_unless(alone: bool, tell: Callable[[str], None]) -> Iterator[None]:
    """What one of several scans is refused for is said, and costs nothing that the others give."""
    try:
        yield
    except HealthiVertError as error:
        if alone:
            raise
        tell(f"left out: {error}")


def distinct_names(scans: Sequence[Path]) -> list[str]:
    """A name for each scan: as `run` calls it, with the folder's above where scans share one, with a number where that
    is shared.

    Intervals are over cases, so two scans of one name must not become one.
    """
    names = [case_name(path) for path in scans]
    names = [
        f"{_folder_above(path, name)}/{name}" if names.count(name) > 1 else name
        for path, name in zip(scans, names, strict=True)
    ]
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)]


def person_of(scan: Path, name: str) -> str:
    """Whose scan it is, as far as its name or a folder's above tells (sub-...); otherwise the scan's own name."""
    places = (
        stem_of(scan).partition("_")[0],
        *(part.partition("_")[0] for part in reversed(scan.resolve().parts[:-1])),
    )
    return next((part for part in places if part.startswith(BIDS_SUBJECT)), name)


def _folder_above(scan: Path, name: str) -> str:
    """The name of the folder that holds a scan, or the folder it is named after."""
    folder = scan.resolve().parent
    return folder.parent.name if folder.name == name else folder.name


def evaluate_phantoms(
    phantoms: Path, out: Path, choice: GeneratorChoice, progress: StepProgress, force: bool = False
) -> dict[str, Any]:
    """Fractured levels of phantoms regrown and held against their known truth; writes what `evaluate` writes."""
    check_can_draw()
    with OutputFolder(out, force, FILES) as folder:
        grading = load_grading()
        generator, rows = _phantom_rows(phantoms, choice, grading, True, progress)
        warnings: list[str] = []
        for warning in fitted_on_others(grading, generator.card):
            _say(warnings, progress, 1.0, f"grades by svm: {warning}")
        metrics = {
            "rows": rows,
            **summarise(rows, choice.seed),
            **summarise_phantoms(rows, choice.seed),
            **_evaluated_with(choice, generator),
            "warnings": warnings,
        }
        write_evaluation(metrics, folder)
    progress("done", 1.0, str(out))
    return metrics


def fit_grading(
    phantoms: Path, out: Path, choice: GeneratorChoice, progress: StepProgress, force: bool = False
) -> SvmGrading:
    """Fit the grading machine on phantoms and write it into the file out."""
    from healthivert import fit_grading as fitting

    fitting.check_can_fit()
    if out.suffix != ".json":
        raise complaint(out, "a fitted grading is a .json file", "name it so")
    with OutputFolder(out.parent, force, names=(out.name,)) as folder:
        fitting.check_enough_spines(len(phantom_folders(phantoms)))  # said before all of them are regrown
        generator, rows = _phantom_rows(phantoms, choice, None, False, part_of(progress, 0.0, 0.9))
        progress("fit", 0.9, f"fitting on {len(rows)} vertebrae")
        source = _evaluated_with(choice, generator)
        source["versions"] |= {"scikit-learn": metadata.version("scikit-learn")}
        grading = fitting.fit_grading(rows, choice.seed, source)
        save_grading(grading, folder / out.name)
    progress("done", 1.0, str(out))
    return grading


def _phantom_rows(
    phantoms: Path, choice: GeneratorChoice, grading: SvmGrading | None, pictures: bool, progress: StepProgress
) -> tuple[LoadedGenerator, list[dict[str, Any]]]:
    folders = phantom_folders(phantoms)
    for case in folders:
        read_truth(case)  # said before the minutes that the cases before it take
    generator = load_generator(replace(choice, samples=1))
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(folders):
        share = part_of(progress, number / len(folders), (number + 1) / len(folders))
        told = partial(share, "evaluate")
        rows += evaluate_phantom(case, generator.generate, grading, pictures, told, generator.attend)
    if not rows:
        raise HealthiVertError(f"{phantoms}: no complete vertebra was found in any phantom; make other ones")
    return generator, rows


def _evaluated_with(choice: GeneratorChoice, generator: LoadedGenerator) -> dict[str, Any]:
    return {
        "model": {"name": choice.model, "sha256": generator.card["sha256"]},
        "seed": choice.seed,
        "attention": choice.attention,
        "versions": versions(),
    }
