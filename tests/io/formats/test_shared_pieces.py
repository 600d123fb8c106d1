import errno

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_cases import assert_same_geometry, dtypes, geometries, to_image, voxels

import itkit
from itkit.core.axes import to_xyz
from itkit.core.boxes import patch_starts
from itkit.core.volume import Volume
from itkit.io.formats import shared_pieces
from itkit.io.formats.shared_pieces import column_cuts, write_boxes
from itkit.testing import phantoms


@given(geometries, dtypes, st.sampled_from(["none", "fast", "small"]), st.booleans(), st.data())
@settings(max_examples=60, deadline=None)
def test_boxes_equal_regions_that_simpleitk_cuts(tmp_path_factory, geometry, dtype, compression, shares, data):
    depth = data.draw(st.integers(1, geometry.size_zyx[0]))
    starts = patch_starts(geometry.size_zyx[0], depth, data.draw(st.integers(1, depth)))
    array = voxels(geometry.size_zyx, dtype)
    folder = tmp_path_factory.mktemp("boxes")
    boxes = [(start, folder / f"{start}.mha") for start in starts]
    cuts = tuple(sorted({*starts, *(start + depth for start in starts)})) if shares else ()
    write_boxes(Volume(array, geometry), boxes, depth, cuts, compression=compression)
    for start, path in boxes:
        read = sitk.ReadImage(str(path))
        size = to_xyz((depth, *geometry.size_zyx[1:]))
        reference = sitk.RegionOfInterest(to_image(array, geometry), size, (0, 0, start))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(reference))
        assert_same_geometry(itkit.read(path).geometry, geometry.crop((start, 0, 0), (depth, *geometry.size_zyx[1:])))
        np.testing.assert_allclose(read.GetOrigin(), reference.GetOrigin(), atol=1e-6)
        np.testing.assert_array_equal(itkit.read(path).array_zyx, sitk.GetArrayFromImage(reference))


def test_a_box_has_the_same_bytes_whichever_others_are_written(tmp_path):
    volume = phantoms.noise(phantoms.GRIDS["oblique"])
    cuts, paths = column_cuts((0, 2, 5), 4, 1 << 20), [tmp_path / f"{number}.mha" for number in range(4)]
    write_boxes(volume, zip((0, 2, 5), paths[:3], strict=True), 4, cuts)
    write_boxes(volume, [(2, paths[3])], 4, cuts)
    assert paths[3].read_bytes() == paths[1].read_bytes()


def test_shared_slices_are_compressed_once(tmp_path, monkeypatch):
    spans = []
    once = shared_pieces.deflate_piece
    monkeypatch.setattr(
        shared_pieces,
        "deflate_piece",
        lambda chunk, *a, **k: (spans.append(len(chunk().data)), once(chunk, *a, **k))[1],
    )
    volume = phantoms.noise(phantoms.GRIDS["plain"])
    starts = patch_starts(9, 4, 2)
    boxes = [(start, tmp_path / f"{start}.mha") for start in starts]
    write_boxes(volume, boxes, 4, column_cuts(starts, 4, 1 << 20))
    assert sum(spans) == volume.array_zyx.nbytes


def test_a_full_disk_is_an_os_error(tmp_path):
    volume = phantoms.noise(phantoms.GRIDS["plain"])
    path = tmp_path / "full.mha"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="space") as caught:
        write_boxes(volume, [(0, path)], 4, ())
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("codecs", ["itk", "isal"])
def test_patches_hold_the_same_with_and_without_the_fast_path(tmp_path, monkeypatch, codecs):
    phantoms.write_dataset(tmp_path / "in", 1)
    values = {"source": tmp_path / "in", "patch_size": (4, 5, 6), "patch_stride": (2, 3, 3)}
    fast = itkit.run("itk_patch", dest=tmp_path / "fast", **values)
    monkeypatch.setenv("ITKIT_CODECS", codecs)
    plain = itkit.run("itk_patch", dest=tmp_path / "plain", **values)
    monkeypatch.delenv("ITKIT_CODECS")
    assert fast.records[0].facts == plain.records[0].facts
    names = sorted(path.relative_to(tmp_path / "fast") for path in (tmp_path / "fast").rglob("*.mha"))
    assert names == sorted(path.relative_to(tmp_path / "plain") for path in (tmp_path / "plain").rglob("*.mha"))
    for name in names:
        ours, theirs = itkit.read(tmp_path / "fast" / name), itkit.read(tmp_path / "plain" / name)
        np.testing.assert_array_equal(ours.array_zyx, theirs.array_zyx)
        assert ours.geometry.same_grid(theirs.geometry)
