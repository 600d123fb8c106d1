"""Streams as other programs write them, against the bytes that were deflated and against zlib's verdict."""

import gzip
import io
import time
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.io.streams import inflate as module
from itkit.io.streams.inflate import SPARE_BYTES, CorruptStreamError, ShortStreamError, inflate

PLAIN = np.random.default_rng(5).normal(0, 40, 300_000).astype("<i2").tobytes()
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


class Counted(io.BytesIO):
    """A file that knows how many bytes were asked of it."""

    taken = 0

    def read(self, size=-1, /):
        data = super().read(size)
        self.taken += len(data)
        return data


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


def deflated(plain, *, level=6, wbits=31, strategy=zlib.Z_DEFAULT_STRATEGY, memory=8):
    stream = zlib.compressobj(level, zlib.DEFLATED, wbits, memory, strategy)
    return stream.compress(plain) + stream.flush()


def test_zlib_and_gzip_streams_behind_a_header():
    for data in (zlib.compress(PLAIN), gzip.compress(PLAIN)):
        assert read(data, before=b"ElementDataFile = LOCAL\n") == PLAIN
        assert read(data, skip=352, size=4000) == PLAIN[352:4352]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 120_000),
    st.integers(0, 9),
    st.sampled_from(STRATEGIES),
    st.integers(1, 9),
    st.sampled_from([15, 31, 9, 25]),
)
@settings(deadline=None)
def test_returns_what_zlib_deflated(seed, count, level, strategy, memory, wbits):
    plain = np.random.default_rng(seed).normal(0, 1 + seed % 50, count // 2).astype("<i2").tobytes()
    data = deflated(plain, level=level, wbits=wbits, strategy=strategy, memory=memory)
    assert read(data, size=len(plain)) == plain


@given(st.integers(0, 2**32 - 1), st.sampled_from([15, 31]), st.data())
@settings(deadline=None)
def test_damage_is_never_read_as_other_voxels(seed, wbits, data):
    plain = np.random.default_rng(seed).normal(0, 1 + seed % 90, 3000).astype("<i2").tobytes()
    stream = bytearray(deflated(plain, level=data.draw(st.integers(0, 9)), wbits=wbits))
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    length = data.draw(st.one_of(st.just(len(stream)), st.integers(0, len(stream))))
    try:
        made = read(bytes(stream[:length]), size=len(plain))
    except (CorruptStreamError, ShortStreamError):
        with pytest.raises((zlib.error, AssertionError)):
            by_zlib(bytes(stream[:length]), wbits)
    else:
        assert made == plain


def by_zlib(data, wbits):
    stream = zlib.decompressobj(wbits)
    stream.decompress(data)
    assert stream.eof


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (4, b"\x03\x00abc"),
        (8, b"a name.nii\0"),
        (16, b"a comment\0"),
        (1, b""),
        (4 | 8 | 16, b"\x01\x00x" + b"name\0" + b"comment\0"),
        (8, b"n" * 5000 + b"\0"),
    ],
)
def test_fields_of_a_gzip_header_are_passed_over(flags, parts):
    assert read(gzip_header(flags, parts) + gzip_body(PLAIN)) == PLAIN


def test_the_checksum_of_a_gzip_header_is_looked_at():
    header = gzip_header(2, b"")
    right = (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little")
    assert read(header + right + gzip_body(PLAIN)) == PLAIN
    with pytest.raises(CorruptStreamError, match="checksum"):
        read(header + b"\x12\x34" + gzip_body(PLAIN))


def test_members_follow_one_another():
    cut = (0, 1, 65_280, 130_560, 130_560, len(PLAIN))
    members = b"".join(gzip.compress(PLAIN[a:b]) for a, b in pairwise(cut))
    assert read(members) == PLAIN
    assert read(members + bytes(512)) == PLAIN  # padding
    assert read(members + b"what a tool left behind") == PLAIN


def test_many_small_members_cost_no_more_than_their_bytes():
    empty, one = gzip.compress(b""), gzip.compress(b"\7")
    began = time.process_time()
    assert read(empty * 50_000 + one, size=1) == b"\7"  # 1 MB: quadratic work would take a minute
    assert time.process_time() - began < 5


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_small_reads_change_nothing(size, monkeypatch):
    members = gzip.compress(PLAIN[:5000]) + gzip.compress(PLAIN[5000:9000])
    monkeypatch.setattr(module, "_READ_BYTES", size)
    monkeypatch.setattr(module, "_INFLATE_BYTES", 258)
    assert read(members, size=9000) == PLAIN[:9000]


def test_what_stands_behind_the_voxels_is_verified_too():
    data = bytearray(gzip.compress(PLAIN))
    assert read(bytes(data), size=1000) == PLAIN[:1000]
    data[-6] ^= 1
    with pytest.raises(CorruptStreamError, match="checksum"):
        read(bytes(data), size=1000)


@pytest.mark.parametrize("wbits", [31, 15])
def test_a_bomb_is_refused_before_it_is_inflated(wbits):
    bomb = Counted(deflated(bytes(1 << 30), wbits=wbits, level=1))
    with pytest.raises(CorruptStreamError, match="more than the 1352 bytes that the header asks for"):
        inflate(bomb, skip=352, size=1000)
    assert bomb.taken < 0.1 * len(bomb.getvalue())


def test_members_without_end_are_refused():
    members = Counted(gzip.compress(bytes(1 << 20)) * 2000)
    with pytest.raises(CorruptStreamError, match="more than"):
        inflate(members, skip=0, size=10)
    assert members.taken < len(members.getvalue())


def test_some_bytes_behind_the_voxels_are_no_fault():
    assert read(gzip.compress(PLAIN + bytes(SPARE_BYTES))) == PLAIN
    with pytest.raises(CorruptStreamError):
        read(gzip.compress(PLAIN + bytes(SPARE_BYTES + 1)))


def test_a_shorter_stream_gives_fewer_bytes():
    assert read(gzip.compress(PLAIN[:99])) == PLAIN[:99]


@pytest.mark.parametrize("place", [-8, -4, -1, 30, 5000])
def test_corrupt_streams_are_refused(place):
    data = bytearray(gzip.compress(PLAIN))
    data[place] ^= 0x10
    with pytest.raises((CorruptStreamError, ShortStreamError)):
        read(bytes(data))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x78\x01\x07", "invalid block"),
        (b"\x78\x01\x03\x02\0\0", "a match begins before the data"),
        (b"plain voxels", "an unknown method of compression"),
        (b"\x1f\x8b\x07" + bytes(20), "unknown method"),
        (zlib.compress(PLAIN)[:-1] + b"\0", "its checksum is wrong"),
    ],
)
def test_faults_are_named(data, fault):
    with pytest.raises(CorruptStreamError, match=fault):
        read(data)


def test_a_stream_that_needs_a_dictionary_is_refused():
    stream = zlib.compressobj(zdict=PLAIN[:500])
    with pytest.raises(CorruptStreamError, match="dictionary"):
        read(stream.compress(PLAIN) + stream.flush())


@pytest.mark.parametrize("length", [0, 1, 2, 9, 18, 1000, -9, -8, -4, -1])
@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_truncated_streams_say_how_much_there_was(length, compress):
    with pytest.raises(ShortStreamError) as caught:
        read(compress(PLAIN)[:length])
    assert 0 <= caught.value.made <= len(PLAIN)
