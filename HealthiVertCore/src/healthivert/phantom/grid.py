"""Voxel grids in LPS mm, and index-space coordinates that stay one-dimensional where the grid is not oblique."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from healthivert.errors import HealthiVertError
from healthivert.phantom.posture import poses
from healthivert.phantom.spine import PhantomSpine
from healthivert.types import FloatArray

BEHIND_MM, AHEAD_MM = 100.0, 30.0  # from a body's centre to behind the skin of the back, and to before its front
MARGIN_MM = 18.0  # beyond the plates of the first and of the last level
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """An image's grid as SimpleITK describes it: size (i, j, k), spacing mm, origin LPS mm, direction row by row."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...] = IDENTITY

    def __post_init__(self) -> None:
        if min(self.size) < 1 or min(self.spacing) <= 0 or len(self.direction) != 9:
            raise HealthiVertError(
                f"phantom: size {self.size} and spacing {self.spacing} make no grid; use positive numbers"
            )

    @staticmethod
    def of(image: sitk.Image) -> Grid:
        return Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def steps(self) -> FloatArray:
        """(3, 3) LPS mm per index step: column i, j, k."""
        return np.asarray(self.direction).reshape(3, 3) * np.asarray(self.spacing)

    def refined(self, factors: tuple[int, int, int]) -> Grid:
        """The same field of view with every voxel split into factors (i, j, k)."""
        f = np.asarray(factors)
        origin = np.asarray(self.origin) + self.steps @ ((1 / f - 1) / 2)
        size = tuple(int(n * m) for n, m in zip(self.size, factors, strict=True))
        spacing = tuple(s / m for s, m in zip(self.spacing, factors, strict=True))
        return Grid(size, spacing, tuple(float(x) for x in origin), self.direction)  # type: ignore[arg-type]

    def image(self, array: np.ndarray) -> sitk.Image:
        """array (k, j, i) on this grid."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

    def box(self, corners: FloatArray) -> tuple[slice, slice, slice] | None:
        """Array slices (k, j, i) around LPS points (N, 3), or None if they miss the grid."""
        index = np.linalg.solve(self.steps, (np.asarray(corners) - self.origin).T)
        low = np.maximum(np.floor(index.min(axis=1)), 0).astype(int)
        high = np.minimum(np.ceil(index.max(axis=1)) + 1, self.size).astype(int)
        if (high <= low).any():
            return None
        i, j, k = (slice(a, b) for a, b in zip(low, high, strict=True))
        return k, j, i

    def coordinates(self, box: tuple[slice, slice, slice], centre: FloatArray, axes: FloatArray) -> list[FloatArray]:
        """axes (3, 3) @ (point - centre) for the voxels of a box, float32 arrays that broadcast to (k, j, i).

        A direction the grid is aligned with adds no dimension: an axis-aligned grid gives three 1D arrays.
        """
        steps = axes @ self.steps
        offset = axes @ (np.asarray(self.origin) - centre)
        steps[np.abs(steps) < 1e-9] = 0.0
        result = []
        for row, start in zip(steps, offset, strict=True):
            value = np.full((1, 1, 1), start)
            for axis, (step, part) in enumerate(zip(row[::-1], box, strict=True)):
                if step != 0.0:
                    shape = [1, 1, 1]
                    shape[axis] = part.stop - part.start
                    value = value + step * np.arange(part.start, part.stop).reshape(shape)
            result.append(value.astype(np.float32))
        return result

    @property
    def whole(self) -> tuple[slice, slice, slice]:
        i, j, k = (slice(0, n) for n in self.size)
        return k, j, i


def whole_spine_grid(spine: PhantomSpine, spacing: float = 1.0, field_mm: float = 256.0) -> Grid:
    """The usual field of view: field_mm square, as long as the labelled levels, the skin of the back inside it."""
    stand = poses(spine)
    reach = np.array([stand[level].centre for level in spine.levels])
    ends = [spine.vertebra(level).height / 2 + MARGIN_MM for level in (spine.levels[-1], spine.levels[0])]
    low, high = reach[:, 2].min() - ends[0], reach[:, 2].max() + ends[1]
    side = (reach[:, 0].min() + reach[:, 0].max()) / 2
    # the skin of the back fits if the spine is not too curved; the bodies always do
    back = min(reach[:, 1].max() + BEHIND_MM, reach[:, 1].min() - AHEAD_MM + field_mm)
    origin = (side - field_mm / 2, back - field_mm, low)
    return _grid((field_mm, field_mm, high - low), spacing, origin)


def level_grid(
    spine: PhantomSpine, level: str, size_mm: tuple[float, float, float] = (110.0, 110.0, 150.0), spacing: float = 1.0
) -> Grid:
    """A box of size_mm (left, posterior, superior) around one body, its long side along LPS superior."""
    centre = poses(spine)[level].centre
    corner = centre - np.asarray(size_mm) / 2
    return _grid(size_mm, spacing, (corner[0], corner[1] + 0.14 * size_mm[1], corner[2]))


def _grid(size_mm: tuple[float, float, float], spacing: float, corner: tuple[float, float, float]) -> Grid:
    size = tuple(max(1, round(float(length) / spacing)) for length in size_mm)
    return Grid(size, (spacing,) * 3, tuple(float(x) + spacing / 2 for x in corner))  # type: ignore[arg-type]
