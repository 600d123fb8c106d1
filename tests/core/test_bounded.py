"""Text that anybody may have written is read within limits, or refused by a reason."""

import os

import pytest

from itkit.core import bounded
from itkit.core.bounded import parse_json, parse_toml, read_bounded, read_lines


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[1, 2", "not JSON"),
        ("9" * 5000, "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        ("[" + "0," * bounded.MOST_VALUES + "0]", "more than 8000000 values"),
    ],
)
def test_json_is_refused_by_a_reason(text, reason):
    with pytest.raises(ValueError, match=f"^it .*{reason}"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a = " + "[" * 100_000, "too deeply"), ("a" + ".a" * 50_000 + " = 1", "too deeply"), ("a = ", "not TOML")],
)
def test_toml_is_refused_by_a_reason(text, reason):
    with pytest.raises(ValueError, match=f"^it .*{reason}"):
        parse_toml(text)


def test_values_are_those_of_the_text():
    assert parse_json('{"a": [1, -2.5e3, null, "Köln"]}'.encode()) == {"a": [1, -2500.0, None, "Köln"]}
    assert parse_toml("spacing = [1.5, 0.8, 0.8]\n[a]\nb = 'c'") == {"spacing": [1.5, 0.8, 0.8], "a": {"b": "c"}}


def test_only_regular_files_of_some_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_bounded(tmp_path / "file", 100) == b"x" * 100
    with pytest.raises(ValueError, match="has more than"):
        read_bounded(tmp_path / "file", 99)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link", "/dev/zero", "."):
        with pytest.raises(ValueError, match="pipe or device"):
            read_bounded(tmp_path / name)


def test_a_line_that_is_too_long_costs_only_itself(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"a\n" + b"x" * (3 << 20) + b"\nb\n" + b"y" * 100)
    assert list(read_lines(path, 100)) == [b"a", b"b", b"y" * 100]
    assert list(read_lines(path, 99)) == [b"a", b"b"]
