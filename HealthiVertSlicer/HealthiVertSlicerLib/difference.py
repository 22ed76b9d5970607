"""What regrowing changed at a vertebra: a volume of HU differences, healthy minus original, as one more result node."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from HealthiVertSlicerLib.distances import squared_distance
from HealthiVertSlicerLib.frames import ijk_to_ras, mapped, nearest_in, voxels
from HealthiVertSlicerLib.result_nodes import LEVEL, ResultSet, fill_volume, image_data, nodes_by_role

ROLE_DIFFERENCE = "difference"
AIR_HU = -1000
TARGET_MARGIN_MM = 6.0  # a collapsed body bulges by less


def fill_difference(original: Any, healthy: Any, loss: Any) -> Any:
    """The volume node healthy minus original (HU) around the target, 0 elsewhere; made once for a result.

    loss: the height loss map, not 0 on the regrown body. The levels above were moved as a whole: showing all their
    edges as changes would bury the vertebra that did change.
    """
    from slicer.i18n import tr as _

    box, near = around_target(loss, healthy)
    before, after = (_whole_numbers(voxels(volume)[box]) for volume in (original, healthy))
    change = np.where(near, np.clip(after - before, -32768, 32767), 0).astype(np.int16)
    matrix = ijk_to_ras(healthy)
    matrix[:3, 3] = mapped(matrix, np.array([part.start for part in reversed(box)]))
    level = healthy.GetAttribute(LEVEL)
    results = ResultSet(original, level)
    node = results.node(ROLE_DIFFERENCE, "vtkMRMLScalarVolumeNode", _("{level} difference").format(level=level))
    fill_volume(node, change, matrix)
    return node


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """HU as the core reads them: what is no number is air."""
    return np.where(np.isfinite(values), values, AIR_HU).astype(np.int32)


def refill_difference(results: ResultSet) -> None:
    """Of a result that was regrown again, where the difference was shown before."""
    nodes = nodes_by_role(results.volume, results.level)
    if ROLE_DIFFERENCE in nodes:
        fill_difference(results.volume, nodes["volume"], nodes["loss_volume"])


def around_target(loss: Any, volume: Any) -> tuple[tuple[slice, ...], np.ndarray]:
    """A box of the volume's array (K, J, I), and which of its voxels lie on the map loss or TARGET_MARGIN_MM off."""
    spacing = np.array(loss.GetSpacing())[::-1]
    margin = np.ceil(TARGET_MARGIN_MM / spacing).astype(int) + 1
    body = np.pad(voxels(loss) != 0, [(n, n) for n in margin])
    near = squared_distance(body, spacing, TARGET_MARGIN_MM) <= TARGET_MARGIN_MM**2
    to_volume = np.linalg.inv(ijk_to_ras(volume)) @ ijk_to_ras(loss)
    to_volume[:3, 3] = mapped(to_volume, -margin[::-1])  # from indices of the padded map
    corners = np.array(list(itertools.product(*[(0, n - 1) for n in near.shape[::-1]])))
    on_volume = mapped(to_volume, corners)
    size = np.array(volume.GetImageData().GetDimensions())
    low = np.clip(np.floor(on_volume.min(axis=0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(on_volume.max(axis=0)), 0, size - 1).astype(int) + 1
    inside = nearest_in(image_data(near.astype(np.uint8)), np.linalg.inv(to_volume), (low, high)) > 0
    return tuple(slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))[::-1], inside
