"""The module ITKIT of 3D Slicer: segment a volume with a network that ``itkit serve`` serves."""

import shutil
import tempfile
from pathlib import Path

import ctk
import numpy as np
import qt
from ITKITLib.client import Client, ServerError, Task
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

import slicer

_SETTING = "ITKIT/Server"
_TICK_MS = 200


class ITKIT(ScriptedLoadableModule):
    """What Slicer's list of modules shows."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "ITKIT"
        parent.categories = ["Segmentation"]
        parent.contributors = ["The ITKIT developers"]
        parent.helpText = "Segments a volume with a network that <code>itkit serve</code> serves."
        parent.acknowledgementText = "MIT License."


class ITKITWidget(ScriptedLoadableModuleWidget):
    """The panel: address, model, volume, and a button that begins or cancels."""

    def setup(self):
        super().setup()
        self._client, self._models, self._task, self._folder, self._volume = None, [], None, None, None
        box = ctk.ctkCollapsibleButton()
        box.text = "Segment"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)

        self._address = qt.QLineEdit(qt.QSettings().value(_SETTING) or "")
        self._address.setPlaceholderText("http://127.0.0.1:8123/TOKEN, as itkit serve prints it")
        self._connect = qt.QPushButton("Connect")
        row = qt.QHBoxLayout()
        row.addWidget(self._address)
        row.addWidget(self._connect)
        form.addRow("Server:", row)

        self._model = qt.QComboBox()
        form.addRow("Model:", self._model)
        self._channels = qt.QFormLayout()
        form.addRow(self._channels)
        self._selectors = []

        self._run = qt.QPushButton("Segment")
        self._run.enabled = False
        self._bar = qt.QProgressBar()
        self._bar.setRange(0, 100)
        self._bar.visible = False
        self._said = qt.QLabel("")
        self._said.wordWrap = True
        for widget in (self._run, self._bar, self._said):
            form.addRow(widget)
        self.layout.addStretch(1)

        self._timer = qt.QTimer()
        self._timer.setInterval(_TICK_MS)
        self._timer.connect("timeout()", self._look)
        self._connect.connect("clicked()", self._ask_models)
        self._address.connect("returnPressed()", self._ask_models)
        self._model.connect("currentIndexChanged(int)", self._show_channels)
        self._run.connect("clicked()", self._begin_or_cancel)

    def cleanup(self):
        self._timer.stop()
        if self._task is not None:
            self._task.cancel()
            self._task.join(5)
        self._tidy()

    def _ask_models(self):
        self._model.clear()
        self._run.enabled = False
        try:
            self._client = Client(self._address.text)
            self._models = self._client.models()
        except ServerError as error:
            self._said.text = str(error)
            return
        qt.QSettings().setValue(_SETTING, self._address.text.strip())
        for model in self._models:
            self._model.addItem(model.title)
        self._said.text = ""
        self._run.enabled = bool(self._models)

    def _show_channels(self, number):
        while self._channels.rowCount():
            self._channels.removeRow(0)
        self._selectors = []
        if not 0 <= number < len(self._models):
            return
        for channel in self._models[number].channels:
            selector = slicer.qMRMLNodeComboBox()
            selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
            selector.addEnabled = selector.removeEnabled = False
            selector.setMRMLScene(slicer.mrmlScene)
            self._channels.addRow(f"{channel}:", selector)
            self._selectors.append(selector)

    def _begin_or_cancel(self):
        if self._task is not None:
            self._task.cancel()
            self._run.enabled = False
            return
        volumes = [selector.currentNode() for selector in self._selectors]
        if not volumes or None in volumes:
            self._said.text = "Choose a volume."
            return
        self._folder = Path(tempfile.mkdtemp(prefix="itkit-slicer-"))
        files = []
        for number, volume in enumerate(volumes):
            file = self._folder / f"{number}.nii.gz"
            if not slicer.util.exportNode(volume, str(file), {"useCompression": 1}):
                self._said.text = f"{volume.GetName()} can't be written to {self._folder}."
                self._tidy()
                return
            files.append(file)
        self._volume = volumes[0]
        model = self._models[self._model.currentIndex]
        self._task = Task(self._client, model.name, files, self._folder)
        self._task.start()
        self._run.text = "Cancel"
        self._bar.visible = True
        self._timer.start()

    def _look(self):
        share, text = self._task.state
        self._bar.setValue(round(100 * share))
        self._said.text = text
        if self._task.is_alive():
            return
        self._timer.stop()
        task, self._task = self._task, None
        self._run.text, self._run.enabled, self._bar.visible = "Segment", True, False
        self._said.text = task.error or "; ".join(task.result.notes) or "done"
        try:
            if task.result is not None:
                show(task.result, self._volume)
        finally:
            self._tidy()

    def _tidy(self):
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def show(result, volume):
    """Show a label map as a segmentation of a volume, with the names and colours of the network."""
    labels = slicer.util.loadLabelVolume(str(result.path))
    try:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} segmented")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        present = sorted(set(np.unique(slicer.util.arrayFromVolume(labels)).tolist()) - {0})
        logic = slicer.modules.segmentations.logic()
        logic.ImportLabelmapToSegmentationNode(labels, node)
        segmentation = node.GetSegmentation()
        known = {label.value: label for label in result.labels}
        for number, value in enumerate(present):
            segment = segmentation.GetNthSegment(number)
            if value in known:
                segment.SetName(known[value].name)
                segment.SetColor(*known[value].colour)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())  # the voxels were sent without it
        node.CreateClosedSurfaceRepresentation()
        return node
    finally:
        slicer.mrmlScene.RemoveNode(labels)
