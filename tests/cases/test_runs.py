"""What whole runs must keep: one grid a pair, the same bytes however they are made, the source as it is."""

import gzip
import json
import os
import stat
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
from helpers import tree
from scipy import ndimage

import itkit
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, to_sitk, write_volume
from itkit.testing import phantoms

GRID = phantoms.GRIDS["oblique"]


def statuses(result):
    return {record.case_id: record.status for record in result.records}


# --- pairs ----------------------------------------------------------------------------------------


def write_pair(root, case, image_grid, label_grid):
    write_volume(phantoms.noise(image_grid), root / "image" / f"{case}.mha")
    write_volume(phantoms.l_shape(label_grid), root / "label" / f"{case}.mha")


def test_noise_in_headers_is_no_other_grid_and_a_shift_is(tmp_path):
    raw, size = tmp_path / "raw", (20, 24, 22)
    plain = Geometry(size, (2.5, 0.8, 0.7))
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(2e-8), -np.sin(2e-8)], [np.sin(2e-8), np.cos(2e-8)]]
    tilt = np.eye(3)
    tilt[1:, 1:] = [[np.cos(1e-3), -np.sin(1e-3)], [np.sin(1e-3), np.cos(1e-3)]]
    write_pair(raw, "noise", plain, Geometry(size, plain.spacing_zyx, direction_xyz=tuple(turn.ravel())))
    write_pair(raw, "half", Geometry(size, (2.5, 0.8, 0.75)), Geometry(size, (2.5, 0.8, 0.75 * (1 - 2e-8))))
    write_pair(raw, "origin", plain, Geometry(size, plain.spacing_zyx, (0.0, 239.0, 0.0)))
    write_pair(raw, "tilt", plain, Geometry(size, plain.spacing_zyx, direction_xyz=tuple(tilt.ravel())))
    result = itkit.run("itk_resample", mode="dataset", source=raw, dest=tmp_path / "out", spacing=(2, 1, 1))
    assert statuses(result) == {"noise": "done", "half": "done", "origin": "failed", "tilt": "failed"}
    messages = {record.case_id: record.message for record in result.records}
    assert "differ in origin" in messages["origin"]
    assert "mm apart" in messages["tilt"]
    for case in ("noise", "half"):
        grids = [read_volume(tmp_path / "out" / name / f"{case}.mha").geometry for name in ("image", "label")]
        assert grids[0] == grids[1]


# --- the same bytes -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sparse") / "raw", np.random.default_rng(13)
    for number in range(4):
        grid = Geometry((10, 12, 12), (1.0, 1.0, 1.0))
        write_volume(phantoms.noise(grid, number), root / "image" / f"c{number}.mha")
        label = (rng.random(grid.size_zyx) < 0.002).astype(np.uint8)
        write_volume(Volume(label, grid, "label"), root / "label" / f"c{number}.mha")
    return root


PATCHES = {"patch_size": 6, "patch_stride": 4, "keep_empty_label_prob": 0.3}
DRAWN = {"patch_size": 6, "per_case": 4, "foreground": 0.5}
COPIES = {"number": 2, "random_rot": (15, 15, 15), "random_flip": (0.5, 0.5, 0.5), "random_shift": (3, 3, 3)}


def volumes(folder):
    return {name: data for name, data in tree(folder).items() if name.endswith(".mha")}


