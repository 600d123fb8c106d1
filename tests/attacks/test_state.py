"""Configurations and state files that are deep, huge, endless or of a wrong shape."""

import os

import pytest
from attack_data import first_quick, made, pair

CONFIGS = {
    "deep.json": "[" * 100_000,
    "objects.json": '{"a":' * 100_000,
    "list.json": '{"operation": "itk_resample", "params": {"spacing": [1, 1, 1]}, "options": [1]}',
    "null.json": '{"operation": "itk_resample", "params": {"spacing": [1, 1, 1]}, "options": null}',
    "integer.json": '{"workers": ' + "9" * 5000 + "}",
    "zero.json": '{"dest_folder": "a\\u0000b", "spacing": [1, 1, 1]}',
    "deep.toml": "a = " + "[" * 100_000,
    "key.toml": "a" + ".a" * 50_000 + " = 1",
    "large.json": " " * (5 << 20),
    "bytes.json": b"\xff\xfe\x00",
}
LINE = '{"operation": "itk_resample", "time": 1, "case": "case_0", "status": "done", "key": "x", "outputs": %s}\n'
STATES = {
    "a deep line": (".itkit/manifest.jsonl", "[" * 100_000 + "\n"),
    "outputs elsewhere": (".itkit/manifest.jsonl", LINE % '[{"path": "../../etc/x", "bytes": 1, "mtime_ns": 1}]'),
    "a path with a zero byte": (".itkit/manifest.jsonl", LINE % '[{"path": "a\\u0000b", "bytes": 1, "mtime_ns": 1}]'),
    "a manifest of zeros": (".itkit/manifest.jsonl", bytes(3 << 20)),
    "a deep index": ("series_meta.json", "[" * 100_000),
    "an index of objects": ("series_meta.json", '{"a":' * 100_000),
    "an index that is a list": ("series_meta.json", "[1]"),
    "digests that are none": (".itkit/written.json", '{"x": [[[[1]]]]}'),
    "descriptions that are none": (".itkit/descriptions.json", '{"a": 1}'),
}


@pytest.mark.parametrize("name", first_quick(CONFIGS, 3))
def test_a_configuration_is_refused_in_a_sentence(attacked, tmp_path, name):
    content = CONFIGS[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    dest = () if name == "zero.json" else (tmp_path / "out",)
    ended = attacked("itk_resample", "dataset", pair(tmp_path / "in"), *dest, "--config", tmp_path / name, cwd=tmp_path)
    assert ended.is_calm
    assert ended.code == 2
    assert len(ended.text) < 2000


def test_a_configuration_without_end_is_refused(attacked, tmp_path):
    ended = attacked("itk_resample", "dataset", pair(tmp_path / "in"), tmp_path / "out", "--config", "/dev/zero")
    assert ended.is_calm
    assert ended.code == 2
    assert "not a file" in ended.text


@pytest.mark.parametrize("what", first_quick(STATES, 2))
def test_a_state_file_is_made_anew(attacked, tmp_path, what):
    source, out = pair(tmp_path / "in"), tmp_path / "out"
    command = ("itk_resample", "dataset", source, out, "--spacing", 1, 1, 1)
    assert attacked(*command).code == 0
    whole = made(out)
    name, content = STATES[what]
    (out / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = attacked(*command)
    assert ended.is_calm
    assert ended.code == 0, ended
    assert made(out) == whole


@pytest.mark.parametrize("name", [".itkit/manifest.jsonl", "series_meta.json"])
def test_a_state_file_that_is_a_pipe_is_never_waited_for(attacked, tmp_path, name):
    source, out = pair(tmp_path / "in"), tmp_path / "out"
    command = ("itk_resample", "dataset", source, out, "--spacing", 1, 1, 1)
    assert attacked(*command).code == 0
    (out / name).unlink()
    os.mkfifo(out / name)
    assert attacked(*command).is_calm
