"""A kill or an error of the disk at any single operation on files: nothing lost or half; the next run completes."""

import errno
import os
import shutil

import pytest
from attack_data import made, pair
from helpers import leftovers, tree

from itkit.core.geometry import Geometry

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")]
POINTS = int(os.environ.get("ITKIT_STRIKES", "1"))
"""Operations of each command that each error strikes; 0 for all of them (`make test-long`)."""
_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, less whole numbers, are spread evenly, however many there are."""
COMMANDS = {
    "resample": ["itk_resample", "dataset", "IN", "OUT/a", "--spacing", 2, 1, 1, "--ext", ".mhd"],
    "orient": ["itk_orient", "IN", "OUT/a", "LPI", "--ext", ".nii.gz"],
    "aug": ["itk_aug", "IN/image", "IN/label", "-oimg", "OUT/a", "-olbl", "OUT/b", "-n", 1, "--random-rot", 9, 0, 0],
    "patch": ["itk_patch", "IN", "OUT/a", "--patch-size", 3, "--patch-stride", 3],
    "copy": ["itk_check", "copy", "IN", "-o", "OUT/a"],
    "enhance": ["itkit", "enhance", "IN", "OUT/a", "--clip", 0, 500, "--ext", ".nii.gz"],
    "crop": ["itkit", "crop", "IN", "OUT/a", "--to", "foreground"],
    "combine": ["itkit", "combine", "-i", "a=IN/label", "b=IN/label", "--map", "a:1->1", "b:2->2", "-o", "OUT/a"],
    "postprocess": ["itkit", "postprocess", "IN", "OUT/a", "--largest"],
    "presegment": ["itkit", "presegment", "IN", "OUT/a", "--target", "threshold", "--threshold", 0, 500],
    "align": ["itkit", "align", "IN", "IN/image", "OUT/a", "--transform", "translation", "--levels", 1],
    "to nnU-Net": ["itkit", "convert", "nnunet", "IN", "OUT/a"],
    "from nnU-Net": ["itkit", "convert", "from-nnunet", "IN", "OUT/a"],
    "collect": ["itkit", "collect", "IN", "OUT/a", "--image", "image/{case}.nii.gz", "--label", "label/{case}.nii.gz"],
    "stats": ["itkit", "stats", "IN", "OUT/a"],
    "evaluate": ["itkit", "evaluate", "IN/label", "IN/label", "OUT/a"],
    "split": ["itkit", "split", "IN", "-o", "OUT/a/splits.json", "--folds", 2],
}
GRID = Geometry((8, 9, 10), (2.0, 1.5, 1.0))
"""Large enough for the pyramids of a registration."""
NOT_THE_SAME = ("series_meta.json", "_configs.json")
"""Times of files; counts of a run."""
ERRORS = {"kill": 0, "input/output error": errno.EIO, "no space": errno.ENOSPC}


def points(total, number):
    """Return the operations that are struck: all, or some; those of one number lie apart from those of any other."""
    if not POINTS or total <= POINTS:
        return range(1, total + 1)
    places = ((number + step / POINTS) * _GOLDEN % 1 for step in range(POINTS))
    return sorted({1 + int(place * total) for place in places})


def whole(folder):
    """Return all files of a finished run that say the same wherever and however often it ran."""
    return {
        name: data.replace(str(folder).encode(), b"OUT")
        for name, data in tree(folder).items()
        if not name.endswith(NOT_THE_SAME)
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_one_strike_loses_nothing(attacked, tmp_path, library, name):
    source = pair(tmp_path / "in", 2, GRID)
    (source / "dataset.json").write_text('{"labels": {"0": "background", "1": "a", "2": "b", "3": "c"}}')
    if name == "from nnU-Net":
        assert attacked("itkit", "convert", "nnunet", source, tmp_path / "nnunet").code == 0
        source = tmp_path / "nnunet"
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}

    def run(out, **env):
        words = [str(word).replace("IN", str(source)).replace("OUT", str(out)) for word in COMMANDS[name]]
        return attacked(*words, env={"LD_PRELOAD": library, "UNDER": str(out), **env})

    assert run(tmp_path / "whole", TOTAL=str(tmp_path / "total")).code == 0
    expected, total = made(tmp_path / "whole"), int((tmp_path / "total").read_text())
    everything = whole(tmp_path / "whole")
    assert everything
    first = len(ERRORS) * list(COMMANDS).index(name)
    strikes = [(how, point) for number, how in enumerate(ERRORS, first) for point in points(total, number)]
    for how, point in strikes:
        out = tmp_path / f"out_{how[:4]}_{point}"
        ended = run(out, STRIKE_AT=str(point), STRIKE_WITH=str(ERRORS[how]))
        standing = made(out) if out.exists() else {}
        where = f"{name}, {how} at operation {point} of {total}: {ended}"
        missed = ended.code == 0 and point == total  # an operation less than in the first run
        assert ended.code == -9 or missed if how == "kill" else ended.is_calm, where
        assert standing.items() <= expected.items(), where
        assert ended.code != 0 or standing == expected, where
        again = run(out)
        assert again.code == 0, f"{where}; then {again}"
        assert made(out) == expected, f"{where}; then {again}"
        assert whole(out) == everything, f"{where}; then {again}"
        assert not leftovers(out), where
        shutil.rmtree(out)
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
