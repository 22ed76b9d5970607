"""Training: the batches, the loop, its checkpoints, and what it exports."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skimage.io import imread
from training_case import TINY, TINY_DIFFUSION, elliptic_vertebra, write_vertebrae

from healthivert.errors import HealthiVertError
from healthivert.models.gan import GanSettings
from healthivert.models.interface import SliceBatch
from healthivert.models.weights import load_weights
from healthivert.training.batches import StepBatches, TrainingBatch, batches_of
from healthivert.training.checkpoint import load_checkpoint
from healthivert.training.diffusion_task import DiffusionRun
from healthivert.training.dry_run import dry_run
from healthivert.training.gan_task import GanRun
from healthivert.training.machine import machine
from healthivert.training.metrics import Stopwatch
from healthivert.training.sample_folder import shards, spine_of
from healthivert.training.slices import CT, PRIOR_CT, Augmentation, SliceDataset, _augment, decode, signed_distance
from healthivert.training.stopping import STOPS
from healthivert.training.task import learning_rate, update_average
from healthivert.training.trainer import export, train
from healthivert.training.validation import draw_validation, least_gain, validate

GAP = (32, 64)
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Pictures take longer than these trainings."""
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_vertebrae(tmp_path_factory.mktemp("shards"))


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


def test_of_generated_and_of_real_spines_some_are_held_out_each(tmp_path):
    for number in range(10):
        for name in (f"sample_{number:06d}_L1", f"sub-verse{number:03d}_L1", f"sub-verse{number:03d}_dir-ax-L2"):
            (tmp_path / f"{name}.npz").touch()
    _, validation = shards(tmp_path, 0.2)
    assert {spine_of(path) for path in validation} == {
        *("sample_000008", "sample_000009"),
        *("sub-verse008", "sub-verse009"),
    }


def test_of_one_generated_and_one_real_spine_one_is_held_out(tmp_path):
    for name in ("sample_000001_L1", "sub-verse001_L1"):
        (tmp_path / f"{name}.npz").touch()
    assert [len(side) for side in shards(tmp_path, 0.5)] == [1, 1]


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


