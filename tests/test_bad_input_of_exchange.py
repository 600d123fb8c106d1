"""Bad input for `itk_split`, for datasets in other tools' layouts, and for what becomes DICOM."""

import json
import re

import pytest
from helpers import tree
from test_bad_input import BAD_FILES, GRID
from test_bad_input_of_data import write_pairs

from itkit.cli.operation import main
from itkit.io.dicom.write import write_series
from itkit.testing import phantoms

LAYOUTS = ("nnunet", "msd", "monai", "torchio", "bids")
TO_DICOM = ("dicom-seg", "rtstruct", "dicom-series")
SPLIT = ("itk_split", "RAW", "-o", "OUT/splits.json", "--folds", "2")


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Seven cases in the layout of each tool, and as a series for all."""
    root = tmp_path_factory.mktemp("layouts")
    write_pairs(root / "raw", 7)
    for kind in LAYOUTS:
        assert main("itk_convert", [kind, str(root / "raw"), str(root / kind), "--progress", "none"]) == 0
    write_series(phantoms.noise(GRID), root / "series", modality="CT")
    return root


@pytest.fixture
def said(capsys):
    """Run a command in this process; returns its exit code and all that it said."""

    def run(*words):
        capsys.readouterr()
        try:
            code = main(str(words[0]), [str(word) for word in words[1:]])
        except SystemExit as ended:
            code = ended.code
        return code, "".join(capsys.readouterr())

    return run


def copied(layouts, kind, dest):
    """Copy a layout; returns the volume files of the case 05 in it."""
    for path in (layouts / kind).rglob("*"):
        if path.is_file() and ".itkit" not in path.parts:
            target = dest / path.relative_to(layouts / kind)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return [path for path in dest.rglob("*05*") if path.is_file()]


def spoil(fault, files, tmp_path):
    """Make the fault of `test_bad_input` in files of any names."""
    make, pattern = BAD_FILES[fault]
    for name in ("image", "label"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "case_05.nii.gz").write_bytes(files[0].read_bytes())
    make(tmp_path / "bad")
    for path in files:
        path.write_bytes((tmp_path / "bad/image/case_05.nii.gz").read_bytes())
    return pattern


@pytest.mark.parametrize("fault", ["truncated", "2-D", "RGB"])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_bad_file_in_a_layout_stops_no_other_case(layouts, tmp_path, said, kind, fault):
    files = copied(layouts, kind, tmp_path / "in")
    assert len(files) == 2
    pattern = spoil(fault, files, tmp_path)
    before = tree(tmp_path / "in")
    code, text = said("itk_convert", f"from-{kind}", tmp_path / "in", tmp_path / "out")
    assert code == 1, text
    assert re.search(r"6 done, 0 skipped, 1 failed \(\S*05\)", text), text
    assert re.search(pattern, text), text
    assert "Traceback" not in text
    assert tree(tmp_path / "in") == before
    written = [path for path in tree(tmp_path / "out") if path.endswith(".mha")]
    assert len(written) == 12
    assert not [path for path in written if "05" in path]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_that_is_not_there_is_refused(layouts, tmp_path, said, kind):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for source in ("nowhere", "file", "empty"):
        code, text = said("itk_convert", f"from-{kind}", tmp_path / source, tmp_path / "out")
        assert code == 2, text
        assert source in text
        assert text.count("\n") == 1
    copied(layouts, kind, tmp_path / "in")
    code, text = said("itk_convert", f"from-{kind}", tmp_path / "in", tmp_path / "in" / "out")
    assert (code, "inside the source" in text) == (2, True), text
    code, text = said("itk_convert", f"from-{kind}", tmp_path / "in", tmp_path / "file" / "out")
    assert (code, "destination" in text) == (2, True), text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "in"]


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_file_that_a_layout_lists_and_has_not_is_named(layouts, tmp_path, said, kind):
    image, label = sorted(
        copied(layouts, kind, tmp_path / "in"), key=lambda path: "label" in str(path) or "dseg" in path.name
    )
    image.unlink()
    code, text = said("itk_convert", f"from-{kind}", tmp_path / "in", tmp_path / "out")
    assert code in (0, 1), text
    assert "6 done" in text
    assert "05" in text
    assert label.is_file()


@pytest.mark.parametrize("fault", ["truncated", "empty", "4-D"])
@pytest.mark.parametrize("kind", TO_DICOM)
def test_a_bad_volume_becomes_no_dicom_and_stops_no_other(layouts, tmp_path, said, kind, fault):
    write_pairs(tmp_path / "raw", 7)
    make, pattern = BAD_FILES[fault]
    make(tmp_path / "raw")
    code, text = said("itk_convert", kind, tmp_path / "raw", tmp_path / "out", "--series", layouts / "series")
    assert code == 1, text
    assert "6 done, 0 skipped, 1 failed (case_05)" in text
    assert re.search(pattern, text), text
    assert "Traceback" not in text
    written = [path for path in tree(tmp_path / "out") if path.endswith(".dcm")]
    assert len({path.partition("/")[0] for path in written}) == 6
    assert not [path for path in written if "case_05" in path]


@pytest.mark.parametrize("kind", TO_DICOM)
def test_a_series_that_is_not_there_is_named(layouts, tmp_path, said, kind):
    (tmp_path / "none").mkdir()
    for source, series in (("nowhere", "series"), ("raw", "nowhere"), ("raw", tmp_path / "none")):
        places = (layouts / source, tmp_path / "out", "--series", layouts / series)
        code, text = said("itk_convert", kind, *places)
        assert code in (1, 2), text
        assert "nowhere" in text or "DICOM image series" in text
        assert "Traceback" not in text
    assert not list(tmp_path.rglob("*.dcm"))


def split(said, root, out, *more):
    return said(*(word.replace("RAW", str(root)).replace("OUT", str(out)) for word in SPLIT), *more)


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_split_by_classes_leaves_out_what_can_not_be_read(tmp_path, said, fault):
    write_pairs(tmp_path / "raw", 7)
    make, pattern = BAD_FILES[fault]
    make(tmp_path / "raw")
    before = tree(tmp_path / "raw")
    code, text = split(said, tmp_path / "raw", tmp_path / "out", "--stratify", "classes")
    assert code == 1, text
    assert "case_05" in text
    assert re.search(pattern, text), text
    assert "Traceback" not in text
    folds = json.loads((tmp_path / "out/splits.json").read_text())["folds"]
    assert sorted(folds[0]["train"] + folds[0]["val"]) == [f"case_{n:02d}" for n in range(7) if n != 5]
    assert tree(tmp_path / "raw") == before


def test_what_can_not_be_split_is_refused_before_anything_is_written(tmp_path, said):
    write_pairs(tmp_path / "raw", 3)
    (tmp_path / "file").write_text("")
    for folder in ("image", "label"):
        (tmp_path / "empty" / folder).mkdir(parents=True)
    for source in ("nowhere", "file", "empty"):
        code, text = split(said, tmp_path / source, tmp_path / "out")
        assert (code, source in text, text.count("\n")) == (2, True, 1), text
    code, text = split(said, tmp_path / "raw", tmp_path / "file" / "out")
    assert (code, "destination" in text) == (2, True), text
    twin = tmp_path / "raw" / "image" / "case_00.mha"
    twin.write_bytes(b"")
    code, text = split(said, tmp_path / "raw", tmp_path / "out")
    assert (code, "case_00.mha" in text, "case_00.nii.gz" in text) == (2, True, True), text
    twin.unlink()
    before = tree(tmp_path)
    code, text = split(said, tmp_path / "raw", tmp_path / "out", "--dry-run")
    assert code == 0, text
    assert tree(tmp_path) == before
    (tmp_path / "raw/image/case_01.nii.gz").rename(tmp_path / "raw/image/lone.nii.gz")
    code, text = split(said, tmp_path / "raw", tmp_path / "out", "--strict")
    assert (code, "lone" in text, (tmp_path / "out").exists()) == (2, True, False), text
