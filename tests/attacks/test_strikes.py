"""A kill or an error of the disk at any single operation on files: nothing lost or half; the next run completes."""

import errno
import os
import shutil

import pytest
from attack_data import made, pair
from helpers import leftovers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")]
POINTS = int(os.environ.get("ITKIT_STRIKES", "3"))
"""Points of each command at which each error strikes; 0 for all of them."""
COMMANDS = {
    "resample": ["itk_resample", "dataset", "IN", "OUT/a", "--spacing", 2, 1, 1, "--ext", ".mhd"],
    "orient": ["itk_orient", "IN", "OUT/a", "LPI", "--ext", ".nii.gz"],
    "aug": ["itk_aug", "IN/image", "IN/label", "-oimg", "OUT/a", "-olbl", "OUT/b", "-n", 1, "--random-rot", 9, 0, 0],
    "patch": ["itk_patch", "IN", "OUT/a", "--patch-size", 3, "--patch-stride", 3],
    "copy": ["itk_check", "copy", "IN", "-o", "OUT/a"],
}
ERRORS = {"kill": 0, "input/output error": errno.EIO, "no space": errno.ENOSPC}


def points(total):
    """Return the operations that are struck: all, or some from the first to the last."""
    if not POINTS or total <= POINTS:
        return range(1, total + 1)
    return sorted({1 + round(number * (total - 1) / (POINTS - 1)) for number in range(POINTS)})


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("name", COMMANDS)
def test_one_strike_loses_nothing(attacked, tmp_path, library, name, how):
    source = pair(tmp_path / "in", 2)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}

    def run(out, **env):
        places = {"IN": str(source), "OUT": str(out)}
        words = [
            "/".join(places.get(part, part) for part in word.split("/")) if isinstance(word, str) else word
            for word in COMMANDS[name]
        ]
        return attacked(*words, env={"LD_PRELOAD": library, "UNDER": str(out), **env}, seconds=60)

    assert run(tmp_path / "whole", TOTAL=str(tmp_path / "total")).code == 0
    expected, total = made(tmp_path / "whole"), int((tmp_path / "total").read_text())
    assert expected
    for point in points(total):
        out = tmp_path / f"out_{point}"
        ended = run(out, STRIKE_AT=str(point), STRIKE_WITH=str(ERRORS[how]))
        standing = made(out) if out.exists() else {}
        where = f"{name}, {how} at operation {point} of {total}: {ended}"
        assert ended.code == -9 if how == "kill" else ended.is_calm, where
        assert standing.items() <= expected.items(), where
        assert ended.code != 0 or standing == expected, where
        again = run(out)
        assert again.code == 0, f"{where}; then {again}"
        assert made(out) == expected, f"{where}; then {again}"
        assert not leftovers(out), where
        shutil.rmtree(out)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
