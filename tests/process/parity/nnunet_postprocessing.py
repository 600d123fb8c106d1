"""Write ``nnunet_postprocessing.json``: what nnU-Net learns from small predictions that `write_predictions_of` makes.

Run it where nnunetv2 (2.8.1) is installed: ``python tests/process/parity/nnunet_postprocessing.py``. The predictions
need numpy and SimpleITK alone, so that the tests make the same ones.
"""

import json
import os
import pickle
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

PREDICTIONS = ("specks", "parts", "far", "gone", "mixed", "one", "nothing")
"""Sets of predictions."""


def arrays_of(name, number):
    """Return reference and prediction of a case: a body of two touching classes, and what the prediction adds to it."""
    rng = np.random.default_rng([number, sum(map(ord, name))])
    truth = np.zeros((12, 20, 24), np.uint8)
    truth[3:9, 4:12, 4:9] = 1
    truth[3:9, 4:12, 9 : 13 + number] = 2
    if name in ("parts", "mixed"):
        truth[3:7, 15:18, 15:18] = 3  # truly apart from the others
    if name == "one":
        truth[truth == 2] = 0
    prediction = truth.copy()
    if name in ("specks", "mixed", "one"):
        prediction[1, 1 + number, 20:22] = 1
    if name == "far":  # specks of either class, but one of them touches the body
        prediction[1, 1 : 3 + number, 20:22] = 2
        prediction[9:11, 5, 4 + number] = 1
        prediction[10, 7 : 9 + number, 10:12] = 1
        prediction[9, 8, 10] = 2
    if name == "gone":  # a class that no reference has
        prediction[10, 15:18, 3:6] = 4
    if name == "mixed":
        prediction[3:7, 15:18, 15:18] = 0 if number == 1 else 3
        prediction[10, 17, 3 : 5 + number] = 2
    noisy = rng.random(truth.shape) < 0.004
    prediction[noisy & (truth > 0)] = 0
    return truth, prediction


def write_predictions_of(root, name):
    """Write truth/ and predicted/ with three cases; return the classes."""
    labels = set()
    for number in range(3):
        for folder, array in zip(("truth", "predicted"), arrays_of(name, number), strict=True):
            (root / folder).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(root / folder / f"case_{number}.nii.gz"))
            labels |= set(np.unique(array).tolist())
    return sorted(labels - {0})


def main():
    """Let nnU-Net learn from the predictions, and write which steps it chose and what they leave."""
    found = {}
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = tempfile.gettempdir()
    from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing

    for name in PREDICTIONS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            labels = write_predictions_of(root, name)
            about = {
                "channel_names": {"0": "CT"},
                "labels": {"background": 0, **{f"class {value}": value for value in labels}},
                "file_ending": ".nii.gz",
                "numTraining": 3,
            }
            plans = {"image_reader_writer": "SimpleITKIO", "dataset_name": "x", "plans_name": "x", "configurations": {}}
            determine_postprocessing(str(root / "predicted"), str(root / "truth"), plans, about, 1)
            with (root / "predicted" / "postprocessing.pkl").open("rb") as file:
                _, kwargs = pickle.load(file)
            voxels = {}
            for path in sorted((root / "predicted" / "postprocessed").glob("*.nii.gz")):
                array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
                voxels[path.name.split(".")[0]] = [int((array == value).sum()) for value in labels]
            found[name] = {
                "steps": [np.array(entry["labels_or_regions"]).tolist() for entry in kwargs],
                "voxels": voxels,
            }
    about = {"source": "nnunetv2 2.8.1, determine_postprocessing", **found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
