"""Choose the implementation of the kernels: the compiled library if it is present and not disabled, else numpy."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Backend = Literal["native", "numpy"]
LIBRARY = "itkit.kernels._native"
ABI = 7
"""Changes whenever a C function's arguments change, so that a stale build is never called; a test compares it with the
table below."""
_KINDS = {"p": ctypes.c_void_p, "i": ctypes.c_int, "q": ctypes.c_int64, "Q": ctypes.c_uint64}
_SIGNATURES = {
    "itkit_abi": "",
    "itkit_linear": "ippppppp" + "qq",
    "itkit_nearest": "ippppppp" + "qqqq",
    "itkit_affine": "ppp" + "qq",
    "itkit_warp": "pppp" + "qq",
    "itkit_colour": "ipppppppp",
    "itkit_copy": "ippppp",
    "itkit_count": "ipqQp",
    "itkit_count_apart": "ipqQpqp",
    "itkit_remap": "iipqQppp",
    "itkit_refine": "iipqqQpqpppp",
    "itkit_box_counts": "ipppppp" + "p",
    "itkit_box_masks": "ipppppp" + "Qpp",
    "itkit_deflate": "pqqqi" + "pq",
    "itkit_deflate_bound": "q",
    "itkit_extremes": "ipqp",
    "itkit_joint": "ipppqppp",
    "itkit_surface": "ppippp",
    "itkit_distances": "pqpq" + "pppp" + "qp",
    "itkit_summary": "ipqipp",
    "itkit_runs": "ipqqi" + "qppp",
    "itkit_join_runs": "ipqqqi" + "pppp",
    "itkit_measure_runs": "qqqpppp" + "ppp",
    "itkit_paint_runs": "iqq" + "pppppp",
    "itkit_row_distances": "pqqp",
    "itkit_ball_dilate": "pqqqqpp",
    "itkit_ball_counts": "pqqqqqpp",
}
_LARGE_RESULTS = ("itkit_deflate", "itkit_deflate_bound", "itkit_join_runs", "itkit_refine", "itkit_surface")
_forced: ContextVar[Backend | None] = ContextVar("itkit_backend", default=None)


@cache
def _load() -> ctypes.CDLL | None:
    """Open the compiled library; ``None`` if it was not built, can't be loaded, or belongs to another version."""
    spec = importlib.util.find_spec(LIBRARY)
    if spec is None or spec.origin is None:
        return None
    why = "was built from other sources"
    try:
        library = ctypes.CDLL(spec.origin)
        for name, letters in _SIGNATURES.items():
            getattr(library, name).argtypes = [_KINDS[letter] for letter in letters]
        for name in _LARGE_RESULTS:
            getattr(library, name).restype = ctypes.c_int64
        if library.itkit_abi() == ABI:
            return library
    except OSError as error:
        why = f"can't be loaded ({error})"
    except AttributeError:
        pass
    _warn(spec.origin, why)
    return None


def _warn(path: str, why: str) -> None:
    """Say why a library that is there is not used."""
    import logging  # most runs do not need it

    logging.getLogger(__name__).warning(
        "%s %s; numpy does its work, many times slower: run python setup.py build_ext --inplace, or install again",
        path,
        why,
    )


def native() -> ctypes.CDLL | None:
    """Return the compiled library, or ``None`` if numpy is to do the work."""
    forced = _forced.get()
    if forced == "numpy" or (forced is None and os.environ.get("ITKIT_NATIVE", "1") == "0"):
        return None
    return _load()


def backend() -> Backend:
    """Return the name of the implementation that the kernels use now.

    Examples
    --------
    >>> with forced_backend("numpy"):
    ...     backend()
    'numpy'
    """
    return "numpy" if native() is None else "native"


@contextmanager
def forced_backend(name: Backend) -> Iterator[None]:
    """Choose the implementation within a ``with`` block, whatever the environment says.

    Raises
    ------
    RuntimeError
        When the compiled library is requested but missing.
    """
    if name == "native" and _load() is None:
        raise RuntimeError(f"{LIBRARY} is not built for this version; run: python setup.py build_ext --inplace")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def numbers(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """Pack integers into a C array (passed as a pointer)."""
    return (ctypes.c_int64 * len(values))(*values)


def run_slabs(work: Callable[[int, int], None], length: int, threads: int) -> None:
    """Split ``range(length)`` into contiguous parts and call ``work(begin, end)`` for each in its own thread."""
    parts = max(1, min(threads, length))
    if parts == 1:
        work(0, length)
        return
    from concurrent.futures import ThreadPoolExecutor  # it imports logging, which most runs do not need

    bounds = [length * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))
