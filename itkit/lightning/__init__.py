"""Training with Lightning: a plan's task and data, to be used by `fit` or with a ``Trainer`` of your own.

Examples
--------
::

    plan = read_plan("plan.toml")
    fit(plan, "run", base=".")

    own = {"logger": False, "enable_checkpointing": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
    trainer = Trainer(max_epochs=plan.training.epochs, callbacks=[RunFolder("run", plan)], **own)
    trainer.fit(SegmentationTask(plan), datamodule=DatasetModule(plan, ".", "prepared"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.lightning.data import DatasetModule
    from itkit.lightning.events import Reporter
    from itkit.lightning.fitting import fit
    from itkit.lightning.run_folder import RunFolder
    from itkit.lightning.task import SegmentationTask
    from itkit.models.windows import SlidingWindow

__all__ = ["DatasetModule", "Reporter", "RunFolder", "SegmentationTask", "SlidingWindow", "fit"]

_HOMES = {
    "DatasetModule": "itkit.lightning.data",
    "Reporter": "itkit.lightning.events",
    "RunFolder": "itkit.lightning.run_folder",
    "SegmentationTask": "itkit.lightning.task",
    "SlidingWindow": "itkit.models.windows",
    "fit": "itkit.lightning.fitting",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
