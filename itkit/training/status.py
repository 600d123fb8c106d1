"""Whether a run is training now: ``status.json`` in its folder, for those who watch it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

from itkit.io.disk import is_alive
from itkit.io.json_files import read_json, write_json

STATUS_FILE = "status.json"
State = Literal["training", "finished", "interrupted", "failed"]


def write_status(run: Path, state: State, total: int) -> None:
    """Write what a run does.

    Parameters
    ----------
    run
        Its folder.
    state
        What it does.
    total
        Steps of the whole training.
    """
    write_json(run / STATUS_FILE, {"state": state, "total": total, "pid": os.getpid(), "host": socket.gethostname()})


@contextmanager
def told_status(run: Path, total: int) -> Iterator[None]:
    """Say in a run's folder that it trains while the block runs, and afterwards how it has ended."""
    write_status(run, "training", total)
    state: State = "failed"
    try:
        yield
        state = "finished"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        with suppress(OSError):  # where the disk is full, too, the first failure is the one that is told
            write_status(run, state, total)


def read_status(run: Path) -> dict[str, Any]:
    """Return ``state`` and ``total``; ``"killed"`` if its process is gone, ``"unknown"`` without the file."""
    values = read_json(run / STATUS_FILE)
    state = values.get("state") if isinstance(values, dict) else None
    if state not in get_args(State):
        return {"state": "unknown", "total": None}
    pid, total = values.get("pid"), values.get("total")
    if state == "training" and not isinstance(pid, int):
        state = "unknown"
    elif state == "training" and values.get("host") == socket.gethostname() and not is_alive(pid):
        state = "killed"
    return {"state": state, "total": total if isinstance(total, int) else None}
