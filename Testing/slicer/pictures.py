"""Pictures of the panel's views for the documentation: `python Testing/slicer/pictures.py [OUT]` (default Resources).

    slicer_inputs.png        the CT and its segmentation, the views centred on the target
    slicer_conditioning.png  what the generator is given
    slicer_compare.png       before and after, difference, fade, height loss in 3D, height profile

Of the phantom that ships with the core, or of --ct, --seg and --vertebra. --run: a folder that `healthivert run` wrote
for them; without it, it is run first. Drawn by Slicer's displayable managers, without a display; the bars above the
views stand for those of Slicer's own view controllers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer  # before Testing is on the path: slicer-core would take Testing/slicer for a part of itself

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "HealthiVertCore" / "src"
DEMO = CORE / "healthivert" / "data" / "demo"
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "HealthiVertSlicer")]

VIEW_SIZE = (460, 480)  # pixels
BAR = 26  # pixels of a view's bar


def load_inputs(ct: Path, seg: Path) -> tuple[Any, Any]:
    """CT and segmentation as nodes; segments are named by the core's own reading of the labels."""
    from healthivert.case import load_labels

    volume = slicer.util.loadVolume(str(ct), {"name": "CT"})
    labels = slicer.util.loadLabelVolume(str(seg), {"name": "labels"})
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Vertebrae")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
    slicer.mrmlScene.RemoveNode(labels)
    level_of_value = {value: level for level, value in load_labels(seg).label_values.items()}
    segments = segmentation.GetSegmentation()
    for segment_id in segments.GetSegmentIDs():
        segment = segments.GetSegment(segment_id)
        segment.SetName(level_of_value.get(segment.GetLabelValue(), segment.GetName()))
    return volume, segmentation


def run_core(ct: Path, seg: Path, vertebra: str, out: Path) -> Path:
    command = [sys.executable, "-m", "healthivert", "run", str(ct), str(seg), "--vertebra", vertebra, "--out", str(out)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(CORE)}, check=True)
    return out


def save_views(manager: Any, rows: Sequence[Sequence[str]], path: Path) -> None:
    """The named views in rows, each under a bar with its label and colour, as PNG."""
    from slicer_stub.layout_manager import save_png

    nodes = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLAbstractViewNode")}
    pictures = [[_under_bar(manager.picture(name), nodes[name]) for name in row] for row in rows]
    save_png(np.concatenate([np.concatenate(row, axis=1) for row in pictures], axis=0), path)


def _under_bar(picture: np.ndarray, node: Any) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = picture.shape[1]
    figure = Figure(figsize=(width / 100, BAR / 100), dpi=100, facecolor=node.GetLayoutColor())
    figure.text(8 / width, 0.5, node.GetLayoutLabel(), fontsize=10, fontweight="bold", va="center")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    bar = np.asarray(canvas.buffer_rgba())[..., :3]
    framed = np.concatenate([bar, picture[..., :3]], axis=0)
    framed[:, -2:] = 40  # the border between views
    return framed


def draw(volume: Any, segmentation: Any, segment_id: str, run: Path, vertebra: str, out: Path) -> None:
    from HealthiVertSlicerLib import display, layouts, results
    from slicer_stub.layout_manager import LayoutManager

    manager = LayoutManager(VIEW_SIZE)
    slicer.app.setLayoutManager(manager)
    slice_row = [(layouts.SAGITTAL, layouts.AXIAL, layouts.CORONAL)]
    display.show_inputs(volume, segmentation)
    display.centre_on(volume, segmentation, segment_id)
    save_views(manager, slice_row, out / "slicer_inputs.png")
    found = results.load_results(run, volume, segmentation, segment_id, vertebra)
    display.show_conditioning(found)
    save_views(manager, slice_row, out / "slicer_conditioning.png")
    display.compare(found)
    below = (layouts.FADE, layouts.SURFACE, layouts.PLOT)
    save_views(manager, [layouts.COMPARED[:3], below], out / "slicer_compare.png")
    manager.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "Resources")
    parser.add_argument("--ct", type=Path, default=DEMO / "ct.nii.gz")
    parser.add_argument("--seg", type=Path, default=DEMO / "seg.nii.gz")
    parser.add_argument("--vertebra", default="L1")
    parser.add_argument("--run", type=Path)
    given = parser.parse_args(arguments)
    from slicer_stub import stand

    stand.start()
    given.out.mkdir(parents=True, exist_ok=True)
    volume, segmentation = load_inputs(given.ct, given.seg)
    segments = segmentation.GetSegmentation()
    names = {segments.GetSegment(segment_id).GetName(): segment_id for segment_id in segments.GetSegmentIDs()}
    if given.vertebra not in names:
        parser.error(f"--vertebra {given.vertebra}: {given.seg} has {', '.join(names)}")
    with tempfile.TemporaryDirectory() as folder:
        run = given.run or run_core(given.ct, given.seg, given.vertebra, Path(folder) / "run")
        draw(volume, segmentation, names[given.vertebra], run, given.vertebra, given.out)


if __name__ == "__main__":
    main()
