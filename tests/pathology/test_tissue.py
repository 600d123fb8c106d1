"""Tissue masks: stained regions, without pens, borders and specks."""

import numpy as np
import pytest

from itkit.pathology import open_slide
from itkit.pathology.tissue import find_tissue, tissue_mask

from .made_slides import real_slide

PINK, WHITE = (205, 130, 185), 242


@pytest.fixture
def glass():
    rng = np.random.default_rng(3)
    picture = np.full((200, 300, 3), WHITE, np.uint8) + rng.integers(-4, 5, (200, 300, 3)).astype(np.int8).view(
        np.uint8
    )
    picture[50:150, 60:220] = PINK
    return picture


def test_tissue_is_found_to_the_pixel(glass):
    mask, threshold = tissue_mask(glass, 8.0)
    expected = np.zeros((200, 300), bool)
    expected[50:150, 60:220] = True
    np.testing.assert_array_equal(mask, expected)
    assert 0.05 < threshold < 0.4


def test_holes_are_filled_and_specks_left_out(glass):
    glass[80:90, 100:120] = WHITE
    glass[10:13, 10:13] = PINK
    mask, _ = tissue_mask(glass, 8.0)
    assert mask[85, 110]
    assert not mask[10:13, 10:13].any()
    assert mask.sum() == 100 * 160


@pytest.mark.parametrize("ink", [(20, 140, 60), (30, 60, 190), (15, 15, 20)], ids=["green", "blue", "black"])
def test_pens_and_black_borders_are_no_tissue(glass, ink):
    glass[20:30, 20:280] = ink
    glass[:, :8] = ink
    mask, _ = tissue_mask(glass, 8.0)
    assert mask.sum() == 100 * 160


def test_an_empty_slide_has_no_tissue():
    rng = np.random.default_rng(3)
    mask, _ = tissue_mask(rng.integers(236, 244, (100, 120, 3)).astype(np.uint8), 8.0)
    assert not mask.any()


def test_the_real_slide_and_its_macro_image():
    with open_slide(real_slide()) as slide:
        tissue = find_tissue(slide)
        macro, _ = tissue_mask(slide.read_associated("macro"), 50.0)
    assert 0.3 < tissue.mask.mean() < 0.4
    assert not tissue.mask[:30, :30].any()  # glass
    assert tissue.mask[150:, 45:70].mean() > 0.9
    assert macro[130:170, 640:655].all()  # one of four pieces
    assert not macro[65:320, 402].any()  # the scanner's green frame


def test_the_share_of_a_tile_counts_what_lies_outside_as_none():
    with open_slide(real_slide()) as slide:
        tissue = find_tissue(slide)
    high, wide = (length * 8.0 for length in tissue.mask.shape)
    assert tissue.share(0, 0, wide, high) == pytest.approx(tissue.mask.mean(), abs=1e-6)
    assert tissue.share(0, 0, 2 * wide, high) == pytest.approx(tissue.mask.mean() / 2, abs=1e-6)
    assert tissue.share(5 * wide, 0, 100, 100) == 0
