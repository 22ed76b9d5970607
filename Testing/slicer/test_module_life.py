"""The module over its life in Slicer: start, generic tests, reload, and scenes saved in its layouts."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import sample_data_stand_in
import slicer
from HealthiVertSlicerLib import layouts

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "HealthiVertCore" / "src" / "healthivert" / "weights" / "gan.json"


@pytest.fixture
def opened(panel_stand, monkeypatch):
    """The panel of a Slicer that has just started."""
    sample_data_stand_in.install(monkeypatch)
    return panel_stand()


def test_the_start_registers_the_layouts_and_the_sample_data(views, opened):
    assert all(layouts.layout_node().IsLayoutDescription(number) for number in (layouts.READING, layouts.COMPARE))
    assert slicer.modules.sampleDataSources["HealthiVert"]


def test_the_start_needs_no_main_window(opened):
    assert slicer.app.layoutManager() is None
    assert slicer.modules.sampleDataSources["HealthiVert"]


def test_slicers_generic_tests_of_a_module_find_what_they_ask_for(opened):
    """As Slicer v5.12.3 Base/QTCore/Testing/Python/qSlicerModuleGenericTest.py.in, which builds the panel twice."""
    module = slicer.modules.healthivertslicer
    assert module.name == "HealthiVertSlicer"
    assert module.categories and module.contributors and module.acknowledgementText
    assert module.logic() == module.logic()
    assert module.widgetRepresentation() == module.widgetRepresentation()
    panel = module.widgetRepresentation()
    panel.setMRMLScene(slicer.vtkMRMLScene())
    panel.setMRMLScene(slicer.mrmlScene)
    assert opened.ui.volumeSelector.mrmlScene() == slicer.mrmlScene


def test_the_licence_of_program_and_weights_is_shown(opened):
    licence = json.loads(CARD.read_text(encoding="utf-8"))["licence"]
    assert licence == "Apache-2.0"
    assert licence in slicer.modules.healthivertslicer.acknowledgementText


def test_a_reload_reads_the_module_its_library_and_the_core_anew(opened, monkeypatch):
    names = ("HealthiVertSlicer", "HealthiVertSlicerLib", "HealthiVertSlicerLib.logic", "HealthiVertSlicerLib.panel")
    before = {name: sys.modules[name] for name in names}
    monkeypatch.setitem(sys.modules, "healthivert", types.ModuleType("healthivert"))  # as if a script had imported it
    opened.widget.onReload()
    assert [name for name in names if sys.modules[name] is before[name]] == []
    assert "healthivert" not in sys.modules
    assert type(opened.widget.logic).__module__ == "HealthiVertSlicerLib.logic"
    assert type(opened.widget.logic) is not before["HealthiVertSlicerLib.logic"].HealthiVertSlicerLogic


def test_a_scene_saved_while_comparing_comes_back_in_that_layout(views, opened, tmp_path):
    layouts.enter(layouts.COMPARE)
    assert slicer.util.saveScene(str(tmp_path / "compared.mrb"))
    layouts.restore_layout()
    slicer.mrmlScene.Clear()
    assert views.layout != layouts.COMPARE
    slicer.util.loadScene(str(tmp_path / "compared.mrb"))
    assert views.layout == layouts.COMPARE
    layouts.restore_layout()
    assert views.layout not in (layouts.COMPARE, layouts.READING)
