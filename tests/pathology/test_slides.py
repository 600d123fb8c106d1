"""Slides: pixels, levels and resolutions, compared with tifffile and OpenSlide."""

import struct

import numpy as np
import openslide
import pytest
import tifffile

from itkit.core.errors import ArgumentError, ReadError
from itkit.pathology import open_slide, write_pyramid
from itkit.pathology.chain import page_links
from itkit.pathology.checking import problems
from itkit.pathology.planning import SlideFacts
from itkit.pathology.scaling import overview, read_scaled, scale_for, size_at
from itkit.pathology.slides import not_square

from .made_slides import gradient, real_slide, write_tiff


def test_the_real_slide_is_read_as_tifffile_reads_it():
    whole = tifffile.imread(real_slide())
    with open_slide(real_slide()) as slide:
        assert slide.size_xy == (2220, 2967)
        assert slide.mpp == pytest.approx(0.499)
        assert set(slide.associated) == {"thumbnail", "label", "macro"}
        np.testing.assert_array_equal(slide.read_region(level_px=(100, 333), size=(700, 200)), whole[333:533, 100:800])
        by_um = slide.read_region(xy_um=(49.9, 99.8), size=(20, 10))
    np.testing.assert_array_equal(by_um, whole[200:210, 100:120])


def test_outside_is_white():
    with open_slide(real_slide()) as slide:
        corner = slide.read_region(level_px=(-5, 2960), size=(10, 20))
    assert (corner[:, :5] == 255).all()
    assert (corner[7:] == 255).all()
    np.testing.assert_array_equal(corner[:7, 5:], tifffile.imread(real_slide())[2960:, :5])


def test_openslide_reads_what_libvips_does_not(monkeypatch):
    monkeypatch.setattr("itkit.pathology.slides.BY_VIPS", ())
    with open_slide(real_slide()) as slide:
        assert type(slide).__name__ == "_OpenSlideSlide"
        assert slide.mpp == pytest.approx(0.499)
        found = slide.read_region(level_px=(100, 333), size=(70, 20))
    np.testing.assert_array_equal(found, tifffile.imread(real_slide())[333:353, 100:170])


@pytest.mark.parametrize("ome", [False, True])
def test_levels_in_subifds_are_found(tmp_path, ome):
    rgb = gradient(700, 500)
    path = tmp_path / ("slide.ome.tif" if ome else "slide.tif")
    metadata = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.0005, "PhysicalSizeYUnit": "mm"}
    if ome:
        with tifffile.TiffWriter(path, ome=True) as out:
            out.write(rgb, subifds=1, tile=(128, 128), photometric="rgb", metadata={"axes": "YXS", **metadata})
            out.write(rgb[::2, ::2], subfiletype=1, tile=(128, 128), photometric="rgb")
    else:
        write_tiff(path, rgb, levels=2)
    with open_slide(path) as slide:
        assert [level.size_xy for level in slide.levels] == [(700, 500), (350, 250)]
        assert slide.mpp_xy == ((0.25, 0.5) if ome else (0.5, 0.5))
        np.testing.assert_array_equal(
            slide.read_region(level_px=(30, 10), size=(50, 40), level=1), rgb[20:100:2, 60:160:2]
        )


def test_a_slide_without_resolution_is_an_error_that_says_how_to_give_it(tmp_path):
    path = write_tiff(tmp_path / "bare.tif", gradient(300, 200), mpp=None)
    with pytest.raises(ReadError, match=r"bare\.tif: .*micrometres.*--slide-mpp 0\.5.*--mpp-table"):
        open_slide(path)
    with open_slide(path, mpp=0.25) as slide:
        assert slide.level_mpp(0) == 0.25
    screen = write_tiff(tmp_path / "screen.tif", gradient(300, 200), mpp=1e4 / (72 / 2.54))
    with pytest.raises(ReadError, match="micrometres"):
        open_slide(screen)


@pytest.mark.parametrize("mpp", [0, -1, float("nan")])
def test_an_impossible_resolution_is_refused(tmp_path, mpp):
    with pytest.raises(ArgumentError, match="above 0"):
        open_slide(write_tiff(tmp_path / "a.tif", gradient(30, 20)), mpp=mpp)


def test_what_is_no_slide_is_named(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"II*\0" + bytes(300))
    (tmp_path / "b.tif").write_text("no image")
    for name in ("a.svs", "b.tif", "c.tif"):
        with pytest.raises(ReadError, match=name):
            open_slide(tmp_path / name)


def test_a_cut_slide_fails_where_it_is_cut(tmp_path):
    whole = write_tiff(tmp_path / "whole.tif", np.random.default_rng(1).integers(0, 255, (512, 512, 3), np.uint8))
    with tifffile.TiffFile(whole) as file:
        start, length = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    data = bytearray(whole.read_bytes())
    data[start : start + length] = bytes(length)
    whole.write_bytes(data)
    with open_slide(whole) as slide:
        slide.read_region(level_px=(0, 0), size=(100, 100))
        with pytest.raises(ReadError, match=r"whole\.tif: level 0, 100 x 100 pixels at 128, 128"):
            slide.read_region(level_px=(128, 128), size=(100, 100))


