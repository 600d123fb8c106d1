"""The model folder: written whole, read without running anything, refused by name when it can't be right."""

import json
import pickle

import pytest
import torch

from itkit.core.errors import ItkitError, ModelError, WeightsError
from itkit.inference.model_folder import (
    CHECKPOINT_ENTRY,
    Intensity,
    ModelFacts,
    NetworkFacts,
    parse_facts,
    read_facts,
    read_model,
    training_digest,
    write_model,
)
from itkit.models import create_model
from itkit.models.checkpoints import read_weights, write_safetensors

TINY = {"n_channels": 2, "exp_r": 2, "block_counts": [1] * 9}


def facts(**changes):
    return ModelFacts(
        **{
            "network": NetworkFacts(name="mednext_s", options=TINY, num_classes=3),
            "channels": ("CT",),
            "labels": {1: "liver", 300: "tumour"},
            "spacing": (2.5, 0.8, 0.8),
            "intensity": Intensity(scheme="ct", low=-160, high=240, mean=40.5, sd=80),
            "patch_size": (16, 32, 32),
            **changes,
        }
    )


def network():
    torch.manual_seed(3)
    return create_model("mednext_s", num_classes=3, **TINY)


def test_a_model_comes_back_as_it_was_written(tmp_path):
    source = network()
    written = write_model(tmp_path / "model", facts(metrics={"dice": 0.9, "hd95_mm": None}), source)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    for path in (tmp_path, tmp_path / "model", tmp_path / "model" / "model.json", str(tmp_path)):
        model = read_model(path)
        assert model == written
    loaded = model.load()
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in source.state_dict().items())
    image = torch.randn(1, 1, 16, 32, 32)
    assert torch.equal(loaded(image), source.eval()(image))
    assert model.facts.values == (0, 1, 300)
    assert model.facts.names == {0: "background", 1: "liver", 300: "tumour"}


def test_the_description_has_the_promised_names(tmp_path):
    write_model(tmp_path, facts(training_digest=training_digest(["a", "b"])), network())
    values = json.loads((tmp_path / "model.json").read_text())
    assert values["itkit"]
    assert values["network"] == {
        "name": "mednext_s",
        "options": TINY,
        "in_channels": 1,
        "num_classes": 3,
        "spatial_dims": 3,
    }
    assert values["channels"] == ["CT"]
    assert values["labels"] == {"1": "liver", "300": "tumour"}
    assert (values["spacing"], values["orient"], values["patch_size"]) == ([2.5, 0.8, 0.8], "LPS", [16, 32, 32])
    assert values["intensity"] == {"scheme": "ct", "low": -160, "high": 240, "mean": 40.5, "sd": 80, "within": "all"}
    assert values["metrics"] == {}
    assert values["training_digest"] == training_digest(["b", "a"])


def test_safetensors_are_those_of_the_library(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    tensors = {"b": torch.randn(2, 3), "a": torch.arange(5), "half": torch.randn(3).bfloat16(), "none": torch.zeros(0)}
    write_safetensors(tmp_path / "x.safetensors", tensors)
    theirs, ours = safetensors.load_file(tmp_path / "x.safetensors"), read_weights(tmp_path / "x.safetensors")
    for key, value in tensors.items():
        assert torch.equal(theirs[key], value)
        assert torch.equal(ours[key], value)
    with pytest.raises(WeightsError, match="complex64"):
        write_safetensors(tmp_path / "y.safetensors", {"c": torch.zeros(2, dtype=torch.complex64)})


def test_checkpoints_are_read_without_running_them(tmp_path):
    source = network()
    state = {f"network.{key}": value for key, value in source.state_dict().items()}
    inside = json.loads(facts().to_json())
    torch.save({"state_dict": state, "epoch": 3, CHECKPOINT_ENTRY: inside}, tmp_path / "last.ckpt")
    model = read_model(tmp_path / "last.ckpt")
    assert model.facts == facts()
    assert torch.equal(next(model.load().parameters()), next(source.parameters()))

    run = tmp_path / "run"
    write_model(run / "model", facts(), source)
    (run / "checkpoints").mkdir()
    torch.save({"state_dict": state}, run / "checkpoints" / "best.ckpt")
    assert read_model(run / "checkpoints" / "best.ckpt").load() is not None

    torch.save({"state_dict": state}, tmp_path / "lone.ckpt")
    with pytest.raises(ModelError, match="without a description"):
        read_model(tmp_path / "lone.ckpt")


class Trap:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return print, ("unpickled",)


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps({"state_dict": Trap()}, protocol=2))
    with pytest.raises(ItkitError, match=r"x\.ckpt"):
        read_model(tmp_path / "x.ckpt")
    assert "unpickled" not in capsys.readouterr().out


