"""What several tests share."""

import ast
import os
import sys
import time
from functools import cache
from pathlib import Path

import itkit

BIN = Path(sys.executable).parent
IS_LONG = bool(os.environ.get("ITKIT_LONG"))
"""Whether more of the same is to be tried: `make test-long`."""


@cache
def sources():
    """Return the syntax tree of each module of ITKIT, by its path; parsing all of them takes seconds."""
    package = Path(itkit.__file__).parent
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}


def tree(folder):
    """Every visible file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".itkit" not in path.parts
    }


def wait_until(holds, seconds=120):
    """Wait until something holds; what does not hold by then never will, however slow the machine is."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def held(words, go):
    """Return words that run a command once the file ``go`` is there; a stop ends them before.

    What a test does meanwhile may take as long as it likes.
    """
    code = "import os, pathlib, sys, time\n"
    code += "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\n"
    code += "os.execv(sys.argv[2], sys.argv[2:])"
    return [sys.executable, "-c", code, str(go), *words]


_INTERRUPTED = """
import os, runpy, signal, sys

class Told:
    # output that gets a signal to this process as soon as so many cases are told
    def __init__(self, stream):
        self.stream, self.count = stream, 0

    def write(self, text):
        self.stream.write(text)
        self.count += '"event": "case"' in text
        if self.count == after:
            self.count += 1
            if number == signal.SIGKILL:
                os.killpg(os.getpgrp(), number)
            os.kill(os.getpid(), number)

    def __getattr__(self, name):
        return getattr(self.stream, name)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of a shell's background ignores it
number, after, sys.stdout = int(sys.argv[1]), int(sys.argv[2]), Told(sys.stdout)
sys.argv[:] = sys.argv[3:]
if sys.argv[0] == "-m":
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def interrupted(number, words, *, after=1):
    """Return words that run a script or module, and send it a signal when it has told some cases in JSON lines.

    From outside, the run may be over before the signal is there. SIGKILL ends the process group.
    """
    return [sys.executable, "-c", _INTERRUPTED, str(int(number)), str(after), *words]


def leftovers(folder):
    """Files that no finished run may leave: staged, hidden, partial."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and ("tmp" in path.relative_to(folder).parts or path.name.startswith("."))
    ]
