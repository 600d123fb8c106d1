"""What several tests use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


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


def tree(folder):
    """Every visible file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".itkit" not in path.parts
    }


def leftovers(folder):
    """Files that no finished run may leave: staged, hidden, partial."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and ("tmp" in path.relative_to(folder).parts or path.name.startswith("."))
    ]
