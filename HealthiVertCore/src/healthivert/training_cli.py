"""The options of `healthivert train` and `healthivert samples`, and what they print. cli.py adds what all commands
share."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from healthivert.progress import Progress

Say = Callable[[str], None]
OVERRIDES = ("device", "precision", "workers", "deterministic")  # trainer settings that an option replaces


def folder(text: str) -> Path:
    """The type of an option: "" would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("'' is no folder; name one, or . for this one")
    return Path(text)


def add_train_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--data",
        type=folder,
        metavar="DIR",
        required=True,
        help="folder of samples (.npz) as `healthivert samples` makes them",
    )
    sub.add_argument("--out", type=folder, metavar="DIR", required=True, help="folder of the training run")
    sub.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    sub.add_argument(
        "--dry-run", action="store_true", help="check everything, try a step, print what would happen; writes nothing"
    )
    sub.add_argument(
        "--recipe", type=Path, metavar="FILE", help="JSON file with trainer settings (default: the shipped recipe)"
    )
    sub.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help="processor (default: the recipe's)")
    sub.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="of the networks' passes (default: the recipe's)",
    )
    sub.add_argument(
        "--workers", type=int, metavar="N", help="processes that prepare batches (default: none beside a CPU)"
    )
    sub.add_argument(
        "--deterministic", action="store_true", default=None, help="the same to the bit in every call, slower on a GPU"
    )


def train(arguments: argparse.Namespace, progress: Progress, say: Say) -> int:
    """The exit status: 0, or 128 and the signal's number for a training that was stopped."""
    from healthivert import training_commands

    changes = {name: value for name in OVERRIDES if (value := getattr(arguments, name)) is not None}
    given = (arguments.model, arguments.data, arguments.out, arguments.resume, arguments.recipe, changes, progress)
    if arguments.dry_run:
        found = training_commands.dry_run(*given)
        if found["machine"]["process"] == 0:
            say(json.dumps(found, indent=1))
        return 0
    end = training_commands.train(*given)
    if end.process == 0:
        weights = training_commands.weights_of(arguments.out, arguments.model)
        say(f"weights: {weights} ({end.step} steps, {end.rates_in_words})")
    if end.process == 0 and end.step < end.wanted:
        why = signal.Signals(end.signal).name if end.signal else "the wall-clock limit"
        place = f"at step {end.step} of {end.wanted}"
        remedy = "it is saved: go on with the same command and --resume"
        print(f"healthivert: training stopped by {why} {place}; {remedy}", file=sys.stderr)
    return end.exit_status


def add_samples_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--out", type=folder, metavar="DIR", required=True, help="folder for the samples; existing ones are kept"
    )
    source = sub.add_mutually_exclusive_group(required=True)
    source.add_argument("--count", type=int, metavar="N", help="how many generated spines")
    source.add_argument(
        "--from",
        dest="scans",
        type=folder,
        metavar="FOLDER",
        help="real scans with masks, in the layout of VerSe or TotalSegmentator",
    )
    sub.add_argument(
        "--workers", type=int, metavar="N", default=1, help="processes that work at the same time (default: 1)"
    )


def samples(arguments: argparse.Namespace, progress: Progress, say: Say) -> None:
    from healthivert import training_commands

    out, workers = arguments.out, arguments.workers
    if arguments.scans is None:
        made = training_commands.samples(out, arguments.count, arguments.seed, workers, progress)
        say(f"{made} new samples in {out}")
    else:
        outcomes = training_commands.samples_of_scans(arguments.scans, out, workers, progress)
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
        say(f"levels in {out}: {counts}; levels.csv there says which")
