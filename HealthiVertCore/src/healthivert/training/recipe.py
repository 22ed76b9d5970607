"""Shipped weights from nothing: a recipe file names the generated spines and the trainer's settings.

    python -m healthivert.training.recipe gan --work runs/gan --out gan.safetensors

In: a recipe (a shipped name, or a JSON file). Out: weights and card. Samples that exist are kept and a run that was
stopped goes on, so the command may be interrupted and repeated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from healthivert.errors import HealthiVertError
from healthivert.progress import Progress
from healthivert.training.diffusion_task import DiffusionTrainerSettings
from healthivert.training.gan_task import GanTrainerSettings
from healthivert.training.make_samples import make_samples
from healthivert.training.task import RunSettings
from healthivert.training.trainer import export, train

SIMPLE = (int, float, str, bool, type(None))
TRAINERS: dict[str, type[RunSettings]] = {"gan": GanTrainerSettings, "diffusion": DiffusionTrainerSettings}


@dataclass(frozen=True)
class Recipe:
    model: str
    spines: int
    first_seed: int
    trainer: RunSettings


def read_recipe(name_or_path: str | Path) -> Recipe:
    """A recipe by its shipped name ("gan") or by path. Raises HealthiVertError if it is missing or says unknown
    things."""
    path = Path(name_or_path)
    try:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
        else:
            text = resources.files("healthivert").joinpath(f"recipes/{name_or_path}.json").read_text(encoding="utf-8")
        content = json.loads(text)
        model, samples = content["model"], content["samples"]
        settings = trainer_settings(model, content["trainer"], content.get("generator", {}))
        return Recipe(model, samples["count"], samples["seed"], settings)
    except OSError as error:
        raise HealthiVertError(
            f"recipe {name_or_path}: {error.strerror}; name a shipped one ({', '.join(TRAINERS)}) or a JSON file"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise HealthiVertError(
            f"recipe {name_or_path}: not a recipe ({error}); compare it with the shipped one"
        ) from None


def trainer_settings(model: str, values: Mapping[str, Any], generator: Mapping[str, Any] | None = None) -> RunSettings:
    """A model's trainer settings, and its generator's, with plain values replaced. Raises HealthiVertError for a model
    or a name it does not know."""
    if model not in TRAINERS:
        raise HealthiVertError(f"recipe: no model {model!r} can be trained; known are {', '.join(TRAINERS)}")
    standard: Any = TRAINERS[model]()
    return replace(
        standard,
        **_checked(standard, values, "trainer"),
        generator=replace(standard.generator, **_checked(standard.generator, generator or {}, "generator")),
    )


def _checked(standard: Any, values: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """values, if each is a plain setting of the dataclass `standard` and of its type."""
    defaults = asdict(standard)
    known = {name for name, value in defaults.items() if isinstance(value, SIMPLE)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise HealthiVertError(
            f"recipe: unknown {part} settings {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    for name, value in values.items():
        wanted = int | float if defaults[name] is None or isinstance(defaults[name], float) else type(defaults[name])
        if not isinstance(value, wanted) or isinstance(value, bool) is not isinstance(defaults[name], bool):
            raise HealthiVertError(
                f"recipe: {name} {value!r} is not of the right type; it is {defaults[name]!r} by itself"
            )
    return values


def make_weights(recipe: Recipe, work: Path, out: Path, workers: int, progress: Callable[..., None]) -> dict:
    """Samples, training, export; returns the card."""
    make_samples(work / "samples", recipe.spines, recipe.first_seed, workers, progress)
    run = work / recipe.model  # the samples serve every model of the same seeds
    resume = (run / "checkpoint.json").exists()
    end = train(recipe.trainer, work / "samples", run, resume, progress)
    if end.exit_status:
        raise SystemExit(end.exit_status)  # stopped: nothing half-trained is exported, and the next call goes on
    spines = {"generated_spines": recipe.spines, "first_seed": recipe.first_seed}
    return export(run, out, {"generated_data": spines, "licence": "Apache-2.0"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help=f"{', '.join(TRAINERS)}, or a JSON file")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and the run")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--workers", type=int, default=2, help="processes that render samples")
    arguments = parser.parse_args()
    progress = Progress(verbose=True)
    try:
        make_weights(read_recipe(arguments.recipe), arguments.work, arguments.out, arguments.workers, progress)
    except HealthiVertError as error:
        raise SystemExit(f"healthivert: {error}") from None


if __name__ == "__main__":
    main()
