"""Elastic augmentation: replayed by SimpleITK from the JSON, right in closed form, and never folding."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

import itkit
from itkit.core.errors import ResourceError
from itkit.core.grids import oriented_grid
from itkit.core.operation import CaseInput, Context
from itkit.engine.parameters import make_params
from itkit.io.sitk_toolkit import read_volume, to_sitk, write_volume
from itkit.process.elastic import LARGEST_FRACTION, ElasticField, folding_message, sample_elastic
from itkit.process.itk_aug import OPERATION, AugParams, augment, sample_augmentation
from itkit.testing import phantoms

LIMIT_ZYX, SPACING_MM = (3.0, 2.0, 1.0), 8.0
ELASTIC = {"elastic": LIMIT_ZYX, "elastic_spacing": SPACING_MM}
AFFINE = {
    "random_rot": (20.5, 7.0, 3.0),
    "random_scale": (0.1, 0.2, 0.0),
    "random_shift": (3.0, 0.0, 2.0),
    "random_flip": (0.0, 0.5, 0.0),
}
FOLDERS = {"source": "i", "label_source": "l", "dest": "o"}


def drawn(grid, copy=0, **values):
    params = make_params(AugParams, {**FOLDERS, **values})
    return sample_augmentation(grid, params, Context(seed=3, case_id="a").rng(copy))


def weights(t):
    """The four cubic B-splines that are not 0 at a fraction of a cell."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6


def displacement(entry, points):
    """Evaluate the field of a JSON entry at points ``(…, 3)``, from the definition of a tensor-product B-spline."""
    mesh = np.array(entry["mesh_size_xyz"])
    nx, ny, nz = mesh + 3
    controls = np.array(entry["displacements"]).reshape(3, nz, ny, nx)
    place = (points - np.array(entry["origin_xyz"])) / (np.array(entry["dimensions_xyz"]) / mesh)
    cell = np.floor(place).astype(int)
    x, y, z = np.moveaxis(weights(place - cell), -1, 0)
    total = np.zeros(points.shape)
    for k, j, i in np.ndindex(4, 4, 4):
        at = controls[:, cell[..., 2] + k, cell[..., 1] + j, cell[..., 0] + i]
        total += (z[k] * y[j] * x[i])[..., None] * np.moveaxis(at, 0, -1)
    return total


def mapped(entry, points):
    """Give the input's point that each output point shows."""
    center = np.array(entry["center_xyz"])
    moved = points + displacement(entry["elastic"], points)
    return (moved - center) @ np.array(entry["matrix_xyz"]).reshape(3, 3).T + center + np.array(entry["shift_xyz"])


