"""MMEngine keeps loggers and message hubs by name; its libraries warn of their own age."""

import logging
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch's and MMEngine's, of what MMEngine imports
    import mmengine.runner  # noqa: F401

_THEIRS = ("mmengine", "torch", "addict", "yapf", "lib2to3")


def pytest_collection_modifyitems(items):
    """Leave warnings that other packages raise in their own modules to them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for package in _THEIRS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore:::{package}"))


@pytest.fixture(autouse=True)
def mm_environment(monkeypatch):
    for name in ("mm_workdir", "mm_testdir", "mm_configdir", "supported_models", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    tests, package = Path(__file__).parents[1], Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tests}:{package}")
    yield
    for handler in [
        handler for name in logging.Logger.manager.loggerDict for handler in logging.getLogger(name).handlers
    ]:
        if isinstance(handler, logging.FileHandler):
            handler.close()
