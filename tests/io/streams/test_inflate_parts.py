"""Streams that threads share, against the bytes that were deflated and against what one thread says."""

import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.io.streams import inflate as whole
from itkit.io.streams import inflate_parts as module
from itkit.io.streams.inflate import CorruptStreamError, ShortStreamError, inflate

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)
SHARE = 4096


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    monkeypatch.setattr(whole, "SEGMENT_BYTES", 4 * SHARE)
    monkeypatch.setattr(module, "SEGMENT_BYTES", 4 * SHARE)
    monkeypatch.setattr(module, "_LEAST_SEGMENT_BYTES", SHARE)
    monkeypatch.setattr(whole, "_READ_BYTES", SHARE)


@pytest.fixture
def joined(monkeypatch):
    """Count the bytes that came from segments."""
    counts = []
    join = module.Team._join

    def counted(team, segments, output, bit):
        before = output.made
        result = join(team, segments, output, bit)
        counts.append(output.made - before)
        return result

    monkeypatch.setattr(module.Team, "_join", counted)
    return counts


def voxels(n, seed=0):
    """Noise around a smooth ramp, with constant rows between: both kinds of matches, and bytes handed on for long."""
    rng = np.random.default_rng(seed)
    rows = np.arange(n // 512)[:, None] % 97 + rng.normal(0, 9, (n // 512, 256))
    rows[:, 200:] = -1024
    return rows.astype("<i2").tobytes()


def deflated(plain, *, level=6, strategy=zlib.Z_DEFAULT_STRATEGY, memory=9, flush_every=None, wbits=31):
    stream = zlib.compressobj(level, zlib.DEFLATED, wbits, memory, strategy)
    step = flush_every or max(1, len(plain))
    parts = [
        stream.compress(plain[i : i + step]) + (stream.flush(zlib.Z_SYNC_FLUSH) if flush_every else b"")
        for i in range(0, len(plain), step)
    ]
    return b"".join(parts) + stream.flush()


def read(data, size, threads):
    """Give the bytes, or what was wrong."""
    try:
        return inflate(io.BytesIO(data), skip=0, size=size, threads=threads).tobytes()
    except (CorruptStreamError, ShortStreamError) as error:
        return type(error), str(error), getattr(error, "made", None)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("wbits", [31, 15])
def test_most_of_a_stream_is_made_by_the_other_threads(threads, wbits, joined):
    plain = voxels(1_500_000)
    data = deflated(plain, memory=5, wbits=wbits)
    assert read(data, len(plain), threads) == plain
    assert sum(joined) > 0.7 * (1 - 1 / threads) * len(plain)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.sampled_from(STRATEGIES),
    st.integers(1, 9),
    st.sampled_from([None, 3000, 40_000]),
    st.integers(2, 5),
)
def test_gives_what_was_deflated(seed, level, strategy, memory, flush_every, threads):
    plain = voxels(np.random.default_rng(seed).integers(1, 400_000), seed)
    data = deflated(plain, level=level, strategy=strategy, memory=memory, flush_every=flush_every)
    assert read(data, len(plain), threads) == plain


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.data())
def test_damage_is_told_as_by_one_thread(seed, threads, data):
    plain = voxels(200_000, seed)
    stream = bytearray(deflated(plain, memory=data.draw(st.integers(1, 6))))
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    length = data.draw(st.one_of(st.just(len(stream)), st.integers(0, len(stream))))
    size = data.draw(st.sampled_from([len(plain), len(plain) - 9, len(plain) + 9, 50_000]))
    assert read(bytes(stream[:length]), size, threads) == read(bytes(stream[:length]), size, 1)


@pytest.mark.parametrize(
    "data",
    [
        deflated(voxels(300_000), level=0),
        deflated(voxels(300_000), strategy=zlib.Z_FIXED),
        deflated(bytes(60_000_000)),
        gzip.compress(voxels(300_000)) + gzip.compress(voxels(100_000, 1)),
        b"".join(gzip.compress(voxels(9_000, seed)) for seed in range(40)),
    ],
    ids=["stored", "fixed codes", "zeros", "two members", "many members"],
)
@pytest.mark.parametrize("threads", [2, 5])
def test_what_can_not_be_shared_is_read_all_the_same(data, threads):
    plain = gzip.decompress(data)
    assert read(data, len(plain), threads) == plain


def test_threads_are_gone_afterwards():
    import threading

    before = threading.active_count()
    plain = voxels(600_000)
    read(deflated(plain), len(plain), 4)
    read(deflated(plain)[:-40_000], len(plain), 4)
    assert threading.active_count() == before
