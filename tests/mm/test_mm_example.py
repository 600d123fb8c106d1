"""The example trains, validates, tests, resumes and becomes a model of ITKIT; conversions there and back."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from itkit.cli.umbrella import main, script
from itkit.core.errors import ModelError
from itkit.inference.model_folder import read_model
from itkit.mm import convert, execute, run
from itkit.mm.records import read_record
from itkit.training.plan_file import read_plan

EXAMPLES = Path(__file__).parents[2] / "examples" / "mm_configdir"
CONFIG = EXAMPLES / "0.1.Phantoms" / "dynunet.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    runpy.run_path(str(EXAMPLES / "make_data.py"))["main"](folder, 6)
    return folder


@pytest.fixture
def roots(data, tmp_path, monkeypatch):
    monkeypatch.setenv("MM_DATADIR", str(data))
    monkeypatch.setenv("mm_configdir", str(EXAMPLES))
    monkeypatch.setenv("mm_testdir", str(tmp_path / "test"))
    monkeypatch.setenv("mm_workdir", str(tmp_path / "work"))
    monkeypatch.setattr(run, "runner", lambda: execute.run_job)
    return tmp_path


def weights(folder):
    return torch.load(folder / "0.1.Phantoms/dynunet/iter_40.pth", weights_only=False)["state_dict"]


@pytest.mark.slow
def test_the_example_trains_tests_and_resumes_exactly_and_becomes_a_model(roots):
    shorter = ["--cfg-options", "train_cfg.max_iters=40"]
    assert script("mmrun", ["0.1", *shorter]) == 0
    assert script("mmrun", ["0.1", *shorter, "--test"]) == 0
    work, test = roots / "work/0.1.Phantoms/dynunet", roots / "test/0.1.Phantoms/dynunet"
    metrics = read_record(test, "test")["metrics"]
    assert metrics["Dice_ball"] > 0.8
    assert {"mDice", "mIoU", "IoU_box", "Recall_box", "Precision_box"} <= metrics.keys()
    (report,) = test.glob("test_*.json")
    assert json.loads(report.read_text())["metrics"]["mDice"] == pytest.approx(metrics["mDice"])
    assert list((work / "overlays/val").glob("phantom_04_*.png"))
    assert (test / "overlays/test/phantom_05.png").is_file()
    elsewhere = ["0.1", "--work-dir-root", str(roots / "again")]
    assert script("mmrun", [*elsewhere, "--cfg-options", "train_cfg.max_iters=20"]) == 0
    assert script("mmrun", [*elsewhere, *shorter, "--resume"]) == 0
    whole, resumed = weights(roots / "work"), weights(roots / "again")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)

    (best,) = work.glob("best_mDice*.pth")
    model = roots / "model"
    assert main(["mm-convert", str(best), str(model), "--to", "model", "--config", str(CONFIG)]) == 0
    facts = read_model(model).facts
    assert facts.labels == {1: "ball", 2: "box"}
    assert facts.channels == ("CT",)
    assert facts.intensity.numbers == (-200, 200, 0, 80)
    assert facts.patch_size == (16, 16, 16)
    assert main(["mm-convert", str(model), str(roots / "back.pth"), "--to", "checkpoint"]) == 0
    back = torch.load(roots / "back.pth")["state_dict"]
    best_weights = torch.load(best, weights_only=False)["state_dict"]
    assert all(torch.equal(back[key], best_weights[key]) for key in back)
    assert back.keys() == {key for key in best_weights if key.startswith("backbone.")}


def test_a_configuration_becomes_a_plan_and_a_plan_a_configuration(roots, data, caplog):
    assert main(["mm-convert", str(CONFIG), str(roots / "plan.toml"), "--to", "plan"]) == 0
    plan = read_plan(roots / "plan.toml")
    assert plan.dataset.labels == {1: "ball", 2: "box"}
    assert plan.preprocess.spacing == (2.0, 1.0, 1.0)
    assert plan.preprocess.intensity.numbers == (-200, 200, 0, 80)
    assert plan.network.name == "dynunet"
    assert (plan.training.steps_per_epoch, plan.training.epochs) == (20, 3)
    assert plan.training.optimizer == "torch.optim.AdamW"
    assert plan.training.learning_rate == 3e-3
    assert plan.training.optimizer_options == {"weight_decay": 1e-4}
    assert plan.split.file == str(data / "splits.json")
    assert "custom_hooks: a plan has other means" in caplog.text
    made = roots / "configs/0.2.Back/net.py"
    made.parent.mkdir(parents=True)
    assert main(["mm-convert", str(roots / "plan.toml"), str(made), "--to", "config"]) == 0
    config = convert.load(made)
    again = convert.plan_of_config(config)
    assert again.model_dump(exclude={"validation"}) == plan.model_dump(exclude={"validation"})
    command = ["0.2", "--config-root", str(roots / "configs"), "--cfg-options", "train_cfg.max_iters=2"]
    assert script("mmrun", command) == 0


def test_what_cannot_be_converted_is_named(roots, capsys):
    assert main(["mm-convert", str(CONFIG), str(roots), "--to", "plan"]) == 2
    assert "is there already" in capsys.readouterr().err
    torch.save({"state_dict": {"head.weight": torch.zeros(2)}}, roots / "other.pth")
    with pytest.raises(ModelError, match="expected weights of a segmentor"):
        convert.weights_of_checkpoint(roots / "other.pth")
    config = convert.load(CONFIG)
    config.model.backbone["type"] = "mine"
    with pytest.raises(ModelError, match="network of ours"):
        convert.network_of_config(config)
    assert main(["mm-convert", "x.pth", str(roots / "m"), "--to", "model"]) == 2
    assert "give the configuration" in capsys.readouterr().err
