"""Pictures of the panel and its views for the documentation: `python Testing/slicer/pictures.py [OUT]`.

OUT (default Resources) gets:

    slicer_panel_start.png, _filled, _running, _results    the panel before, during and after the five clicks
    slicer_inputs.png        the CT and its segmentation, the views centred on the target
    slicer_conditioning.png  what the generator is given, where a neighbour is fractured too
    slicer_compare.png       before and after, difference, fade, height loss in 3D, height profile

Of the phantom that ships with the core, or of --ct, --seg and --vertebra; the conditioning is that of a generated spine
with two fractures, since the phantom's attention is 1 everywhere. The panel is clicked as a user clicks it, and
the core runs as its child. Drawn by Slicer's displayable managers, without a display; the bars above the views stand
for those of Slicer's own view controllers.
"""

from __future__ import annotations

import argparse
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
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "HealthiVertSlicer"), str(CORE)]

VIEW_SIZE = (460, 480)  # pixels
BAR = 26  # pixels of a view's bar
A_RUN_S = 900.0  # on a slow, busy computer


def load_inputs(ct: Path, seg: Path) -> tuple[Any, Any]:
    """CT and segmentation as nodes; segments are named by the core's own reading of the labels."""
    from slicer_stub.scan import load_scan

    from healthivert.case import load_labels

    return load_scan(ct, seg, {value: level for level, value in load_labels(seg).label_values.items()})


def two_fractures(folder: Path) -> tuple[Path, Path]:
    """CT and segmentation of a person whose L1 and L2 are fractured."""
    from healthivert.case import write_volume
    from healthivert.phantom import render, sample_spine, whole_spine_grid

    levels = ("T10", "T11", "T12", "L1", "L2", "L3", "L4")
    spine = sample_spine(14, True, levels, fracture_count=(2, 2), no_grade=0.0, scoliosis=0.0)
    assert spine.fractured_levels == ("L1", "L2"), "the generator has changed: choose another seed"
    rendered = render(spine, whole_spine_grid(spine), spine.scanner)
    ct, seg = folder / "ct.nii.gz", folder / "seg.nii.gz"
    write_volume(rendered.ct, ct)
    write_volume(rendered.labels, seg)
    return ct, seg


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


def draw(given: argparse.Namespace) -> None:
    """Click through the panel and save what is seen."""
    from HealthiVertSlicerLib import display, layouts
    from slicer_stub.layout_manager import LayoutManager
    from slicer_stub.panel import PanelStand

    manager = LayoutManager(VIEW_SIZE)
    slicer.app.setLayoutManager(manager)
    stand = PanelStand(ROOT / "HealthiVertSlicer" / "HealthiVertSlicer.py")
    ui, panel, out = stand.ui, stand.widget.panel, given.out

    def run(button: Any) -> None:
        stand.click(button)
        stand.wait_until(lambda: not panel.jobs.busy and not panel.jobs.showing, A_RUN_S)

    stand.save(out / "slicer_panel_start.png")
    volume, _segmentation = load_inputs(given.ct, given.seg)
    layouts.set_window(volume.GetDisplayNode(), *display.BONE_HU)  # as a user sets it: the panel leaves it alone
    stand.window.enter()
    run(ui.inspectButton)
    ui.targetSelector.setCurrentIndex(ui.targetSelector.findText(given.vertebra))
    stand.save(out / "slicer_panel_filled.png")
    slice_row = [(layouts.SAGITTAL, layouts.AXIAL, layouts.CORONAL)]
    save_views(manager, slice_row, out / "slicer_inputs.png")
    stand.click(ui.applyButton)
    stand.wait_until(lambda: ui.progressBar.value >= 40 or not panel.jobs.busy, A_RUN_S)
    stand.save(out / "slicer_panel_running.png")
    stand.wait_until(lambda: not panel.jobs.busy and not panel.jobs.showing, A_RUN_S)
    stand.save(out / "slicer_panel_results.png")
    below = (layouts.FADE, layouts.SURFACE, layouts.PLOT)
    save_views(manager, [layouts.COMPARED[:3], below], out / "slicer_compare.png")
    slicer.mrmlScene.Clear()
    with tempfile.TemporaryDirectory() as folder:
        load_inputs(*two_fractures(Path(folder)))
    stand.window.enter()
    run(ui.inspectButton)  # chooses the more suspicious of the two
    ui.conditioningSection.collapsed = False
    run(ui.previewButton)
    save_views(manager, slice_row, out / "slicer_conditioning.png")
    stand.close()
    manager.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "Resources")
    parser.add_argument("--ct", type=Path, default=DEMO / "ct.nii.gz")
    parser.add_argument("--seg", type=Path, default=DEMO / "seg.nii.gz")
    parser.add_argument("--vertebra", default="L1")
    given = parser.parse_args(arguments)
    from slicer_stub import stand

    stand.start()
    given.out.mkdir(parents=True, exist_ok=True)
    draw(given)


if __name__ == "__main__":
    main()
