"""The lowest versions are read from pyproject.toml, and every requirement has one."""

import pytest

from tools import lowest

PROJECT = {
    "name": "ours",
    "dependencies": ["numpy>=1.26", "tomli>=2; python_version < '3.11'"],
    "optional-dependencies": {"web": ["fastapi>=0.135,<1"], "serve": ["ours[web]", "pinned==1.4.0"], "bad": ["x"]},
}


def test_extras_that_name_others_are_followed():
    expected = {"numpy": "1.26", "tomli": "2", "fastapi": "0.135", "pinned": "1.4.0"}
    assert lowest.lowest(PROJECT, ["base", "serve"]) == expected


def test_a_requirement_without_a_lowest_version_is_refused():
    with pytest.raises(ValueError, match="'x': states no lowest version"):
        lowest.lowest(PROJECT, ["bad"])


def test_every_requirement_of_ours_has_one_lowest_version(capsys):
    names = [*lowest.tomllib.loads((lowest.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]]
    assert lowest.main(["base", *names]) == 0
    assert "SimpleITK==" in capsys.readouterr().out
