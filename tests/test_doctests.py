"""Examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import itkit

LIGHT = (
    "core", "kernels", "io", "process", "engine", "cli", "testing", "dataset", "report", "forms", "gui", "serving",
    "web", "deploy", "inference", "training", "pathology",
)  # fmt: skip
MODULES = [
    module.name
    for part in LIGHT
    for module in pkgutil.walk_packages([f"{itkit.__path__[0]}/{part}"], prefix=f"itkit.{part}.")
    if not module.name.endswith(("_native", ".mm_dataset"))  # the latter need MMEngine
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failures == 0
