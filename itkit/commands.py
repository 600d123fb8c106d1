"""Every operation of the catalogue as a function, e.g. ``orient_dataset(source, dest, "LPI")``.

The functions are made from catalogue and parameter models when they are asked for. ``commands.pyi`` tells type checkers
and editors the same; ``python -m itkit.cli.help_pages`` writes it from the same models, and a test keeps it true.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from itkit.catalogue import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONS = {entry.function or name: name for name, entry in CATALOGUE.items()}
"""The operation of each function."""
__all__ = list(FUNCTIONS)


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in FUNCTIONS:
        raise AttributeError(f"module 'itkit.commands' has no attribute {name!r}")
    return _function(name)


@cache
def _function(name: str) -> Callable[..., Any]:
    from itkit.catalogue import load
    from itkit.engine.functions import make_function

    return make_function(load(FUNCTIONS[name]), name)


def __dir__() -> list[str]:
    return sorted(FUNCTIONS)
