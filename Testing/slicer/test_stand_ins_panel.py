"""The panel's side of the stand: Qt behaves as PythonQt does, and Slicer's base classes as in Slicer.

Run it with HEALTHIVERT_SLICER_PYTHON as well: then the same tests hold Slicer's own base classes.
"""

from __future__ import annotations

import subprocess
import sys
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
from slicer_stub.ui_loader import UnknownInFormError


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
        table = scene.AddNewNodeByClass("vtkMRMLTableNode")
        assert (box.nodeTypes, box.currentNode()) == (("vtkMRMLScalarVolumeNode",), first)
        box.setCurrentNode(second)
        scene.RemoveNode(second)
        box.setCurrentNode(table)
        assert heard == [first, second, first, None]

    def test_a_selector_that_allows_none_starts_with_none(self, scene: Any) -> None:
        box, heard = slicer.qMRMLNodeComboBox(), []
        box.nodeTypes, box.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
        box.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
        box.setMRMLScene(scene)
        volume = add_volume("one")
        assert box.currentNode() is None
        box.setCurrentNode(volume)
        scene.Clear(0)
        assert heard == [volume, None]


class TestModule:
    def test_a_module_is_found_while_it_is_loaded_and_gone_afterwards(self, panel_stand: Any) -> None:
        opened = panel_stand()
        assert slicer.util.getModule("HealthiVertSlicer") is opened.module is slicer.modules.healthivertslicer
        assert slicer.util.getModuleWidget("HealthiVertSlicer") is opened.widget
        assert slicer.util.getModuleLogic("HealthiVertSlicer") is opened.widget.logic
        opened.close()
        assert not hasattr(slicer.modules, "healthivertslicer")

    def test_what_a_user_cannot_press_cannot_be_clicked(self, panel_stand: Any) -> None:
        opened = panel_stand()
        with pytest.raises(AssertionError, match=r"disabled: Choose the CT\."):
            opened.click(opened.ui.applyButton)

    def test_errors_in_slots_are_noted(self, panel_stand: Any) -> None:
        opened = panel_stand()
        opened.ui.findDevicesButton.connect("clicked()", lambda: [][1])
        opened.ui.findDevicesButton.click()
        assert "IndexError" in opened.errors.pop()

    def test_a_logic_keeps_one_parameter_node_even_after_the_scene_was_closed(self, scene: Any) -> None:
        logic = ScriptedLoadableModuleLogic()
        node = logic.getParameterNode()
        scene.Clear(0)
        assert logic.getParameterNode() is node


@wrapping.parameterNodeWrapper
class Choices:
    volume: slicer.vtkMRMLScalarVolumeNode
    count: Annotated[int, wrapping.WithinRange(1, 5)] = 2
    share: Annotated[float, wrapping.WithinRange(0, 1)] = 0.5
    active: bool = True
    title: str


class TestParameters:
    @pytest.fixture
    def choices(self, scene: Any) -> Choices:
        return Choices(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    @pytest.fixture
    def widgets(self, scene: Any) -> dict[str, Any]:
        made = {"volume": slicer.qMRMLNodeComboBox(), "count": qt.QSpinBox(), "share": qt.QDoubleSpinBox()}
        made["volume"].setMRMLScene(scene)
        return made

    def test_fields_have_a_first_value(self, choices: Choices) -> None:
        first = (choices.volume, choices.count, choices.share, choices.active, choices.title)
        assert first == (None, 2, 0.5, True, "")

    def test_widgets_show_the_parameters_and_change_them(self, choices: Choices, widgets: dict[str, Any]) -> None:
        choices.connectParametersToGui(widgets)
        assert (widgets["count"].value, widgets["share"].value) == (2, 0.5)
        volume = add_volume("CT")
        widgets["count"].value, widgets["share"].value = 4, 0.25
        widgets["volume"].setCurrentNode(volume)
        assert (choices.count, choices.share, choices.volume) == (4, 0.25, volume)
        choices.count, choices.share, choices.volume = 5, 0.75, None
        assert (widgets["count"].value, widgets["share"].value) == (5, 0.75)

    def test_limits_go_to_the_widgets(self, choices: Choices, widgets: dict[str, Any]) -> None:
        choices.connectParametersToGui(widgets)
        limits = [(widgets[name].minimum, widgets[name].maximum) for name in ("count", "share")]
        assert limits == [(1, 5), (0, 1)]

    def test_disconnected_widgets_neither_show_nor_change(self, choices: Choices, widgets: dict[str, Any]) -> None:
        choices.disconnectGui(choices.connectParametersToGui(widgets))
        choices.count = 3
        assert widgets["count"].value == 2
        widgets["count"].value = 4
        assert choices.count == 3

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
            ("volume", "text", TypeError),
        ],
    )
    def test_what_a_parameter_cannot_hold_is_refused(
        self, choices: Choices, name: str, value: Any, error: type[Exception]
    ) -> None:
        before = getattr(choices, name)
        with pytest.raises(error):
            setattr(choices, name, value)
        assert getattr(choices, name) == before

    def test_a_widget_that_cannot_show_a_field_is_refused(self, choices: Choices) -> None:
        for widget, name in (
            (qt.QSpinBox(), "title"),
            (slicer.qMRMLNodeComboBox(), "count"),
            (type("Mine", (qt.QSpinBox,), {})(), "count"),  # exactly the class, no subclass
        ):
            with pytest.raises(RuntimeError):
                choices.connectParametersToGui({name: widget})
        with pytest.raises(ValueError, match="unknown"):
            choices.connectParametersToGui({"unknown": qt.QSpinBox()})

    def test_a_first_value_that_breaks_the_rules_is_refused(self, scene: Any) -> None:
        with pytest.raises(ValueError, match="range"):

            @wrapping.parameterNodeWrapper
            class Wrong:
                count: Annotated[int, wrapping.WithinRange(1, 5)]

            Wrong(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


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
