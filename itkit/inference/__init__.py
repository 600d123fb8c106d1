"""Apply trained networks to whole volumes: sliding windows, the model folder, labels back on the original grid.

Nothing here imports torch until a network is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itkit.inference.restoring import restore, restore_labels

__all__ = ["restore", "restore_labels"]

_HOMES = {"restore": "restoring", "restore_labels": "restoring"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
