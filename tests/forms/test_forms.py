"""Forms are made from the models alone, and check what was typed by the models."""

import ast
import json
from pathlib import Path
from typing import Annotated, Literal

import pytest

import itkit
from itkit.catalogue import CATALOGUE, Entry, load
from itkit.cli.adapter import parse, parse_tool
from itkit.core.errors import ParamsError
from itkit.core.fields import Deletes, Group, OnlyWith, Positional, Unit
from itkit.core.params import Params
from itkit.core.tool import Tool
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params
from itkit.forms.checking import check
from itkit.forms.command import Command, command_of
from itkit.forms.description import form_of, option_form
from itkit.forms.pages import load_command, pages
from itkit.forms.presets import load_preset, save_preset
from itkit.forms.progress import RunView

FORMS = {name: form_of(load(name)) for name in CATALOGUE}
ALL_KINDS = {"file", "folder", "dataset", "number", "triplet", "several", "choice", "flag", "text", "list", "steps"}


def test_every_parameter_of_every_operation_stands_in_its_form_once():
    for name, form in FORMS.items():
        fields = [field.name for field in form.fields]
        assert sorted(fields) == sorted(load(name).params.model_fields), name
        assert sorted(field.name for fields in form.groups.values() for field in fields) == sorted(fields)
        assert all(field.help and field.label for field in form.fields), name
        json.dumps(form.as_json())
    assert {field.kind for form in FORMS.values() for field in form.fields} == {*ALL_KINDS, "secret"}


def test_positional_parameters_come_first():
    places = [field.is_positional for field in FORMS["itk_resample"].fields]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize(
    ("operation", "name", "expected"),
    [
        ("itk_resample", "size", {"kind": "triplet", "item": "integer", "axes": "ZYX", "unit": "voxels", "keep": -1}),
        ("itk_resample", "spacing", {"blank": "keep"}),
        ("itk_check", "min_size", {"keep": -1, "blank": "any"}),
        ("itk_resample", "mode", {"kind": "choice", "choices": ("image", "label", "dataset"), "required": True}),
        ("itk_resample", "dest", {"kind": "folder", "writes": True}),
        ("itk_patch", "source", {"kind": "dataset", "writes": False}),
        ("itk_patch", "minimum_foreground_ratio", {"kind": "number", "item": "number", "default": 0.0}),
        ("itk_convert", "key", {"kind": "secret", "variable": "ITKIT_KEY", "default": None}),
        ("itk_check", "same_spacing", {"kind": "several", "choices": ("X", "Y", "Z"), "parts": ("A", "B")}),
        ("itk_check", "mode", {"deletes": ("delete",)}),
        ("itk_evaluate", "format", {"kind": "list", "item": "choice", "choices": ("csv", "xlsx", "json", "html")}),
        ("itk_presegment", "threshold", {"kind": "several", "parts": ("LO", "HI")}),
    ],
)
def test_a_field_says_what_the_markers_say(operation, name, expected):
    field = FORMS[operation].by_name[name]
    assert {key: getattr(field, key) for key in expected} == expected


def test_a_field_that_needs_another_one_says_which():
    form = FORMS["itk_resample"]
    field = form.by_name["fill"]
    assert not field.matters({}, form.by_name)
    assert not field.matters({"target_folder": ""}, form.by_name)
    assert field.matters({"target_folder": "reference"}, form.by_name)
    form = FORMS["itk_convert"]
    assert form.by_name["keep_ids"].matters({"mode": "dicom"}, form.by_name)
    assert not form.by_name["keep_ids"].matters({"mode": "format"}, form.by_name)


def test_run_options_leave_out_what_the_window_sets_itself():
    names = set(option_form().by_name)
    assert names == set(RunOptions.model_fields) - {"dry_run", "progress", "config"}


class ProbeParams(Params):
    """Look at a probe."""

    kind: Annotated[Literal["soft", "hard"], Positional()]
    """Which one."""
    depth_mm: Annotated[float, Unit("mm"), Group("How"), OnlyWith(kind="hard")] = 1.5
    """How deep."""
    wipe: Annotated[bool, Deletes()] = False
    """Remove the probe."""


def test_a_tool_has_a_form_too():
    form = form_of(Tool("itkit probe", ProbeParams, lambda params: 0, "itkit probe soft"))
    assert (form.title, form.help) == ("Probe", "Look at a probe.")
    assert [(field.name, field.label, field.unit, field.group) for field in form.fields] == [
        ("kind", "Kind", "", ""),
        ("depth_mm", "Depth", "mm", "How"),
        ("wipe", "Wipe", "", ""),
    ]
    assert [field.name for field in form.deleting({"wipe": True})] == ["wipe"]
    assert form.deleting({"wipe": False}) == []


def checked(name, **values):
    return check(load(name).params, FORMS[name].fields, values)


def test_texts_as_they_were_typed_become_parameters():
    found = checked(
        "itk_resample", mode="image", source="raw", dest="out", spacing=[" 1.5", "-1", "2"], fill="", dtype=None
    )
    assert found.params == make_params(
        load("itk_resample").params, {"mode": "image", "source": "raw", "dest": "out", "spacing": (1.5, -1, 2)}
    )