@pytest.mark.parametrize("name", ["patches", "drawn", "copies"])
def test_draws_know_neither_workers_nor_shards_nor_other_cases(sparse, tmp_path, name):
    def run(out, root=sparse, **options):
        values = {"patches": PATCHES, "drawn": DRAWN, "copies": COPIES}[name]
        if name == "copies":
            places = {"source": root / "image", "label_source": root / "label"}
            places |= {"dest": tmp_path / out / "image", "label_dest": tmp_path / out / "label"}
            result = itkit.run("itk_aug", **places, **values, seed=5, **options)
        else:
            result = itkit.run("itk_patch", source=root, dest=tmp_path / out, **values, seed=5, **options)
        assert result.exit_code == 0
        return volumes(tmp_path / out)

    one = run("one")
    assert len(set(one.values())) > len(one) / 3
    assert run("two", workers=2) == one
    for number in (1, 2):
        shards = run("shards", shard=f"{number}/2")
    assert shards == one
    more = tmp_path / "more"
    for folder, kind in product(("image", "label"), range(4)):
        (more / folder).mkdir(parents=True, exist_ok=True)
        (more / folder / f"c{kind}.mha").write_bytes((sparse / folder / f"c{kind}.mha").read_bytes())
    for folder in ("image", "label"):
        (more / folder / "b_new.mha").write_bytes((sparse / folder / "c0.mha").read_bytes())
    assert {path: data for path, data in run("more_out", more).items() if "b_new" not in path} == one


# --- patches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [{"patch_stride": (3, 4, 5)}, {"patch_stride": (2, 9, 5)}, {"spread": True, "patch_stride": 4}]
)
@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_patches_put_back_are_the_source(tmp_path, name, values):
    grid, size = phantoms.GRIDS[name], (4, 5, 4)
    image, label = phantoms.noise(grid), phantoms.l_shape(grid)
    write_volume(image, tmp_path / "raw/image/a.mha")
    write_volume(label, tmp_path / "raw/label/a.mha")
    itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=size, **values)
    back, count = np.full(grid.size_zyx, -1, np.int64), np.zeros(grid.size_zyx, int)
    entries = json.loads((tmp_path / "out/crop_meta.json").read_text())["patch_meta"]["a"]["patches"]
    for entry in entries:
        patch = read_volume(tmp_path / "out/a" / entry["file"])
        start = tuple(round(at) for at in grid.index_zyx(patch.geometry.origin_xyz))
        assert list(start) == entry["start"]
        box = tuple(slice(first, first + n) for first, n in zip(start, size, strict=True))
        back[box], count[box] = patch.array_zyx, count[box] + 1
        part = label.array_zyx[box]
        assert entry["foreground_ratio"] == (part != 0).mean()
        assert entry["classes"] == np.unique(part).tolist()
    np.testing.assert_array_equal(back[count > 0], image.array_zyx[count > 0])
    stride = np.broadcast_to(values["patch_stride"], 3)
    assert len({tuple(entry["start"]) for entry in entries}) == len(entries)
    if (stride <= size).all():
        assert (count > 0).all()
    else:
        assert set(np.nonzero((count == 0).all(axis=(0, 2)))[0]) <= set(range(5, 9))


# --- permissions and links ------------------------------------------------------------------------


@pytest.fixture
def annex(tmp_path):
    """A source that nobody may write: links to files of other names, units of two files, broken ones."""
    root, store = tmp_path / "raw", tmp_path / ".git/annex/objects"
    for case in ("plain", "unit two", "linked", "broken", "half"):
        suffix = ".mhd" if case in ("unit two", "half") else ".mha"
        write_volume(phantoms.noise(GRID), root / "image" / f"{case}{suffix}")
        write_volume(phantoms.l_shape(GRID), root / "label" / f"{case}.mha")
    store.mkdir(parents=True)
    for kind in ("image", "label"):
        (root / kind / "linked.mha").rename(store / f"SHA256E-{kind}")
        (root / kind / "linked.mha").symlink_to(os.path.relpath(store / f"SHA256E-{kind}", root / kind))
    (root / "label/broken.mha").unlink()
    (root / "label/broken.mha").symlink_to("nowhere.mha")
    next((root / "image").glob("half.*raw")).unlink()
    for path in (*root.rglob("*"), *store.iterdir()):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o400)
    return root


def test_a_source_is_only_read_and_outputs_get_the_usual_rights(annex, tmp_path):
    before = tree(annex)
    old = os.umask(0o027)
    try:
        result = itkit.run("itk_resample", mode="dataset", source=annex, dest=tmp_path / "out", spacing=(2, 1, 1))
    finally:
        os.umask(old)
    done = {"plain": "done", "unit two": "done", "linked": "done"}
    assert statuses(result) == {**done, "broken": "failed", "half": "failed"}
    messages = {record.case_id: record.message for record in result.records}
    assert "broken.mha: can't be opened" in messages["broken"]
    assert "half" in messages["half"]
    assert "put it beside the header" in messages["half"]
    assert tree(annex) == before
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").rglob("*.mha")}
    assert modes == {0o640}
    assert stat.S_IMODE((tmp_path / "out/image").stat().st_mode) == 0o750


