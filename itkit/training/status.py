"""Whether a run is training now: ``status.json`` in its folder, for those who watch it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Literal

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


def read_status(run: Path) -> dict[str, Any]:
    """Return ``state`` and ``total``; a run whose process is gone is ``"killed"``, an empty folder ``"waiting"``."""
    values = read_json(run / STATUS_FILE)
    if not isinstance(values, dict) or not isinstance(values.get("state"), str):
        return {"state": "waiting", "total": None}
    state, pid = values["state"], values.get("pid")
    if (
        state == "training"
        and values.get("host") == socket.gethostname()
        and isinstance(pid, int)
        and not is_alive(pid)
    ):
        state = "killed"
    total = values.get("total")
    return {"state": state, "total": total if isinstance(total, int) else None}
