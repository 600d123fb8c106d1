"""Parameter models and command lines are two forms of one thing."""

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.catalogue import CATALOGUE, load
from itkit.cli.adapter import parse
from itkit.cli.help import help_text
from itkit.cli.operation import HELP_FOLDER
from itkit.cli.umbrella import main as umbrella
from itkit.core.errors import ParamsError
from itkit.core.fields import Axes, Unit
from itkit.engine.options import RunOptions
from itkit.engine.parameters import make_params, to_argv

spacing = st.one_of(st.just(-1.0), st.floats(1e-3, 1e3))
size = st.one_of(st.just(-1), st.integers(1, 5000))
text = st.from_regex(r"[A-Za-z0-9_./ äß日-]{1,12}", fullmatch=True).filter(str.strip)


@settings(max_examples=150, deadline=None)
@given(
    sp=st.tuples(spacing, spacing, spacing),
    sz=st.tuples(size, size, size),
    source=text,
    recursive=st.booleans(),
    fill=st.none() | st.floats(-1e4, 1e4),
    workers=st.none() | st.integers(1, 64),
    seed=st.integers(0, 2**40),
)
def test_argv_and_back_is_the_identity(sp, sz, source, recursive, fill, workers, seed):
    sz = tuple(-1 if a != -1 else b for a, b in zip(sp, sz, strict=True))
    if set(sp) == {-1.0} and set(sz) == {-1}:
        sz = (5, -1, -1)
    operation = load("itk_resample")
    values = {"mode": "image", "source": source, "dest": "out", "spacing": sp, "size": sz}
    params = make_params(operation.params, {**values, "recursive": recursive, "ext": ".nii.gz"})
    options = RunOptions(workers=workers, seed=seed, existing="redo", max_memory="3GB")
    assert parse(operation, to_argv(params, options)) == (params, options)
    assert fill is None or parse(
        load("itk_aug"), ["i", "l", "-oimg", "o", "--random-rot", "1", "2", "3", "--fill", str(fill)]
    )[0].fill == pytest.approx(fill)


@pytest.mark.parametrize("name", ["-raw", "--mp", "-5", "-", "-h"])
def test_a_path_that_begins_with_a_dash_is_no_option(name):
    orient = load("itk_orient")
    params = make_params(orient.params, {"source": name, "dest": f"{name} out", "orient": "LPI"})
    assert parse(orient, to_argv(params))[0] == params
    check = load("itk_check")
    params = make_params(check.params, {"mode": "copy", "source": "raw", "output": name})
    assert parse(check, to_argv(params))[0] == params


def test_a_text_that_begins_with_a_dash_is_no_option_either():
    params = make_params(load("itk_split").params, {"source": "raw", "folds": 2, "group_by": r"-\d+$"})
    assert parse(load("itk_split"), to_argv(params))[0] == params
    evaluate = load("itk_evaluate")
    params = make_params(evaluate.params, {"gt": "a", "pred": "b", "dest": "c", "labels": ("-old", "liver", "-2")})
    assert parse(evaluate, to_argv(params))[0] == params
    with pytest.raises(ParamsError, match="--labels"):
        parse(evaluate, ["a", "b", "c", "--labels", "-old"])


def test_values_never_swallow_positional_arguments():
    operation = load("itk_resample")
    for argv in (
        ["--spacing", "1", "-1", "2", "image", "in", "out"],
        ["image", "--spacing", "1", "-1", "2", "in", "out"],
        ["image", "in", "out", "--spacing", "1", "-1", "2"],
    ):
        params, _ = parse(operation, argv)
        assert (params.mode, str(params.source), params.spacing) == ("image", "in", (1.0, -1.0, 2.0))


def test_negative_mappings_are_no_options():
    params, _ = parse(load("itk_extract"), ["in", "out", "-1:5", "3:-70000"])
    assert params.mapping == {-1: 5, 3: -70000}


