"""From a folder as it comes to a clean dataset. Run it in an empty folder: ``python own_data.py``.

Cells begin with ``# %%``: many editors run them one by one.
"""

# %% A folder as one gets it: other names for each thing, a stray file, a broken one, and a turned case
import shutil
from pathlib import Path

import itkit
from itkit.cli.demo import write_torso_dataset

write_torso_dataset(Path("torso"))
inbox = Path("inbox")
for number, case in enumerate(("torso", "torso_reversed", "torso_oblique"), start=1):
    folder = inbox / f"patient {number:02}"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(f"torso/image/{case}.nii.gz", folder / "CT.nii.gz")
    shutil.copy(f"torso/label/{case}.nii.gz", folder / "organs_seg.nii.gz")
(inbox / "patient 04").mkdir(exist_ok=True)
(inbox / "patient 04" / "CT.nii.gz").write_bytes(Path("torso/image/torso.nii.gz").read_bytes()[:5000])  # cut short
shutil.copy("torso/label/torso.nii.gz", inbox / "patient 04" / "organs_seg.nii.gz")
(inbox / "read me first.txt").write_text("patient 04 was sent again, see mail\n")

# %% Collect: the broken file fails by name, the others are done.
# In a terminal, ``itkit collect inbox --guess`` proposes these patterns from the names that it sees.
collected = itkit.collect_dataset(
    inbox,
    "dataset",
    image="{case}/CT.nii.gz",
    label="{case}/organs_seg.nii.gz",
    modality=["CT"],
)
for record in collected.records:
    print(record.case_id, record.status, record.message)
assert collected.summary.counts["done"] == 3
assert [record.case_id for record in collected.records if record.status == "failed"] == ["patient 04"]

# %% Check: grids, pairs, voxels
checked = itkit.check_dataset("dataset", "check", deep=True)
assert checked.exit_code == 0

# %% Measure: stats/stats.html is a page to look at
itkit.measure_dataset("dataset", "stats")

# %% One orientation, one spacing (Z Y X, mm)
made = itkit.resample_dataset("dataset", "uniform", "dataset", orient="LPS", spacing=(4, 3, 3))
assert made.exit_code == 0

# %% The same call again does nothing, as all is done
again = itkit.resample_dataset("dataset", "uniform", "dataset", orient="LPS", spacing=(4, 3, 3))
assert again.summary.counts["skipped"] == 3

# %% Every case has one orientation and one spacing now
for path in sorted(Path("uniform/image").glob("*.mha")):
    grid = itkit.read(path).geometry
    print(path.name, grid.size_zyx, grid.spacing_zyx, grid.orientation)
    assert grid.spacing_zyx == (4.0, 3.0, 3.0)
