"""The catalogue names what there is, and what there is is in the catalogue."""

import sys
from pathlib import Path

import pytest

import itkit
from itkit.catalogue import ALIASES, CATALOGUE, find, load, named
from itkit.cli.main import SCRIPTS
from itkit.core.errors import ParamsError
from itkit.core.geometry import Geometry
from itkit.core.operation import CaseInput
from itkit.process.common import converted_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(itkit.__file__).parent


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_names_its_operation(name):
    assert load(name).name == name


def test_every_operation_of_the_tree_is_in_the_catalogue():
    found = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for folder in ("process", "dataset", "inference", "pathology")
        for path in (ROOT / folder).rglob("*.py")
        if "\nOPERATION" in path.read_text(encoding="utf-8")
    }
    assert found == {entry.path.partition(":")[0] for entry in CATALOGUE.values()}


WINDOWS = {"itkit-app": "itkit.gui.app:main"}


def test_every_command_is_a_script_and_every_script_a_command():
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    scripts = project["project"]["scripts"]
    assert {name: scripts.pop(name, None) for name in WINDOWS} == WINDOWS
    names = ["itkit", *SCRIPTS, *named("process")]
    assert scripts == dict.fromkeys(names, "itkit.cli.main:command")


def test_an_alias_is_its_operation_with_parameters():
    for alias, (name, values) in ALIASES.items():
        assert find(alias) is CATALOGUE[name]
        assert values.keys() <= load(name).params.model_fields.keys()


def test_an_unknown_name_is_told_with_a_close_one():
    with pytest.raises(ParamsError, match="no operation 'convert_kits32'; did you mean 'convert_kits23'"):
        load("convert_kits32")


def test_names_of_functions_are_given_once():
    functions = [entry.function or name for name, entry in CATALOGUE.items()]
    assert len(set(functions)) == len(functions)
    assert all(name.isidentifier() for name in functions)


def test_the_voxel_type_of_every_operation_is_counted():
    """`--dtype float64` on 1000 voxels of bytes takes 8000 bytes more, whichever command it is."""
    grid = Geometry((10, 10, 10), (1.0, 1.0, 1.0))
    counted = []
    for name in CATALOGUE:
        operation = load(name)
        if "dtype" not in operation.params.model_fields:
            continue
        values = {"mode": "format", "source": Path(), "dest": Path()}  # as far as a command has them
        known = {key: value for key, value in values.items() if key in operation.params.model_fields}
        wide = operation.params.model_construct(**known, dtype="float64")
        inputs = {"image": CaseInput(grid, "uint8", 1000)}
        assert converted_bytes(inputs, wide) == 8000, name
        counted.append(name)
    assert {"itk_orient", "itk_resample", "itk_patch", "itk_aug", "itk_convert"} <= set(counted)
