"""Which samples do not conform, and what becomes of them."""

import csv
import json

import numpy as np
import pytest

import itkit
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

GRID = Geometry((32, 8, 8), (1.0, 0.3, 0.5))


def write_pair(root, case, grid=GRID, suffix=".nii.gz", label_grid=None):
    write_volume(phantoms.noise(grid), root / "image" / f"{case}{suffix}")
    write_volume(phantoms.l_shape(label_grid or grid), root / "label" / f"{case}.mha")


def check(root, **values):
    return itkit.run("itk_check", **{"mode": "check", "source": root, **values})


def test_prints_every_reason_of_every_sample(tmp_path):
    write_pair(tmp_path, "case_07")
    write_pair(tmp_path, "good", Geometry((40, 8, 8), (1.0, 0.5, 0.5)))
    result = check(tmp_path, min_size=(33, -1, -1), same_spacing=("Y", "X"))
    assert result.exit_code == 1
    assert result.summary.lines == ("case_07: size Z=32 < min 33; spacing Y=0.300 and X=0.500 differ",)
    assert result.summary.text() == "1 conforming, 1 nonconforming (case_07)"


def test_tolerates_single_precision_headers(tmp_path):
    write_pair(tmp_path, "a", Geometry((8, 8, 8), (0.69999999, 1.0, 1.0005)))
    assert check(tmp_path, min_spacing=(0.7, -1, -1), same_spacing=("X", "Y")).exit_code == 0
    assert check(tmp_path, min_spacing=(0.701, -1, -1)).exit_code == 1
    assert check(tmp_path, max_spacing=(-1, 1.0, 0.99)).exit_code == 1


def test_finds_grids_that_differ_unpaired_and_unreadable(tmp_path):
    write_pair(tmp_path, "moved", label_grid=Geometry((32, 8, 8), (1.0, 0.3, 0.5), (0.0, 0.002, 0.0)))
    write_pair(tmp_path, "nearly", label_grid=Geometry((32, 8, 8), (1.0, 0.3, 0.5), (0.0, 0.0005, 0.0)))
    write_volume(phantoms.noise(GRID), tmp_path / "image" / "alone.mha")
    write_pair(tmp_path, "broken")
    (tmp_path / "image" / "broken.nii.gz").write_bytes(b"no volume")
    result = check(tmp_path)
    lines = dict(line.split(": ", 1) for line in result.summary.lines)
    assert set(lines) == {"moved", "alone", "broken"}
    assert "image and label differ in origin" in lines["moved"]
    assert lines["alone"] == "unpaired: no label"
    assert "broken.nii.gz" in lines["broken"]


def test_deep_finds_what_headers_hide(tmp_path):
    grid = Geometry((4, 8, 8), (1.0, 1.0, 1.0))
    write_pair(tmp_path, "cut", grid)
    path = tmp_path / "image" / "cut.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    for case, value in (("holes", np.nan), ("flat", 3.0)):
        array = np.full((4, 8, 8), 3.0, np.float32)
        array[1, 2, 3] = value
        write_volume(Volume(array, grid), tmp_path / "image" / f"{case}.nii.gz")
        write_volume(phantoms.l_shape(grid), tmp_path / "label" / f"{case}.nii.gz")
    assert check(tmp_path).exit_code == 0
    result = check(tmp_path, deep=True, workers=2)
    lines = dict(line.split(": ", 1) for line in result.summary.lines)
    assert set(lines) == {"cut", "holes", "flat", "classes of the labels"}
    assert "1 nan" in lines["holes"]
    assert "constant" in lines["flat"]
    assert result.records[1].facts["label"]["classes"].keys() == {"0", "1", "2", "3"}


def test_flat_folder_is_said_and_half_a_dataset_refused(tmp_path):
    write_volume(phantoms.noise(GRID), tmp_path / "flat" / "a.nrrd")
    events = []
    assert check(tmp_path / "flat", on_event=events.append).exit_code == 0
    assert "flat folder" in events[0]["notes"][0]
    write_volume(phantoms.noise(GRID), tmp_path / "half" / "image" / "a.nrrd")
    with pytest.raises(LayoutError, match="no label/"):
        check(tmp_path / "half")


