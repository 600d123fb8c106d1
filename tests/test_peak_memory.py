"""The peak memory of a run stays below --max-memory."""

import subprocess
import time
from pathlib import Path

import pytest
from helpers import BIN

from itkit.core.geometry import Geometry
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

MIB = 2**20


def tree_bytes(pid):
    """Memory of a process and its descendants; pages that they share count once."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                text = (folder / "smaps_rollup").read_text() if session == pid else ""
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
    return total


def peak(arguments):
    process = subprocess.Popen(
        list(map(str, arguments)), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    highest = 0
    while process.poll() is None:
        highest = max(highest, tree_bytes(process.pid))
        time.sleep(0.02)
    return process.returncode, highest, process.communicate()[0]


@pytest.mark.slow
def test_peak_is_bounded(tmp_path):
    grid = Geometry((120, 320, 320), (1.0, 1.0, 1.0))  # 23 MiB of int16
    for number in range(4):
        write_volume(phantoms.noise(grid, number), tmp_path / "raw" / f"{number}.nii.gz")
    run = [BIN / "itk_resample", "image", tmp_path / "raw"]
    limit = 900 * MIB
    code, highest, _ = peak([*run, tmp_path / "a", "--spacing", 0.7, 1, 1, "--workers", 2, "--max-memory", limit])
    assert code == 0
    assert 100 * MIB < highest < limit
    slow = [*run, tmp_path / "b", "--spacing", 1, 1, 0.7, "--interpolation", "bspline", "--max-memory"]
    code, highest, _ = peak([*slow, 2 * limit])
    assert code == 0
    assert highest < 2 * limit
    code, highest, stdout = peak([*run, tmp_path / "c", "--spacing", 0.1, 1, 1, "--max-memory", limit // 2])
    assert code == 1
    assert "4 failed" in stdout
    assert highest < limit // 2
