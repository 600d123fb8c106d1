"""Pyramids: every reader sees every level, and the pixels are what was given."""

import numpy as np
import openslide
import pytest
import pyvips
import tifffile

from itkit.pathology.pyramid import level_sizes, write_pyramid

from .made_slides import gradient

SIZE = (1301, 1045)


def piece_of(array):
    return lambda left, top, width, height: array[top : top + height, left : left + width]


@pytest.fixture(scope="module")
def mask(tmp_path_factory):
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    array = ((x // 37 + 3 * (y // 53)) % 7).astype(np.uint8)
    path = tmp_path_factory.mktemp("pyramid") / "mask.ome.tif"
    assert write_pyramid(path, SIZE, piece_of(array), mpp_xy=(0.5, 0.25), kind="mask") == 3
    return path, array


def test_all_readers_see_all_levels(mask):
    path, array = mask
    sizes = [(1301, 1045), (651, 523), (326, 262)]
    assert level_sizes(SIZE) == sizes
    shapes = [size[::-1] for size in sizes]
    with tifffile.TiffFile(path) as file:
        assert [level.shape for level in file.series[0].levels] == shapes
        assert len(file.pages) == 3  # the chain, which plain readers follow
        assert len(file.pages[0].subifds) == 2  # which Bio-Formats follows
        assert file.is_ome
        for level, found in enumerate(file.series[0].levels):
            np.testing.assert_array_equal(found.asarray(), array[:: 2**level, :: 2**level])
    with openslide.OpenSlide(str(path)) as slide:
        assert list(slide.level_dimensions) == sizes
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.25)
        low = np.asarray(slide.read_region((0, 0), 2, sizes[2]))[..., 0]
        np.testing.assert_array_equal(low, array[::4, ::4])
    for number, size in enumerate(sizes):
        place = {} if number == 0 else {"subifd": number - 1}
        image = pyvips.Image.tiffload(str(path), **place)
        assert (image.width, image.height) == size


def test_an_image_is_close_to_what_was_given_and_coarser_levels_are_means(tmp_path):
    rgb = gradient(*SIZE)
    rgb[..., 2] = 90
    path = tmp_path / "image.ome.tif"
    write_pyramid(path, SIZE, piece_of(rgb), mpp_xy=(1, 1), kind="image", quality=95)
    with tifffile.TiffFile(path) as file:
        whole, half, _ = (level.asarray().astype(float) for level in file.series[0].levels)
    assert np.abs(whole - rgb).max() <= 4
    mean = (rgb[:-1:2, :-1:2].astype(float) + rgb[1::2, :-1:2] + rgb[:-1:2, 1::2] + rgb[1::2, 1::2]) / 4
    assert np.abs(half[: mean.shape[0], : mean.shape[1]] - mean).max() <= 5
    with openslide.OpenSlide(str(path)) as slide:
        assert slide.level_count == 3


def test_nothing_is_left_beside_it(mask):
    path, _ = mask
    assert [file.name for file in path.parent.iterdir()] == ["mask.ome.tif"]


def test_a_pyramid_of_one_pixel(tmp_path):
    path = tmp_path / "one.ome.tif"
    pixel = np.full((1, 1), 9, np.uint8)
    assert write_pyramid(path, (1, 1), piece_of(pixel), mpp_xy=(1, 1), kind="mask") == 1
    assert tifffile.imread(path).tolist() == [[9]]
