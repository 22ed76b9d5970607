"""Training samples of generated spines."""

from dataclasses import replace

import numpy as np
import pytest

from healthivert.anatomy import normal_spine
from healthivert.inspection import analyse
from healthivert.phantom import level_grid, render, sample_spine
from healthivert.training.make_samples import SampleSettings, levels_to_hide, spine_samples
from healthivert.training.samples import case_from_images, load_sample, sample_of_scan

SEED, SPACING_MM = 20_004, 2.0


@pytest.mark.parametrize("bodies_only", [False, True])
def test_a_healthy_generated_spine_gives_the_sample_that_its_scan_would_give_as_a_real_one(tmp_path, bodies_only):
    """What is taken for the body's form must not depend on where a spine comes from: the analytic body has no pedicle
    roots, the body of a whole vertebra's mask has, and a model that learns the one is measured by the other."""
    settings = SampleSettings(
        levels_per_spine=1,
        fractured_share=0.0,
        bodies_only_share=float(bodies_only),
        end_share=0.0,
        spacings_mm=(SPACING_MM,),
    )
    assert spine_samples(SEED, tmp_path, settings) == 1
    (path,) = tmp_path.glob("*.npz")
    generated = load_sample(path)
    level = generated.conditioning.level

    spine, normal = sample_spine(SEED), normal_spine()[level]
    box = (*settings.box_mm, settings.pitches * (normal.height_mean + normal.disc_below))
    picture = render(spine, level_grid(spine, level, box, SPACING_MM), replace(spine.scanner, slice_mm=SPACING_MM))
    scan = case_from_images(picture.ct, picture.bodies if bodies_only else picture.labels, level)
    real = sample_of_scan(scan, analyse(scan), level)

    eight_bits = 1 / 255
    assert np.abs(generated.target_body - real.target_body).max() <= eight_bits
    assert np.abs(generated.target_ct - real.target_ct).max() <= 2 * eight_bits
    assert generated.log_height_ratio == pytest.approx(real.log_height_ratio, abs=1e-6)


def test_fractured_levels_are_hidden_first_and_healthy_ones_of_the_same_spine_beside_them():
    """Left to chance one hidden level in twenty was fractured, and models drew those worse than the neighbours did."""
    spine = sample_spine(SEED, fractured=True, fracture_count=(3, 3))
    for seed in range(8):
        hidden = levels_to_hide(spine, SampleSettings(), np.random.default_rng(seed))
        assert [level in spine.fractured_levels for level in hidden[:2]] == [True, True]
        assert len(set(hidden)) == SampleSettings().levels_per_spine
    seeds = {tuple(levels_to_hide(spine, SampleSettings(), np.random.default_rng(seed))) for seed in range(8)}
    assert len(seeds) > 1


def test_a_spine_without_fractures_has_levels_to_hide_all_the_same():
    spine = sample_spine(SEED)
    assert len(levels_to_hide(spine, SampleSettings(), np.random.default_rng(0))) == SampleSettings().levels_per_spine
