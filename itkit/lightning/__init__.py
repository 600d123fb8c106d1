"""Training with Lightning: a plan's task and data, to be used by `fit` or with a ``Trainer`` of your own.

Examples
--------
::

    plan = read_plan("plan.toml")
    fit(plan, "run", base=".")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
