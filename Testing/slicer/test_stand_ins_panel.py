"""The panel's side of the stand, on a small module: Qt behaves as PythonQt does, and Slicer's base classes as in
Slicer.

Run it with HEALTHIVERT_SLICER_PYTHON as well: then the same tests hold Slicer's own base classes.
"""

from __future__ import annotations

import enum
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicer.packaging
import slicer.parameterNodeWrapper as wrapping
import slicer.util
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic
from slicer_stub import stand
from slicer_stub.panel import PanelStand
from slicer_stub.ui_loader import UnknownInFormError

EXAMPLE = Path(stand.__file__).parent / "example" / "StandExample.py"


class Colour(enum.Enum):
    RED = 1


@pytest.fixture
def example(panel_stand: Callable[[Path], PanelStand]) -> PanelStand:
    return panel_stand(EXAMPLE)


def new_node() -> Any:
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")


def add_volume(name: str) -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((2, 2, 2), np.int16), name=name)


class TestQt:
    def test_properties_are_attributes(self) -> None:
        button = qt.QPushButton("old")
        button.text = "new"
        button.enabled = False
        assert (button.text, button.enabled, button.isEnabled()) == ("new", False, False)

    def test_an_attribute_that_the_class_lacks_cannot_be_set(self) -> None:
        with pytest.raises(AttributeError, match="creation of new attributes"):
            qt.QPushButton("x").tooltip = "a typing error"

    def test_a_class_written_in_python_may_have_attributes(self) -> None:
        class Mine(qt.QWidget):
            pass

        mine = Mine()
        mine.anything = 3
        assert mine.anything == 3

    def test_constructors_take_no_keyword_arguments(self) -> None:
        for make in (qt.QPushButton, qt.QLabel, qt.QWidget):
            with pytest.raises(TypeError, match="keyword"):
                make(toolTip="x")

    def test_a_signal_is_connected_by_its_signature_and_disconnected_by_its_function(self) -> None:
        button, heard = qt.QPushButton(), []

        def hear() -> None:
            heard.append("clicked")

        button.connect("clicked()", hear)
        button.connect("clicked(bool)", heard.append)
        button.click()
        assert heard == ["clicked", False]
        assert button.disconnect("clicked()", hear)
        button.click()
        assert heard == ["clicked", False, False]

    @pytest.mark.parametrize("signature", ["clickd()", "clicked(int)"])
    def test_a_signal_that_does_not_exist_cannot_be_connected(self, signature: str) -> None:
        with pytest.raises(ValueError, match="no such signal"):
            qt.QPushButton().connect(signature, print)

    def test_signals_of_qt_5_that_qt_6_renamed_are_there(self) -> None:
        combo, heard = qt.QComboBox(), []
        combo.addItem("a")
        combo.connect("currentIndexChanged(QString)", heard.append)
        combo.addItem("b")
        combo.setCurrentIndex(1)
        assert heard == ["b"]

    def test_static_dialogs_answer_with_the_value_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", staticmethod(lambda *_: "/tmp/x.html"))
        assert qt.QFileDialog.getSaveFileName(None, "Save") == "/tmp/x.html"


class TestForms:
    FORM = '<ui version="4.0"><class>F</class><widget class="{}" name="F">{}</widget></ui>'

    def load(self, folder: Path, widget_class: str, inside: str = "") -> Any:
        (folder / "f.ui").write_text(self.FORM.format(widget_class, inside), encoding="utf-8")
        return slicer.util.loadUI(str(folder / "f.ui"))

    def test_a_widget_that_nobody_knows_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownInFormError, match="qMRMLUnheardOf"):
            self.load(tmp_path, "qMRMLUnheardOf")

    def test_a_property_that_the_widget_lacks_is_an_error(self, tmp_path: Path) -> None:
        wrong = '<property name="tooltip"><string>x</string></property>'
        with pytest.raises(UnknownInFormError, match="tooltip"):
            self.load(tmp_path, "QWidget", wrong)

    def test_a_collapsible_button_hides_what_is_in_it(self) -> None:
        section, heard = ctk.ctkCollapsibleButton(), []
        layout = qt.QVBoxLayout(section)
        inside = qt.QLabel("inside")
        layout.addWidget(inside)
        section.connect("contentsCollapsed(bool)", heard.append)
        section.show()
        section.collapsed = True
        assert (inside.visible, section.collapsed, heard) == (False, True, [True])
        section.click()
        assert (inside.visible, section.collapsed, heard) == (True, False, [True, False])

    def test_what_is_only_named_cannot_be_made(self) -> None:
        with pytest.raises(NotImplementedError):
            ctk.ctkDirectoryButton()


