"""Resampling against SimpleITK on the same grid, and against what is known in closed form."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

import itkit
from itkit.core.axes import to_xyz
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid, resampled_grid
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, to_sitk, write_volume
from itkit.process.itk_resample import resample
from itkit.testing import phantoms


def sitk_reference(volume, grid, *, nearest, fill=0.0):
    image = to_sitk(volume if nearest else volume.with_array(volume.array_zyx.astype(np.float64)))
    return sitk.GetArrayFromImage(
        sitk.Resample(
            image,
            to_xyz(grid.size_zyx),
            sitk.Transform(),
            sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
            grid.origin_xyz,
            to_xyz(grid.spacing_zyx),
            grid.direction_xyz,
            fill,
        )
    )


@pytest.mark.parametrize("name", phantoms.GRIDS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 1.9), (-1, 2.0, -1)])
def test_image_and_label_equal_simpleitk(name, spacing):
    source = phantoms.GRIDS[name]
    grid = resampled_grid(source, spacing)
    image, label = phantoms.noise(source), phantoms.l_shape(source)
    reference = sitk_reference(image, grid, nearest=False)
    new = resample(image, grid).array_zyx
    assert new.dtype == np.int16
    assert np.abs(new - reference).max() <= 0.5 + 1e-6  # the nearest integer; either one of an exact half
    np.testing.assert_array_equal(resample(label, grid).array_zyx, sitk_reference(label, grid, nearest=True))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    old=st.tuples(*[st.floats(0.3, 5)] * 3),
    new=st.tuples(*[st.floats(0.3, 5)] * 3),
    dtype=st.sampled_from(["int16", "uint16", "float32", "uint8"]),
)
def test_any_grid_equals_simpleitk(size, old, new, dtype):
    source = Geometry(size, old, (1.5, -3.25, 7.0), phantoms.GRIDS["oblique"].direction_xyz)
    grid = resampled_grid(source, new)
    image = phantoms.noise(source, dtype=dtype)
    got = resample(image, grid).array_zyx
    reference = sitk_reference(image, grid, nearest=False)
    assert got.dtype == image.dtype
    tolerance = 0.5 + 1e-6 if image.dtype.kind in "iu" else 2e-4 * 2000
    assert np.abs(got.astype(np.float64) - reference).max() <= tolerance


@pytest.mark.parametrize(
    ("length", "old", "new", "expected"),
    [(64, 0.6, 0.2, 192), (5, 0.7, 1.4, 3), (3, 1.0, 100.0, 1), (10, 1.0, 3.0, 3), (1, 5.0, 1.0, 5)],
)
def test_size_is_extent_over_spacing_rounded_half_up(length, old, new, expected):
    grid = resampled_grid(Geometry((length, 4, 4), (old, 1.0, 1.0)), (new, -1, -1))
    assert grid.size_zyx == (expected, 4, 4)
    assert grid.spacing_zyx[0] == new


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_both_grids_have_one_centre(name):
    old = phantoms.GRIDS[name]
    new = resampled_grid(old, (1.0, 1.3, 2.0))
    centres = [grid.point_xyz(tuple((n - 1) / 2 for n in grid.size_zyx)) for grid in (old, new)]
    np.testing.assert_allclose(*centres, atol=1e-9)


def test_size_gives_exact_spacing():
    grid = resampled_grid(Geometry((10, 7, 3), (1.0, 2.0, 3.0)), size_zyx=(4, -1, 9))
    assert grid.size_zyx == (4, 7, 9)
    assert grid.spacing_zyx == (10 / 4, 2.0, 1.0)


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_ramp_keeps_its_physical_values(name):
    image = phantoms.ramp(phantoms.GRIDS[name])
    grid = resampled_grid(image.geometry, (1.7, 0.55, 1.1))
    new = resample(image, grid)
    inner = tuple(slice(2, -2) for _ in range(3))  # beyond the outermost centres the edge value stands
    expected = phantoms.ramp_at(phantoms.points_xyz(grid))
    np.testing.assert_allclose(new.array_zyx[inner], expected[inner], atol=1e-8)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_constant_stays_constant_to_the_edge(dtype):
    volume = Volume(np.full((5, 6, 7), 77, dtype=dtype), Geometry((5, 6, 7), (2.0, 1.0, 1.0)))
    new = resample(volume, resampled_grid(volume.geometry, (0.7, 0.7, 3.0)))
    assert new.dtype == np.dtype(dtype)
    assert set(np.unique(new.array_zyx)) == {77}


@pytest.mark.parametrize("value", [300, 100_000])
def test_large_labels_survive(value):
    grid = phantoms.GRIDS["flipped"]
    label = Volume(phantoms.l_shape(grid).array_zyx.astype(np.int32) * value, grid, "label")
    new = resample(label, resampled_grid(grid, (1.0, 1.0, 1.0)))
    assert set(np.unique(new.array_zyx)) == {0, value, 2 * value, 3 * value}


def test_single_slice_and_thick_slices():
    volume = Volume(np.arange(12, dtype=np.int16).reshape(1, 3, 4), Geometry((1, 3, 4), (5.0, 1.0, 1.0)))
    new = resample(volume, resampled_grid(volume.geometry, (1.0, 1.0, 1.0)))
    assert new.geometry.size_zyx == (5, 3, 4)
    assert (new.array_zyx == volume.array_zyx).all()


def test_onto_another_orientation_is_exact():
    volume = phantoms.noise(phantoms.GRIDS["sagittal"])
    grid = oriented_grid(volume.geometry, "RAS")
    np.testing.assert_array_equal(
        resample(volume, grid).array_zyx, sitk_reference(volume, grid, nearest=True, fill=-5000).astype(np.int16)
    )


def test_onto_an_oblique_reference_with_fill():
    volume = phantoms.noise(phantoms.GRIDS["plain"], dtype="float32")
    grid = Geometry((12, 9, 8), (2.0, 1.5, 1.5), (-33.0, 10.0, 101.0), phantoms.GRIDS["oblique"].direction_xyz)
    reference = sitk_reference(volume, grid, nearest=False, fill=-7.5)
    new = resample(volume, grid, fill=-7.5)
    assert (new.array_zyx == -7.5).any()
    np.testing.assert_allclose(new.array_zyx, reference, atol=1e-4 * 2000)


def test_antialias_keeps_the_mean_of_fine_noise():
    volume = phantoms.noise(Geometry((40, 40, 40), (1.0, 1.0, 1.0)), dtype="float32")
    grid = resampled_grid(volume.geometry, (4.0, 4.0, 4.0))
    plain, smooth = resample(volume, grid), resample(volume, grid, antialias=True)
    assert smooth.array_zyx.std() < 0.5 * plain.array_zyx.std()
    assert abs(smooth.array_zyx.mean() - volume.array_zyx.mean()) < 20


def test_dataset_mode_writes_pairs_and_describes_them(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 4)
    result = itkit.run(
        "itk_resample", mode="dataset", source=tmp_path / "raw", dest=tmp_path / "out", spacing=(1, 1, 1)
    )
    assert (result.exit_code, [record.case_id for record in result.records]) == (0, ids)
    meta = json.loads((tmp_path / "out" / "series_meta.json").read_text())
    assert list(meta) == sorted(f"{name}/{case}.mha" for name in ("image", "label") for case in ids)
    entry = meta["label/case_02.mha"]
    label = read_volume(tmp_path / "out" / "label" / "case_02.mha", "label")
    assert entry["size"] == list(label.geometry.size_zyx)
    assert entry["spacing"] == [1.0, 1.0, 1.0]
    assert entry["classes"] == [0, 1, 2, 3]
    config = json.loads((tmp_path / "out" / "resample_configs.json").read_text())
    assert config["params"]["spacing"] == [1.0, 1.0, 1.0]
    assert config["counts"]["done"] == 4


def test_target_folder_matches_by_case_whatever_the_extension(tmp_path):
    grid = phantoms.GRIDS["oblique"]
    reference = resampled_grid(grid, (1.1, 1.2, 1.3))
    for case in ("a", "b"):
        write_volume(phantoms.noise(grid), tmp_path / "raw" / f"{case}.nii.gz")
    write_volume(phantoms.noise(reference), tmp_path / "reference" / "a.nrrd")
    result = itkit.run(
        "itk_resample",
        mode="image",
        source=tmp_path / "raw",
        dest=tmp_path / "out",
        target_folder=tmp_path / "reference",
    )
    assert result.summary.unpaired == ("b",)
    new = read_volume(tmp_path / "out" / "a.mha")
    assert new.geometry.same_grid(read_volume(tmp_path / "reference" / "a.nrrd").geometry, tol_mm=1e-9)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"spacing": (1, 1)}, "expected 3 values in the order Z Y X; got 2"),
        ({"spacing": (1, 0, 1)}, "Y: expected > 0 mm"),
        ({"spacing": (1, float("nan"), 1)}, "--spacing"),
        ({"size": (4, -2, 4)}, "Y: expected >= 1 voxels"),
        ({"spacing": (1, 1, 1), "size": (4, -1, -1)}, "both set axis Z"),
        ({}, "nothing to do"),
        ({"target_folder": "x", "spacing": (1, 1, 1)}, "--target-folder gives the grid"),
    ],
)
def test_contradictions_are_refused(tmp_path, values, message):
    with pytest.raises(ParamsError, match=message.replace("(", r"\(")):
        itkit.run("itk_resample", mode="image", source=tmp_path, dest=tmp_path / "o", **values)


BOX = Geometry((6, 20, 20), (2.0, 1.0, 1.0))


def label_map(*values):
    array = np.zeros(BOX.size_zyx, np.uint8)
    for number, value in enumerate(values):
        array[1:5, 3:17, 2 + 5 * number : 6 + 5 * number] = value
    return array


def noisy(dtype=np.int16):
    return np.random.default_rng(5).integers(0, 2000, BOX.size_zyx).astype(dtype)


def resampled(root, files, mode, **more):
    for name, array in files.items():
        (root / "in").mkdir(exist_ok=True)
        write_volume(Volume(array, BOX), root / f"in/{name}.mha")
    result = itkit.run(
        "itk_resample", mode=mode, source=root / "in", dest=root / "out", **{"spacing": (1, 1.5, 1.5), **more}
    )
    return result, {record.case_id: " ".join((record.message, *record.warnings)) for record in result.records}


def test_a_label_map_among_images_is_told_before_it_gets_new_classes(tmp_path):
    files = {"ct": noisy(), "other": label_map(1, 57)}
    result, told = resampled(tmp_path, files, "image")
    assert result.exit_code == 0
    assert told["ct"].strip() == ""
    assert "use itk_resample label" in told["other"]
    for more in ({"interpolation": "nearest"}, {"dtype": "float32"}):
        assert resampled(tmp_path, files, "image", existing="redo", **more)[1]["other"].strip() == ""


def test_a_label_map_in_a_folder_of_labels_is_not_resampled_as_an_image(tmp_path):
    for name, array in (("a", label_map(1, 57)), ("soft", noisy())):
        (tmp_path / "label").mkdir(exist_ok=True)
        write_volume(Volume(array, BOX), tmp_path / f"label/{name}.mha")
    values = {"mode": "image", "source": tmp_path / "label", "dest": tmp_path / "out", "spacing": (1, 1.5, 1.5)}
    result = itkit.run("itk_resample", **values)
    assert result.exit_code == 1
    assert {record.case_id: record.status for record in result.records} == {"a": "failed", "soft": "done"}
    assert "use itk_resample label" in result.records[0].message
    assert itkit.run("itk_resample", **values, dtype="float32", existing="redo").exit_code == 0


def test_the_label_beside_its_image_is_refused_by_name(tmp_path):
    files = {"a": noisy(), "a_seg": label_map(1, 57), "b": noisy()}
    result, told = resampled(tmp_path, files, "image")
    assert result.exit_code == 1
    assert "looks like the label of a" in told["a_seg"]
    assert "itk_resample label" in told["a_seg"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mha")) == ["a.mha", "b.mha"]
    assert resampled(tmp_path, files, "image", interpolation="nearest")[0].exit_code == 0


def test_an_image_among_labels_is_told_and_refused_where_its_label_lies_beside_it(tmp_path):
    result, told = resampled(tmp_path, {"a": noisy(), "a_seg": label_map(1, 2), "c": noisy()}, "label")
    assert result.exit_code == 1
    assert "use itk_resample image" in told["a"]
    assert "itk_resample image" in told["c"]
    assert told["a_seg"].strip() == ""


def test_a_fill_that_the_type_cannot_hold_is_told(tmp_path):
    (tmp_path / "grids").mkdir()
    write_volume(Volume(noisy(), BOX), tmp_path / "grids/a.mha")
    bytes_ = noisy().astype(np.uint8)
    grids = {"spacing": (-1, -1, -1), "target_folder": tmp_path / "grids"}
    write_volume(Volume(noisy(), Geometry((6, 20, 20), (2.0, 1.0, 1.0), (5.0, 0.0, 0.0))), tmp_path / "grids/a.mha")
    assert (
        "--fill -1000 is no value of uint8: 0 is taken"
        in resampled(tmp_path, {"a": bytes_}, "image", fill=-1000, **grids)[1]["a"]
    )
    assert resampled(tmp_path, {"a": bytes_}, "image", fill=7, existing="redo", **grids)[1]["a"].strip() == ""


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_a_nan_voxel_spoils_its_neighbours_alone_and_is_told(tmp_path, interpolation):
    array = np.random.default_rng(3).normal(0, 1, BOX.size_zyx).astype(np.float32)
    whole = resample(Volume(array, BOX), resampled_grid(BOX, (1, 1.5, 1.5)), interpolation=interpolation).array_zyx
    array[3, 10, 10] = np.nan
    _, told = resampled(tmp_path, {"a": array}, "image", interpolation=interpolation)
    assert "1 nan voxel:" in told["a"]
    new = read_volume(tmp_path / "out/a.mha").array_zyx
    holes = np.argwhere(np.isnan(new))
    assert 0 < len(holes) <= 36
    points = holes * [1, 1.5, 1.5] + [-0.5, 0.25, 0.25]  # mm from the first source voxel's centre
    assert np.abs(points - [6, 10, 10]).max() <= 2.0
    far = np.ones(new.shape, bool)
    z, y, x = (int(value) for value in holes.mean(axis=0))
    far[max(0, z - 6) : z + 7, y - 4 : y + 5, x - 4 : x + 5] = False
    assert np.abs(new[far] - whole[far]).max() < 0.01


def test_a_label_of_nearly_its_reference_s_name_is_named(tmp_path):
    (tmp_path / "grids").mkdir()
    write_volume(Volume(noisy(), BOX), tmp_path / "grids/a.mha")
    (tmp_path / "in").mkdir()
    write_volume(Volume(label_map(1), BOX), tmp_path / "in/a.seg.nrrd")
    with pytest.raises(LayoutError, match=r"\(a and a\.seg\); .* rename one of each"):
        resampled(tmp_path, {}, "label", spacing=(-1, -1, -1), target_folder=tmp_path / "grids")