def replay(volume, entry, method, fill):
    """Rebuild the transform from the JSON with SimpleITK alone, and apply it."""
    elastic = entry["elastic"]
    field = sitk.BSplineTransform(3, 3)
    field.SetTransformDomainOrigin(elastic["origin_xyz"])
    field.SetTransformDomainDirection(elastic["direction_xyz"])
    field.SetTransformDomainPhysicalDimensions(elastic["dimensions_xyz"])
    field.SetTransformDomainMeshSize(elastic["mesh_size_xyz"])
    field.SetParameters(elastic["displacements"])
    affine = sitk.AffineTransform(entry["matrix_xyz"], entry["shift_xyz"], entry["center_xyz"])
    image = to_sitk(volume)
    return sitk.GetArrayFromImage(sitk.Resample(image, image, sitk.CompositeTransform([affine, field]), method, fill))


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_meta_replays_every_copy_with_simpleitk_alone(tmp_path, name):
    grid = phantoms.GRIDS[name]
    write_volume(phantoms.noise(grid), tmp_path / "i" / "a.nii.gz")
    write_volume(phantoms.l_shape(grid), tmp_path / "l" / "a.nrrd")
    image, label = read_volume(tmp_path / "i" / "a.nii.gz"), read_volume(tmp_path / "l" / "a.nrrd", "label")
    itkit.run(
        "itk_aug",
        source=tmp_path / "i",
        label_source=tmp_path / "l",
        dest=tmp_path / "oi",
        label_dest=tmp_path / "ol",
        number=2,
        fill=-1234,
        **AFFINE,
        **ELASTIC,
    )
    meta = json.loads((tmp_path / "oi" / "aug_meta.json").read_text())
    assert meta == json.loads((tmp_path / "ol" / "aug_meta.json").read_text())
    for file, entry in meta.items():
        new, part = read_volume(tmp_path / "oi" / file), read_volume(tmp_path / "ol" / file, "label")
        assert (new.dtype, part.dtype) == (np.int16, np.uint8)
        assert new.geometry.same_grid(image.geometry, tol_mm=1e-5)
        doubles = image.with_array(image.array_zyx.astype(np.float64))
        reference = replay(doubles, entry, sitk.sitkLinear, -1234)
        assert np.abs(new.array_zyx - reference).max() <= 0.5 + 1e-5  # rounded, not cut off
        np.testing.assert_array_equal(part.array_zyx, replay(label, entry, sitk.sitkNearestNeighbor, 0))
        assert set(np.unique(part.array_zyx)) <= {0, 1, 2, 3}
        controls = np.abs(np.reshape(entry["elastic"]["displacements"], (3, -1))).max(axis=1)
        assert (controls <= LIMIT_ZYX[::-1]).all()
        assert (controls > 0.7 * np.array(LIMIT_ZYX[::-1])).all()
    assert meta["a_0.mha"]["elastic"]["displacements"] != meta["a_1.mha"]["elastic"]["displacements"]


@pytest.mark.parametrize("name", phantoms.GRIDS)
def test_a_ramp_moves_by_the_recorded_displacement(name):
    grid = phantoms.GRIDS[name]
    points = phantoms.points_xyz(grid)
    for values in (ELASTIC, {**ELASTIC, **AFFINE}):
        transform = drawn(grid, **values)
        source = mapped(transform.facts(), points)
        assert np.abs(displacement(transform.facts()["elastic"], points)).max() > 0.5
        index = np.array([grid.index_zyx(tuple(p)) for p in source.reshape(-1, 3)]).reshape(source.shape)
        inside = ((index > 0) & (index < np.array(grid.size_zyx) - 1)).all(axis=-1)
        assert inside.sum() > 300
        image = augment(phantoms.ramp(grid), transform, fill=np.nan)
        np.testing.assert_allclose(image.array_zyx[inside], phantoms.ramp_at(source)[inside], atol=1e-8)
        label = phantoms.l_shape(grid)
        z, y, x = np.moveaxis(np.floor(index[inside] + 0.5).astype(int), -1, 0)
        np.testing.assert_array_equal(augment(label, transform).array_zyx[inside], label.array_zyx[z, y, x])


def test_off_draws_and_records_what_it_always_has():
    off = drawn(
        phantoms.GRIDS["oblique"],
        copy=1,
        random_rot=(20, 10, 5),
        random_scale=(0.1, 0.2, 0),
        random_shift=(1, 2, 3),
        random_flip=(0, 0.5, 0.5),
    )
    assert off.elastic is None
    assert list(off.facts()) == ["angles_deg", "matrix_xyz", "center_xyz", "shift_xyz"]
    np.testing.assert_allclose(
        off.angles_deg, (-17.723309048288623, -3.093535616492049, -3.046976127789259), rtol=1e-12
    )
    np.testing.assert_allclose(
        off.shift_xyz, (2.078594183000659, 0.03730538407463957, -0.20511168924591772), rtol=1e-12
    )
    np.testing.assert_allclose(
        off.matrix_xyz,
        np.ravel(
            [
                (-0.9520228920625662, 0.281431930999276, -0.0345886116005404),
                (0.30124457825809325, 0.8806057514296998, 0.06573524563993574),
                (-0.05388986044638553, -0.049210234460162657, 0.9785057144531293),
            ]
        ),
        rtol=1e-12,
    )


