"""Which names of Slicer, Qt, CTK, VTK and MRML the panel uses, read from its sources without running them.

A name that does not exist in Slicer's Python shows only when its line runs there, and the stand-ins of these tests may
have what PythonQt lacks. So every name must be in allowed_names.tsv with a file of Slicer's own sources that uses it.

    python Testing/slicer/names_in_use.py                    what is used and not listed, or listed and not used
    python Testing/slicer/names_in_use.py --slicer FOLDER    brings the list up to date from a checkout of Slicer at the
                                                             list's tag; what that nowhere uses is left to a human

Names come in five kinds: "slicer.util.loadUI" (from a module), ".GetID" (an attribute of any object),
"signal:clicked(bool)" (connected by its signature), "ui:ctkSliderWidget" and "ui:ctkSliderWidget.decimals" (widget
classes and their properties in a designer file).
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import io
import logging
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import threading
import types
import unittest
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parents[2]
PANEL = ROOT / "HealthiVertSlicer"
ALLOWED = Path(__file__).with_name("allowed_names.tsv")
FOREIGN = {"slicer", "qt", "ctk", "vtk", "SampleData", "PyTorchUtils"}
OWN_WIDGET_CLASSES = ("qMRML", "ctk")  # of which a designer file may ask for a property that they do not have
PYTHON_TYPES = (
    *(str, bytes, list, dict, set, tuple, int, float, BaseException, OSError, io.TextIOWrapper, os.stat_result),
    *(collections.deque, types.GeneratorType, pathlib.Path, re.Pattern, re.Match, logging.Logger, unittest.TestCase),
    *(subprocess.Popen, subprocess.CompletedProcess, threading.Thread, threading.Event, queue.Queue),
    *(type(threading.Lock()), type(shutil.disk_usage(".")), numpy.ndarray),
)
ATTRIBUTES_OF_PROCESSES = {"pid", "returncode", "stdout", "stderr", "dwFlags", "exception"}
PYTHON_NAMES = {name for python_type in PYTHON_TYPES for name in dir(python_type)} | ATTRIBUTES_OF_PROCESSES
# Where a citation is worth most: code that runs inside Slicer as ours does, then documentation, then declarations.
PLACES = (
    *("Utilities/Templates/Modules/Scripted/*.py", "Base/Python/slicer/*.py", "Modules/Scripted/**/*.py"),
    *("Base/Python/**/*.py", "Modules/**/*.py", "Docs/**/*.md", "Utilities/**/*.py", "Applications/**/*.py"),
    *("**/*.ui", "Libs/**/*.h", "Modules/**/*.h", "Base/**/*.h", "Libs/**/*.cxx", "Modules/**/*.cxx", "Base/**/*.cxx"),
)


def sources() -> list[Path]:
    return sorted(PANEL.rglob("*.py"))


def own_names(trees: list[ast.Module]) -> set[str]:
    """What the panel itself defines: functions, classes, fields, attributes it sets, widgets of its .ui files."""
    elements = [element for file in PANEL.rglob("*.ui") for element in _elements(file)]
    names = {element.get("name", "") for element in elements if element.tag in ("widget", "action")}
    for tree in trees:
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name):
                    names.add(name)
                case ast.ClassDef(name=name, body=body):
                    targets = [target for line in body if isinstance(line, ast.Assign) for target in line.targets]
                    names |= {name, *(target.id for target in targets if isinstance(target, ast.Name))}
                case ast.AnnAssign(target=ast.Name(id=name)):
                    names.add(name)
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    names.add(name)
    return names


@functools.cache
def names_in_use() -> dict[str, str]:
    """Name -> the first place that uses it ("file.py:12")."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    own = own_names(list(trees.values()))
    found: dict[str, str] = {}
    for path, tree in trees.items():
        for name, line in _names_of(tree, own):
            found.setdefault(name, f"{path.relative_to(PANEL)}:{line}")
    for path in PANEL.rglob("*.ui"):
        for name in _names_of_designer_file(path):
            found.setdefault(name, str(path.relative_to(PANEL)))
    return found


def _elements(path: Path) -> Iterator[xml.etree.ElementTree.Element]:
    return xml.etree.ElementTree.parse(path).iter()


def _names_of_designer_file(path: Path) -> Iterator[str]:
    for element in _elements(path):
        widget_class = element.get("class", "")
        if element.tag == "widget":
            yield f"ui:{widget_class}"
            if widget_class.startswith(OWN_WIDGET_CLASSES):
                properties = [child for child in element.findall("property") if child.get("stdset") != "0"]
                yield from (f"ui:{widget_class}.{child.get('name')}" for child in properties)
        if element.tag in ("signal", "slot") and element.text and "(" in element.text:
            yield f"signal:{element.text}"


def _names_of(tree: ast.Module, own: set[str]) -> Iterator[tuple[str, int]]:
    modules, python_modules = _imports(tree)
    inner: set[int] = set()  # attributes that are part of a longer chain already told
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in FOREIGN:
                for alias in names:
                    yield f"{module}.{alias.name}", node.lineno
            case ast.Call(
                func=ast.Attribute(attr="connect" | "disconnect"), args=[ast.Constant(value=str(signal)), *_]
            ):
                yield f"signal:{signal}", node.lineno
            case ast.Attribute() if id(node) not in inner:
                root, chain = _chain(node, inner)
                if root in modules:
                    yield ".".join([modules[root], *chain]).removesuffix(".__init__"), node.lineno
                elif root not in python_modules:
                    for name in chain:
                        if not name.startswith("_") and name not in own and name not in PYTHON_NAMES:
                            yield f".{name}", node.lineno


