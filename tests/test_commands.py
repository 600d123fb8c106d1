"""Every operation is a Python function whose types and help come from its model."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import itkit
from itkit.catalogue import CATALOGUE, load
from itkit.cli.function_stubs import stub_text
from itkit.cli.help_pages import STUBS
from itkit.commands import FUNCTIONS
from itkit.core.errors import ParamsError
from itkit.engine.options import RunOptions
from itkit.testing import phantoms


def test_every_operation_has_a_function():
    assert set(FUNCTIONS.values()) == set(CATALOGUE)
    assert set(FUNCTIONS) <= set(dir(itkit))


@pytest.mark.parametrize("title", FUNCTIONS)
def test_signature_and_help_name_every_parameter(title):
    function = getattr(itkit, title)
    model = load(FUNCTIONS[title]).params
    signature = inspect.signature(function)
    text = inspect.getdoc(function)
    for name, field in model.model_fields.items():
        parameter = signature.parameters[name]
        assert (parameter.default is inspect.Parameter.empty) == field.is_required()
        assert field.is_required() or parameter.default == field.default
        assert f"\n{name}\n    " in text
    assert {"workers", "dry_run", "on_event"} <= signature.parameters.keys()


def test_stubs_say_what_the_models_say():
    assert STUBS.read_text(encoding="utf-8") == stub_text(), "run: make help-pages"


def test_folders_come_first_whatever_the_command_line_asks_for():
    names = list(inspect.signature(itkit.resample_dataset).parameters)
    assert names[:3] == ["source", "dest", "mode"]


def test_a_function_does_what_the_command_does(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    result = itkit.orient_dataset(tmp_path / "raw", str(tmp_path / "turned"), "LPI", compression="none")
    assert result.exit_code == 0
    assert itkit.read(tmp_path / "turned" / "image" / "case_00.mha").geometry.orientation == "LPI"
    again = itkit.run("itk_orient", source=tmp_path / "raw", dest=tmp_path / "turned", orient="LPI", compression="none")
    assert {record.status for record in again.records} == {"skipped"}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: itkit.orient_dataset("a", "b", "LPI", ".mha"), "got 4 values without a name; at most 3 are allowed"),
        (lambda: itkit.orient_dataset("a", "b", source="c"), "orient_dataset: source is given twice"),
        (lambda: itkit.orient_dataset("a", "b"), "missing orient: "),
        (lambda: itkit.orient_dataset("a", "b", "LPI", spacin=1), "unknown parameter 'spacin'"),
        (lambda: itkit.orient_dataset("a", "b", "LPX"), "expected a code such as LPS"),
        (lambda: itkit.orient_dataset("a", "b", "LPI", workers="many"), "--workers: "),
        (lambda: itkit.run("itk_orientt"), "no operation 'itk_orientt'; did you mean 'itk_orient'"),
        (lambda: itkit.run(5), "expected the name of an operation, or an operation; got 5"),
        (lambda: itkit.run("itk_orient", 5), "itk_orient takes OrientParams; got int"),
    ],
)
def test_a_wrong_argument_is_named(call, said):
    with pytest.raises(ParamsError) as caught:
        call()
    assert said in str(caught.value)


def test_run_tells_every_option_in_its_help():
    text = inspect.getdoc(itkit.run)
    assert all(f"``{name}``" in text for name in RunOptions.model_fields)
    assert itkit.operations()["convert_kits23"] == CATALOGUE["convert_kits23"].summary


def test_run_takes_a_file_of_parameters(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    (tmp_path / "run.toml").write_text(f"source = '{tmp_path}/raw'\norient = 'LPI'\nseed = 3\n")
    result = itkit.run("itk_orient", config=tmp_path / "run.toml", dest=tmp_path / "out", orient="RAS")
    assert result.exit_code == 0
    assert itkit.read(tmp_path / "out" / "image" / "case_00.mha").geometry.orientation == "RAS"


def test_dir_shows_what_is_public_and_nothing_else():
    shown = dir(itkit)
    assert {"Volume", "Geometry", "run", "read", "orient", "orient_dataset", "__version__"} <= set(shown)
    assert not {"annotations", "import_module", "VERSION", "TYPE_CHECKING", "core", "engine"} & set(shown)
    assert all(hasattr(itkit, name) for name in shown)
    assert set(itkit.__all__) == set(shown) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'resampel_dataset'"):
        itkit.resampel_dataset  # noqa: B018


@pytest.mark.slow
def test_a_type_checker_sees_parameters(tmp_path):
    (tmp_path / "user.py").write_text(
        "import itkit\n"
        "itkit.orient_dataset('a', 'b', 'LPI', workers=2)\n"
        "itkit.orient_dataset('a', 'b', orient=5)\n"
        "itkit.orient_dataset('a', 'b', 'LPI', many=2)\n"
        "itkit.resample_dataset('a', 'b', 'images')\n"
        "itkit.reed('a')\n"
    )
    call = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "user.py"]
    environment = {"MYPYPATH": str(Path(itkit.__file__).parents[1]), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    wrong = [line.split(":")[1] for line in done.stdout.splitlines() if line.startswith("user.py") and "error" in line]
    assert wrong == ["3", "4", "5", "6"], done.stdout
