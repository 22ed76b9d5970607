"""What is missing is found without loading it, and installed after one question, never in testing mode."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import slicer
import slicer.packaging
from HealthiVertSlicerLib import dependencies
from HealthiVertSlicerLib.inputs import HealthiVertSlicerError

ROOT = Path(__file__).resolve().parents[2]


class Installer:
    """Python's packages as slicer.packaging and the PyTorch extension tell and change them."""

    def __init__(self, missing: set[str], agrees: bool = True) -> None:
        self.missing = missing
        self.agrees = agrees
        self.questions: list[str] = []
        self.installed: list[str] = []
        self.fails: Exception | None = None

    def pip_check(self, requirement: str) -> bool:
        return _name(requirement) not in self.missing

    def pip_ensure(self, requirements: str | list[str], prompt_install: bool = True, requester: str = "") -> None:
        assert not prompt_install, "the question was asked already"
        for requirement in [requirements] if isinstance(requirements, str) else requirements:
            self._install(requirement)

    def installTorch(self, torchVersionRequirement: str = "") -> None:
        self._install(f"torch{torchVersionRequirement}")

    def confirm(self, text: str, *_: object, **__: object) -> bool:
        self.questions.append(text)
        return self.agrees

    def _install(self, requirement: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.installed.append(requirement)
        self.missing.discard(_name(requirement))


def _name(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0]  # type: ignore[index]


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Installer:
    """torch, scikit-image and safetensors are missing, the PyTorch extension is there, and it is no test."""
    made = Installer({"torch", "scikit-image", "safetensors"})
    monkeypatch.setattr(slicer.packaging, "pip_check", made.pip_check)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", made.pip_ensure)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", made.confirm)
    monkeypatch.setattr(type(slicer.app), "testingEnabled", lambda application: False)
    extension = types.SimpleNamespace(PyTorchUtilsLogic=lambda: made)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    return made


def test_the_requirements_are_those_of_the_core() -> None:
    project = tomllib.loads((ROOT / "HealthiVertCore" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["report"]}
    assert set(dependencies.REQUIREMENTS) == wanted


def test_what_is_there_is_not_asked_for(installer: Installer) -> None:
    installer.missing.clear()
    assert dependencies.missing_requirements() == []
    assert dependencies.problem() is None
    assert dependencies.install_requirements()
    assert (installer.questions, installer.installed) == ([], [])


def test_missing_packages_are_named_with_the_remedy(installer: Installer) -> None:
    assert dependencies.missing_requirements() == ["scikit-image>=0.22", "torch>=2.2", "safetensors>=0.4"]
    problem = dependencies.problem()
    assert problem is not None
    assert "torch>=2.2" in problem and "agree to their installation" in problem


def test_one_question_installs_everything_torch_through_its_extension(installer: Installer) -> None:
    assert dependencies.install_requirements()
    assert len(installer.questions) == 1
    assert all(name in installer.questions[0] for name in ("torch>=2.2", "scikit-image>=0.22", "safetensors>=0.4"))
    assert installer.installed == ["torch>=2.2", "scikit-image>=0.22", "safetensors>=0.4"]
    assert dependencies.problem() is None


def test_declining_installs_nothing_and_the_question_may_be_asked_again(installer: Installer) -> None:
    installer.agrees = False
    assert not dependencies.install_requirements()
    assert installer.installed == []
    installer.agrees = True
    assert dependencies.install_requirements()


def test_testing_mode_neither_asks_nor_installs(installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(slicer.app), "testingEnabled", lambda application: True)
    assert not dependencies.install_requirements()
    assert (installer.questions, installer.installed) == ([], [])


def test_without_the_pytorch_extension_its_installation_is_the_remedy(
    installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(HealthiVertSlicerError, match="Install the extension PyTorch"):
        dependencies.install_requirements()
    assert (installer.questions, installer.installed) == ([], [])


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(1, "pip"), RuntimeError("no network"), ImportError("torch")]
)
def test_a_failed_installation_names_what_is_still_missing(installer: Installer, error: Exception) -> None:
    installer.fails = error
    with pytest.raises(HealthiVertSlicerError, match=r"could not be installed: scikit-image.*check the internet"):
        dependencies.install_requirements()


def test_a_graphics_processor_is_offered_only_where_its_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: None)
    monkeypatch.setattr(dependencies.Path, "exists", lambda path: False)
    monkeypatch.setattr(dependencies.sys, "platform", "linux")
    assert dependencies.device_choices() == ["auto", "cpu"]
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert dependencies.device_choices() == ["auto", "cpu", "cuda"]
    monkeypatch.setattr(dependencies.shutil, "which", lambda name: None)
    monkeypatch.setattr(dependencies.sys, "platform", "darwin")
    monkeypatch.setattr(dependencies.platform, "machine", lambda: "arm64")
    assert dependencies.device_choices() == ["auto", "cpu", "mps"]


def test_looking_for_packages_and_devices_loads_neither_torch_nor_the_core() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from slicer_stub import stand; stand.start()\n"
        "from HealthiVertSlicerLib import dependencies\n"
        "dependencies.missing_requirements(); dependencies.device_choices()\n"
        "print([name for name in ('torch', 'healthivert', 'skimage', 'matplotlib') if name in sys.modules])\n"
    )
    folders = [str(ROOT / "Testing"), str(ROOT / "HealthiVertSlicer")]
    words = [sys.executable, "-c", "import slicer\n" + code, *folders]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "[]"
