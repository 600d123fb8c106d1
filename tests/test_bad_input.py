"""Bad input, for every command: exit code, message, and what is on disk after. No traceback ever reaches a user."""

import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from helpers import tree

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

GRID = phantoms.GRIDS["flipped"]
COMMANDS = {
    "itk_check": lambda src, dst: ["itk_check", "check", src, "--deep"],
    "itk_resample": lambda src, dst: ["itk_resample", "dataset", src, dst, "--spacing", 1, 1, 1],
    "itk_orient": lambda src, dst: ["itk_orient", src, dst, "LPI"],
    "itk_patch": lambda src, dst: ["itk_patch", src, dst, "--patch-size", 4, "--patch-stride", 4],
    "itk_aug": lambda src, dst: [
        *("itk_aug", src / "image", src / "label", "-oimg", dst / "image", "-olbl", dst / "label"),
        *("--random-rot", 5, 5, 5),
    ],
    "itk_extract": lambda src, dst: ["itk_extract", src / "label", dst, "1:1"],
}  # fmt: skip
WRITERS = [name for name in COMMANDS if name != "itk_check"]


def write_pair(root, case, suffix=".nii.gz"):
    write_volume(phantoms.noise(GRID), root / "image" / f"{case}{suffix}")
    write_volume(phantoms.l_shape(GRID), root / "label" / f"{case}{suffix}")


def write_sitk(path, array, vector=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path))


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_in_both(root, make):
    for name in ("image", "label"):
        make(root / name / "case_05.nii.gz")


BAD_FILES = {
    "truncated": (lambda root: bad_in_both(root, truncated), r"truncated|ends|damaged|corrupt"),
    "empty": (lambda root: bad_in_both(root, lambda p: p.write_bytes(b"")), r"empty"),
    "not a volume": (lambda root: bad_in_both(root, lambda p: p.write_bytes(b"hello" * 200)), r"case_05"),
    "2-D": (lambda root: bad_in_both(root, lambda p: write_sitk(p, np.zeros((5, 6), np.uint8))), r"2-D"),
    "4-D": (lambda root: bad_in_both(root, lambda p: write_sitk(p, np.zeros((2, 4, 5, 6), np.uint8))), r"4-D"),
    "RGB": (
        lambda root: bad_in_both(root, lambda p: write_sitk(p, np.zeros((4, 5, 6, 3), np.uint8), True)),
        r"3 \(RGB",
    ),
}


@pytest.mark.parametrize("fault", BAD_FILES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_file_in_the_middle_of_ten_stops_no_other(name, fault, tmp_path, command):
    root, out = tmp_path / "raw", tmp_path / "out"
    for number in range(10):
        write_pair(root, f"case_{number:02d}")
    spoil, pattern = BAD_FILES[fault]
    spoil(root)
    before = tree(root)
    code, stdout, stderr = command(*COMMANDS[name](root, out), "--workers", 2)
    text = stdout + stderr
    assert code == 1
    assert "Traceback" not in text
    assert "case_05" in text
    assert re.search(pattern, text), text
    good = "9 conforming, 1 nonconforming" if name == "itk_check" else "9 done, 0 skipped, 1 failed (case_05)"
    assert good in stdout
    after = tree(root)
    after.pop("series_meta.json", None)
    assert after == before
    if out.exists():
        written = [path for path in tree(out) if path.endswith(".mha")]
        assert written
        assert not any("case_05" in path for path in written)


@pytest.mark.parametrize("name", ["itk_check", "itk_resample", "itk_orient", "itk_patch", "itk_aug"])
def test_grids_that_differ_fail_by_name(name, tmp_path, command):
    root = tmp_path / "raw"
    for case in ("a", "b"):
        write_pair(root, case)
    other = Geometry(GRID.size_zyx, GRID.spacing_zyx, (31.5, 12.25, -100.1), GRID.direction_xyz)
    write_volume(phantoms.l_shape(other), root / "label" / "b.nii.gz")
    code, stdout, stderr = command(*COMMANDS[name](root, tmp_path / "out"))
    assert code == 1
    assert "b: image and label differ in origin" in stdout + stderr
    assert not [path for path in (tmp_path / "out").rglob("b*") if path.is_file()]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "itk_extract"])
