"""The extension is configured and installed by CMake against stand-ins for Slicer's macros; its index entry is checked.

Rules: Slicer v5.12.3 CMake/, Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json, and what the extension index
checks of a new entry (Slicer/ExtensionsIndex, scripts/check_description_files.py).
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PANEL = ROOT / "HealthiVertSlicer"
CORE = ROOT / "HealthiVertCore" / "src"
STAND_INS = Path(__file__).with_name("cmake_stand_ins")
MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")
WIDGET_FILES = {"job_view.py", "panel.py", "results_view.py", "spine_table.py"}
AT_FILE_SCOPE = {"slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", "scipy", "HealthiVertSlicerLib"}


def cmake(*arguments: str | Path) -> str:
    """Runs CMake 3.28 or later: the one on the path, or the one that PyPI's cmake puts beside this Python."""
    beside_python = Path(sys.executable).with_name("cmake")
    program = beside_python if beside_python.exists() else shutil.which("cmake")
    assert program, "CMake is missing: pip install 'cmake>=3.28'"
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={STAND_INS / 'no_compiler.cmake'}"
    cmake("-S", ROOT, "-B", folder, f"-DSlicer_DIR={STAND_INS}", toolchain)
    return folder


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory) -> Path:
    """The folder of Slicer's path in the installed extension."""
    prefix = tmp_path_factory.mktemp("installed")
    cmake("--install", build, "--prefix", prefix)
    return prefix / MODULES


@pytest.fixture(scope="module")
def calls(build) -> dict[str, list[str]]:
    """Macro -> the arguments it was called with."""
    lines = (build / "recorded.txt").read_text(encoding="utf-8").splitlines()
    return {name: arguments for name, *arguments in (line.split("|") for line in lines)}


def files_below(folder: Path) -> set[str]:
    """Those that belong to the sources: nothing that Python or a tool keeps for itself."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not any(part.startswith((".", "__py")) for part in path.parts)}


def sources() -> list[Path]:
    return sorted(path for path in PANEL.rglob("*.py"))


def entry() -> dict:
    return json.loads((ROOT / "HealthiVert.json").read_text(encoding="utf-8"))


def cmake_value(name: str) -> str:
    """A literal of the top CMakeLists.txt, found as the extension index finds it: by a regular expression."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', text)
    assert len(found) == 1, f"{name} is not set once, to a literal"
    return found[0]


def test_the_panels_file_list_is_its_tree(calls):
    arguments = calls["slicerMacroBuildScriptedModule"]
    scripts, resources = arguments.index("SCRIPTS"), arguments.index("RESOURCES")
    generic_tests = arguments.index("WITH_GENERIC_TESTS")
    tree = files_below(PANEL) - {"CMakeLists.txt"}
    assert set(arguments[scripts + 1 : resources]) == {file for file in tree if file.endswith(".py")}
    assert set(arguments[resources + 1 : generic_tests]) == {file for file in tree if not file.endswith(".py")}
    assert arguments[: scripts + 1] == ["NAME", "HealthiVertSlicer", "SCRIPTS"]


def test_the_self_test_and_the_generic_tests_are_registered(calls):
    assert calls["slicer_add_python_unittest"] == ["SCRIPT", "HealthiVertSlicer.py"]
    assert "WITH_GENERIC_TESTS" in calls["slicerMacroBuildScriptedModule"]


def test_the_whole_core_is_installed_beside_the_panel(installed):
    expected = {f"healthivert/{file}" for file in files_below(CORE / "healthivert")}
    panel = files_below(PANEL) - {"CMakeLists.txt"}
    assert files_below(installed) == expected | panel
    for file in expected:
        assert (installed / file).read_bytes() == (CORE / file).read_bytes(), file


def test_the_installed_core_answers_by_itself(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    script = "import healthivert.child; print(healthivert.child.__file__)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_weights_of_the_default_generator_and_their_card_are_installed(installed):
    from HealthiVertSlicerLib.spine_runs import GeneratorSettings

    weights = installed / "healthivert" / "weights" / f"{GeneratorSettings().model}.safetensors"
    assert weights.stat().st_size > 1e5
    assert json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]


def test_no_file_of_the_extension_leaves_the_installed_tree(build):
    text = (build / "recorded.txt").read_text(encoding="utf-8")
    assert "../" not in text


def test_the_extension_describes_itself(calls):
    assert calls["EXTENSION_DEPENDS"] == entry()["build_dependencies"] == ["PyTorch"]
    assert "Slicer_EXTENSION_GENERATE_CONFIG" in calls
    assert len(calls["EXTENSION_DESCRIPTION"][0]) > 100


