"""The inflater against zlib's, an independent one."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itkit.kernels.dispatch import forced_backend
from itkit.kernels.inflate import ENDED, FAULTS, LEAST_INPUT, NEEDS_INPUT, OUT_IS_FULL, TRUNCATED, Inflater

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def deflate(plain, level=6, strategy=zlib.Z_DEFAULT_STRATEGY):
    stream = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return stream.compress(plain) + stream.flush()


def inflate(data, room, step=None, window=None):
    """Feed the data in steps into an output of so much room; give the last status, the bytes, and what was used."""
    source, out = np.frombuffer(data + b"\xa5", np.uint8), np.full(room + 64, 0xEE, np.uint8)
    step, at, end, made, inflater = step or len(data), 0, 0, 0, Inflater()
    while True:
        end = min(len(data), max(end, at) + step)
        space = min(window or room, room - made)
        status, used, count, _ = inflater.inflate(
            source.ctypes.data + at, end - at, out.ctypes.data + made, made, space, is_last=end == len(data)
        )
        at, made = at + used, made + count
        assert (out[room:] == 0xEE).all(), "written beyond the output"
        if status not in (NEEDS_INPUT, OUT_IS_FULL) or (status == OUT_IS_FULL and made - count + space == room):
            return status, out[:made].tobytes(), at


@st.composite
def plain_bytes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.one_of(st.integers(0, 300), st.integers(300, 60_000)))
    kind = draw(st.sampled_from(["noise", "random", "runs", "text", "far"]))
    if kind == "noise":
        return rng.normal(40, draw(st.sampled_from([1, 12, 300])), n // 2).astype("<i2").tobytes()
    if kind == "random":
        return rng.bytes(n)
    if kind == "runs":
        return np.repeat(rng.integers(0, 5, n // 50 + 1), 50).astype(np.uint8).tobytes()[:n]
    if kind == "text":
        return (b"a voxel, another voxel, " * (n // 20 + 1))[:n]
    return (rng.bytes(32_768) * 2)[: n + 32_768]


@given(plain_bytes(), st.integers(0, 9), st.sampled_from(STRATEGIES), st.sampled_from([None, LEAST_INPUT, 5000]))
def test_gives_what_was_deflated(plain, level, strategy, step):
    data = deflate(plain, level, strategy)
    window = None if step is None else 700
    status, made, used = inflate(data, len(plain), step, window)
    assert (status, used) == (ENDED, len(data))
    assert made == plain


@given(plain_bytes(), st.data())
def test_corrupt_data_are_judged_as_by_zlib(plain, data):
    stream = bytearray(deflate(plain, data.draw(st.integers(0, 9)), data.draw(st.sampled_from(STRATEGIES))))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    reference = zlib.decompressobj(-15)
    try:
        expected = reference.decompress(bytes(stream), 200_000)
    except zlib.error:
        expected = None
    status, made, used = inflate(bytes(stream), 200_000)
    if expected is None:
        assert status in FAULTS or status in (TRUNCATED, OUT_IS_FULL)
    elif reference.eof:
        assert (status, made) == (ENDED, expected)
        assert used == len(stream) - len(reference.unused_data)
    else:
        assert status in (TRUNCATED, OUT_IS_FULL)
        assert made[: len(expected)] == expected[: len(made)]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_every_cut_is_noticed(level):
    plain = np.random.default_rng(3).normal(0, 9, 400).astype("<i2").tobytes() + bytes(300)
    data = deflate(plain, level)
    for length in range(len(data)):
        status, made, _ = inflate(data[:length], len(plain))
        assert status == TRUNCATED, length
        assert plain.startswith(made)


def test_what_follows_the_stream_is_left():
    data = deflate(b"voxels" * 99)
    assert inflate(data + b"more behind it", 594) == (ENDED, b"voxels" * 99, len(data))


def test_too_little_room_is_told():
    status, made, _ = inflate(deflate(b"voxels" * 99), 500)
    assert status == OUT_IS_FULL
    assert (b"voxels" * 99).startswith(made)
    assert inflate(deflate(b""), 0) == (ENDED, b"", 2)


def test_a_match_before_the_data_is_refused():
    fixed = 0b1 | 0b01 << 1  # last block, fixed codes
    length_3, distance_1 = 0b0000001, 0b00000  # code 257, code 0: a copy of the byte before the first
    bits = fixed | int(f"{length_3:07b}"[::-1], 2) << 3 | distance_1 << 10
    data = bits.to_bytes(4, "little")
    assert inflate(data, 100)[0] == -5


def test_numpy_alone_has_no_inflater():
    with forced_backend("numpy"):
        assert not Inflater.available()
        with pytest.raises(RuntimeError, match="compiled kernels"):
            Inflater()
