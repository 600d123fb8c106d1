"""`Tool`: a command that is no batch operation on cases, such as ``itkit plan`` and ``itkit train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from itkit.core.params import Params

P = TypeVar("P", bound=Params)


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
    """

    name: str
    params: type[P]
    run: Callable[[P], int]
    example: str
