"""Voxel loops that decide how fast a command is: compiled where possible, numpy everywhere, the same bits from both.

Arrays are ``(Z, Y, X)`` of bool, int8 to int64, uint8 to uint64, float32 or float64. Results are C-contiguous; inputs
may have any strides. A multi-channel volume is handled one channel (``array[..., c]``) at a time.

The compiled part is an optional extension. Set ``ITKIT_NATIVE=0``, or use :func:`forced_backend`, to do without it.
"""

from itkit.kernels.affine import affine_linear, affine_nearest, affine_pair
from itkit.kernels.dispatch import backend, forced_backend
from itkit.kernels.labels import label_counts, remap
from itkit.kernels.layout import reorient
from itkit.kernels.patches import patch_classes, patch_foreground
from itkit.kernels.sampling import axis_aligned_indices, index_affine, near_ties
from itkit.kernels.separable import resample_linear, resample_nearest, sample_linear, sample_nearest
from itkit.kernels.statistics import FiniteSummary, finite_summary, min_max

__all__ = [
    "FiniteSummary",
    "affine_linear",
    "affine_nearest",
    "affine_pair",
    "axis_aligned_indices",
    "backend",
    "finite_summary",
    "forced_backend",
    "index_affine",
    "label_counts",
    "min_max",
    "near_ties",
    "patch_classes",
    "patch_foreground",
    "remap",
    "reorient",
    "resample_linear",
    "resample_nearest",
    "sample_linear",
    "sample_nearest",
]
