"""What the module of 3D Slicer does apart from its widgets, against a real server."""

import ast
import importlib.util
import sys
import threading
from pathlib import Path

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


def test_the_library_needs_nothing_but_python_and_the_panel_parses():
    tree = ast.parse((MODULE / "ITKITLib" / "client.py").read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
    panel = ast.parse((MODULE / "ITKIT.py").read_text())
    classes = {node.name for node in panel.body if isinstance(node, ast.ClassDef)}
    assert {"ITKIT", "ITKITWidget"} <= classes  # Slicer finds them by the module's name
