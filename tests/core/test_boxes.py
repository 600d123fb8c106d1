"""Boxes lie where they should: inside, everywhere equally often, around their centre."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from itkit.core.boxes import patch_grid, random_start, start_around, window

sizes = st.tuples(*[st.integers(1, 9)] * 3)


@given(sizes, st.data())
def test_boxes_of_a_volume_cover_each_voxel_and_stay_inside(whole, data):
    size = tuple(data.draw(st.integers(1, n)) for n in whole)
    stride = tuple(data.draw(st.integers(1, n)) for n in size)
    seen = np.zeros(whole, int)
    for _, start in patch_grid(whole, size, stride):
        seen[window(start, size)] += 1
        assert seen[window(start, size)].shape == size
    assert seen.min() >= 1


def test_every_place_is_equally_likely():
    rng = np.random.default_rng(0)
    found = Counter(random_start(rng, (3, 4, 2), (2, 3, 5)) for _ in range(4000))
    assert set(found) == {(z, y, 0) for z in (0, 1) for y in (0, 1)}
    assert all(900 < count < 1100 for count in found.values())


@given(sizes, sizes, st.data())
def test_a_box_holds_its_centre_and_stays_inside(whole, size, data):
    centre = tuple(data.draw(st.integers(0, n - 1)) for n in whole)
    start = start_around(centre, whole, size)
    for c, first, n, most in zip(centre, start, size, whole, strict=True):
        assert first <= c < first + n
        assert first == 0 if n >= most else 0 <= first <= most - n
        if n < most and n // 2 <= c <= most - n + n // 2:
            assert c - first == n // 2
