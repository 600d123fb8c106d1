"""What several tests use."""

import os
import subprocess

import pytest
from helpers import BIN, IS_LONG


def pytest_collection_modifyitems(config, items):
    """Leave out what only `make test-long` runs: more of the same, at other places or with other options."""
    if IS_LONG:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def command():
    """Run an installed command as a user does; returns (exit code, stdout, stderr)."""

    def run(name, *arguments, cwd=None, env=None, stdin=None):
        done = subprocess.run(
            [BIN / name, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run
