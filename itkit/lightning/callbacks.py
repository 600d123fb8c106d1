"""The callbacks of `fit`, for a ``Trainer`` of your own: `RunFolder` keeps a run, `Reporter` tells its events."""

from itkit.lightning.events import Reporter
from itkit.lightning.run_folder import RunFolder

__all__ = ["Reporter", "RunFolder"]
