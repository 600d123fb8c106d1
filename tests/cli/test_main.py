"""One entry point: the program's name says which command it is."""

import io
import subprocess
import sys

import pytest

from itkit.cli.main import main
from itkit.cli.streams import open_closed_streams

START = "import atexit, sys, threading; from itkit.cli.main import command, main; "
LEAVE = "sys.argv = ['itk_check', '--version']; sys.exit(command())"


def python(code):
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("/usr/bin/itk_check", "itk_check (itkit "),
        ("C:\\\\Scripts\\\\itk_check.exe", "itk_check (itkit "),
        ("itk_check-script.py", "itk_check (itkit "),
        ("/usr/bin/itkit", "itkit "),
        ("/site-packages/itkit/__main__.py", "itkit "),
    ],
)
def test_the_name_of_the_program_is_the_command(program, shown):
    code, stdout, stderr = python(f"sys.argv = ['{program}', '--version']; sys.exit(command())")
    assert (code, stderr) == (0, "")
    assert stdout.startswith(shown)


def test_python_m_itkit_is_the_umbrella():
    call = [sys.executable, "-m", "itkit", "check", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: itkit check {check,")


def test_an_unknown_command_is_one_line(capsys):
    assert main("itk_chek", ["a"]) == 2
    expected = "itk_chek: error: no operation 'itk_chek'; did you mean 'itk_check'? (itkit list shows all)\n"
    assert capsys.readouterr().err == expected


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
    code, stdout, stderr = python("sys.argv = ['itk_check', 'check', '/there/is/none']; sys.exit(command())")
    assert (code, stdout) == (2, "")
    assert "does not exist" in stderr


def test_packages_metadata_is_everybodys_own():
    code, stdout, _ = python(
        "main('itk_check', ['check']); import importlib.metadata as m; print(m.__file__, m.version('numpy'))"
    )
    assert code == 0
    assert "importlib" in stdout


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", b"M\\xfcller \\u2192 \\u2026"), ("cp1252", b"M\xfcller \\u2192 \x85")]
)
def test_a_stream_that_lacks_a_character_ends_no_command(encoding, expected, monkeypatch):
    """As on Windows, when the output goes into a file or a pipe."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    open_closed_streams()
    sys.stdout.write("Müller → …")
    stream.flush()
    assert raw.getvalue() == expected
