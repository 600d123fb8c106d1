"""Classes picked and renumbered, without wrapping, with every voxel accounted for."""

import json

import numpy as np
import pytest

import itkit
from itkit.core.errors import ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.itk_extract import remap_labels

GRID = Geometry((2, 3, 4), (2.0, 1.0, 0.5), (1.0, 2.0, 3.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


def label_of(values, dtype=np.int16):
    return Volume(np.resize(np.array(values, dtype=dtype), GRID.size_zyx), GRID, "label")


@pytest.mark.parametrize(
    ("values", "mapping", "keep_rest", "dtype"),
    [
        ([0, 1, 2, 3], {1: 3, 3: 1}, False, "uint8"),
        ([0, 1, 2], {1: 300}, False, "uint16"),
        ([0, 1, 2], {1: 100_000}, False, "uint32"),
        ([-5, 0, 7], {-5: 2, 7: -1}, False, "int8"),
        ([0, 1, 900], {1: 2}, True, "uint16"),
        ([0, 1, 2], {0: 9, 1: 0}, True, "uint8"),
    ],
)
def test_mapping(values, mapping, keep_rest, dtype):
    label = label_of(values)
    new, counts = remap_labels(label, mapping, keep_rest=keep_rest)
    expected = np.where(keep_rest, label.array_zyx.astype(np.int64), 0)
    for source, target in mapping.items():
        expected[label.array_zyx == source] = target
    np.testing.assert_array_equal(new.array_zyx, expected)
    assert new.dtype == np.dtype(dtype)
    assert new.geometry == GRID
    assert {s: counts.get(s, 0) for s in mapping} == {s: int((label.array_zyx == s).sum()) for s in mapping}


def test_files_and_meta(tmp_path):
    write_volume(label_of([0, 3, 3, 7, 9]), tmp_path / "in" / "a b.nii.gz")
    write_volume(label_of([0, 3], np.float32), tmp_path / "in" / "float.nrrd")
    result = itkit.run("itk_extract", source=tmp_path / "in", dest=tmp_path / "out", mappings=("3:1", "7:300", "42:5"))
    assert result.exit_code == 0
    assert result.summary.lines == (
        "warning: source class 42 was found in no file",
        "note: without a mapping, these classes are background now: 9",
    )
    new = read_volume(tmp_path / "out" / "a b.mha", "label")
    np.testing.assert_array_equal(new.array_zyx, np.resize([0, 1, 1, 300, 0], GRID.size_zyx))
    meta = json.loads((tmp_path / "out" / "extract_meta.json").read_text())
    entry = meta["a b.mha"]
    assert entry["original_labels"] == [0, 3, 7, 9]
    assert entry["extracted_labels"] == [0, 1, 300]
    assert entry["mapping"] == {"3": 1, "7": 300, "42": 5}
    assert (entry["output_shape"], entry["output_dtype"]) == ([2, 3, 4], "uint16")
    assert sum(entry["voxels"].values()) == 24
    assert meta["float.mha"]["extracted_labels"] == [0, 1]


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        (("1:2", "1:3"), "source class 1 is mapped twice"),
        (("1:2", "3:2"), "target class 2 is given twice"),
        (("1-2",), "expected source:target"),
        (("1:2.5",), "expected source:target"),
        ((), "at least one mapping"),
    ],
)
def test_unclear_mappings_are_refused(tmp_path, mappings, message):
    with pytest.raises(ParamsError, match=message):
        itkit.run("itk_extract", source=tmp_path, dest=tmp_path / "o", mappings=mappings)


def test_merge_joins_classes():
    new, _ = remap_labels(label_of([0, 1, 2, 3]), {1: 1, 2: 1})
    assert set(np.unique(new.array_zyx)) == {0, 1}


def test_non_integral_labels_fail_by_name(tmp_path):
    write_volume(Volume(np.full((2, 3, 4), 0.5, np.float32), GRID), tmp_path / "in" / "soft.nii")
    write_volume(label_of([0, 1]), tmp_path / "in" / "good.nii")
    result = itkit.run("itk_extract", source=tmp_path / "in", dest=tmp_path / "out", mappings=("1:1",))
    assert result.exit_code == 1
    assert {r.case_id: r.status for r in result.records} == {"soft": "failed", "good": "done"}
    assert "soft.nii: a label map must hold integers" in result.records[1].message
    assert not (tmp_path / "out" / "soft.mha").exists()


def test_an_image_that_is_taken_for_a_label_is_told(tmp_path):
    grid = Geometry((6, 20, 20), (1.0, 1.0, 1.0))
    ct = np.random.default_rng(0).integers(-1000, 1000, grid.size_zyx).astype(np.int16)
    write_volume(Volume(ct, grid), tmp_path / "image/a.mha")
    result = itkit.run("itk_extract", source=tmp_path / "image", dest=tmp_path / "out", mappings=("1:1",))
    assert "looks like an image" in result.records[0].warnings[0]
