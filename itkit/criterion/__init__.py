"""Losses: functions in ``functional``, modules over them in ``modules``, and the networks' own ones by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itkit.criterion.modules import DeepSupervision, DiceCELoss, DiceLoss, FocalLoss, TverskyLoss

__all__ = ["DeepSupervision", "DiceCELoss", "DiceLoss", "FocalLoss", "TverskyLoss"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.modules"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
