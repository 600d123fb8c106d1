"""A dataset to nnU-Net and back. Run it in an empty folder: ``python nnunet_hand_over.py``.

nnU-Net itself is not needed: what it would predict is made here from the labels.
"""

# %% A dataset with three named organs
import json
import shutil
from pathlib import Path

import itkit
from itkit.cli.demo import write_torso_dataset

write_torso_dataset(Path("torso"))
itkit.resample_dataset("torso", "ready", "dataset", spacing=(6, 4, 4))
itkit.extract_labels("ready/label", "organs/label", ["5:1", "2:2", "3:3"])  # liver, right and left kidney
shutil.copytree("ready/image", "organs/image", dirs_exist_ok=True)
itkit.describe_dataset(
    "organs", labels=["1=liver", "2=kidney_right", "3=kidney_left"], modality=["CT"], existing="redo"
)

# %% Folds, by case: organs/splits.json, and splits_final.json for nnUNet_preprocessed/Dataset001_Organs
itkit.split_dataset("organs", folds=3, seed=7, nnunet=True)

# %% To nnU-Net's raw data; set nnUNet_raw to the folder above
raw = Path("nnUNet_raw/Dataset001_Organs")
itkit.convert_files("organs", raw, "nnunet")
described = json.loads((raw / "dataset.json").read_text())
print(described["labels"], described["channel_names"], described["numTraining"])
assert described["labels"] == {"background": 0, "liver": 1, "kidney_right": 2, "kidney_left": 3}
assert sorted(path.name for path in (raw / "imagesTr").glob("*.nii.gz")) == [
    "torso_0000.nii.gz",
    "torso_oblique_0000.nii.gz",
    "torso_reversed_0000.nii.gz",
]

# %% Now train: nnUNetv2_plan_and_preprocess -d 1, nnUNetv2_train 1 3d_fullres 0, nnUNetv2_predict ... -o predicted.
# Here its predictions are the labels, moved by a voxel, so that there is something to see.
for path in sorted((raw / "labelsTr").glob("*.nii.gz")):
    label = itkit.read(path, "label")
    moved = label.array_zyx.copy()
    moved[:, :, 1:] = label.array_zyx[:, :, :-1]
    itkit.write(label.with_array(moved), Path("predicted") / path.name)

# %% Back: predictions lie on the images' grids, and are compared as they are
result = itkit.evaluate_predictions("organs", "predicted", "evaluation")
assert result.exit_code == 0
summary = Path("evaluation/summary.csv").read_text().splitlines()
print("\n".join(line[:100] for line in summary[:6]))
print("open evaluation/evaluation.html")
