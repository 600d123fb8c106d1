"""Compare label maps: overlap, distances between surfaces, detected lesions, and statistics over cases.

`evaluate` compares two label maps class by class. `DEFINITIONS` says what each number is; other libraries mean other
things by the same names.

Examples
--------
>>> import numpy as np
>>> from itkit.metrics import evaluate
>>> truth, found = np.zeros((2, 8, 8, 8), np.uint8)
>>> truth[2:6, 2:6, 2:6] = found[2:6, 2:6, 3:6] = 1
>>> result = evaluate(truth, found, spacing_zyx=(1.0, 1.0, 0.5))
>>> round(result[1]["dice"], 3), result[1]["hd_mm"], result[1]["flag"]
(0.857, 0.5, '')
"""

from itkit.metrics.definitions import DEFINITIONS, DISTANCES, METRICS, VARIANTS, metric_names
from itkit.metrics.evaluation import Label, LabelMap, compare, evaluate
from itkit.metrics.instances import instance_metrics
from itkit.metrics.statistics import bootstrap_interval, holm, signed_rank
from itkit.metrics.surfaces import border_distances, element_areas, element_distances

__all__ = [
    "DEFINITIONS",
    "DISTANCES",
    "METRICS",
    "VARIANTS",
    "Label",
    "LabelMap",
    "bootstrap_interval",
    "border_distances",
    "compare",
    "element_areas",
    "element_distances",
    "evaluate",
    "holm",
    "instance_metrics",
    "metric_names",
    "signed_rank",
]
