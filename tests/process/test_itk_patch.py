"""Patches keep their physical place, and the rules decide which are kept."""

import json

import numpy as np
import pytest

import itkit
from itkit.core.boxes import patch_starts
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
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
