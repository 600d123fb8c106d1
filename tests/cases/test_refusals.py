"""Refusals that no command could mend name the next step."""

import bz2

import numpy as np
from dicom_factory import save_all, slices

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume


def test_nrrd_in_bzip2_says_how_to_save_it(tmp_path, command):
    write_volume(Volume(np.zeros((4, 5, 6), np.int16), Geometry((4, 5, 6), (1.0, 1.0, 1.0))), tmp_path / "in/good.nrrd")
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nendian: little\nencoding: bzip2\nspace origin: (0,0,0)\n\n"
    )
    (tmp_path / "in/bz.nrrd").write_bytes(head.encode() + bz2.compress(bytes(240)))
    code, stdout, stderr = command("itk_orient", tmp_path / "in", tmp_path / "out", "RAS")
    assert (code, "1 done, 0 skipped, 1 failed (bz)" in stdout) == (1, True)
    assert "encoding bzip2 is not read; save the file with gzip: unu save" in stderr


def test_a_rescale_slope_of_zero_says_what_to_do(tmp_path):
    save_all(slices([0, 2.5, 5, 7.5, 10], RescaleSlope="0", RescaleIntercept="0"), tmp_path / "in")
    result = itkit.run("itk_convert", mode="dicom", source=tmp_path / "in", dest=tmp_path / "out")
    assert result.exit_code == 1
    assert "RescaleSlope is 0: every value would become 0; export the series again, or remove" in (
        result.records[0].message
    )
    assert not list((tmp_path / "out").rglob("*.mha"))
