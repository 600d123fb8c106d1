"""Pages are what the specs say; the guide's example runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import make_fake

from itkit.dataset.convert.docs import pages

DOCS = Path(__file__).parents[2] / "docs" / "datasets"


@pytest.mark.parametrize("name", pages())
def test_a_page_says_what_its_spec_says(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run: python -m itkit.dataset.convert.docs"


def test_no_page_is_left_over():
    assert {path.name for path in DOCS.glob("*.md")} == {*pages(), "add_your_dataset.md"}


def test_the_guide_runs(tmp_path):
    text = (DOCS / "add_your_dataset.md").read_text(encoding="utf-8")
    module, command, use = re.findall(r"^```(?:python|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(module.splitlines()) < 40
    (tmp_path / "my_liver.py").write_text(module, encoding="utf-8")
    grid = make_fake.Geo((8, 7, 5), (1.0, 1.5, 2.0), (3.0, 2.0, 1.0), make_fake.unit_direction("RAS"))
    label = np.zeros(grid.shape, np.uint8)
    label[1:3, 2:5, 1:6], label[2, 3, 2:4] = 1, 2
    for case, split in (("p001", "train"), ("p002", "train"), ("p003", "val")):
        make_fake.write_nifti(tmp_path / "liver" / split / "ct" / f"{case}.nii.gz", label * 100, grid, "i2")
        if split == "train":
            make_fake.write_nifti(tmp_path / "liver" / split / "seg" / f"{case}_seg.nii.gz", label, grid)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    call = {"cwd": tmp_path, "capture_output": True, "text": True, "env": environment, "timeout": 120, "check": False}
    done = subprocess.run(["bash", "-euc", command], **call)
    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stdout
    done = subprocess.run([sys.executable, "-c", use], **call)
    assert done.stdout.splitlines() == ["p001 (1, 5, 7, 8) 1", "p002 (1, 5, 7, 8) 1"], done.stderr
