"""What the module of 3D Slicer does apart from its widgets, against a real server."""

import ast
import http.server
import importlib.util
import shutil
import sys
import threading
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
from serving.raw import running

from itkit.io.sitk_toolkit import read_volume, write_volume

from .small_onnx import LABELS, closest
from .test_server import Server, ct, until

MODULE = Path(__file__).parents[2] / "slicer" / "SlicerITKIT" / "ITKIT"


def load():
    spec = importlib.util.spec_from_file_location("itkit_of_slicer", MODULE / "ITKITLib" / "client.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


library = load()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("scratch"), ("liver.onnx", "lung.onnx"))
    with running(made.app) as port:
        made.port = port
        made.url = f"http://127.0.0.1:{port}/secret-of-the-tests"
        yield made


@pytest.fixture
def image(tmp_path):
    write_volume(ct(), tmp_path / "0.nii.gz")
    return tmp_path / "0.nii.gz"


def test_models_have_names_classes_and_colours(server):
    models = library.Client(f" {server.url}/ ").models()
    assert [model.name for model in models] == ["liver", "lung"]
    assert models[0].title == "liver (CT; 3 classes)"
    assert {label.value: label.name for label in models[0].labels} == LABELS
    assert all(0 <= part <= 1 for label in models[0].labels for part in label.colour)


def test_a_volume_becomes_a_label_map(server, image, tmp_path):
    seen = []
    found = library.Client(server.url).segment("lung", [image], tmp_path, lambda *state: seen.append(state))
    label = read_volume(found.path, "label")
    np.testing.assert_array_equal(label.array_zyx, closest(ct().array_zyx))
    assert {one.value: one.name for one in found.labels} == LABELS
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    until(lambda: server.left() == [])


def test_cancelling_ends_the_job_on_the_server(server, image, tmp_path):
    with server.slowly() as go:
        task = library.Task(library.Client(server.url), "liver", [image], tmp_path)
        task.start()
        until(lambda: server.desk.counts()["running"] == 1)
        task.cancel()
        go.set()
        task.join(20)
    assert (task.result, task.error) == (None, "cancelled")
    until(lambda: server.left() == [])
    assert [path.name for path in tmp_path.iterdir()] == ["0.nii.gz"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("{url}x", "wrong token"),
        ("{url}\u00f6", "wrong token"),
        ("http://[::1/x", "this is no address"),
        ("ftp://127.0.0.1/x", "expected the address"),
        ("http://127.0.0.1:99999999/x", "no possible port"),
        ("http://127.0.0.1:1/x", "does not answer"),
    ],
)
def test_wrong_addresses_are_explained(server, address, message):
    with pytest.raises(library.ServerError, match=message):
        library.Client(address.format(url=server.url)).models()


def test_what_the_server_says_reaches_the_user(server, tmp_path):
    (tmp_path / "0.nii.gz").write_bytes(b"no volume")
    with pytest.raises(library.ServerError):
        library.Client(server.url).segment("liver", [tmp_path / "0.nii.gz"], tmp_path)
    with pytest.raises(library.ServerError, match="no model is called 'spleen'"):
        library.Client(server.url).segment("spleen", [tmp_path / "0.nii.gz"], tmp_path)
    until(lambda: server.left() == [])


def test_a_cancelled_upload_sends_no_job(server, image, tmp_path):
    event = threading.Event()
    event.set()
    with pytest.raises(library.Cancelled):
        library.Client(server.url).segment("liver", [image], tmp_path, None, event)
    until(lambda: server.left() == [])


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[1]", b'{"models": [{"name": "a"}]}'])
def test_another_server_is_told_from_ours(answer):
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        with pytest.raises(library.ServerError, match="is not itkit serve"):
            library.Client(f"http://127.0.0.1:{other.server_port}/token").models()
        thread.join()


def test_the_panel_segments_a_volume_and_names_the_segments(server, image, tmp_path, monkeypatch):
    """Slicer can't run here: stand-ins take every call of the panel; client and server are real."""
    qt, ctk, slicer = MagicMock(), MagicMock(), MagicMock()
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    base.ScriptedLoadableModule = type("ScriptedLoadableModule", (), {"__init__": lambda self, parent: None})
    base.ScriptedLoadableModuleWidget = type(
        "ScriptedLoadableModuleWidget", (), {"layout": MagicMock(), "setup": lambda self: None}
    )
    package = types.ModuleType("ITKITLib")
    package.client = library
    stand_ins = {"qt": qt, "ctk": ctk, "slicer": slicer, "slicer.ScriptedLoadableModule": base}
    for name, module in {**stand_ins, "ITKITLib": package, "ITKITLib.client": library}.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("itkit_panel", MODULE / "ITKIT.py")
    panel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(panel)

    node, segments = MagicMock(), [MagicMock() for _ in LABELS]
    node.GetSegmentation().GetNthSegment.side_effect = segments.__getitem__
    slicer.mrmlScene.AddNewNodeByClass.return_value = node
    slicer.util.exportNode.side_effect = lambda volume, file, properties: bool(shutil.copy(image, file))
    shown = []
    slicer.util.loadLabelVolume.side_effect = lambda file: shown.append(read_volume(file, "label").array_zyx)
    slicer.util.arrayFromVolume.side_effect = lambda labels: shown[0]
    qt.QFormLayout().rowCount.return_value = 0
    qt.QComboBox().currentIndex = 0

    widget = panel.ITKITWidget()
    widget.setup()
    widget._address.text = f" {server.url} "
    widget._ask_models()
    assert [call.args[0] for call in qt.QComboBox().addItem.call_args_list] == [
        "liver (CT; 3 classes)", "lung (CT; 3 classes)",
    ]  # fmt: skip
    widget._show_channels(0)
    widget._begin_or_cancel()
    folder = widget._folder
    until(lambda: widget._look() or widget._task is None)
    assert (widget._run.text, widget._run.enabled) == ("Segment", True)
    assert np.array_equal(shown[0], closest(read_volume(image).array_zyx))
    assert [segment.SetName.call_args.args[0] for segment in segments] == list(LABELS.values())
    volume = slicer.qMRMLNodeComboBox().currentNode()
    node.SetAndObserveTransformNodeID.assert_called_once_with(volume.GetTransformNodeID())
    assert not folder.exists()


def test_the_library_needs_nothing_but_python_and_the_panel_parses():
    tree = ast.parse((MODULE / "ITKITLib" / "client.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
    panel = ast.parse((MODULE / "ITKIT.py").read_text())
    classes = {node.name for node in panel.body if isinstance(node, ast.ClassDef)}
    assert {"ITKIT", "ITKITWidget"} <= classes  # Slicer finds them by the module's name
