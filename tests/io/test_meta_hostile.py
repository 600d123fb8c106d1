"""JSON files that somebody else has made: deep ones and pipes are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from itkit.engine.manifest import Manifest
from itkit.io.json_files import read_json

DEEP = "[" * 200_000 + "]" * 200_000


def test_deep_json_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(DEEP)
    assert read_json(tmp_path / "a.json") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_json(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    assert read_json(tmp_path / "a.json") is None


def test_a_deep_line_of_a_manifest_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".itkit").mkdir()
    good = '{"operation": "itk_orient", "case": "a", "status": "done"}'
    (tmp_path / ".itkit" / "manifest.jsonl").write_text(f"{DEEP}\n{good}\n")
    assert list(Manifest(tmp_path).latest_done("itk_orient")) == ["a"]
