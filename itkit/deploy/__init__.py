"""Trained networks leave the lab: one file that proves that it computes the same, its speed, and a server.

Nothing here imports torch until a network is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from itkit.core.lazy import lazy_names

if TYPE_CHECKING:
    from itkit.deploy.exporting import ExportFailed, ExportSettings, export
    from itkit.deploy.parity import Parity

__all__ = ["ExportFailed", "ExportSettings", "Parity", "export"]

_HOMES = {
    "ExportFailed": ".exporting",
    "ExportSettings": ".exporting",
    "Parity": ".parity",
    "export": ".exporting",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