def test_weights_of_another_network_are_refused(tmp_path):
    write_model(tmp_path, facts(), {"stem.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="another network"):
        read_model(tmp_path).load()


def test_weights_that_the_description_does_not_describe_are_refused(tmp_path):
    write_model(tmp_path, facts(), network())
    write_safetensors(tmp_path / "model.safetensors", create_model("mednext_s", num_classes=3, **TINY).state_dict())
    with pytest.raises(WeightsError, match="not the weights"):
        read_model(tmp_path).load()


def test_digests_tell_models_apart(tmp_path):
    first = write_model(tmp_path / "a", facts(), network()).digest
    assert write_model(tmp_path / "b", facts(), network()).digest == first
    assert write_model(tmp_path / "c", facts(spacing=(2, 1, 1)), network()).digest != first
    other = {key: value + 1 for key, value in network().state_dict().items()}
    assert write_model(tmp_path / "d", facts(), other).digest != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"1": "liver"}}, "2 classes"),
        ({"labels": {"1": "liver", str(2**31): "spleen"}}, "labels: expected values of 32-bit"),
        ({"channels": ["a", "b"]}, "2 channels"),
        ({"spacing": [1, 0, 1]}, "spacing"),
        ({"spacing": [1, 1]}, "spacing"),
        ({"orient": "ABC"}, "orient"),
        ({"patch_size": [16, 0, 16]}, "patch_size"),
        ({"patch_size": None}, "patch_size"),
        ({"intensity": {"scheme": "ct", "low": 1, "high": 0, "mean": 0, "sd": 1}}, "low < high"),
        ({"intensity": {"scheme": "ct"}}, "needs low"),
        ({"intensity": {"scheme": "other"}}, "intensity.scheme"),
        ({"network": {"name": "x"}}, "network.num_classes"),
        ({"network": {"name": "x", "num_classes": 3, "options": {"pretrained": True}}}, "pretrained"),
        ({"network": {"name": "x", "num_classes": 3, "spatial_dims": 2}}, "one plane"),
        ({"network": {"name": "x", "num_classes": 10**9}}, "num_classes"),
    ],
)
def test_a_description_that_can_not_be_is_refused_by_its_key(change, message):
    values = {**json.loads(facts().to_json()), **change}
    with pytest.raises(ModelError, match=message):
        parse_facts(values)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"spacing": [NaN, 1, 1]}', "[" * 100_000])
def test_a_damaged_description_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match=r"model\.json"):
        read_facts(tmp_path / "model.json")


def test_what_is_no_model_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "x.ckpt"):
        with pytest.raises(ItkitError, match=str(path)):
            read_model(path)
    values = json.loads(facts().to_json())
    values["network"]["name"] = "mednext_ss"
    (tmp_path / "model.json").write_text(json.dumps(values))
    write_safetensors(tmp_path / "model.safetensors", {})
    with pytest.raises(ModelError, match="mednext_s"):
        read_model(tmp_path).load()


def test_a_killed_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("itkit.inference.model_folder.commit_files", lambda moves: (_ for _ in ()).throw(OSError(28)))
    with pytest.raises(OSError, match="28"):
        write_model(tmp_path, facts(), network())
    assert not list(tmp_path.iterdir())
