"""The stand on which the panel's tests run: Slicer's own MRML classes from slicer-core, PySide6 behind `qt` and `ctk`.

    pip install "slicer-core==5.12.4.0" PySide6          (and what Testing/install_system_packages.sh installs)
    python -m pytest Testing/slicer                      (what `make test-slicer` calls)
    HEALTHIVERT_SLICER_PYTHON=.../Slicer/Base/Python/slicer python -m pytest Testing/slicer
                                                         (with Slicer's own base classes instead of the stand-ins)
    HEALTHIVERT_FINISHED_RUN=folder python -m pytest ... (takes a finished run from there instead of making one)

Without slicer-core nothing here is collected.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "HealthiVertCore" / "src"
DEMO = CORE / "healthivert" / "data" / "demo"
NOT_COLLECTED = "Testing/slicer is not collected: slicer-core is not installed (pip install slicer-core==5.12.4.0)."
HAS_SLICER = importlib.util.find_spec("slicer_core") is not None

if HAS_SLICER:
    import slicer  # before Testing is on the path: slicer-core would take Testing/slicer for a part of itself

    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "HealthiVertSlicer")]
    from slicer_stub import stand

    stand.start()
else:
    collect_ignore_glob = ["*.py"]


def pytest_report_header() -> str:
    source = os.environ.get("HEALTHIVERT_SLICER_PYTHON", "the stand-ins")
    return f"Slicer: slicer-core with {source} for its scripted modules" if HAS_SLICER else NOT_COLLECTED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not HAS_SLICER:  # also where -q hides the header
        terminalreporter.write_line(NOT_COLLECTED)


class PhantomNodes(NamedTuple):
    """The shipped phantom in the scene: its CT, and a segmentation whose segments are named by level ("L1")."""

    volume: Any
    segmentation: Any


@pytest.fixture
def scene() -> Iterator[Any]:
    """slicer.mrmlScene as after the start of Slicer; whatever the test adds is gone afterwards."""
    from slicer_stub.scene import clear_scene

    clear_scene(slicer.mrmlScene)
    yield slicer.mrmlScene
    clear_scene(slicer.mrmlScene)


@pytest.fixture
def views(scene: Any) -> Iterator[Any]:
    """slicer.app.layoutManager() with real views (else it is None, as without a main window), in the four-up layout.

    views.picture() is the whole layout, views.picture("Red") one view: (height, width, 3) uint8; views.save(path) and
    views.save(path, "Red") write them as PNG."""
    from slicer_stub.layout_manager import LayoutManager

    manager = LayoutManager()
    slicer.app.setLayoutManager(manager)
    yield manager
    slicer.app.setLayoutManager(None)
    manager.close()


@pytest.fixture
def panel_stand(scene: Any) -> Iterator[Any]:
    """open_panel() loads HealthiVertSlicer.py (or the module of another path) as Slicer does and visits its panel; it
    gives a slicer_stub.panel.PanelStand. In the end the module is unloaded, modules that the test has reloaded are as
    before, and nothing may have been raised in a slot, a timer or an observer (a test that expects errors empties
    PanelStand.errors)."""
    from slicer_stub.panel import PanelStand

    opened = []
    loaded = _modules_that_a_reload_replaces()

    def open_panel(path: Path = ROOT / "HealthiVertSlicer" / "HealthiVertSlicer.py") -> PanelStand:
        opened.append(PanelStand(path))
        return opened[-1]

    yield open_panel
    for panel in opened:
        panel.close()
    for name in _modules_that_a_reload_replaces():
        del sys.modules[name]
    sys.modules.update(loaded)  # what the other tests have imported
    errors = [error for panel in opened for error in panel.errors]
    assert not errors, "\n".join(errors)


def _modules_that_a_reload_replaces() -> dict[str, Any]:
    return {
        name: sys.modules[name]
        for name in list(sys.modules)
        if name.startswith(("HealthiVertSlicerLib", "healthivert"))
    }


@pytest.fixture
def phantom_nodes(scene: Any) -> PhantomNodes:
    from slicer_stub.scan import load_phantom

    return PhantomNodes(*load_phantom(DEMO))


@pytest.fixture
def core(tmp_path: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program with the given code in the place of the core; see played_core.py."""
    from HealthiVertSlicerLib import runner
    from played_core import write_program

    def replace(code: str) -> None:
        path = tmp_path / "core"
        write_program(path, code, finished_run)
        monkeypatch.setattr(runner, "python_executable", lambda: str(path))

    return replace


@pytest.fixture(scope="session")
def finished_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `healthivert run` writes for L1 of the shipped phantom; a copy, so tests may read anything in it.

    Made once per state of the core (pytest's cache, if it is on, keeps it), because the generator takes a while."""
    given, cache = os.environ.get("HEALTHIVERT_FINISHED_RUN"), getattr(request.config, "cache", None)
    runs = cache.mkdir("healthivert_run") if cache is not None else tmp_path_factory.mktemp("healthivert_run")
    kept = Path(given) if given else runs / _digest_of_core()
    if not (kept / "report.json").exists():
        fresh = tmp_path_factory.mktemp("run") / "L1"
        _run_core(fresh)
        shutil.copytree(fresh, kept, dirs_exist_ok=True)
    return Path(shutil.copytree(kept, tmp_path_factory.mktemp("finished_run") / "L1"))


def _digest_of_core() -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in (CORE / "healthivert").rglob("*") if p.is_file() and p.suffix != ".pyc"):
        digest.update(str(path.relative_to(CORE)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run_core(out: Path) -> None:
    command = [sys.executable, "-m", "healthivert", "run", str(DEMO / "ct.nii.gz"), str(DEMO / "seg.nii.gz")]
    child = subprocess.run(
        [*command, "--vertebra", "L1", "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(CORE)},
        capture_output=True,
        text=True,
    )
    if child.returncode:
        pytest.fail(
            f"healthivert run ended with {child.returncode}, and HEALTHIVERT_FINISHED_RUN names no finished run:\n"
            f"{child.stderr}",
            pytrace=False,
        )
