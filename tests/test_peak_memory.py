"""The peak memory of a run stays below --max-memory."""

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from helpers import BIN
from pydicom.uid import JPEGLSLossless

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.resources import BASE_BYTES
from itkit.io.dicom.write import write_series
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


GRID = Geometry((32, 512, 512), (2.0, 1.0, 1.0))
TINY = Geometry((4, 16, 16), (2.0, 1.0, 1.0))
RESAMPLE = ["itk_resample", "image", "int16", "OUT", "--spacing"]
AUG = ["itk_aug", "pair/image", "pair/label", "-oimg", "OUT", "-olbl", "OUT2", "-n", 1]
TABLE = {
    "orient": ["itk_orient", "uint8", "OUT", "LPI"],
    "orient --dtype": ["itk_orient", "uint8", "OUT", "LPI", "--dtype", "float64"],
    "orient --compression small": ["itk_orient", "int16", "OUT", "LPI", "--compression", "small"],
    "orient .nii.gz": ["itk_orient", "zipped", "OUT", "LPI", "--ext", "keep"],
    "orient, scaled": ["itk_orient", "scaled", "OUT", "LPI"],
    "orient, read by ITK": ["itk_orient", "by_itk", "OUT", "LPI"],
    "convert": ["itk_convert", "format", "int16", "OUT", "--ext", ".nii.gz", "--orient", "LPI"],
    "convert --dtype": ["itk_convert", "format", "uint8", "OUT", "--dtype", "float64"],
    "convert dicom": ["itk_convert", "dicom", "series", "OUT", "--orient", "LPI", "--dtype", "float64"],
    "convert dicom, compressed": ["itk_convert", "dicom", "packed", "OUT"],
    "resample": [*RESAMPLE, 1, 1, 1],
    "resample --dtype": [*RESAMPLE, 1, 1, 1, "--dtype", "float64"],
    "resample nearest": [*RESAMPLE, 1, 1, 1, "--interpolation", "nearest"],
    "resample bspline": [*RESAMPLE, 2, 1, 1.1, "--interpolation", "bspline"],
    "resample --antialias": [*RESAMPLE, 4, 2, 2, "--antialias"],
    "resample --orient": [*RESAMPLE, 1, 1, 1, "--orient", "LPI"],
    "resample --target-folder": ["itk_resample", "image", "int16", "OUT", "--target-folder", "oblique"],
    "resample labels": ["itk_resample", "label", "float_labels", "OUT", "--spacing", 1, 1, 1],
    "patch": ["itk_patch", "pair", "OUT", "--patch-size", 32, "--patch-stride", 32],
    "patch --pad": ["itk_patch", "pair", "OUT", "--patch-size", 48, "--patch-stride", 48, "--pad"],
    "patch --dtype": ["itk_patch", "pair", "OUT", "--patch-size", 32, "--patch-stride", 32, "--dtype", "float64"],
    "patch --store": ["itk_patch", "pair", "OUT", "--patch-size", 32, "--patch-stride", 32, "--store", "blosc2"],
    "aug": [*AUG, "--random-rot", 9, 9, 9],
    "aug --dtype": [*AUG, "--random-rot", 9, 9, 9, "--dtype", "float64"],
    "aug --elastic": [*AUG, "--elastic", 5, 5, 5],
    "extract": ["itk_extract", "pair/label", "OUT", "1:1", "2:300"],
    "extract --keep-rest": ["itk_extract", "pair/label", "OUT", "1:70000", "--keep-rest"],
    "extract, floats": ["itk_extract", "float_labels", "OUT", "1:1", "2:2"],
    "crop": ["itk_crop", "pair", "OUT", "--to", "label", "--margin-mm", 500, 500, 500],
    "crop --dtype": ["itk_crop", "pair", "OUT", "--to", "label", "--margin-mm", 500, 500, 500, "--dtype", "float64"],
    "combine": ["itk_combine", "-i", "a=pair/label", "-i", "b=pair/label", "--map", "a:1->3", "-o", "OUT"],
    "stats": ["itk_stats", "pair", "OUT"],
    "presegment": ["itk_presegment", "int16", "OUT", "--target", "nonzero"],
    "check --deep": ["itk_check", "check", "pair", "--deep"],
    "check --deep, floats": ["itk_check", "check", "float32", "--deep"],
    "check --deep, read by ITK": ["itk_check", "check", "by_itk", "--deep"],
}
"""Every command, and every option that takes memory."""
ALIKE = {
    "orient --compression small", "orient, read by ITK", "convert --dtype", "convert dicom", "resample nearest",
    "resample --orient", "resample --dtype", "patch", "patch --dtype", "aug", "extract", "extract, floats", "crop",
    "check --deep, floats",
}  # fmt: skip
"""Rows whose way through memory is that of another row; `make test-long` measures them too."""


