"""Where to train: what a device means to Lightning."""

from __future__ import annotations

from typing import Any

from itkit.inference.backends import choose_device


def accelerator_of(device: str, processes: int = 1) -> dict[str, Any]:
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
        return {"accelerator": "cpu", "devices": processes}
    if processes > 1:
        return {"accelerator": "gpu", "devices": processes}
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

        devices = machine["devices"]
        available: int = torch.cuda.mem_get_info(0 if isinstance(devices, int) else devices[0])[0]
        return available
    return free // int(machine["devices"])


def strategy_of(name: str, processes: int) -> Any:
    """Return Lightning's strategy for several processes.

    Parameters
    ----------
    name
        ``ddp``: each process keeps the whole network. ``fsdp``: weights, gradients and the optimiser's values are
        shared out among the processes (PyTorch's ``fully_shard``).
    processes
        How many there are.

    Examples
    --------
    >>> strategy_of("ddp", 1)
    'auto'
    """
    if name == "fsdp":
        import torch
        from lightning.pytorch.strategies import ModelParallelStrategy

        backend = None if torch.cuda.is_available() else "gloo"
        return ModelParallelStrategy(
            data_parallel_size=processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=backend,
        )
    return "auto" if processes == 1 else "ddp"