def test_the_field_changes_nothing_of_the_affine_draws():
    for name, grid in phantoms.GRIDS.items():
        plain, elastic = drawn(grid, **AFFINE), drawn(grid, **AFFINE, **ELASTIC)
        assert replace(elastic, elastic=None) == plain, name


def test_same_files_with_one_and_two_workers_and_with_more_copies(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 3)

    def run(out, **values):
        itkit.run(
            "itk_aug",
            source=tmp_path / "raw" / "image",
            label_source=tmp_path / "raw" / "label",
            dest=tmp_path / out / "image",
            label_dest=tmp_path / out / "label",
            **ELASTIC,
            **values,
        )
        files = {path.relative_to(tmp_path / out): path.read_bytes() for path in (tmp_path / out).rglob("*.mha")}
        return files, (tmp_path / out / "image" / "aug_meta.json").read_bytes()

    one, two, more = run("a", number=2), run("b", number=2, workers=2), run("c", number=3)
    assert len(one[0]) == 12
    assert one == two
    assert {name: more[0][name] for name in one[0]} == one[0]
    assert run("d", number=2, seed=1)[0] != one[0]


@pytest.mark.parametrize("kind", ["image", "label"])
def test_threads_change_nothing(kind):
    grid = phantoms.GRIDS["oblique"]
    transform = drawn(grid, **ELASTIC, **AFFINE)
    volume = replace(phantoms.noise(grid), kind=kind)
    one, two = (augment(volume, transform, threads=threads).array_zyx for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "float32", "float64"])
