"""Known transforms come back, transforms are ITK's, and what fails is named."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import itkit
from itkit.core.errors import CaseError, ItkitError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process import itk_align
from itkit.process.aligning import Method, matrix_of, moved_grid, moved_to, register
from itkit.process.itk_align import AlignParams, plan
from itkit.process.splines import refined
from itkit.testing import phantoms

GRID = Geometry((24, 40, 36), (4.0, 2.5, 3.0), (-30.0, 20.0, 5.0), phantoms.GRIDS["oblique"].direction_xyz)


def blobs(seed=0, grid=GRID):
    """A soft image without symmetry, with air around it, and a label of its brightest part."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, grid.size_zyx), 2.5)
    z, y, x = np.indices(grid.size_zyx)
    middle = np.array(grid.size_zyx) / 2
    inside = ((z - middle[0]) / 8) ** 2 + ((y - middle[1]) / 13) ** 2 + ((x - middle[2] + 2) / 11) ** 2 < 1
    array = np.where(inside, noise / noise.std() * 150 + 60, -1000)
    label = np.where(inside, 1 + (noise > 0.3 * noise.std()), 0)
    return Volume(array.astype(np.int16), grid), Volume(label.astype(np.uint8), grid, "label")


def known(grid, seed, angle=10.0, shift=8.0):
    """A rigid transform about the centre of a grid."""
    rng = np.random.default_rng(seed)
    axis, way = rng.normal(size=3), rng.normal(size=3)
    transform = sitk.VersorRigid3DTransform()
    transform.SetRotation((axis / np.linalg.norm(axis)).tolist(), float(np.deg2rad(angle)))
    z, y, x = ((size - 1) / 2 for size in grid.size_zyx)
    transform.SetCenter(grid.point_xyz((z, y, x)))
    transform.SetTranslation((way / np.linalg.norm(way) * shift).tolist())
    return transform


