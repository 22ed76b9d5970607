"""HealthiVert in 3D Slicer: what a fractured vertebra has lost of its height, measured against itself regrown healthy.

This file is what Slicer loads at its start: the module, the shell of its panel, and the names that Slicer looks for.
Everything else is in HealthiVertSlicerLib and is imported when the panel is opened or a script asks for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
import vtk
from HealthiVertSlicerLib.logic import HealthiVertSlicerLogic
from HealthiVertSlicerLib.selftest import HealthiVertSlicerTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

__all__ = ["HealthiVertSlicer", "HealthiVertSlicerLogic", "HealthiVertSlicerTest", "HealthiVertSlicerWidget"]


class HealthiVertSlicer(ScriptedLoadableModule):
    """The module, as Slicer lists it."""

    def __init__(self, parent) -> None:
        super().__init__(parent)
        parent.title = _("HealthiVert")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        parent.contributors = ["The HealthiVert authors"]
        parent.helpText = self._help()
        parent.acknowledgementText = _(
            "For research. Not a medical device: a result needs a physician's judgement. Licence of the program and of "
            "the models' weights: {licence}."
        ).format(licence="Apache-2.0")
        slicer.app.connect("startupCompleted()", _at_startup)

    def _help(self) -> str:
        picture = Path(self.resourcePath("Icons/HealthiVertHelp.png")).as_uri()
        text = _(
            "<p>Hides one vertebra of a CT, regrows it healthy from its neighbours, and measures how much height it "
            "has lost.</p><ol><li>Choose the CT.</li><li>Choose the segmentation of its vertebrae.</li>"
            "<li>Measure the whole spine and click the suspicious vertebra.</li><li>Press Apply.</li>"
            "<li>Read the results, and compare before and after.</li></ol>"
        )
        return f'<p><img src="{picture}"/></p>{text}{self.getDefaultModuleDocumentationLink()}'


def _at_startup() -> None:
    """What a scene may need before the panel is opened: the layouts it was saved in, and the sample data."""
    from HealthiVertSlicerLib import display, sample_data

    manager = slicer.app.layoutManager()
    if manager is not None:
        display.register_layouts(manager.layoutLogic().GetLayoutNode())
    if hasattr(slicer.modules, "sampledata"):  # it can be left out of an application
        sample_data.register_sample_data()


class HealthiVertSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The shell of the panel: it lives and dies with Slicer's widget, watches the scene, and tells the panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: HealthiVertSlicerLogic | None = None
        self.panel = None
        self._parameters = None
        self._gui_tag = None
        self._watched: tuple = (None, None)

    def setup(self) -> None:
        from HealthiVertSlicerLib.panel import Panel

        super().setup()
        widget = slicer.util.loadUI(self.resourcePath("UI/HealthiVertSlicer.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = HealthiVertSlicerLogic()
        self.panel = Panel(self.ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_closed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_imported)
        self.addObserver(scene, scene.NodeRemovedEvent, self._node_removed)
        self.enter()  # after a reload Slicer does not call it

    def enter(self) -> None:
        if self._parameters is None:
            self._use_parameters(self.logic.getParameterNode())
        self._choose_only_inputs()
        self.panel.inputs_changed()  # perhaps, while the user was in another module

    def cleanup(self) -> None:
        if self.panel is not None:
            self.panel.shut_down()
            self._use_parameters(None)
        self.removeObservers()

    def onReload(self) -> None:
        """Also reads the package's own files and the core anew, which Slicer would keep as they are."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("HealthiVertSlicerLib", "healthivert")]:
            del sys.modules[name]
        super().onReload()

    def _scene_closes(self, caller=None, event=None) -> None:
        self._use_parameters(None)

    def _scene_closed(self, caller=None, event=None) -> None:
        if self.parent.isEntered:
            self.enter()

    def _scene_imported(self, caller=None, event=None) -> None:
        """The imported scene may have brought its own parameters."""
        if self._parameters is not None or self.parent.isEntered:
            self._use_parameters(self.logic.getParameterNode())

    def _node_removed(self, caller=None, event=None) -> None:
        """It may have been a result."""
        if self._parameters is not None and self.parent.isEntered and not slicer.mrmlScene.IsBatchProcessing():
            self.panel.refresh()

    def _use_parameters(self, parameters) -> None:
        """Shows and follows these parameters; None while there is no scene to have any."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self._parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        self._parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._parameters_changed)
        self._watch_inputs()
        self.panel.set_parameters(parameters)

    def _choose_only_inputs(self) -> None:
        """Saves the clicks where there is only one CT, or only one segmentation."""
        from HealthiVertSlicerLib.result_nodes import ROLE

        for field, class_name in (("volume", "vtkMRMLScalarVolumeNode"), ("segmentation", "vtkMRMLSegmentationNode")):
            of_class = slicer.util.getNodesByClass(class_name)
            nodes = [node for node in of_class if node.GetClassName() == class_name and not node.GetAttribute(ROLE)]
            if getattr(self._parameters, field) is None and len(nodes) == 1:
                setattr(self._parameters, field, nodes[0])

    def _parameters_changed(self, caller=None, event=None) -> None:
        self._watch_inputs()
        self.panel.refresh()

    def _watch_inputs(self) -> None:
        """Follows the chosen nodes, so that the panel is right about them when somebody else edits them."""
        parameters = self._parameters
        nodes = (None, None) if parameters is None else (parameters.volume, parameters.segmentation)
        if nodes == self._watched:
            return
        self._watched = nodes
        self.panel.inputs_chosen()
        self.removeObservers(self._input_changed)
        volume, segmentation = nodes
        for node in filter(None, nodes):
            self.addObserver(node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._input_changed)
        if volume is not None:
            for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
                self.addObserver(volume, event, self._input_changed)
        if segmentation is not None:
            segments = segmentation.GetSegmentation()
            for event in ("SegmentModified", "SegmentAdded", "SegmentRemoved", "SourceRepresentationModified"):
                self.addObserver(segments, getattr(slicer.vtkSegmentation, event), self._input_changed)

    def _input_changed(self, caller=None, event=None) -> None:
        """Nothing that is painted in another module waits for the panel, which looks when the user comes back."""
        from HealthiVertSlicerLib.result_nodes import follow

        if self.parent.isEntered:
            self.panel.inputs_changed()
        elif self._parameters.volume is not None:
            follow(self._parameters.volume)