@pytest.mark.parametrize("action", ["symlink", "copy"])
def test_copies_and_links_of_units_open_from_elsewhere(annex, tmp_path, action, command, monkeypatch):
    code, _, _ = command("itk_check", action, annex, "-o", tmp_path / "far/away", "--min-size", 1, 1, 1)
    assert code == 0
    monkeypatch.chdir("/")
    for case in ("plain.mha", "unit two.mhd", "linked.mha"):
        np.testing.assert_array_equal(
            read_volume(tmp_path / "far/away/image" / case).array_zyx, read_volume(annex / "image" / case).array_zyx
        )


# --- values ---------------------------------------------------------------------------------------

STEPS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "uint32": (0, 2**32 - 1),
}


@pytest.mark.parametrize("dtype", STEPS)
def test_splines_are_clamped_and_agree_with_simpleitk(tmp_path, dtype):
    low, high = STEPS[dtype]
    array = np.full((14, 16, 18), low, dtype)
    array[5:10, 5:10, 5:10] = high
    array[2:4, 2, 2] = high // 2
    write_volume(Volume(array, Geometry(array.shape, (2.5, 0.9, 0.8), (3.0, -7.0, 100.0))), tmp_path / "raw/a.mha")
    values = {"mode": "image", "source": tmp_path / "raw", "spacing": (1.9, 1.1, 0.5), "interpolation": "bspline"}
    itkit.run("itk_resample", dest=tmp_path / "out", **values)
    found = read_volume(tmp_path / "out/a.mha")
    source = sitk.ReadImage(str(tmp_path / "raw/a.mha"))
    resample = sitk.ResampleImageFilter()
    resample.SetReferenceImage(to_sitk(found))
    resample.SetInterpolator(sitk.sitkBSpline)
    resample.SetUseNearestNeighborExtrapolator(True)
    expected = sitk.GetArrayFromImage(resample.Execute(source)).astype(float)
    assert np.abs(found.array_zyx.astype(float) - expected).max() <= 1


def test_a_nan_spoils_its_neighbours_only_and_is_named(tmp_path):
    array = np.random.default_rng(21).normal(0, 1, (14, 16, 18)).astype(np.float32)
    array[7, 8, 9] = np.nan
    write_volume(Volume(array, Geometry(array.shape, (2.0, 1.0, 1.0))), tmp_path / "raw/a.mha")
    for interpolation in ("linear", "bspline"):
        values = {"mode": "image", "spacing": (1, 0.5, 0.5), "interpolation": interpolation}
        result = itkit.run("itk_resample", source=tmp_path / "raw", dest=tmp_path / interpolation, **values)
        assert any("nan voxel" in text for text in result.records[0].warnings)
        found = read_volume(tmp_path / interpolation / "a.mha").array_zyx
        z, y, x = np.nonzero(np.isnan(found))
        assert 0 < len(z) <= 4**3
        assert max(np.ptp(z), np.ptp(y), np.ptp(x)) <= 4


