"""A file that was replaced is noticed, whatever its size and time; one that was only copied can be told from it."""

import json
import os
import shutil

import numpy as np
import pytest

import itkit
from itkit.core.geometry import Geometry
from itkit.engine.fingerprint import file_print, is_same
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms

GRID = Geometry((6, 8, 8), (1.0, 1.0, 1.0))


def write_cases(folder, names):
    for number, name in enumerate(names):
        write_volume(phantoms.noise(GRID, number), folder / f"{name}.mha", compression="none")


def run(root, source="in", dest="out", **options):
    return itkit.run("itk_orient", source=root / source, dest=root / dest, orient="LPI", **options)


def statuses(result):
    return {record.case_id: record.status for record in result.records}


def replace_unseen(path):
    """Put another volume there, of the same bytes and time, as ``cp -p`` and ``rsync -t`` do."""
    before = path.stat()
    other = path.parent.parent / "other.mha"
    data = bytearray(path.read_bytes())
    data[-2] ^= 0xFF
    other.write_bytes(data)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def rewrite_unseen(path):
    """Write other voxels into the same inode, and set the time back."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-2] ^= 0xFF
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("how", ["stat", "content"])
@pytest.mark.parametrize("change", [replace_unseen, rewrite_unseen])
def test_an_input_of_the_same_size_and_time_is_noticed(tmp_path, how, change):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path, fingerprint=how)
    change(tmp_path / "in" / "a.mha")
    assert statuses(run(tmp_path, fingerprint=how)) == {"a": "done", "b": "skipped"}
    turned = itkit.orient(read_volume(tmp_path / "in" / "a.mha"), "LPI")
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "a.mha").array_zyx, turned.array_zyx)


@pytest.mark.parametrize("how", ["stat", "content"])
@pytest.mark.parametrize("change", [replace_unseen, rewrite_unseen])
def test_an_edited_output_of_the_same_size_and_time_is_left_alone(tmp_path, how, change):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path, fingerprint=how, compression="none")
    edited = tmp_path / "out" / "a.mha"
    change(edited)
    bytes_then = edited.read_bytes()
    write_cases(tmp_path / "in", "ba")  # other inputs: both cases are to be made again
    result = run(tmp_path, fingerprint=how, compression="none")
    assert statuses(result) == {"a": "left", "b": "done"}
    assert edited.read_bytes() == bytes_then


def test_a_copied_dataset_goes_on_by_its_bytes_and_is_made_again_by_its_inodes(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path, fingerprint="content")
    for name in ("in", "out"):
        shutil.copytree(tmp_path / name, tmp_path / f"{name}2")
    assert set(statuses(run(tmp_path, "in2", "out2", fingerprint="content")).values()) == {"skipped"}
    assert set(statuses(run(tmp_path, "in2", "out", fingerprint="stat")).values()) == {"done"}
    result = run(tmp_path, "in", "out2", fingerprint="stat")
    assert set(statuses(result).values()) == {"left"}
    assert "--fingerprint content" in result.records[0].message


def test_a_manifest_of_an_older_version_makes_nothing_again(tmp_path):
    write_cases(tmp_path / "in", "ab")
    run(tmp_path)
    manifest = tmp_path / "out" / ".itkit" / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        for item in (*line["outputs"], *next(value["parts"] for value in line["inputs"].values() if "parts" in value)):
            assert {item.pop("inode"), item.pop("ctime_ns")}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for how in ("stat", "content"):
        assert set(statuses(run(tmp_path, fingerprint=how)).values()) == {"skipped"}


def test_the_manifest_knows_a_file_as_it_stands_there(tmp_path):
    write_cases(tmp_path / "in", "a")
    (record,) = run(tmp_path, fingerprint="content").records
    (line,) = map(json.loads, (tmp_path / "out" / ".itkit" / "manifest.jsonl").read_text().splitlines())
    assert line["outputs"] == list(record.outputs)
    now = file_print(tmp_path / "out" / "a.mha", "content")
    assert {name: line["outputs"][0][name] for name in now} == now


def test_slices_that_are_replaced_count_like_inputs(tmp_path):
    known = {"image": {"file": "1.dcm", "parts": []}, "stamp": "x", "more_files": {"stat": "a", "content": "c"}}
    from itkit.engine.decisions import is_same_input

    assert is_same_input({"image": known["image"], "stamp": "x"}, known)
    assert not is_same_input({**known, "more_files": {"stat": "b"}}, {**known, "more_files": {"stat": "a"}})
    assert is_same_input({**known, "stamp": "older", "more_files": {"stat": "b", "content": "c"}}, known)
    assert not is_same_input({**known, "more_files": {"stat": "a", "content": "d"}}, known)


def test_what_one_side_does_not_know_is_not_compared():
    assert is_same({"bytes": 1, "mtime_ns": 2}, {"bytes": 1, "mtime_ns": 2, "ctime_ns": 3, "inode": 4})
    assert not is_same({"bytes": 1, "mtime_ns": 2, "inode": 5}, {"bytes": 1, "mtime_ns": 2, "inode": 4})
