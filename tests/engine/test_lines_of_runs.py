"""The index of many outputs is made from the manifest: each record is read a few times, and no header at all."""

import json
from collections import Counter

import pytest

import itkit
from itkit.engine import collect
from itkit.engine.index_lines import LinesOfRuns
from itkit.engine.records import Records
from itkit.io import meta
from itkit.testing import phantoms


@pytest.mark.parametrize("layout", ["case", "dataset"])
def test_a_case_of_many_outputs_is_read_no_more_often_than_one_of_few(tmp_path, monkeypatch, layout):
    phantoms.write_dataset(tmp_path / "raw", 3)
    reads: Counter[str] = Counter()
    read = Records._read

    def counted(self, case, spot):
        reads[case] += 1
        return read(self, case, spot)

    monkeypatch.setattr(Records, "_read", counted)
    monkeypatch.setattr(meta, "read_any_header", None)  # no header is read
    out = tmp_path / "out"
    result = itkit.run("itk_patch", source=tmp_path / "raw", dest=out, patch_size=4, patch_stride=3, layout=layout)
    assert result.exit_code == 0
    index = json.loads((out / "series_meta.json").read_text())
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.mha"))
    assert list(index) == files
    assert len(files) > 60
    assert max(reads.values()) < 12
    crop = json.loads((out / "crop_meta.json").read_text())
    assert list(crop["patch_meta"]) == crop["anno_available"] == sorted(reads)
    assert sum(len(case["patches"]) for case in crop["patch_meta"].values()) * 2 == len(files)
    entry = index[files[-1]]
    assert entry["size"] == [4, 4, 4]
    assert set(entry) == {"size", "spacing", "origin_xyz", "direction_xyz", "dtype", "classes", "file"}


def test_entries_are_found_by_any_name(tmp_path):
    known = {"size": [1, 1, 1], "spacing": [1.0] * 3, "origin_xyz": [0.0] * 3, "direction_xyz": [1.0] * 9}
    known |= {"dtype": "uint8", "classes": None}

    def record(case, *paths):
        outputs = tuple({"path": path, "bytes": len(path), "mtime_ns": 1, **known} for path in paths)
        return collect.Record(case, "done", outputs=outputs)

    records = {
        one.case_id: one
        for one in (
            record("a", "image/a.mha", "label/a.mha"),
            record("a_1", "image/a_1_t1.mha", "image/a_1.x.mha"),
            record("s/b", "s/b/b_z0.mha"),
            record("odd", "elsewhere/name.mha"),
        )
    }
    lines = LinesOfRuns(records, tmp_path, tmp_path)
    for one in records.values():
        for output in one.outputs:
            path, stamp = output["path"], {"bytes": len(output["path"]), "mtime_ns": 1}
            assert json.loads(f"{{{lines(path, stamp)}}}") == {path: {**known, "file": stamp}}
            assert lines(path, {**stamp, "mtime_ns": 2}) is None
    assert lines("image/a_2.mha", stamp) is None
    assert lines("name.mha", stamp) is None
