"""Training with Lightning: a plan's task and data, to be used by `fit` or with a ``Trainer`` of your own.

Examples
--------
::

    plan = read_plan("plan.toml")
    fit(plan, "run", base="plan.toml")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from itkit.lightning.data import DatasetModule
    from itkit.lightning.fitting import fit
    from itkit.lightning.task import SegmentationTask
    from itkit.models.windows import SlidingWindow

__all__ = ["DatasetModule", "SegmentationTask", "SlidingWindow", "fit"]

_HOMES = {
    "DatasetModule": "itkit.lightning.data",
    "SegmentationTask": "itkit.lightning.task",
    "SlidingWindow": "itkit.models.windows",
    "fit": "itkit.lightning.fitting",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
