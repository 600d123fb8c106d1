"""Bad input, for the commands around the six: the table of `test_bad_input`, in this process."""

import re
from pathlib import Path

import pytest
from helpers import tree
from test_bad_input import BAD_FILES, GRID, write_pair

from itkit.cli.operation import main
from itkit.core.geometry import Geometry
from itkit.io.sitk_toolkit import write_volume
from itkit.testing import phantoms

RAW, LABEL, IMAGE, OUT = "RAW", "RAW/label", "RAW/image", "OUT"
COLLECTED = ("--image", "image/{case}.nii.gz", "--label", "label/{case}.nii.gz")
COMMANDS = {
    "presegment": ["itk_presegment", IMAGE, OUT, "--target", "threshold", "--threshold", "-5000", "5000"],
    "align": ["itk_align", RAW, IMAGE, OUT, "--transform", "translation", "--levels", "1"],
    "enhance": ["itk_enhance", RAW, OUT, "--clip", "-160", "240"],
    "postprocess": ["itk_postprocess", LABEL, OUT, "--largest"],
    "crop": ["itk_crop", RAW, OUT, "--to", "foreground"],
    "combine": ["itk_combine", "-i", f"a={LABEL}", f"b={RAW}", "--map", "a:1->1", "b:2->2", "-o", OUT],
    "stats": ["itk_stats", RAW, OUT],
    "evaluate": ["itk_evaluate", LABEL, LABEL, OUT, "--format", "json"],
    "collect": ["itk_collect", RAW, OUT, *COLLECTED],
    **{mode: ["itk_convert", mode, RAW, OUT] for mode in ("nnunet", "msd", "monai", "torchio", "bids")},
}
WRITES_VOLUMES = [name for name in COMMANDS if name not in ("stats", "evaluate")]
OF_PAIRS = [name for name in COMMANDS if name not in ("presegment", "postprocess", "combine", "evaluate", "align")]
OF_LABELS = ("postprocess", "combine", "evaluate")


@pytest.fixture
def command(capsys):
    """Run a command by its name in the table, or by its words, in this process; returns (exit code, stdout, stderr)."""

    def run(name, raw, out, *more):
        words = COMMANDS[name] if isinstance(name, str) else name
        words = [str(word).replace("RAW", str(raw)).replace("OUT", str(out)) for word in (*words, *more)]
        try:
            code = main(words[0], words[1:])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def write_pairs(root, count):
    for number in range(count):
        write_pair(root, f"case_{number:02d}")
    classes = {"0": "background", "1": "a", "2": "b", "3": "c"}
    (root / "dataset.json").write_text(str({"labels": classes, "modality": ["CT"]}).replace("'", '"'))


