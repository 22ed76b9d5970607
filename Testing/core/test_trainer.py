"""Training: the batches, the loop, its checkpoints, and what it exports."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from healthivert.errors import HealthiVertError
from healthivert.models.gan import DiscriminatorSettings, GanSettings
from healthivert.models.interface import SliceBatch
from healthivert.models.weights import load_weights
from healthivert.training import trainer
from healthivert.training.checkpoint import load_checkpoint
from healthivert.training.metrics import Stopwatch
from healthivert.training.samples import TrainingSample, save_sample
from healthivert.training.slices import Augmentation, SliceDataset, shards, signed_distance
from healthivert.training.trainer import GanRun, TrainerSettings, export, learning_rate, train, train_step
from healthivert.types import Conditioning

SHAPE, GAP = (96, 64, 72), (32, 64)
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0)
TINY = TrainerSettings(
    steps=6,
    batch_size=2,
    warm_up_steps=2,
    adversarial_start=2,
    held_out=0.3,
    generator=GanSettings(width=4, spectral_norm=True),
    discriminators=DiscriminatorSettings(width=4),
    log_every=1,
    validate_every=100,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def elliptic_vertebra(seed: int) -> TrainingSample:
    """Three elliptic bodies above each other; the middle one is the truth in the gap."""
    random = np.random.default_rng(seed)
    rows, depth, side = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    inside = ((depth - 30) / random.uniform(14, 18)) ** 2 + ((side - 36) / random.uniform(18, 24)) ** 2 < 1
    target = inside & (rows >= 34) & (rows < 62)
    neighbours = inside & ((rows < 28) | (rows >= 68))
    ct = np.where(target | neighbours, 0.1, -0.6) + random.normal(0, 0.02, SHAPE)
    mask = ((rows >= GAP[0]) & (rows < GAP[1])).astype(np.float32)
    given = Conditioning(
        ct=np.where(mask > 0, -1, ct).astype(np.float32),
        mask=mask,
        attention=1 - mask,
        neighbours=neighbours.astype(np.float32),
        gap=GAP,
        cut=(100, 128),
        level="L1",
        spacing_mm=1.0,
        reference_mm=27.0,
    )
    return TrainingSample(given, ct.astype(np.float32), target.astype(np.float32), 0.04 * (-1) ** seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shards")
    for spine in range(3):
        save_sample(elliptic_vertebra(spine), path / f"sample_{spine:04d}_L1.npz")
    return path


@pytest.fixture(scope="module")
def dataset(folder) -> SliceDataset:
    return SliceDataset(sorted(folder.glob("*.npz")))


def test_all_vertebrae_of_a_spine_fall_on_one_side(tmp_path):
    for spine in range(4):
        for level in ("T12", "L1"):
            (tmp_path / f"sample_{spine:04d}_{level}.npz").touch()
    training, validation = shards(tmp_path, 0.25)
    assert [p.name for p in validation] == ["sample_0003_L1.npz", "sample_0003_T12.npz"]
    assert len(training) == 6


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_unvaried_slices_are_the_sample_itself(dataset, plane):
    batch, targets = dataset.middle_slices(1, plane, 5)
    sample = elliptic_vertebra(1)
    middle = 36 if plane == "sagittal" else 30
    truth = sample.target_ct[:, :, middle] if plane == "sagittal" else sample.target_ct[:, middle]
    body = sample.target_body[:, :, middle] if plane == "sagittal" else sample.target_body[:, middle]
    nearest = int(batch.slice_ratio[:, 0, 0, 0].argmin())
    assert np.abs(targets.ct[nearest, 0].numpy() - truth).max() < 1 / 255 or batch.slice_ratio[nearest, 0, 0, 0] > 0
    assert (targets.body[nearest, 0].numpy() > 0.5).sum() == pytest.approx(body.sum(), rel=0.05)
    assert (batch.ct[:, :, GAP[0] : GAP[1]] == -1).all()
    assert torch.equal(batch.mask[0, 0, :, 0], torch.from_numpy(sample.conditioning.mask[:, 0, 0]))
    assert targets.log_height_ratio.tolist() == pytest.approx([-0.04] * 5)


def test_varied_slices_show_nothing_of_the_truth_beside_the_gap(dataset):
    """With two truths painted into the gap, what the generator sees must be the same to the bit."""
    seen = []
    for value in (0, 255):
        painted = SliceDataset.__new__(SliceDataset)
        painted.__dict__ = dict(dataset.__dict__)
        painted.volumes = dataset.volumes.copy()
        painted.volumes[:, GAP[0] : GAP[1], ..., 0] = value
        batch, _ = painted.draw("coronal", 8, np.random.default_rng(0), Augmentation(blur_share=1.0))
        seen.append(batch)
    for name in ("ct", "mask", "attention", "slice_ratio"):
        assert torch.equal(getattr(seen[0], name), getattr(seen[1], name))


def test_variation_moves_scan_truth_and_mask_together(dataset):
    still, _ = dataset.draw("coronal", 8, np.random.default_rng(3), STILL)
    batch, targets = dataset.draw("coronal", 8, np.random.default_rng(3), Augmentation())
    assert not torch.allclose(batch.ct, still.ct)
    known = batch.mask == 0
    torch.testing.assert_close(batch.ct[known], targets.ct[known])
    bright = (targets.ct > -0.25) & (batch.mask > 0)
    assert ((targets.body > 0.5) == bright)[batch.mask > 0].float().mean() > 0.97
    assert targets.ct.min() >= -1 and targets.ct.max() <= 1


def test_slices_come_from_all_over_the_body_and_some_from_beside_it(dataset):
    batch, targets = dataset.draw("sagittal", 200, np.random.default_rng(1), STILL)
    ratio = batch.slice_ratio[:, 0, 0, 0]
    assert 0.05 < (ratio > 1).float().mean() < 0.3
    assert ratio.min() < 0.1 and torch.equal(targets.height_weight, (ratio <= 1).float())


def test_signed_distance_is_half_a_pixel_on_both_sides_of_the_outline():
    body = np.zeros((2, 20, 20))
    body[0, 5:15, 5:15] = 1
    distance = signed_distance(body) * 8
    assert distance[0, 10, 5] == -0.5 and distance[0, 10, 4] == 0.5
    assert distance[0, 10, 7] == -2.5 and distance[0, 10, 0] == 4.5
    assert (distance[1] == 8).all()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", None])
def test_an_unusable_shard_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "sample_0000_L1.npz").write_bytes(content)
        (tmp_path / "sample_0001_L1.npz").write_bytes(content)
    with pytest.raises(HealthiVertError, match=r"sample_0000_L1|0 shards"):
        train(TINY, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stopped_and_resumed_run_is_the_uninterrupted_one_to_the_bit(folder, tmp_path):
    train(TINY, folder, tmp_path / "whole")
    requests = iter([False] * 3 + [True])

    class StopAfterThree:
        def __enter__(self):
            return lambda: next(requests)

        def __exit__(self, *_):
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_stop_requests", StopAfterThree)
        train(TINY, folder, tmp_path / "parts")
    assert load_checkpoint(tmp_path / "parts")[1]["step"] == 3
    train(TINY, folder, tmp_path / "parts", resume=True)
    (whole, record), (parts, _) = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert record["step"] == 6 and set(whole) == set(parts)
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    kept = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert kept == [1, 2, 3, 4, 5, 6, 6]


def test_sigterm_ends_the_step_in_hand_and_saves_it(folder, tmp_path):
    def terminate(stage: str, fraction: float, message: str) -> None:
        if message.startswith("step 2"):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    train(TINY, folder, tmp_path / "run", progress=terminate)
    assert load_checkpoint(tmp_path / "run")[1]["step"] == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_wall_clock_limit_ends_the_run(folder, tmp_path):
    train(replace(TINY, wall_clock_minutes=0.0), folder, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run")[1]["step"] < TINY.steps


def test_a_run_is_neither_overwritten_nor_mixed_with_another(folder, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(HealthiVertError, match="no such checkpoint"):
        train(TINY, folder, run, resume=True)
    train(replace(TINY, steps=1), folder, run)
    with pytest.raises(HealthiVertError, match="already holds a training run"):
        train(TINY, folder, run)
    with pytest.raises(HealthiVertError, match="batch_size 2, not 3"):
        train(replace(TINY, batch_size=3), folder, run, resume=True)


def test_a_damaged_checkpoint_is_refused(folder, tmp_path):
    run = tmp_path / "run"
    train(replace(TINY, steps=1), folder, run)
    tensors = next(run.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    with pytest.raises(HealthiVertError, match="damaged"):
        train(TINY, folder, run, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(replace(TINY, steps=2), folder, run)
    draw = SliceDataset.draw

    def spoilt(self, *arguments):
        batch, targets = draw(self, *arguments)
        return SliceBatch(batch.ct * float("nan"), batch.mask, batch.attention, batch.slice_ratio, batch.plane), targets

    monkeypatch.setattr(SliceDataset, "draw", spoilt)
    with pytest.raises(HealthiVertError, match=r"diverged at step 3 .*checkpoint\.json"):
        train(TINY, folder, run, resume=True)
    tensors, record = load_checkpoint(run)
    assert record["step"] == 2 and all(torch.isfinite(value).all() for value in tensors.values())


def test_discriminators_join_only_after_their_start(dataset):
    run = GanRun(TINY, GAP, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.discriminators.named_parameters()}
    losses = [train_step(run, dataset, Stopwatch()) for _ in range(2)]
    assert all("adversarial" not in entry for entry in losses)
    assert all(torch.equal(before[name], value) for name, value in run.discriminators.named_parameters())
    assert {"adversarial", "discriminators"} <= set(train_step(run, dataset, Stopwatch()))
    assert all(not torch.equal(before[name], value) for name, value in run.discriminators.named_parameters())


def test_one_batch_can_be_learnt(dataset):
    settings = replace(
        TINY,
        generator=GanSettings(width=8, spectral_norm=True),
        batch_size=4,
        learning_rate=3e-3,
        warm_up_steps=10,
        steps=1000,
        adversarial_start=10_000,
    )
    run = GanRun(settings, GAP, torch.device("cpu"))
    one_batch = dataset.middle_slices(0, "sagittal", 4)

    class OneBatch:
        def draw(self, *_):
            return one_batch

    losses = [train_step(run, OneBatch(), Stopwatch()) for _ in range(60)]  # type: ignore[arg-type]
    assert losses[-1]["ct"] < losses[0]["ct"] / 2
    assert losses[-1]["total"] < losses[0]["total"] / 2


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    settings = replace(TINY, steps=1100, warm_up_steps=100, final_learning_rate=0.0)
    assert learning_rate(settings, 49) == pytest.approx(1e-4)
    assert learning_rate(settings, 100) == pytest.approx(2e-4)
    assert learning_rate(settings, 600) == pytest.approx(1e-4)
    assert learning_rate(settings, 1100) == pytest.approx(0.0)


def test_exported_weights_are_the_average_and_load_as_a_plain_model(folder, tmp_path):
    validation = train(TINY, folder, tmp_path / "run")
    card = export(tmp_path / "run", tmp_path / "gan.safetensors", {"licence": "Apache-2.0"})
    model, loaded = load_weights(tmp_path / "gan.safetensors")
    assert loaded == card and card["licence"] == "Apache-2.0"
    assert card["metrics"] == validation and set(validation) >= {"l1_hu", "dice", "height_error"}
    assert card["recipe"]["steps_done"] == 6 and card["gap"] == [32, 64] and card["hu_window"] == [-300.0, 800.0]
    tensors, _ = load_checkpoint(tmp_path / "run")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, tensors[f"average.{name}"].half().float(), rtol=0, atol=0)
    assert not any("parametrizations" in name for name in model.state_dict())


def test_validation_names_the_baseline_beside_the_height_error(folder, tmp_path):
    validation = train(replace(TINY, steps=1), folder, tmp_path / "run")
    # The held-out vertebra is taller than its reference by 4 %: the reference falls short by 1 - exp(-0.04).
    assert validation["baseline_height_error"] == pytest.approx(100 * (1 - np.exp(-0.04)), rel=1e-3)
    assert validation["height_error"] == pytest.approx(validation["baseline_height_error"], abs=0.2)
