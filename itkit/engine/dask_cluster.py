"""Connect to a running Dask cluster, or start one of worker processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import tempfile
from importlib import import_module
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from itkit.core.errors import ParamsError, ResourceError
from itkit.core.extras import require
from itkit.engine import dask_worker
from itkit.engine.lanes import thread_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    Client = Any

CONNECT_S = 10.0
"""How long to wait for a scheduler's answer."""
LEAVE_S = 20.0
"""How long to wait until a scheduler has taken leave."""
CLOSE_S = 5.0
"""How long to wait for our own cluster to close."""


def distributed() -> Any:
    """Return the package ``distributed``, or raise an error that says how to install it."""
    return require("distributed", extra="dask", why="--executor dask")


@contextlib.contextmanager
def connect(address: str) -> Iterator[Client]:
    """Give a client of a running scheduler."""
    try:
        client = distributed().Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, asyncio.TimeoutError) as error:
        raise _unreachable(address, error) from error
    try:
        yield client
    finally:
        with contextlib.suppress(OSError, asyncio.TimeoutError):  # a silent scheduler does not say goodbye
            client.close(timeout=LEAVE_S)


@contextlib.contextmanager
def own_cluster(workers: int) -> Iterator[Client]:
    """Start workers, one process each, for the length of the block; at its end, running tasks are cut off."""
    import dask

    with (
        tempfile.TemporaryDirectory(prefix="itkit-dask-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": {},  # these variables would stay set in this process
                "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",  # for fetching results of a dead worker
            }
        ),
    ):
        try:
            with _no_interruption():
                cluster = distributed().LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},  # None is port 8787
                    memory_limit=0,  # cases are admitted by memory; Dask must not pause or kill workers for it
                    local_directory=scratch,
                    silence_logs=logging.CRITICAL,
                    preload=dask_worker.__name__,
                )
        except (OSError, RuntimeError, asyncio.TimeoutError) as error:
            raise ResourceError(f"--executor dask: its workers can't be started ({error})") from error
        try:
            with connect(cluster.scheduler_address) as client:
                yield client
        except BaseException:
            _kill_workers(cluster)
            raise
        finally:
            with contextlib.suppress(asyncio.TimeoutError):  # Dask before 2026 may wait for a killed worker forever
                cluster.close(timeout=CLOSE_S)


def require_scheduler(address: str) -> None:
    """Make sure that a scheduler answers; a client without a scheduler prints errors when it is closed."""
    comms: Any = import_module("distributed.comm")
    security: Any = import_module("distributed.security").Security()

    async def knock() -> None:
        comm = await comms.connect(address, timeout=CONNECT_S, **security.get_connection_args("client"))
        await comm.close()

    try:
        with thread_pool(1) as pool:  # this thread may already run an event loop
            pool.submit(asyncio.run, knock()).result()
    except (OSError, ValueError, RuntimeError, asyncio.TimeoutError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ParamsError:
    reason = " ".join(str(error).split()) or "no answer"
    return ParamsError(f"--dask {address}: no Dask scheduler can be reached there ({reason})")


@contextlib.contextmanager
def _no_interruption() -> Iterator[None]:
    """Delay Ctrl-C until the block ends, because Dask can't clean up a cluster that is half started.

    Threads that start in the block, and the workers that they start at any time, never receive the signal.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # starting it inside the block would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _kill_workers(cluster: Any) -> None:
    """Kill workers at once; Dask would wait some seconds for them, and their results are no longer needed."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        with contextlib.suppress(OSError, TypeError):  # the nanny has no process at the moment
            os.kill(nanny.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep Dask's log messages off the terminal; the run reports each failure with its case."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]
    loggers = [logging.getLogger(name) for name in {*names, "asyncio"}]
    levels = [logger.level for logger in loggers]
    for logger, level in zip(loggers, levels, strict=True):
        if level != logging.NOTSET or logger.name == "asyncio":
            logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