@pytest.mark.parametrize(
    "options",
    [
        {"random_rot": (20, 15, 10)},
        {"random_scale": (0.2, 0.1, 0.3)},
        {"random_shift": (9, 6, 3)},
        {"random_flip": (1, 0, 0)},
        {"elastic": (6, 6, 6), "elastic_spacing": 30},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_augmented_label_stays_with_its_image(tmp_path, options):
    z, y, x = np.mgrid[:26, :40, :40]
    inside = ((z - 11) * 1.7) ** 2 / 180 + ((y - 17) * 0.9) ** 2 / 80 + ((x - 22) * 1.1) ** 2 / 50 < 1
    sampling = (1.7, 0.9, 1.1)
    depth = ndimage.distance_transform_edt(inside, sampling) - ndimage.distance_transform_edt(~inside, sampling)
    turned = Geometry(inside.shape, sampling, (-50.0, 20.0, 7.0), phantoms.GRIDS["oblique"].direction_xyz)
    write_volume(Volume((500 + 125 * np.clip(depth, -4, 4)).astype(np.float32), turned), tmp_path / "raw/image/c.mha")
    write_volume(Volume(inside.astype(np.uint8), turned, "label"), tmp_path / "raw/label/c.mha")
    places = {"source": tmp_path / "raw/image", "label_source": tmp_path / "raw/label"}
    places |= {"dest": tmp_path / "out/image", "label_dest": tmp_path / "out/label"}
    assert itkit.run("itk_aug", **places, number=2, fill=0, **options).exit_code == 0
    for copy in (0, 1):
        image = read_volume(tmp_path / f"out/image/c_{copy}.mha").array_zyx
        label = read_volume(tmp_path / f"out/label/c_{copy}.mha", "label").array_zyx > 0
        assert 0.6 < label.sum() / inside.sum() < 1.5
        assert not (ndimage.binary_erosion(label) & (image < 500)).any()
        assert not (~ndimage.binary_dilation(label) & (image > 500)).any()


@pytest.mark.parametrize(("fill", "lowest"), [(-1024, 0), (0.5, 0), (1_000_000, None)])
def test_a_fill_that_the_type_can_not_hold_is_named(tmp_path, fill, lowest):
    rng = np.random.default_rng(2)
    grid = Geometry((12, 14, 16), (1.0, 1.0, 1.0))
    write_volume(Volume(rng.integers(100, 4000, grid.size_zyx).astype(np.uint16), grid), tmp_path / "raw/image/a.mha")
    write_volume(
        Volume(rng.choice([3, 300], grid.size_zyx).astype(np.int16), grid, "label"), tmp_path / "raw/label/a.mha"
    )
    places = {"source": tmp_path / "raw/image", "label_source": tmp_path / "raw/label"}
    places |= {"dest": tmp_path / "out/image", "label_dest": tmp_path / "out/label"}
    result = itkit.run("itk_aug", **places, random_rot=(30, 30, 30), fill=fill)
    assert any("--fill" in text and "is no value of uint16" in text for text in result.records[0].warnings)
    image = read_volume(tmp_path / "out/image/a_0.mha").array_zyx
    assert (image.min() == 0) if lowest == 0 else (image.max() == 65535)
    assert np.unique(read_volume(tmp_path / "out/label/a_0.mha", "label").array_zyx).tolist() == [0, 3, 300]


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("ITKIT_LARGE"), reason="set ITKIT_LARGE: it takes minutes and 7 GB")
def test_more_voxels_than_31_bits_count(tmp_path, command):
    n = 1300
    head = Volume(np.zeros((1, 1, 1), np.uint8), Geometry((1, 1, 1), (0.5, 0.5, 0.5)), "label")
    write_volume(head, tmp_path / "one.nii")
    header = bytearray((tmp_path / "one.nii").read_bytes()[:352])
    header[42:48] = np.array([n, n, n], "<i2").tobytes()
    marks = {(0, 0, 0): 7, (n - 1, n - 1, n - 1): 9, (1271, 5, 6): 4}
    (tmp_path / "raw").mkdir()
    with gzip.open(tmp_path / "raw/big.nii.gz", "wb", compresslevel=1) as file:
        file.write(header)
        for z in range(n):
            plane = np.zeros((n, n), np.uint8)
            for (at, y, x), value in marks.items():
                plane[y, x] = value if at == z else plane[y, x]
            file.write(plane.tobytes())
    code, _, stderr = command("itk_extract", tmp_path / "raw", tmp_path / "out", "7:1", "9:300", "4:-3")
    assert code == 0, stderr
    found = read_volume(tmp_path / "out/big.mha", "label").array_zyx
    assert [int(found[place]) for place in marks] == [1, 300, -3]
    assert np.count_nonzero(found) == 3
