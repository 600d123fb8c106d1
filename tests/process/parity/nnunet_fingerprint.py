"""Write ``nnunet_fingerprint.json``: what nnU-Net says of small datasets that `write_raw` makes.

Run it where nnunetv2 (2.8.1) is installed: ``python tests/process/parity/nnunet_fingerprint.py``. The datasets need
numpy and SimpleITK alone, so that the tests make the same ones.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

DATASETS = {"ct": {"0": "CT"}, "mr": {"0": "T1", "1": "T2"}}
"""Datasets, with nnU-Net's names of their channels."""
SIZES_ZYX = [(9, 14, 11), (12, 10, 13), (7, 16, 12), (10, 11, 15)]
SPACINGS_ZYX = [(2.5, 0.8, 0.7), (3.0, 0.7, 0.7), (5.0, 0.9, 0.75), (2.5, 0.8, 0.65)]


def case_arrays(name, number):
    """Return the channels and the label of a case; its foreground has a size and a brightness of its own."""
    rng = np.random.default_rng([number, len(name), ord(name[0])])
    size = SIZES_ZYX[number]
    label = np.zeros(size, np.uint8)
    label[2 : 4 + number, 3:9, 2:10] = 1
    label[1:3, 1:3, 1 : 4 + number] = 2
    if name == "ct":
        return [(rng.normal(-300, 400, size) + 250 * label + 40 * number).round().astype(np.int16)], label
    skewed = rng.gamma(2.0, 100.0 * (1 + number), size) * (1 + label)
    return [skewed.astype(np.float32), (rng.normal(50, 9, size) - 20 * label).astype(np.float32)], label


def write_raw(root, name):
    """Write a dataset as nnU-Net's raw data: imagesTr, labelsTr, dataset.json."""
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(len(SIZES_ZYX)):
        channels, label = case_arrays(name, number)
        for place, array in enumerate(channels):
            write(array, number, root / "imagesTr" / f"case_{number}_{place:04d}.nii.gz")
        write(label, number, root / "labelsTr" / f"case_{number}.nii.gz")
    about = {
        "channel_names": DATASETS[name],
        "labels": {"background": 0, "arm": 1, "leg": 2},
        "numTraining": len(SIZES_ZYX),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(about))


def write(array, number, path):
    """Write one volume with its spacing."""
    image = sitk.GetImageFromArray(array)
    z, y, x = SPACINGS_ZYX[number]
    image.SetSpacing((x, y, z))
    sitk.WriteImage(image, str(path))


def main():
    """Let nnU-Net read the datasets, and write its numbers."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder, name))
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
        from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

        for number, name in enumerate(DATASETS, 1):
            root = Path(folder, "nnUNet_raw", f"Dataset{number:03d}_{name}")
            write_raw(root, name)
            fingerprint = DatasetFingerprintExtractor(number, 1).run(overwrite_existing=True)
            channels = fingerprint["foreground_intensity_properties_per_channel"]
            cases = {}
            for case in range(len(SIZES_ZYX)):
                files = [str(root / "imagesTr" / f"case_{case}_{place:04d}.nii.gz") for place in range(len(channels))]
                label = str(root / "labelsTr" / f"case_{case}.nii.gz")
                done = DatasetFingerprintExtractor.analyze_case(files, label, SimpleITKIO, 10)
                cases[f"case_{case}"] = [{key: float(value) for key, value in own.items()} for own in done[3]]
            found[name] = {
                "dataset": list(channels.values()),
                "cases": cases,
                "median_spacing": [float(value) for value in np.median(fingerprint["spacings"], 0)],
            }
    about = {"source": "nnunetv2 2.8.1, DatasetFingerprintExtractor", **found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
