"""Volumes and grids say what they are, turn into others' images exactly, and refuse what is none."""

import base64
import io
import re

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

import itkit
from itkit.core.errors import ArgumentError, GeometryError, ItkitError, MissingExtraError
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid
from itkit.core.volume import Volume
from itkit.process.geometry import orient
from itkit.testing import phantoms

GRID = Geometry((4, 5, 6), (2.5, 0.7, 0.7))
NAMES = sorted(phantoms.GRIDS)


def test_what_a_volume_and_a_grid_are_stands_on_one_line():
    volume = Volume(np.zeros((20, 512, 256), np.int16), Geometry((20, 512, 256), (2.5, 0.75, 0.7)))
    assert repr(orient(volume, "RAS")) == (
        "Volume(image, 20 x 512 x 256 voxels ZYX, 2.5 x 0.75 x 0.7 mm ZYX, RAS, int16, 5.2 MB)"
    )
    several = Volume(np.zeros((4, 5, 6, 3), np.uint8), GRID)
    assert "4 x 5 x 6 x 3 voxels ZYXC" in repr(several)
    assert (several.shape, several.shape_zyx, several.spacing_zyx) == ((4, 5, 6, 3), (4, 5, 6), (2.5, 0.7, 0.7))
    assert repr(phantoms.GRIDS["plain"]) == (
        "Geometry(9 x 14 x 11 voxels ZYX, spacing 2.5 x 0.8 x 0.7 mm ZYX, origin (-31.5, 12.25, 100) mm XYZ, LPS)"
    )


def test_numpy_sees_the_voxels():
    volume = phantoms.noise(GRID)
    assert np.asarray(volume) is volume.array_zyx
    assert np.asarray(volume, dtype=np.int16) is volume.array_zyx
    copy = np.array(volume)
    assert not np.shares_memory(copy, volume.array_zyx)
    np.testing.assert_array_equal(copy, volume.array_zyx)
    assert np.asarray(volume, dtype=np.float32).dtype == np.float32
    assert float(np.mean(volume)) == float(volume.array_zyx.mean())
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.asarray(volume, copy=False) is volume.array_zyx
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(volume, dtype=np.float32, copy=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_simpleitk_gets_the_same_voxels_at_the_same_points_and_back(name, dtype):
    volume = phantoms.noise(phantoms.GRIDS[name], dtype=dtype)
    image = volume.to_sitk()
    x, y, z = 7, 3, 5
    assert image.GetPixel(x, y, z) == volume.array_zyx[z, y, x]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((x, y, z)), volume.geometry.point_xyz((z, y, x)))
    again = Volume.from_sitk(image, "label")
    assert again.kind == "label"
    assert again.geometry == volume.geometry
    np.testing.assert_array_equal(again.array_zyx, volume.array_zyx)


def test_simpleitk_gets_channels_bool_and_foreign_byte_order():
    several = Volume(np.arange(4 * 5 * 6 * 3, dtype=np.int16).reshape(4, 5, 6, 3), GRID)
    assert several.to_sitk().GetPixel(5, 4, 3) == tuple(several.array_zyx[3, 4, 5])
    np.testing.assert_array_equal(Volume.from_sitk(several.to_sitk()).array_zyx, several.array_zyx)
    mask = Volume(np.ones((4, 5, 6), bool), GRID)
    assert mask.to_sitk().GetPixelID() == sitk.sitkUInt8
    big = Volume(several.array_zyx[..., 0].astype(">i2"), GRID)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(big.to_sitk()), big.array_zyx)


