"""Voxels to a file for the core, without a node: it can be done in another thread, and memory holds no second scan."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from HealthiVertSlicerLib import frames

NRRD_TYPES = {"float32": "float", "float64": "double"}  # of the others, numpy's names are NRRD's


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: origin (3,) and the steps of i, j, k (3, 3) in RAS mm."""

    origin: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, volume: Any) -> Grid:
        """In the volume's own frame."""
        matrix = frames.ijk_to_ras(volume)
        return cls(matrix[:3, 3], matrix[:3, :3].T)


def write_nrrd(path: Path, voxels: np.ndarray, grid: Grid) -> None:
    """voxels (K, J, I) as an uncompressed NRRD file. Raises OSError if it cannot be written or there is no room."""
    header = (
        "NRRD0004",
        f"type: {NRRD_TYPES.get(voxels.dtype.name, voxels.dtype.name)}",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape[::-1]))}",
        f"space directions: {' '.join(map(_vector, grid.steps))}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {_vector(grid.origin)}",
        "\n",
    )
    if shutil.disk_usage(path.parent).free < voxels.nbytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with path.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        for plane in voxels:
            file.write(np.ascontiguousarray(plane))


def _vector(values: np.ndarray) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"
