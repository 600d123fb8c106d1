"""Which line of a case counts: the last of its file, that of the later run between files; clocks decide nothing."""

import json

import pytest

from itkit.core.errors import LayoutError
from itkit.core.operation import Record
from itkit.engine.manifest import Manifest


@pytest.fixture
def clock(monkeypatch):
    def move_to(time):
        monkeypatch.setattr("itkit.engine.manifest.time.time", lambda: time)

    return move_to


def append(dest, key, shard=None, case="a"):
    (dest / ".itkit").mkdir(exist_ok=True)
    Manifest(dest, shard).append("itk_orient", Record(case, "done", key=key))


def newest(dest):
    return {case: record.key for case, record in Manifest(dest).latest_done("itk_orient").items()}


def test_the_last_line_counts_whatever_the_clock_says(tmp_path, clock):
    for key, time in (("first", 9e9), ("second", 5.0), ("third", 7.0)):
        clock(time)
        append(tmp_path, key)
    assert newest(tmp_path) == {"a": "third"}


@pytest.mark.parametrize("shards", [(None, "1/2"), ("1/2", None), ("2/2", "1/2"), ("1/2", "2/2")])
def test_a_run_counts_more_than_all_whose_lines_it_found(tmp_path, clock, shards):
    for shard, key, time in zip((*shards, shards[0]), ("first", "second", "third"), (9e9, 5.0, 1.0), strict=True):
        clock(time)
        append(tmp_path, key, shard)
        assert newest(tmp_path) == {"a": key}


def test_all_lines_of_a_run_have_its_number(tmp_path):
    (tmp_path / ".itkit").mkdir()
    shards = [Manifest(tmp_path, f"{number}/2") for number in (1, 2)]
    for case in "ab":
        for manifest in shards:
            manifest.append("itk_orient", Record(case, "done"))
    append(tmp_path, "later")
    lines = [line for path in sorted((tmp_path / ".itkit").iterdir()) for line in path.read_text().splitlines()]
    assert [json.loads(line)["run"] for line in lines] == [1, 1, 2, 2, 3]


def test_lines_without_a_number_come_first(tmp_path):
    (tmp_path / ".itkit").mkdir()
    line = {"operation": "itk_orient", "time": 9e9, "case": "a", "status": "done", "key": "old"}
    (tmp_path / ".itkit" / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    append(tmp_path, "new", "1/2")
    assert newest(tmp_path) == {"a": "new"}


def test_a_name_with_a_line_end_of_another_script_is_one_line(tmp_path):
    append(tmp_path, "x", case="a\u2028b\x85c")
    assert newest(tmp_path) == {"a\u2028b\x85c": "x"}


def test_broken_lines_cost_only_themselves(tmp_path):
    append(tmp_path, "x")
    path = tmp_path / ".itkit" / "manifest.jsonl"
    numbers = '{"run": 99999999999999999999, "operation": "itk_orient", "case": "c", "status": "done"}'
    path.write_text("[" * 200_000 + f"\n[1]\n\0\n{path.read_text()}\n{numbers}\n{{")
    assert newest(tmp_path) == {"a": "x", "c": ""}
    append(tmp_path, "y")
    assert newest(tmp_path) == {"a": "y", "c": ""}


def test_a_manifest_that_is_no_file_is_named(tmp_path):
    (tmp_path / ".itkit" / "manifest.jsonl").mkdir(parents=True)
    with pytest.raises(LayoutError, match=r"manifest\.jsonl: .*move it away"):
        Manifest(tmp_path).latest_done("itk_orient")