@pytest.mark.parametrize("name", NAMES)
def test_nibabel_gets_what_it_loads_from_our_file(name, tmp_path):
    volume = phantoms.noise(phantoms.GRIDS[name])
    itkit.write(volume, tmp_path / "a.nii.gz")
    loaded, given = nibabel.load(tmp_path / "a.nii.gz"), volume.to_nibabel()
    np.testing.assert_array_equal(np.asanyarray(given.dataobj), np.asanyarray(loaded.dataobj))
    np.testing.assert_allclose(given.affine, loaded.affine, rtol=1e-6, atol=1e-5)  # a file holds float32
    for form in ("get_sform", "get_qform"):
        matrix, code = getattr(given, form)(coded=True)
        assert code == 1
        np.testing.assert_allclose(matrix, given.affine, atol=1e-4)
    assert given.header.get_xyzt_units() == loaded.header.get_xyzt_units()
    nibabel.save(given, tmp_path / "b.nii.gz")
    again = itkit.read(tmp_path / "b.nii.gz")
    assert again.geometry.same_grid(volume.geometry)
    np.testing.assert_array_equal(again.array_zyx, volume.array_zyx)


@pytest.mark.parametrize("name", NAMES)
def test_a_volume_comes_back_from_nibabel(name):
    volume = phantoms.l_shape(phantoms.GRIDS[name], dtype=np.int64)
    again = Volume.from_nibabel(volume.to_nibabel(), "label")
    np.testing.assert_array_equal(again.array_zyx, volume.array_zyx)
    assert again.geometry.same_grid(volume.geometry, tol_mm=1e-9)
    assert again.dtype == np.int64
    several = Volume(np.arange(4 * 5 * 6 * 3, dtype=np.uint8).reshape(4, 5, 6, 3), GRID)
    assert several.to_nibabel().shape == (6, 5, 4, 1, 3)
    np.testing.assert_array_equal(Volume.from_nibabel(several.to_nibabel()).array_zyx, several.array_zyx)


def test_without_nibabel_the_extra_is_named(monkeypatch):
    import builtins
    import sys

    monkeypatch.delitem(sys.modules, "nibabel")
    real = builtins.__import__

    def refusing(name, *rest, **named):
        if name.split(".")[0] == "nibabel":
            raise ImportError("no nibabel here")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refusing)
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(MissingExtraError, match=r"itkit\[nibabel\]"):
        phantoms.noise(GRID).to_nibabel()


def picture_of(volume):
    text = volume._repr_html_()
    assert repr(volume) in text.replace("&#x27;", "'")
    data = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", text)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAR", "PIL", "IRA"])
def test_the_picture_is_radiological_in_any_orientation(code):
    array = np.zeros((7, 40, 60), np.int16)
    array[3, :10, :20] = 100  # anterior, on the patient's right
    array[3, 30:, 50:] = 60  # posterior, on the patient's left
    array[:3], array[4:] = -50, 500  # other slices are not shown
    volume = orient(Volume(array, Geometry((7, 40, 60), (5.0, 1.0, 2.0))), code)
    picture = picture_of(volume)
    assert picture.shape == (40, 120, 3)  # square millimetres
    assert (picture[:10, :40] == 255).all()
    assert (picture[30:, 100:] == 153).all()
    assert (picture[10:30] == 0).all()


