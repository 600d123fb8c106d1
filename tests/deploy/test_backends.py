"""What computes a model: the same label maps, from the exported file alone, and without torch."""

import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

import itkit
from itkit.core.errors import ModelError, ParamsError
from itkit.deploy import export, exporting
from itkit.inference import predict
from itkit.inference.array_windows import ArrayWindows
from itkit.inference.backends import backend_of, find_model
from itkit.inference.model_folder import NetworkFacts
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.models.windows import SlidingWindow
from itkit.process.geometry import crop

from .small_onnx import write_small_onnx
from .small_unet import write_small_unet


@pytest.fixture(scope="module")
def torso(tmp_path_factory):
    """A crop of the real CT."""
    from itkit.deploy.sample import TORSO

    file = tmp_path_factory.mktemp("ct") / "torso.nii.gz"
    write_volume(crop(read_volume(TORSO), (40, 30, 25), (30, 40, 50)), file)
    return file


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A trained model at another spacing and orientation, and its exports, apart from it."""
    root = tmp_path_factory.mktemp("models")
    write_small_unet(root / "trained", spacing=(4.0, 3.5, 3.5), orient="RAS")
    export(root / "trained", root / "onnx", "onnx")
    file = (root / "onnx" / "model.onnx").read_bytes()
    with pytest.MonkeyPatch.context() as patched:  # it is traced once
        patched.setattr(exporting, "write_onnx", lambda *arguments: arguments[2].write_bytes(file))
        export(root / "trained", root / "openvino", "openvino")
    (root / "alone").mkdir()
    shutil.copy(root / "onnx" / "model.onnx", root / "alone" / "liver.onnx")
    return root


@pytest.mark.parametrize("file", ["onnx", "alone/liver.onnx", "openvino", "openvino/model.xml"])
@pytest.mark.parametrize("flips", ["", "ZX"])
def test_all_backends_find_the_same_labels_on_a_real_ct(models, torso, file, flips):
    expected = predict(models / "trained", torso, flips=flips)
    found = predict(models / file, torso, flips=flips, batch=2)
    assert found.geometry == expected.geometry == read_volume(torso).geometry
    assert set(np.unique(expected.array_zyx)) >= {0, 5}
    changed = int((found.array_zyx != expected.array_zyx).sum())
    assert changed <= 3, f"{changed} of {found.array_zyx.size} voxels"


def test_itk_infer_needs_the_file_alone_and_no_torch(models, torso, tmp_path):
    words = ["itk_infer", str(models / "alone" / "liver.onnx"), str(torso), str(tmp_path / "out")]
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'monai', 'onnx', 'openvino'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from itkit.cli.main import main\n"
        f"code = main({words[0]!r}, {words[1:]!r})\n"
        "assert not {'torch', 'monai'} & sys.modules.keys()\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = predict(models / "trained", torso)
    found = read_volume(tmp_path / "out" / "torso.mha", "label")
    assert int((found.array_zyx != expected.array_zyx).sum()) <= 3
    names = json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]
    assert names == {"0": "background", "1": "fat", "5": "soft tissue", "7": "bone"}


def test_the_command_line_chooses_the_backend(models, torso, tmp_path):
    result = itkit.run("itk_infer", model=models / "onnx", source=torso, dest=tmp_path / "a", probabilities=True)
    assert result.exit_code == 0
    result = itkit.run("itk_infer", model=models / "onnx", source=torso, dest=tmp_path / "b", backend="onnx")
    assert (tmp_path / "a" / "torso.mha").read_bytes() == (tmp_path / "b" / "torso.mha").read_bytes()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("trained", "torch"), ("onnx", "onnx"), ("openvino", "openvino"), ("alone/liver.onnx", "onnx")],
)
def test_a_model_s_file_says_what_computes_it(models, path, expected):
    assert backend_of(models / path) == expected


def test_what_can_not_be_is_named(models, torso, tmp_path):
    with pytest.raises(ModelError, match="itkit export --to openvino"):
        find_model(models / "onnx", "openvino")
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not readable as an ONNX model"):
        find_model(tmp_path)
    with pytest.raises(ParamsError, match="--precision bf16 is a setting of --backend torch"):
        predict(models / "onnx", torso, precision="bf16")
    with pytest.raises(ParamsError, match="no CUDA"):
        predict(models / "onnx", torso, device="cuda")
    with pytest.raises(ParamsError, match="computes on the CPU"):
        predict(models / "openvino", torso, device="cuda:0")


def test_files_that_do_not_hold_what_they_say_are_named(models, torso, tmp_path):
    for name in ("model.xml", "model.bin"):
        shutil.copy(models / "openvino" / name, tmp_path / name)
    whole = (tmp_path / "model.xml").read_bytes()
    (tmp_path / "model.xml").write_bytes(whole[: whole.index(b"</layers>")])
    with pytest.raises(ModelError, match=r"model\.xml: not readable as an OpenVINO model \(Start-end tags mismatch"):
        find_model(tmp_path)
    (tmp_path / "model.xml").write_bytes(whole.replace(b"    24,&#10;", b"    8,&#10;"))
    with pytest.raises(ModelError, match=r"OpenVINO can't compute windows \(1, 1, 16, 8, 20\) with this model: "):
        predict(tmp_path, torso)
    model = onnx.load(models / "onnx" / "model.onnx")
    model.metadata_props[0].value = model.metadata_props[0].value.replace("    24,\n", "    8,\n")
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match=r"ONNX Runtime can't compute windows \(1, 1, 16, 8, 20\) .*Expected: 24"):
        predict(tmp_path / "other.onnx", torso)
    write_small_onnx(
        tmp_path / "fewer.onnx", network=NetworkFacts(name="thresholds", num_classes=2), labels={1: "organ"}
    )
    with pytest.raises(ModelError, match=r"fewer\.onnx: the network gives 4 classes, not 2"):
        predict(tmp_path / "fewer.onnx", torso)


SETTINGS = [
    {},
    {"overlap": 0.25, "scheme": "nnunet", "batch": 3},
    {"weights": "constant", "flips": "ZY"},
    {"max_bytes": 0},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("size", [(13, 17, 11), (4, 20, 7)])
def test_windows_of_arrays_are_those_of_tensors(settings, size):
    volume = np.random.default_rng(0).normal(size=(2, 2, *size)).astype(np.float32)
    mask = np.zeros((2, *size), bool)
    mask[:, 1:3, 4:6, 3:5] = True
    weights = np.linspace(-1, 1, 6 * 8 * 7, dtype=np.float32).reshape(6, 8, 7)  # windows' logits depend on the place

    def network(windows):
        return windows * weights

    def network_of_tensors(windows):
        return windows * torch.from_numpy(weights)

    for seen in (None, mask):
        tensors = SlidingWindow(patch_size=(6, 8, 7), **settings).blocks(
            network_of_tensors, torch.from_numpy(volume), None if seen is None else torch.from_numpy(seen)
        )
        arrays = ArrayWindows(patch_size=(6, 8, 7), **settings).blocks(network, volume, seen)
        count = 0
        for one, other in itertools.zip_longest(tensors, arrays):
            assert (one.plane, one.row) == (other.plane, other.row)
            np.testing.assert_allclose(other.logits, one.logits.numpy(), rtol=1e-5, atol=1e-6)
            count += other.logits[0, 0].size
        assert count == np.prod(size)


def test_a_flat_network_sees_planes():
    volume = np.random.default_rng(0).normal(size=(1, 1, 3, 9, 11)).astype(np.float32)
    seen = []

    def network(windows):
        seen.append(windows.shape)
        return np.concatenate([windows, -windows], axis=1)

    whole = np.zeros((2, 3, 9, 11), np.float32)
    for block in ArrayWindows(patch_size=(4, 5)).blocks(network, volume):
        planes, rows = block.logits.shape[2:4]
        whole[:, block.plane : block.plane + planes, block.row : block.row + rows] = block.logits[0]
    assert {shape[1:] for shape in seen} == {(1, 4, 5)}
    np.testing.assert_allclose(whole, [volume[0, 0], -volume[0, 0]], rtol=1e-5)


def test_packages_do_not_report_to_their_makers(tmp_path):
    code = (
        "from itkit.core.extras import require\n"
        "import sys\n"
        "for name in ('onnxruntime', 'openvino'): require(name, extra='onnx', why='a test')\n"
        "print(sys.modules['openvino.tools.ovc.telemetry_utils'].tm.__name__)"
    )
    environment = {"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}  # without CI: there, they are silent
    told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert told.split() == ["openvino.tools.ovc.telemetry_stub"]
    assert [path.name for path in tmp_path.rglob("*")] == []  # else an identifier of the machine
