from __future__ import annotations

import ctypes
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from itkit.kernels.deflate import deflate
from itkit.kernels.dispatch import forced_backend, native

from .support import DTYPES, classes, seeds, volume

WINDOW = 32768


@pytest.fixture(autouse=True)
def built():
    with forced_backend("native"):
        yield


def compressed(array, *, item_bytes=None, row_bytes=0, last=True):
    data = memoryview(array).cast("B") if isinstance(array, bytes) else memoryview(np.ascontiguousarray(array))
    result = deflate(data, item_bytes=item_bytes or getattr(array, "itemsize", 1), row_bytes=row_bytes, last=last)
    assert result is not None
    return result


def plain(raw):
    """What an independent decoder makes of a whole stream."""
    decoder = zlib.decompressobj(-15)
    data = decoder.decompress(raw)
    assert decoder.eof
    assert decoder.unused_data == b""
    return data


def phantom(size_zyx, seed=0):
    """Air and body with noise, as CT has it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size_zyx), indexing="ij")
    body = y**2 + x**2 + 0.1 * z < 0.6
    organ = (y - 0.2) ** 2 + (x + 0.2) ** 2 < 0.1
    image = np.where(body, 40 + 60 * organ, -1000) + rng.normal(0, 1, size_zyx) * np.where(body, 11, 5)
    return np.clip(np.rint(image), -1024, 3071).astype(np.int16), (body + organ * 1).astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(0, 9), st.integers(1, 40), st.integers(1, 90)),
    st.sampled_from(DTYPES),
    st.sampled_from(["noise", "classes", "few", "constant", "rows"]),
    st.booleans(),
    seeds,
)
def test_every_type_and_structure_comes_back(size_zyx, dtype, structure, last, seed):
    rng = np.random.default_rng(seed)
    if structure == "noise":
        array = volume(seed, size_zyx, dtype, special=True)
    elif structure == "classes":
        array = classes(seed, size_zyx, dtype)
    elif structure == "few":
        array = rng.integers(0, 1 + seed % 90, size_zyx).astype(dtype)
    elif structure == "constant":
        array = np.full(size_zyx, seed % 100, dtype)
    else:
        array = np.broadcast_to(rng.integers(0, 5, size_zyx[2]).astype(dtype), size_zyx)
    raw = compressed(array, row_bytes=size_zyx[2] * array.itemsize, last=last)
    assert plain(raw if last else raw + b"\x03\x00") == array.tobytes()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=700), st.integers(1, 9), st.integers(-5, 70000), st.integers(1, 60))
@example(b"", 2, 0, 1)
@example(bytes(20), 8, 3, 1)
def test_any_bytes_come_back_whatever_item_and_row_are_said_to_be(data, item_bytes, row_bytes, times):
    data *= times
    assert plain(compressed(data, item_bytes=item_bytes, row_bytes=row_bytes)) == data


@pytest.mark.parametrize("item_bytes", [1, 2, 4])
def test_tiny_inputs_come_back(item_bytes):
    for length in range(21):
        for data in (bytes(range(length)), bytes(length)):
            assert plain(compressed(data, item_bytes=item_bytes, row_bytes=4)) == data


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 5000)), min_size=1, max_size=6), seeds)
def test_pieces_join_into_one_stream(pieces, seed):
    rng = np.random.default_rng(seed)
    parts = [(item, rng.integers(0, 4, size * item).astype(np.uint8).tobytes()) for item, size in pieces]
    last = len(parts) - 1
    raw = [compressed(data, item_bytes=item, last=k == last) for k, (item, data) in enumerate(parts)]
    assert plain(b"".join(raw)) == b"".join(data for _, data in parts)


@pytest.mark.parametrize("item_bytes", [1, 2, 4, 8])
def test_what_cannot_shrink_is_stored(item_bytes):
    data = np.random.default_rng(3).bytes(300_001)
    raw = compressed(data, item_bytes=item_bytes, row_bytes=512)
    assert plain(raw) == data
    assert len(raw) <= len(data) * 1.001 + 64


@pytest.mark.parametrize(("item_bytes", "kind"), [(2, "words"), (1, "rows")])
@pytest.mark.parametrize("distance", [WINDOW, WINDOW - 2, WINDOW + 2])
def test_matches_reach_32768_bytes_and_no_further(item_bytes, kind, distance):
    rng = np.random.default_rng(distance)
    noise = rng.integers(0, 256, distance).astype(np.uint8).tobytes()
    data = noise * 4
    raw = compressed(data, item_bytes=item_bytes, row_bytes=distance)
    assert plain(raw) == data
    if distance > WINDOW:
        assert len(raw) > len(data) * 0.99
    else:
        assert len(raw) < len(data) * 0.3


@pytest.mark.parametrize("item_bytes", [1, 2])
def test_matches_have_any_length_up_to_258(item_bytes):
    rng = np.random.default_rng(8)
    for length in (3, 4, 5, 6, 8, 10, 31, 32, 33, 130, 255, 256, 257, 258, 259, 260, 516, 517, 774, 1000):
        block = rng.integers(0, 256, length).astype(np.uint8).tobytes()
        runs = b"".join(bytes([value]) * length for value in rng.integers(0, 256, 60).astype(np.uint8))
        data = runs + b"".join(block + rng.bytes(2) for _ in range(400)) + runs
        assert plain(compressed(data, item_bytes=item_bytes, row_bytes=length + 2)) == data


def test_long_runs_take_next_to_nothing():
    for dtype in ("uint8", "int16", "float32"):
        array = np.full(2_000_000, 7, dtype)
        assert len(compressed(array, row_bytes=512 * array.itemsize)) < array.nbytes / 700


def test_code_lengths_stay_within_the_limit_for_counts_like_fibonacci_numbers():
    counts = [1, 1]
    while len(counts) < 21:
        counts.append(counts[-1] + counts[-2])
    symbols = np.repeat(np.arange(21, dtype=np.uint8) * 11, counts)
    for seed in range(3):
        data = np.random.default_rng(seed).permutation(symbols).tobytes()
        for item_bytes in (1, 2):
            assert plain(compressed(data, item_bytes=item_bytes)) == data


def test_sizes_are_no_worse_than_zlib_level_1():
    image, label = phantom((12, 256, 256))
    for array in (image, label, image.astype(np.float32), label.astype(np.int16)):
        ours = len(compressed(array, row_bytes=256 * array.itemsize))
        assert ours <= len(zlib.compress(array.tobytes(), 1))


def test_threads_at_once_give_the_same_bytes():
    image, label = phantom((6, 200, 200))
    work = [image, label, image[::-1].copy(), label[::-1].copy()] * 3
    alone = [compressed(array) for array in work]
    with ThreadPoolExecutor(4) as pool, forced_backend("native"):
        together = list(pool.map(_compressed_in_thread, work))
    assert together == alone


def _compressed_in_thread(array):
    with forced_backend("native"):
        return compressed(array)


def test_too_small_a_buffer_is_refused_and_left_alone():
    compress, bound = native().itkit_deflate, native().itkit_deflate_bound
    source = np.zeros(1000, np.uint8)
    for capacity in (0, 10, bound(1000) - 1):
        out = np.full(bound(1000), 0xAB, np.uint8)
        assert compress(source.ctypes.data, 1000, 2, 0, 1, out.ctypes.data, capacity) == -1
        assert (out == 0xAB).all()
    assert compress(source.ctypes.data, 1000, 2, 0, 1, out.ctypes.data, bound(1000)) > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30000), st.sampled_from([1, 2, 4]), st.integers(1, 256), seeds)
def test_no_byte_outside_source_and_buffer_is_touched(length, item_bytes, values, seed):
    compress, bound = native().itkit_deflate, native().itkit_deflate_bound
    data = np.random.default_rng(seed).integers(0, values, length).astype(np.uint8)
    room = np.full(bound(length) + 64, 0xCD, np.uint8)
    size = compress(data.ctypes.data, length, item_bytes, 100, 1, room.ctypes.data, bound(length))
    assert plain(room[:size].tobytes()) == data.tobytes()
    assert (room[bound(length) :] == 0xCD).all()


def test_without_the_library_there_is_none():
    with forced_backend("numpy"):
        assert deflate(memoryview(b"abc"), item_bytes=1, row_bytes=0, last=True) is None


def test_numbers_of_64_bits_go_in_and_out():
    compress, bound = native().itkit_deflate, native().itkit_deflate_bound
    assert compress.restype is bound.restype is ctypes.c_int64
    assert bound(5_000_000_000) > 5_000_000_000
