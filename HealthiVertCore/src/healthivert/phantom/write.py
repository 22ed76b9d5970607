"""Phantom cases on disk: a scan, its segmentation, their healthy twins, truth.json; each case whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from healthivert.case import write_volume
from healthivert.output_folder import OutputFolder
from healthivert.phantom.grid import Grid, whole_spine_grid
from healthivert.phantom.render import render
from healthivert.phantom.sampling import sample_spine
from healthivert.phantom.spine import PhantomSpine
from healthivert.phantom.truth import truth

Progress = Callable[[str, float, str], None]
FILES = ("ct.nii.gz", "seg.nii.gz", "healthy_ct.nii.gz", "healthy_seg.nii.gz", "truth.json")


def write_phantoms(out: Path, count: int, seed: int, fractured: bool, progress: Progress | None = None) -> None:
    """DIR/case_0000/{ct,seg,healthy_ct,healthy_seg}.nii.gz and truth.json for `count` people drawn from `seed`.

    Case n is the same whatever the count. Raises HealthiVertError if a case is already there or cannot be written.
    """
    for number in range(count):
        name = f"case_{number:04d}"
        if progress is not None:
            progress("phantom", number / count, name)
        case_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        with OutputFolder(out / name, names=FILES) as folder:
            _write_case(sample_spine(case_seed, fractured), folder)
    if progress is not None:
        progress("done", 1.0, str(out))


def scan_grid(spine: PhantomSpine) -> Grid:
    """The grid of the person's own scanner: its slices, a random pixel size, in a quarter of cases oblique."""
    generator = np.random.Generator(np.random.PCG64(spine.scanner.seed))
    straight = whole_spine_grid(spine.healthy_twin())
    pixel = float(np.round(generator.uniform(0.85, 1.1), 3))
    slices = float(np.round(max(spine.scanner.slice_mm * generator.uniform(0.8, 1.0), 0.8), 3))
    spacing = np.array([pixel, pixel, slices])
    length = np.array(straight.size) * straight.spacing
    size = np.round(length / spacing).astype(int)
    turn = np.eye(3)
    if generator.random() < 0.25:
        turn = Rotation.from_rotvec(np.deg2rad(generator.uniform(-10, 10, 3))).as_matrix()
    centre = np.asarray(straight.origin) + (length - straight.spacing) / 2
    origin = centre - turn @ (spacing * (size - 1) / 2)
    return Grid(
        tuple(int(n) for n in size),  # type: ignore[arg-type]
        tuple(float(s) for s in spacing),  # type: ignore[arg-type]
        tuple(float(x) for x in origin),  # type: ignore[arg-type]
        tuple(float(x) for x in turn.ravel()),
    )


def _write_case(spine: PhantomSpine, folder: Path) -> None:
    grid = scan_grid(spine)
    for prefix, person in (("", spine), ("healthy_", spine.healthy_twin())):
        rendered = render(person, grid, spine.scanner)
        write_volume(rendered.ct, folder / f"{prefix}ct.nii.gz")
        write_volume(rendered.labels, folder / f"{prefix}seg.nii.gz")
    facts: dict[str, Any] = truth(spine)
    facts["scanner"] |= {"spacing_mm": grid.spacing, "direction": grid.direction}
    (folder / "truth.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
