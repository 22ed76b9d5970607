"""`python -m healthivert.child`: the healthivert command as the child of another program, such as the Slicer panel.

    python -m healthivert.child --parent PID [--folder DIR] COMMAND ...

The command ends when the process PID does, however that died; DIR, the folder with the copies of the patient's images
that the parent made for this run, is then removed, as nobody else is left to do it.

COMMAND is any of healthivert's, or one that only a parent needs:

    spine CT SEG           prints what `inspect --json` does, as the last line after the progress lines
    conditioning CT SEG --vertebra L1 --out DIR [--withhold MASK]
                           writes conditioning/{mask,cam}.nii.gz as `run` does, and generates nothing
    devices                prints what torch finds here: [{"device": "cuda", "name": "..."}, ...]

Exit codes are the healthivert command's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from healthivert import cli
from healthivert.exit_status import exit_status, leave
from healthivert.parent_watch import ParentWatch
from healthivert.progress import Progress, install_cancellation


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="healthivert.child", description="The healthivert command as a child.")
    parser.add_argument("--parent", type=int, metavar="PID", required=True, help="the process to end with")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="removed when the parent dies")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="as for healthivert")
    arguments = parser.parse_args(argv)
    with ParentWatch(arguments.parent, arguments.folder):
        if arguments.words[:1] and arguments.words[0] in COMMANDS:
            return _own_command(arguments.words)
        return cli.main(arguments.words)


def _own_command(words: Sequence[str]) -> int:
    cancellation = install_cancellation()
    parser = argparse.ArgumentParser(prog="healthivert.child")
    commands_of = parser.add_subparsers(dest="command", required=True)
    for name in COMMANDS:
        sub = commands_of.add_parser(name)
        if name == "devices":
            continue
        sub.add_argument("ct", type=Path)
        sub.add_argument("segmentation", type=Path)
        sub.add_argument("--level-map")
        if name == "conditioning":
            sub.add_argument("--vertebra", required=True)
            sub.add_argument("--out", type=Path, required=True)
            sub.add_argument("--withhold", type=Path)
    arguments = parser.parse_args(words)
    progress = Progress(json_lines=True, cancellation=cancellation)
    return exit_status(partial(COMMANDS[arguments.command], arguments, progress), cancellation)


def _spine(arguments: argparse.Namespace, progress: Progress) -> None:
    from healthivert import commands

    _, analysis = commands.inspect(arguments.ct, arguments.segmentation, progress, cli.levels_of(arguments))
    print(json.dumps(commands.inspection_as_dict(analysis)), flush=True)


def _conditioning(arguments: argparse.Namespace, progress: Progress) -> None:
    from healthivert.case import load_case
    from healthivert.commands import write_conditioning
    from healthivert.inspection import analyse
    from healthivert.labels import parse_level
    from healthivert.output_folder import OutputFolder
    from healthivert.pipeline import prepare
    from healthivert.progress import part_of
    from healthivert.restore_patient import conditioning_on_patient

    with OutputFolder(arguments.out, names=("conditioning",)) as folder:
        reading = part_of(progress, 0.0, 0.3)
        case = load_case(
            arguments.ct, arguments.segmentation, cli.levels_of(arguments), reading, withhold=arguments.withhold
        )
        level = parse_level(arguments.vertebra, case)
        progress("bodies", 0.3, "finding vertebral bodies")
        analysis = analyse(case)
        progress("straighten", 0.6, f"straightening around {level}")
        given = prepare(case, analysis, level)
        progress("restore", 0.8, "back to the patient")
        withheld, seen = conditioning_on_patient(case, given.straight, given.conditioning, given.attention)
        write_conditioning(folder, withheld, seen, case)
    progress("done", 1.0, str(arguments.out))


def _devices(arguments: argparse.Namespace, progress: Progress) -> None:
    import platform

    import torch

    found = [{"device": "cpu", "name": platform.processor() or platform.machine()}]
    if torch.backends.mps.is_available():
        found.insert(0, {"device": "mps", "name": "Apple graphics processor"})
    if torch.cuda.is_available():
        found.insert(0, {"device": "cuda", "name": torch.cuda.get_device_name(0)})
    print(json.dumps(found), flush=True)


COMMANDS = {"spine": _spine, "conditioning": _conditioning, "devices": _devices}

if __name__ == "__main__":
    leave(main())
