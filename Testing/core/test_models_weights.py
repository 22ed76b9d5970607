"""Weights on disk: they come back as they went, and nothing damaged is ever run."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from slice_batches import batch_of

from healthivert.errors import HealthiVertError
from healthivert.models import MODELS, devices
from healthivert.models.devices import choose_device, slower_device_warning
from healthivert.models.gan import GanGenerator, GanSettings
from healthivert.models.weights import ARCHITECTURES, load_weights, save_weights
from healthivert.training.recipe import TRAINERS


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, GanGenerator]:
    torch.manual_seed(0)
    model = GanGenerator(GanSettings(width=4)).eval()
    path = tmp_path / "small.safetensors"
    save_weights(path, model, {"spacing_mm": 1.0})
    return path, model


def test_weights_come_back_with_their_card(saved):
    path, model = saved
    loaded, card = load_weights(path)
    assert card["spacing_mm"] == 1.0 and card["architecture"]["name"] == "gan"
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value.half().float(), rtol=0, atol=0)


def test_half_precision_storage_moves_the_drawing_by_less_than_four_hounsfield(saved):
    path, model = saved
    batch = batch_of(1)
    difference = (load_weights(path)[0](batch).x_stage2 - model(batch).x_stage2).abs().max()
    assert float(difference.detach()) * 550 < 4


def test_nothing_partial_is_left_beside_the_weights(saved):
    path, _ = saved
    assert sorted(p.name for p in path.parent.iterdir()) == ["small.json", "small.safetensors"]


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **card: object) -> None:
    """Change the tensors or the card, keeping the checksum right, so that only the later checks can object."""
    if tensors is not None:
        save_file(tensors, str(path))
    record = json.loads(path.with_suffix(".json").read_text())
    record |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **card}
    path.with_suffix(".json").write_text(json.dumps(record))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def not_safetensors(path: Path) -> None:
    path.write_bytes(b"\x80\x04K\x01.")
    rewrite(path)


def lose_a_tensor(path: Path) -> None:
    tensors = load_file(str(path))
    tensors.pop("fine.ct_head.bias")
    rewrite(path, tensors)


def add_a_tensor(path: Path) -> None:
    rewrite(path, load_file(str(path)) | {"surprise": torch.ones(1)})


def reshape_a_tensor(path: Path) -> None:
    rewrite(path, load_file(str(path)) | {"fine.ct_head.bias": torch.ones(2)})


def spoil_a_number(path: Path) -> None:
    rewrite(path, load_file(str(path)) | {"fine.ct_head.bias": torch.full((1,), float("nan"))})


DAMAGES = {
    "weights missing": (lambda path: path.unlink(), "cannot read the weights"),
    "card missing": (lambda path: path.with_suffix(".json").unlink(), "cannot read the weights' card"),
    "card not JSON": (lambda path: path.with_suffix(".json").write_text("{"), "not valid JSON"),
    "card incomplete": (lambda path: path.with_suffix(".json").write_text("{}"), "lacks architecture"),
    "truncated": (truncate, "SHA-256"),
    "one bit": (flip_a_bit, "SHA-256"),
    "a pickle": (not_safetensors, "not a safetensors file"),
    "another architecture": (
        lambda path: rewrite(path, architecture={"name": "vae", "arguments": {}}),
        "architecture 'vae'",
    ),
    "unknown arguments": (
        lambda path: rewrite(path, architecture={"name": "gan", "arguments": {"depth": 3}}),
        "do not describe",
    ),
    "another width": (
        lambda path: rewrite(path, architecture={"name": "gan", "arguments": {"width": 8}}),
        "has shape",
    ),
    "tensor missing": (lose_a_tensor, "lacks fine.ct_head.bias"),
    "tensor surplus": (add_a_tensor, "unknown surprise"),
    "tensor reshaped": (reshape_a_tensor, "has shape"),
    "not a number": (spoil_a_number, "not finite"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_one_clear_line_and_never_random(saved, damage):
    path, _ = saved
    action, message = DAMAGES[damage]
    action(path)
    with pytest.raises(HealthiVertError, match=message) as caught:
        load_weights(path)
    assert str(path.parent) in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_model_name_is_refused():
    with pytest.raises(HealthiVertError, match="'ganga'"):
        load_weights("ganga")


def test_diverged_weights_are_not_written(tmp_path):
    model = GanGenerator(GanSettings(width=4))
    torch.nn.init.constant_(model.fine.ct_head.bias, 1e6)  # beyond what half precision holds
    with pytest.raises(HealthiVertError, match=r"fine.ct_head.bias"):
        save_weights(tmp_path / "bad.safetensors", model, {})
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    for name in ("cuda", "tpu"):
        with pytest.raises(HealthiVertError, match=name):
            choose_device(name)


def test_a_graphics_card_that_torch_cannot_use_is_told_when_the_choice_is_automatic(monkeypatch):
    def no_kernel(*given, device, **more):
        if device == "cuda":
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
        return ones(*given, device=device, **more)

    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch, "ones", no_kernel)
    chosen = choose_device("auto")
    assert chosen.type == "cpu"
    monkeypatch.setattr(devices, "_has_nvidia_driver", lambda: True)
    assert "graphics card was not used" in slower_device_warning("auto", chosen)
    assert slower_device_warning("cpu", chosen) is None  # it was asked for
    monkeypatch.setattr(devices, "_has_nvidia_driver", lambda: False)
    assert slower_device_warning("auto", chosen) is None  # nothing better is there


def test_every_generator_can_be_built_trained_and_run():
    assert tuple(ARCHITECTURES) == tuple(TRAINERS) == MODELS
    shipped = resources.files("healthivert")
    for model in MODELS:
        assert shipped.joinpath(f"recipes/{model}.json").is_file()
        assert shipped.joinpath(f"weights/{model}.safetensors").is_file()
