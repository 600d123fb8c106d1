"""Signals at any moment of a command: exit code 130, one line, no traceback."""

import signal
import subprocess
import sys

import pytest

from itkit.cli import interrupts
from itkit.testing import phantoms

AT_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
from itkit.cli.main import command
sys.argv = ["itk_orient", {source!r}, {dest!r}, "LPI", "--workers", "{workers}"]
sys.exit(command())
"""
MODULES = ["itkit.catalogue", "pydantic", "itkit.cli.terminal", "itkit.process.itk_orient", "itkit.engine.runner"]


def start(name, number, tmp_path, workers=1):
    code = AT_IMPORT.format(
        name=name, number=int(number), source=str(tmp_path / "raw"), dest=str(tmp_path / "out"), workers=workers
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", MODULES)
def test_a_command_that_starts_ends_at_once(name, number, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    done = start(name, number, tmp_path)
    assert (done.returncode, done.stderr) == (130, "itk_orient: interrupted\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "workers"), [("isal", 1), ("itkit.engine.pool", 2), ("multiprocessing.context", 2)])
def test_a_run_that_imports_is_interrupted(name, workers, tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)
    done = start(name, signal.SIGTERM, tmp_path, workers)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "the same command goes on from here" in done.stdout


IN_THREADS = """
import sys, threading
class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print("in a thread:", name)
sys.meta_path.insert(0, Finder())
from itkit.cli.main import command
sys.argv = {words!r}
sys.exit(command())
"""


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_a_thread_that_reads_imports_nothing(suffix, tmp_path):
    """An interrupt can leave the lock of imports with the main thread, which waits for its threads."""
    phantoms.write_dataset(tmp_path / "raw", 3, suffix=suffix)
    words = ["itk_orient", str(tmp_path / "raw"), str(tmp_path / "out"), "LPI", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", IN_THREADS.format(words=words)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0
    assert "in a thread" not in done.stdout


def test_an_interrupt_that_a_callback_swallows_is_raised_again(capsys):
    class Swallowing:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with interrupts.raised() as lost:
        Swallowing()
        with pytest.raises(KeyboardInterrupt):
            lost.again()
        lost.again()
    assert capsys.readouterr().err == ""


def test_handlers_are_those_of_before(monkeypatch):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts.raised(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.raised():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