def test_the_index_entry_has_the_fields_of_the_schema():
    required = {"$schema", "category", "scm_url"}
    optional = {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
    assert required <= set(entry()) <= required | optional
    assert entry()["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry()["category"] == "Image Synthesis"  # one of the index's accepted categories
    assert isinstance(entry()["tier"], int) and 1 <= entry()["tier"] <= 5


def test_the_repository_and_the_extension_are_named_as_the_index_wants():
    url = urlsplit(entry()["scm_url"])
    assert url.scheme in ("https", "git")
    assert url.path.rsplit("/", 1)[-1].startswith("Slicer")
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    project = re.findall(r"project\s*\(\s*([^\s\)]+)", text, re.IGNORECASE)[0]
    assert project == "HealthiVert" and (ROOT / f"{project}.json").exists()


def test_the_pictures_in_the_catalogue_exist_at_their_literal_addresses():
    addresses = [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]
    place = f"https://raw.githubusercontent.com{urlsplit(entry()['scm_url']).path.removesuffix('.git')}/main/"
    for address in addresses:
        assert address.startswith(place)
        assert (ROOT / address.removeprefix(place)).read_bytes().startswith(b"\x89PNG"), address


def test_the_icons_have_the_size_that_slicer_shows():
    for path, size in (
        (ROOT / "Resources/HealthiVert.png", (128, 128)),
        (PANEL / "Resources/Icons/HealthiVertSlicer.png", (128, 128)),
        (PANEL / "Resources/Icons/HealthiVertPhantom.png", (260, 280)),
    ):
        assert struct.unpack(">II", path.read_bytes()[16:24]) == size, path


@pytest.mark.parametrize("suffix", [".json", ".txt", ".py", ".ui", ".cmake", ".md"])
def test_text_files_end_their_lines_with_lf_only(suffix):
    folders = (PANEL, CORE, ROOT / "docs", STAND_INS)
    files = [path for folder in folders for path in folder.rglob(f"*{suffix}")]
    files += [path for path in ROOT.iterdir() if path.suffix == suffix]
    assert [path for path in files if b"\r" in path.read_bytes()] == []


def test_the_licence_lies_in_the_root_and_a_clone_stays_small():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    folders = ("HealthiVertCore/src", "HealthiVertSlicer", "Resources", "Testing", "docs")
    size = sum(path.stat().st_size for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    assert size < 100e6


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_importing_a_file_runs_nothing_and_needs_only_what_slicer_has(path):
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.If)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, harmless) or docstring, f"{path.name}:{node.lineno} runs when the file is imported"
        for module in _imported(node):
            assert module in AT_FILE_SCOPE or module in sys.stdlib_module_names, f"{path.name} imports {module}"


def _imported(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {(node.module or "").split(".")[0]}
    return set()


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_only_the_widget_files_know_qt(path):
    imported = {name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in _imported(node)}
    if path.parent.name == "HealthiVertSlicerLib" and path.name not in WIDGET_FILES:
        assert not imported & {"qt", "ctk"}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_texts_for_users_can_be_translated(path):
    """Slicer's translation tool reads literals: no f-string, and no variable named `_` where `_` translates."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "_"]
        names = [node for node in nodes if isinstance(node, ast.Name) and node.id == "_"]
        for call in calls:
            assert isinstance(call.args[0], ast.Constant), f"{path.name}:{call.lineno} translates no literal"
            assert not any(isinstance(name.ctx, ast.Store) for name in names), f"{path.name}:{call.lineno} is hidden"


def test_nothing_is_translated_before_slicers_translations_are_loaded():
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                assert "_(" not in re.sub(r"\w_\(", "", ast.unparse(node)), f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_file_prints_or_installs_torch_behind_the_users_back(path):
    text = path.read_text(encoding="utf-8")
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert "print" not in calls
    assert not {call for call in calls if call.endswith("pip_install")}


def test_each_of_the_25_acceptance_points_is_shown_by_tests_that_exist():
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text, re.MULTILINE))
    assert sorted(map(int, rows)) == list(range(1, 26))
    assert all("::" in cell for cell in rows.values())
    for file, name in re.findall(r"`(test_\w+)::(\w+)`", text):  # those of the points, and of bad input
        places = [ROOT / "Testing" / folder / f"{file}.py" for folder in ("slicer", "core")]
        code = "".join(place.read_text(encoding="utf-8") for place in places if place.exists())
        assert f"def {name}(" in code, f"{file}.py has no {name}"


def test_no_test_of_the_panel_can_be_skipped():
    for path in [*Path(__file__).parent.glob("*.py"), PANEL / "HealthiVertSlicerLib" / "selftest.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"skip", "skipif", "skipTest", "skipUnless", "importorskip", "xfail"}, path.name