def test_writes_the_index_and_believes_no_stale_one(tmp_path):
    write_pair(tmp_path, "a")
    check(tmp_path)
    index = tmp_path / "series_meta.json"
    assert list(json.loads(index.read_text())) == ["image/a.nii.gz", "label/a.mha"]
    other = Geometry((5, 6, 7), (1.0, 2.0, 3.0))
    write_pair(tmp_path, "a", other)
    check(tmp_path)
    assert json.loads(index.read_text())["image/a.nii.gz"]["size"] == [5, 6, 7]
    index.write_text("{broken")
    (tmp_path / "image" / "a.nii.gz").rename(tmp_path / "image" / "b.nii.gz")
    check(tmp_path)
    assert list(json.loads(index.read_text())) == ["image/b.nii.gz", "label/a.mha"]


def names(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"
    )


def test_delete_removes_rule_breakers_alone_and_whole_units(tmp_path):
    write_pair(tmp_path, "small", Geometry((4, 8, 8), (1.0, 1.0, 1.0)), ".mhd")
    write_pair(tmp_path, "large", Geometry((9, 8, 8), (1.0, 1.0, 1.0)))
    write_pair(tmp_path, "broken", Geometry((4, 8, 8), (1.0, 1.0, 1.0)))
    (tmp_path / "image" / "broken.nii.gz").write_bytes(b"")
    write_volume(phantoms.noise(Geometry((2, 2, 2), (1, 1, 1))), tmp_path / "image" / "lone.nii")
    before = names(tmp_path)
    refused = check(tmp_path, mode="delete", min_size=(5, -1, -1))
    assert (refused.exit_code, names(tmp_path)) == (2, before)
    result = check(tmp_path, mode="delete", min_size=(5, -1, -1), yes=True)
    assert result.exit_code == 0
    gone = {"image/small.mhd", "image/small.zraw", "label/small.mha"}
    assert names(tmp_path) == sorted(set(before) - gone)
    result = check(tmp_path, mode="delete", min_size=(5, -1, -1), yes=True, delete_unreadable=True)
    assert names(tmp_path) == ["image/large.nii.gz", "label/large.mha"]


def test_delete_spares_the_data_file_that_another_header_needs(tmp_path):
    write_volume(phantoms.noise(Geometry((4, 8, 8), (1.0, 1.0, 1.0))), tmp_path / "coarse.mhd", compression="none")
    header = (tmp_path / "coarse.mhd").read_text()
    (tmp_path / "fine.mhd").write_text(header.replace("ElementSpacing = 1 1 1", "ElementSpacing = 0.5 0.5 0.5"))
    assert check(tmp_path, mode="delete", max_spacing=(0.9, -1, -1), yes=True).exit_code == 0
    assert names(tmp_path) == ["coarse.raw", "fine.mhd"]
    assert read_volume(tmp_path / "fine.mhd").geometry.spacing_zyx == (0.5, 0.5, 0.5)
    assert check(tmp_path, mode="delete", max_spacing=(0.1, -1, -1), yes=True).exit_code == 0
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mode": "check"}, ["would write {root}/series_meta.json"]),
        (
            {"mode": "delete", "yes": True},
            ["would delete {root}/image/small.nii.gz", "would delete {root}/label/small.mha", "would delete 1 samples"],
        ),
        (
            {"mode": "copy", "output": "out"},
            [
                "would copy {root}/image/large.nii.gz to out/image/large.nii.gz",
                "would copy {root}/label/large.mha to out/label/large.mha",
                "would copy 1 valid samples to out",
            ],
        ),
        ({"mode": "symlink", "output": "out"}, ["would link 1 valid samples to out"]),
    ],
)
def test_dry_run_says_what_would_happen_to_which_file_and_touches_none(tmp_path, values, said, monkeypatch):
    root = tmp_path / "raw"
    write_pair(root, "small", Geometry((4, 8, 8), (1.0, 1.0, 1.0)))
    write_pair(root, "large", Geometry((9, 8, 8), (1.0, 1.0, 1.0)))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = check(root, **values, min_size=(5, -1, -1), report="table.csv", dry_run=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert result.summary.lines[0] == "small: size Z=4 < min 5"
    assert [line for line in result.summary.lines if line.startswith("would")][-len(said) - 1 :] == [
        *(line.format(root=root) for line in said),
        "would write table.csv",
    ]


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_existing_files_are_replaced_or_refuse_the_run_when_asked(tmp_path, mode):
    root, out = tmp_path / "raw", tmp_path / "out"
    write_pair(root, "a")
    write_pair(root, "b")
    foreign = out / "image" / "b.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    refused = check(root, mode=mode, dest=out, existing="error")
    assert (refused.exit_code, names(out)) == (2, ["image/b.nii.gz"])
    assert f"1 outputs exist already, the first is {foreign}" in refused.summary.lines[-1]
    assert check(root, mode=mode, dest=out, existing="redo").exit_code == 0
    assert names(out) == ["image/a.nii.gz", "image/b.nii.gz", "label/a.mha", "label/b.mha"]
    assert foreign.read_bytes() == (root / "image" / "b.nii.gz").read_bytes()
    assert foreign.is_symlink() == (mode == "symlink")


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_copy_and_link_valid_pairs_repeatably(tmp_path, mode, monkeypatch):
    root = tmp_path / "raw"
    write_pair(root, "a b", suffix=".mhd")
    write_pair(root, "bad", label_grid=Geometry((3, 3, 3), (1, 1, 1)))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = check("raw", mode=mode, dest="elsewhere/out")
        assert result.exit_code == 0
        assert names(tmp_path / "elsewhere" / "out") == ["image/a b.mhd", "image/a b.zraw", "label/a b.mha"]
    monkeypatch.chdir("/")
    copy = read_volume(tmp_path / "elsewhere" / "out" / "image" / "a b.mhd")
    assert copy.geometry.size_zyx == GRID.size_zyx
    link = tmp_path / "elsewhere" / "out" / "image" / "a b.zraw"
    assert link.is_symlink() == (mode == "symlink")
    if mode == "symlink":
        assert not link.readlink().is_absolute()
        (tmp_path / "elsewhere").rename(tmp_path / "moved")  # relative: still right beside the source
        assert (tmp_path / "moved" / "out" / "image" / "a b.zraw").exists()


def test_copy_never_overwrites_another_file(tmp_path):
    write_pair(tmp_path / "raw", "a")
    foreign = tmp_path / "out" / "image" / "a.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("mine")
    result = check(tmp_path / "raw", mode="copy", dest=tmp_path / "out")
    assert result.exit_code == 1
    assert "left alone" in result.summary.lines[0]
    assert foreign.read_text() == "mine"


def test_reports(tmp_path):
    write_pair(tmp_path / "raw", "a<b")
    for suffix in (".html", ".csv", ".json"):
        check(tmp_path / "raw", report=tmp_path / f"r{suffix}", min_size=(99, -1, -1))
    page = (tmp_path / "r.html").read_text()
    assert "a&lt;b" in page
    assert "size Z=32 &lt; min 99" in page
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines()))
    assert rows[0]["size ZYX (voxels)"] == "32 8 8"
    assert json.loads((tmp_path / "r.json").read_text())["a<b"]["status"] == "nonconforming"