class TestNodeSelectors:
    def test_a_selector_lists_the_nodes_of_its_types_and_follows_the_scene(self, scene: Any) -> None:
        box, heard = slicer.qMRMLNodeComboBox(), []
        box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        box.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
        box.setMRMLScene(scene)
        first, second = add_volume("first"), add_volume("second")
        scene.AddNewNodeByClass("vtkMRMLTableNode")
        assert (box.nodeTypes, box.nodeCount(), box.currentNode()) == (("vtkMRMLScalarVolumeNode",), 2, first)
        box.setCurrentNode(second)
        scene.RemoveNode(second)
        assert heard == [first, second, first]

    def test_a_selector_that_allows_none_starts_with_none_and_says_whether_something_is_chosen(
        self, scene: Any
    ) -> None:
        box, heard = slicer.qMRMLNodeComboBox(), []
        box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
        box.connect("currentNodeChanged(bool)", heard.append)
        box.setMRMLScene(scene)
        volume = add_volume("one")
        assert box.currentNode() is None
        box.setCurrentNodeID(volume.GetID())
        scene.Clear(0)
        assert heard == [True, False]
        assert box.currentNodeID == ""


class TestModule:
    def test_a_module_is_registered_started_visited_and_unloaded(self, panel_stand: Any) -> None:
        panel = panel_stand(EXAMPLE)
        instance, widget = slicer.modules.StandExampleInstance, slicer.modules.StandExampleWidget
        assert (panel.module.title, panel.module.categories, instance.starts) == ("Example", ["Examples"], 1)
        assert slicer.util.getModuleWidget("StandExample") is panel.widget is widget
        assert slicer.util.getModuleLogic("StandExample") is widget.logic
        assert "StandExample" in slicer.app.moduleManager().modulesNames()
        slicer.mrmlScene.Clear(0)
        panel.close()
        assert widget.calls == ["enter", "scene closes", "cleanup"]
        assert not hasattr(slicer.modules, "standexample")

    def test_a_click_reaches_the_slot_and_timers_run(self, example: PanelStand) -> None:
        example.click(example.ui.applyButton)
        assert example.wait_until(lambda: "later" in example.widget.calls, 2.0) < 1.0
        assert example.widget.calls == ["enter", "apply", "later"]

    def test_what_a_user_cannot_press_cannot_be_clicked(self, example: PanelStand) -> None:
        example.ui.applyButton.enabled = False
        with pytest.raises(AssertionError, match=r"disabled: Do it\."):
            example.click(example.ui.applyButton)

    def test_errors_in_slots_are_noted(self, example: PanelStand) -> None:
        example.ui.applyButton.connect("clicked()", lambda: [][1])
        example.click(example.ui.applyButton)
        assert "IndexError" in example.errors.pop()

    def test_a_reload_cleans_up_and_makes_the_panel_anew_without_entering(self, example: PanelStand) -> None:
        before = example.widget
        before.onReload()
        assert before.calls == ["enter", "cleanup"]
        assert example.widget is not before
        assert example.widget.calls == []
        assert example.ui.titleLine.text == "first"

    def test_the_self_test_runs_every_test_after_its_set_up(self, example: PanelStand) -> None:
        slicer.selfTests["StandExample"]()
        assert example.widget.parameters is not None
        assert sys.modules["StandExample"].StandExampleTest.ran[-2:] == ["set up", "tested"]

    def test_the_panel_can_be_saved_as_a_picture(self, example: PanelStand, tmp_path: Path) -> None:
        example.save(tmp_path / "panel.png")
        assert (tmp_path / "panel.png").stat().st_size > 2000

    def test_a_logic_keeps_one_parameter_node_even_after_the_scene_was_closed(self, scene: Any) -> None:
        logic = ScriptedLoadableModuleLogic()
        node = logic.getParameterNode()
        scene.Clear(0)
        assert logic.getParameterNode() is node
        assert [node] == logic.getAllParameterNodes()


