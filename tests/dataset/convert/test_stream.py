"""The incremental JSON reader against the json module."""

import json

import pytest

from itkit.core.errors import ReadError
from itkit.dataset.convert import stream
from itkit.dataset.convert.stream import stream_members

VALUE = {
    "images/a.png": ["masks/a--0000_000.png", 'quo"te', "back\\slash"],
    "ä β 語": ["é", {"deep": [1, 2.5e-3, None, True]}],
    "number": 123456,
    "empty": [],
    "text": "x}],{",
    "last": -7,
}


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@pytest.mark.parametrize("options", [{}, {"indent": 3}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_members_equal_the_whole(chunk, options, tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_CHUNK", chunk)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(VALUE, **options), encoding="utf-8")
    members = list(stream_members(path))
    assert {member.key: member.value for member in members} == VALUE
    data = path.read_bytes()
    for member in members:
        assert json.loads(b"{" + data[member.begin : member.end] + b"}") == {member.key: member.value}


def test_reading_starts_and_stops_at_members(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "_CHUNK", 5)
    path = tmp_path / "index.json"
    path.write_text(json.dumps(VALUE, ensure_ascii=False), encoding="utf-8")
    members = list(stream_members(path))
    part = list(stream_members(path, start=members[1].begin, stop=members[3].end))
    assert part == members[1:4]


@pytest.mark.parametrize("text", ["", "  ", "[1]", '{"a": [1, 2', '{"a" 1}', "{1: 2}", '{"a": nope}', '{"a": 1'])
def test_broken_files_are_named(text, tmp_path):
    path = tmp_path / "index.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReadError, match=r"index\.json"):
        list(stream_members(path))


def test_memory_does_not_grow_with_the_file(tmp_path):
    import tracemalloc

    path = tmp_path / "index.json"
    with path.open("w", encoding="utf-8") as file:
        file.write("{" + ",".join(f'"images/{i:06d}.png": ["masks/{"m" * 200}.png"]' for i in range(40000)) + "}")
    tracemalloc.start()
    count = sum(1 for _ in stream_members(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 40000
    assert peak < path.stat().st_size * 0.7  # a few chunks
