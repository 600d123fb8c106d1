"""Losses by name or as functions: ``functional``, modules over it in ``modules``, and the networks' own losses.

Nothing here imports torch until a loss is made.

Examples
--------
>>> from itkit.criterion import list_losses
>>> "dice_ce" in list_losses()
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itkit.criterion.modules import (
        CrossEntropyLoss,
        DeepSupervision,
        DiceCELoss,
        DiceLoss,
        FocalLoss,
        TverskyLoss,
    )
    from itkit.criterion.registry import create_loss, list_losses, register_loss

__all__ = [
    "CrossEntropyLoss",
    "DeepSupervision",
    "DiceCELoss",
    "DiceLoss",
    "FocalLoss",
    "TverskyLoss",
    "create_loss",
    "list_losses",
    "register_loss",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "registry" if name.endswith(("_loss", "_losses")) else "modules"
        return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
