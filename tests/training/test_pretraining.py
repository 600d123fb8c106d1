"""Pre-training from a plan: labels are not needed, its weights are a start, an interrupted one goes on."""

import json
import shutil

import pytest
import torch

from itkit.cli.umbrella import main
from itkit.core.errors import CaseError, ParamsError
from itkit.inference.model_folder import build_network
from itkit.models import load_pretrained
from itkit.models.checkpoints import read_weights
from itkit.training import pretraining
from itkit.training.networks import network_facts
from itkit.training.plan_file import make_plan, plan_text
from itkit.training.pretraining import pretrain, view_size
from itkit.training.status import read_status

from .cases import CT, write_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("unlabelled"), 2)
    for path in (root / "label").iterdir():
        path.unlink()
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(pretraining, "_BATCH", {2: 8, 3: 8})
    monkeypatch.setattr(pretraining, "_QUEUE", 32)
    monkeypatch.setattr(pretraining, "_KEEP_EVERY", 2)


def plan_of(root, patch=(8, 16, 16), **training):
    return make_plan(
        {
            "dataset": {"path": str(root), "channels": ["CT"], "labels": {4: "liver"}},
            "preprocess": {"spacing": [2, 1, 1], "intensity": CT},
            "network": {"name": "unet", "options": {"strides": [1, 2], "features_per_stage": [4, 8]}},
            "training": {"patch_size": patch, "epochs": 1, "steps_per_epoch": 5, **training},
        }
    )


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("patch", [(8, 16, 16), (1, 16, 16)])
def test_an_encoder_learns_and_is_a_start(root, tmp_path, patch):
    plan, events = plan_of(root, patch), []
    assert view_size(plan) == patch[-2:] if patch[0] == 1 else view_size(plan) == patch
    weights = pretrain(plan, tmp_path / "run", progress=events.append)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert [event["event"] for event in events] == ["start", "prepared", "prepared", *["step"] * 5]
    torch.manual_seed(1)
    network = build_network(network_facts(plan))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    report = load_pretrained(network, weights, partial=True)
    assert not report.unexpected
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all("encoder." in key for key in changed)  # the decoder names the encoder, too
    assert any(key.startswith("decoder.") for key in report.random)


def test_an_interrupted_one_goes_on_as_if_nothing_had_been(root, tmp_path, caplog):
    plan = plan_of(root)
    expected = read_weights(pretrain(plan, tmp_path / "a" / "run"))

    def stop(event):
        if event.get("step") == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(plan, tmp_path / "b" / "run", progress=stop)
    assert read_status(tmp_path / "b" / "run") == {"state": "interrupted", "total": 5}
    shutil.copytree(tmp_path / "b", tmp_path / "d")
    steps = []
    weights = pretrain(plan, tmp_path / "b" / "run", progress=lambda event: steps.append(event.get("step")))
    assert [step for step in steps if step] == [3, 4, 5]
    assert same(read_weights(weights), expected)
    other = read_weights(pretrain(plan_of(root, seed=1), tmp_path / "c" / "run"))
    assert not same(other, expected)
    kept = tmp_path / "d" / "run" / "pretrain.ckpt"
    torch.save({**torch.load(kept, weights_only=True), "step": "many"}, kept)
    assert same(read_weights(pretrain(plan, tmp_path / "d" / "run")), expected)
    assert "pretrain.ckpt: damaged, pre-training begins anew" in caplog.text


def test_the_command_says_how_to_start_from_it(root, tmp_path, capsys):
    path = tmp_path / "plan.toml"
    path.write_text(plan_text(plan_of(root)))
    words = ["--device", "cpu", "training.steps_per_epoch=2", "--progress", "json"]
    assert main(["train", "--pretrain", "moco", str(path), *words]) == 0
    *_, last = map(json.loads, capsys.readouterr().out.splitlines())
    run = tmp_path / "plan-pretrained"
    weights = run / "encoder.safetensors"
    assert main(["train", "--watch", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"{run}: finished, step 2 of 2, loss ")
    assert f"--weights {weights}" in last["text"]
    assert weights.is_file()


def test_a_folder_of_another_plan_and_a_damaged_image_are_named(root, tmp_path):
    def stop(event):
        if event.get("step") == 3:
            raise KeyboardInterrupt

    data = write_dataset(tmp_path / "data", 1)
    plan = plan_of(data)
    with pytest.raises(KeyboardInterrupt):
        pretrain(plan, tmp_path / "run", progress=stop)
    write_dataset(data, 2)
    with pytest.raises(ParamsError, match=r"added, removed or changed since the run was begun \(case_1\)"):
        pretrain(plan, tmp_path / "run")
    (data / "image" / "case_1.mha").unlink()
    events, weights = [], pretrain(plan, tmp_path / "run")
    made = weights.stat().st_mtime_ns
    assert pretrain(plan, tmp_path / "run", progress=events.append) == weights  # it has ended
    assert events[0]["to_do"] == 0
    assert weights.stat().st_mtime_ns == made
    with pytest.raises(ParamsError, match="another plan"):
        pretrain(plan_of(data, seed=4), tmp_path / "run")
    broken = write_dataset(tmp_path / "broken", 1)
    (broken / "image" / "other.mha").write_bytes(b"no volume")
    with pytest.raises(CaseError, match="other: "):
        pretrain(plan_of(broken), tmp_path / "run2")
