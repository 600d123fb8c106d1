"""A deflated DICOM file that holds far more than its size is refused before it is inflated."""

import struct
import zlib

import numpy as np
import pytest
from dicom_factory import save, slices
from pydicom.uid import DeflatedExplicitVRLittleEndian

from itkit.core.errors import ReadError
from itkit.io.dcm_toolkit import find_series, read_series
from itkit.io.dicom import header


def test_a_bomb_is_refused_and_a_file_is_read(tmp_path, monkeypatch):
    (one,) = slices((0.0,), shape=(5, 7))
    path = save(one, tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)
    (found,), _ = find_series(tmp_path)
    assert np.ptp(read_series(found).array_zyx) > 0
    raw = path.read_bytes()
    head = raw[: 144 + struct.unpack("<I", raw[140:144])[0]]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    tail = b"\xfc\xff\xfc\xffOB\0\0" + struct.pack("<I", 8 << 20) + bytes(8 << 20)
    path.write_bytes(head + packer.compress(zlib.decompress(raw[len(head) :], -15) + tail) + packer.flush())
    monkeypatch.setattr(header, "_MOST_INFLATED", 4 << 20)
    with pytest.raises(ReadError, match=r"a\.dcm: deflated: it inflates to more than 4 MiB"):
        header.read_dataset(path, pixels=False, notes=[])
    path.write_bytes(head + b"\xff" * 50)
    with pytest.raises(ReadError, match="damaged DICOM file"):
        header.read_dataset(path, pixels=False, notes=[])
