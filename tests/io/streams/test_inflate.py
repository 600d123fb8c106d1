"""Streams as other programs write them, through our own decoder and through the one that stands in for it."""

import gzip
import io
import zlib
from itertools import pairwise

import numpy as np
import pytest

from itkit.io.streams import inflate as module
from itkit.io.streams.inflate import CorruptStreamError, ShortStreamError, inflate
from itkit.kernels.dispatch import forced_backend

PLAIN = np.random.default_rng(5).normal(0, 40, 300_000).astype("<i2").tobytes()


@pytest.fixture(params=["native", "numpy"], autouse=True)
def backend(request):
    with forced_backend(request.param):
        yield


def read(data, *, skip=0, size=600_000, before=b""):
    file = io.BytesIO(before + data)
    file.seek(len(before))
    return inflate(file, skip=skip, size=size).tobytes()


def gzip_header(flags, parts):
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + parts


def gzip_body(plain):
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = stream.compress(plain) + stream.flush()
    return body + zlib.crc32(plain).to_bytes(4, "little") + len(plain).to_bytes(4, "little")


def test_zlib_and_gzip_streams_behind_a_header():
    for data in (zlib.compress(PLAIN), gzip.compress(PLAIN)):
        assert read(data, before=b"ElementDataFile = LOCAL\n") == PLAIN
        assert read(data, skip=352, size=4000) == PLAIN[352:4352]


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (4, b"\x03\x00abc"),
        (8, b"a name.nii\0"),
        (16, b"a comment\0"),
        (2, b"\x12\x34"),
        (1, b""),
        (4 | 8 | 16, b"\x01\x00x" + b"name\0" + b"comment\0"),
        (8, b"n" * 5000 + b"\0"),
    ],
)
def test_fields_of_a_gzip_header_are_passed_over(flags, parts):
    try:
        assert read(gzip_header(flags, parts) + gzip_body(PLAIN)) == PLAIN
    except CorruptStreamError:
        assert flags & 2  # the header's own checksum is wrong here, and one of the decoders looks at it


def test_members_follow_one_another():
    cut = (0, 1, 65_280, 130_560, 130_560, len(PLAIN))
    members = b"".join(gzip.compress(PLAIN[a:b]) for a, b in pairwise(cut))
    assert read(members) == PLAIN
    assert read(members + bytes(512)) == PLAIN  # padding


def test_small_reads_change_nothing(monkeypatch):
    members = gzip.compress(PLAIN[:5000]) + gzip.compress(PLAIN[5000:9000])
    monkeypatch.setattr(module, "_READ_BYTES", 1)
    assert read(members, size=9000) == PLAIN[:9000]


def test_what_stands_behind_the_voxels_is_verified_too():
    data = bytearray(gzip.compress(PLAIN))
    assert read(bytes(data), size=1000) == PLAIN[:1000]
    data[-6] ^= 1
    with pytest.raises(CorruptStreamError):
        read(bytes(data), size=1000)


def test_a_shorter_stream_gives_fewer_bytes():
    assert read(gzip.compress(PLAIN[:99])) == PLAIN[:99]


@pytest.mark.parametrize("place", [-8, -4, -1, 30, 5000])
def test_corrupt_streams_are_refused(place):
    data = bytearray(gzip.compress(PLAIN))
    data[place] ^= 0x10
    with pytest.raises((CorruptStreamError, ShortStreamError)):
        read(bytes(data))


@pytest.mark.parametrize("length", [0, 1, 2, 9, 18, 1000, -9, -8, -4, -1])
@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_truncated_streams_say_how_much_there_was(length, compress):
    with pytest.raises(ShortStreamError) as caught:
        read(compress(PLAIN)[:length])
    assert 0 <= caught.value.made <= len(PLAIN)
