"""SimpleITK in a process of its own, with limits on memory and time: it alone parses what somebody else has written.

MetaIO, Teem and GDCM are C and C++ that trust a header's sizes and names. Where one of them crashes, fills the memory
or never ends, the child dies and the file is one named failure. A child lives as long as its parent and serves one
file at a time; requests and answers are JSON lines on its pipes, voxels follow as plain bytes, so that nothing that
comes out of a child is executed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from itkit.core.errors import ReadError
from itkit.core.text import last_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

START_S, HEADER_S = 120.0, 10.0
"""Time that a child has to start, and to read a header."""
_BYTES_PER_S = 5 << 20
_ROOM_BYTES, _THREAD_BYTES = 512 << 20, 80 << 20
"""Address space beside the voxels: what reading takes, and what a thread reserves."""
_LINE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20


@dataclass(eq=False)
class _Child:
    process: subprocess.Popen[bytes]
    has_started: bool = False


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


def read_information(path: Path, image_io: str = "") -> Mapping[str, Any]:
    """Return what SimpleITK says of a file: size, spacing, origin, direction, components, type and, if known, dtype.

    Raises
    ------
    ReadError
        When it can't read the file, or dies of it.
    """
    return _ask(path, {"do": "header", "io": image_io}, _ROOM_BYTES, HEADER_S)[0]


def read_array(path: Path, size_bytes: int, image_io: str = "", *, threads: int = 1) -> NDArray[Any]:
    """Return the voxels of a file as SimpleITK reads them, the last axis of the file first.

    Parameters
    ----------
    path
        The file.
    size_bytes
        Bytes that they have, at most.
    image_io
        SimpleITK's reader; left out, it tries all of its own.
    threads
        Threads that it may use.

    Raises
    ------
    ReadError
        When it can't read the file, or dies of it.
    """
    request = {"do": "voxels", "io": image_io, "threads": threads, "most": size_bytes}
    room = _ROOM_BYTES + 4 * size_bytes + threads * _THREAD_BYTES
    array = _ask(path, request, room, HEADER_S + size_bytes / _BYTES_PER_S)[1]
    assert array is not None
    return array


def _ask(path: Path, request: dict[str, Any], room: int, seconds: float) -> tuple[dict[str, Any], NDArray[Any] | None]:
    with _lock:
        child = _child()
        request |= {"path": os.path.abspath(path), "room": room}  # noqa: PTH100 - a link stays what it is
        seconds += 0 if child.has_started else START_S
        timer = threading.Timer(seconds, child.process.kill)
        timer.daemon = True
        timer.start()
        try:
            assert child.process.stdin is not None
            assert child.process.stdout is not None
            child.process.stdin.write(json.dumps(request).encode() + b"\n")
            child.process.stdin.flush()
            answer = _answer(child.process.stdout)
            array = _voxels(child.process.stdout, answer, request.get("most", 0)) if "shape" in answer else None
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            code = _end(child)
            reason = f"it took more than {seconds:.0f} s" if not timer.is_alive() else f"its reader ended with {code}"
            raise ReadError(f"{path}: not readable as a volume ({reason}); the file is damaged") from error
        except BaseException:  # an interrupt, or no memory: what is left in the pipe answers nobody
            _end(child)
            raise
        finally:
            timer.cancel()
        child.has_started = True
    if "error" in answer:
        raise ReadError(f"{path}: not readable as a volume ({answer['error']})")
    return answer, array


def _answer(pipe: Any) -> dict[str, Any]:
    line = pipe.readline(_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise EOFError
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise TypeError("no answer")
    return answer


def _voxels(pipe: Any, answer: dict[str, Any], most: int) -> NDArray[Any]:
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
    code = f"import sys; sys.path[:] = {sys.path!r}; from itkit.io.formats.itk_child import serve; serve()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    _children.append(_Child(process))
    return _children[-1]


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
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit(request["room"])
        try:
            _do(sitk, request, out)
        except (RuntimeError, MemoryError, KeyError, TypeError) as error:
            _say(out, {"error": last_line(error)})


def _limit(room: int) -> None:
    """Limit the memory to what is used now and some more, where the system can do that."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of the user's
            used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + room
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(out: BinaryIO, answer: Mapping[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


def _do(sitk: Any, request: Mapping[str, Any], out: BinaryIO) -> None:
    reader = sitk.ImageFileReader()
    reader.SetFileName(request["path"])
    if request["io"]:
        reader.SetImageIO(request["io"])
    if request["do"] == "header":
        reader.ReadImageInformation()
        _say(out, _information(sitk, reader))
        return
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(max(1, request["threads"]))
    array = sitk.GetArrayViewFromImage(image := reader.Execute())
    if array.nbytes > request["most"]:
        _say(out, {"error": f"{array.nbytes} bytes of voxels where the header has {request['most']}"})
        return
    _say(out, {"shape": array.shape, "dtype": array.dtype.str, "components": image.GetNumberOfComponentsPerPixel()})
    data = memoryview(array.reshape(-1)).cast("B")
    for start in range(0, len(data), _PIECE_BYTES):
        out.write(data[start : start + _PIECE_BYTES])
    out.flush()


def _information(sitk: Any, reader: Any) -> dict[str, Any]:
    import numpy as np

    answer: dict[str, Any] = {
        "size": reader.GetSize(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "direction": reader.GetDirection(),
        "components": reader.GetNumberOfComponents(),
        "type": sitk.GetPixelIDValueAsString(reader.GetPixelID()),
    }
    with contextlib.suppress(RuntimeError, KeyError, TypeError):  # labels of ITK's own, complex numbers
        one = sitk.Image([1] * 2, reader.GetPixelID(), reader.GetNumberOfComponents())
        answer["dtype"] = np.dtype(sitk.extra._get_numpy_dtype(one)).name
    return answer