def test_pictures_of_labels_channels_and_odd_values():
    label = np.zeros((1, 4, 6), np.uint8)
    label[0, 0, 0], label[0, 3, 5] = 1, 2
    picture = picture_of(Volume(label, Geometry((1, 4, 6), (1.0, 1.0, 1.0)), "label"))
    assert picture[0, 0].any()
    assert picture[3, 5].any()
    assert (picture[0, 0] != picture[3, 5]).any()
    assert not picture[1, 1].any()
    values = np.full((2, 3, 4), np.nan)
    assert not picture_of(Volume(values, Geometry((2, 3, 4), (1.0, 1.0, 1.0)))).any()
    values[1] = [[1, 2, np.inf, 4]] * 3
    assert picture_of(Volume(values, Geometry((2, 3, 4), (1.0, 1.0, 1.0))))[0, 2].tolist() == [255] * 3
    assert picture_of(Volume(np.zeros((2, 900, 30, 2)), Geometry((2, 900, 30), (1.0, 1.0, 1.0)))).shape[0] == 256
    assert "<img" not in Volume(np.zeros((1, 1, 1), complex), Geometry((1, 1, 1), (1.0, 1.0, 1.0)))._repr_html_()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size_zyx": (4, 5)}, "size_zyx: expected three whole numbers"),
        ({"size_zyx": (4, 5, 6.5)}, "size_zyx: expected three whole numbers"),
        ({"size_zyx": "456"}, "size_zyx: expected three whole numbers"),
        ({"size_zyx": 4}, "size_zyx: expected three whole numbers"),
        ({"size_zyx": (4, 0, 6)}, "axis Y has 0 voxels"),
        ({"spacing_zyx": (1.0, 0.0, 1.0)}, "axis Y has 0 mm"),
        ({"spacing_zyx": (1.0, 1.0, -2)}, "axis X has -2 mm"),
        ({"spacing_zyx": (float("nan"), 1.0, 1.0)}, "spacing_zyx: expected three finite distances"),
        ({"spacing_zyx": (1.0, 1.0, float("inf"))}, "spacing_zyx"),
        ({"spacing_zyx": (1.0, 1.0)}, "spacing_zyx"),
        ({"spacing_zyx": ("a", 1.0, 1.0)}, "spacing_zyx"),
        ({"origin_xyz": (0.0, float("nan"), 0.0)}, "origin_xyz"),
        ({"origin_xyz": None}, "origin_xyz: expected three finite numbers.*got None"),
        ({"direction_xyz": (1.0, 0.0, 0.0)}, "direction_xyz: expected nine"),
        ({"direction_xyz": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)}, "singular"),
        ({"direction_xyz": (float("nan"), 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)}, "direction_xyz"),
    ],
)
def test_nonsense_is_no_grid(values, message):
    right = {"size_zyx": (4, 5, 6), "spacing_zyx": (1.0, 1.0, 1.0)}
    with pytest.raises(GeometryError, match=message):
        Geometry(**{**right, **values})


def test_numbers_of_any_kind_become_a_grid_of_pythons_own():
    grid = Geometry(np.array([4, 5, 6]), [np.float32(2.5), 1, 1], np.zeros(3), np.eye(3).ravel())
    assert grid == Geometry((4, 5, 6), (2.5, 1.0, 1.0))
    assert hash(grid) == hash(Geometry((4, 5, 6), (2.5, 1.0, 1.0)))
    assert [type(value) for value in (*grid.size_zyx, *grid.spacing_zyx)] == [int] * 3 + [float] * 3


