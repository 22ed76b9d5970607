"""Starts the stand: afterwards `import slicer, qt, ctk` work as they do inside the Slicer application.

    import slicer  # first: slicer-core takes any folder named slicer beside a sys.path entry, as Testing/slicer is one
    sys.path.insert(0, ".../Testing")
    from slicer_stub import stand
    application = stand.start()

HEALTHIVERT_SLICER_PYTHON may name the folder Base/Python/slicer of Slicer's sources: then ScriptedLoadableModule,
parameterNodeWrapper, i18n and packaging are Slicer's own instead of the ones in slicer_python.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

SLICER_PYTHON_VARIABLE = "HEALTHIVERT_SLICER_PYTHON"
OUR_SLICER_PYTHON = Path(__file__).parent / "slicer_python"

# Read by VTK and Qt when they are first loaded: pictures without a display, integers for enumerations as in PythonQt.
ENVIRONMENT = {
    "VTK_DEFAULT_OPENGL_WINDOW": "vtkEGLRenderWindow",
    "QT_QPA_PLATFORM": "offscreen",
    "PYSIDE6_OPTION_PYTHON_ENUM": "0x06",
}


def start() -> Any:
    """Return slicer.app, starting it on the first call."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import slicer

    if getattr(slicer, "app", None) is not None:
        return slicer.app
    _keep_constants_alive()
    _provide_qt_and_ctk(slicer)
    from .application import Application

    slicer.__path__.append(str(slicer_python()))
    slicer.app = Application()
    return slicer.app


def _keep_constants_alive() -> None:
    """PySide6 6.12 gives up references to None, True and False that it does not own. Python 3.12 and later (Slicer's)
    does not count them; 3.11 would abort after some sixty panels ("deallocating None")."""
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def slicer_python() -> Path:
    """The folder from which slicer.ScriptedLoadableModule and its like are taken."""
    return Path(os.environ.get(SLICER_PYTHON_VARIABLE) or OUR_SLICER_PYTHON)


def _provide_qt_and_ctk(slicer: Any) -> None:
    """`import qt`, `import ctk` and slicer.qMRML... from now on; forms may use the same widgets."""
    from . import qt_bridge

    sys.modules["qt"] = qt_bridge.make_qt()
    from . import ctk_widgets, mrml_widgets, scripted_module, ui_loader

    sys.modules["ctk"] = ctk_widgets.make_ctk()
    for name in mrml_widgets.NAMED_ONLY:
        setattr(slicer, name, ctk_widgets.named_only(name))
    holders = (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget)
    for widget in (*mrml_widgets.WIDGETS, *holders):
        setattr(slicer, widget.__name__, widget)
    for widget in (*mrml_widgets.WIDGETS, *ctk_widgets.WIDGETS):
        ui_loader.UiLoader.widget_classes[widget.__name__] = widget
