"""The networks of these tests are tiny, and two tests run at once: a core for each, for threads would only wait."""

import pytest

from itkit.engine import runner


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    monkeypatch.setattr(runner, "available_cores", lambda: 1)
