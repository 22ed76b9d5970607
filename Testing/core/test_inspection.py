"""The spine at a glance refuses what cannot be a spine, and knows a person's size from their endplates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import block_spine, lumbar_blocks

from healthivert.errors import HealthiVertError
from healthivert.inspection import analyse, endplate_size, fallback_reference
from healthivert.reference import normal_heights


@pytest.mark.parametrize("exchanged", [("T12", "L1"), ("L2", "L4")])
def test_exchanged_labels_are_refused(exchanged):
    names = dict(zip(exchanged, exchanged[::-1], strict=True))
    blocks = [replace(block, level=names.get(block.level, block.level)) for block in lumbar_blocks()]
    with pytest.raises(HealthiVertError, match=r"lies \d+ mm below .*exchanged; correct the segmentation"):
        analyse(block_spine(blocks))


def test_a_spine_upside_down_is_refused():
    levels = [block.level for block in lumbar_blocks()]
    blocks = [replace(block, level=level) for block, level in zip(lumbar_blocks(), levels[::-1], strict=True)]
    with pytest.raises(HealthiVertError, match="exchanged"):
        analyse(block_spine(blocks))


def test_wide_endplates_let_expect_tall_vertebrae_but_only_a_third_as_much(healthy_case):
    wide = [replace(block, width=1.2 * block.width, depth=1.2 * block.depth) for block in lumbar_blocks()]
    bodies, wider = (analyse(case).bodies for case in (healthy_case, block_spine(wide)))
    assert endplate_size(wider.values()) - endplate_size(bodies.values()) == pytest.approx(np.log(1.2) / 3, abs=0.01)
    expected = normal_heights("L3").mean * np.exp(endplate_size([bodies["L3"]]))
    assert fallback_reference(bodies["L3"]).mean == pytest.approx(expected)
    assert endplate_size([]) is None
