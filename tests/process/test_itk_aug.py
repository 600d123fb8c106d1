"""Augmentation: the drawn transform replays the result with SimpleITK, in the physical frame."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import ParamsError
from itkit.io.sitk_toolkit import read_volume, to_sitk, write_volume
from itkit.process.itk_aug import Augmentation, augment, euler_matrix
from itkit.testing import phantoms


def replay(volume, entry, *, nearest, fill):
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(entry["matrix_xyz"])
    transform.SetCenter(entry["center_xyz"])
    transform.SetTranslation(entry["shift_xyz"])
    image = to_sitk(volume if nearest else volume.with_array(volume.array_zyx.astype(np.float64)))
    method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    return sitk.GetArrayFromImage(sitk.Resample(image, image, transform, method, fill))


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_meta_replays_every_copy(tmp_path, name):
    grid = phantoms.GRIDS[name]
    image, label = phantoms.noise(grid), phantoms.l_shape(grid)
    write_volume(image, tmp_path / "i" / "a.nii.gz")
    write_volume(label, tmp_path / "l" / "a.nrrd")
    image, label = read_volume(tmp_path / "i" / "a.nii.gz"), read_volume(tmp_path / "l" / "a.nrrd", "label")
    itkit.run(
        "itk_aug",
        source=tmp_path / "i",
        label_source=tmp_path / "l",
        dest=tmp_path / "oi",
        label_dest=tmp_path / "ol",
        number=3,
        random_rot=(20.5, 7, 0),
        random_scale=(0.1, 0.2, 0.0),
        random_shift=(3, 0, 2),
        random_flip=(0, 0.5, 0),
    )
    meta = json.loads((tmp_path / "oi" / "aug_meta.json").read_text())
    assert list(meta) == ["a_0.mha", "a_1.mha", "a_2.mha"]
    for file, entry in meta.items():
        assert entry["source"] == "a"
        assert abs(entry["angles_deg"][0]) <= 20.5
        assert entry["angles_deg"][2] == 0
        reference = replay(image, entry, nearest=False, fill=float(image.array_zyx.min()))
        new = read_volume(tmp_path / "oi" / file)
        assert new.dtype == np.int16
        assert new.geometry.same_grid(image.geometry, tol_mm=1e-5)
        assert np.abs(new.array_zyx - reference).max() <= 0.5 + 1e-5
        np.testing.assert_array_equal(
            read_volume(tmp_path / "ol" / file, "label").array_zyx, replay(label, entry, nearest=True, fill=0)
        )
    assert meta["a_0.mha"]["angles_deg"] != meta["a_1.mha"]["angles_deg"]


def test_rotation_is_about_the_physical_axis_whatever_the_direction():
    for grid in phantoms.GRIDS.values():
        center = grid.point_xyz(tuple((n - 1) / 2 for n in grid.size_zyx))
        transform = Augmentation((30.0, 0.0, 0.0), tuple(euler_matrix((30.0, 0, 0)).ravel()), center)
        turned = augment(phantoms.ramp(grid), transform, fill=np.nan)
        points = phantoms.points_xyz(grid) - center
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        source = points @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + center
        index = np.array([grid.index_zyx(tuple(p)) for p in source.reshape(-1, 3)]).reshape(source.shape)
        inside = ((index > 0) & (index < np.array(grid.size_zyx) - 1)).all(axis=-1)
        assert inside.sum() > 50
        np.testing.assert_allclose(turned.array_zyx[inside], phantoms.ramp_at(source)[inside], atol=1e-8)


def test_euler_matrix_is_simpleitks():
    z, y, x = 31.0, -12.0, 7.5
    reference = sitk.Euler3DTransform((0, 0, 0), *np.radians([x, y, z]))
    np.testing.assert_allclose(euler_matrix((z, y, x)).ravel(), reference.GetMatrix(), atol=1e-12)


def test_same_files_with_one_and_two_workers_and_with_more_copies(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)

    def run(out, **values):
        itkit.run(
            "itk_aug",
            source=tmp_path / "raw" / "image",
            label_source=tmp_path / "raw" / "label",
            dest=tmp_path / out,
            random_rot=(15, 15, 15),
            seed=5,
            **values,
        )
        return {path.name: path.read_bytes() for path in (tmp_path / out).glob("*.mha")}

    one, two, more = run("a", number=2), run("b", number=2, workers=2), run("c", number=3)
    assert one == two
    assert {name: more[name] for name in one} == one


def test_only_one_output_and_originals_beside_it(tmp_path):
    grid = phantoms.GRIDS["plain"]
    write_volume(phantoms.noise(grid), tmp_path / "i" / "a.mha")
    write_volume(phantoms.l_shape(grid), tmp_path / "l" / "a.mha")
    write_volume(phantoms.noise(grid), tmp_path / "o" / "a.mha")
    values = {"source": tmp_path / "i", "label_source": tmp_path / "l", "random_rot": (5, 5, 5)}
    result = itkit.run("itk_aug", label_dest=tmp_path / "o", **values)
    assert result.summary.counts["done"] == 1
    assert {p.name for p in (tmp_path / "o").glob("*.mha")} == {"a.mha", "a_0.mha"}
    with pytest.raises(ParamsError, match="give -oimg, -olbl or both"):
        itkit.run("itk_aug", **values)


def test_folders_that_are_exchanged_are_seen(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    folders = {"source": tmp_path / "raw/label", "label_source": tmp_path / "raw/image"}
    outputs = {"dest": tmp_path / "a", "label_dest": tmp_path / "b"}
    said = itkit.run("itk_aug", **folders, **outputs, number=2, random_rot=(3, 3, 3)).records[0].warnings
    assert sum("the label looks like an image" in text for text in said) == 1
    assert sum("the image looks like a label map" in text for text in said) == 1
    right = {"source": tmp_path / "raw/image", "label_source": tmp_path / "raw/label"}
    outputs = {"dest": tmp_path / "c", "label_dest": tmp_path / "d"}
    said = itkit.run("itk_aug", **right, **outputs, number=2, random_rot=(3, 3, 3)).records[0].warnings
    assert not any("looks like" in text for text in said)