class TestParameters:
    def test_widgets_show_the_parameters_and_change_them(self, example: PanelStand) -> None:
        ui, parameters = example.ui, example.widget.parameters
        shown = (ui.countBox.value, ui.shareSlider.value, ui.percentSlider.value, ui.activeBox.checked)
        assert shown == (2, 0.5, 10, True)
        assert (ui.titleLine.text, ui.sideSelector.currentText, ui.methodSelector.currentText) == (
            *("first", "RIGHT", "slow"),
        )
        ui.countBox.value, ui.shareSlider.value, ui.percentSlider.value, ui.activeBox.checked = 4, 0.25, 70, False
        ui.titleLine.text = "second"
        ui.sideSelector.setCurrentIndex(0)
        ui.methodSelector.setCurrentIndex(0)
        ui.folderLine.currentPath = "/somewhere"
        assert (parameters.count, parameters.share, parameters.percent, parameters.active) == (4, 0.25, 70, False)
        assert (parameters.title, parameters.side.name, parameters.method) == ("second", "LEFT", "fast")
        assert parameters.folder == Path("/somewhere")
        volume = add_volume("CT")
        ui.volumeSelector.setCurrentNode(volume)
        assert parameters.volume is volume

    def test_changed_parameters_are_shown(self, example: PanelStand) -> None:
        ui, parameters = example.ui, example.widget.parameters
        parameters.count, parameters.title, parameters.method = 5, "third", "fast"
        parameters.volume = add_volume("CT")
        assert (ui.countBox.value, ui.titleLine.text, ui.methodSelector.currentText) == (5, "third", "fast")
        assert ui.volumeSelector.currentNode() is parameters.volume

    def test_limits_go_to_the_widgets(self, example: PanelStand) -> None:
        ui = example.ui
        assert (ui.countBox.minimum, ui.countBox.maximum) == (1, 5)
        assert (ui.shareSlider.minimum, ui.shareSlider.maximum, ui.shareSlider.decimals) == (0, 1, 3)

    def test_disconnected_widgets_neither_show_nor_change(self, example: PanelStand) -> None:
        parameters = example.widget.parameters
        tag = parameters.connectGui(example.ui)
        parameters.disconnectGui(tag)
        parameters.disconnectGui(example.widget._tag)
        parameters.count = 3
        assert example.ui.countBox.value == 2
        example.ui.countBox.value = 4
        assert parameters.count == 3

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("count", 9, ValueError),
            ("count", 2.0, TypeError),
            ("count", None, ValueError),
            ("count", True, ValueError),
            ("share", "0.5", TypeError),
            ("active", 1, TypeError),
            ("title", 3, TypeError),
            ("method", "slower", ValueError),
            ("side", "LEFT", TypeError),
            ("folder", "/text", TypeError),
            ("volume", "text", TypeError),
        ],
    )
    def test_what_a_parameter_cannot_hold_is_refused(
        self, example: PanelStand, name: str, value: Any, error: type[Exception]
    ) -> None:
        before = getattr(example.widget.parameters, name)
        with pytest.raises(error):
            setattr(example.widget.parameters, name, value)
        assert getattr(example.widget.parameters, name) == before

    def test_parameters_are_saved_with_the_scene(self, example: PanelStand, tmp_path: Path) -> None:
        example.widget.parameters.title = "kept"
        example.widget.parameters.volume = add_volume("kept CT")
        assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(tmp_path / "scene.mrb"))
        parameters = example.widget.logic.getParameterNode()
        assert parameters.title == "kept"
        assert parameters.volume.GetName() == "kept CT"

    def test_a_widget_that_cannot_show_a_field_is_refused(self, scene: Any) -> None:
        @wrapping.parameterNodeWrapper
        class Plain:
            number: int
            text: str

        plain = Plain(new_node())
        for widget, name in (
            (qt.QSlider(), "number"),  # unbounded
            (qt.QComboBox(), "text"),  # without choices
            (qt.QLineEdit(), "number"),
            (type("Mine", (qt.QLineEdit,), {})(), "text"),  # exactly the class, no subclass
        ):
            with pytest.raises(RuntimeError):
                plain.connectParametersToGui({name: widget})
        with pytest.raises(ValueError, match="unknown"):
            plain.connectParametersToGui({"unknown": qt.QLineEdit()})

    def test_a_push_button_for_a_switch_becomes_checkable(self, example: PanelStand) -> None:
        button = qt.QPushButton()
        example.widget.parameters.connectParametersToGui({"active": button})
        assert (button.checkable, button.checked) == (True, True)
        button.click()
        assert example.widget.parameters.active is False

    def test_fields_have_a_first_value(self, scene: Any) -> None:
        @wrapping.parameterNodeWrapper
        class Plain:
            number: int
            share: float
            switch: bool
            text: str
            colour: Colour
            place: Path
            noted: Annotated[int, wrapping.Default(7)]
            node: slicer.vtkMRMLTableNode

        plain = Plain(new_node())
        assert (plain.number, plain.share, plain.switch, plain.text) == (0, 0, False, "")
        assert (plain.colour, plain.place, plain.noted, plain.node) == (Colour.RED, Path(), 7, None)
        assert plain.default("noted").value == 7

    def test_a_first_value_that_breaks_the_rules_is_refused(self, scene: Any) -> None:
        with pytest.raises(ValueError, match="range"):

            @wrapping.parameterNodeWrapper
            class Wrong:
                count: Annotated[int, wrapping.WithinRange(1, 5)]

            Wrong(new_node())


