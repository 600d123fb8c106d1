"""Verbs that are no operations: options, help and errors come from their model."""

from typing import Annotated

import pytest

from itkit.catalogue import load
from itkit.cli import umbrella, verbs
from itkit.cli.help import help_text
from itkit.core.fields import Axes, Unit
from itkit.core.params import Params
from itkit.core.tool import Tool


class CountParams(Params):
    """Count things."""

    size: Annotated[tuple[int, int, int], Axes("ZYX"), Unit("voxels")]
    """size of a thing"""
    loud: bool = False
    """say it"""


seen = []


def run(params):
    seen.append(params)
    return 1 if params.loud else 0


TOOL = Tool("itkit count", CountParams, run, "itkit count --size 1 2 3")


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    seen.clear()
    verb = verbs.Verb(f"{__name__}:TOOL", "count")
    monkeypatch.setattr(umbrella, "VERBS", {**verbs.VERBS, "count": verb})


def test_a_tool_gets_its_checked_parameters_and_decides_the_exit_code():
    assert umbrella.main(["count", "--size", "3", "2", "1", "--loud"]) == 1
    assert seen == [CountParams(size=(3, 2, 1), loud=True)]


def test_its_help_has_units_and_an_example_but_no_options_of_operations(capsys):
    assert umbrella.main(["count", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: itkit count [options]\n\nCount things.")
    assert "size of a thing [order Z Y X; voxels]" in text
    assert "example:\n  itkit count --size 1 2 3" in text
    assert "--dry-run" not in text
    assert "--dry-run" in help_text(load("itk_check"))


def test_without_arguments_the_help_is_an_error(capsys):
    assert umbrella.main(["count"]) == 2
    assert "usage: itkit count" in capsys.readouterr().err


def test_a_wrong_value_is_one_line(capsys):
    assert umbrella.main(["count", "--size", "3", "2", "x"]) == 2
    assert capsys.readouterr().err.startswith("itkit count: error: --size")
    assert umbrella.main(["count", "--dry-run", "--size", "1", "1", "1"]) == 2


def test_every_verb_is_there_and_none_hides_an_operation():
    for verb in verbs.VERBS.values():
        module, _, attribute = verb.path.partition(":")
        assert hasattr(__import__(module, fromlist=["x"]), attribute)
    assert not verbs.VERBS.keys() & umbrella._OPERATIONS.keys()