def test_damaged_jpeg_fails_where_it_is_and_is_never_filled(tmp_path):
    """Decoders fill what is damaged and go on; the picture would be another one, and nobody told."""
    picture = np.random.default_rng(1).integers(0, 255, (512, 512, 3), np.uint8)
    whole = write_tiff(tmp_path / "whole.tif", picture, compression="jpeg")
    with tifffile.TiffFile(whole) as file:
        start, length = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    data = bytearray(whole.read_bytes())
    data[start + length // 2 : start + length] = b"\xff\xd9" * (length // 4)
    whole.write_bytes(data)
    with open_slide(whole) as slide:
        for _ in range(2):  # what is damaged is not read from a cache the second time
            slide.read_region(level_px=(0, 0), size=(100, 100))
            with pytest.raises(ReadError, match=r"whole\.tif: level 0, 100 x 100 pixels at 128, 128: .*Corrupt JPEG"):
                slide.read_region(level_px=(128, 128), size=(100, 100))


def test_pixels_that_are_not_square_are_refused_unless_the_user_knows_better(tmp_path):
    write_pyramid(
        tmp_path / "flat.ome.tif", (40, 30), lambda x, y, w, h: np.zeros((h, w, 3), np.uint8), mpp_xy=(0.5, 0.25),
        kind="image",
    )  # fmt: skip
    facts = SlideFacts(tmp_path / "flat.ome.tif", None)
    with pytest.raises(ReadError, match=r"flat\.ome\.tif: its pixels are 0\.5 x 0\.25 µm.*--mpp-table"):
        facts.open()
    with SlideFacts(facts.path, 0.5).open() as slide:
        assert slide.mpp == 0.5
    with facts.open(needs_mpp=False) as slide:
        assert list(problems(slide)) == [not_square((0.5, 0.25))]


def test_a_slide_of_one_pixel(tmp_path):
    path = write_tiff(tmp_path / "one.tif", np.full((1, 1, 3), 7, np.uint8), tile=(16, 16))
    with open_slide(path) as slide:
        assert slide.read_region(level_px=(0, 0), size=(1, 1)).tolist() == [[[7, 7, 7]]]
        picture, _ = overview(slide, 8.0)
    assert picture.shape == (1, 1, 3)


def test_the_nearest_level_that_is_fine_enough_is_read(tmp_path):
    with open_slide(write_tiff(tmp_path / "a.tif", gradient(2000, 1000), levels=3)) as slide:
        assert [scale_for(slide, mpp).level for mpp in (0.25, 0.5, 0.504, 0.9, 1.0, 1.7, 5)] == [0, 0, 0, 0, 1, 1, 2]
        assert scale_for(slide, 0.504).factor == 1
        assert scale_for(slide, 1.7).factor == pytest.approx(1.7)
        assert size_at(slide, scale_for(slide, 2.5)) == (400, 200)


def test_resampled_pixels_lie_where_the_gradient_says(tmp_path):
    y, x = np.mgrid[:600, :800]
    rgb = np.stack([x / 4, y / 4, 0 * x], -1).round().astype(np.uint8)
    with open_slide(write_tiff(tmp_path / "a.tif", rgb)) as slide:
        scale = scale_for(slide, 1.3)
        found = read_scaled(slide, scale, (50, 20), (60, 40)).astype(float)
    column, row = np.arange(50, 110) + 0.5, np.arange(20, 60) + 0.5
    np.testing.assert_allclose(found[..., 0], np.broadcast_to((column * 2.6 - 0.5) / 4, (40, 60)), atol=1)
    np.testing.assert_allclose(found[..., 1], np.broadcast_to(((row * 2.6 - 0.5) / 4)[:, None], (40, 60)), atol=1)


def test_an_overview_is_the_mean_of_what_it_shows():
    with open_slide(real_slide()) as slide:
        picture, mpp = overview(slide, 16.0)
    assert picture.shape == (93, 70, 3)
    assert mpp == 16.0
    with openslide.OpenSlide(str(real_slide())) as other:
        thumbnail = np.asarray(other.get_thumbnail((70, 93)).convert("RGB"), float)
    assert np.abs(picture - thumbnail).mean() < 8


def link_at_the_end_of(path):
    """Return where the only image of a classic TIFF file holds the offset of the next one, and its own offset."""
    data = path.read_bytes()
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    return first + 2 + 12 * entries, first


def test_images_in_a_circle_are_damage_and_do_not_hang(tmp_path):
    path = write_tiff(tmp_path / "loop.tif", gradient(300, 200))
    at, first = link_at_the_end_of(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, at, first)
    path.write_bytes(data)
    with pytest.raises(ReadError, match="in a circle"):
        open_slide(path)


def test_a_link_beyond_the_end_ends_the_chain(tmp_path):
    path = write_tiff(tmp_path / "far.tif", gradient(300, 200))
    at, first = link_at_the_end_of(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, at, 0x7FFFFFFF)
    path.write_bytes(data)
    assert page_links(path) == {first: 4}


def test_several_channels_are_refused_not_read_as_grey(tmp_path):
    planes = np.moveaxis(gradient(300, 200), 2, 0)
    path = tmp_path / "planes.ome.tif"
    tifffile.imwrite(path, planes, photometric="minisblack", tile=(128, 128), metadata={"axes": "CYX"})
    with pytest.raises(ReadError, match=r"several planes \(C 3\)"):
        open_slide(path, mpp=0.5)


def test_cmyk_is_not_taken_for_transparency(tmp_path):
    path = tmp_path / "cmyk.tif"
    ink = np.zeros((200, 300, 4), np.uint8)
    ink[..., 0] = 255  # cyan
    tifffile.imwrite(path, ink, photometric="separated", tile=(128, 128))
    with open_slide(path, mpp=0.5) as slide:
        red, green, blue = slide.read_region(level_px=(5, 5), size=(1, 1))[0, 0]
    assert red < 60
    assert min(green, blue) > 200
