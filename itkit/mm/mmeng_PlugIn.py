"""Plug-ins for any configuration of MMEngine: hooks, a loop, model wrappers, a strategy, a collate function.

Importing this module registers all of them under their names in MMEngine's root registries, except `RuntimeInfoHook`:
MMEngine has one of that name, so ours is registered as ``ReadableRuntimeInfoHook``. In a pure-Python configuration,
import the class and write it as the type.
"""

from itkit.mm.plugins.checkpoints import LocalCheckpointsHook, RandomStateHook
from itkit.mm.plugins.collate import multi_sample_collate
from itkit.mm.plugins.info import RuntimeInfoHook
from itkit.mm.plugins.metrics_file import LoggerJSON
from itkit.mm.plugins.optimizers import CpuAmpOptimWrapper, mgam_OptimWrapperConstructor
from itkit.mm.plugins.profiling import IterBasedTrainLoop_SupportProfiler
from itkit.mm.plugins.strategy import RemasteredFSDP_Strategy
from itkit.mm.plugins.wrappers import RemasteredDDP, RemasteredFSDP

__all__ = [
    "CpuAmpOptimWrapper",
    "IterBasedTrainLoop_SupportProfiler",
    "LocalCheckpointsHook",
    "LoggerJSON",
    "RandomStateHook",
    "RemasteredDDP",
    "RemasteredFSDP",
    "RemasteredFSDP_Strategy",
    "RuntimeInfoHook",
    "mgam_OptimWrapperConstructor",
    "multi_sample_collate",
]
