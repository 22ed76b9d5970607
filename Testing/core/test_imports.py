"""Which part of the core may import which: the data's way is one way, and Slicer stays outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import healthivert

PACKAGE = Path(healthivert.__file__).parent
GEOMETRY = ("geometry", "straighten", "body", "bend", "footprint", "gap", "measure", "orientation", "symmetry")

STEPS = [  # the way of the data
    *("segmentation", "case", "landmark", "body", "measure", "reference", "straighten", "inspection", "gap", "prior"),
    *("generate", "restore", "restore_patient", "pipeline", "report", "commands", "cli"),
]


def imported(path: Path) -> Iterator[str]:
    """The full name of every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not used here"
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def breaks(files: Iterator[Path] | list[Path], forbidden: tuple[str, ...]) -> list[str]:
    """FILE imports MODULE, for each that a rule forbids."""
    return [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files
        for name in imported(path)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def test_the_core_knows_nothing_of_slicer_and_of_the_tests():
    assert breaks(PACKAGE.rglob("*.py"), ("slicer", "qt", "ctk", "vtk", "HealthiVertSlicerLib", "Testing")) == []


def test_models_know_nothing_of_geometry():
    assert breaks((PACKAGE / "models").rglob("*.py"), tuple(f"healthivert.{name}" for name in GEOMETRY)) == []


def test_geometry_needs_no_torch():
    files = [PACKAGE / f"{name}.py" for name in (*GEOMETRY, "restore", "restore_patient", "prior", "reference")]
    assert breaks(files, ("torch", "healthivert.models")) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_step_knows_nothing_of_what_comes_after_it(step: str):
    files = [path for path in (PACKAGE / f"{step}.py", *(PACKAGE / step).glob("*.py")) if path.is_file()]
    later = STEPS[STEPS.index(step) + 1 :]
    assert files
    assert breaks(files, tuple(f"healthivert.{name}" for name in later)) == []


@pytest.mark.parametrize(
    "statement", ["import slicer", "from slicer.util import loadUI", "from healthivert import body"]
)
def test_a_forbidden_import_is_found(statement: str, tmp_path: Path):
    (tmp_path / "module.py").write_text(f"def late():\n    {statement}\n")
    assert {"slicer", "slicer.util", "healthivert.body"} & set(imported(tmp_path / "module.py"))
