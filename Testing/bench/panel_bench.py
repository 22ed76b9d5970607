"""Measure the panel on a scan, from click to result: `python Testing/bench/panel_bench.py CT SEG --vertebra L1`.

Prints the table of docs/slicer.md: time to the spine table, longest time that Slicer's main thread was at work without
answering (and its share on the processor, which other programs do not change), time from Cancel to the last process's
end, and the largest memory of the core's process. Needs what `make test-slicer` installs; Linux, as it reads /proc.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import slicer  # before Testing is on the path: slicer-core would take Testing/slicer for a part of itself

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "Testing" / "slicer"), str(ROOT / "HealthiVertSlicer")]


class Watch:
    """Lets Slicer work and notes the longest time without an answer (s, and s on the processor) and the largest memory
    of the core's process (MB)."""

    def __init__(self) -> None:
        self.silence = self.busy = self.memory_mb = 0.0

    def until(self, condition: Callable[[], bool]) -> float:
        """How long it took until the condition held, s."""
        start = time.monotonic()
        while not condition():
            wall, processor = time.monotonic(), time.thread_time()
            slicer.app.processEvents()
            self.busy = max(self.busy, time.thread_time() - processor)
            self.silence = max(self.silence, time.monotonic() - wall)
            self.memory_mb = max([self.memory_mb, *map(peak_memory_mb, children())])
            time.sleep(0.01)
        return time.monotonic() - start


def children() -> list[Path]:
    """Folders in /proc of the core's processes that this one has started."""
    return [folder for folder in Path("/proc").glob("[0-9]*") if _is_child(folder)]


def _is_child(folder: Path) -> bool:
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended meanwhile
        return False
    return "healthivert.child" in words and str(os.getpid()) in words


def peak_memory_mb(folder: Path) -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


def measure(ct: Path, seg: Path, vertebra: str) -> dict[str, str]:
    """Name -> value with its unit, in the order of the clicks."""
    from HealthiVertSlicerLib import layouts
    from pictures import load_inputs
    from slicer_stub.layout_manager import LayoutManager
    from slicer_stub.panel import PanelStand

    slicer.app.setLayoutManager(LayoutManager())
    load_inputs(ct, seg)
    layouts.enter(layouts.COMPARE)  # making the views is Slicer's own work
    layouts.restore_layout()
    stand, watch, canceling = PanelStand(ROOT / "HealthiVertSlicer" / "HealthiVertSlicer.py"), Watch(), Watch()
    ui, panel = stand.ui, stand.widget.panel
    stand.click(ui.inspectButton)
    table_s = watch.until(lambda: not panel.jobs.busy)
    ui.targetSelector.setCurrentIndex(ui.targetSelector.findText(vertebra))
    ui.applyButton.click()
    apply_s = watch.until(lambda: not panel.jobs.busy and not panel.jobs.showing)
    stand.click(ui.applyButton)
    canceling.until(lambda: ui.progressBar.value >= 30)
    ui.cancelButton.click()
    cancel_s = canceling.until(lambda: not panel.jobs.busy and not children())
    stand.close()
    return {
        "spine table": f"{table_s:.1f} s",
        "Apply, to the comparison in the views": f"{apply_s:.1f} s",
        "main thread, longest event": f"{1000 * watch.silence:.0f} ms ({1000 * watch.busy:.0f} ms of the processor)",
        "Cancel": f"{cancel_s:.2f} s",
        "memory of the core's process": f"{watch.memory_mb / 1000:.2f} GB",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("seg", type=Path)
    parser.add_argument("--vertebra", required=True)
    given = parser.parse_args()
    from slicer_stub import stand

    stand.start()
    sys.path.append(str(ROOT / "HealthiVertCore" / "src"))
    for name, value in measure(given.ct, given.seg, given.vertebra).items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