def test_unpaired_files_are_named_and_strict_refuses(name, tmp_path, command):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_pair(root, "a")
    write_volume(phantoms.noise(GRID), root / "image" / "lone.nii.gz")
    if name != "itk_check":
        code, _, stderr = command(*COMMANDS[name](root, out), "--strict")
        assert (code, "lone.nii.gz (no label)" in stderr, out.exists()) == (2, True, False)
    code, stdout, stderr = command(*COMMANDS[name](root, out))
    assert code == (1 if name == "itk_check" else 0)
    assert "lone" in stdout
    assert ("1 unpaired (lone)" in stdout) or name == "itk_check"


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_label_folder_is_refused(name, tmp_path, command):
    write_volume(phantoms.noise(GRID), tmp_path / "raw" / "image" / "a.nii.gz")
    code, _, stderr = command(*COMMANDS[name](tmp_path / "raw", tmp_path / "out"))
    if name == "itk_orient":  # a tree of single files is fine for it
        assert code == 0
        return
    assert code == 2
    assert "label" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_source_and_file_as_source(name, tmp_path, command):
    (tmp_path / "file").write_text("")
    for source in ("nowhere", "file"):
        code, _, stderr = command(*COMMANDS[name](tmp_path / source, tmp_path / "out"))
        assert code == 2
        assert source in stderr
        assert stderr.count("\n") == 1
        assert "Traceback" not in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_empty_source(name, tmp_path, command):
    for folder in ("image", "label"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    code, _, stderr = command(*COMMANDS[name](tmp_path / "raw", tmp_path / "out"))
    assert (code, "no volume" in stderr, (tmp_path / "out").exists()) == (2, True, False)


@pytest.mark.parametrize("name", WRITERS)
def test_destination_in_the_source_is_refused_also_through_links(name, tmp_path, command):
    root = tmp_path / "raw"
    write_pair(root, "a")
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "image").symlink_to(root / "image")
    (tmp_path / "parts" / "label").symlink_to(root / "label")
    before = tree(root)
    if name == "itk_aug":  # its sources are the two folders
        inside = [root, root / "image" / "out", tmp_path / "link"]
    else:
        part = "label" if name == "itk_extract" else ""
        inside = [root / part, root / part / "out", tmp_path / "link" / part]
    for dest in inside:
        code, _, stderr = command(*COMMANDS[name](root, dest))
        assert code == 2, stderr
        assert "source" in stderr
        assert stderr.count("\n") == 1
    if name in ("itk_aug", "itk_resample", "itk_orient"):
        code, _, stderr = command(*COMMANDS[name](root, tmp_path / "parts"), *(["--ext", ".nii.gz"]))
        assert code == 2, stderr
    assert tree(root) == before


def test_a_destination_that_goes_up_from_a_link_is_refused(tmp_path, monkeypatch, command):
    write_pair(tmp_path / "raw", "a")
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "far" / "folder")
    mine = tmp_path / "here" / "out" / "image" / "a.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"somebody's own")
    monkeypatch.chdir(tmp_path / "here")
    for dest in ("link/../out", str(tmp_path / "here" / "link" / ".." / "out")):
        code, _, stderr = command(
            *COMMANDS["itk_orient"](tmp_path / "raw", dest), "--ext", ".nii.gz", "--existing", "redo"
        )
        assert (code, f"goes up from a link; give the path itself, {tmp_path / 'far' / 'out'}" in stderr) == (2, True)
    assert mine.read_bytes() == b"somebody's own"
    assert command(*COMMANDS["itk_orient"](tmp_path / "raw", tmp_path / "far" / ".." / "out"))[0] == 0


@pytest.mark.parametrize("name", WRITERS)
def test_unwritable_destination(name, tmp_path, command):
    write_pair(tmp_path / "raw", "a")
    (tmp_path / "file").write_text("")
    for dest in (tmp_path / "file" / "out", Path("/proc/nowhere/out"), Path("/sys/out")):
        code, _, stderr = command(*COMMANDS[name](tmp_path / "raw", dest))
        assert code == 2, stderr
        assert "destination" in stderr
        assert "Traceback" not in stderr


