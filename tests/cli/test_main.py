import subprocess
import sys

import pytest

START = "import atexit, sys, threading; from itkit.cli.main import itk_check, main; "
LEAVE = "sys.argv = ['itk_check', '--version']; sys.exit(itk_check())"


def python(code):
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "work",
    [
        "atexit.register(print, 'done')",
        "threading.Timer(0.2, print, ['done']).start()",
        "print('done')",
    ],
)
def test_a_command_ends_with_nothing_left_undone(work):
    code, stdout, stderr = python(f"{work}; {LEAVE}")
    assert (code, stderr) == (0, "")
    assert "done\n" in stdout
    assert "itk_check (itkit " in stdout


def test_a_command_tells_its_exit_code():
    code, stdout, stderr = python("sys.argv = ['itk_check', 'check', '/there/is/none']; sys.exit(itk_check())")
    assert (code, stdout) == (2, "")
    assert "does not exist" in stderr


def test_packages_metadata_can_be_read_after_a_command():
    code, stdout, _ = python(
        "main('itk_check', ['check']); from importlib.metadata import version; print(version('numpy'))"
    )
    assert code == 0
    assert stdout[0].isdigit()
