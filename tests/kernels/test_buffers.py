"""Memory is used again only when nothing refers to it."""

import threading
import weakref

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from itkit.kernels.buffers import LEAST_BYTES, empty, reused_buffers

MIB = 1 << 20


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_an_array_is_gone():
    with reused_buffers():
        array = empty((3, MIB), np.uint8)
        first = address(array)
        del array
        assert address(empty((3, MIB // 2), np.int16)) == first


def test_outside_the_block_memory_is_the_systems():
    array = empty((2, LEAST_BYTES), np.uint8)
    assert array.base is None
    assert array.flags.c_contiguous


def test_blocks_may_end_in_any_order():
    first, second = reused_buffers(), reused_buffers()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    array = empty((2, MIB), np.uint8)
    assert array.base is not None  # the second block still runs
    second.__exit__(None, None, None)
    assert empty((2, MIB), np.uint8).base is None


def test_a_view_keeps_its_memory():
    with reused_buffers():
        array = empty((4, MIB // 4), np.uint8)
        array[:] = 7
        views = [array[1, 5:9].view(np.int8), memoryview(array[2]), array.T[3:4]]
        kept = [bytes(view) for view in views]
        del array
        for view, bytes_before in zip(views, kept, strict=True):
            empty((MIB,), np.uint8)[:] = 9
            assert bytes(view) == bytes_before


def test_small_arrays_do_not_lie_in_large_ones():
    with reused_buffers():
        empty((8 * MIB,), np.uint8)
        assert empty((MIB,), np.uint8).base.nbytes == MIB


def test_what_is_too_small_is_given_back():
    with reused_buffers():
        gone = weakref.ref(empty((MIB,), np.uint8).base)
        kept = empty((MIB,), np.uint8)
        assert kept.base is gone()
        del kept
        empty((8 * MIB,), np.uint8)
        assert gone() is None


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(MIB, 2 * MIB)), max_size=30))
def test_live_arrays_never_share_memory(steps):
    held = {}
    with reused_buffers():
        for number, (slot, nbytes) in enumerate(steps):
            held.pop(slot, None)
            array = empty((nbytes,), np.uint8)
            array[[0, -1]] = number
            held[slot] = (number, array)
            for expected, other in held.values():
                assert other[0] == other[-1] == expected


def test_threads_get_memory_of_their_own():
    seen, barrier = [], threading.Barrier(4)

    def work():
        barrier.wait()
        for _ in range(50):
            array = empty((MIB,), np.uint8)
            array[:] = mine = threading.get_ident() % 251
            seen.append(bool((array == mine).all()))

    with reused_buffers():
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(seen)
    assert len(seen) == 200
