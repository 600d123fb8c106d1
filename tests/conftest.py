"""What several tests use."""

import os
import subprocess

import pytest
from helpers import BIN


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
