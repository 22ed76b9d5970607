"""Recipes: every value that cannot be trained with is refused by name, before anything is read or written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command_line_case import call, status_of
from training_case import write_vertebrae

from healthivert.allowed import ALLOWED
from healthivert.errors import HealthiVertError
from healthivert.hgam import train
from healthivert.models.weights import load_weights
from healthivert.training import recipe
from healthivert.training.recipe import PLAIN, TRAINERS, GeneratedSpines, read_recipe

SAMPLES = {"count": 1, "seed": 0}


def write(path: Path, **changed: Any) -> Path:
    path.write_text(json.dumps({"model": "gan", "samples": SAMPLES, "trainer": {}, **changed}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(HealthiVertError) as told:
        read_recipe(path)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("trainer", {"steps": 0}, "trainer.steps is 0; it must be 1 or more"),
        ("trainer", {"steps": -3}, "trainer.steps is -3; it must be 1 or more"),
        ("trainer", {"batch_size": -2}, "trainer.batch_size is -2; it must be 1 or more"),
        ("trainer", {"log_every": 0}, "trainer.log_every is 0; it must be 1 or more"),
        ("trainer", {"validate_every": 0}, "trainer.validate_every is 0; it must be 1 or more"),
        ("trainer", {"seed": -1}, "trainer.seed is -1; it must be 0 to 9223372036854775807"),
        ("trainer", {"learning_rate": -1}, "trainer.learning_rate is -1; it must be more than 0"),
        ("trainer", {"learning_rate": float("nan")}, "trainer.learning_rate is nan; it must be more than 0"),
        ("trainer", {"threads": 0}, "trainer.threads is 0; it must be 1 or more"),
        ("trainer", {"threads": 1_000_000}, "trainer.threads is 1000000; it must be 1 or more, and 1024 at most"),
        ("trainer", {"workers": 10**30}, "it must be 0 or more, and 1024 at most"),
        ("trainer", {"steps": 10**30}, "it must be 1 or more, and 1000000000 at most"),
        ("trainer", {"learning_rate": 10**400}, "it must be more than 0, and 1000000000 at most"),
        ("generator", {"width": 10**30}, "it must be 2 or more, and 1024 at most"),
        ("samples", {"count": 10**30}, "it must be 1 or more, and 1000000 at most"),
        ("trainer", {"threads": 1.5}, "trainer.threads is 1.5; it must be a whole number or null"),
        ("trainer", {"ema_decay": 2}, "trainer.ema_decay is 2; it must be 0 to 1"),
        ("trainer", {"clip_norm": 0}, "trainer.clip_norm is 0; it must be more than 0"),
        ("trainer", {"warm_up_steps": -1}, "trainer.warm_up_steps is -1; it must be 0 or more"),
        ("trainer", {"held_out": -1}, "trainer.held_out is -1; it must be more than 0 and less than 1"),
        ("trainer", {"held_out": 1.0}, "trainer.held_out is 1.0; it must be more than 0 and less than 1"),
        ("trainer", {"precision": "int8"}, "trainer.precision is 'int8'; it must be one of auto, float32, bfloat16"),
        ("trainer", {"deterministic": 1}, "trainer.deterministic is 1; it must be true or false"),
        ("trainer", {"stepps": 1}, "does not know trainer.stepps; known are adversarial_start, batch_size"),
        ("trainer", [], "trainer is []; it must be a JSON object"),
        ("generator", {"width": 0}, "generator.width is 0; it must be 2 or more"),
        ("samples", {"count": "x", "seed": 0}, "samples.count is 'x'; it must be a whole number"),
        ("samples", {"count": 0, "seed": 0}, "samples.count is 0; it must be 1 or more"),
        ("genrator", {"width": 64}, "does not know genrator; known are generator, model, samples, trainer"),
        ("model", ["gan"], "no model ['gan'] can be trained; known are gan, diffusion"),
    ],
)
def test_a_value_that_cannot_be_trained_with_is_refused_by_name(tmp_path, section: str, values: Any, said: str):
    path = write(tmp_path / "recipe.json", **{section: values})
    line = refusal(path)
    assert line.startswith(f"recipe {path}: ") and said in line and "; " in line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"width": 12}, "generator.width is 12; it must be a multiple of 8"),
        ({"width": 8_000}, "it must be a multiple of 8, and 1024 at most"),
        ({"timesteps": 10**30}, "it must be 2 or more, and 100000 at most"),
        ({"schedule": "steep"}, "generator.schedule is 'steep'; it must be one of linear, cosine"),
        ({"steps": 9, "timesteps": 5}, "generator.steps is 9; it must be 5 (timesteps) or less"),
    ],
)
def test_what_a_diffusion_generator_cannot_be_is_refused(tmp_path, values: Mapping[str, Any], said: str):
    assert said in refusal(write(tmp_path / "recipe.json", model="diffusion", generator=values))


def test_a_bad_recipe_costs_nothing_and_leaves_nothing(tmp_path, capsys):
    path = write(tmp_path / "recipe.json", trainer={"batch_size": 0})
    assert call("train", "--data", tmp_path, "--out", tmp_path / "run", "--recipe", path) == 2
    words = "it must be 1 or more, and 65536 at most"
    assert capsys.readouterr().err == f"healthivert: recipe {path}: trainer.batch_size is 0; {words}\n"
    assert list(tmp_path.iterdir()) == [path]


def test_every_plain_setting_of_a_recipe_says_what_it_may_be():
    for settings in (*(trainer() for trainer in TRAINERS.values()), GeneratedSpines()):
        for part in (settings, getattr(settings, "generator", settings)):
            plain = {f.name for f in fields(part) if isinstance(getattr(part, f.name), PLAIN)}
            limited = {f.name for f in fields(part) if ALLOWED in f.metadata}
            assert plain - limited <= {"deterministic", "spectral_norm"}, "what is true or false needs no limits"


def test_a_recipe_needs_no_json_in_its_name_and_a_shipped_one_no_path(tmp_path):
    assert read_recipe(write(tmp_path / "recipe", trainer={"steps": 7})).trainer.steps == 7
    assert read_recipe("diffusion").model == "diffusion" and read_recipe("gan").samples == GeneratedSpines()
    assert "No such file or directory; name a shipped one (gan, diffusion) or a JSON file" in refusal(tmp_path / "no")


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"model": "gan"}', b"\xff\xfe\x00", b"{", b"[" * 100_000])
def test_what_is_no_recipe_is_told_to_be_compared_with_one(tmp_path, content: bytes):
    (tmp_path / "recipe.json").write_bytes(content)
    assert refusal(tmp_path / "recipe.json").endswith("; compare it with the shipped one")


def test_a_setting_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text('{"model": "gan", "samples": {}, "trainer": {"steps": 9, "steps": 90}}')
    assert "says steps twice; say it once" in refusal(tmp_path / "recipe.json")


@pytest.mark.parametrize("command", [recipe.main, train.main])
def test_weights_that_could_not_be_loaded_from_their_place_are_not_begun(tmp_path, capsys, command):
    words = ["gan"] if command is recipe.main else []
    assert status_of(command, *words, "--work", tmp_path / "work", "--out", tmp_path / "w.pt") == 2
    told = capsys.readouterr().err
    assert told.endswith("w.pt: weights lie in a .safetensors file; choose w.safetensors\n")
    assert list(tmp_path.iterdir()) == []


def test_the_command_behind_make_weights_ends_like_the_others(tmp_path, capsys):
    words = ("--work", tmp_path / "work", "--out", tmp_path / "w.safetensors")
    for name in ("nosuch", write(tmp_path / "recipe.json", samples={"count": 0, "seed": 0})):
        assert status_of(recipe.main, name, *words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all(line.startswith("healthivert: recipe ") for line in told)
    assert not (tmp_path / "work").exists()
    for command, name in ((recipe.main, ["gan"]), (train.main, [])):
        assert status_of(command, *name, "--work", tmp_path / "recipe.json", "--out", tmp_path / "w.safetensors") == 2
        told = capsys.readouterr().err
        assert "recipe.json" in told and "Not a directory" in told and told.count("\n") == 1
        assert status_of(command, *name, *words, "--workers", 0) == 2
        assert "at least one process" in capsys.readouterr().err and not (tmp_path / "work").exists()


def test_weights_of_a_training_that_ran_out_of_its_minutes_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "make_samples", lambda data, *_: write_vertebrae(data))
    trainer = {"steps": 500, "batch_size": 2, "held_out": 0.3, "wall_clock_minutes": 1e-6}
    made = read_recipe(write(tmp_path / "recipe.json", trainer=trainer, generator={"width": 4}))
    with pytest.raises(HealthiVertError, match=r"wall_clock_minutes were over at step 1 of 500, so no weights"):
        recipe.make_weights(made, tmp_path / "work", tmp_path / "w.safetensors", 1, lambda *_: None)
    assert not (tmp_path / "w.safetensors").exists() and (tmp_path / "work/gan/checkpoint.json").exists()


@pytest.mark.parametrize("model", TRAINERS)
def test_a_shipped_card_lists_the_weights_of_the_losses_that_the_model_learns_by(model: str):
    listed = load_weights(model)[1]["recipe"]["weights"]
    assert set(listed) == {each.name for each in fields(TRAINERS[model]().weights)}
    assert ("adversarial" in listed) is (model == "gan")
