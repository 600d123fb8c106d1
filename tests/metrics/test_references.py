"""Every metric equals the value that an independent library gives for the same input.

The files in `references` hold label maps and what MONAI 1.6, medpy, panoptica, DeepMind's surface-distance,
MetricsReloaded and SimpleITK make of them. Our definitions are MONAI's and MetricsReloaded's; the other libraries' go
under names of their own.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from itkit.kernels.dispatch import forced_backend
from itkit.metrics import element_distances, evaluate

REFERENCES = Path(__file__).parent / "references"
NAMES = sorted(path.stem for path in REFERENCES.glob("*.json"))
SINGLE = 2e-6  # MONAI's values are in single precision

SAME = {
    "monai": {
        "dice": ("dice", SINGLE),
        "iou": ("iou", SINGLE),
        "hd": ("hd_mm", SINGLE),
        "hd95": ("hd95_mm", 2e-5),
        "assd_pooled": ("assd_mm", SINGLE),
        "nsd_voxels": ("nsd", SINGLE),
        "nsd_surfels": ("nsd_surfels", 2e-5),
    },
    "medpy": {
        "dice": ("dice", 1e-12),
        "iou": ("iou", 1e-12),
        "precision": ("precision", 1e-12),
        "recall": ("recall", 1e-12),
        "hd": ("hd_mm", 1e-12),
        "hd95_pooled": ("hd95_pooled", 1e-12),
        "assd_pooled": ("assd_mm", 1e-12),
    },
    "panoptica": {"masd": ("masd_mm", 1e-12)},
    "surface_distance": {"hd95_area": ("hd95_surfels", 1e-12)},
    "metrics_reloaded": {
        "dice": ("dice", 1e-12),
        "hd": ("hd_mm", 1e-12),
        "hd95": ("hd95_mm", 1e-12),
        "assd_pooled": ("assd_mm", 1e-12),
        "masd": ("masd_mm", 1e-12),
        "nsd_voxels": ("nsd", 1e-12),
    },
    "simpleitk": {"dice": ("dice", 1e-12), "iou": ("iou", 1e-12)},
}


def load(name):
    arrays = np.load(REFERENCES / f"{name}.npz")
    about = json.loads((REFERENCES / f"{name}.json").read_text())
    return arrays["gt"], arrays["pred"], tuple(about["spacing_zyx"]), about


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", NAMES)
def test_values_of_six_libraries(name, backend):
    gt, pred, spacing, about = load(name)
    with forced_backend(backend):
        found = evaluate(gt, pred, spacing_zyx=spacing, labels=about["labels"], tolerance_mm=about["tolerance_mm"])
    assert list(found) == about["labels"]
    for label in about["labels"]:
        row, expected = found[label], about["classes"][str(label)]
        assert (row["tp"], row["fp"], row["fn"]) == (expected["tp"], expected["fp"], expected["fn"])
        voxel_ml = math.prod(spacing) / 1000
        assert row["volume_gt_ml"] == pytest.approx(expected["n_gt"] * voxel_ml)
        assert row["volume_pred_ml"] == pytest.approx(expected["n_pred"] * voxel_ml)
        for library, names in SAME.items():
            for theirs, (ours, tolerance) in names.items():
                value = expected.get(library, {}).get(theirs)
                if value is None or value == "nan" or row["flag"]:
                    continue
                if name == "torso_exact_tolerance" and (library, theirs) == ("metrics_reloaded", "nsd_voxels"):
                    continue  # it has no slack: distances of 3 * 1.1 mm count as above 3.3 mm
                assert row[ours] == pytest.approx(value, rel=tolerance, abs=1e-9), (label, library, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_areas_and_distances_of_surface_elements(name):
    """Both directions separately, as DeepMind's code gives them; its tolerance has no slack."""
    gt, pred, spacing, about = load(name)
    for label in about["labels"]:
        theirs = about["classes"][str(label)].get("surface_distance")
        if not theirs or not ((gt == label).any() and (pred == label).any()):
            continue
        found = element_distances(gt == label, pred == label, spacing)
        assert found.gt_mm2.sum() == pytest.approx(theirs["area_gt_mm2"], rel=1e-12)
        assert found.pred_mm2.sum() == pytest.approx(theirs["area_pred_mm2"], rel=1e-12)
        means = [np.average(found.gt_mm, weights=found.gt_mm2), np.average(found.pred_mm, weights=found.pred_mm2)]
        assert means == pytest.approx([theirs["asd_area_gt_to_pred"], theirs["asd_area_pred_to_gt"]], rel=1e-12)
        within = [
            areas[distances <= about["tolerance_mm"]].sum() / areas.sum()
            for distances, areas in ((found.gt_mm, found.gt_mm2), (found.pred_mm, found.pred_mm2))
        ]
        if name != "torso_exact_tolerance":
            assert within == pytest.approx(theirs["overlap_at_tol"], rel=1e-12)
        assert max(found.gt_mm.max(), found.pred_mm.max()) == pytest.approx(theirs["hd"], rel=1e-12)
        row = evaluate(gt, pred, spacing_zyx=spacing, labels=[label])[label]
        assert row["asd_surfels"] == pytest.approx(sum(means) / 2, rel=1e-12)
