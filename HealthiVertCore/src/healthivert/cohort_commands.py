"""What `cohort` does, from a manifest to a folder of results, as commands.py has it for the other commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from healthivert.case import load_case
from healthivert.cohort import (
    FILES,
    CaseTask,
    Row,
    as_source,
    done_row,
    failed_row,
    finished_rows,
    nothing_row,
    row_in_words,
    write_summary,
)
from healthivert.cohort_manifest import CohortCase, read_manifest
from healthivert.cohort_workers import in_processes, on_cluster
from healthivert.commands import (
    GeneratorChoice,
    LoadedGenerator,
    check_can_generate,
    check_not_alone,
    grading_file,
    grading_of,
    load_generator,
    versions,
    write_vertebra,
)
from healthivert.errors import HealthiVertError, complaint
from healthivert.hgam import CLASSIFIER
from healthivert.inspection import SpineAnalysis, analyse
from healthivert.labels import parse_level
from healthivert.models import shipped_weights
from healthivert.output_folder import OutputFolder
from healthivert.pipeline import Clock
from healthivert.progress import Progress, quiet
from healthivert.report import check_can_draw


@dataclass(frozen=True)
class CohortOptions:
    """How every case is done. threads: that one case may use, None for torch's own choice."""

    choice: GeneratorChoice
    grade_by: str
    level_map: Mapping[int, str] | None = None
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """What the results depend on: files by their content, shipped ones, too, which may change within a version."""
        weights = self.choice.weights or shipped_weights(self.choice.model)
        machine = grading_file(self.grade_by)
        cards = (path.with_suffix(".json") for path in (weights, shipped_weights(CLASSIFIER)))
        return {
            "model": self.choice.model,
            "weights": _digest(weights),
            "cards": [_digest(card) for card in cards],  # the classifier's names its weights by their digest
            "device": self.choice.device,
            "samples": self.choice.samples,
            "attention": self.choice.attention,
            "seed": self.choice.seed,
            "grade_by": self.grade_by if machine is None else _digest(machine),
            "level_map": {str(value): level for value, level in (self.level_map or {}).items()},
        }


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise complaint(path, f"cannot be read ({error.strerror})", "check the path") from None


def cohort(
    manifest: Path, out: Path, options: CohortOptions, workers: int | None, scheduler: str | None, progress: Progress
) -> dict[str, Any]:
    """Every case of the manifest; returns the content of cohort.json. workers: processes on this machine (None: one
    for every two cores); scheduler: the address of a Dask cluster instead of them.

    Raises HealthiVertError before any work if the manifest, the options, out or a case's folder in it cannot be used.
    """
    check_can_draw()
    check_can_generate(options.choice)
    grading_of(options.grade_by)
    if workers is not None and workers < 1:
        raise HealthiVertError(f"--workers {workers}: at least one process is needed; pass 1 or more")
    cases = read_manifest(manifest)
    out = Path(os.path.abspath(out))  # a cluster's workers have other working folders
    workers = min(workers or max(1, (os.cpu_count() or 2) // 2), len(cases))
    threads = None if scheduler else max(1, (os.cpu_count() or 1) // workers)
    work, given = partial(do_levels, options=replace(options, threads=threads)), options.as_dict()
    tasks = [CaseTask(case, out / case.name, as_source(case, given), work) for case in cases]
    rows_of = {task.case.name: rows for task in tasks if (rows := finished_rows(task))}
    todo = [task for task in tasks if task.case.name not in rows_of]
    with OutputFolder(out, force=True, names=FILES) as folder:
        progress("cohort", len(rows_of) / len(tasks), f"{len(tasks)} cases, {len(rows_of)} of them done before")
        with closing(on_cluster(todo, scheduler) if scheduler else in_processes(todo, workers)) as ended:
            for task, rows in ended:
                rows_of[task.case.name] = rows
                progress("cohort", len(rows_of) / len(tasks), f"{task.case.name}: {row_in_words(rows)}")
        ordered = [row for task in tasks for row in rows_of[task.case.name]]
        about = {"cases": len(tasks), "done_before": len(tasks) - len(todo), "options": given}
        summary = write_summary(ordered, about | {"versions": versions()}, folder)
    progress("done", 1.0, str(out))
    return summary


def do_levels(cohort_case: CohortCase, folder: Path, done: Mapping[str, Row], options: CohortOptions) -> Iterator[Row]:
    """Every wanted level of one scan, which is read once; a level that cannot be done is a row with its error, one that
    is done already has its row in done."""
    case = load_case(cohort_case.ct, cohort_case.seg, options.level_map)
    analysis = analyse(case)
    compared = sum(summary.comparable for summary in analysis.levels.values())
    wanted = cohort_case.levels or suspicious_levels(analysis)
    if not wanted:
        of_levels = (warning for summary in analysis.levels.values() for warning in summary.warnings)
        yield nothing_row(cohort_case.name, compared, (*analysis.warnings, *of_levels))
        return
    grading = grading_of(options.grade_by)
    generator: LoadedGenerator | None = None
    begun: set[str] = set()
    for name in wanted:
        try:
            level = parse_level(name, case)
            if level in begun:
                continue
            begun.add(level)
            if level in done:
                yield done[level]
                continue
            check_not_alone(case, level, cohort_case.seg)
            generator = generator or _load_generator(options)
            with OutputFolder(folder / level, force=True) as place:
                report = write_vertebra(
                    place, case, analysis, level, generator, options.choice, grading, quiet, Clock()
                )
            yield done_row(cohort_case.name, report, f"{cohort_case.name}/{level}/report.html", compared)
        except HealthiVertError as error:
            yield failed_row(cohort_case.name, name, str(error))


def _load_generator(options: CohortOptions) -> LoadedGenerator:
    generator = load_generator(options.choice)
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)  # else it takes all cores, as if it were alone
    return generator


def suspicious_levels(analysis: SpineAnalysis) -> tuple[str, ...]:
    """The complete levels that look more fractured than not."""
    return tuple(level for level, summary in analysis.levels.items() if summary.comparable and summary.suspicious)
