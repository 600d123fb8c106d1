"""Cases with so many files that a list of them is beyond what is read as one text."""

import json

import pytest

import itkit
from itkit.core.operation import Record
from itkit.engine import dense, manifest, wide
from itkit.engine.manifest import Manifest
from itkit.engine.packing import pack
from itkit.testing import phantoms

VALUES = {"patch_size": (3, 3, 3), "patch_stride": (2, 2, 2), "ext": ".mhd"}


A_BOMB = {"names": ["path", "bytes", "mtime_ns"], "same": {"path": "a", "bytes": 1, "mtime_ns": 1}, "each": {}}


@pytest.fixture
def small_limits(monkeypatch):
    """Make the limits of what is read, and the list that is long, a hundredth of what they are."""
    monkeypatch.setattr("itkit.core.bounded.MOST_VALUES", 12_000)
    monkeypatch.setattr("itkit.engine.wide.LONG", 50)
    monkeypatch.setattr("itkit.engine.stage.LONG", 50)


def test_a_case_of_very_many_files_is_known_to_the_next_run(tmp_path, small_limits, monkeypatch):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", **VALUES}
    with monkeypatch.context() as patch:
        patch.setattr("itkit.engine.wide.LONG", 10**9)
        plain = itkit.run("itk_patch", **{**values, "dest": tmp_path / "plain"})
        assert "more than the manifest can list of one case" in plain.records[0].message  # as it would be without
    first = itkit.run("itk_patch", **values)
    assert first.summary.counts["done"] == 1
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    assert len(first.records[0].outputs) > 400
    assert pack(tmp_path / "out" / ".itkit" / "manifest.jsonl")
    again = itkit.run("itk_patch", **values)
    assert again.summary.counts == {"done": 0, "skipped": 1, "failed": 0}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")} == before
    (known,) = Manifest(tmp_path / "out").latest_done("itk_patch").values()
    assert known.outputs == first.records[0].outputs
    assert json.dumps(known.facts) == json.dumps(first.records[0].facts)  # in the same order
    fewer = itkit.run("itk_patch", **{**values, "patch_stride": (3, 3, 3)})
    assert fewer.summary.counts["done"] == 1
    assert len([*(tmp_path / "out").rglob("*.zraw")]) * 2 == len(fewer.records[0].outputs)  # the others are gone


def test_a_table_says_entries_as_they_were():
    rows = [{"path": f"{number}.mha", "origin": -0.0 if number % 2 else 0.0, "kind": 1} for number in range(wide.LONG)]
    rows[7] = {"kind": 1.0, "path": "seven"}
    line = wide.narrowed({"outputs": (), "facts": {"rows": rows, "note": "x"}})
    assert "kind" in line["tables"]["rows"]["kinds"][0]["same"]
    assert repr(wide.widened(json.loads(json.dumps(line)))["facts"]) == repr({"rows": rows, "note": "x"})


@pytest.mark.parametrize(
    "table",
    [
        {"order": "0" * 10**7, "kinds": [A_BOMB]},
        {"order": "00", "kinds": [{"names": ["path"], "same": {}, "each": {"path": ["a"]}}]},
        {"order": "01", "kinds": [{"names": ["path"], "same": {"path": "a"}, "each": {}}]},
        {"order": "0", "kinds": [{"names": ["path"], "same": {}, "each": {}, "stamps": ["1.2"]}]},
        {"order": 3, "kinds": {}},
    ],
    ids=["a bomb", "too short", "unknown kind", "no stamp", "no table"],
)
def test_a_damaged_table_costs_only_its_line(tmp_path, table):
    places = Manifest(tmp_path)
    places.dest.joinpath(".itkit").mkdir()
    lines = [{"run": 1, "operation": "op", **manifest.line_of(Record(case, "done"))} for case in "ab"]
    lines[0] |= {"outputs": None, "tables": {"outputs": table}}
    places.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    records = places.latest_done("op")
    assert [case for case, _ in records.items()] == ["b"]
    assert dense.dense({**lines[0], "outputs": []}, dense.Forms(), json.dumps) is None