@pytest.mark.parametrize(
    ("name", "values", "field", "words"),
    [
        ("itk_resample", {"spacing": ["1", "x", "2"]}, "spacing", "Spacing Y: expected a number"),
        ("itk_resample", {"spacing": ["1", "0", "2"]}, "spacing", "Spacing: Y: expected > 0 mm, or -1"),
        ("itk_resample", {"spacing": ["1", "", "2"]}, "spacing", "Spacing Y"),
        ("itk_resample", {"mode": None}, "mode", "missing"),
        ("itk_resample", {"source": ""}, "source", "missing"),
        ("itk_resample", {"fill": "3"}, "fill", "“Fill” only matters with “Target folder”"),
        ("itk_resample", {"orient": "XYZ"}, "orient", "expected a code such as LPS"),
        ("itk_resample", {"size": ["8", "8", "8"], "spacing": ["1", "1", "1"]}, "spacing", "both set axis Z"),
    ],
)
def test_the_models_own_message_stands_beside_its_field(name, values, field, words):
    found = checked(name, **{"mode": "image", "source": "raw", "dest": "out", **values})
    assert found.params is None
    assert list(found.problems) == [field]
    assert words in found.problems[field]
    assert found.text == found.problems[field]


def test_two_wrong_fields_have_a_message_each():
    found = checked("itk_patch", source="raw", dest="out", patch_size=["0", "8", "8"], foreground="0.2")
    assert set(found.problems) == {"patch_size", "foreground"}


def test_the_command_line_is_the_one_that_the_parser_reads_back():
    operation = load("itk_resample")
    values = {"mode": "image", "source": "my raw", "dest": "out", "spacing": ["1.5", "-1", "2"]}
    params = checked("itk_resample", **values).params
    command = command_of(operation, params, RunOptions(workers=2))
    assert command.text == "itk_resample image 'my raw' out --spacing 1.5 -1.0 2.0 --workers 2"
    assert parse(operation, command.argv) == (params, RunOptions(workers=2))
    assert command.words(plan=True)[-3:] == ["--dry-run", "--progress", "json"]


def test_secrets_stand_in_no_command_line(monkeypatch):
    monkeypatch.delenv("ITKIT_KEY", raising=False)
    params = checked("itk_convert", mode="dicom", source="raw", dest="out", key="a secret of mine").params
    command = command_of(load("itk_convert"), params)
    assert "secret" not in command.text + repr(command) + " ".join(command.words())
    assert command.environment()["ITKIT_KEY"] == "a secret of mine"


def test_a_line_for_people_is_quoted_for_a_shell():
    assert Command("itk_orient", ("a; rm -rf $HOME", "out", "LPI")).text == "itk_orient 'a; rm -rf $HOME' out LPI"


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_a_preset_is_what_config_takes(tmp_path, suffix):
    operation = load("itk_enhance")
    values = {"source": 'with "quotes"', "dest": "größe", "steps": ["clip -160 240", "normalize zscore"]}
    params = checked("itk_enhance", **values).params
    options = RunOptions(workers=2, existing="redo")
    path = tmp_path / f"preset{suffix}"
    save_preset(path, operation, params, options)
    assert parse(operation, ["--config", str(path)])[0] == params
    loaded = load_preset(path, operation)
    assert loaded["workers"] == 2
    assert loaded["steps"] == ["clip -160 240", "normalize zscore"]
    assert "recursive" not in loaded


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('mode = "volumes"', "input should be 'image', 'label' or 'dataset'; got 'volumes'"),
        ("spacing = [1, 2]", "--spacing: expected 3 values"),
        ('workers = "many"', "--workers: "),
    ],
)
def test_a_preset_with_a_value_that_a_form_can_not_show_is_refused(tmp_path, text, told):
    (tmp_path / "p.toml").write_text(f"{text}\nrecursive = true\n")
    with pytest.raises(ParamsError, match=r"p\.toml: ") as error:
        load_preset(tmp_path / "p.toml", load("itk_resample"))
    assert told in str(error.value)
    (tmp_path / "p.toml").write_text("recursive = true\n")  # what is missing can be filled in
    assert load_preset(tmp_path / "p.toml", load("itk_resample")) == {"recursive": True}


def test_a_preset_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.delenv("ITKIT_KEY", raising=False)
    params = checked("itk_convert", mode="dicom", source="raw", dest="out", key="a secret of mine").params
    save_preset(tmp_path / "p.toml", load("itk_convert"), params)
    assert "secret" not in (tmp_path / "p.toml").read_text()


def test_pages_are_found_by_words(monkeypatch):
    found, wrong = pages()
    assert [page.name for page in found[:3]] == ["itk_check", "itk_resample", "itk_orient"]
    assert not wrong
    assert [page.name for page in found if page.answers("grid extent")] == ["itk_resample"]
    entry = Entry("itkit.process.itk_orient:OPERATION", "turn", "laboratory")
    monkeypatch.setattr("itkit.forms.pages.CATALOGUE", {"itk_turn": entry})
    assert [(page.title, page.group) for page in pages()[0] if not page.is_tool] == [("Turn", "Laboratory")]