def errors(found, truth, points):
    """Return the mean distance and the angle by which the product of two transforms differs from the identity."""
    (a, b), (c, d) = matrix_of(found), matrix_of(truth)
    matrix, offset = c @ a, c @ b + d
    distance = np.linalg.norm(points @ matrix.T + offset - points, axis=1).mean()
    return distance, np.rad2deg(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("metric", ["mattes", "correlation", "mse"])
def test_a_known_rigid_transform_comes_back(metric):
    fixed, label = blobs()
    truth = known(GRID, 1)
    moving, moving_label = moved_to(fixed, GRID, truth), moved_to(label, GRID, truth)
    found = register(fixed, moving, Method(metric=metric))
    points = phantoms.points_xyz(GRID)[label.array_zyx > 0]
    distance, angle = errors(found.transform, truth, points)
    assert distance < 0.5
    assert angle < 1
    assert found.metric_after < found.metric_before
    assert found.displacement_mm == pytest.approx(
        np.linalg.norm([np.subtract(truth.GetInverse().TransformPoint(p), p) for p in points.tolist()], axis=1).mean(),
        abs=1,
    )
    back = moved_to(moving_label, GRID, found.transform)
    assert dice(back.array_zyx > 0, label.array_zyx > 0) > 0.95


def test_translation_and_affine():
    fixed, label = blobs()
    shift = sitk.TranslationTransform(3, (6.0, -4.0, 5.0))
    found = register(fixed, moved_to(fixed, GRID, shift), Method("translation"))
    assert np.allclose(found.transform.GetOffset(), (-6.0, 4.0, -5.0), atol=0.3)
    truth = sitk.AffineTransform(3)
    truth.SetMatrix((1.1, 0.05, 0, -0.05, 0.95, 0, 0, 0.05, 1.05))
    truth.SetCenter(GRID.point_xyz((11.5, 19.5, 17.5)))
    found = register(fixed, moved_to(fixed, GRID, truth), Method("affine", metric="mse"))
    points = phantoms.points_xyz(GRID)[label.array_zyx > 0]
    assert errors(found.transform, truth, points)[0] < 0.8


@pytest.mark.slow
def test_splines_go_on_where_a_rigid_transform_ends():
    fixed, label = blobs()
    truth = sitk.AffineTransform(3)
    truth.SetMatrix((1.1, 0.05, 0, -0.05, 0.95, 0, 0, 0.05, 1.05))
    truth.SetCenter(GRID.point_xyz((11.5, 19.5, 17.5)))
    moving = moved_to(fixed, GRID, truth)
    method = Method("bspline", metric="mse", grid_mm=60.0, iterations=40)
    found = register(fixed, moving, method)
    assert matrix_of(found.transform) is None
    assert found.metric_after < 0.6 * found.metric_before
    points = [GRID.point_xyz(index) for index in np.argwhere(label.array_zyx > 0)[::50].tolist()]
    before = [np.subtract(truth.TransformPoint(point), point) for point in points]
    after = [np.subtract(truth.TransformPoint(found.transform.TransformPoint(point)), point) for point in points]
    assert np.linalg.norm(after, axis=1).mean() < 0.5 * np.linalg.norm(before, axis=1).mean()


def test_a_refined_spline_is_the_same_transform():
    image = sitk.GetImageFromArray(np.zeros((30, 40, 50), np.uint8))
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((-20.0, 5.0, 7.0))
    image.SetDirection(GRID.direction_xyz)
    spline = sitk.BSplineTransformInitializer(image, [3, 4, 5], 3)
    rng = np.random.default_rng(0)
    spline.SetParameters(rng.normal(0, 5, spline.GetNumberOfParameters()).tolist())
    fine = refined(sitk, spline)
    assert tuple(fine.GetTransformDomainMeshSize()) == (6, 8, 10)
    for index in rng.uniform(0, (49, 39, 29), (40, 3)).tolist():
        point = image.TransformContinuousIndexToPhysicalPoint(index)
        assert np.abs(np.subtract(fine.TransformPoint(point), spline.TransformPoint(point))).max() < 1e-9
        assert spline.TransformPoint(point) != point


def test_the_result_depends_on_the_seed_and_not_on_threads():
    fixed, _ = blobs()
    moving = moved_to(fixed, GRID, known(GRID, 2))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    texts = []
    try:
        for threads in (1, 4):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            texts.append(str(register(fixed, moving, Method(seed=5)).transform.GetParameters()))
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert texts[0] == texts[1]


def test_volumes_move_as_simpleitk_moves_them():
    fixed, label = blobs()
    target = Geometry((20, 30, 41), (3.0, 3.0, 2.0), (-20.0, 30.0, 0.0))
    transform = known(GRID, 3)
    for volume, way in ((fixed, sitk.sitkLinear), (label, sitk.sitkNearestNeighbor)):
        like = sitk.Image(41, 30, 20, sitk.sitkUInt8)
        like.SetSpacing((2.0, 3.0, 3.0))
        like.SetOrigin((-20.0, 30.0, 0.0))
        fill = float(volume.array_zyx.min())
        expected = sitk.GetArrayFromImage(sitk.Resample(volume.to_sitk(), like, transform, way, fill))
        assert np.abs(moved_to(volume, target, transform).array_zyx.astype(int) - expected).max() <= 1


def write_pairs(root, count=3):
    truths = {}
    for number in range(count):
        fixed, label = blobs(number)
        truth = truths[f"c{number}"] = known(GRID, number, 6, 6)
        write_volume(fixed, root / "fixed" / f"c{number}.mha")
        write_volume(label, root / "truth" / f"c{number}.mha")
        write_volume(moved_to(fixed, GRID, truth), root / "moving" / "image" / f"c{number}.nii.gz")
        write_volume(moved_to(label, GRID, truth), root / "moving" / "label" / f"c{number}.nii.gz")
    return truths


def test_files_of_a_dataset(tmp_path):
    truths = write_pairs(tmp_path)
    values = {"source": tmp_path / "moving", "fixed": tmp_path / "fixed"}
    assert itkit.run("itk_align", dest=tmp_path / "out", workers=2, **values).exit_code == 0
    meta = json.loads((tmp_path / "out" / "align_meta.json").read_text())
    points = phantoms.points_xyz(GRID).reshape(-1, 3)[::50]
    for case, truth in truths.items():
        image = read_volume(tmp_path / "out" / "image" / f"{case}.mha")
        label = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label")
        assert image.geometry == GRID
        assert image.dtype == np.int16
        expected = read_volume(tmp_path / "truth" / f"{case}.mha", "label").array_zyx
        assert dice(label.array_zyx > 0, expected > 0) > 0.94
        transform = sitk.ReadTransform(str(tmp_path / "out" / "transform" / f"{case}.tfm"))
        assert errors(transform, truth, points)[0] < 1
        facts = meta["cases"][case]
        assert facts["metric_after"] < facts["metric_before"]
        assert facts["iterations"] > 10
        assert facts["stop"]
    itkit.run("itk_align", dest=tmp_path / "one", **values)
    for path in (tmp_path / "out").rglob("*.*"):
        if path.suffix in (".mha", ".tfm"):
            assert path.read_bytes() == (tmp_path / "one" / path.relative_to(tmp_path / "out")).read_bytes()


def test_one_reference_labels_of_a_folder_and_masks(tmp_path):
    write_pairs(tmp_path, 2)
    for case in ("c0", "c1"):
        label = read_volume(tmp_path / "truth" / f"{case}.mha", "label")
        wide = ndimage.binary_dilation(label.array_zyx > 0, iterations=5).astype(np.uint8)
        write_volume(label.with_array(wide), tmp_path / "mask" / f"{case}.mha")
    result = itkit.run(
        "itk_align",
        moving=tmp_path / "moving" / "image",
        fixed=tmp_path / "fixed" / "c0.mha",
        dest=tmp_path / "out",
        label=tmp_path / "moving" / "label",
        mask=tmp_path / "mask",
    )
    assert {record.case_id: record.status for record in result.records}["c0"] == "done"
    assert (tmp_path / "out" / "image" / "c0.mha").is_file()
    assert (tmp_path / "out" / "label" / "c0.mha").is_file()
    flat = itkit.run(
        "itk_align", source=tmp_path / "moving" / "image", fixed=tmp_path / "fixed", dest=tmp_path / "flat", levels=2
    )
    assert flat.exit_code == 0
    assert (tmp_path / "flat" / "c1.mha").is_file()


def test_a_kept_grid_is_the_same_alignment_without_interpolation(tmp_path):
    write_pairs(tmp_path, 1)
    values = {"source": tmp_path / "moving", "fixed": tmp_path / "fixed", "dest": tmp_path / "kept", "keep_grid": True}
    assert itkit.run("itk_align", **values).exit_code == 0
    moving = read_volume(tmp_path / "moving" / "image" / "c0.nii.gz")
    kept = read_volume(tmp_path / "kept" / "image" / "c0.mha")
    np.testing.assert_array_equal(kept.array_zyx, moving.array_zyx)
    transform = sitk.ReadTransform(str(tmp_path / "kept" / "transform" / "c0.tfm"))
    grid = moved_grid(moving.geometry, transform)
    assert kept.geometry.same_grid(grid, tol_mm=1e-4)
    for index in ((0, 0, 0), (5, 7, 9), (23, 39, 35)):
        back = transform.TransformPoint(kept.geometry.point_xyz(index))
        np.testing.assert_allclose(back, moving.geometry.point_xyz(index), atol=1e-4)


@pytest.mark.parametrize("layout", ["files", "vector"])
def test_the_first_channel_moves_all(tmp_path, layout):
    (case,) = phantoms.write_channels(tmp_path / "raw", 1, layout=layout)
    out = tmp_path / "out"
    values = {"source": tmp_path / "raw", "fixed": tmp_path / "raw", "transform": "translation", "levels": 1}
    assert itkit.run("itk_align", dest=out, **values).exit_code == 0
    transform = sitk.ReadTransform(str(out / "transform" / f"{case}.tfm"))
    for number, channel in enumerate(("t1", "t2")):
        name = f"{case}_{channel}.mha" if layout == "files" else f"{case}.mha"
        old, new = (read_volume(root / "image" / name, channels=True) for root in (tmp_path / "raw", out))
        pick = (
            (lambda array: array)
            if layout == "files"
            else (lambda array, n=number: np.ascontiguousarray(array[..., n]))
        )
        expected = moved_to(Volume(pick(old.array_zyx), old.geometry), old.geometry, transform)
        np.testing.assert_array_equal(pick(new.array_zyx), expected.array_zyx)
    assert (out / "label" / f"{case}.mha").is_file()


def test_what_lacks_a_partner_is_named(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "fixed" / "c0.mha").rename(tmp_path / "fixed" / "other.mha")
    values = {"source": tmp_path / "moving", "fixed": tmp_path / "fixed", "transform": "translation"}
    result = itkit.run("itk_align", dest=tmp_path / "out", **values)
    assert result.exit_code == 0
    assert list(result.summary.unpaired) == ["c0", "other"]
    with pytest.raises(ItkitError, match="no fixed image"):
        itkit.run("itk_align", dest=tmp_path / "out2", strict=True, **values)


def test_an_image_without_its_label_is_named_once(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 2)
    next((tmp_path / "raw" / "label").glob(f"{ids[0]}.*")).unlink()
    raw = tmp_path / "raw"
    found = plan(AlignParams(source=raw, fixed=raw, dest=tmp_path / "out"))
    assert [(item.case_id, item.lacks) for item in found.unpaired] == [(ids[0], "label")]


def test_failures_have_names(tmp_path):
    fixed, _ = blobs()
    flat = fixed.with_array(np.full(GRID.size_zyx, 7, np.int16))
    holes = fixed.with_array(np.where(fixed.array_zyx > 300, np.nan, fixed.array_zyx).astype(np.float32))
    far = Volume(fixed.array_zyx, Geometry(GRID.size_zyx, GRID.spacing_zyx, (9e4, 0.0, 0.0), GRID.direction_xyz))
    with pytest.raises(CaseError, match="moving: all voxels are 7; a constant image"):
        register(fixed, flat)
    with pytest.raises(CaseError, match=r"fixed: .* nan or infinite"):
        register(holes, fixed)
    with pytest.raises(CaseError, match="the registration failed"):
        register(fixed, far, Method(init="none"))
    with pytest.raises(CaseError, match="mask: it is empty"):
        register(fixed, fixed, mask=Volume(np.zeros(GRID.size_zyx, np.uint8), GRID, "label"))
    with pytest.raises(CaseError, match="did not converge in 2 iterations"):
        register(fixed, moved_to(fixed, GRID, known(GRID, 1)), Method(iterations=2))
    found = register(fixed, far, Method("translation"))
    assert found.metric_before is None
    np.testing.assert_allclose(found.transform.GetOffset(), np.subtract((9e4, 0, 0), GRID.origin_xyz), atol=0.2)


@pytest.mark.parametrize("at", ["\nParameters", "\nFixedParameters", " \n"])
def test_a_transform_that_a_full_disk_has_cut_is_a_failure(tmp_path, monkeypatch, at):
    write_pairs(tmp_path, 1)

    def cut(transform, path, real=sitk.WriteTransform):
        real(sitk.TranslationTransform(3), path)  # what is cut here reads as what was written: the identity
        text = Path(path).read_text().removesuffix("\n")
        Path(path).write_text(text[: text.index(at) + (at != " \n")] if at in text else text)

    monkeypatch.setattr(
        itk_align,
        "register",
        lambda *args, real=itk_align.register, **how: replace(
            real(*args, **how), transform=sitk.TranslationTransform(3)
        ),
    )

    monkeypatch.setattr(sitk, "WriteTransform", cut)
    values = {"source": tmp_path / "moving", "fixed": tmp_path / "fixed", "transform": "translation"}
    result = itkit.run("itk_align", dest=tmp_path / "out", **values)
    assert result.exit_code == 1
    assert "c0.tfm: can't be written" in (tmp_path / "out" / ".itkit" / "manifest.jsonl").read_text()
    assert not list(tmp_path.glob("out/**/*.mha"))


def test_an_aligned_image_stays_where_it_is():
    fixed = phantoms.noise(phantoms.GRIDS["oblique"])
    found = register(fixed, fixed, Method("translation"))
    assert found.displacement_mm < 0.05
    assert found.metric_after <= found.metric_before + 1e-3 * abs(found.metric_before)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keep_grid": True, "transform": "affine"}, "affine needs --fixed-grid"),
        ({"keep_grid": True, "fixed_grid": True}, "contradict each other"),
        ({"sampling": 0.0}, "--sampling: expected > 0"),
        ({"levels": 0}, "--levels"),
        ({"fixed": "none"}, "fixed folder none does not exist"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path, values, said):
    write_pairs(tmp_path, 1)
    given = {"source": tmp_path / "moving", "fixed": tmp_path / "fixed", "dest": tmp_path / "out", **values}
    with pytest.raises(ItkitError, match=said):
        itkit.run("itk_align", **given)
    assert not (tmp_path / "out").exists()


def torso():
    folder = Path(itkit.__file__).parent / "data" / "torso"
    return read_volume(folder / "image.nii.gz"), read_volume(folder / "label.nii.gz", "label")


def drawn(grid, rng):
    """A rigid transform of at most 15 degrees and 20 mm."""
    return known(grid, int(rng.integers(2**31)), rng.uniform(0, 15), rng.uniform(0, 20))


def moved_pair(image, label, truth, *, by_header):
    """Image and label moved by a transform: only their grids, or resampled onto their own grid, which cuts them off."""
    if by_header:
        grid = moved_grid(image.geometry, truth)
        return image.with_array(image.array_zyx, grid), label.with_array(label.array_zyx, grid)
    return moved_to(image, image.geometry, truth), moved_to(label, image.geometry, truth)


def least_dice_of_organs(label, moved, found, truth):
    """The least Dice over organs above 100 ml, of what the moved label map has not lost at its edges."""
    grid = label.geometry
    ones = label.with_array(np.ones_like(label.array_zyx))
    kept = moved_to(ones if moved.geometry != grid else moved_to(ones, grid, truth), grid, found).array_zyx > 0
    back = moved_to(moved, grid, found).array_zyx
    sizes = np.bincount(label.array_zyx.ravel()) * np.prod(grid.spacing_zyx) / 1000
    organs = [value for value in np.flatnonzero(sizes > 100) if value]
    assert len(organs) > 10
    return min(dice((back == value) & kept, (label.array_zyx == value) & kept) for value in organs)


DRAWS = 20


@pytest.mark.long
def test_rigid_transforms_of_a_real_ct_come_back():
    """Up to 15 degrees and 20 mm: within 1 mm and 1 degree on all draws but one, and large organs overlap."""
    fixed, label = torso()
    points = phantoms.points_xyz(fixed.geometry)[label.array_zyx > 0][::97]
    rng = np.random.default_rng(0)
    good = 0
    for number in range(DRAWS):
        truth = drawn(fixed.geometry, rng)
        moving, moved_label = moved_pair(fixed, label, truth, by_header=number % 2 == 0)
        found = register(fixed, moving, Method(sampling=0.04)).transform
        distance, angle = errors(found, truth, points)
        good += distance < 1 and angle < 1 and least_dice_of_organs(label, moved_label, found, truth) >= 0.95
    assert good >= DRAWS - 1


@pytest.mark.slow
def test_a_dataset_of_a_real_ct_comes_back_with_its_labels(tmp_path):
    fixed, label = torso()
    points = phantoms.points_xyz(fixed.geometry)[label.array_zyx > 0][::97]
    rng = np.random.default_rng(1)
    truths = {"header": drawn(fixed.geometry, rng), "resampled": drawn(fixed.geometry, rng)}
    for case, truth in truths.items():
        moving, moved_label = moved_pair(fixed, label, truth, by_header=case == "header")
        write_volume(moving, tmp_path / "moving" / "image" / f"{case}.mha")
        write_volume(moved_label, tmp_path / "moving" / "label" / f"{case}.mha")
    torso_image = Path(itkit.__file__).parent / "data" / "torso" / "image.nii.gz"
    values = {"moving": tmp_path / "moving", "fixed": torso_image, "dest": tmp_path / "out"}
    assert itkit.run("itk_align", workers=2, **values).exit_code == 0
    for case, truth in truths.items():
        found = sitk.ReadTransform(str(tmp_path / "out" / "transform" / f"{case}.tfm"))
        distance, angle = errors(found, truth, points)
        assert distance < 0.3
        assert angle < 0.2
        moved_label = read_volume(tmp_path / "moving" / "label" / f"{case}.mha", "label")
        assert least_dice_of_organs(label, moved_label, found, truth) >= 0.95
        written = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label").array_zyx
        np.testing.assert_array_equal(written, moved_to(moved_label, fixed.geometry, found).array_zyx)


def test_padding_does_not_pull_images_apart():
    """Noise in both images, and a moving image that was resampled onto its own grid, filled up with its least value."""
    grid = Geometry((30, 40, 44), (4.0, 3.5, 3.5), (-30.0, 20.0, 5.0))
    rng = np.random.default_rng(3)
    soft = ndimage.gaussian_filter(rng.normal(0, 1, grid.size_zyx), 2.5)
    array = soft / soft.std() * 150 + rng.normal(0, 40, grid.size_zyx)
    fixed = Volume(np.rint(array).astype(np.int16), grid)
    truth = sitk.TranslationTransform(3, (3.7, -2.9, 5.3))
    found = register(fixed, moved_to(fixed, grid, truth), Method(levels=2)).transform
    distance, angle = errors(found, truth, phantoms.points_xyz(grid).reshape(-1, 3)[::997])
    assert distance < 0.06  # 0.1 with padding compared
    assert angle < 0.1
