"""Half the bits and determinism: what they change, and what they must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from slice_batches import batch_of
from training_case import TINY, TINY_DIFFUSION, write_vertebrae

from healthivert.errors import HealthiVertError
from healthivert.models.gan import GanGenerator, GanSettings
from healthivert.training.batches import StepBatches
from healthivert.training.checkpoint import load_checkpoint
from healthivert.training.distributed import ALONE
from healthivert.training.numerics import choose_precision, determinism, in_float32, passes_in
from healthivert.training.optimise import Optimiser
from healthivert.training.slices import SliceDataset
from healthivert.training.trainer import train

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
GAP = (32, 64)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Pictures take longer than these trainings; test_trainer has a test of them."""
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_vertebrae(tmp_path_factory.mktemp("shards"))


@pytest.mark.parametrize("settings", [replace(TINY, adversarial_start=0), TINY_DIFFUSION])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_step_in_half_the_bits_is_nearly_the_same_and_keeps_its_weights_in_float32(folder, settings, precision):
    data = SliceDataset(sorted(folder.glob("*.npz")))
    batch = StepBatches(data, settings.augmentation, settings.seed, range(2))[0]
    whole, half = (replace(settings, precision=name).start(GAP, CPU) for name in ("float32", precision))
    seen: list[torch.dtype] = []
    convolution = next(m for m in half.generator.modules() if isinstance(m, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    expected, found = whole.train_step(batch), half.train_step(batch)
    assert seen[0] == getattr(torch, precision)
    for name in ("ct", "fine_dice", "fine_cross_entropy", "height", "total"):
        assert found[name].dtype is torch.float32
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=0.03, abs=0.02), name
    assert {p.dtype for p in half.generator.parameters()} == {p.dtype for p in half.average.parameters()}
    assert all(p.dtype is torch.float32 for p in half.generator.parameters())


def test_a_resumed_float16_run_is_the_uninterrupted_one_with_its_scale(folder, tmp_path):
    settings = replace(TINY_DIFFUSION, precision="float16")
    train(settings, folder, tmp_path / "whole")
    train(replace(settings, steps=2), folder, tmp_path / "parts")
    train(settings, folder, tmp_path / "parts", resume=True)
    one, other = (load_checkpoint(tmp_path / run)[0] for run in ("whole", "parts"))
    assert float(one["optimiser_scale.factor"]) > 1 and int(one["optimiser_scale.growth"]) >= 0
    different = [name for name in one if not torch.equal(one[name], other[name])]
    # the first call's cosine ended after two steps, so only the scale must agree; see the whole test in test_trainer
    assert "optimiser_scale.factor" not in different and "optimiser_scale.growth" not in different


def test_float16_gradients_that_overflow_skip_the_step_and_halve_their_scale():
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(network, TINY, torch.float16, CPU, ALONE)
    before = network.weight.detach().clone()
    scale = optimiser.scaler.get_scale()
    assert optimiser.update((network.weight * 1e38).sum(), 0) == 0, "no norm, and no divergence either"
    assert torch.equal(network.weight, before) and optimiser.scaler.get_scale() == scale / 2
    assert optimiser.update((network.weight * 2).sum(), 1) == pytest.approx(2.0)
    assert not torch.equal(network.weight, before)


def test_a_gradient_that_is_not_finite_changes_no_weight():
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(network, TINY, torch.float32, CPU, ALONE)
    before = network.weight.detach().clone()
    assert torch.isnan(optimiser.update((network.weight * float("nan")).sum(), 0))
    assert torch.equal(network.weight, before)


def test_gradients_are_clipped_and_their_norm_is_told_before():
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(network, TINY, torch.float32, CPU, ALONE)
    assert optimiser.update((network.weight * 300).sum(), 0, clip_norm=5.0) == pytest.approx(300)
    assert network.weight.grad is not None and float(network.weight.grad) == pytest.approx(5.0, rel=1e-4)


def test_auto_is_float32_where_half_the_bits_are_not_faster():
    assert choose_precision("auto", CPU) is torch.float32
    assert choose_precision("bfloat16", CPU) is torch.bfloat16
    with pytest.raises(HealthiVertError, match="precision 'int8' is not known; choose one of auto, float32"):
        choose_precision("int8", CPU)


@pytest.mark.parametrize(("capability", "precision"), [((7, 0), torch.float16), ((8, 0), torch.bfloat16)])
def test_auto_takes_bfloat16_on_a_gpu_that_computes_in_it_itself(monkeypatch, capability, precision):
    """V100 and T4 only imitate it, though torch calls it supported there."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    assert choose_precision("auto", torch.device("cuda")) is precision


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_sure_pixel_of_the_gans_masks_can_still_be_corrected(precision):
    """1 - 1e-3 is 1 in bfloat16, where a sigmoid has no gradient any more."""
    model, batch = GanGenerator(GanSettings(width=4)), batch_of()
    for stage in (model.coarse, model.fine):
        stage.register_forward_hook(lambda _, given, out: (out[0], torch.full_like(out[1], 8.0), *out[2:]))
    with passes_in(precision, CPU):
        output = in_float32(model(batch))
    inside = batch.mask > 0.5
    for mask in (output.coarse_seg[inside], output.fine_seg[inside]):
        assert mask.min() > 0.999 and mask.max() < 1


def test_determinism_holds_within_the_training_and_not_beyond():
    assert not torch.are_deterministic_algorithms_enabled()
    with determinism(True, CPU):
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert not torch.are_deterministic_algorithms_enabled()


def test_two_deterministic_runs_are_the_same_to_the_bit(folder, tmp_path):
    for run in ("one", "other"):
        train(replace(TINY, steps=3, deterministic=True), folder, tmp_path / run)
    one, other = (load_checkpoint(tmp_path / run)[0] for run in ("one", "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
