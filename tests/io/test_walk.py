"""Folders with links that lead to themselves, in a circle, or nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import itkit
from itkit.cli.main import main
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
