"""The montages of the docs were drawn with the weights that ship, and what stands beside them says so."""

from __future__ import annotations

import json
import re
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from make_montages import GENERATED_LEVEL, GENERATED_SEEN, clear_case, per_model

MONTAGES = Path(__file__).resolve().parents[2] / "docs" / "montages"


def shipped_weights() -> set[str]:
    """First eight digits of either model's sha256."""
    folder = resources.files("healthivert").joinpath("weights")
    cards = (json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8")) for name in ("gan", "diffusion"))
    return {card["sha256"][:8] for card in cards}


def test_montages_were_drawn_with_the_shipped_weights() -> None:
    named = set(re.findall(r"`([0-9a-f]{8})`", (MONTAGES / "README.md").read_text(encoding="utf-8")))
    assert named == shipped_weights(), "draw docs/montages again: python Testing/bench/make_montages.py"


def test_every_montage_is_shown_with_words_for_those_who_cannot_see_it() -> None:
    shown = re.findall(r"!\[(.*?)\]\((.*?)\)", (MONTAGES / "README.md").read_text(encoding="utf-8"))
    assert {file for _, file in shown} == {path.name for path in MONTAGES.glob("*.png")}
    assert all(len(words) > 100 for words, _ in shown)


@pytest.mark.parametrize("shape", GENERATED_SEEN)
def test_a_generated_montage_shows_one_fracture_of_its_shape(shape: str) -> None:
    spine = clear_case(shape)
    fracture = spine.vertebra(GENERATED_LEVEL).fracture
    assert fracture is not None and fracture.shape == shape
    if shape == "biconcave":
        assert fracture.superior_share == pytest.approx(0.5, abs=0.1)


def test_models_that_agree_are_named_once() -> None:
    assert per_model({"gan": -0.04, "diffusion": np.float64(0.0)}) == "+0.0 mm with both models"
    assert per_model({"gan": 2.61, "diffusion": -2.4}) == "GAN +2.6 mm, diffusion −2.4 mm"