class TestPackaging:
    def test_what_is_installed_is_told_by_metadata(self) -> None:
        check = slicer.packaging.pip_check
        assert check("numpy>=1.20")
        assert check(["numpy", "scipy"])
        assert not check("numpy>=999")
        assert not check("a-package-that-nobody-has")
        assert check("a-package-that-nobody-has; sys_platform == 'a system that nobody has'")
        with pytest.raises(TypeError):
            check(("numpy",))

    def test_in_testing_mode_nothing_is_installed(self) -> None:
        assert slicer.packaging.pip_ensure("a-package-that-nobody-has", requester="test") is None

    def test_a_user_who_declines_gets_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slicer.app, "_testing", False)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_, **__: False)
        monkeypatch.setattr(slicer.packaging, "pip_install", lambda *_, **__: pytest.fail("installed without consent"))
        with pytest.raises(RuntimeError):
            slicer.packaging.pip_ensure("a-package-that-nobody-has", requester="test")


def test_the_base_classes_are_the_ones_that_were_asked_for() -> None:
    wanted = stand.slicer_python()
    assert Path(slicer.packaging.__file__).parent == wanted
    assert wanted in Path(wrapping.__file__).parents


def test_an_interpreter_that_sent_many_signals_ends_well() -> None:
    program = (
        "import slicer, sys\n"
        f"sys.path.insert(0, {str(Path(stand.__file__).parents[1])!r})\n"
        "from slicer_stub import stand\n"
        "application = stand.start()\n"
        "for _ in range(5000): application.startupCompleted.emit()"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