def test_integers_are_rounded_and_clamped(dtype):
    grid = phantoms.GRIDS["plain"]
    image = phantoms.noise(grid, dtype=np.uint8 if dtype == "int8" else dtype)
    image = image.with_array((image.array_zyx // 2).astype(dtype))
    transform = drawn(grid, **ELASTIC, random_shift=(9.0, 9.0, 9.0))
    new = augment(image, transform, fill=1e9).array_zyx
    assert new.dtype == dtype
    doubles = augment(image.with_array(image.array_zyx.astype(np.float64)), transform, fill=1e9).array_zyx
    assert (doubles == 1e9).any()
    assert (doubles != np.rint(doubles)).any()
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    expected = doubles if info is None else np.clip(np.rint(doubles), info.min, info.max)
    np.testing.assert_array_equal(new, expected.astype(dtype))


def test_a_turned_volume_is_deformed_alike():
    """The control points lie in the physical frame: how the voxels are stored does not matter."""
    for grid in phantoms.GRIDS.values():
        one, two = (
            sample_elastic(g, LIMIT_ZYX, SPACING_MM, np.random.default_rng(1))
            for g in (grid, oriented_grid(grid, "SAR"))
        )
        assert one.displacements == two.displacements
        np.testing.assert_allclose(one.origin_xyz, two.origin_xyz, atol=1e-9)


@pytest.mark.parametrize("spacing_mm", [0.7, 8.0, 22.5, 500.0])
def test_the_field_covers_the_whole_box_with_cells_of_the_given_length(spacing_mm):
    for grid in phantoms.GRIDS.values():
        field = sample_elastic(grid, (0.1, 0.0, 0.1), spacing_mm, np.random.default_rng(1))
        low = np.array(field.origin_xyz)
        corners = [grid.point_xyz(tuple(np.array(grid.size_zyx) * c - 0.5)) for c in np.ndindex(2, 2, 2)]
        before, after = np.min(corners, axis=0) - low, low + field.dimensions_xyz - np.max(corners, axis=0)
        assert (before >= -1e-6).all()
        np.testing.assert_allclose(before, after, atol=1e-6)
        np.testing.assert_allclose(np.array(field.dimensions_xyz) / field.mesh_size_xyz, spacing_mm)
        x, y, z = np.reshape(field.displacements, (3, -1))
        assert x.any()
        assert z.any()
        assert not y.any()


def smallest_jacobian(fraction):
    """Determinant of the map at the worst place, with the control points moved in the worst way, by a fraction."""
    at = np.array([1.85, 1.8, 1.85])  # in cells: where the sum of |gradients| is greatest
    t = at - 1
    slope = np.stack([-((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2]) / 2
    w = weights(t)
    gradients = sum(
        np.einsum("k,j,i->kji", *((slope if axis == a else w)[:, a] for a in (2, 1, 0))) for axis in range(3)
    )
    controls = np.zeros((3, 6, 6, 6))
    controls[:, 1:5, 1:5, 1:5] = -fraction * SPACING_MM * np.sign(gradients)
    side = 3 * SPACING_MM
    field = ElasticField((0, 0, 0), (side, side, side), (3, 3, 3), tuple(controls.ravel().tolist()))
    step = 1e-3 * np.eye(3)
    place = at * SPACING_MM
    ends = displacement(field.facts(), np.stack([place + step, place - step]))
    return np.linalg.det(np.eye(3) + (ends[0] - ends[1]) / 2e-3)


def test_the_greatest_displacement_allowed_does_not_fold_and_a_little_more_may():
    assert 0 < smallest_jacobian(LARGEST_FRACTION) < 0.02
    assert smallest_jacobian(LARGEST_FRACTION + 0.005) < 0
    assert folding_message((LARGEST_FRACTION * 30, 0, 0), 30) == ""
    assert folding_message((0, 12.1, 0), 30).startswith("--elastic Y: expected at most 12 mm")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--elastic", "0", "21", "0"], "--elastic Y: expected at most 20 mm"),
        (["--elastic", "1", "1", "5", "--elastic-spacing", "10"], "--elastic X: expected at most 4 mm"),
        (["--elastic", "-1", "0", "0"], "--elastic"),
        (["--elastic", "nan", "0", "0"], "--elastic"),
        (["--elastic", "inf", "0", "0"], "--elastic"),
        (["--elastic", "1", "0"], "Z Y X"),
        (["--elastic", "1", "1", "1", "--elastic-spacing", "0"], "--elastic-spacing: input should be greater than 0"),
        (["--elastic", "1", "1", "1", "--elastic-spacing", "inf"], "--elastic-spacing"),
        (["--elastic-spacing", "30", "--random-rot", "1", "0", "0"], "--elastic-spacing only matters with --elastic"),
        (["--elastic", "0", "0", "0"], "nothing to draw"),
    ],
)
def test_wrong_values_are_refused_in_one_line(arguments, message, tmp_path, command):
    phantoms.write_dataset(tmp_path / "raw", 1)
    code, stdout, stderr = command("itk_aug", "raw/image", "raw/label", "-oimg", "out", *arguments, cwd=tmp_path)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert message in stderr
    assert not (tmp_path / "out").exists()


def test_too_many_control_points_are_a_named_failure():
    grid = replace(phantoms.GRIDS["plain"], spacing_zyx=(250.0, 80.0, 70.0))
    with pytest.raises(ResourceError, match=r"--elastic-spacing 8 mm gives .* control points"):
        drawn(grid, **ELASTIC)


def test_memory_counts_what_simpleitk_holds():
    grid = replace(phantoms.GRIDS["plain"], size_zyx=(100, 100, 100))
    inputs = {"image": CaseInput(grid, "int16", 2_000_000), "label": CaseInput(grid, "uint8", 1_000_000)}
    off, on = (make_params(AugParams, {**FOLDERS, "random_rot": (1, 0, 0), **more}) for more in ({}, ELASTIC))
    assert OPERATION.memory(inputs, off) == 9_000_000
    assert OPERATION.memory(inputs, on) == 41_000_000
    assert OPERATION.memory({"label": inputs["label"]}, on) == 5_000_000
