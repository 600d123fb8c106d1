"""Compare label maps with MONAI's four metric functions: Dice, HD95, ASSD, NSD; write them as JSON.

Run: python monai_metrics.py GT PRED DEST CLASSES TOLERANCE_MM

Each class is a channel, as MONAI wants it; the functions get all classes at once.
"""

import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)

if __name__ == "__main__":
    gt, pred, dest = (Path(word) for word in sys.argv[1:4])
    classes, tolerance = int(sys.argv[4]), float(sys.argv[5])
    torch.set_num_threads(2)
    found = {}
    for path in sorted(gt.glob("*.nii.gz")):
        images = [nibabel.load(folder / path.name) for folder in (gt, pred)]
        spacing = [float(step) for step in images[0].header.get_zooms()[:3]]
        y, y_pred = (
            torch.from_numpy(np.stack([np.asarray(image.dataobj) == value for value in range(classes + 1)])[None])
            for image in images
        )
        values = {
            "dice": compute_dice(y_pred.float(), y.float(), include_background=False),
            "hd95_mm": compute_hausdorff_distance(y_pred, y, percentile=95, spacing=spacing),
            "assd_mm": compute_average_surface_distance(y_pred, y, symmetric=True, spacing=spacing),
            "nsd": compute_surface_dice(y_pred, y, class_thresholds=[tolerance] * classes, spacing=spacing),
        }
        found[path.name.removesuffix(".nii.gz")] = {
            str(number + 1): {name: float(value[0, number]) for name, value in values.items()}
            for number in range(classes)
        }
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "evaluation.json").write_text(json.dumps({"cases": found}))