def test_a_report_that_can_not_be_written_costs_no_finding(tmp_path):
    write_pair(tmp_path / "raw", "a")
    (tmp_path / "file").touch()
    result = check(tmp_path / "raw", report=tmp_path / "file" / "r.csv", min_size=(99, -1, -1))
    assert result.exit_code == 1
    assert result.summary.lines[0] == "a: size Z=32 < min 99"
    assert "r.csv" in result.summary.lines[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_size": (0, 1, 1)}, "Z: expected >= 1"),
        ({"min_spacing": (0, 1, 1)}, "Z: expected > 0"),
        ({"min_size": (9, 1, 1), "max_size": (8, 1, 1)}, "above --max-size"),
        ({"same_size": ("X", "X")}, "two different axes"),
        ({"same_spacing": ("X", "Q")}, "--same-spacing"),
        ({"mode": "delete"}, "delete needs a rule"),
        ({"mode": "copy"}, "give -o"),
        ({"output": "x"}, "-o only matters for copy or symlink; check and delete"),
        ({"report": "r.txt"}, "expected a .html, .csv or .json"),
    ],
)
def test_contradictions_are_refused(tmp_path, values, message):
    write_pair(tmp_path, "a")
    with pytest.raises(ParamsError, match=message):
        check(tmp_path, **values)