def test_explicit_beats_file_beats_default(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('spacing = [2, 2, 2]\n"dest-folder" = "there"\nworkers = 3\n')
    argv = ["image", "in", "--config", str(config), "--workers", "5"]
    params, options = parse(load("itk_resample"), argv)
    assert (params.spacing, str(params.dest), options.workers) == ((2.0, 2.0, 2.0), "there", 5)
    config.write_text("spacin = 1")
    with pytest.raises(ParamsError, match=r"run\.toml: unknown parameter 'spacin'; did you mean 'spacing'"):
        parse(load("itk_resample"), argv)


@pytest.mark.parametrize("line", ["spacing = [true, 1, 1]", 'mp = "yes"', "workers = true", "recursive = 1"])
def test_flags_in_a_file_are_no_numbers_and_numbers_no_flags(tmp_path, line):
    (tmp_path / "run.toml").write_text(line)
    with pytest.raises(ParamsError, match=f"{line.split()[0]}: expected"):
        parse(load("itk_resample"), ["image", "in", "out", "--config", str(tmp_path / "run.toml")])


def test_a_file_may_name_what_the_help_names_and_may_be_what_a_run_wrote(tmp_path, command):
    config = tmp_path / "run.json"
    config.write_text('{"mode": "image", "source": "a", "dest": "b", "size": [1, 2, 3]}')
    from itkit.testing import phantoms

    params, _ = parse(load("itk_resample"), ["--config", str(config)])
    assert (str(params.source), str(params.dest)) == ("a", "b")
    phantoms.write_dataset(tmp_path / "raw", 1)
    assert command("itk_orient", "raw", "out", "RAI", "--seed", 4, cwd=tmp_path)[0] == 0
    told = tmp_path / "out" / "orient_configs.json"
    params, options = parse(load("itk_orient"), ["--config", str(told), "--ext", ".nii"])
    assert (params.orient, params.ext, params.source, options.seed) == ("RAI", ".nii", tmp_path / "raw", 4)
    with pytest.raises(ParamsError, match="describes a run of itk_orient, not of itk_resample"):
        parse(load("itk_resample"), ["--config", str(told)])


def test_an_abbreviation_keeps_its_letters_in_help():
    text = " ".join(help_text(load("itk_convert")).split())
    assert "dicom-series: DICOM series that" in text
    assert "dicom: template of case names" in text


@pytest.mark.parametrize("name", CATALOGUE)
def test_help_shows_order_unit_default_and_a_command_that_parses(name):
    operation = load(name)
    text = help_text(operation)
    for field in operation.params.model_fields.values():
        for item in field.metadata:
            if isinstance(item, Axes) and set(item.order) == set("ZYX"):
                assert "Z Y X" in text or "Z [Y X]" in text
            if isinstance(item, Unit):
                assert item.name in text
    program, *argv = shlex.split(operation.example)
    if program == "itkit":
        program = argv.pop(0)
    if program == "convert-dataset":
        program = f"convert_{argv.pop(0)}"
    assert program == name
    parse(operation, argv)
    assert Path(HELP_FOLDER, f"{name}.txt").read_text(encoding="utf-8") == text, "run: make help-pages"


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_parameter_is_documented_and_has_a_schema(name):
    model = load(name).params
    assert all(model.descriptions()[field] for field in model.model_fields)
    schema = json.dumps(model.model_json_schema())
    if name == "itk_resample":
        assert '"x-axes": "ZYX"' in schema
        assert '"x-unit": "mm"' in schema


def test_umbrella_runs_verbs_and_hints_at_typos(capsys, tmp_path):
    assert umbrella(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed and entry.summary in listed for name, entry in CATALOGUE.items())
    assert umbrella(["resampel"]) == 2
    assert "did you mean 'resample'" in capsys.readouterr().err
    assert umbrella(["resample", "image", str(tmp_path / "none"), str(tmp_path / "o"), "--size", "4", "4", "4"]) == 2
    assert umbrella(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "SimpleITK" in out
    assert "kernels" in out


def test_rerun_repeats_a_run(tmp_path, command):
    from itkit.testing import phantoms

    phantoms.write_dataset(tmp_path / "raw", 2)
    code, _, _ = command("itk_orient", "raw", "out", "LPI", "--mp", cwd=tmp_path)
    assert code == 0
    (tmp_path / "out" / "image" / "case_00.mha").unlink()
    for file in ("out/.itkit/run.json", "out/orient_configs.json"):
        code, _, stderr = command("itkit", "rerun", file, cwd=tmp_path)
        assert code == 0, stderr
    assert (tmp_path / "out" / "image" / "case_00.mha").exists()
    assert command("itkit", "rerun", "raw", cwd=tmp_path)[0] == 2


def test_json_progress_is_json_alone(tmp_path, command):
    from itkit.testing import phantoms

    phantoms.write_dataset(tmp_path / "raw", 2)
    code, stdout, stderr = command("itk_orient", "raw", "out", "LPI", "--progress", "json", cwd=tmp_path)
    events = [json.loads(line) for line in stdout.splitlines()]
    assert code == 0
    assert [event["event"] for event in events] == ["start", "case", "case", "summary"]
    assert "2 done" in stderr


def test_a_list_of_whole_numbers_ends_where_words_begin_and_takes_negative_ones():
    params, _ = parse(load("itk_check"), ["check", "--labels", "-1", "0", "2", "raw"])
    assert params.labels == (-1, 0, 2)
    assert str(params.source) == "raw"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("dataset raw out --spacin 1 1 1", "--spacin 1 1 1; did you mean --spacing?"),
        ("dataset raw out --spacing 1 1 1 --interpolaton=linear", "did you mean --interpolation?"),
        ("dataset raw out -spacing 1 1 1", "did you mean --spacing?"),
        ("dataset raw out --spacing 1 1 x", "--spacing: expected 3 values in the order Z Y X; got 1 1 and then 'x'"),
        ("--size 8 8 dataset raw out", "--size: expected 3 values in the order Z Y X; got 8 8 and then 'dataset'"),
        ("dataset raw out --spacing 1 1 1 more words", "unrecognized arguments: more words; see"),
    ],
)
def test_a_slip_in_an_option_is_told_by_what_was_meant(argv, says):
    with pytest.raises(ParamsError) as error:
        parse(load("itk_resample"), argv.split())
    assert says in str(error.value)


def test_the_first_of_several_values_may_follow_an_equals_sign():
    params, _ = parse(load("itk_resample"), ["dataset", "raw", "out", "--spacing=1", "2", "3"])
    assert params.spacing == (1, 2, 3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--ext", ".nii.gz", "--ext", ".mha"], "--ext: given twice, .nii.gz and .mha; it takes one of them"),
        (["--spacing", "1", "2", "3", "--spacing", "2"], "--spacing: given twice, 1 2 3 and 2; it takes one of them"),
        (["--dry-run", "--dry-run", "--workers", "2", "--workers=2"], None),
    ],
)
def test_an_option_that_takes_one_value_keeps_none_of_two_silently(words, says):
    argv = ["image", "in", "out", "--orient", "RAS", *words]
    if says is None:
        assert parse(load("itk_resample"), argv)[1].workers == 2
        return
    with pytest.raises(ParamsError) as told:
        parse(load("itk_resample"), argv)
    assert str(told.value) == says


def test_a_list_of_any_length_may_be_given_in_parts():
    params, _ = parse(load("itk_describe"), ["d", "--labels", "1=a", "2=b", "--modality", "CT", "--labels", "3=c"])
    assert params.labels == ("1=a", "2=b", "3=c")
