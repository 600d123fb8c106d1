"""`itkit bench`: a table and a JSON file with a row for each backend."""

import json

import pytest

from itkit.cli import umbrella
from itkit.deploy.sample import TORSO
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import crop

from .small_onnx import write_small_onnx
from .small_unet import write_small_unet


@pytest.fixture
def sample(tmp_path):
    write_volume(crop(read_volume(TORSO), (40, 30, 25), (20, 30, 24)), tmp_path / "ct.mha")
    return ["--sample", str(tmp_path / "ct.mha"), "--repeats", "1", "--overlap", "0", "--threads", "1"]


def test_a_trained_model(tmp_path, capsys, sample):
    write_small_unet(tmp_path / "model")
    words = ["bench", str(tmp_path / "model"), "--backends", "torch", *sample]
    assert umbrella.main([*words, "--device", "cpu", "-o", str(tmp_path / "speed.json")]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["model", "backend", "device", "threads"]
    (speed,) = json.loads((tmp_path / "speed.json").read_text())["results"]
    assert (speed["backend"], speed["windows"], speed["size"]) == ("torch", 8, [20, 30, 24])
    assert speed["volumes_per_minute"] == pytest.approx(60 / speed["volume_s"], rel=0.01)
    assert 0 < speed["window_ms_least"] <= speed["window_ms"]
    assert row.split()[1:4] == ["torch", "cpu", "1"]


def test_an_exported_model_has_one_backend(tmp_path, capsys, sample):
    write_small_onnx(tmp_path / "model.onnx")
    words = ["bench", str(tmp_path / "model.onnx"), *sample, "--backends"]
    assert umbrella.main([*words, "onnx", "openvino"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "an exported model; only onnx computes it" in captured.err


def test_what_is_no_model_is_refused_before_anything_is_measured(tmp_path, capsys, sample):
    write_small_unet(tmp_path / "model")
    words = ["bench", str(tmp_path / "model"), str(tmp_path / "gone.onnx"), *sample]
    assert umbrella.main(words) == 2
    captured = capsys.readouterr()
    assert "gone.onnx: there is no such file or folder" in captured.err
    assert captured.out == ""
