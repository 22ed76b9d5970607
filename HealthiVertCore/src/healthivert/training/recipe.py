"""Shipped weights from nothing: a recipe file names the generated spines and the trainer's settings.

    python -m healthivert.training.recipe gan --work runs/gan --out gan.safetensors

In: a recipe (a shipped name, or a JSON file). Out: weights and card. Samples that exist are kept and a run that was
stopped goes on, so the command may be interrupted and repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from healthivert.allowed import at_least, check_allowed, random_seed
from healthivert.errors import HealthiVertError, complaint
from healthivert.exit_status import exit_status
from healthivert.models.weights import check_place
from healthivert.progress import Progress, install_cancellation
from healthivert.training.checkpoint import holds_run
from healthivert.training.diffusion_task import DiffusionTrainerSettings
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.make_samples import make_samples
from healthivert.training.task import RunSettings
from healthivert.training.trainer import export, train
from healthivert.training.worker_processes import check_workers

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")
TRAINERS: dict[str, type[RunSettings]] = {"gan": GanTrainerSettings, "diffusion": DiffusionTrainerSettings}
PLAIN = (int, float, str, bool, type(None))
SECTIONS = ("model", "samples", "trainer", "generator")
NEEDED = SECTIONS[:3]


@dataclass(frozen=True)
class GeneratedSpines:
    """The spines that samples are made of: so many, from a first seed on."""

    count: int = at_least(1, 120, most=1_000_000)
    seed: int = random_seed(20_000)

    def __post_init__(self) -> None:
        check_allowed(self)


@dataclass(frozen=True)
class Recipe:
    model: str
    samples: GeneratedSpines
    trainer: RunSettings


def read_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by its shipped name ("gan") or by path. Raises HealthiVertError if it is missing, lacks something, says
    something unknown, or gives a value that is not allowed."""
    name = str(name_or_path)
    shipped = resources.files("healthivert").joinpath(f"recipes/{name}.json")
    try:
        text = (shipped if name in TRAINERS else Path(name)).read_text(encoding="utf-8")
        return _as_recipe(json.loads(text, object_pairs_hook=_each_once))
    except OSError as error:
        raise HealthiVertError(
            f"recipe {name}: {error.strerror}; name a shipped one ({', '.join(TRAINERS)}) or a JSON file"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HealthiVertError(f"recipe {name}: not a recipe ({error}); compare it with the shipped one") from None
    except ValueError as error:
        raise HealthiVertError(f"recipe {name}: {error}") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a name that it says twice, only the last value would count. Raises ValueError for it."""
    names = [name for name, _ in pairs]
    twice = [name for name in dict(pairs) if names.count(name) > 1]
    if twice:
        raise ValueError(f"says {', '.join(twice)} twice; say it once")
    return dict(pairs)


def _as_recipe(content: Any) -> Recipe:
    """Raises ValueError for what is wrong with it."""
    if not isinstance(content, dict):
        raise ValueError(f"is no JSON object with {', '.join(NEEDED)}; compare it with the shipped one")
    missing = [section for section in NEEDED if section not in content]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}; compare it with the shipped one")
    _refuse_unknown("", content, SECTIONS)
    model, samples = content["model"], _changed(GeneratedSpines(), content["samples"], "samples")
    return Recipe(model, samples, trainer_settings(model, content["trainer"], content.get("generator", {})))


def trainer_settings(model: str, values: Mapping[str, Any], generator: Mapping[str, Any] | None = None) -> RunSettings:
    """A model's trainer settings, and its generator's, with plain values replaced. Raises ValueError for a model or a
    name it does not know, and for a value that is not allowed."""
    if model not in tuple(TRAINERS):  # JSON may hold what cannot be looked up
        raise ValueError(f"no model {model!r} can be trained; known are {', '.join(TRAINERS)}")
    settings: Any = _changed(TRAINERS[model](), values, "trainer")
    return replace(
        settings, generator=_changed(settings.generator, {} if generator is None else generator, "generator")
    )


def _changed(standard: Settings, values: Any, section: str) -> Settings:
    """The settings with the plain ones among them replaced by values, the content of a section of a recipe."""
    if not isinstance(values, dict):
        raise ValueError(f"{section} is {values!r}; it must be a JSON object, such as {{}}")
    types = get_type_hints(type(standard))
    plain = [each.name for each in fields(standard) if isinstance(getattr(standard, each.name), PLAIN)]
    _refuse_unknown(f"{section}.", values, plain)
    for name, value in values.items():
        wanted = types[name] | int if isinstance(0.0, types[name]) else types[name]
        if not isinstance(value, wanted) or isinstance(value, bool) is not (wanted is bool):
            raise ValueError(f"{section}.{name} is {value!r}; it must be {_in_words(types[name])}")
    try:
        return replace(standard, **values)
    except ValueError as error:
        raise ValueError(f"{section}.{error}") from None


def _in_words(wanted: Any) -> str:
    """The type of a setting, as JSON has it."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return " or ".join(kinds[kind] for kind in get_args(wanted) or (wanted,))


def _refuse_unknown(section: str, names: Iterable[str], known: Sequence[str]) -> None:
    unknown = [f"{section}{name}" for name in names if name not in known]
    if unknown:
        raise ValueError(f"does not know {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def make_weights(recipe: Recipe, work: Path, out: Path, workers: int, progress: Callable[..., None]) -> dict:
    """Samples, training, export; returns the card."""
    count, seed = recipe.samples.count, recipe.samples.seed
    data, run = work / f"samples_{seed}_{count}", work / recipe.model  # models of the same spines share their samples
    make_samples(data, count, seed, workers, progress)
    end = train(recipe.trainer, data, run, holds_run(run), progress)
    if end.exit_status:
        raise SystemExit(end.exit_status)  # stopped: nothing half-trained is exported, and the next call goes on
    if end.step < end.wanted:
        found = f"the recipe's wall_clock_minutes were over at step {end.step} of {end.wanted}"
        raise complaint(run, f"{found}, so no weights were written", "repeat the command, which goes on from there")
    spines = {"generated_spines": count, "first_seed": seed}
    return export(run, out, {"generated_data": spines, "licence": "Apache-2.0"})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help=f"{', '.join(TRAINERS)}, or a JSON file")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and the run")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--workers", type=int, default=2, help="processes that render samples")
    arguments = parser.parse_args(argv)
    cancellation = install_cancellation()
    progress = Progress(verbose=True, cancellation=cancellation)

    def work() -> None:
        check_workers(arguments.workers)
        check_place(arguments.out)
        make_weights(read_recipe(arguments.recipe), arguments.work, arguments.out, arguments.workers, progress)

    return exit_status(work, cancellation)


if __name__ == "__main__":
    sys.exit(main())
