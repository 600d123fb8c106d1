import pickle
import zipfile
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import itkit
from itkit.core.errors import ReadError, WriteError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.formats.store import STORE_SUFFIX, PatchStore, opens_whole, write_store
from itkit.io.sitk_toolkit import read_volume
from itkit.testing import phantoms

GRID = Geometry((70, 41, 53), (2.5, 0.8, 0.7), (-31.5, 12.25, 100.0), phantoms.GRIDS["oblique"].direction_xyz)
SUFFIXES = sorted(suffix for kind, suffix in STORE_SUFFIX.items() if find_spec(kind))  # Python 3.10 has no zarr 3.1


def pair(grid=GRID):
    return {"image": phantoms.ramp(grid, np.float32), "label": phantoms.l_shape(grid)}


@pytest.fixture(scope="module", params=SUFFIXES)
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / f"case_00{request.param}"
    write_store(path, pair())
    return path


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_box_keeps_values_and_physical_points(path, data):
    size = [data.draw(st.integers(1, most)) for most in GRID.size_zyx]
    start = [data.draw(st.integers(0, most - n)) for most, n in zip(GRID.size_zyx, size, strict=True)]
    box = PatchStore(path).read(start, size)
    assert box["image"].array_zyx.shape == tuple(size)
    np.testing.assert_allclose(
        box["image"].array_zyx, phantoms.ramp(box["image"].geometry).array_zyx, rtol=1e-5, atol=1e-3
    )
    window = tuple(slice(first, first + n) for first, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(box["label"].array_zyx, phantoms.l_shape(GRID).array_zyx[window])
    assert box["label"].kind == "label"
    assert box["label"].geometry == box["image"].geometry


def test_random_boxes_lie_inside_and_reach_every_corner(path):
    store, rng = PatchStore(path), np.random.default_rng(0)
    corners = {store.random(rng, (69, 40, 52))["image"].geometry.origin_xyz for _ in range(120)}
    assert corners == {GRID.point_xyz((z, y, x)) for z in (0, 1) for y in (0, 1) for x in (0, 1)}


def test_a_random_box_larger_than_the_volume_is_padded_with_the_whole_volumes_minimum(path):
    store, rng = PatchStore(path), np.random.default_rng(0)
    for _ in range(3):
        box = store.random(rng, (72, 4, 53))
        inside = box["image"].geometry
        image, label = box["image"].array_zyx, box["label"].array_zyx
        assert image.shape == label.shape == inside.size_zyx == (72, 4, 53)
        np.testing.assert_allclose(image[:70], phantoms.ramp(inside).array_zyx[:70], rtol=1e-5, atol=1e-3)
        assert (image[70:] == pair()["image"].array_zyx.min()).all()
        assert not label[70:].any()


def test_a_store_survives_pickling(path):
    store = PatchStore(path)
    whole = store.read((0, 0, 0), GRID.size_zyx)
    again = pickle.loads(pickle.dumps(store))
    assert again.geometry == store.geometry == GRID
    np.testing.assert_array_equal(again.read((0, 0, 0), GRID.size_zyx)["image"].array_zyx, whole["image"].array_zyx)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compression", ["none", "fast", "small"])
def test_the_same_voxels_give_the_same_bytes(tmp_path, suffix, compression):
    if suffix == STORE_SUFFIX["blosc2"] and tuple(map(int, version("blosc2").split(".")[:2])) < (4, 4):
        pytest.skip("blosc2 before 4.4 leaves chance bytes behind the voxels")
    volumes, found = pair(), []
    for number in range(2):
        file = tmp_path / f"{number}{suffix}"
        write_store(file, volumes, compression=compression)
        found.append(file.read_bytes())
        assert zipfile.ZipFile(file).testzip() is None
        assert sorted(item.name for item in tmp_path.iterdir()) == [f"{n}{suffix}" for n in range(number + 1)]
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_every_voxel_type_comes_back(tmp_path, suffix, dtype):
    volume = Volume(np.arange(60).reshape(3, 4, 5).astype(dtype), Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    write_store(tmp_path / f"a{suffix}", {"image": volume})
    again = PatchStore(tmp_path / f"a{suffix}").read((0, 0, 0), (3, 4, 5))["image"]
    assert again.dtype == volume.dtype
    np.testing.assert_array_equal(again.array_zyx, volume.array_zyx)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_missing_and_foreign_files_are_named(tmp_path, suffix):
    missing, torn, foreign = (tmp_path / f"{name}{suffix}" for name in ("missing", "torn", "foreign"))
    write_store(torn, pair())
    torn.write_bytes(torn.read_bytes()[:1000])
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("a.txt", "a")
    for file in (missing, torn, foreign):
        with pytest.raises(ReadError, match=file.name):
            PatchStore(file).read((0, 0, 0), (1, 1, 1))
        assert not opens_whole(file)


def test_volumes_of_two_grids_and_boxes_outside_are_refused(tmp_path, path):
    volumes = {"image": phantoms.ramp(GRID), "label": phantoms.l_shape(phantoms.GRIDS["plain"])}
    with pytest.raises(WriteError, match="one grid"):
        write_store(tmp_path / "a.b2z", volumes)
    for start in ((-1, 0, 0), (0, 0, 50)):
        with pytest.raises(ReadError, match=r"axis [ZX]"):
            PatchStore(path).read(start, (4, 4, 4))


@pytest.mark.parametrize("kind", sorted(filter(find_spec, STORE_SUFFIX)))
def test_patch_writes_one_store_a_case_and_lists_its_patches(tmp_path, kind):
    phantoms.write_dataset(tmp_path / "in", 2)
    values = {"source": tmp_path / "in", "dest": tmp_path / "out", "patch_size": (4, 5, 6), "store": kind}
    result = itkit.run("itk_patch", **values, patch_stride=(2, 3, 3))
    assert result.exit_code == 0
    meta = (tmp_path / "out" / "crop_meta.json").read_text()
    for case in ("case_00", "case_01"):
        file = tmp_path / "out" / f"{case}{STORE_SUFFIX[kind]}"
        assert f'"file": "{file.name}"' in meta
        image = read_volume(tmp_path / "in" / "image" / f"{case}.nii.gz")
        store = PatchStore(file)
        assert store.geometry.same_grid(image.geometry)
        whole = store.read((0, 0, 0), image.geometry.size_zyx)["image"].array_zyx
        np.testing.assert_array_equal(whole, image.array_zyx)
    again = itkit.run("itk_patch", **values, patch_stride=(2, 3, 3))
    assert {record.status for record in again.records} == {"skipped"}
    file.write_bytes(file.read_bytes()[:200])
    assert [r.status for r in itkit.run("itk_patch", **values, patch_stride=(2, 3, 3)).records] == ["skipped", "done"]
    write_store(file, pair())
    assert [r.status for r in itkit.run("itk_patch", **values, patch_stride=(2, 3, 3)).records] == ["skipped", "left"]
