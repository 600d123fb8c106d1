"""A check answers from the index without opening a file, and sees every change; a doubtful file is always read."""

import json
import os
import time

import numpy as np
import pytest

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io import seen as seen_module
from itkit.io.formats import headers
from itkit.io.meta import refresh_index
from itkit.io.seen import Seen
from itkit.io.sitk_toolkit import write_volume

GRID = Geometry((3, 4, 5), (2.5, 0.7, 0.8), (1.0, -2.0, 3.0))
NAMES = ("a", "a-1", "a.b", "a_2", "b", "ü\udcfc", 'q"q')
HOUR_NS = 3600 * 10**9


def put(path, grid=GRID, kind="image"):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.arange(np.prod(grid.size_zyx), dtype=np.int16 if kind == "image" else np.uint8).reshape(grid.size_zyx)
    write_volume(Volume(array, grid, kind), path.parent / "x.mha")
    (path.parent / "x.mha").rename(path)
    age(path)


def age(*paths):
    """Give files another time than that of now."""
    for path in paths:
        then = time.time_ns() - HOUR_NS
        os.utime(path, ns=(then, then))


@pytest.fixture(autouse=True)
def clocks_are_fine(monkeypatch):
    """Files as young as these are settled."""
    monkeypatch.setattr("itkit.io.meta.SETTLED_NS", 0)


@pytest.fixture
def pairs(tmp_path):
    for name in NAMES:
        put(tmp_path / "image" / f"{name}.mha")
        put(tmp_path / "label" / f"{name}.mha", kind="label")
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """Names of the volume files whose headers were read since."""
    names = []
    read = headers.read_header

    def noted(path, **options):
        names.append(path.name)
        return read(path, **options)

    monkeypatch.setattr("itkit.io.formats.inspect.read_header", noted)
    return names


def check(root, **values):
    result = itkit.run("itk_check", mode="check", source=root, **values)
    return {record.case_id: record.message for record in result.records if record.status != "done"}


def facts(root):
    return [(record.case_id, record.status, record.facts) for record in
            itkit.run("itk_check", mode="check", source=root).records]  # fmt: skip


def test_the_second_check_opens_no_volume_and_says_the_same(pairs, opened):
    first = facts(pairs)
    assert sorted(opened) == sorted(f"{name}.mha" for name in NAMES for _ in range(2))
    index = pairs / "series_meta.json"
    before = index.stat().st_ino
    opened.clear()
    assert facts(pairs) == first
    assert opened == []
    assert index.stat().st_ino == before
    assert check(pairs, min_size=(4, -1, -1)) == dict.fromkeys(NAMES, "size Z=3 < min 4")
    assert opened == []


@pytest.mark.parametrize("change", ["grid", "same size", "gone", "new", "deeper", "time set back"])
def test_every_change_is_seen(pairs, opened, change):
    check(pairs)
    opened.clear()
    path = pairs / "label" / "a_2.mha"
    expected, read = {}, ["a_2.mha"]
    if change == "grid":
        put(path, Geometry((3, 4, 6), GRID.spacing_zyx, GRID.origin_xyz), "label")
        expected = {"a_2": "image and label differ in size: (3, 4, 5) and (3, 4, 6) voxels ZYX"}
    elif change == "same size":
        data = path.read_bytes().replace(b"Offset = 1 -2 3", b"Offset = 1 -2 7")
        path.write_bytes(data)
        expected = {"a_2": "image and label differ in origin: (1, -2, 3) and (1, -2, 7) mm XYZ (up to 4 mm apart)"}
    elif change == "gone":
        path.unlink()
        expected, read = {"a_2": "unpaired: no label"}, []
    elif change == "new":
        put(pairs / "image" / "a_3.mha")
        expected, read = {"a_3": "unpaired: no label"}, ["a_3.mha"]
    elif change == "deeper":
        put(pairs / "label" / "deep" / "z.mha")
        read = ["z.mha"]
    else:
        then = path.stat()
        path.write_bytes(path.read_bytes().replace(b"Offset = 1 -2 3", b"Offset = 1 -2 7"))
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
        expected = {"a_2": "image and label differ in origin: (1, -2, 3) and (1, -2, 7) mm XYZ (up to 4 mm apart)"}
    assert check(pairs) == expected
    assert opened == read
    listed = json.loads((pairs / "series_meta.json").read_text())
    there = {file.relative_to(pairs).as_posix() for file in pairs.rglob("*.mha")}
    assert list(listed) == sorted(there)


