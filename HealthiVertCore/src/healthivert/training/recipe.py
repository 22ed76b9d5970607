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
from healthivert.training.make_samples import make_samples
from healthivert.training.task import RunSettings
from healthivert.training.trainer import TrainerSettings, export, train

SIMPLE = (int, float, str, bool, type(None))
TRAINERS: dict[str, type[RunSettings]] = {"gan": TrainerSettings, "diffusion": DiffusionTrainerSettings}


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
        return Recipe(model, samples["count"], samples["seed"], trainer_settings(model, content["trainer"]))
    except OSError as error:
        raise HealthiVertError(
            f"recipe {name_or_path}: {error.strerror}; name a shipped one (gan) or a JSON file"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise HealthiVertError(
            f"recipe {name_or_path}: not a recipe ({error}); compare it with the shipped one"
        ) from None


def trainer_settings(model: str, values: Mapping[str, Any]) -> RunSettings:
    """A model's trainer settings with plain values replaced. Raises HealthiVertError for a model or a name it does not
    know."""
    if model not in TRAINERS:
        raise HealthiVertError(f"recipe: no model {model!r} can be trained; known are {', '.join(TRAINERS)}")
    standard = TRAINERS[model]()
    defaults = asdict(standard)
    known = {name for name, value in defaults.items() if isinstance(value, SIMPLE)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise HealthiVertError(
            f"recipe: unknown trainer settings {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    for name, value in values.items():
        wanted = int | float if defaults[name] is None or isinstance(defaults[name], float) else type(defaults[name])
        if not isinstance(value, wanted) or isinstance(value, bool) is not isinstance(defaults[name], bool):
            raise HealthiVertError(
                f"recipe: {name} {value!r} is not of the right type; it is {defaults[name]!r} by itself"
            )
    return replace(standard, **values)


def make_weights(recipe: Recipe, work: Path, out: Path, workers: int, progress: Callable[..., None]) -> dict:
    """Samples, training, export; returns the card."""
    make_samples(work / "samples", recipe.spines, recipe.first_seed, workers, progress)
    run = work / "run"
    train(recipe.trainer, work / "samples", run, resume=(run / "checkpoint.json").exists(), progress=progress)
    spines = {"generated_spines": recipe.spines, "first_seed": recipe.first_seed}
    return export(run, out, {"generated_data": spines, "licence": "Apache-2.0"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="gan, or a JSON file")
    parser.add_argument("--work", type=Path, required=True, help="folder for samples and the run")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--workers", type=int, default=2, help="processes that render samples")
    arguments = parser.parse_args()
    progress = Progress(verbose=True)
    make_weights(read_recipe(arguments.recipe), arguments.work, arguments.out, arguments.workers, progress)


if __name__ == "__main__":
    main()
