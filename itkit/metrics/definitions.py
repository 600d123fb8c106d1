"""The names of all metrics, and what each of them means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from itkit.core.errors import ArgumentError
from itkit.core.text import did_you_mean

DEFINITIONS: Mapping[str, str] = {
    "dice": "2 tp / (2 tp + fp + fn), voxels",
    "iou": "tp / (tp + fp + fn), voxels (Jaccard index)",
    "precision": "tp / (tp + fp), voxels",
    "recall": "tp / (tp + fn), voxels (sensitivity)",
    "volume_similarity": "2 (p - g) / (p + g) with the volumes p of the prediction and g of the reference: "
    "above 0 the prediction is too large; -2 to 2",
    "volume_gt_ml": "volume of the reference, ml",
    "volume_pred_ml": "volume of the prediction, ml",
    "hd_mm": "Hausdorff distance, mm: the larger one of both directed maxima",
    "hd95_mm": "the larger one of both directed 95th percentiles (linear interpolation), mm",
    "assd_mm": "average symmetric surface distance, mm: the sum of all distances of both directions / (|P| + |G|), "
    "the numbers of border voxels",
    "masd_mm": "mean average surface distance, mm: the mean of both directed means",
    "nsd": "normalised surface distance: share of all border voxels of both that lie within the tolerance "
    "tau (1 + 1e-5) of the other border",
    "hd95_pooled": "95th percentile of the distances of both directions together, mm (medpy, panoptica)",
    "nsd_surfels": "share of the surface area of both that lies within tau (1 + 1e-5) of the other surface; "
    "surface elements and their areas as in DeepMind's surface-distance",
    "asd_surfels": "mean of both directed mean distances, weighted by the areas of surface elements, mm",
    "hd95_surfels": "the larger one of both directed 95th percentiles by area of surface elements, mm",
    "tp": "voxels of the class in both",
    "fp": "voxels of the class in the prediction alone",
    "fn": "voxels of the class in the reference alone",
    "flag": "both_empty: neither holds the class (overlap 1, distances 0, left out of means); missed: the prediction "
    "does not hold it (Dice, IoU, recall, NSD 0; precision undefined; distances infinite); invented: the reference "
    "does not hold it (Dice, IoU, precision, NSD 0; recall undefined; distances infinite)",
    "instances_gt": "connected components (26 neighbours) of the reference",
    "instances_pred": "connected components of the prediction",
    "instances_matched": "pairs of components with IoU > 0.5, at most one for each component",
    "detection_f1": "2 matched / (components of the reference + components of the prediction)",
    "pq": "panoptic quality: the sum of the IoU of matched pairs / half the number of all components",
    "missed_ml": "volumes of the components of the reference without a match, ml, largest first",
    "false_ml": "volumes of the components of the prediction without a match, ml, largest first",
}
"""What each number is. A border voxel is a foreground voxel with at least one of six face neighbours outside the mask;
outside the volume counts as background. Distances are Euclidean between centres of border voxels, in mm."""

BORDER = (
    "border: foreground voxels with at least one of 6 face neighbours outside the mask; outside the volume counts as "
    "background. Distances are Euclidean between centres of border voxels in mm, float64"
)
"""What the distances are measured between."""

OVERLAPS = ("dice", "iou", "precision", "recall", "volume_similarity", "volume_gt_ml", "volume_pred_ml")
DISTANCES = ("hd_mm", "hd95_mm", "assd_mm", "masd_mm", "nsd")
"""Metrics of border voxels; they equal MONAI's and MetricsReloaded's."""
COUNTS = ("tp", "fp", "fn")
POOLED = ("hd95_pooled",)
ELEMENTS = ("nsd_surfels", "asd_surfels", "hd95_surfels")
VARIANTS = (*POOLED, *ELEMENTS)
"""Other libraries' definitions."""
METRICS = (*OVERLAPS, *DISTANCES, *VARIANTS)
"""Metrics that are computed by default."""
INSTANCES = (
    "instances_gt",
    "instances_pred",
    "instances_matched",
    "detection_f1",
    "pq",
    "missed_ml",
    "false_ml",
)
"""What is computed of connected components."""
COLUMNS = (*OVERLAPS, *DISTANCES, *COUNTS, "flag", *VARIANTS)
"""Keys of each class in the order in which files hold them."""
IN_MM = ("hd_mm", "hd95_mm", "assd_mm", "masd_mm", "hd95_pooled", "asd_surfels", "hd95_surfels")
"""Distances: infinite where one of both does not hold the class."""
SMALLER_IS_BETTER = frozenset(IN_MM)


def metric_names(words: Iterable[str]) -> tuple[str, ...]:
    """Return the metrics that words name, in the order of `METRICS`; the unit at the end may be left out.

    Raises
    ------
    ArgumentError
        When there is no such metric.

    Examples
    --------
    >>> metric_names(["hd95", "dice"])
    ('dice', 'hd95_mm')
    """
    known = {name.removesuffix("_mm").removesuffix("_ml"): name for name in METRICS} | {name: name for name in METRICS}
    chosen = set()
    for word in words:
        name = known.get(word.lower())
        if name is None:
            raise ArgumentError(f"no metric {word!r}{did_you_mean(word, known)} (metrics: {', '.join(METRICS)})")
        chosen.add(name)
    return tuple(name for name in METRICS if name in chosen)
