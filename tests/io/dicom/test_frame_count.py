"""A count of frames that no file of its size can hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from itkit.core.errors import ReadError
from itkit.io.dicom.header import read_frames


@pytest.mark.parametrize("count", [2147483647, 100_000_000, 200, -1])
def test_it_is_refused_before_a_list_of_frames_is_made(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(1000))
    dataset = SimpleNamespace(get={"NumberOfFrames": count}.get)
    with pytest.raises(ReadError, match="NumberOfFrames"):
        read_frames(dataset, path)
