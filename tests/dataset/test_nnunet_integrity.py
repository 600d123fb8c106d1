"""nnU-Net's own integrity check accepts what we export.

It runs where ``ITKIT_NNUNET_PYTHON`` names the Python of an environment with nnunetv2 (tried with 2.8.1).
"""

import json
import os
import subprocess

import numpy as np
import pytest

import itkit
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

PYTHON = os.environ.get("ITKIT_NNUNET_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="set ITKIT_NNUNET_PYTHON to a Python that has nnunetv2"),
]
CHECK = """
import sys
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
if __name__ == "__main__":
    verify_dataset_integrity(sys.argv[1], 1)
"""
ABOUT = {
    "one channel": {"modality": ["CT"], "labels": {"0": "background", "1": "liver", "2": "tumour"}},
    "gaps": {"modality": ["CT"], "labels": {"0": "background", "1": "liver", "2": "tumour", "700": "cyst"}},
    "negative": {"labels": {"0": "background", "1": "liver", "2": "tumour", "-1": "unknown"}},
    "no background": {"labels": {"1": "liver", "2": "tumour"}},
    "two channels": {"channels": ["T1", "T2"], "labels": {"0": "background", "1": "liver", "2": "tumour"}},
}


def write_source(root, about):
    values = sorted(int(value) for value in about["labels"])
    for number, grid in enumerate(phantoms.GRIDS.values()):
        case = f"case.{number} {number}"
        for channel in about.get("channels", [""]):
            name = f"{case}_{channel}" if channel else case
            write_volume(phantoms.noise(grid, number), root / "image" / f"{name}.mha")
        label = phantoms.l_shape(grid).array_zyx.astype(np.int16) % 3
        label[0, 0, : len(values)] = values
        write_volume(Volume(label, grid, "label"), root / "label" / f"{case}.mha")
    (root / "dataset.json").write_text(json.dumps(about))


@pytest.fixture
def check(tmp_path):
    script = tmp_path / "check.py"
    script.write_text(CHECK)

    def run(folder):
        keys = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        environment = {**os.environ, **dict.fromkeys(keys, str(tmp_path)), "PYTHONPATH": ""}
        return subprocess.run([PYTHON, script, folder], capture_output=True, text=True, check=False, env=environment)

    return run


@pytest.mark.parametrize("name", ABOUT)
def test_nnunet_finds_no_fault(tmp_path, name, check):
    write_source(tmp_path / "raw", ABOUT[name])
    dest = tmp_path / "Dataset001_X"
    result = itkit.run("convert_to_nnunet", source=tmp_path / "raw", dest=dest)
    assert result.exit_code == 0, [record.message for record in result.records]
    done = check(dest)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "verify_dataset_integrity Done" in said
    assert "Warning" not in said
    assert "Error" not in said


def test_the_check_itself_can_fail(tmp_path, check):
    write_source(tmp_path / "raw", ABOUT["one channel"])
    dest = tmp_path / "Dataset001_X"
    itkit.run("convert_to_nnunet", source=tmp_path / "raw", dest=dest)
    about = json.loads((dest / "dataset.json").read_text())
    about["labels"].pop("tumour")
    (dest / "dataset.json").write_text(json.dumps(about))
    assert "Unexpected labels" in check(dest).stdout
