"""Outlines of masks: filled again by the even-odd rule, they give the mask, whatever it looks like."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from itkit.io.dicom.outline import outlines
from itkit.io.dicom.polygons import fill_even_odd


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_any_mask_comes_back(share):
    rng = np.random.default_rng(3)
    for _ in range(60):
        mask = rng.random(rng.integers(1, 12, 2)) < share
        filled = fill_even_odd(outlines(mask), mask.shape)
        np.testing.assert_array_equal(filled, mask)


def test_another_rasteriser_fills_the_same_pixels():
    """Pillow fills pixels whose centres lie inside, at eight times the size without any doubt about borders."""
    rng = np.random.default_rng(5)
    mask = np.kron(rng.random((6, 7)) < 0.5, np.ones((2, 2), bool))
    shown = np.zeros(mask.shape, bool)
    for polygon in outlines(mask):
        picture = Image.new("1", (mask.shape[1] * 8, mask.shape[0] * 8))
        corners = [((x + 0.5) * 8 - 0.5, (y + 0.5) * 8 - 0.5) for y, x in polygon]
        ImageDraw.Draw(picture).polygon(corners, fill=1)
        shown |= np.asarray(picture)[4::8, 4::8]
    np.testing.assert_array_equal(shown, mask)


def test_parts_that_touch_at_a_corner_stay_apart():
    assert len(outlines(np.eye(3, dtype=bool))) == 3
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    (polygon,) = outlines(ring)
    assert len(polygon) == 4 + 4 + 4
