"""Folders with links that lead to themselves, in a circle, or nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import itkit
from itkit.cli.main import main
from itkit.core.errors import LayoutError
from itkit.io.dicom.find import find_series
from itkit.io.layouts import find_volumes


@pytest.mark.parametrize("plant", ["itself", "a volume", "circle", "nowhere", "above"])
def test_links_that_lead_nowhere_stop_no_run(tmp_path: Path, plant: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    itkit.write(
        itkit.Volume(np.zeros((3, 4, 5), np.int16), itkit.Geometry((3, 4, 5), (1.0, 1.0, 1.0))), folder / "good.mha"
    )
    links = {
        "itself": {"x": "x"}, "a volume": {"x.mha": "x.mha"}, "circle": {"a": "b", "b": "a"},
        "nowhere": {"x": "/nowhere/at/all"}, "above": {"up": ".."},
    }[plant]  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    assert "good" in find_volumes(folder, recursive=True)
    expected = 1 if plant == "a volume" else 0
    assert main("itk_orient", [str(folder), str(tmp_path / "out"), "RAS"]) == expected
    assert (tmp_path / "out" / "good.mha").exists()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a good volume and a sub-folder that nobody may list, not even a superuser."""
    folder = tmp_path / "in"
    grid = itkit.Geometry((3, 4, 5), (1.0, 1.0, 1.0))
    for name in ("good.mha", "sub/other.mha"):
        itkit.write(itkit.Volume(np.zeros((3, 4, 5), np.int16), grid), folder / name)
    scandir = os.scandir

    def refuse(path: str | Path | int) -> object:
        if not isinstance(path, int) and Path(path).name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_a_folder_that_can_not_be_listed_fails_by_name_alone(
    locked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main("itk_orient", [str(locked), str(tmp_path / "out"), "RAS"]) == 1
    assert (tmp_path / "out" / "good.mha").exists()
    told = capsys.readouterr()
    assert "failed: sub/*: " in told.err
    assert "1 done, 0 skipped, 1 failed (sub/*)" in told.out
    assert main("itk_check", ["check", str(locked), "-r"]) == 1
    assert "1 conforming, 1 nonconforming (sub/*)" in capsys.readouterr().out


def test_a_source_that_can_not_be_listed_is_refused(locked: Path) -> None:
    with pytest.raises(LayoutError, match=r"can't be listed \(Permission denied\)"):
        find_volumes(locked / "sub")


def test_a_folder_of_dicom_files_that_can_not_be_listed_is_named(locked: Path) -> None:
    _, refused = find_series(locked)
    assert [item.path for item in refused if item.path.name == "*"] == [locked / "sub" / "*"]
