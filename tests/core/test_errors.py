"""Every error that a caller can meet stands in one tree, and crosses the border between processes."""

import importlib
import inspect
import pickle
import pkgutil

import pytest

import itkit
from itkit.core import errors
from itkit.core.errors import IrregularSeriesError, ItkitError

TREE = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ItkitError)]
LIGHT = ("core", "io", "process", "engine", "dataset", "testing", "report", "serving", "forms")


def test_no_module_defines_an_error_of_its_own():
    for part in LIGHT:
        for found in pkgutil.walk_packages([f"{itkit.__path__[0]}/{part}"], f"itkit.{part}."):
            if not found.name.endswith(("_native", ".mm_dataset")):  # the latter need MMEngine
                importlib.import_module(found.name)

    def below(kind):
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert {kind for kind in below(ItkitError) if kind.__module__.startswith("itkit.")} == set(TREE)


def test_the_picture_shows_every_error_under_its_parent():
    lines = inspect.getdoc(errors).splitlines()
    places = {}
    for kind in TREE:
        rows = [line for line in lines if kind.__name__ in line.replace("─", " ").split()]
        assert len(rows) == 1, kind
        places[kind] = rows[0].index(kind.__name__), lines.index(rows[0])
    for kind in TREE[1:]:
        column, row = places[kind]
        parent = max((found[1], other) for other, found in places.items() if found[0] < column and found[1] < row)[1]
        assert parent in kind.__bases__, kind


@pytest.mark.parametrize("kind", TREE)
def test_an_error_comes_back_from_a_worker_as_it_was(kind):
    again = pickle.loads(pickle.dumps(kind("case1: what is wrong")))
    assert type(again) is kind
    assert str(again) == "case1: what is wrong"


def test_the_codes_of_an_irregular_series_come_back_from_a_worker():
    again = pickle.loads(pickle.dumps(IrregularSeriesError("s", ["tilt", "echo", "tilt"])))
    assert again.reasons == ("tilt", "echo")