def write_inputs(root, grid):
    oblique = replace(grid, direction_xyz=phantoms.GRIDS["oblique"].direction_xyz)
    image, label = phantoms.noise(grid, 0), phantoms.l_shape(grid)
    whole = {
        "int16/a.mha": image,
        "uint8/a.mha": image.with_array((image.array_zyx // 16).astype("uint8")),
        "float32/a.mha": image.with_array(image.array_zyx.astype("float32")),
        "float_labels/a.mha": label.with_array(label.array_zyx.astype("float64")),
        "oblique/a.mha": Volume(image.array_zyx, oblique),
        "pair/image/a.mha": image,
        "pair/label/a.mha": label,
        "by_itk/a.mha": image,
    }
    for name, volume in whole.items():
        write_volume(volume, root / name, compression="none")
    write_volume(image, root / "zipped" / "a.nii.gz")
    path = root / "by_itk" / "a.mha"
    data = path.read_bytes()
    at = data.index(b"ElementDataFile")
    path.write_bytes(data[:at] + b"ElementToIntensityFunctionSlope = 2\n" + data[at:])
    (root / "scaled").mkdir()
    scaled = nibabel.Nifti1Image(image.array_zyx.T, np.diag([1.0, 1.0, 2.0, 1.0]))
    scaled.header.set_slope_inter(0.5, 1.0)
    nibabel.save(scaled, root / "scaled" / "a.nii")
    write_series(image, root / "series")
    (root / "packed").mkdir()
    for path in sorted((root / "series").rglob("*.dcm")):
        one = pydicom.dcmread(path)
        one.compress(JPEGLSLossless, generate_instance_uid=False)
        one.save_as(root / "packed" / path.name)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    for name, grid in (("large", GRID), ("tiny", TINY)):
        write_inputs(root / name, grid)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.long) if what in ALIKE else what for what in TABLE]
)
def test_what_a_case_is_said_to_need_is_what_it_takes(inputs, tmp_path, what):
    """Beside the memory of the process, which a tiny volume shows; and a run at the limit stays below it."""
    name, *arguments = map(str, TABLE[what])

    def command(size, out, limit):
        places = {"OUT": str(tmp_path / out), "OUT2": str(tmp_path / f"{out}_labels")}
        there = []
        for word in arguments:
            label, equals, path = word.rpartition("=")
            there.append(f"{label}{equals}{inputs / size / path}" if (inputs / size / path).exists() else word)
        return [BIN / name, *(places.get(word, word) for word in there), "--max-memory", int(limit)]

    refused = subprocess.run(list(map(str, command("large", "no", MIB))), capture_output=True, text=True, check=False)
    found = re.search(r"needs about ([\d.]+) MiB", refused.stderr)
    assert found, refused.stderr
    needed = float(found[1]) * MIB - 2 * BASE_BYTES
    code, base, _ = peak(command("tiny", "tiny", 8 << 30))
    assert code == 0
    limit = needed + BASE_BYTES + MIB
    code, highest, stdout = peak(command("large", "large", limit))
    assert code == 0, stdout
    assert highest < limit
    assert highest - base < needed + 4 * MIB
    if "--dtype" in arguments:
        narrow = list(map(str, command("large", "narrow", MIB)))
        del narrow[narrow.index("--dtype") : narrow.index("--dtype") + 2]
        done = subprocess.run(narrow, capture_output=True, text=True, check=False)
        less = float(re.search(r"needs about ([\d.]+) MiB", done.stderr)[1]) * MIB - 2 * BASE_BYTES
        assert needed - less >= 8 * 0.9 * GRID.size_zyx[0] * 512 * 512
