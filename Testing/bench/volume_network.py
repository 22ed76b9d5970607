"""Would a network that sees the body in 3D draw it better than two planes of slices fused?

Prints the table of docs/trials.md, "One volume". A small U-Net over the gap and a little of what lies beside it is
trained on the same samples as the shipped models, from the same prior, with losses of picture and body; then it stands
beside the prior, the shipped models' two planes, and the mean of each with the prior. In: folders of `healthivert
samples`, of generated spines or, with --from, of real ones. Weights and rows are kept in --work, so that a stopped
measurement goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rows import cell_of_way
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from healthivert.evaluate import likeness
from healthivert.gap import GAP, from_window
from healthivert.generate import two_planes
from healthivert.models.interface import body_upon, ct_upon
from healthivert.models.weights import load_weights
from healthivert.prior import upright
from healthivert.training.samples import TrainingSample, load_sample
from healthivert.training.slices import (
    ATTENTION,
    BODY,
    CT,
    MASK,
    NEIGHBOURS,
    OUTLINE,
    PRIOR_BODY,
    PRIOR_CT,
    Augmentation,
    SliceDataset,
    decode,
)

BESIDE = 8  # rows of the neighbours that the network sees on either side of the gap
ROWS = slice(GAP[0] - BESIDE, GAP[1] + BESIDE)
FOLD = 2  # voxels of a cube of this edge are folded into channels: most of the work is done at half resolution
SEEN = (CT, MASK, ATTENTION, NEIGHBOURS, PRIOR_CT, PRIOR_BODY, OUTLINE)
RATE, BATCH = 1e-3, 2
METRICS = {"dice": 3, "ssim": 3, "psnr": 2}  # name: decimals
Guess = tuple[NDArray, NDArray]  # CT in -1..1 and body, of the gap


class VolumeUNet(nn.Module):
    """[B, len(SEEN), SI, AP, LR], sizes multiples of 8 -> CT in -1..1 and logit of the body, [B, 1, SI, AP, LR] each.

    Its head starts at 0: untrained, it answers with the prior.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv3d(len(SEEN) * FOLD**3, width, 3, padding=1)
        self.down = nn.ModuleList([_block(width, width), _block(2 * width, 2 * width), _block(4 * width, 4 * width)])
        self.halve = nn.ModuleList([nn.Conv3d(w, 2 * w, 3, stride=2, padding=1) for w in (width, 2 * width)])
        self.up = nn.ModuleList([_block(6 * width, 2 * width), _block(3 * width, width)])
        self.head = nn.Conv3d(width, 2 * FOLD**3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.down[0](self.enter(_fold(given)))
        middle = self.down[1](self.halve[0](fine))
        features = self.down[2](self.halve[1](middle))
        for block, skip in zip(self.up, (middle, fine), strict=True):
            features = block(torch.cat([interpolate(features, size=skip.shape[2:], mode="trilinear"), skip], dim=1))
        ct_change, body_change = _unfold(self.head(features)).chunk(2, dim=1)
        prior_ct, prior_body = (given[:, SEEN.index(channel), None] for channel in (PRIOR_CT, PRIOR_BODY))
        return ct_upon(prior_ct, ct_change), body_upon(prior_body, body_change)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in (inputs, outputs):
        layers += [nn.Conv3d(number, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
    return nn.Sequential(*layers)


def _fold(volume: Tensor) -> Tensor:
    """[B, C, D, H, W] -> [B, C * FOLD^3, D / FOLD, H / FOLD, W / FOLD]."""
    batch, channels, *size = volume.shape
    split = [part for length in size for part in (length // FOLD, FOLD)]
    cubes = volume.reshape(batch, channels, *split).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return cubes.reshape(batch, channels * FOLD**3, *[length // FOLD for length in size])


def _unfold(cubes: Tensor) -> Tensor:
    """The inverse of _fold."""
    batch, folded, *size = cubes.shape
    split = cubes.reshape(batch, folded // FOLD**3, FOLD, FOLD, FOLD, *size).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return split.reshape(batch, folded // FOLD**3, *[length * FOLD for length in size])


def draw(
    data: SliceDataset, count: int, random: np.random.Generator, limits: Augmentation
) -> tuple[Tensor, Tensor, Tensor]:
    """What the network sees of `count` random vertebrae, varied as slices are in training, and CT and body as truth."""
    given, cts, bodies = [], [], []
    for vertebra in random.integers(len(data), size=count):
        volume = decode(data.volumes[vertebra, ROWS])
        if random.random() < limits.flip_share:
            volume = volume[:, :, ::-1]
        shift = random.integers(-limits.shift_columns, limits.shift_columns + 1, size=2)
        rows, columns = (np.clip(np.arange(n) + s, 0, n - 1) for n, s in zip(volume.shape[1:3], shift, strict=True))
        volume = volume[:, rows][:, :, columns].copy()
        gain, offset = 1 + random.uniform(-limits.gain, limits.gain), random.uniform(-limits.offset, limits.offset)
        noise = random.standard_normal(volume.shape[:3], dtype=np.float32) * random.uniform(0, limits.noise)
        volume[..., CT] = np.clip(volume[..., CT] * gain + offset + noise, -1, 1)
        volume[..., PRIOR_CT] = np.clip(volume[..., PRIOR_CT] * gain + offset, -1, 1)
        hidden = volume[..., MASK] > 0.5
        if random.random() < limits.no_prior_share:
            volume[..., PRIOR_CT], volume[..., PRIOR_BODY] = upright(volume[..., OUTLINE])
        if random.random() < limits.no_attention_share:
            volume[..., ATTENTION] = ~hidden
        cts.append(volume[..., CT].copy())
        bodies.append(volume[..., BODY])
        volume[..., PRIOR_CT] = np.where(hidden, volume[..., PRIOR_CT], volume[..., CT])
        volume[..., CT] = np.where(hidden, -1, volume[..., CT])
        given.append(volume[..., list(SEEN)])
    stacked = torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.stack(given), -1, 1)))
    return stacked, torch.from_numpy(np.stack(cts))[:, None], torch.from_numpy(np.stack(bodies).copy())[:, None]


def losses(ct: Tensor, logit: Tensor, true_ct: Tensor, true_body: Tensor, hidden: Tensor) -> Tensor:
    """L1 of the CT in the gap, soft Dice and cross entropy of the body, with the shipped models' weights."""
    share = hidden.sum()
    body = torch.sigmoid(logit) * hidden
    l1 = ((ct - true_ct).abs() * hidden).sum() / share
    dice = 1 - (2 * (body * true_body).sum() + 1) / (body.sum() + true_body.sum() + 1)
    entropy = nn.functional.binary_cross_entropy_with_logits(logit, true_body, reduction="none")
    return 2 * l1 + dice + (entropy * hidden).sum() / share


def train(paths: list[Path], width: int, steps: int, out: Path) -> None:
    """Train and write the averaged weights to out."""
    data = SliceDataset(paths)
    torch.manual_seed(0)
    network = VolumeUNet(width)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.05)
    for step in range(steps):
        given, ct, body = draw(data, BATCH, np.random.default_rng((0, step)), Augmentation())
        loss = losses(*network(given), ct, body, given[:, SEEN.index(MASK), None])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1 - min(0.998, step / (step + 10)))
        if step % 50 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.4f}", flush=True)
    save_file(average, out)


@torch.inference_mode()
def in_3d(network: VolumeUNet, sample: TrainingSample) -> Guess:
    c = sample.conditioning
    volumes = [c.ct, c.mask, c.attention, c.neighbours, c.prior_ct, c.prior_body, c.outline]
    ct, logit = network(torch.from_numpy(np.stack([volume[ROWS] for volume in volumes]).astype(np.float32))[None])
    inside = slice(BESIDE, BESIDE + GAP[1] - GAP[0])
    return ct[0, 0, inside].numpy(), torch.sigmoid(logit)[0, 0, inside].numpy()


def in_two_planes(model: torch.nn.Module, sample: TrainingSample, prior: Guess) -> Guess:
    """The prior where no slice was drawn."""
    drawing, _ = two_planes(model, torch.device("cpu"), sample.conditioning, 0)  # type: ignore[arg-type]
    gap = slice(*GAP)
    drawn = drawing.says[gap] > 0
    return np.where(drawn, drawing.ct[gap], prior[0]), np.where(drawn, drawing.body[gap], prior[1])


def guesses(sample: TrainingSample, network: VolumeUNet, models: Mapping[str, torch.nn.Module]) -> dict[str, Guess]:
    """What each fills the gap with, and its mean with the prior."""
    gap = slice(*GAP)
    prior = sample.conditioning.prior_ct[gap], sample.conditioning.prior_body[gap]
    alone = {"3D": in_3d(network, sample)}
    alone |= {f"{name}, two planes": in_two_planes(model, sample, prior) for name, model in models.items()}
    return {"prior": prior, **alone, **{f"{name}, and prior": mean(guess, prior) for name, guess in alone.items()}}


def mean(*chosen: Guess) -> Guess:
    ct, body = (np.mean(parts, axis=0) for parts in zip(*chosen, strict=True))
    return ct, body


def scores(guess: Guess, sample: TrainingSample) -> dict[str, float]:
    """In the canonical gap, where every height is right: Dice of the body; SSIM and PSNR (dB) around the true body."""
    true_ct, true_body = sample.target_ct[GAP[0] : GAP[1]], sample.target_body[GAP[0] : GAP[1]] > 0.5
    found = guess[1] > 0.5
    dice = 2 * float((found & true_body).sum()) / float(found.sum() + true_body.sum())
    return {"dice": dice, **likeness(from_window(true_ct), from_window(guess[0]), true_body, 1.0)}


def table(rows: list[dict]) -> list[str]:
    """Markdown: a line for each way; in brackets the 95 % interval of the mean difference to the prior, over spines."""
    told: dict[str, dict[str, dict]] = {}
    for row in rows:
        told.setdefault(row["sample"], {})[row["way"]] = row
    spines = [sample.rpartition("_")[0] for sample in told]
    lines = ["| | Dice | SSIM | PSNR, dB |", "|---|---|---|---|"]
    for way in dict.fromkeys(row["way"] for row in rows):
        cells = [cell_of_way(list(told.values()), way, "prior", name, spines, n) for name, n in METRICS.items()]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="samples to train on")
    parser.add_argument("--held-out", type=Path, nargs="+", required=True, help="folders of other spines' samples")
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and rows")
    parser.add_argument("--models", nargs="*", default=["gan", "diffusion"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2500)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    weights = arguments.work / f"volume_{arguments.width}_{arguments.steps}.safetensors"
    if not weights.exists():
        train(sorted(arguments.data.glob("*.npz")), arguments.width, arguments.steps, weights)
    network = VolumeUNet(arguments.width)
    network.load_state_dict(load_file(weights))
    network.eval()
    models = {name: load_weights(name)[0] for name in arguments.models}
    print(f"3D: {sum(value.numel() for value in network.parameters())} parameters, {arguments.steps} steps")
    for folder in arguments.held_out:
        kept = arguments.work / f"rows_{folder.name}.json"
        rows = json.loads(kept.read_text()) if kept.exists() else []
        for path in sorted(folder.glob("*.npz")):
            if path.stem not in {row["sample"] for row in rows}:
                sample = load_sample(path)
                for way, guess in guesses(sample, network, models).items():
                    rows.append({"sample": path.stem, "way": way, **scores(guess, sample)})
                kept.write_text(json.dumps(rows))
        print(f"\n{folder.name}: {len({row['sample'] for row in rows})} vertebrae")
        print("\n".join(table(rows)), flush=True)


if __name__ == "__main__":
    main()