def test_a_file_with_more_to_say_than_its_grid_is_read_each_time(pairs, opened):
    import SimpleITK as sitk

    colours = sitk.Image([5, 4, 3], sitk.sitkVectorUInt8, 3)
    sitk.WriteImage(colours, str(pairs / "image" / "b.mha"))
    data = (pairs / "image" / "a.mha").read_bytes()
    head, _, voxels = data.partition(b"ElementDataFile = LOCAL\n")
    (pairs / "image" / "a.mha").write_bytes(head + b"ElementDataFile = a.raw\n")
    (pairs / "image" / "a.raw").write_bytes(voxels)
    nifti = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    nifti.SetMetaData("qform_code", "0")
    sitk.WriteImage(nifti, str(pairs / "image" / "n.nii"))
    sitk.WriteImage(nifti, str(pairs / "label" / "n.nii"))
    raw = bytearray((pairs / "image" / "n.nii").read_bytes())
    raw[252:256] = bytes(4)  # neither sform nor qform: the reader warns
    (pairs / "image" / "n.nii").write_bytes(raw)
    age(*(pairs / "image").iterdir(), *(pairs / "label").iterdir())
    first = itkit.run("itk_check", mode="check", source=pairs).records
    opened.clear()
    again = itkit.run("itk_check", mode="check", source=pairs).records
    said = [(record.case_id, record.status, record.message, record.warnings) for record in again]
    assert said == [(record.case_id, record.status, record.message, record.warnings) for record in first]
    assert {"a.mha", "b.mha", "n.nii"} <= set(opened)
    assert "RGB or vector" in said[[case for case, *_ in said].index("b")][2]
    assert said[[case for case, *_ in said].index("n")][3]
    (pairs / "image" / "a.raw").write_bytes(voxels[:5])
    assert "truncated" in check(pairs)["a"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"size": [3', '"size": [0'),
        lambda text: text.replace('"size": [3', '"size": [9999999999'),
        lambda text: text.replace('"spacing": [2.5', '"spacing": [0.0'),
        lambda text: text.replace('"spacing": [2.5', '"spacing": [1e999'),
        lambda text: text.replace('"origin_xyz": [1.0', '"origin_xyz": [NaN'),
        lambda text: text.replace('"direction_xyz": [1.0', '"direction_xyz": [3.0'),
        lambda text: text.replace(", 3.0]", "]"),
        lambda text: text.replace("},\n", "}\n", 1),
        lambda text: text[: len(text) // 2],
        lambda text: "{\n" + "\n".join(reversed(text.splitlines()[1:-1])) + "\n}\n",
        lambda text: "{\n" + "x" * 10000 + text[2:],
    ],
)
def test_an_index_that_says_what_can_not_be_is_not_believed(pairs, damage):
    first = facts(pairs)
    index = pairs / "series_meta.json"
    whole = index.read_bytes()
    index.write_text(damage(whole.decode()))
    assert index.read_bytes() != whole
    assert facts(pairs) == first
    assert index.read_bytes() == whole


def test_an_entry_that_no_check_has_made_is_not_believed_and_keeps_its_classes(pairs, opened):
    check(pairs)
    index = pairs / "series_meta.json"
    entries = json.loads(index.read_text())
    order = ("size", "spacing", "origin_xyz", "direction_xyz", "dtype", "classes", "file")
    foreign = {name: {key: entry[key] for key in order} | {"classes": [4]} for name, entry in entries.items()}
    index.write_text("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in foreign.items()) + "\n}\n")
    opened.clear()
    assert check(pairs) == {}
    assert len(opened) == 2 * len(NAMES)
    made = json.loads(index.read_text())
    assert made == {name: entry | {"classes": [4]} for name, entry in entries.items()}
    opened.clear()
    assert check(pairs) == {}
    assert opened == []


def test_the_middle_of_a_large_index_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(seen_module, "_LONGEST_LINE", 16 * 512)
    for number in range(40):
        put(tmp_path / "image" / f"c{number:02d}.mha")
        put(tmp_path / "label" / f"c{number:02d}.mha", kind="label")
    refresh_index(tmp_path)
    known = Seen(tmp_path)
    grids = [known.grid(str(path)) for path in sorted((tmp_path / "label").iterdir())]
    grids += [known.grid(str(path)) for path in sorted((tmp_path / "image").iterdir())]
    assert grids == [GRID] * 80
    assert known.holds()
    known.close()


def test_an_index_that_came_with_its_files_is_not_believed(pairs, opened):
    first = facts(pairs)
    index = pairs / "series_meta.json"
    whole = index.read_bytes()
    lie = whole.replace(b'"size": [3', b'"size": [7')
    then = time.time_ns() - HOUR_NS // 2  # as an archive says; the files lie here since now

    def pack(data):
        index.write_bytes(data)
        os.utime(index, ns=(then, then))
        opened.clear()

    pack(lie)
    assert facts(pairs) == first
    assert index.read_bytes() == whole
    assert len(opened) == 2 * len(NAMES)
    pack(lie)
    refresh_index(pairs)  # as other commands do: it is a cache for them, but not a witness
    assert json.loads(index.read_text())["image/a.mha"]["size"][0] == 7
    assert facts(pairs) == first
    assert index.read_bytes() == whole
    pack(whole)
    assert check(pairs) == {}
    opened.clear()
    assert check(pairs) == {}
    assert opened == []