def test_half_a_copy_is_made_again_and_what_no_longer_conforms_is_named(tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "out"
    write_pair(raw, "small", Geometry((4, 8, 8), (1.0, 1.0, 1.0)))
    write_pair(raw, "large", Geometry((9, 8, 8), (1.0, 1.0, 1.0)))
    check(raw, mode="copy", dest=out)
    half = out / "image" / "large.nii.gz"
    half.write_bytes(half.read_bytes()[:-9])
    result = check(raw, mode="copy", dest=out, min_size=(5, -1, -1))
    assert result.exit_code == 0
    assert half.read_bytes() == (raw / "image" / "large.nii.gz").read_bytes()
    assert f"{out} still holds 1 samples that do not conform (small)" in result.summary.lines


SIX = Geometry((6, 20, 20), (1.0, 1.0, 1.0))


def boxes(values, dtype=np.uint8):
    """A label map with a box of each value."""
    array = np.zeros((6, 20, 20), dtype)
    for number, value in enumerate(values):
        array[1:5, 2 + 4 * number : 5 + 4 * number, 3:17] = value
    return array


def put(root, case, image=None, label=None):
    """Write a pair; what is not given is a plain one."""
    image = phantoms.noise(SIX).array_zyx if image is None else image
    label = boxes([1, 2]) if label is None else label
    write_volume(Volume(image, SIX), root / "image" / f"{case}.mha")
    write_volume(Volume(label, SIX, "label"), root / "label" / f"{case}.mha")


def found(result):
    return {record.case_id: record.message for record in result.records if record.message}


def test_deep_tells_volumes_in_the_wrong_folder_and_labels_that_say_nothing(tmp_path):
    ct = np.random.default_rng(1).integers(-1024, 1100, (6, 20, 20)).astype(np.int16)
    put(tmp_path, "good")
    put(tmp_path, "ct", label=ct)
    put(tmp_path, "labels", image=boxes([1, 57], np.int16))
    put(tmp_path, "empty", label=boxes([]))
    put(tmp_path, "full", label=np.full((6, 20, 20), 3, np.uint8))
    assert check(tmp_path).exit_code == 0
    result = check(tmp_path, deep=True)
    reasons = found(result)
    assert set(reasons) == {"ct", "labels", "empty", "full"}
    assert "label looks like an image" in reasons["ct"]
    assert "image looks like a label map" in reasons["labels"]
    assert "label is empty" in reasons["empty"]
    assert reasons["full"].endswith("label is constant (3)")
    assert "empty" not in found(check(tmp_path, deep=True, allow_empty=True))


def test_an_atlas_of_many_closed_regions_is_no_image_and_a_dim_image_no_label_map(tmp_path):
    atlas = (np.arange(6)[:, None, None] * 100 + np.arange(20)[None, :, None] * 5 + np.zeros(20)).astype(np.int16)
    dim = np.random.default_rng(2).integers(0, 4, (6, 20, 20)).astype(np.int16)
    put(tmp_path, "atlas", image=dim, label=atlas)
    assert len(np.unique(atlas)) > 100
    assert not found(check(tmp_path, deep=True))


def test_values_outside_the_expected_ones_are_named(tmp_path):
    put(tmp_path, "good")
    put(tmp_path, "bad", label=boxes([1, 4]))
    result = check(tmp_path, labels=(0, 1, 2))
    assert found(result) == {"bad": found(result)["bad"]}
    assert "label holds values outside --labels: 4 (168 voxels)" in found(result)["bad"]
    assert "outside --labels" in found(check(tmp_path / "label", labels=(0, 1, 2)))["bad"]
    assert not found(check(tmp_path / "label", labels=(0, 1, 2, 4)))


def test_deep_counts_cases_and_voxels_of_each_class(tmp_path):
    put(tmp_path, "a", label=boxes([1]))
    put(tmp_path, "b", label=boxes([1, 2]))
    put(tmp_path, "ct", label=np.random.default_rng(1).integers(-1024, 1100, (6, 20, 20)).astype(np.int16))
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "liver", "2": "tumour"}, "modality": {"0": "CT"}})
    )
    lines = check(tmp_path, deep=True, report=tmp_path / "r.html").summary.lines
    box = 4 * 3 * 14
    told = f"1 (liver) in 2 cases, {2 * box} voxels; 2 (tumour) in 1 case, {box} voxels"
    assert any(told in line for line in lines)
    assert f'1</td><td class="n">2</td><td class="n">{2 * box}</td>' in (tmp_path / "r.html").read_text()


def test_of_many_classes_twenty_are_told_and_the_report_lists_all(tmp_path):
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    label = (np.arange(120).reshape(4, 5, 6) % 30).astype(np.uint8)
    write_volume(phantoms.noise(grid), tmp_path / "image" / "a.mha")
    write_volume(Volume(label, grid, "label"), tmp_path / "label" / "a.mha")
    (line,) = check(tmp_path, deep=True).summary.lines
    assert line.endswith("; 19 in 1 case, 4 voxels and 10 more (--report lists all)")
    (line, *_) = check(tmp_path, deep=True, report=tmp_path / "out.csv").summary.lines
    assert line.endswith("and 10 more")
