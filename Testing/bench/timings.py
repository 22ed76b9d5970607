"""How long a run takes and how much memory, and what of it the generator is. Nothing else should run beside these."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from rows import Row, Subject

from healthivert.case import load_case
from healthivert.inspection import analyse
from healthivert.phantom import render, sample_spine, whole_spine_grid
from healthivert.pipeline import prepare
from healthivert.types import SpineCase

RUN_SECONDS, DRAWING_SECONDS = {"gan": 20, "diffusion": 30}, {"gan": 5, "diffusion": 30}
# Runs what follows and prints its peak memory in kB. A process of its own, small: what this one holds when it starts
# another would count as the other's.
PEAK_MEMORY = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def timings(subject: Subject, lumbar: Path, seed: int) -> Iterator[Row]:
    """lumbar: folder of the real lumbar CT, left out if it is not there. seed: of generated spines."""
    with tempfile.TemporaryDirectory(prefix="healthivert-bench-") as folder:
        work = Path(folder)
        if lumbar.is_dir():
            scan = lumbar / "ct.nii.gz", lumbar / "seg.nii.gz"
            yield run_row(subject, "real lumbar CT (3 mm)", *timed_run(*scan, "L4", subject.model, work / "lumbar"))
        ct, seg = large_scan(work, seed + 1)
        yield run_row(subject, "512 x 512 x 600 CT", *timed_run(ct, seg, "L1", subject.model, work / "large"))
        yield drawing_row(subject, load_case(ct, seg), "L1")
        start = time.perf_counter()
        spine = sample_spine(seed)
        grid = whole_spine_grid(spine)
        render(spine, grid, spine.scanner)
        size = " x ".join(str(n) for n in grid.size)
        seconds = time.perf_counter() - start
        yield Row(f"phantom {size} at 1 mm", "<= 20 s", f"{seconds:.1f} s", seconds <= 20)


def run_row(subject: Subject, scan: str, seconds: float, gigabytes: float) -> Row:
    """A whole `run`, from CT and mask to the report."""
    most = RUN_SECONDS[subject.model]
    met = seconds <= most and gigabytes <= 2
    return Row(f"`run`, {scan}", f"<= {most} s, <= 2 GB", f"{seconds:.1f} s, {gigabytes:.2f} GB", met)


def drawing_row(subject: Subject, case: SpineCase, level: str) -> Row:
    """The generator alone, the second time: the first loads what it needs."""
    conditioning = prepare(case, analyse(case), level).conditioning
    for _ in range(2):
        start = time.perf_counter()
        subject.generate(conditioning)
        seconds = time.perf_counter() - start
    most = DRAWING_SECONDS[subject.model]
    return Row("the same: its vertebra drawn in both planes", f"<= {most} s", f"{seconds:.1f} s", seconds <= most)


def large_scan(work: Path, seed: int) -> tuple[Path, Path]:
    """A whole phantom spine resampled to 512 x 512 x 600 voxels."""
    spine = sample_spine(seed, fractured=True)
    picture = render(spine, whole_spine_grid(spine, spacing=1.0), spine.scanner)
    paths = []
    for name, image, way in (("ct", picture.ct, sitk.sitkLinear), ("seg", picture.labels, sitk.sitkNearestNeighbor)):
        extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
        spacing = extent / np.array([512, 512, 600])
        large = sitk.Resample(
            image, [512, 512, 600], sitk.Transform(), way, image.GetOrigin(), spacing.tolist(), image.GetDirection()
        )
        paths.append(work / f"{name}.nii.gz")
        sitk.WriteImage(large, str(paths[-1]), True, 1)
    return paths[0], paths[1]


def timed_run(ct: Path, seg: Path, level: str, model: str, out: Path) -> tuple[float, float]:
    """Wall seconds and peak gigabytes of a whole `healthivert run`."""
    words = ["run", str(ct), str(seg), "--vertebra", level, "--model", model, "--out", str(out)]
    command = [sys.executable, "-c", PEAK_MEMORY, sys.executable, "-m", "healthivert", *words]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"healthivert {' '.join(words)} failed: {done.stderr}")
    return time.perf_counter() - start, int(done.stdout) / 1e6
