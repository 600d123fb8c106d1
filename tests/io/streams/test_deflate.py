"""What we write, as zlib reads it; with our own encoder and with ISA-L in its place."""

import os
import zlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.io.streams import deflate as module
from itkit.io.streams.deflate import Plain, deflate_piece, deflate_stream, joined
from itkit.kernels.dispatch import forced_backend

WBITS = {"gzip": 31, "zlib": 15}


def by_zlib(data, container):
    """Return what an independent decoder makes of a whole stream; its checksum is verified there."""
    stream = zlib.decompressobj(WBITS[container])
    plain = stream.decompress(data)
    assert stream.eof
    assert stream.unused_data == b""
    return plain


def wanted(codecs):
    return mock.patch.dict(os.environ, {"ITKIT_CODECS": codecs})


def chunk(array):
    data = np.ascontiguousarray(array)
    return lambda: Plain(data.reshape(-1).view(np.uint8).data, data.itemsize, data.shape[-1] * data.itemsize)


@st.composite
def slabs(draw):
    """Slabs of one volume: noise, classes or one value, of any type that a file may hold."""
    dtype = draw(st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "float32", "float64", "int64"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([1, 5, 100]))
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 60))
    return [
        rng.integers(0, values, (draw(st.integers(1, 4)), rows, columns)).astype(dtype)
        for _ in range(draw(st.integers(1, 5)))
    ]


@given(
    slabs(),
    st.sampled_from(["gzip", "zlib"]),
    st.sampled_from(["none", "fast", "small"]),
    st.sampled_from(["native", "isal"]),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_zlib_reads_every_stream(arrays, container, compression, codecs, threads):
    with wanted(codecs):
        pieces = deflate_stream([chunk(a) for a in arrays], container, compression=compression, threads=threads)
        data = b"".join(pieces)
    assert by_zlib(data, container) == b"".join(a.tobytes() for a in arrays)


@given(slabs(), st.sampled_from(["gzip", "zlib"]), st.sampled_from(["native", "isal"]))
@settings(deadline=None)
def test_pieces_join_in_any_number(arrays, container, codecs):
    with wanted(codecs):
        pieces = [deflate_piece(chunk(a), container) for a in arrays]
    for count in range(len(arrays) + 1):
        plain = b"".join(a.tobytes() for a in arrays[:count])
        assert by_zlib(b"".join(joined(pieces[:count], container)), container) == plain


def test_the_switch_turns_our_encoder_off(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("our encoder was called")

    array = np.random.default_rng(1).normal(0, 9, (4, 50, 60)).astype(np.int16)
    with wanted("isal"), forced_backend("native"):
        monkeypatch.setattr(module, "deflate", fail)
        by_isal = b"".join(deflate_stream([chunk(array)], "gzip"))
    monkeypatch.undo()
    with wanted("native"), forced_backend("numpy"):  # where the kernels are not compiled
        assert b"".join(deflate_stream([chunk(array)], "gzip")) == by_isal
    with wanted("native"), forced_backend("native"):
        assert b"".join(deflate_stream([chunk(array)], "gzip")) != by_isal


@pytest.mark.parametrize("codecs", ["native", "isal"])
def test_threads_do_not_change_the_bytes(codecs):
    chunks = [chunk(np.random.default_rng(k).integers(0, 9, (3, 30, 40)).astype(np.uint8)) for k in range(9)]
    with wanted(codecs):
        alone = b"".join(deflate_stream(chunks, "zlib"))
        assert b"".join(deflate_stream(chunks, "zlib", threads=3)) == alone
