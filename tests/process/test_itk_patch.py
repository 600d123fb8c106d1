"""Patches keep their physical place, and the rules decide which are kept."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import itkit
from itkit.core.boxes import patch_starts
from itkit.core.errors import ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.dataset.folder import DatasetFolder
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.itk_patch import crop_patches
from itkit.testing import phantoms


def write_pair(root, case, image, label):
    write_volume(image, root / "image" / f"{case}.nii.gz")
    if label is not None:
        write_volume(label, root / "label" / f"{case}.nii.gz")


def run(root, out, **values):
    values = {"patch_size": (4, 6, 5), "patch_stride": (3, 4, 4), **values}
    return itkit.run("itk_patch", source=root, dest=out, **values)


def test_starts_end_at_the_volume():
    assert patch_starts(11, 4, 3) == (0, 3, 6, 7)
    assert patch_starts(4, 4, 1) == (0,)


@given(st.integers(1, 200), st.data())
def test_spread_starts_are_even_and_as_many(length, data):
    patch = data.draw(st.integers(1, length))
    stride = data.draw(st.integers(1, 40))
    starts = patch_starts(length, patch, stride, spread=True)
    steps = np.diff(starts)
    assert len(starts) == len(patch_starts(length, patch, stride))
    assert (starts[0], starts[-1]) == (0, length - patch)
    assert all(1 <= step <= stride for step in steps)
    assert not len(steps) or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_every_voxel_keeps_its_physical_point(name):
    volume = phantoms.ramp(phantoms.GRIDS[name])
    count = 0
    for start, patch in crop_patches(volume, (4, 6, 5), (3, 4, 4)):
        expected = phantoms.ramp_at(phantoms.points_xyz(patch.geometry))
        np.testing.assert_allclose(patch.array_zyx, expected, atol=1e-9)
        assert patch.geometry.point_xyz((0, 0, 0)) == pytest.approx(volume.geometry.point_xyz(start))
        count += 1
    assert count == 3 * 3 * 3


def test_files_name_their_start_and_map_back(tmp_path):
    grid = phantoms.GRIDS["oblique"]
    image, label = phantoms.noise(grid), phantoms.l_shape(grid)
    write_pair(tmp_path / "raw", "a.1", image, label)
    assert run(tmp_path / "raw", tmp_path / "out").exit_code == 0
    meta = json.loads((tmp_path / "out" / "crop_meta.json").read_text())
    entries = meta["patch_meta"]["a.1"]["patches"]
    assert meta["patch_meta"]["a.1"]["shape"] == [9, 14, 11]
    assert meta["patch_meta"]["a.1"]["num_patches"] == len(entries) == 27
    assert meta["anno_available"] == ["a.1"]
    for entry in entries:
        z, y, x = entry["start"]
        assert entry["file"] == f"a.1_z{z}_y{y}_x{x}_image.mha"
        patch = read_volume(tmp_path / "out" / "a.1" / entry["file"])
        np.testing.assert_array_equal(patch.array_zyx, image.array_zyx[z : z + 4, y : y + 6, x : x + 5])
        part = read_volume(tmp_path / "out" / "a.1" / entry["file"].replace("_image", "_label"), "label")
        assert entry["classes"] == np.unique(part.array_zyx).tolist()
        assert entry["foreground_ratio"] == pytest.approx((part.array_zyx > 0).mean())


def test_foreground_ratio_and_empty_probability(tmp_path):
    grid = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    array = np.zeros((8, 8, 8), np.uint8)
    array[:4, :4, :4] = 1  # one full octant
    array[4, 4, 4] = 2  # one voxel in another
    write_pair(tmp_path / "raw", "a", phantoms.noise(grid), Volume(array, grid, "label"))
    values = {"patch_size": 4, "patch_stride": 4, "layout": "dataset"}

    def kept(out, **more):
        run(tmp_path / "raw", tmp_path / out, **values, **more)
        return sorted(path.name for path in (tmp_path / out / "image").glob("*.mha"))

    assert len(kept("all")) == 8
    assert kept("none_empty", keep_empty_label_prob=0) == ["a_z0_y0_x0.mha", "a_z4_y4_x4.mha"]
    assert kept("half_full", minimum_foreground_ratio=0.5) == ["a_z0_y0_x0.mha"]
    some = kept("some", keep_empty_label_prob=0.5, seed=3)
    assert 2 < len(some) < 8
    assert kept("some_again", keep_empty_label_prob=0.5, seed=3, workers=2) == some
    assert any(kept(f"other{seed}", keep_empty_label_prob=0.5, seed=seed) != some for seed in (4, 5, 6))


def test_small_volumes_are_skipped_by_name_or_padded(tmp_path):
    grid = Geometry((3, 8, 8), (1.0, 1.0, 1.0), (5.0, 6.0, 7.0))
    image = Volume(np.arange(192, dtype=np.int16).reshape(3, 8, 8) - 50, grid)
    write_pair(tmp_path / "raw", "thin", image, phantoms.l_shape(grid))
    result = run(tmp_path / "raw", tmp_path / "out", patch_size=4, patch_stride=4)
    assert [(r.case_id, r.status) for r in result.records] == [("thin", "skipped")]
    assert "smaller than the patch" in result.records[0].message
    assert "thin" in result.summary.text()
    result = run(tmp_path / "raw", tmp_path / "padded", patch_size=4, patch_stride=4, pad=True)
    patch = read_volume(tmp_path / "padded" / "thin" / "thin_z0_y0_x0_image.mha")
    assert (patch.array_zyx[3] == -50).all()
    assert patch.geometry.origin_xyz == (5.0, 6.0, 7.0)


def test_images_without_label(tmp_path):
    grid = phantoms.GRIDS["plain"]
    write_pair(tmp_path / "raw", "with", phantoms.noise(grid), phantoms.l_shape(grid))
    write_pair(tmp_path / "raw", "without", phantoms.noise(grid), None)
    assert run(tmp_path / "raw", tmp_path / "a").summary.unpaired == ("without",)
    result = run(tmp_path / "raw", tmp_path / "b", still_save_when_no_label=True, minimum_foreground_ratio=0.9)
    assert result.summary.unpaired == ()
    meta = json.loads((tmp_path / "b" / "crop_meta.json").read_text())
    assert meta["patch_meta"]["without"]["num_patches"] == 27
    assert meta["anno_available"] == ["with"]
    assert not list((tmp_path / "b" / "without").glob("*_label.mha"))


def test_patches_of_an_earlier_run_are_removed_and_nothing_else(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    run(tmp_path / "raw", tmp_path / "out")
    folder = tmp_path / "out" / "case_00"
    (folder / "notes.txt").write_text("mine")
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), folder / "mine_z0_y0_x0_image.mha")
    before = {path.name for path in folder.glob("case_00*")}
    run(tmp_path / "raw", tmp_path / "out", patch_size=(5, 6, 5))
    after = {path.name for path in folder.iterdir()}
    assert {"notes.txt", "mine_z0_y0_x0_image.mha"} <= after
    sizes = {read_volume(path).geometry.size_zyx for path in folder.glob("case_00*_image.mha")}
    assert sizes == {(5, 6, 5)}
    assert before - after


def test_a_foreign_file_in_the_way_is_left_alone(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    mine = tmp_path / "out" / "case_00" / "case_00_z0_y0_x0_image.mha"
    write_volume(phantoms.noise(phantoms.GRIDS["plain"]), mine)
    content = mine.read_bytes()
    result = run(tmp_path / "raw", tmp_path / "out")
    assert [record.status for record in result.records] == ["left"]
    assert mine.read_bytes() == content
    assert len(list(mine.parent.iterdir())) == 1
    assert run(tmp_path / "raw", tmp_path / "out", existing="redo").summary.counts["done"] == 1


def starts(dest, case="case_00"):
    meta = json.loads((dest / "crop_meta.json").read_text())
    return [tuple(patch["start"]) for patch in meta["patch_meta"][case]["patches"]]


def test_spread_patches_lie_evenly_and_hold_their_voxels(tmp_path):
    grid = phantoms.GRIDS["oblique"]  # 9 x 14 x 11 voxels
    image = phantoms.noise(grid)
    write_pair(tmp_path / "raw", "case_00", image, phantoms.l_shape(grid))
    run(tmp_path / "raw", tmp_path / "out", spread=True)
    assert sorted({start[0] for start in starts(tmp_path / "out")}) == [0, 3, 5]
    assert sorted({start[2] for start in starts(tmp_path / "out")}) == [0, 3, 6]
    for z, y, x in starts(tmp_path / "out"):
        patch = read_volume(tmp_path / "out" / "case_00" / f"case_00_z{z}_y{y}_x{x}_image.mha")
        np.testing.assert_array_equal(patch.array_zyx, image.array_zyx[z : z + 4, y : y + 6, x : x + 5])
        assert patch.geometry.origin_xyz == pytest.approx(grid.point_xyz((z, y, x)))


@pytest.mark.parametrize("layout", ["case", "dataset"])
def test_random_patches_are_those_that_training_draws(tmp_path, layout):
    phantoms.write_dataset(tmp_path / "raw", 3)
    values = {"patch_size": (4, 6, 5), "per_case": 7, "foreground": 0.6, "seed": 5, "epoch": 2}
    for out, workers in (("out", 1), ("two", 2)):
        result = itkit.run(
            "itk_patch", source=tmp_path / "raw", dest=tmp_path / out, workers=workers, layout=layout, **values
        )
        assert result.exit_code == 0
    drawn = DatasetFolder(tmp_path / "raw").patches((4, 6, 5), per_case=7, foreground=0.6, seed=5).at_epoch(2)
    for case in ("case_00", "case_01", "case_02"):
        samples = [sample for sample in drawn if sample.case_id == case]
        assert starts(tmp_path / "out", case) == starts(tmp_path / "two", case) == [s.start_zyx for s in samples]
        meta = json.loads((tmp_path / "out" / "crop_meta.json").read_text())
        assert meta["patch_meta"][case]["num_patches"] == 7
        for sample, entry in zip(samples, meta["patch_meta"][case]["patches"], strict=True):
            if layout == "case":
                image = tmp_path / "out" / case / entry["file"]
                label = image.with_name(image.name.replace("_image", "_label"))
            else:
                image, label = (tmp_path / "out" / kind / entry["file"] for kind in ("image", "label"))
            np.testing.assert_array_equal(read_volume(image).array_zyx, sample.image[0])
            np.testing.assert_array_equal(read_volume(label, "label").array_zyx, sample.label)
            assert read_volume(image).geometry.same_grid(sample.geometry)
            assert entry["classes"] == np.unique(sample.label).tolist()
            assert entry["foreground_ratio"] == pytest.approx((sample.label != 0).mean())


def test_random_patches_of_other_parameters_replace_the_earlier_ones(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    found = []
    for more in (
        {},
        {"epoch": 1},
        {"seed": 1},
        {"per_case": 3},
        {"foreground": 1.0},
        {"patch_stride": 4, "per_case": None},
    ):
        values = {"patch_size": 4, "per_case": 5, **more}
        result = itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", **values)
        assert result.summary.counts["done"] == 1
        files = sorted(path.name for path in (tmp_path / "out" / "case_00").glob("*_image.mha"))
        assert files == sorted(f"case_00_z{z}_y{y}_x{x}_image.mha" for z, y, x in starts(tmp_path / "out"))
        found.append(tuple(files))
    assert len(set(found)) == 6
    again = itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, patch_stride=4)
    assert again.summary.counts["skipped"] == 1


def test_patches_at_one_place_have_names_of_their_own(tmp_path):
    grid = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    array = np.zeros((8, 8, 8), np.uint8)
    array[4, 5, 3] = 9
    write_pair(tmp_path / "raw", "case_00", phantoms.noise(grid), Volume(array, grid, "label"))
    values = {"patch_size": 4, "per_case": 3, "foreground": 1.0}
    result = itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", **values)
    assert starts(tmp_path / "out") == [(2, 3, 1)] * 3
    names = sorted(path.name for path in (tmp_path / "out" / "case_00").glob("*_image.mha"))
    assert names == [f"case_00_z2_y3_x1{again}_image.mha" for again in ("_2", "_3", "")]
    assert result.records[0].warnings == ("2 of 3 patches repeat a place that was drawn before",)


def test_a_stride_that_is_not_used_is_named(tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    values = (tmp_path / "raw", "--patch-size", 4, "--per-case", 4)
    plain = command("itk_patch", *values, tmp_path / "a")
    said = command("itk_patch", *values, tmp_path / "b", "--patch-stride", 2)
    assert (plain[0], said[0]) == (0, 0)
    assert "--patch-stride is not used" in said[2]
    assert "--patch-stride" not in plain[2]
    assert starts(tmp_path / "a") == starts(tmp_path / "b")


def test_a_label_without_foreground_gives_patches_from_anywhere_and_says_so(tmp_path):
    grid = Geometry((8, 8, 8), (1.0, 1.0, 1.0))
    write_pair(tmp_path / "raw", "a", phantoms.noise(grid), Volume(np.zeros((8, 8, 8), np.uint8), grid, "label"))
    result = itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, per_case=2)
    assert result.records[0].warnings == ("label is empty: no patch is centred on foreground",)
    assert len(starts(tmp_path / "out", "a")) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing --patch-stride"),
        ({"per_case": 0}, "--per-case"),
        ({"per_case": 2, "keep_empty_label_prob": 0.5}, "--keep-empty-label-prob"),
        ({"per_case": 2, "store": "zarr"}, "--store"),
        ({"per_case": 2, "spread": True}, "--spread"),
        ({"patch_stride": 4, "foreground": 1.0}, "--foreground"),
        ({"patch_stride": 4, "epoch": 1}, "--epoch"),
        ({"per_case": 2, "foreground": 1.5}, "--foreground"),
    ],
)
def test_grid_and_draws_exclude_one_another(tmp_path, values, message):
    phantoms.write_dataset(tmp_path / "raw", 1)
    with pytest.raises(ParamsError, match=message):
        itkit.run("itk_patch", source=tmp_path / "raw", dest=tmp_path / "out", patch_size=4, **values)
    assert not (tmp_path / "out").exists()