@pytest.mark.parametrize("fault", BAD_FILES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_file_stops_no_other_case(name, fault, tmp_path, command):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_pairs(root, 7)
    spoil, pattern = BAD_FILES[fault]
    spoil(root)
    before = tree(root)
    code, stdout, stderr = command(name, root, out)
    assert code == 1
    assert "6 done, 0 skipped, 1 failed (case_05)" in stdout
    assert re.search(pattern, stdout + stderr), stdout + stderr
    assert "Traceback" not in stdout + stderr
    assert tree(root) == before
    written = [path for path in tree(out) if path.endswith((".mha", ".nii.gz"))]
    assert bool(written) == (name in WRITES_VOLUMES)
    assert not any("case_05" in path for path in written)


@pytest.mark.parametrize("name", [*OF_PAIRS, "combine", "evaluate"])
def test_grids_that_differ_fail_by_name(name, tmp_path, command):
    root = tmp_path / "raw"
    write_pairs(root, 2)
    moved = Geometry(GRID.size_zyx, GRID.spacing_zyx, (31.5, 12.25, -100.1), GRID.direction_xyz)
    write_volume(phantoms.l_shape(GRID), tmp_path / "other" / "case_00.nii.gz")
    write_volume(phantoms.l_shape(moved), tmp_path / "other" / "case_01.nii.gz")
    words = list(COMMANDS[name])
    if name == "combine":
        words[words.index(f"b={RAW}")] = f"b={tmp_path / 'other'}"
    elif name == "evaluate":
        words[2] = tmp_path / "other"
    else:
        (tmp_path / "other" / "case_01.nii.gz").rename(root / "label" / "case_01.nii.gz")
    code, stdout, stderr = command(words, root, tmp_path / "out")
    assert code == 1, stdout + stderr
    assert re.search(r"case_01: .*differ in origin", stdout + stderr), stdout + stderr
    assert "1 done, 0 skipped, 1 failed (case_01)" in stdout


@pytest.mark.parametrize("name", OF_PAIRS)
def test_unpaired_files_are_named_and_strict_refuses(name, tmp_path, command):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_pairs(root, 2)
    write_volume(phantoms.noise(GRID), root / "image" / "lone.nii.gz")
    code, _, stderr = command(name, root, out, "--strict")
    assert (code, "lone" in stderr, out.exists()) == (2, True, False), stderr
    code, stdout, _ = command(name, root, out)
    assert code == 0
    assert "1 unpaired (lone)" in stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_missing_source_and_file_as_source(name, tmp_path, command):
    (tmp_path / "file").write_text("")
    for source in ("nowhere", "file"):
        code, _, stderr = command(name, tmp_path / source, tmp_path / "out")
        assert code == 2
        assert source in stderr
        assert stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_empty_source(name, tmp_path, command):
    for folder in ("image", "label"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    code, _, stderr = command(name, tmp_path / "raw", tmp_path / "out")
    assert (code, stderr.count("\n"), (tmp_path / "out").exists()) == (2, 1, False), stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_destination_in_the_source_is_refused_also_through_links(name, tmp_path, command):
    root = tmp_path / "raw"
    write_pairs(root, 1)
    (tmp_path / "link").symlink_to(root)
    before = tree(root)
    part = next(word for word in COMMANDS[name] if "RAW" in word).rpartition("RAW")[2].strip("/")
    for dest in (root / part, root / part / "out", tmp_path / "link" / part, tmp_path / "link" / part / "new"):
        code, _, stderr = command(name, root, dest)
        assert code == 2, stderr
        assert "source" in stderr
        assert stderr.count("\n") == 1
    assert tree(root) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_unwritable_destination(name, tmp_path, command):
    write_pairs(tmp_path / "raw", 1)
    (tmp_path / "file").write_text("")
    for dest in (tmp_path / "file" / "out", Path("/proc/nowhere/out"), Path("/sys/out")):
        code, _, stderr = command(name, tmp_path / "raw", dest)
        assert code == 2, stderr
        *notes, said = stderr.splitlines()
        assert "destination" in said
        assert all(line.startswith("note: ") for line in notes)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "collect"])
def test_names_of_every_kind(name, tmp_path, command):
    root, out = tmp_path / "my raw däta", tmp_path / "öut put"
    write_pairs(root, 1)
    cases = ["with space", "ünï-日本", "dots.v1.2", "UPPER"]
    for case in cases:
        write_pair(root, case, ".NII.GZ" if case == "UPPER" else ".nrrd" if "dots" in case else ".nii.gz")
    for folder in ("image", "label"):
        (root / folder / ".hidden.nii.gz").write_bytes(b"not a volume")
        (root / folder / "notes.txt").write_text("mine")
    code, stdout, stderr = command(name, root, out, "--workers", "2")
    assert code == 0, stderr
    assert "5 done, 0 skipped, 0 failed" in stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_two_files_of_one_case_are_refused(name, tmp_path, command):
    root = tmp_path / "raw"
    write_pairs(root, 1)
    folder = "label" if name in OF_LABELS else "image"
    suffix = ".mha" if name != "collect" else ".NII.GZ"
    write_volume(phantoms.l_shape(GRID), root / folder / f"case_00{suffix}")
    code, stdout, stderr = command(name, root, tmp_path / "out")
    if name == "collect":  # a pattern takes one of them; two files for one role are a failure of that case
        assert code in (0, 1)
        return
    assert code == 2, stdout
    assert "case_00.nii.gz" in stderr
    assert "case_00.mha" in stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_dry_run_touches_nothing(name, tmp_path, command):
    write_pairs(tmp_path / "raw", 1)
    before = tree(tmp_path)
    code, stdout, _ = command(name, tmp_path / "raw", tmp_path / "out", "--dry-run")
    assert code == 0
    assert "1 would be done" in stdout
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()
