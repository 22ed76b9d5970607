"""The `healthivert` command: parses arguments and calls healthivert.commands.

Exit codes: 0 done, 1 a bug, 2 bad input, 130 and 143 stopped by Ctrl-C and by SIGTERM. healthivert.commands is imported
by the command that runs: --help answers at once, and a signal is heard before the seconds that the imports may take.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from healthivert import __version__, training_cli
from healthivert.allowed import LARGEST_SEED
from healthivert.errors import HealthiVertError
from healthivert.exit_status import complain, exit_status
from healthivert.models import MODELS
from healthivert.progress import Progress, install_cancellation

if TYPE_CHECKING:
    from healthivert.commands import GeneratorChoice

ATTENTION = ("suspicion", "hgam", "none")


def main(argv: Sequence[str] | None = None) -> int:
    cancellation = install_cancellation()
    arguments = _parser().parse_args(argv)
    arguments.cancellation = cancellation
    return exit_status(partial(arguments.call, arguments), cancellation)


class _Parser(argparse.ArgumentParser):
    """Errors in one line: the usage is a --help away."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="healthivert", description="Pseudo-healthy vertebrae and height loss from CT. Research use only."
    )
    parser.add_argument("--version", action="version", version=f"healthivert {__version__}")
    commands_of = parser.add_subparsers(dest="command", required=True, parser_class=_Parser, metavar="COMMAND")
    for name, call, add_options, text in (
        ("demo", _demo, _demo_options, "regrow the fractured vertebra of the bundled phantom"),
        ("inspect", _inspect, _inspect_options, "heights and suspicion of every level; writes nothing"),
        ("run", _run, _run_options, "regrow one vertebra and measure its height loss"),
        ("cohort", _cohort, _cohort_options, "run on every scan of a table; goes on where it was stopped"),
        ("evaluate", _evaluate, _evaluate_options, "hide and regrow levels whose truth is known, and compare"),
        ("fit-grading", _fit_grading, _fit_grading_options, "fit a machine that grades height loss, on phantoms"),
        ("phantom", _phantom, _phantom_options, "generate spines with known truth"),
        ("paint", _paint, _paint_options, "paint a CT onto a real label map"),
        ("train", _train, _train_options, "train a generator on prepared samples"),
        ("samples", _samples, _samples_options, "make training samples from generated spines or real scans"),
    ):
        sub = commands_of.add_parser(name, help=text, description=text)
        sub.add_argument("--json-progress", action="store_true", help="one JSON line per step on standard output")
        add_options(sub)
        sub.set_defaults(call=call)
    return parser


def _demo_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, metavar="DIR", default=Path("healthivert-demo"), help="folder for the results")
    _generator_options(sub)
    _samples_option(sub)
    _force_option(sub)


def _inspect_options(sub: argparse.ArgumentParser) -> None:
    _scan_arguments(sub)
    sub.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _run_options(sub: argparse.ArgumentParser) -> None:
    _scan_arguments(sub)
    sub.add_argument("--vertebra", required=True, metavar="LEVEL", help="the level to regrow, for example L1")
    sub.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    sub.add_argument(
        "--withhold",
        type=Path,
        metavar="MASK",
        help="an image that is above 0 where the generator must not look besides the target, such as cement",
    )
    _generator_options(sub)
    _samples_option(sub)
    _attention_option(sub)
    sub.add_argument("--passes", type=int, metavar="N", default=0, help="regrow fractured neighbours first, N times")
    _grade_option(sub)
    _force_option(sub)


def _cohort_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "manifest", type=Path, metavar="MANIFEST.csv", help="columns ct, seg, vertebra (empty: all suspicious), id"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results, one in it per id")
    where = sub.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="N", help="scans at a time (default: one for every two cores)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler whose workers see the same files")
    _level_map_option(sub)
    _generator_options(sub)
    _samples_option(sub)
    _attention_option(sub)
    _grade_option(sub)


def _evaluate_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("images", nargs="*", type=Path, metavar="CT SEG", help="pairs of a CT and its segmentation")
    sub.add_argument("--phantoms", type=Path, metavar="DIR", help="cases of `healthivert phantom` instead of scans")
    sub.add_argument(
        "--levels", metavar="LEVEL,...", help="levels to hide, for example T5,T6 (default: all that look healthy)"
    )
    sub.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for metrics.json")
    _level_map_option(sub)
    _generator_options(sub)
    _attention_option(sub)
    _force_option(sub)


