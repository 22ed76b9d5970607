"""The two-stage generator, contextual attention and the discriminators."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from slice_batches import GAP, batch_of
from torch.nn.functional import conv2d, conv_transpose2d

from healthivert.models.gan import (
    Discriminators,
    DiscriminatorSettings,
    GanGenerator,
    GanSettings,
    fold_spectral_norm,
    plain_state,
)
from healthivert.models.gan.contextual_attention import ContextualAttention, known_patches, propagate
from healthivert.models.losses import GanLossWeights, SliceTargets, generator_losses, total_loss


@pytest.fixture(scope="module")
def generator() -> GanGenerator:
    """A generator whose picture heads, 0 when untrained, say something."""
    torch.manual_seed(0)
    model = GanGenerator(GanSettings(width=4)).eval()
    for stage in (model.coarse, model.fine):
        torch.nn.init.normal_(stage.ct_head.weight, std=0.1)
        torch.nn.init.normal_(stage.seg_head.weight, std=0.1)
    return model


@pytest.mark.parametrize(("width", "plane"), [(64, 0.0), (72, 1.0)])
def test_one_generator_serves_both_planes_within_the_ranges_of_the_interface(generator, width, plane):
    batch = batch_of(3, width, plane)
    output = generator(batch)
    for image in (output.x_stage1, output.x_stage2, output.coarse_seg, output.fine_seg):
        assert image.shape == (3, 1, 96, width)
        assert image.min() >= -1 and image.max() <= 1
    for seg in (output.coarse_seg, output.fine_seg):
        assert seg.min() >= 0
    assert output.pred1_h.shape == output.pred2_h.shape == (3,)
    assert output.offset_flow.shape == (3, 2, 12, width // 8)


def test_known_pixels_leave_the_generator_as_they_came(generator):
    batch = batch_of()
    known = batch.mask == 0
    output = generator(batch)
    assert torch.equal(output.x_stage1[known], batch.ct[known])
    assert torch.equal(output.x_stage2[known], batch.ct[known])
    assert (output.fine_seg[known] == 0).all()
    assert (output.x_stage2[~known] != batch.ct[~known]).any()


def test_the_untrained_model_draws_what_the_neighbours_look_like():
    batch = batch_of()
    output = GanGenerator(GanSettings(width=4)).eval()(batch)
    for drawn in (output.x_stage1, output.x_stage2):
        assert (drawn - batch.prior_ct).abs().max() < 0.05
    assert torch.equal(output.fine_seg > 0.5, batch.prior_body > 0.5)


def test_the_untrained_model_says_exactly_the_neighbours_height(generator):
    output = generator(batch_of())
    assert (output.pred1_h == 0).all() and (output.pred2_h == 0).all()


def test_the_plane_and_the_slice_ratio_change_what_is_drawn(generator):
    batch = batch_of()
    drawn = generator(batch).x_stage2
    for changed in ("plane", "slice_ratio", "attention", "prior_ct", "prior_body", "outline"):
        other = generator(replace(batch, **{changed: getattr(batch, changed) * 0.5 + 0.5})).x_stage2
        assert not torch.allclose(drawn, other, atol=1e-6), changed


def test_a_sample_does_not_feel_the_mask_of_another():
    torch.manual_seed(1)
    features, mask = torch.rand(2, 8, 24, 16), batch_of().mask
    other_mask = mask.clone()
    other_mask[0] = 0
    other_mask[0, :, :40] = 1
    first, first_flow = ContextualAttention()(features, mask)
    second, second_flow = ContextualAttention()(features, other_mask)
    assert not torch.allclose(first[0], second[0])
    torch.testing.assert_close(first[1], second[1])
    assert torch.equal(first_flow[1], second_flow[1])


def test_batched_attention_equals_the_published_form_sample_by_sample():
    torch.manual_seed(2)
    features, mask = torch.rand(2, 3, 24, 16), batch_of().mask
    copied, _ = ContextualAttention()(features, mask)
    for sample in range(2):
        small = features[sample : sample + 1, :, ::2, ::2]
        padded = torch.nn.functional.pad(small, (1, 1, 1, 1))
        keys = torch.stack([padded[0, :, r : r + 3, c : c + 3] for r in range(12) for c in range(8)])
        norms = keys.flatten(1).norm(dim=1).clamp_min(1e-4)
        scores = conv2d(padded, keys / norms.view(-1, 1, 1, 1)).view(1, 96, 96)
        known = known_patches(mask[sample : sample + 1], 8)[0]
        scores = propagate(scores, 12, 8)[0].masked_fill(known == 0, -torch.inf)
        weights = torch.softmax(10 * scores, dim=0).view(1, 96, 12, 8)
        full = torch.nn.functional.pad(features[sample : sample + 1], (1, 1, 1, 1))
        values = torch.stack([full[0, :, 2 * r : 2 * r + 4, 2 * c : 2 * c + 4] for r in range(12) for c in range(8)])
        expected = conv_transpose2d(weights, values, stride=2, padding=1) / 4
        torch.testing.assert_close(copied[sample : sample + 1], expected, atol=1e-5, rtol=1e-4)


def test_attention_copies_from_known_patches_and_says_from_where():
    """Features that repeat above the gap what belongs into it: the flow must point there, wholly outside the gap."""
    torch.manual_seed(3)
    features = torch.rand(1, 8, 24, 16)
    features[:, :, 8:16] = features[:, :, 16:24]
    mask = batch_of(1).mask
    _, flow = ContextualAttention()(features, mask)
    rows = 8 * torch.arange(12).view(1, 12, 1) + flow[:, 0]
    # 3 x 3 patches on a grid of 8 pixels: rows 0..2 and 9..11 of the grid hold nothing of the gap.
    assert torch.isin(rows, torch.tensor([0.0, 8.0, 16.0, 72.0, 80.0, 88.0])).all()
    assert (flow[0, 0, 5:7, 2:6] == 32).float().mean() > 0.9
    assert (flow[0, 1, 5:7, 2:6] == 0).float().mean() > 0.9


def test_a_slice_without_any_known_patch_is_still_defined():
    copied, flow = ContextualAttention()(torch.rand(1, 4, 24, 16), torch.ones(1, 1, 96, 64))
    assert (copied == 0).all() and torch.isfinite(flow).all()


def test_scores_spread_along_the_diagonals_of_rows_and_columns():
    scores = torch.zeros(1, 12, 12)
    scores[0, 5, 6] = 1  # 3 x 4 positions: key (1, 1), query (1, 2)
    spread = propagate(scores, 3, 4)[0]
    assert spread[5, 6] == 1
    assert spread[4, 5] == 1 and spread[6, 7] == 1  # one column on, in both images
    assert spread[1, 2] == 1 and spread[9, 10] == 1  # one row on
    assert spread[5, 7] == 0


def test_gradients_reach_every_parameter_from_every_loss():
    torch.manual_seed(4)
    model = GanGenerator(GanSettings(width=4, spectral_norm=True))
    for head in (model.coarse.height, model.fine.height):
        torch.nn.init.normal_(head.linear.weight)  # at exactly 0 the gradient stops at the head
    for head in (model.coarse.ct_head, model.fine.ct_head, model.fine.seg_head):
        torch.nn.init.normal_(head.weight, std=0.1)
    critics = Discriminators(DiscriminatorSettings(width=4), GAP)
    batch, targets = batch_of(), targets_for(2)
    output = model(batch)
    losses = generator_losses(output, targets, batch.mask, critics(output.x_stage2, output.fine_seg))
    assert set(losses) == set(GanLossWeights.__dataclass_fields__)
    total_loss(losses, GanLossWeights()).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("term", ["edge", "boundary", "fine_dice", "mask discriminator"])
def test_every_judge_of_the_mask_has_a_gradient_into_it(term):
    torch.manual_seed(5)
    body = torch.rand(2, 1, 96, 64, requires_grad=True)
    batch, targets = batch_of(), targets_for(2)
    model = GanGenerator(GanSettings(width=4))
    if term == "mask discriminator":
        critics = Discriminators(DiscriminatorSettings(width=4), GAP)
        value = critics(batch.ct, body)[Discriminators.ROLES.index("mask")].mean()
    else:
        value = generator_losses(replace(model(batch), fine_seg=body), targets, batch.mask)[term].sum()
    value.backward()
    assert body.grad is not None and body.grad[:, :, GAP[0] : GAP[1]].abs().sum() > 0


def test_folding_the_spectral_norm_away_changes_no_output():
    torch.manual_seed(6)
    model = GanGenerator(GanSettings(width=4, spectral_norm=True)).train()
    batch = batch_of()
    for _ in range(3):
        model(batch)
    plain = fold_spectral_norm(model)
    assert not any("parametrizations" in name for name in plain.state_dict())
    assert model.training and set(plain_state(model)) == set(plain.state_dict())
    expected, found = model.eval()(batch), plain(batch)
    torch.testing.assert_close(found.x_stage2, expected.x_stage2)
    torch.testing.assert_close(found.fine_seg, expected.fine_seg)


def test_spectral_norm_bounds_every_convolution_but_the_heads():
    model = GanGenerator(GanSettings(width=4, spectral_norm=True)).train()
    for _ in range(30):
        model(batch_of(1))
    state = plain_state(model)
    for name, weight in state.items():
        if weight.dim() == 4:
            largest = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
            assert "_head" in name or largest < 1.05, name


def test_the_shipped_size_fits():
    assert sum(p.numel() for p in GanGenerator().parameters()) * 4 < 10e6


def test_discriminators_look_at_the_gap_and_judge_each_sample_alone():
    torch.manual_seed(7)
    critics = Discriminators(DiscriminatorSettings(width=4), GAP).eval()
    ct, body = torch.rand(3, 1, 96, 72), torch.rand(3, 1, 96, 72)
    scores = critics(ct, body)
    assert len(scores) == len(Discriminators.ROLES) == 3
    far = ct.clone()
    far[:, :, :10] += 1
    changed = ct.clone()
    changed[0, :, 48] += 1
    for before, after in zip(scores, critics(far, body), strict=True):
        torch.testing.assert_close(before, after)
    for role in (0, 2):
        after = critics(changed, body)[role]
        assert not torch.allclose(scores[role][0], after[0])
        torch.testing.assert_close(scores[role][1:], after[1:])


def targets_for(count: int, width: int = 64) -> SliceTargets:
    body = torch.zeros(count, 1, 96, width)
    body[:, :, 36:60, 16:48] = 1
    neighbours = torch.zeros_like(body)
    neighbours[:, :, :28, 16:48] = 1
    distance = torch.where(body > 0, -0.5, 0.5)
    height = torch.full((count,), 0.05)
    return SliceTargets(body - 0.5, body, neighbours, distance, height, torch.ones(count))
