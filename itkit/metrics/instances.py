"""Lesion-wise comparison of two masks: which connected components were found."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkit.core.errors import ArgumentError
from itkit.kernels.arrays import plain
from itkit.kernels.components import components

_LEAST_IOU = 0.5


def instance_metrics(gt: NDArray[Any], pred: NDArray[Any], voxel_ml: float) -> dict[str, Any]:
    """Compare the connected components of two masks.

    Parameters
    ----------
    gt, pred
        Masks ``(Z, Y, X)`` on one grid; everything but 0 is foreground.
    voxel_ml
        Volume of a voxel, ml.

    Returns
    -------
    dict
        ``instances_gt``, ``instances_pred``, ``instances_matched``, ``detection_f1``, ``pq``, and the volumes of the
        components without a match, ``missed_ml`` and ``false_ml``, largest first. Without any component, F1 and PQ are
        1.

    Notes
    -----
    Components touch by any of 26 neighbours. Two components match if their IoU is above 0.5; then neither can match
    another one. Panoptic quality [1]_ is the sum of the matches' IoU, divided by half the number of all components.

    References
    ----------
    .. [1] A. Kirillov et al., "Panoptic segmentation", CVPR 2019, arXiv:1801.00868

    Examples
    --------
    >>> gt = np.array([[[1, 1, 0, 1, 0, 1]]])
    >>> pred = np.array([[[1, 1, 0, 0, 0, 1]]])
    >>> found = instance_metrics(gt, pred, 0.5)
    >>> found["detection_f1"], found["pq"], found["missed_ml"], found["false_ml"]
    (0.8, 0.8, [0.5], [])
    """
    masks = [(plain(array) != 0).view(np.uint8) for array in (gt, pred)]
    if masks[0].shape != masks[1].shape:
        raise ArgumentError(f"expected masks of one shape; got {masks[0].shape} and {masks[1].shape}")
    a, b = (components(mask) for mask in masks)
    both = np.flatnonzero(masks[0] & masks[1])
    pairs = a.numbered().ravel()[both].astype(np.int64) * (len(b) + 1) + b.numbered().ravel()[both]
    numbers, common = np.unique(pairs, return_counts=True)
    first, second = numbers // (len(b) + 1) - 1, numbers % (len(b) + 1) - 1
    iou = common / (a.voxels[first] + b.voxels[second] - common)
    is_match = iou > _LEAST_IOU
    total = len(a) + len(b)
    matched = int(is_match.sum())
    lost = [
        np.delete(found.voxels, places[is_match])
        for found, places in ((a, first), (b, second))
    ]  # fmt: skip
    volumes = [[count * voxel_ml for count in sorted(voxels.tolist(), reverse=True)] for voxels in lost]
    return {
        "instances_gt": len(a),
        "instances_pred": len(b),
        "instances_matched": matched,
        "detection_f1": 2 * matched / total if total else 1.0,
        "pq": 2 * float(iou[is_match].sum()) / total if total else 1.0,
        "missed_ml": volumes[0],
        "false_ml": volumes[1],
    }
