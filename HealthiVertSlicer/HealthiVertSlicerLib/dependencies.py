"""The Python packages that the core needs besides those that Slicer brings: what is missing, and how it is installed.

torch comes through the PyTorch extension, which finds the build that fits the graphics driver, the rest through
slicer.packaging. Both after one question, on a click only, and never in testing mode.
"""

from __future__ import annotations

import logging
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import slicer

TORCH = "torch>=2.2"
# As in HealthiVertCore/pyproject.toml, with its report extra; a test holds them together.
REQUIREMENTS = (
    "numpy>=1.26",
    "scipy>=1.11",
    "SimpleITK>=2.3",
    "scikit-image>=0.22",
    TORCH,
    "safetensors>=0.4",
    "isal>=1.7",
    "matplotlib>=3.8",
)
# The last torch for Intel Macs was built for numpy 1.
OF_INTEL_MACS = "numpy<2; sys_platform == 'darwin' and platform_machine == 'x86_64'"


def missing_requirements() -> list[str]:
    """The requirements that this Python does not meet, by the packages' metadata: nothing is imported."""
    import slicer.packaging

    return [
        requirement for requirement in (*REQUIREMENTS, OF_INTEL_MACS) if not slicer.packaging.pip_check(requirement)
    ]


def problem() -> str | None:
    """Why nothing can be calculated yet, in one sentence with the remedy; None if all packages are there."""
    from slicer.i18n import tr as _

    missing = missing_requirements()
    if not missing:
        return None
    return _(
        "Python packages are missing ({names}). Press a button that calculates in the HealthiVert panel and agree to "
        "their installation, or call HealthiVertSlicerLib.dependencies.install_requirements()."
    ).format(names=", ".join(missing))


def install_requirements(parent: Any = None) -> bool:
    """Install what is missing, after one question. parent: the widget that the question belongs to.

    Returns True if everything is there afterwards, False if the user declined or Slicer is being tested. Raises
    HealthiVertSlicerError if something could not be installed.
    """
    from slicer.i18n import tr as _

    missing = missing_requirements()
    if not missing:
        return True
    if slicer.app.testingEnabled():
        logging.info("HealthiVert: testing mode, so nothing is installed: %s", ", ".join(missing))
        return False
    if TORCH in missing:
        _check_pytorch_extension()
    question = _(
        "HealthiVert needs these Python packages:\n\n{names}\n\nThey will be downloaded into Slicer's own Python. "
        "That needs an internet connection{size} and may take some minutes. Install them?"
    ).format(
        names="\n".join(missing),
        size=_(" and up to 5 GB of disk space") if TORCH in missing else "",
    )
    if not slicer.util.confirmOkCancelDisplay(question, _("HealthiVert: install Python packages"), parent=parent):
        return False
    _install(missing)
    return True


def device_choices() -> list[str]:
    """The devices to offer, without loading torch: a graphics processor only where its driver is there. What torch
    makes of it, HealthiVertSlicerLogic.start_devices() tells."""
    choices = ["auto", "cpu"]
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        choices.append("cuda")
    if sys.platform == "darwin" and platform.machine() == "arm64":
        choices.append("mps")
    return choices


def _check_pytorch_extension() -> None:
    from slicer.i18n import tr as _

    from HealthiVertSlicerLib.inputs import HealthiVertSlicerError

    try:
        import PyTorchUtils  # noqa: F401
    except ImportError as error:
        raise HealthiVertSlicerError(
            _(
                "PyTorch is missing. Install the extension PyTorch in View / Extensions Manager, restart Slicer, "
                "and try again."
            )
        ) from error


def _install(missing: list[str]) -> None:
    """Download and install. Raises HealthiVertSlicerError if a requirement is still missing afterwards."""
    from slicer.i18n import tr as _

    from HealthiVertSlicerLib.inputs import HealthiVertSlicerError

    reason = ""
    try:
        if OF_INTEL_MACS in missing:  # first, as torch is loaded when it is installed, and numpy with it
            slicer.packaging.pip_ensure(OF_INTEL_MACS, prompt_install=False, requester="HealthiVert")
        if TORCH in missing:
            import PyTorchUtils

            PyTorchUtils.PyTorchUtilsLogic().installTorch(torchVersionRequirement=TORCH.removeprefix("torch"))
        others = [requirement for requirement in missing if requirement not in (TORCH, OF_INTEL_MACS)]
        if others:
            slicer.packaging.pip_ensure(others, prompt_install=False, requester="HealthiVert")
    except (subprocess.CalledProcessError, RuntimeError, ImportError, OSError) as error:
        logging.exception("HealthiVert: packages could not be installed")
        reason = str(error)
    left = missing_requirements()
    if left:
        raise HealthiVertSlicerError(
            _(
                "These packages could not be installed: {names} ({reason}). Look into the log, check the internet "
                "connection and the free disk space, restart Slicer, and try again."
            ).format(names=", ".join(left), reason=reason or _("the installer gave no reason"))
        )