IMAGE, LABEL = phantoms.noise(GRID), phantoms.l_shape(GRID)
WRONG = {
    "Volume array": (lambda: Volume([[[1]]], GRID), "Volume: array_zyx: expected a numpy array"),
    "Volume shape": (lambda: Volume(np.zeros((4, 5)), GRID), r"array of shape \(4, 5\) on a grid"),
    "Volume grid": (lambda: Volume(np.zeros((4, 5, 6)), (4, 5, 6)), "Volume: geometry"),
    "Volume kind": (lambda: Volume(np.zeros((4, 5, 6)), GRID, "labels"), "'labels'; did you mean 'label'"),
    "from_sitk": (lambda: Volume.from_sitk(np.zeros((4, 5, 6))), "expected a 3-D SimpleITK.Image; got ndarray"),
    "from_sitk 2-D": (lambda: Volume.from_sitk(sitk.Image(3, 3, sitk.sitkUInt8)), "got a 2-D image"),
    "from_nibabel": (lambda: Volume.from_nibabel("a.nii"), "expected a nibabel image"),
    "from_nibabel 4-D": (
        lambda: Volume.from_nibabel(nibabel.Nifti1Image(np.zeros((2, 3, 4, 5)), np.eye(4))),
        r"shape \(2, 3, 4, 5\)",
    ),
    "to_sitk type": (lambda: Volume(np.zeros((4, 5, 6), np.float16), GRID).to_sitk(), "float16"),
    "to_nibabel type": (lambda: Volume(np.zeros((4, 5, 6), np.float16), GRID).to_nibabel(), "float16"),
    "read path": (lambda: itkit.read(["a.nii"]), "read: path: expected a path"),
    "read kind": (lambda: itkit.read("a.nii", "images"), "read: kind.*did you mean 'image'"),
    "write volume": (lambda: itkit.write(IMAGE.array_zyx, "a.nii"), "write: volume: expected an itkit.Volume"),
    "write path": (lambda: itkit.write(IMAGE, None), "write: path: expected a path; got None"),
    "write compression": (lambda: itkit.write(IMAGE, "a.nii", compression="gzip"), "write: compression"),
    "resample volume": (lambda: itkit.resample(IMAGE.array_zyx, GRID), "resample: volume"),
    "resample grid": (lambda: itkit.resample(IMAGE, (1, 1, 1)), "resample: grid: expected an itkit.Geometry"),
    "resample how": (lambda: itkit.resample(IMAGE, GRID, interpolation="cubic"), "resample: interpolation"),
    "resample fill": (lambda: itkit.resample(IMAGE, GRID, fill="0"), "resample: fill"),
    "resample type": (
        lambda: itkit.resample(Volume(np.zeros((4, 5, 6), np.float16), GRID), Geometry((2, 5, 6), (5.0, 0.7, 0.7))),
        "voxel type float16",
    ),
    "resampled_grid": (lambda: itkit.resampled_grid(GRID, (1, 1)), "spacing_zyx"),
    "resampled_grid grid": (lambda: itkit.resampled_grid(IMAGE, (1, 1, 1)), "resampled_grid: grid"),
    "resampled_grid text": (lambda: itkit.resampled_grid(GRID, "111"), "spacing_zyx"),
    "orient volume": (lambda: itkit.orient(GRID, "LPS"), "orient: volume"),
    "orient code": (lambda: itkit.orient(IMAGE, "XYZ"), "LPS, RAS or LPI"),
    "orient letters": (lambda: itkit.orient(IMAGE, ("L", "P", "S")), "orient: code"),
    "crop_patches volume": (lambda: itkit.crop_patches(IMAGE.array_zyx, (1, 1, 1), (1, 1, 1)), "crop_patches: volume"),
    "crop_patches size": (lambda: itkit.crop_patches(IMAGE, (4, 5), (1, 1, 1)), "crop_patches: patch_zyx"),
    "crop_patches stride": (lambda: itkit.crop_patches(IMAGE, (4, 5, 6), (1, 0, 1)), "crop_patches: stride_zyx"),
    "crop_patches large": (lambda: itkit.crop_patches(IMAGE, (5, 5, 5), (1, 1, 1)), "longer than the axis"),
    "augment volume": (lambda: itkit.augment(IMAGE.array_zyx, None), "augment: volume"),
    "augment transform": (lambda: itkit.augment(IMAGE, {"matrix_xyz": []}), "augment: transform"),
    "remap_labels volume": (lambda: itkit.remap_labels(LABEL.array_zyx, {1: 2}), "remap_labels: volume"),
    "remap_labels kind": (lambda: itkit.remap_labels(IMAGE, {1: 2}), "expected a label map; got an image"),
    "remap_labels mapping": (lambda: itkit.remap_labels(LABEL, [(1, 2)]), "remap_labels: mapping"),
    "remap_labels values": (lambda: itkit.remap_labels(LABEL, {1: "2"}), "expected whole numbers; got str '2'"),
    "remap_labels range": (lambda: itkit.remap_labels(LABEL, {1: 2**70}), "no integer type"),
    "remap_labels floats": (
        lambda: itkit.remap_labels(Volume(np.full((4, 5, 6), 0.5), GRID, "label"), {1: 2}),
        "integers",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named_errors(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, message = WRONG[name]
    with pytest.raises(ItkitError, match=message):
        call()
    assert not list(tmp_path.iterdir())


def test_named_errors_of_arguments_are_value_errors_too():
    assert issubclass(ArgumentError, ValueError)
    assert oriented_grid(GRID, "LPS") == GRID
