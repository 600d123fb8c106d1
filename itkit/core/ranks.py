"""Processes that train together: which is the first, that speaks for all; known before torch is imported."""

from __future__ import annotations

import os
import time

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Variables by which launchers tell a process its number, in the order in which Lightning asks for them."""
_STARTER = os.getppid()
_BY_FIRST_S = 20.0
_BY_LAUNCHER_S = 1.0


def is_first() -> bool:
    """Whether this is the first of all processes, or the only one."""
    return next((rank for name in _RANKS if (rank := os.environ.get(name))), "0") == "0"


def first_has_ended() -> bool:
    """Whether another one than the first need not tell why it ends, because the first has told it.

    Where the first has started the others, as Lightning does, they wait until it ends. A launcher (torchrun, srun) ends
    the others when one has ended, within a second; else they tell it themselves.
    """
    is_by_first = "LOCAL_RANK" in os.environ and "RANK" not in os.environ
    until = time.monotonic() + (_BY_FIRST_S if is_by_first else _BY_LAUNCHER_S)
    try:
        while os.getppid() == _STARTER and time.monotonic() < until:
            time.sleep(0.05)
    except KeyboardInterrupt:  # by the launcher
        return True
    return os.getppid() != _STARTER