def _chain(node: ast.Attribute, inner: set[int]) -> tuple[str | None, list[str]]:
    """a.b.c -> ("a", ["b", "c"]); for f().b.c the root is None."""
    chain = [node.attr]
    value = node.value
    while isinstance(value, ast.Attribute):
        inner.add(id(value))
        chain.insert(0, value.attr)
        value = value.value
    return (value.id if isinstance(value, ast.Name) else None), chain


def _imports(tree: ast.Module) -> tuple[dict[str, str], set[str]]:
    """Local name -> dotted name of what comes from Slicer; and the local names of everything else that is imported."""
    foreign: dict[str, str] = {}
    others: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package = alias.name.split(".")[0]
                if package in FOREIGN:
                    foreign[alias.asname or package] = alias.name if alias.asname else package
                else:
                    others.add(alias.asname or package)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (node.module or "").split(".")[0] in FOREIGN:
                    foreign[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                else:
                    others.add(alias.asname or alias.name)
    return foreign, others


def allowed_names() -> dict[str, str]:
    """Name -> the file of Slicer's sources that uses it, or words on why it is right where Slicer has no use of it."""
    lines = ALLOWED.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {name: citation for name, citation in pairs}


def uses(path: Path, text: str, name: str) -> bool:
    """Whether a file of Slicer's sources uses the name, or declares it as something that Python gets."""
    kind, _, rest = name.rpartition(":")
    if kind == "ui":
        widget_class, _, widget_property = rest.partition(".")
        return f'class="{widget_class}"' in text and (not widget_property or f'name="{widget_property}"' in text)
    if kind == "signal":
        return rest in text or f"SIGNAL({rest.replace(',', ', ')})" in text
    if path.suffix in (".py", ".md"):
        return _python_uses(path, text, name)
    return _cpp_has(path, text, name)


def _python_uses(path: Path, text: str, name: str) -> bool:
    package, _, last = name.rpartition(".")
    if not package:
        return re.search(rf"\.{re.escape(last)}\b", text) is not None
    imported = rf"from {re.escape(package)} import (\([^)]*|[^\n(]*)\b{re.escape(last)}\b"
    defined = rf"^(def|class) {re.escape(last)}\b" if path.stem == package.rpartition(".")[2] else r"(?!)"
    return any(re.search(pattern, text, re.MULTILINE) for pattern in (rf"\b{re.escape(name)}\b", imported, defined))


def _cpp_has(path: Path, text: str, name: str) -> bool:
    """VTK's and MRML's methods are wrapped from their headers; of Qt, what C++ calls, PythonQt has wrapped as well."""
    package, _, last = name.replace("slicer.mrmlScene.", "slicer.vtkMRMLScene.").rpartition(".")
    if name.startswith("qt."):
        return name.removeprefix("qt.").replace(".", "::") in text
    if path.suffix == ".ui":
        return False
    if last[0].islower() and not last.startswith("vtk"):
        declared = rf"void {last}\(" if path.suffix == ".h" else rf"(->|\.){last}\("
        return not package and path.stem.startswith(("q", "ctk")) and re.search(declared, text) is not None
    if package and package != "vtk" and path.stem != package.rpartition(".")[2]:
        return False
    macro = rf"vtk\w*{last[:3]}\w*Macro\(\s*{last[3:]}\b"  # vtkGetMacro(Visibility, bool) makes GetVisibility
    return re.search(rf"\b{last}\b|{macro}", text) is not None


def citations(names: set[str], slicer: Path) -> dict[str, str]:
    """Name -> the best file of the checkout that uses it; names that none uses are left out."""
    found: dict[str, str] = {}
    for place in PLACES:
        wanted = names - found.keys()
        for path in sorted(slicer.glob(place)) if wanted else ():
            text = path.read_text(encoding="utf-8", errors="replace")
            for name in [name for name in wanted if name not in found and uses(path, text, name)]:
                found[name] = path.relative_to(slicer).as_posix()
    return found


def update(slicer: Path) -> None:
    """Write the list anew: citations that hold are kept, as are words of a human; what is not used is dropped."""
    used, old = names_in_use(), allowed_names()
    kept = {name: old[name] for name in used if name in old and _holds(slicer, name, old[name])}
    everything = kept | citations(used.keys() - kept.keys(), slicer)
    comments = [line for line in ALLOWED.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    lines = [f"{name}\t{everything[name]}" for name in sorted(everything)]
    ALLOWED.write_text("\n".join([*comments, *lines]) + "\n", encoding="utf-8")


def _holds(slicer: Path, name: str, citation: str) -> bool:
    path = slicer / citation
    if " " in citation:
        return True
    return path.is_file() and uses(path, path.read_text(encoding="utf-8", errors="replace"), name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the names the panel uses with allowed_names.tsv.")
    parser.add_argument("--slicer", type=Path, help="a checkout of Slicer's sources at the tag the list cites")
    arguments = parser.parse_args()
    if arguments.slicer:
        update(arguments.slicer)
    used, allowed = names_in_use(), allowed_names()
    missing = sorted(used.keys() - allowed.keys())
    for name in missing:
        print(f"not listed: {name}  ({used[name]})")
    for name in sorted(allowed.keys() - used.keys()):
        print(f"listed, not used: {name}")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
