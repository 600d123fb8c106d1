"""`Tool`: a command that is no batch operation on cases, such as ``itkit plan`` and ``itkit train``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from itkit.core.params import Params

P = TypeVar("P", bound=Params)


def _nothing_more(_: Params) -> Iterable[Path]:
    return ()


@dataclass(frozen=True)
class Tool(Generic[P]):
    """A verb of ``itkit`` with parameters of its own, and without the options that operations share.

    Attributes
    ----------
    name
        The verb, e.g. ``"itkit train"``.
    params
        The model of its parameters: help, options and checks are derived from it, as for operations.
    run
        What it does; returns the exit code. An `ItkitError` that it raises is shown as one line, with exit code 2.
    example
        One command line.
    tells
        Whether ``--progress json`` makes it tell what happens as events, a JSON line each.
    reads
        The paths that it will read because a file among its parameters names them; for those who let others choose
        parameters, and must know what is read.
    """

    name: str
    params: type[P]
    run: Callable[[P], int]
    example: str
    tells: bool = False
    reads: Callable[[P], Iterable[Path]] = _nothing_more