def _fit_grading_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--phantoms", type=Path, metavar="DIR", required=True, help="cases of `healthivert phantom`")
    sub.add_argument("--out", type=Path, metavar="FILE", required=True, help="the .json file to write")
    _generator_options(sub)
    _force_option(sub)


def _phantom_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the cases")
    sub.add_argument("--count", type=int, metavar="N", required=True, help="how many")
    _seed_option(sub)
    sub.add_argument("--fractured", action="store_true", help="with fractures; a healthy twin lies beside each spine")


def _paint_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("segmentation", type=Path, metavar="SEG", help="label map or folder of masks")
    sub.add_argument(
        "--out", type=Path, metavar="FILE", required=True, help="the CT file to write (.nii.gz, .nii, .nrrd or .mha)"
    )
    _seed_option(sub)
    _level_map_option(sub)
    _force_option(sub)


def _train_options(sub: argparse.ArgumentParser) -> None:
    _model_option(sub)
    training_cli.add_train_options(sub)


def _samples_options(sub: argparse.ArgumentParser) -> None:
    training_cli.add_samples_options(sub)
    _seed_option(sub)


def _scan_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("ct", type=Path, metavar="CT", help="NIfTI, NRRD, MetaImage or a DICOM folder")
    sub.add_argument(
        "segmentation", type=Path, metavar="SEG", help="its vertebrae, as a label map or a folder of masks"
    )
    _level_map_option(sub)


def _level_map_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--level-map", metavar="VALUE=LEVEL,...", help="what the segmentation's numbers mean, e.g. 1=L5,2=L4"
    )


def _generator_options(sub: argparse.ArgumentParser) -> None:
    _model_option(sub)
    sub.add_argument(
        "--weights", type=Path, metavar="FILE", help="a .safetensors file of your own (its .json beside it)"
    )
    sub.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="processor (default: the fastest)"
    )
    _seed_option(sub)


def _samples_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--samples", type=int, metavar="N", default=1, help="more than one gives the spread of the answer (default: 1)"
    )


def _attention_option(sub: argparse.ArgumentParser) -> None:
    words = "what tells the generator which tissue to trust: heights, Grad-CAM++ of the fracture classifier, or nothing"
    sub.add_argument("--attention", choices=ATTENTION, default=ATTENTION[0], help=f"{words} (default: {ATTENTION[0]})")


def _model_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--model", choices=MODELS, default=MODELS[0], help=f"kind of generator (default: {MODELS[0]})")


def _seed_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--seed", type=_seed, metavar="N", default=0, help="the same seed gives the same result (default: 0)"
    )


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to {LARGEST_SEED}")
    return int(text)


def _grade_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--grade-by",
        metavar="WAY",
        default="thresholds",
        help="thresholds, svm, or a file that fit-grading wrote (default: thresholds)",
    )


def _force_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--force", action="store_true", help="replace results that are already there")


def _choice(arguments) -> GeneratorChoice:
    from healthivert.commands import GeneratorChoice

    asked = {name: getattr(arguments, name) for name in ("samples", "attention") if name in arguments}
    return GeneratorChoice(arguments.model, arguments.weights, arguments.device, seed=arguments.seed, **asked)


def _progress(arguments) -> Progress:
    return Progress(json_lines=arguments.json_progress, cancellation=arguments.cancellation)


def levels_of(arguments) -> dict[int, str] | None:
    """--level-map as {value: level name}. Raises HealthiVertError if it is not VALUE=LEVEL,..."""
    if arguments.level_map is None:
        return None
    pairs: dict[int, str] = {}
    for part in arguments.level_map.split(","):
        value, sign, level = part.partition("=")
        if not sign or not value.strip().isdecimal() or not level.strip():
            raise HealthiVertError(f"--level-map: '{part}' is not VALUE=LEVEL; write for example 1=L5,2=L4")
        if int(value) in pairs:
            raise HealthiVertError(f"--level-map: the value {int(value)} is given twice; give it one level")
        pairs[int(value)] = level.strip()
    return pairs


def _say(arguments, text: str) -> None:
    """Results for people; with --json-progress standard output belongs to the JSON lines."""
    print(text, file=sys.stderr if arguments.json_progress else sys.stdout)


