"""A process of its own, with limits on memory and time, for libraries that parse what somebody else has written.

MetaIO, Teem, GDCM, OpenJPEG, CharLS and libjpeg are C and C++ that trust a stream's sizes. Where one of them crashes,
fills the memory or never ends, the child dies and the file is one named failure. A child lives as long as its parent
and serves one file at a time; requests and answers are JSON lines on its pipes, voxels follow as plain bytes, so that
nothing that comes out of a child is executed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from itkit.core.errors import ReadError
from itkit.core.text import last_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

START_S, HEADER_S = 120.0, 10.0
"""Time that a child has to start and to import what a task needs, and to read a header."""
_BYTES_PER_S = 5 << 20
ROOM_BYTES = 512 << 20
"""Address space beside the voxels: what reading takes."""
_LINE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20

Answer = dict[str, Any]
Task = Callable[["Mapping[str, Any]", Callable[["NDArray[Any]"], None]], "Answer"]
"""Does a request in the child: it hands over arrays one by one, and returns what else there is to say."""


@dataclass(eq=False)
class _Child:
    process: subprocess.Popen[bytes]
    known: set[str] = field(default_factory=set)
    """Tasks that it has done before: what they need is imported."""


_lock = threading.Lock()
_children: list[_Child] = []


def _forget() -> None:
    """Leave children and lock to the process that this one was forked from."""
    global _lock
    _lock = threading.Lock()
    for child in _children:
        child.process.returncode = 0  # not ours to wait for
    _children.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def ask(
    path: Path, task: str, request: Mapping[str, Any], *, most: int = 0, room: int = ROOM_BYTES
) -> tuple[Answer, list[NDArray[Any]]]:
    """Let this process's child do something with a file.

    Parameters
    ----------
    path
        The file.
    task
        ``"module:name"`` of a `Task`; what it needs is imported with the module.
    request
        What it is told, beside the path.
    most
        Bytes of all arrays that it may hand over.
    room
        Address space that it may take beside what it has.

    Returns
    -------
    tuple
        What it said, and the arrays.

    Raises
    ------
    ReadError
        When it says that it can't, or dies of it.
    """
    with _lock:
        child = _child()
        where = os.path.abspath(path)  # noqa: PTH100 - a link stays what it is
        line = json.dumps({**request, "task": task, "path": where, "room": room})
        seconds = HEADER_S + most / _BYTES_PER_S + (0 if task in child.known else START_S)
        timer = threading.Timer(seconds, child.process.kill)
        timer.daemon = True
        timer.start()
        try:
            assert child.process.stdin is not None
            assert child.process.stdout is not None
            child.process.stdin.write(line.encode() + b"\n")
            child.process.stdin.flush()
            answer, arrays = _answer(child.process.stdout, most)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            code = _end(child)
            reason = f"it took more than {seconds:.0f} s" if not timer.is_alive() else f"its reader ended with {code}"
            raise ReadError(f"{path}: not readable as a volume ({reason}); the file is damaged") from error
        except BaseException:  # an interrupt, or no memory: what is left in the pipe answers nobody
            _end(child)
            raise
        finally:
            timer.cancel()
        child.known.add(task)
    if "error" in answer:
        raise ReadError(f"{path}: not readable as a volume ({answer['error']})")
    return answer, arrays


def _answer(pipe: Any, most: int) -> tuple[Answer, list[NDArray[Any]]]:
    arrays: list[NDArray[Any]] = []
    while True:
        line = pipe.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise EOFError
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise TypeError("no answer")
        if "shape" not in answer:
            return answer, arrays
        arrays.append(_array(pipe, answer, most))
        most -= arrays[-1].nbytes


def _array(pipe: Any, answer: Answer, most: int) -> NDArray[Any]:
    import numpy as np

    shape, dtype = tuple(map(int, answer["shape"])), np.dtype(str(answer["dtype"]))
    count = 1
    for size in shape:
        count *= size
    if min(shape) < 1 or dtype.kind not in "iufc" or count * dtype.itemsize > most:
        raise ValueError(f"{shape} voxels of {dtype}")
    array = np.empty(count, dtype)
    rest = array.view(np.uint8).data
    while rest:
        got = pipe.readinto(rest)
        if not got:
            raise EOFError
        rest = rest[got:]
    return array.reshape(shape)


def _child() -> _Child:
    """Return this process's child; start it where there is none."""
    for child in [*_children]:
        if child.process.poll() is None:
            return child
        _end(child)
    code = f"import sys; sys.path[:] = {sys.path!r}; from itkit.io.child import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    _widen(process.stdout)
    _children.append(_Child(process))
    return _children[-1]


def _widen(pipe: Any) -> None:
    """Let a pipe hold a whole slice, where the system can do that: fewer turns between two processes."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)


def _end(child: _Child) -> int:
    """Stop a child; return its exit code."""
    with contextlib.suppress(ValueError):
        _children.remove(child)
    child.process.kill()
    for pipe in (child.process.stdin, child.process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    return child.process.wait()


@atexit.register
def end_children() -> None:
    """Stop the child of this process."""
    for child in [*_children]:
        _end(child)


# ---- in the child


def serve() -> None:
    """Answer requests until the parent closes the pipe; what libraries print goes nowhere."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C stops
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        task = _task(request["task"])
        _limit(request["room"])
        try:
            answer = task(request, lambda array: _hand_over(out, array))
        except (RuntimeError, MemoryError, KeyError, TypeError, ValueError, ReadError) as error:
            answer = {"error": last_line(error)}
        _say(out, answer)


def _task(place: str) -> Task:
    """Import a task, with what it needs: a file's limit is not meant for that."""
    module, _, name = place.partition(":")
    if module not in sys.modules:
        _limit(None)
    task: Task = getattr(importlib.import_module(module), name)
    return task


def _limit(room: int | None) -> None:
    """Limit the memory to what is used now and some more, where the system can do that; without a number, lift it."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of the user's
            used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = hard if room is None else used + room
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(out: BinaryIO, answer: Mapping[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


def _hand_over(out: BinaryIO, array: NDArray[Any]) -> None:
    out.write(json.dumps({"shape": array.shape, "dtype": array.dtype.str}).encode() + b"\n")
    data = array.reshape(-1).data.cast("B")
    for start in range(0, len(data), _PIECE_BYTES):
        out.write(data[start : start + _PIECE_BYTES])