def test_tools_have_pages_beside_those_of_operations():
    tools = [page for page in pages()[0] if page.is_tool]
    wanted = {f"itkit {verb}" for verb in ("plan", "train", "validate", "predict", "export")}
    assert wanted <= {page.name for page in tools}
    for page in tools:
        tool = load_command(page.name)
        assert isinstance(tool, Tool)
        assert tool.name == page.name
        assert load_command(page.name.removeprefix("itkit ")) is tool
        form = form_of(tool)
        assert {field.name for field in form.fields} <= tool.params.model_fields.keys()
        assert all(field.help for field in form.fields), page.name
    with pytest.raises(ParamsError):
        load_command("itkit serve")  # a server is started by those who look after the machine


def test_a_tools_command_tells_events_and_is_never_run_dry():
    tool = load_command("itkit train")
    params = check(tool.params, form_of(tool).fields, {"plan": "my plan.toml", "values": ["training.epochs=3"]}).params
    command = command_of(tool, params)
    assert command.text == "itkit train 'my plan.toml' training.epochs=3"
    assert command.words(plan=True)[3:] == ["train", "my plan.toml", "training.epochs=3", "--progress", "json"]
    assert parse_tool(tool, command.argv) == params
    silent = load_command("itkit export")
    values = {"model": "run", "dest": "out", "to": "onnx"}
    assert command_of(silent, check(silent.params, form_of(silent).fields, values).params).words()[-1] == "onnx"


def test_a_value_of_a_plan_is_no_option():
    tool = load_command("itkit train")
    found = check(tool.params, form_of(tool).fields, {"plan": "p.toml", "values": ["--out=/tmp"]})
    assert found.params is None
    assert "--out=/tmp" in found.text


def test_a_training_shows_steps_its_own_time_left_and_what_it_does():
    view = RunView()
    view.add({"event": "start", "operation": "itkit train", "total": 40, "to_do": 40, "notes": [], "dest": "run"})
    view.add({"event": "prepared", "case": "a", "number": 1, "total": 3})
    assert (view.unit, view.doing, view.left_s()) == ("step", "preparing case 1 of 3", None)
    view.add({"event": "step", "step": 10, "epoch": 2, "train_loss": 0.25, "seconds_left": 90.0})
    assert (view.share, view.doing, view.left_s(), view.dest) == (0.25, "epoch 2, loss 0.25", 90.0, "run")
    view.add({"event": "summary", "operation": "itkit train", "exit_code": 0, "text": "trained", "interrupted": False})
    assert (view.doing, view.left_s()) == ("", None)


def test_a_tool_that_runs_two_operations_counts_each():
    view = RunView()
    for name in ("itk_infer", "itk_evaluate"):
        view.add({"event": "start", "operation": name, "total": 2, "to_do": 2, "notes": [], "unpaired": []})
        assert (view.ended, view.summary) == (0, None)
        for case in "ab":
            view.add({"event": "case", "case": case, "status": "done", "seconds": 1.0})
        view.add({"event": "summary", "operation": name, "text": "2 done", "exit_code": 0})
    assert (view.ended, view.total, view.unit) == (2, 2, "case")


def test_a_preset_of_a_tool_is_read_back(tmp_path):
    tool = load_command("itkit plan")
    params = check(tool.params, form_of(tool).fields, {"dataset": "ct", "patch_size": ["8", "16", "16"]}).params
    save_preset(tmp_path / "p.toml", tool, params)
    assert load_preset(tmp_path / "p.toml", tool) == {"dataset": "ct", "patch_size": [8, 16, 16]}


def names_in(package):
    """Return the texts and keyword names in a package's code, docstrings left out."""
    for path in sorted((Path(itkit.__file__).parent / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))]
        said = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                yield path.name, node.value


GENERAL = {"mode", "name", "label", "format", "path", "output", "labels", "merge", "order", "server", "part", "series"}
GENERAL |= {"source", "device", "link", "table", "transform", "image", "key", "size", "batch", "number", "report"}
GENERAL |= {"map", "spacing", "layout", "to", "metric", "store", "fill", "test", "threshold", "model", "target", "init"}
GENERAL |= {"dataset", "plan", "run", "out", "replace"}
"""Words that are parameters somewhere, and mean something else, too."""


IN_EVENTS = {"dest", "inputs", "steps", "epoch"}
"""Keys of a run's events, and a kind of field."""


IN_WINDOWS = {"steps", "workers"}
"""A kind of field, and nothing else."""


@pytest.mark.parametrize(("package", "more"), [("forms", IN_EVENTS), ("gui", IN_WINDOWS)])
def test_no_parameter_is_known_by_name(package, more):
    tools = [form_of(load_command(page.name)) for page in pages()[0] if page.is_tool]
    parameters = {name for form in [*FORMS.values(), *tools, option_form()] for name in form.by_name}
    named = {(file, text) for file, text in names_in(package) if text in parameters - GENERAL - more}
    assert not named
