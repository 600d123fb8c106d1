"""Commands under limits of time, address space and memory, as an attack must not exceed them."""

import os
import re
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import BIN

_FAULT = re.compile(r"Traceback|fault of ITKIT|Exception ignored")


@dataclass(frozen=True)
class Ended:
    """How a command ended, what it said, and the most anonymous memory (MiB) of it and its children."""

    code: int | str
    text: str
    peak_mb: int

    @property
    def is_calm(self):
        return self.code in (0, 1, 2) and not _FAULT.search(self.text)


def _family(pid):
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [child for word in task.read_text().split() for child in _family(int(word))]
        except OSError:
            continue
    return found


def _anonymous_kb(pid):
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


@pytest.fixture
def attacked():
    """Return a function that runs a command; it ends with ``late`` or ``large`` where a limit is exceeded."""

    def run(name, *arguments, seconds=240, memory_mb=1000, env=None, cwd=None, limits=(), watch=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30,) * 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for what, value in limits:
                resource.setrlimit(what, (value, value))

        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [BIN / name, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=limit,
            )
            started, peak, code = time.monotonic(), 0, None
            while process.poll() is None and code is None:
                pids = _family(process.pid)
                peak = max(peak, sum(map(_anonymous_kb, pids)) // 1024)
                if watch is not None:
                    watch(pids)
                code = "large" if peak > memory_mb else "late" if time.monotonic() - started > seconds else None
                time.sleep(0.01)
            if code is not None:
                os.killpg(process.pid, 9)
            process.wait()
            said.seek(0)
            text = said.read(1 << 20).decode(errors="replace")
        return Ended(process.returncode if code is None else code, text, peak)

    return run


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """A library that makes operations on files fail or end the process, and shifts the clock."""
    found = tmp_path_factory.mktemp("library") / "unwilling.so"
    source = Path(__file__).with_name("unwilling.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", found, source, "-ldl"], check=True)
    return str(found)
