"""Where to train: what a device means to Lightning."""

from __future__ import annotations

from typing import Any

from itkit.inference.backends import choose_device


def accelerator_of(device: str) -> dict[str, Any]:
    """Return Lightning's arguments for a device: ``auto`` (the GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

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