def _run(arguments) -> None:
    from healthivert import commands
    from healthivert.terminal import result_table

    report = commands.run(
        arguments.ct,
        arguments.segmentation,
        arguments.vertebra,
        arguments.out,
        _choice(arguments),
        _progress(arguments),
        levels_of(arguments),
        arguments.force,
        arguments.grade_by,
        arguments.withhold,
        arguments.passes,
    )
    _say(arguments, result_table(report))
    _say(arguments, f"report: {arguments.out / 'report.html'}")


def _inspect(arguments) -> None:
    from healthivert import commands
    from healthivert.terminal import spine_table

    if arguments.json and arguments.json_progress:
        raise HealthiVertError("--json and --json-progress both write to standard output; give one of them")
    _, analysis = commands.inspect(arguments.ct, arguments.segmentation, _progress(arguments), levels_of(arguments))
    found = commands.inspection_as_dict(analysis)
    _say(arguments, json.dumps(found, indent=1) if arguments.json else spine_table(found))


def _cohort(arguments) -> int:
    from healthivert.cohort_commands import CohortOptions, cohort

    options = CohortOptions(_choice(arguments), arguments.grade_by, levels_of(arguments))
    place = arguments.workers, arguments.scheduler
    counts = cohort(arguments.manifest, arguments.out, options, *place, _progress(arguments))["counts"]
    _say(arguments, ", ".join(f"{status}: {count}" for status, count in counts.items()))
    _say(arguments, f"table: {arguments.out / 'cohort.csv'}")
    if counts["failed"] or counts["bug"]:
        complain(f"{counts['failed'] + counts['bug']} rows could not be done; {arguments.out / 'cohort.csv'} says why")
    return 1 if counts["bug"] else 2 if counts["failed"] else 0


def _evaluate(arguments) -> None:
    from healthivert.evaluation_commands import evaluate, evaluate_phantoms
    from healthivert.evaluation_files import evaluation_table

    how = _choice(arguments), _progress(arguments)
    if arguments.phantoms is not None:
        if arguments.images or arguments.levels or arguments.level_map:
            raise HealthiVertError(
                "evaluate: phantoms bring their own scans and levels; give --phantoms without scans, --levels and "
                "--level-map"
            )
        metrics = evaluate_phantoms(arguments.phantoms, arguments.out, *how, arguments.force)
    else:
        if len(arguments.images) % 2 or not arguments.images:
            raise HealthiVertError(
                f"evaluate: {len(arguments.images)} files given; give a CT and its segmentation in turn, or --phantoms"
            )
        pairs = list(zip(arguments.images[::2], arguments.images[1::2], strict=True))
        levels = [level.strip() for level in arguments.levels.split(",")] if arguments.levels else None
        metrics = evaluate(pairs, levels, arguments.out, *how, levels_of(arguments), arguments.force)
    for line in evaluation_table(metrics):
        _say(arguments, line)


def _fit_grading(arguments) -> None:
    from healthivert.evaluation_commands import fit_grading

    how = _choice(arguments), _progress(arguments)
    card = fit_grading(arguments.phantoms, arguments.out, *how, arguments.force).card
    for way, found in card["unseen_spines"].items():
        _say(arguments, f"{way} on unseen spines: kappa {found['kappa_linear']:.3f}, macro-F1 {found['macro_f1']:.3f}")
    _say(arguments, f"grading: {arguments.out}")


def _phantom(arguments) -> None:
    from healthivert import commands

    commands.phantom(arguments.out, arguments.count, arguments.seed, arguments.fractured, _progress(arguments))
    _say(arguments, f"{arguments.count} cases in {arguments.out}")


def _paint(arguments) -> None:
    from healthivert import commands

    commands.paint(
        arguments.segmentation,
        arguments.out,
        arguments.seed,
        _progress(arguments),
        levels_of(arguments),
        arguments.force,
    )
    _say(arguments, f"painted CT: {arguments.out}")


def _train(arguments) -> int:
    return training_cli.train(arguments, _progress(arguments), partial(_say, arguments))


def _samples(arguments) -> None:
    training_cli.samples(arguments, _progress(arguments), partial(_say, arguments))


def _demo(arguments) -> None:
    from healthivert import commands
    from healthivert.terminal import result_table

    report, truth = commands.demo(arguments.out, _choice(arguments), _progress(arguments), arguments.force)
    _say(arguments, result_table(report))
    _say(arguments, f"the phantom's true loss: {100 * truth['rhlv']['mean']:+.1f} %, Genant grade {truth['genant']}")
    _say(arguments, f"report: {arguments.out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(main())
