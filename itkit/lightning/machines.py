"""Where to train: what a device means to Lightning."""

from __future__ import annotations

from typing import Any

from itkit.inference.backends import choose_device


def accelerator_of(device: str) -> dict[str, Any]:
    """Return the arguments of `itkit.lightning.fit` for a device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    ParamsError
        When there is no such device.

    Examples
    --------
    >>> accelerator_of("cpu")
    {'accelerator': 'cpu', 'devices': 1}
    """
    chosen = choose_device(device)
    if chosen == "cpu":
        return {"accelerator": "cpu", "devices": 1}
    return {"accelerator": "gpu", "devices": [int(chosen.partition(":")[2] or 0)]}


def memory_of(machine: dict[str, Any], free: int) -> int:
    """Return the bytes that a process may take: those of its GPU, or its part of the machine's free memory.

    Examples
    --------
    >>> memory_of({"accelerator": "cpu", "devices": 2}, 8 << 30) >> 30
    4
    """
    if machine["accelerator"] == "gpu":
        import torch

        available: int = torch.cuda.mem_get_info(machine["devices"][0])[0]
        return available
    return free // int(machine["devices"])