def test_a_shard_with_any_byte_flipped_is_read_or_named(folder):
    """Of the zip's directory, where the compression, the encryption and the sizes of its members stand."""
    whole = (folder / "sample_0000_L1.npz").read_bytes()
    directory = whole.index(b"PK\x01\x02")
    named = 0
    for place in range(directory, directory + 46):
        damaged = folder.parent / "damaged.npz"
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            SliceDataset([damaged])
        except HealthiVertError as error:
            assert "damaged.npz: cannot be read as a training shard" in str(error)
            named += 1
    assert named > 10


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", None])
def test_an_unusable_shard_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "sample_0000_L1.npz").write_bytes(content)
        (tmp_path / "sample_0001_L1.npz").write_bytes(content)
    with pytest.raises(HealthiVertError, match=r"sample_0000_L1|0 shards"):
        train(TINY, tmp_path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def stop_after(step: int, number: int = signal.SIGTERM):
    """A progress callback that sends this process a signal after a step."""

    def tell(stage: str, fraction: float, message: str) -> None:
        if message.startswith(f"step {step},"):
            os.kill(os.getpid(), number)

    return tell


def test_a_stopped_and_resumed_run_is_the_uninterrupted_one_to_the_bit(folder, tmp_path):
    train(TINY, folder, tmp_path / "whole")
    first = train(TINY, folder, tmp_path / "parts", progress=stop_after(3))
    assert load_checkpoint(tmp_path / "parts")[1]["step"] == 3
    second = train(TINY, folder, tmp_path / "parts", resume=True)
    (whole, record), (parts, resumed) = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert record["step"] == 6 and set(whole) == set(parts)
    assert resumed["hours"] == pytest.approx((first.seconds + second.seconds) / 3600)
    assert resumed["machines"] == record["machines"] == [machine()]
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    assert [entry["step"] for entry in logged(tmp_path / "parts", "training")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_the_step_in_hand_and_saves_it(folder, tmp_path, number):
    before = signal.signal(number, signal.default_int_handler)  # whatever started the tests, as nohup does
    try:
        end = train(TINY, folder, tmp_path / "run", progress=stop_after(2, number))
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert load_checkpoint(tmp_path / "run")[1]["step"] == end.step == 2
    assert end.signal == number and end.exit_status == 128 + number


@pytest.mark.skipif(sys.platform == "win32", reason="no terminal there tells that it is closed")
def test_a_training_under_nohup_outlives_its_terminal(folder, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        end = train(TINY, folder, tmp_path / "run", progress=stop_after(2, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (end.step, end.signal) == (TINY.steps, None)


def logged(run: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_a_signal_cuts_a_validation_short_which_is_made_up_for_when_the_run_goes_on(folder, tmp_path):
    settings = replace(TINY, validate_every=1, steps=3)
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    end = train(settings, folder, parts, progress=stop_after(2))
    assert [entry["step"] for entry in logged(parts, "validation")] == [1]
    assert load_checkpoint(parts)[1]["validation"] == end.validation != {}
    train(settings, folder, parts, resume=True)
    train(settings, folder, whole)
    assert logged(parts, "validation") == logged(whole, "validation")


def test_a_run_that_is_stopped_again_before_the_validation_that_it_owes_makes_no_step(folder, tmp_path, monkeypatch):
    settings, run = replace(TINY, validate_every=1), tmp_path / "run"
    train(settings, folder, run, progress=stop_after(2))
    before = (run / "metrics.jsonl").read_text()

    def stopped_at_once(*given):
        signal.raise_signal(signal.SIGTERM)
        return validate(*given)

    with monkeypatch.context() as patch:
        patch.setattr("healthivert.training.trainer.validate", stopped_at_once)
        end = train(settings, folder, run, resume=True)
    assert (end.step, end.exit_status) == (2, 128 + signal.SIGTERM)
    assert (run / "metrics.jsonl").read_text().startswith(before) and len(logged(run, "validation")) == 1
    train(replace(settings, steps=2), folder, run, resume=True)
    assert [entry["step"] for entry in logged(run, "validation")] == [1, 2]


def test_a_signal_does_not_cut_the_last_validation_short_whose_figures_go_on_the_card(folder, tmp_path):
    end = train(replace(TINY, steps=2), folder, tmp_path / "run", progress=stop_after(2))
    assert end.exit_status == 0 and set(end.validation) >= {"dice", "height_error"}
    assert export(tmp_path / "run", tmp_path / "gan.safetensors", {})["metrics"] == end.validation


def test_a_whole_run_ends_with_status_0_and_says_how_its_time_was_spent(folder, tmp_path):
    said: list[str] = []
    end = train(TINY, folder, tmp_path / "run", progress=lambda stage, fraction, message: said.append(message))
    assert (end.step, end.wanted, end.signal, end.exit_status) == (6, 6, None, 0)
    assert end.images_per_second == pytest.approx(6 * 2 / end.seconds) and 0 < end.data_share < 1
    assert said[-1] == f"ended at step 6, {end.rates_in_words}" and "waiting for data" in said[-1]
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["kind"] == "end" and last["data_share"] == pytest.approx(end.data_share, rel=1e-4)


def test_the_wall_clock_limit_ends_the_run(folder, tmp_path):
    end = train(replace(TINY, wall_clock_minutes=0.0), folder, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run")[1]["step"] == end.step < TINY.steps
    assert end.exit_status == 0, "the limit was asked for"


def batch_at(dataset: SliceDataset, step: int, settings=TINY) -> TrainingBatch:
    return StepBatches(dataset, settings.augmentation, settings.seed, range(settings.batch_size))[step]


def test_discriminators_join_only_after_their_start(dataset):
    run = GanRun(TINY, GAP, torch.device("cpu"))
    before = {name: value.clone() for name, value in run.discriminators.named_parameters()}
    losses = [run.train_step(batch_at(dataset, step)) for step in range(2)]
    assert all("adversarial" not in entry for entry in losses)
    assert all(torch.equal(before[name], value) for name, value in run.discriminators.named_parameters())
    assert {"adversarial", "discriminators"} <= set(run.train_step(batch_at(dataset, 2)))
    assert all(not torch.equal(before[name], value) for name, value in run.discriminators.named_parameters())


def test_one_batch_can_be_learnt(dataset):
    settings = replace(
        TINY,
        generator=GanSettings(width=8, spectral_norm=True),
        batch_size=4,
        learning_rate=3e-3,
        warm_up_steps=10,
        steps=60,
        adversarial_start=10_000,
    )
    run = GanRun(settings, GAP, torch.device("cpu"))
    batch = TrainingBatch(0, range(4), *dataset.middle_slices(0, "sagittal", 4))
    losses = [run.train_step(batch) for _ in range(settings.steps)]
    assert losses[-1]["ct"] < losses[0]["ct"] / 2
    assert losses[-1]["total"] < losses[0]["total"] / 2


def test_an_image_is_the_same_in_whatever_share_of_the_step_it_is_prepared(dataset):
    whole = batch_at(dataset, 5, replace(TINY, batch_size=4))
    parts = [StepBatches(dataset, TINY.augmentation, TINY.seed, share)[5] for share in (range(0, 2), range(2, 4))]
    for name in ("ct", "mask", "plane"):
        joined = torch.cat([getattr(part.slices, name) for part in parts])
        assert torch.equal(getattr(whole.slices, name), joined)
    assert torch.equal(whole.targets.ct, torch.cat([part.targets.ct for part in parts]))
    assert not torch.equal(whole.slices.ct[0], whole.slices.ct[1]), "two images of a step differ"
    assert not torch.equal(whole.slices.ct, batch_at(dataset, 7, replace(TINY, batch_size=4)).slices.ct)


@pytest.mark.filterwarnings("ignore:This DataLoader")
def test_workers_prepare_the_same_batches_in_the_same_order(dataset):
    made = StepBatches(dataset, TINY.augmentation, TINY.seed, range(2))
    alone, helped = (list(batches_of(made, range(3, 7), workers, pinned=False)) for workers in (0, 2))
    assert [batch.step for batch in helped] == [3, 4, 5, 6]
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one.slices.ct, other.slices.ct) and torch.equal(one.targets.body, other.targets.body)


def test_learning_rate_warms_up_and_falls_along_a_cosine():
    settings = replace(TINY, steps=1100, warm_up_steps=100, final_learning_rate=0.0)
    assert learning_rate(settings, 49) == pytest.approx(1e-4)
    assert learning_rate(settings, 100) == pytest.approx(2e-4)
    assert learning_rate(settings, 600) == pytest.approx(1e-4)
    assert learning_rate(settings, 1100) == pytest.approx(0.0)


def test_the_average_follows_the_weights_by_its_decay_and_faster_at_first():
    average, trained = (torch.nn.Linear(1, 1, bias=False) for _ in range(2))
    torch.nn.init.zeros_(average.weight)
    expected = 0.0
    for step, value in ((1, 1.0), (2, -2.0), (1_000, 3.0)):
        torch.nn.init.constant_(trained.weight, value)
        update_average(average, trained, replace(TINY, ema_decay=0.9), step)
        decay = min(0.9, step / (step + 10))
        expected = decay * expected + (1 - decay) * value
        assert average.weight.item() == pytest.approx(expected, rel=1e-6)


def test_running_statistics_are_shipped_as_they_are():
    average, trained = (torch.nn.BatchNorm1d(2) for _ in range(2))
    trained(torch.tensor([[3.0, -1.0], [5.0, 1.0]]))
    update_average(average, trained, TINY, 1)
    assert torch.equal(average.running_mean, trained.running_mean)
    assert torch.equal(average.running_var, trained.running_var)


@pytest.mark.parametrize("settings", [TINY, TINY_DIFFUSION], ids=["gan", "diffusion"])
def test_a_training_keeps_the_average_of_its_weights_and_not_the_random_start(settings, folder, tmp_path):
    train(replace(settings, steps=3), folder, tmp_path / "run")
    tensors = load_checkpoint(tmp_path / "run")[0]
    cpu = torch.device("cpu")
    start = (GanRun(TINY, GAP, cpu) if settings is TINY else DiffusionRun(TINY_DIFFUSION, cpu)).average.state_dict()
    assert any(not torch.equal(value, tensors[f"average.{name}"]) for name, value in start.items())


def test_at_its_end_a_training_is_judged_by_all_that_was_held_out(tmp_path, monkeypatch):
    data = write_vertebrae(tmp_path / "shards", 4)
    monkeypatch.setattr("healthivert.training.trainer.SCORED", 1)
    end = train(replace(TINY, steps=2, validate_every=1, held_out=0.5), data, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["vertebrae"] for line in lines if "dice" in line] == [1, 2] and end.validation["vertebrae"] == 2


def test_the_prior_is_as_bright_as_the_scan_that_it_is_laid_into(dataset):
    stored = dataset.volumes[0][:, :, 36][None].repeat(64, axis=0)
    varied = _augment(stored, "sagittal", dataset.gap, np.random.default_rng(0), replace(STILL, offset=0.3))
    change = (varied - decode(stored))[:, slice(*dataset.gap)].mean(axis=(1, 2))
    assert change[:, PRIOR_CT] == pytest.approx(change[:, CT], abs=0.02) and np.ptp(change[:, PRIOR_CT]) > 0.2


def test_exported_weights_are_the_average_and_load_as_a_plain_model(folder, tmp_path):
    validation = train(TINY, folder, tmp_path / "run").validation
    card = export(tmp_path / "run", tmp_path / "gan.safetensors", {"licence": "Apache-2.0"})
    model, loaded = load_weights(tmp_path / "gan.safetensors")
    assert loaded == card and card["licence"] == "Apache-2.0"
    assert card["metrics"] == validation and set(validation) >= {"l1_hu", "dice", "height_error"}
    assert card["recipe"]["steps_done"] == 6 and card["gap"] == [32, 64] and card["hu_window"] == [-300.0, 800.0]
    tensors, record = load_checkpoint(tmp_path / "run")
    assert card["hours"] == round(record["hours"], 3) and card["machines"] == [machine()]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, tensors[f"average.{name}"].half().float(), rtol=0, atol=0)
    assert not any("parametrizations" in name for name in model.state_dict())


def test_validation_names_the_baseline_beside_the_height_error(folder, tmp_path):
    validation = train(replace(TINY, steps=1), folder, tmp_path / "run").validation
    # The held-out vertebra is taller than its reference by 4 %: the reference falls short by 1 - exp(-0.04).
    assert validation["baseline_height_error"] == pytest.approx(100 * (1 - np.exp(-0.04)), rel=1e-3)
    assert validation["height_error"] == pytest.approx(validation["baseline_height_error"], abs=0.2)


def test_the_least_gain_of_a_model_is_what_chance_between_spines_leaves_of_it():
    gains = np.array([1.0, 1.0, 2.0, 2.0, 3.0])
    # Student's t for three spines, whose means are 1, 2 and 3: 2 - 4.303 / sqrt(3)
    assert least_gain(gains, ["a", "a", "b", "b", "c"]) == pytest.approx(2 - 4.3027 / np.sqrt(3), abs=1e-4)
    # many vertebrae of two spines are no more sure of it than these two are
    assert least_gain(np.repeat([0.1, 1.0], 50), ["a"] * 50 + ["b"] * 50) < 0
    assert least_gain(gains, ["a"] * 5) is None


@pytest.mark.parametrize(("says", "gains"), [(0.05, True), (0.0, False), (-0.05, False)])
def test_a_head_is_said_to_gain_only_if_it_knows_more_than_the_reference(folder, says, gains):
    data = SliceDataset(sorted(folder.glob("*.npz")))
    data.log_height_ratios[:] = [0.04, 0.05, 0.06]

    def head(batch: SliceBatch) -> SimpleNamespace:
        return SimpleNamespace(
            x_stage2=batch.prior_ct, fine_seg=batch.prior_body, pred2_h=torch.full((len(batch.ct), 1), says)
        )

    found = validate(head, data, torch.device("cpu"), slices=2)
    assert (found["height_gain_at_least"] > 0) is gains
    assert (found["height_error"] < found["baseline_height_error"]) is gains


def test_the_resolved_configuration_is_saved(folder, tmp_path):
    train(replace(TINY, steps=1), folder, tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "configuration.json").read_text())
    assert saved["model"] == "gan" and saved["settings"]["generator"] == {"width": 4, "spectral_norm": True}
    assert (saved["data"]["training_vertebrae"], saved["data"]["held_out_vertebrae"]) == (2, 1)
    assert saved["machine"]["device"] == "cpu" and saved["machine"]["precision"] == "float32"
    assert saved["parameters"] == sum(p.numel() for p in GanRun(TINY, GAP, torch.device("cpu")).average.parameters())


def test_a_validation_is_drawn(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", draw_validation)
    train(replace(TINY, steps=2, validate_every=1), folder, tmp_path / "run")
    drawn = sorted((tmp_path / "run" / "figures").iterdir())
    assert [path.name for path in drawn] == ["validation_00000001.png", "validation_00000002.png"]
    picture = imread(drawn[0])
    assert picture.shape[1] > 2 * picture.shape[0], "one vertebra: given, truth, drawn, difference in both planes"
    assert picture[..., 0].std() > 20


def test_without_matplotlib_a_training_draws_nothing_and_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("healthivert.training.trainer.draw_validation", draw_validation)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    train(replace(TINY, steps=1, validate_every=1), folder, tmp_path / "run")
    assert not (tmp_path / "run" / "figures").exists() and load_checkpoint(tmp_path / "run")[1]["validation"]


def test_tensorboard_gets_the_numbers_where_it_is_installed(folder, tmp_path, monkeypatch):
    written: list[tuple[str, int]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert Path(folder) == tmp_path / "run" / "tensorboard"
            written.append(("purge", purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, step))

        def close(self) -> None:
            written.append(("close", 0))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    train(replace(TINY, steps=1), folder, tmp_path / "run")
    train(replace(TINY, steps=2), folder, tmp_path / "run", resume=True)
    assert [step for name, step in written if name == "training/ct"] == [1, 2]
    assert [step for name, step in written if name == "purge"] == [1, 2], "what is beyond the checkpoint is hidden"
    assert ("validation/dice", 2) in written and written[-1] == ("close", 0)


def test_a_tensorboard_that_is_broken_is_told_and_missed_by_none(folder, tmp_path, monkeypatch):
    """As one beside another protobuf: its import raises what no one would expect of an import."""
    (tmp_path / "broken.py").write_text("raise TypeError('Descriptors cannot be created directly')")
    monkeypatch.syspath_prepend(tmp_path)
    broken = importlib.util.spec_from_file_location("torch.utils.tensorboard", tmp_path / "broken.py")
    finder = SimpleNamespace(find_spec=lambda name, *_: broken if name == "torch.utils.tensorboard" else None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    told = []
    train(replace(TINY, steps=1), folder, tmp_path / "run", progress=lambda *words: told.append(words))
    assert [text for stage, _, text in told if stage == "warning"] == [
        "TensorBoard cannot be used (TypeError: Descriptors cannot be created directly); "
        "the numbers are in metrics.jsonl alone"
    ]
    assert logged(tmp_path / "run", "training")


def test_a_checkpoint_is_due_so_long_after_the_last_one_whichever_process_asked_for_that(monkeypatch):
    now = 0.0
    monkeypatch.setattr("healthivert.training.metrics.time.monotonic", lambda: now)
    watch = Stopwatch()
    now = 59.0
    assert not watch.due(1)
    watch.saved()  # another process was due
    now = 61.0
    assert not watch.due(1)
    now = 119.5
    assert watch.due(1) and watch.due(1)


def test_a_dry_run_is_of_steps_as_dear_as_the_last_ones(folder, tmp_path, monkeypatch):
    found = dry_run(replace(TINY, adversarial_start=5), folder, tmp_path / "run", False, lambda *_: None)
    assert found["settings"]["adversarial_start"] == 5
    judged = []
    update = GanRun._update_discriminators
    monkeypatch.setattr(GanRun, "_update_discriminators", lambda *given: judged.append(1) or update(*given))
    dry_run(replace(TINY, adversarial_start=5), folder, tmp_path / "run", False, lambda *_: None)
    assert len(judged) == 2


def test_a_dry_run_tells_what_a_step_costs_and_writes_nothing(folder, tmp_path):
    found = dry_run(TINY, folder, tmp_path / "run", False, lambda *_: None)
    assert list(tmp_path.iterdir()) == []
    assert found["starts_at_step"] == 0 and found["settings"]["batch_size"] == 2
    cost = found["step"]
    assert cost["seconds"] > 0 and cost["images_per_second"] == pytest.approx(2 / cost["seconds"], rel=0.1)
    assert cost["memory_mb"] > 50
    train(replace(TINY, steps=2), folder, tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.json").read_bytes()
    assert dry_run(TINY, folder, tmp_path / "run", True, lambda *_: None)["starts_at_step"] == 2
    assert (tmp_path / "run" / "checkpoint.json").read_bytes() == before
