"""The script that tries networks in other runtimes and measures them."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from itkit.models import ModelCard, create_model, register_model, registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_models", ROOT / "docs" / "measure_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")  # torch.onnx warns of its own parts
@pytest.mark.parametrize("dims", [2, 3])
def test_the_baseline_gives_the_same_logits_in_onnx_runtime(script, dims):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert script.try_onnx("unet", dims)["difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_baseline_gives_the_same_logits_compiled(script):
    found = script.try_compile("unet", 2)
    assert found["difference"] < 1e-5
    assert found["graph_breaks"] == 0


def test_memory_of_a_training_step_is_what_is_alive_in_it(script, monkeypatch):
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    class Two(torch.nn.Module):
        def __init__(self, in_channels, num_classes, spatial_dims):
            super().__init__()
            del spatial_dims
            self.first = torch.nn.Conv2d(in_channels, 8, 1, bias=False)
            self.last = torch.nn.Conv2d(8, num_classes, 1, bias=False)

        def forward(self, image):
            return self.last(self.first(image))

    register_model(ModelCard(name="two_convolutions", spatial_dims=(2,)))(Two)
    pixels = 64 * 64
    weights = 8 + 8 * script.CLASSES
    # weights, image, hidden map and logits stay; the loss adds the logits' gradient and at most three maps like it
    least = 4 * (weights + pixels * (1 + 8 + 2 * script.CLASSES))
    found = script.training_bytes("two_convolutions", 2, (64, 64))
    assert least <= found <= least + 4 * (weights + 3 * pixels * script.CLASSES)
    assert create_model("two_convolutions").network.first.weight.grad is None


def test_one_network_of_each_builder_is_tried(script):
    names = ["mednext_s", "mednext_b", "unet", "resenc_unet", "resenc_unet_l"]
    assert script.kinds(names) == ["mednext_s", "unet", "resenc_unet"]
    assert script.measured_size("unetr", 3) == (96, 96, 96)
    assert script.measured_size("vmamba_t", 2) == (512, 512)


def test_a_trial_ends_at_its_limit_and_what_is_missing_is_listed(script, tmp_path, monkeypatch, capsys):
    assert script.one("time", "ege_unet", 2, 0.01) == {"error": "no result after 0.01 s"}
    (tmp_path / "found.json").write_text('{"time": {"unet/3": {"forward_s": 1.0}, "unetr/3": {"error": "no memory"}}}')
    words = ["time", "--only", "unet", "unetr", "ege_unet", "--missing", "--into", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["measure_models.py", *words])
    script.main()
    assert capsys.readouterr().out.splitlines() == ["time unetr/3 no memory", "time ege_unet/2 missing"]
