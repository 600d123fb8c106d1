"""A header that is kept is that of the file as it is now."""

import os

import numpy as np

from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.formats.inspect import read_any_header
from itkit.io.sitk_toolkit import write_volume


def test_a_header_that_was_edited_in_place_is_read_again_although_its_time_was_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr("itkit.io.formats.inspect.SETTLED_NS", 0)
    path = tmp_path / "a.mha"
    write_volume(Volume(np.zeros((2, 3, 4), np.int16), Geometry((2, 3, 4), (2.5, 0.7, 0.8))), path)
    status = path.stat()
    assert read_any_header(path).geometry.spacing_zyx == (2.5, 0.7, 0.8)
    with path.open("r+b") as file:
        content = file.read().replace(b"ElementSpacing = 0.8 0.7 2.5", b"ElementSpacing = 0.8 0.7 5.0")
        file.seek(0)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert read_any_header(path).geometry.spacing_zyx == (5.0, 0.7, 0.8)
