"""The losses against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from healthivert.models.interface import GeneratorOutput
from healthivert.models.losses import (
    HEIGHT_TOLERANCE,
    LossWeights,
    SliceTargets,
    boundary_loss,
    edge_loss,
    generator_losses,
    gradient_difference_loss,
    height_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    mask_cross_entropy,
    masked_l1,
    sobel_magnitude,
    soft_dice_loss,
    total_loss,
)


def square(size: int = 8, count: int = 1, first: int = 4) -> torch.Tensor:
    image = torch.zeros(count, 1, 24, 24)
    image[:, :, first : first + size, first : first + size] = 1
    return image


def test_masked_l1_is_the_mean_inside_the_mask_of_each_sample_alone():
    mask = torch.cat([square(4), square(8)])
    predicted = torch.cat([square(24, first=0) * 0.5, square(24, first=0) * 2.0])
    target = torch.zeros_like(predicted)
    torch.testing.assert_close(masked_l1(predicted, target, mask), torch.tensor([0.5, 2.0]))
    assert masked_l1(predicted, target, mask * 0).tolist() == [0.0, 0.0]


def test_soft_dice_of_half_overlap_and_of_nothing():
    one, shifted = square(8), torch.roll(square(8), 4, dims=2)
    expected = 1 - (2 * 32 + 1) / (128 + 1)
    assert soft_dice_loss(one, shifted).item() == pytest.approx(expected)
    assert soft_dice_loss(one, one).item() == pytest.approx(0, abs=1e-6)
    assert soft_dice_loss(one * 0, one * 0).item() == 0
    assert soft_dice_loss(one, one * 0).item() > 0.98


def test_cross_entropy_is_least_where_a_soft_mask_equals_its_soft_target():
    target, region = square(8) * 0.3, square(8)
    assert mask_cross_entropy(target, target, region).item() == pytest.approx(
        -0.3 * math.log(0.3) - 0.7 * math.log(0.7), rel=1e-4
    )
    for other in (0.2, 0.4):
        worse = mask_cross_entropy(square(8) * other, target, region)
        assert worse.item() > mask_cross_entropy(target, target, region).item()
    assert math.isfinite(mask_cross_entropy(square(8), square(8) * 0, region).item())


def test_sobel_of_a_step_and_of_a_ramp():
    step = torch.zeros(1, 1, 9, 9)
    step[..., 5:] = 1
    magnitude = sobel_magnitude(step)[0, 0, 4]
    assert magnitude[4].item() == pytest.approx(0.5, abs=1e-3) and magnitude[5].item() == pytest.approx(0.5, abs=1e-3)
    assert magnitude[2].item() < 2e-3
    ramp = torch.arange(9.0).view(1, 1, 9, 1).expand(1, 1, 9, 9) * 0.1
    assert sobel_magnitude(ramp)[0, 0, 4, 4].item() == pytest.approx(0.1, abs=1e-4)


def test_edge_loss_sees_outlines_inside_the_gap_only():
    target, mask = square(8), square(24, first=0)
    assert edge_loss(target, target, mask).item() == 0
    assert edge_loss(target * 0, target, mask).item() > 1e-3
    assert edge_loss(target * 0, target, square(4, first=18)).item() == 0


def test_boundary_loss_costs_each_wrong_pixel_its_distance():
    target, mask = square(8), square(24, first=0)
    distance = torch.where(target > 0, -0.5, 0.25)
    extra = target.clone()
    extra[0, 0, 20, 20] = 1
    missing = target.clone()
    missing[0, 0, 6, 6] = 0
    assert boundary_loss(target, target, distance, mask).item() == 0
    assert boundary_loss(extra, target, distance, mask).item() == pytest.approx(0.25 / 576)
    assert boundary_loss(missing, target, distance, mask).item() == pytest.approx(0.5 / 576)


def test_gradient_difference_asks_for_the_strength_of_texture_not_its_place():
    rows = torch.arange(24).view(1, 1, 24, 1).expand(1, 1, 24, 24)
    stripes = (rows % 2).float()
    mask = torch.ones_like(stripes)
    assert gradient_difference_loss(1 - stripes, stripes, mask).item() == 0
    assert gradient_difference_loss(torch.full_like(stripes, 0.5), stripes, mask).item() == pytest.approx(0.5)


def test_height_loss_is_quadratic_then_linear_with_slope_one_and_ignores_unweighted_slices():
    predicted = torch.tensor([HEIGHT_TOLERANCE / 2, 0.3, 0.3, -0.3])
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0])
    expected = [HEIGHT_TOLERANCE / 8, 0.3 - HEIGHT_TOLERANCE / 2, 0.0, 0.3 - HEIGHT_TOLERANCE / 2]
    torch.testing.assert_close(height_loss(predicted, torch.zeros(4), weight), torch.tensor(expected))


def test_hinge_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.5]).view(2, 1, 1, 1), torch.tensor([-2.0, 0.5]).view(2, 1, 1, 1)
    torch.testing.assert_close(hinge_discriminator_loss([real], [fake]), torch.tensor([0.0, (0.5 + 1.5) / 2]))
    torch.testing.assert_close(hinge_generator_loss([fake, fake]), torch.tensor([4.0, -1.0]))


def test_the_total_is_the_weighted_sum_averaged_over_the_samples():
    losses = {"ct": torch.tensor([1.0, 3.0]), "height": torch.tensor([0.5, 0.0])}
    weights = LossWeights(ct=2.0, height=4.0)
    assert total_loss(losses, weights).item() == pytest.approx((4.0 + 6.0) / 2)


def test_every_output_is_asked_for_what_it_is_for():
    """Nudged one by one, each output changes its own terms and no others."""
    random = torch.Generator().manual_seed(0)

    def image() -> torch.Tensor:
        return 0.1 + 0.8 * torch.rand(1, 1, 24, 24, generator=random)

    targets = SliceTargets(image(), image(), image(), image(), torch.zeros(1), torch.ones(1))
    perfect = GeneratorOutput(
        coarse_seg=image(),
        fine_seg=image(),
        x_stage1=image(),
        x_stage2=image(),
        offset_flow=torch.zeros(1, 2, 24, 24),
        pred1_h=torch.full((1,), 0.2),
        pred2_h=torch.full((1,), 0.3),
    )
    terms = {
        "x_stage1": {"ct"},
        "x_stage2": {"ct", "gradient"},
        "fine_seg": {"fine_dice", "fine_cross_entropy", "edge", "boundary"},
        "coarse_seg": {"coarse_dice", "coarse_cross_entropy"},
        "pred1_h": {"height"},
        "pred2_h": {"height"},
    }
    before = generator_losses(perfect, targets, square(12))
    for field, expected in terms.items():
        nudged = getattr(perfect, field).clone()
        nudged[..., nudged.shape[-1] // 3 :] += 0.05
        after = generator_losses(replace(perfect, **{field: nudged}), targets, square(12))
        assert {name for name in before if not torch.equal(before[name], after[name])} == expected, field


def test_the_mask_is_asked_for_its_likelihood_and_not_for_its_dice():
    """docs/trials.md, "The volume of the body": soft Dice makes a body too large wherever it is uncertain."""
    assert LossWeights().fine_dice == 0 and LossWeights().fine_cross_entropy > LossWeights().coarse_cross_entropy


def test_no_loss_is_reduced_over_the_batch():
    """What one sample costs does not depend on its company."""
    torch.manual_seed(0)
    a, b = torch.rand(3, 1, 24, 24), torch.rand(3, 1, 24, 24)
    mask = torch.cat([square(4), square(8), square(16)])
    for loss in (
        lambda s: masked_l1(a[s], b[s], mask[s]),
        lambda s: soft_dice_loss(a[s], b[s]),
        lambda s: edge_loss(a[s], b[s], mask[s]),
        lambda s: boundary_loss(a[s], b[s], b[s] - 0.5, mask[s]),
        lambda s: gradient_difference_loss(a[s], b[s], mask[s]),
    ):
        together = loss(slice(None))
        assert together.shape == (3,) and all(math.isfinite(v) for v in together)
        torch.testing.assert_close(together[1:2], loss(slice(1, 2)))
