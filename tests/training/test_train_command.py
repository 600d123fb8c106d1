"""`itkit train`, `itkit predict` and `itkit validate` as commands."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest

from itkit.cli import train, umbrella
from itkit.core import ranks
from itkit.core.errors import ParamsError
from itkit.io.formats.store import write_store
from itkit.io.sitk_toolkit import read_volume
from itkit.lightning import fitting
from itkit.training.plan_file import plan_text

from .cases import write_dataset
from .test_fitting import plan_of


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("command")
    write_dataset(root / "ct", 2)
    path = root / "plan.toml"
    text = plan_text(plan_of("ct", training={"epochs": 1}), {"preprocess.spacing": "the median of 2 cases"})
    path.write_text(text.replace("[network]", "# ours: see the minutes\n[network]"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(plan):
    run = plan.parent / "run"
    code = umbrella.main(["train", str(plan), "--device", "cpu", "--progress", "none", "-o", str(run)])
    return code, run


def test_it_trains_and_leaves_a_complete_folder(trained):
    code, run = trained
    assert code == 0
    kept = (run / "plan.toml").read_text(encoding="utf-8")
    assert "\n# -> the median of 2 cases\nspacing = " in kept
    assert "\n# ours: see the minutes\n[network]" in kept
    text = (run / "metrics.csv").read_text()
    assert text.splitlines()[0] == ("epoch,step,train_loss,learning_rate,val_dice,liver_dice,nodule_dice,seconds")
    facts = json.loads((run / "run.json").read_text())
    assert set(facts["split"]["train"]) | set(facts["split"]["val"]) == {"case_0", "case_1"}
    model = json.loads((run / "model" / "model.json").read_text())
    assert model["training_digest"] == facts["training_digest"]


def test_the_same_command_again_has_nothing_to_do_and_another_plan_is_refused(plan, trained, capsys):
    _, run = trained
    command = ["train", str(plan), "-o", str(run), "--device", "cpu", "--progress", "json"]
    assert umbrella.main(command) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["start", "prepared", "prepared", "end", "summary"]
    assert events[0]["to_do"] == 0
    assert umbrella.main([*command, "training.epochs=2"]) == 2
    assert "a run of another plan (training.epochs differ)" in capsys.readouterr().err


def test_json_events_tell_steps_volumes_and_metrics(plan, capsys):
    values = ["training.steps_per_epoch=2", "network.options.features_per_stage=[2, 4]"]
    out = ["-o", str(plan.parent / "json ü 1")]
    assert umbrella.main(["train", str(plan), *values, *out, "--device", "cpu", "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2]
    assert all(event["patches_per_s"] > 0 and event["seconds_left"] >= 0 for event in steps)
    assert [event["case"] for event in events if event["event"] == "volume"]
    assert events[-1]["event"] == "summary"
    assert events[-1]["exit_code"] == 0
    assert shlex.split(events[-1]["text"].partition("with: ")[2]) == ["itkit", "predict", out[1], "SOURCE", "DEST"]
    assert "<pre>itkit predict &#x27;json ü 1&#x27; SOURCE" in (plan.parent / "json ü 1" / "report.html").read_text()


def test_a_run_predicts_and_validates_with_its_own_split(trained, tmp_path, capsys):
    _, run = trained
    (val,) = json.loads((run / "run.json").read_text())["split"]["val"]
    source = run.parent / "ct"
    assert umbrella.main(["predict", str(run), str(source), str(tmp_path / "all"), "--progress", "none"]) == 0
    assert len(list((tmp_path / "all" / "label").glob("*.mha"))) == 2
    assert umbrella.main(["validate", str(run), "--progress", "none"]) == 0
    assert [path.name for path in (run / "validation" / "label").glob("*.mha")] == [f"{val}.mha"]
    rows = (run / "validation" / "evaluation" / "per_case.csv").read_text().splitlines()
    assert {row.split(",")[0] for row in rows[1:]} == {val}
    assert "2 done" in capsys.readouterr().out
    assert umbrella.main(["validate", str(run), "--progress", "json"]) == 0
    said = capsys.readouterr()
    *events, last = map(json.loads, said.out.splitlines())
    assert [event["operation"] for event in events if event["event"] == "start"] == ["itk_infer", "itk_evaluate"]
    assert not [event for event in events if event["event"] == "summary"]
    assert (last["event"], last["operation"], last["exit_code"]) == ("summary", "itkit validate", 0)
    assert last["counts"] == {"done": 0, "skipped": 1, "failed": 0}
    assert any("mean over 2 classes of 1 case" in line for line in last["lines"])
    assert said.err.count("1 skipped") == 2
    volume = source / "image" / f"{val}.mha"
    kept = volume.read_bytes()
    volume.write_bytes(b"no volume")
    try:
        assert umbrella.main(["validate", str(run), "-o", str(tmp_path / "bad"), "--progress", "json"]) == 2
    finally:
        volume.write_bytes(kept)
    summaries = [line for line in capsys.readouterr().out.splitlines() if '"event": "summary"' in line]
    assert [json.loads(line)["names"] for line in summaries] == [{"failed": [val]}]


def test_a_run_validates_cases_in_sub_folders_and_in_stores(trained, tmp_path, capsys):
    _, run = trained
    (val,) = json.loads((run / "run.json").read_text())["split"]["val"]
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("validation"))
    for name, old, new in (("run.json", f'"{val}"', f'"a/{val}"'), ("plan.toml", 'path = "../ct"', 'path = "../deep"')):
        text = (run / name).read_text()
        assert old in text
        (tmp_path / "run" / name).write_text(text.replace(old, new))
    files = {kind: run.parent / "ct" / kind / f"{val}.mha" for kind in ("image", "label")}

    def validate(run, out):
        code = umbrella.main(["validate", str(run), "-o", str(tmp_path / out), "--progress", "none"])
        path, said = tmp_path / out / "evaluation" / "per_case.csv", capsys.readouterr()
        return code, path.read_text().replace("a/", "") if path.exists() else "", said.out + said.err

    expected = validate(run, "flat")[1]
    for kind, path in files.items():
        (tmp_path / "deep" / kind / "a").mkdir(parents=True)
        shutil.copy(path, tmp_path / "deep" / kind / "a")
    assert validate(tmp_path / "run", "deep_files")[:2] == (0, expected)
    shutil.rmtree(tmp_path / "deep")
    store = tmp_path / "deep" / "a" / f"{val}.b2z"
    store.parent.mkdir(parents=True)
    write_store(store, {kind: read_volume(files[kind], kind) for kind in files})
    assert validate(tmp_path / "run", "stored")[:2] == (0, expected)
    assert "0 done, 1 skipped" in validate(tmp_path / "run", "stored")[2]
    store.write_bytes(b"no store")
    code, _, said = validate(tmp_path / "run", "damaged")
    assert code == 2
    assert f"a/{val}: " in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "expected a plan (plan.toml of itkit plan), or --watch RUN"),
        (["train", "none.toml"], "none.toml: can't be read"),
        (["train", "{plan}", "training.epoch=3"], "unknown key training.epoch; did you mean 'epochs'?"),
        (["train", "{plan}", "--fold", "2"], "--fold: expected 0 to 1; got 2"),
        (["train", "{plan}", "--device", "tpu"], "--device: expected auto, cpu, cuda or cuda:N"),
        (["train", "{plan}", "--weights", "none.pt"], "none.pt: no such file"),
        (["validate", "{plan}"], "expected a run of itkit train"),
        (["predict", "nowhere", "a", "b"], "expected a run of itkit train"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(plan, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("{plan}", str(plan)) for word in words]
    assert umbrella.main(words) == 2
    assert message in capsys.readouterr().err
    assert not list(plan.parent.glob("plan-fold*"))


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("error", [ParamsError("no such thing"), RuntimeError("Connection closed by peer")])
def test_a_second_process_tells_what_the_first_has_not(plan, monkeypatch, capsys, error, is_told):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(fitting, "fit", refuse)
    for name, value in {"is_first": lambda: False, "first_has_ended": lambda: is_told}.items():
        monkeypatch.setattr(train, name, value)
    command = ["train", str(plan), "--device", "cpu"]
    if not is_told and isinstance(error, RuntimeError):
        with pytest.raises(RuntimeError):
            umbrella.main(command)
    else:
        assert umbrella.main(command) == (1 if is_told else 2)
    assert ("no such thing" in capsys.readouterr().err) == (not is_told and isinstance(error, ParamsError))


@pytest.mark.parametrize(("rank", "told"), [("0", 1), ("1", 0)])
def test_of_processes_of_a_launcher_the_first_tells_at_once_what_is_refused(plan, monkeypatch, capsys, rank, told):
    def end(_seconds):
        raise KeyboardInterrupt  # as torchrun ends the others when the first has ended

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(ranks.time, "sleep", end)
    assert umbrella.main(["train", str(plan), "--device", "cpu", "network.name=unett"]) == 2
    assert capsys.readouterr().err.count("no network is called 'unett'") == told


def test_a_process_sees_that_the_one_that_started_it_has_ended(monkeypatch):
    waited = []
    monkeypatch.setattr(ranks.time, "sleep", waited.append)
    monkeypatch.setattr(ranks.time, "monotonic", lambda: sum(waited))
    for launcher, variables, seconds in (("torchrun", ["RANK", "LOCAL_RANK"], 1), ("Lightning", ["LOCAL_RANK"], 20)):
        with monkeypatch.context() as patch:
            for name in variables:
                patch.setenv(name, "1")
            assert not ranks.first_has_ended(), launcher
            assert sum(waited) == pytest.approx(seconds, abs=0.1), launcher
            waited.clear()
    monkeypatch.setattr(ranks.os, "getppid", iter([ranks._STARTER, 1, 1]).__next__)  # its parent is another one now
    assert ranks.first_has_ended()
    assert len(waited) == 1


def test_what_can_be_known_without_torch_is_refused_before_it_is_imported(plan, trained, tmp_path, capfd):
    other = [f"-o {shlex.quote(str(trained[1]))} training.seed=5", f"-o {shlex.quote(str(tmp_path / 'run'))} --fold 9"]
    rest = [f"-o {shlex.quote(str(tmp_path / 'run'))} {value}" for value in ("network.name=unett", "dataset.path=none")]
    calls = [["train", str(plan), "--progress", "json", *shlex.split(words)] for words in (*other, *rest)]
    script = f"import sys; from itkit.cli.umbrella import main; codes = [main(one) for one in {calls!r}]; "
    check = "assert codes == [2] * 4 and not {'torch', 'lightning'} & set(sys.modules), codes"
    subprocess.run([sys.executable, "-c", script + check], check=True)
    said = capfd.readouterr()
    texts = [json.loads(line)["text"] for line in said.out.splitlines()]
    assert [f"itkit train: error: {text}" for text in texts] == said.err.splitlines()
    for text, part in zip(texts, ("another plan", "--fold: expected 0 to 1", "no network is", "none/"), strict=True):
        assert part in text


def test_help_imports_neither_torch_nor_lightning():
    calls = "; ".join(f"main(['{verb}', '--help'])" for verb in ("train", "predict", "validate"))
    script = f"import sys; from itkit.cli.umbrella import main; {calls}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "matplotlib", "monai"} & set(done.stdout.split())


def test_a_missing_extra_is_named(plan, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    assert umbrella.main(["train", str(plan)]) == 2
    assert "pip install 'itkit[train]'" in capsys.readouterr().err


def test_the_folder_has_curves_pictures_and_a_page(trained, capsys):
    _, run = trained
    (val,) = json.loads((run / "run.json").read_text())["split"]["val"]
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in (run / "overlays").iterdir()] == [f"{val}.png"]
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    for text in (
        "finished",
        "liver",
        "nodule",
        "itkit predict run SOURCE DEST",
        "Training loss",
        "patch_size = [8, 16",
    ):
        assert text in page, text
    assert umbrella.main(["train", "--watch", str(run)]) == 0
    assert "finished, step 4 of 4" in capsys.readouterr().out
    assert not [path for path in run.rglob(".*") if path.name != ".itkit"]