WRONG_ARGUMENTS = [
    (["itk_resample", "dataset", "raw", "out", "--spacing", "1", "1"], "expected 3 values in the order Z Y X"),
    (
        ["itk_resample", "dataset", "raw", "out", "--spacing", "1", "1", "1", "1"],
        "expected 3 values in the order Z Y X",
    ),
    (["itk_resample", "dataset", "raw", "out", "--spacing"], "expected numbers in the order Z Y X"),
    (["itk_resample", "dataset", "raw", "out", "--spacing", "a", "b", "c"], "order Z Y X"),
    *[
        (["itk_resample", "dataset", "raw", "out", "--spacing", "1", bad, "1"], "--spacing")
        for bad in ("0", "-3", "nan", "inf", "-inf")
    ],
    *[
        (["itk_resample", "dataset", "raw", "out", "--size", "4", bad, "4"], "--size")
        for bad in ("0", "-3", "nan", "2.5")
    ],
    *[
        (["itk_patch", "raw", "out", "--patch-size", "4", "--patch-stride", bad], "--patch-stride")
        for bad in ("0", "-1", "nan", "inf")
    ],
    (["itk_patch", "raw", "out", "--patch-size", "4", "4", "--patch-stride", "4"], "1 or 3 values in the order Z Y X"),
    (["itk_patch", "raw", "out", "--patch-size", "4"], "missing --patch-stride"),
    (
        ["itk_patch", "raw", "out", "--patch-size", "4", "--patch-stride", "4", "--keep-empty-label-prob", "2"],
        "--keep-empty",
    ),
    (["itk_orient", "raw", "out", "LLS"], "LPS, RAS or LPI"),
    (["itk_orient", "raw", "out", "LPS", "extra"], "unrecognized arguments: extra"),
    (["itk_orient", "raw", "out"], "missing orient"),
    (["itk_aug", "raw/image", "raw/label", "-oimg", "out", "--random-rot", "-1", "0", "0"], "--random-rot"),
    (["itk_aug", "raw/image", "raw/label", "-oimg", "out", "--random-rot", "nan", "0", "0"], "--random-rot"),
    (["itk_aug", "raw/image", "raw/label", "-oimg", "out", "-n", "0", "--random-rot", "1", "0", "0"], "--number"),
    (["itk_extract", "raw/label", "out", "1:2:3"], "source:target"),
    (["itk_extract", "raw/label", "out"], "at least one mapping|missing source:target"),
    (["itk_extract", "raw/label", "out", "1:1", "--workers", "0"], "--workers"),
    (["itk_extract", "raw/label", "out", "1:1", "--max-memory", "lots"], "--max-memory"),
    (["itk_extract", "raw/label", "out", "1:1", "--shard", "3/2"], "--shard"),
    (["itk_extract", "raw/label", "out", "1:1", "--colour"], "unrecognized arguments: --colour"),
    (["itk_extract", "raw/label", "out", "1:1", "--config", "none.toml"], "none.toml"),
    (["itk_extract", "raw/label", "out", "1:1", "--ext", ".png"], ".mha, .mhd"),
    (["itk_check", "look", "raw"], "check', 'delete"),
    (["itk_check", "check", "raw", "--min-size", "9", "9", "9", "--max-size", "9", "8", "9"], "above --max-size Y"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), WRONG_ARGUMENTS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_arguments_are_refused_in_one_line(arguments, message, tmp_path, command):
    write_pair(tmp_path / "raw", "a")
    code, stdout, stderr = command(*arguments, cwd=tmp_path)
    assert code == 2
    assert re.search(message, stderr), stderr
    assert stderr.count("\n") == 1
    assert stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize("name", COMMANDS)
def test_names_of_every_kind(name, tmp_path, command):
    root, out = tmp_path / "my raw däta", tmp_path / "öut put"
    cases = ["with space", "ünï-日本", "dots.v1.2", "UPPER"]
    for case in cases:
        write_pair(root, case, ".NII.GZ" if case == "UPPER" else ".nrrd" if "dots" in case else ".nii.gz")
    for folder in ("image", "label"):
        (root / folder / ".hidden.nii.gz").write_bytes(b"not a volume")
        (root / folder / "notes.txt").write_text("mine")
    code, stdout, stderr = command(*COMMANDS[name](root, out), "--mp")
    assert code == 0, stderr
    assert ("4 conforming" if name == "itk_check" else "4 done, 0 skipped, 0 failed") in stdout
    if name in ("itk_resample", "itk_orient"):
        assert {p.name for p in (out / "image").iterdir()} == {f"{case}.mha" for case in cases}


@pytest.mark.parametrize("name", ["itk_resample", "itk_orient", "itk_patch", "itk_aug", "itk_check"])
def test_two_files_of_one_case_are_refused(name, tmp_path, command):
    root = tmp_path / "raw"
    write_pair(root, "a")
    write_volume(phantoms.noise(GRID), root / "image" / "a.nrrd")
    code, _, stderr = command(*COMMANDS[name](root, tmp_path / "out"))
    assert code == 2
    assert "a.nii.gz" in stderr
    assert "a.nrrd" in stderr
    assert not (tmp_path / "out").exists()


def test_four_dimensions_with_one_volume_are_three(tmp_path, command):
    write_sitk(tmp_path / "raw" / "a.nii.gz", np.arange(120, dtype=np.int16).reshape(1, 4, 5, 6))
    code, stdout, _ = command("itk_orient", tmp_path / "raw", tmp_path / "out", "LPS")
    assert (code, "1 done" in stdout) == (0, True)


def test_non_integral_label_is_a_named_failure(tmp_path, command):
    write_pair(tmp_path / "raw", "a")
    soft = Volume(np.full(GRID.size_zyx, 0.25, np.float32), GRID)
    write_volume(soft, tmp_path / "raw" / "label" / "a.nii.gz")
    code, _, stderr = command("itk_resample", "dataset", tmp_path / "raw", tmp_path / "out", "--size", 4, 4, 4)
    assert code == 1
    assert "label map must hold integers; it holds 0.25" in stderr


def test_dry_run_touches_nothing(tmp_path, command):
    write_pair(tmp_path / "raw", "a")
    for name in WRITERS:
        code, stdout, _ = command(*COMMANDS[name](tmp_path / "raw", tmp_path / "out"), "--dry-run")
        assert code == 0
        assert "planned" in stdout
        assert "1 would be done" in stdout
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    assert sorted(tree(tmp_path / "raw")) == ["image/a.nii.gz", "label/a.nii.gz"]
