"""Let nnU-Net extract the fingerprint of a dataset, with as many processes as asked for.

Run: python nnunet_fingerprint.py DATASET DEST PROCESSES

The dataset's files are linked as nnU-Net's raw data below the destination; its command's own function does the rest.
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # its workers import this file
    source, dest, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(dest / name)
    root = dest / "nnUNet_raw" / "Dataset001_bench"
    for folder, to, ending in (("image", "imagesTr", "_0000"), ("label", "labelsTr", "")):
        (root / to).mkdir(parents=True)
        for path in (source / folder).glob("*.nii.gz"):
            (root / to / path.name.replace(".nii.gz", f"{ending}.nii.gz")).symlink_to(path.resolve())
    count = len(list((root / "labelsTr").iterdir()))
    about = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{f"c{value}": value for value in range(1, 16)}},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(about))
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    DatasetFingerprintExtractor(1, processes).run(overwrite_existing=True)  # what nnUNetv2_extract_fingerprint calls
