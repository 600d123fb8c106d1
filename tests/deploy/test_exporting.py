"""`itkit export`: the file holds all that is needed, computes the same, and one that does not is not kept."""

import json
import resource
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from itkit.cli import umbrella
from itkit.core.errors import CaseError, LayoutError, ModelError, ParamsError
from itkit.deploy import ExportFailed, ExportSettings, export, exporting
from itkit.deploy.sample import TORSO
from itkit.inference import read_model
from itkit.inference.model_folder import parse_facts

from .small_unet import write_small_unet


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    write_small_unet(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Exported once, with free sizes."""
    dest = tmp_path_factory.mktemp("exported") / "onnx"
    return dest, export(model, dest, "onnx", ExportSettings(dynamic=True))


def test_the_file_holds_the_whole_description(model, exported):
    file = onnx.load(exported[0] / "model.onnx")
    onnx.checker.check_model(file)
    inside = {item.key: item.value for item in file.metadata_props}["itkit_model"]
    facts = read_model(model).facts
    assert parse_facts(json.loads(inside)) == facts
    assert facts.labels[5] == "soft tissue"
    assert [dim.dim_param or dim.dim_value for dim in file.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 1, "depth", "height", "width",
    ]  # fmt: skip
    assert "InstanceNormalization" not in {node.op_type for node in file.graph.node}  # its sums lose digits


@pytest.mark.parametrize("size", [(16, 24, 20), (8, 12, 30)])
def test_it_computes_what_the_original_computes(model, exported, size):
    windows = np.random.default_rng(0).normal(size=(3, 1, *size)).astype(np.float32)
    with torch.no_grad():
        expected = read_model(model).load()(torch.from_numpy(windows)).numpy()
    session = onnxruntime.InferenceSession(exported[0] / "model.onnx")
    (found,) = session.run(None, {"image": windows})
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected))


def test_the_report_says_how_close_it_is(exported):
    dest, parity = exported
    values = json.loads((dest / "parity.json").read_text())
    assert (values["backend"], values["ok"], values["dynamic"], values["trained"]) == ("onnx", True, True, True)
    assert 0 <= values["max_rel"] <= 1e-5
    assert 0 <= values["mean_abs"] <= values["max_abs"] <= 1e-4
    assert values["voxels"] == 2 * 16 * 24 * 20 + 18 * 26 * 22 == parity.voxels
    assert values["changed_voxels"] == parity.changed_voxels <= 5
    assert values["sizes"] == [[16, 24, 20], [18, 26, 22]]
    page = (dest / "parity.html").read_text()
    assert "soft tissue" in page
    assert page.count("<img") == 18
    assert sorted(path.name for path in dest.iterdir()) == ["model.onnx", "parity.html", "parity.json"]


def test_openvino_holds_the_description_and_32_bit_weights(model, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "write_onnx", lambda *arguments: arguments[2].write_bytes(
        (exported[0] / "model.onnx").read_bytes()
    ))  # fmt: skip
    parity = export(model, tmp_path / "ov", "openvino")
    assert parity.max_rel <= 1e-5
    assert parity.backend == "openvino"
    assert sorted(path.name for path in (tmp_path / "ov").iterdir()) == [
        "model.bin", "model.xml", "parity.html", "parity.json",
    ]  # fmt: skip
    found = openvino.Core().read_model(tmp_path / "ov" / "model.xml")
    inside = found.get_rt_info(["itkit_model"]).value
    assert parse_facts(json.loads(inside)) == read_model(model).facts
    kinds = {op.get_element_type().get_type_name() for op in found.get_ops() if op.get_type_name() == "Constant"}
    assert "f32" in kinds
    assert "f16" not in kinds


def test_torchscript_needs_torch_alone(model, tmp_path):
    export(model, tmp_path / "ts", "torchscript")
    extra = {"itkit_model": ""}
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        module = torch.jit.load(tmp_path / "ts" / "model.ts", _extra_files=extra)
    assert parse_facts(json.loads(extra["itkit_model"])).labels[7] == "bone"
    windows = torch.randn(2, 1, 16, 24, 20)
    with torch.no_grad():
        torch.testing.assert_close(module(windows), read_model(model).load()(windows))


def test_an_export_that_computes_something_else_is_not_kept(model, tmp_path, monkeypatch, capsys):
    right = exporting.run_torchscript
    monkeypatch.setattr(exporting, "run_torchscript", lambda file, windows: right(file, windows) + windows * 0.05)
    words = ["export", str(model), str(tmp_path / "bad"), "--to", "torchscript"]
    assert umbrella.main(words) == 1
    said = capsys.readouterr().err
    assert "itkit export: failed" in said
    assert "at most 0.001 is allowed of each" in said
    assert sorted(path.name for path in (tmp_path / "bad").iterdir()) == ["parity.html", "parity.json"]
    values = json.loads((tmp_path / "bad" / "parity.json").read_text())
    assert values["ok"] is False
    assert values["max_rel"] > 1e-3
    assert "not the same: do not use" in (tmp_path / "bad" / "parity.html").read_text()


def test_an_earlier_good_export_survives_a_bad_one(model, tmp_path, monkeypatch):
    export(model, tmp_path / "a", "torchscript")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(LayoutError, match=r"holds model.ts.*--replace"):
        export(model, tmp_path / "a", "torchscript")
    right = exporting.run_torchscript
    with monkeypatch.context() as patched:
        patched.setattr(exporting, "run_torchscript", lambda file, windows: right(file, windows) * np.nan)
        with pytest.raises(ExportFailed, match=r"failed_parity\.html"):
            export(model, tmp_path / "a", "torchscript", ExportSettings(replace=True))
    after = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    failed = json.loads(after.pop("failed_parity.json"))
    assert (failed["ok"], failed["max_abs"]) == (False, None)
    after.pop("failed_parity.html")
    assert after == before
    export(model, tmp_path / "a", "torchscript", ExportSettings(replace=True))
    assert sorted(before) == sorted(path.name for path in (tmp_path / "a").iterdir())


def test_the_reports_of_another_format_survive_too(model, tmp_path, monkeypatch):
    for name in ("model.onnx", "parity.json", "parity.html"):
        (tmp_path / name).write_text("of an earlier export")
    monkeypatch.setattr(exporting, "run_torchscript", lambda file, windows: windows * np.nan)
    with pytest.raises(ExportFailed, match=r"failed_parity\.html"):
        export(model, tmp_path, "torchscript", ExportSettings(replace=True))
    assert {path.name for path in tmp_path.iterdir() if path.read_text() != "of an earlier export"} == {
        "failed_parity.json", "failed_parity.html",
    }  # fmt: skip


def test_what_another_process_exports_meanwhile_is_not_replaced(model, tmp_path, monkeypatch):
    right = exporting.run_torchscript

    def run(file, windows):
        (tmp_path / "model.ts").write_text("of another process")
        return right(file, windows)

    monkeypatch.setattr(exporting, "run_torchscript", run)
    with pytest.raises(LayoutError, match=r"holds model\.ts already"):
        export(model, tmp_path, "torchscript")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of another process"]


def test_a_full_disk_is_said_and_leaves_nothing(model, tmp_path, capsys):
    """Where PyTorch writes files itself, it ends the process."""
    dead = tmp_path / "d" / ".itkit-999999999-0123456789abcdef"  # of an export that was killed
    (dead / "models").mkdir(parents=True)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
    try:
        assert umbrella.main(["export", str(model), str(tmp_path / "d"), "--to", "torchscript"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    said = capsys.readouterr().err
    assert f"itkit export: error: {tmp_path / 'd'}" in said
    assert "File too large" in said
    assert not any((tmp_path / "d").iterdir())


def test_a_network_of_microscopes_is_compared_on_voxels_of_its_size(tmp_path):
    """A voxel of the CT is 750 of this network's along an axis."""
    write_small_unet(tmp_path / "model", spacing=(0.004, 0.004, 0.004))
    assert export(tmp_path / "model", tmp_path / "a", "torchscript").ok
    says = r"--sample: the network's spacing makes .* 0.004 x 0.004 x 0.004 mm ZYX of .* 3 x 3 x 3 mm"
    with pytest.raises(CaseError, match=says):
        export(tmp_path / "model", tmp_path / "b", "torchscript", ExportSettings(sample=(TORSO,)))


def test_a_network_of_the_registry_in_two_dimensions(tmp_path):
    words = ["export", "ege_unet", str(tmp_path / "e"), "--to", "torchscript", "--num-classes", "3", "--in-channels"]
    assert umbrella.main([*words, "2", "--spatial-dims", "2", "--patch-size", "1", "64", "96"]) == 0
    values = json.loads((tmp_path / "e" / "parity.json").read_text())
    assert (values["trained"], values["sizes"]) == (False, [[64, 96]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", "--to", "onnx"], "no network is called 'nothing'"),
        (["no/such/model", "--to", "onnx"], "no such model"),
        (["unet", "--to", "torchscript", "--dynamic"], "one size"),
        (["unet", "--to", "tensorrt"], "no NVIDIA GPU"),
        (["unet", "--to", "onnx", "--network-option", "width=3"], "can't be built"),
        (["unet", "--to", "flax"], "--to"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path, capsys, words, message):
    assert umbrella.main(["export", words[0], str(tmp_path / "dest"), *words[1:]]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "dest").exists()


def test_options_for_a_trained_model_are_refused(model, tmp_path):
    with pytest.raises(ModelError, match="--num-classes"):
        export(model, tmp_path / "dest", "onnx", ExportSettings(num_classes=3))


def test_a_missing_package_is_named(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert umbrella.main(["export", str(model), str(tmp_path / "dest"), "--to", "onnx"]) == 2
    assert "pip install 'itkit[onnx]'" in capsys.readouterr().err


def test_sizes_that_a_network_can_not_take_are_refused_before_tracing(tmp_path):
    with pytest.raises(ParamsError, match="each side must be a multiple of 2"):
        export("unet", tmp_path / "dest", "onnx", ExportSettings(
            options={"strides": [1, 2], "features_per_stage": [4, 6]}, dynamic=True, patch_size=(16, 15, 16)
        ))  # fmt: skip
