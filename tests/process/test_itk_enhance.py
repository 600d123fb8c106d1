"""Intensities in steps: each step is compared with numpy, scipy or SimpleITK, and order counts."""

import json
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import itkit
from itkit.catalogue import load
from itkit.cli.adapter import parse
from itkit.core.errors import ItkitError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.parameters import make_params, to_argv
from itkit.io.json_files import write_json
from itkit.io.sitk_toolkit import itk_threads, read_volume, write_volume
from itkit.kernels.denoising import gaussian, nlm, noise_sd
from itkit.kernels.equalizing import clahe
from itkit.process.enhancing import enhance
from itkit.testing import phantoms

GRID = phantoms.GRIDS["oblique"]
OPERATION = load("itk_enhance")


def smooth_image(dtype=np.int16, size=(20, 40, 30), seed=0):
    """An image of soft blobs with noise, on an anisotropic grid."""
    rng = np.random.default_rng(seed)
    array = ndimage.gaussian_filter(rng.normal(0, 1, size), 3) * 4000 + rng.normal(0, 20, size)
    return Volume(np.clip(array + 300, -900, 3000).astype(dtype), Geometry(size, (2.5, 0.8, 0.7)))


TYPES = ["int16", "uint8", "int32", "float32", "float64"]


def image_of(dtype):
    low, high = (0, 255) if dtype == "uint8" else (-1000, 2000)
    values = np.random.default_rng(3).normal(100, 60 if dtype == "uint8" else 400, GRID.size_zyx)
    return Volume(np.clip(values, low, high).astype(dtype), GRID)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_normalizations_equal_numpy(dtype, masked):
    volume = image_of(dtype)
    x = volume.array_zyx.astype(np.float64)
    mask = (phantoms.l_shape(GRID).array_zyx > 0) if masked else None
    inside = x[mask] if masked else x.ravel()
    q1, median, q3 = np.percentile(inside, (25, 50, 75))
    low, high = np.percentile(inside, (0.5, 99.5))
    expected = {
        "zscore": ((x - inside.mean()) / inside.std(), {"mean": inside.mean(), "sd": inside.std()}),
        "minmax": ((x - inside.min()) / np.ptp(inside), {"min": inside.min(), "max": inside.max()}),
        "robust": ((x - median) / (q3 - q1), {"median": median, "iqr": q3 - q1}),
        "percentile": ((np.clip(x, low, high) - low) / (high - low), {"lo": low, "hi": high}),
    }
    for kind, (values, numbers) in expected.items():
        new, (facts,) = enhance(volume, [f"normalize {kind}"], mask=mask)
        assert new.dtype == np.float32
        np.testing.assert_allclose(new.array_zyx, values, rtol=2e-5, atol=2e-5)
        assert facts["name"] == kind
        assert {name: facts[name] for name in numbers} == pytest.approx(numbers, rel=1e-6)
        assert facts["voxels"] == inside.size


@pytest.mark.parametrize("dtype", TYPES)
def test_clip_window_and_rescale_equal_numpy(dtype):
    volume = image_of(dtype)
    x = volume.array_zyx.astype(np.float64)
    new, facts = enhance(volume, ["clip 20 180"])
    assert new.dtype == volume.dtype
    np.testing.assert_array_equal(new.array_zyx, np.clip(volume.array_zyx, 20, 180))
    assert facts == [{"name": "clip", "lo": 20, "hi": 180, "clamped": ((x < 20) | (x > 180)).sum()}]
    new, (facts,) = enhance(volume, ["window 100 150"])
    np.testing.assert_allclose(new.array_zyx, np.clip((x - 25) / 150, 0, 1), atol=1e-6)
    assert (facts["lo"], facts["hi"], facts["clamped"]) == (25, 175, ((x < 25) | (x > 175)).sum())
    new, _ = enhance(volume, ["rescale 10 -5"])
    np.testing.assert_allclose(new.array_zyx, 10 - 15 * (x - x.min()) / np.ptp(x), atol=2e-5)
    assert enhance(volume, ["clip 20.5 180"])[0].dtype == (np.float32 if volume.dtype.kind in "iu" else volume.dtype)


def test_order_counts_and_linear_steps_can_be_undone():
    volume = image_of("int16")
    one, facts = enhance(volume, ["clip -160 240", "normalize zscore", "rescale 0 1"])
    other, _ = enhance(volume, ["normalize zscore", "clip -160 240", "rescale 0 1"])
    assert not np.allclose(one.array_zyx, other.array_zyx)
    clip, zscore, rescale = facts
    back = one.array_zyx * np.float64(rescale["max"] - rescale["min"]) + rescale["min"]
    back = back * zscore["sd"] + zscore["mean"]
    np.testing.assert_allclose(back, np.clip(volume.array_zyx, clip["lo"], clip["hi"]), atol=1e-3)


def test_a_median_keeps_the_type_and_equals_scipy():
    volume = image_of("int16")
    new, (facts,) = enhance(volume, ["denoise median 1vox"])
    assert new.dtype == np.int16
    np.testing.assert_array_equal(new.array_zyx, ndimage.median_filter(volume.array_zyx, 3, mode="nearest"))
    assert facts == {"name": "denoise", "kind": "median", "strength": 1, "unit": "vox"}
    new, _ = enhance(volume, ["denoise median 2.5mm"])
    footprint = np.ones((3, 7, 9))  # 2.5 mm are 1, 3.1 and 3.6 voxels
    np.testing.assert_array_equal(
        new.array_zyx, ndimage.median_filter(volume.array_zyx, footprint=footprint, mode="nearest")
    )


@pytest.mark.parametrize("kind", ["median", "curvature", "nlm"])
def test_a_strength_of_too_many_voxels_is_refused(kind):
    volume = smooth_image("float32", (3, 4, 5))
    fine = Volume(volume.array_zyx, Geometry(volume.geometry.size_zyx, (1e-4, 1.0, 1.0)))
    with pytest.raises(ItkitError, match="1e\\+04 voxels here, and 30 is the most"):
        enhance(fine, [f"denoise {kind} 1mm"])


@pytest.mark.parametrize("step", ["equalize", "denoise nlm 1vox", "denoise gaussian 1vox", "n4 1"])
@pytest.mark.parametrize("values", [(1.0, 1.0 + 1e-12), (5e-324, 1e-310), (-3e38, 3.5e38), (-1.7e308, 1.7e308)])
def test_values_that_rounding_alone_tells_apart_and_huge_ones_fail_by_name(step, values):
    array = np.resize(values, (3, 8, 9))
    volume = Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0)))
    with pytest.raises(ItkitError, match=r"too large, or too close|all voxels are"):
        enhance(volume, [step])


def test_a_gaussian_wider_than_the_image_equals_scipy():
    array = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    expected = ndimage.gaussian_filter(array.astype(np.float64), (50, 0.7, 2), mode="nearest", truncate=4)
    np.testing.assert_allclose(gaussian(array, (50, 0.7, 2)), expected, atol=1e-5)
    assert np.ptp(gaussian(array, (1e5,) * 3)) < 1e-4


def test_a_gaussian_equals_scipy_in_mm_and_voxels():
    volume = smooth_image("float32")
    for text, sigma in (("1.2vox", (1.2,) * 3), ("1.5mm", (1.5 / 2.5, 1.5 / 0.8, 1.5 / 0.7))):
        new, _ = enhance(volume, [f"denoise gaussian {text}"])
        expected = ndimage.gaussian_filter(volume.array_zyx.astype(float), sigma, mode="nearest")
        np.testing.assert_allclose(new.array_zyx, expected, atol=0.01)


def test_curvature_flow_equals_simpleitk():
    volume = smooth_image("float32")
    new, _ = enhance(volume, ["denoise curvature 1mm"])
    step = 0.0625 * 0.7**2
    count = int(np.ceil(0.5 / step))
    expected = sitk.GetArrayFromImage(sitk.CurvatureFlow(volume.to_sitk(), 0.5 / count, count))
    np.testing.assert_allclose(new.array_zyx, expected, rtol=1e-6)
    assert new.array_zyx.std() < volume.array_zyx.std()


def test_non_local_means_equal_their_definition():
    rng = np.random.default_rng(0)
    array = np.where(np.indices((6, 7, 8))[2] < 4, 100, 200) + rng.normal(0, 10, (6, 7, 8))
    array = array.astype(np.float32)
    padded = np.pad(array.astype(float), ((2, 2), (3, 3), (3, 3)), mode="edge")
    expected = np.zeros(array.shape)

    def patch(z, y, x):
        return padded[z + 1 : z + 4, y + 2 : y + 5, x + 2 : x + 5]

    for z, y, x in np.ndindex(array.shape):
        total = weights = 0.0
        for dz in range(-1, 2):
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    d = np.mean((patch(z, y, x) - patch(z + dz, y + dy, x + dx)) ** 2)
                    w = np.exp(-max(d - 200, 0) / 64)
                    total += w * padded[z + dz + 2, y + dy + 3, x + dx + 3]
                    weights += w
        expected[z, y, x] = total / weights
    np.testing.assert_allclose(nlm(array, (1, 2, 2), 10.0), expected, rtol=1e-4)


def test_non_local_means_take_noise_away_and_leave_edges():
    truth = np.where(np.indices((20, 24, 24))[1] < 12, 100.0, 300.0)
    noisy = (truth + np.random.default_rng(1).normal(0, 15, truth.shape)).astype(np.float32)
    assert noise_sd(noisy, np.ones(noisy.shape, bool)) == pytest.approx(15, rel=0.15)
    new, (facts,) = enhance(Volume(noisy, Geometry(noisy.shape, (1.0, 1.0, 1.0))), ["denoise nlm"])
    assert np.abs(new.array_zyx - truth).mean() < 0.45 * np.abs(noisy - truth).mean()
    assert facts["search"] == [2, 2, 2]


def test_n4_equals_simpleitk():
    volume = smooth_image("float32")
    field = 1 + 0.4 * np.linspace(-1, 1, 40)[None, :, None]
    biased = volume.with_array(((volume.array_zyx + 1000) * field).astype(np.float32))
    mask = biased.array_zyx > 900
    image, itk_mask = biased.to_sitk(), biased.with_array(mask.astype(np.uint8)).to_sitk()
    new, (facts,) = enhance(biased, ["n4 1"], mask=mask)
    with itk_threads(1):  # N4 adds up in another order with more threads
        expected = sitk.GetArrayFromImage(sitk.N4BiasFieldCorrection(image, itk_mask))
    np.testing.assert_allclose(new.array_zyx, expected, rtol=1e-5)
    assert (facts["shrink"], facts["mask"]) == (1, "within")
    new, (facts,) = enhance(biased, ["n4 2"])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    with itk_threads(1):
        n4.Execute(sitk.Shrink(image, [2] * 3), sitk.Shrink(sitk.OtsuThreshold(image, 0, 1, 200), [2] * 3))
    expected = sitk.GetArrayFromImage(image / sitk.Cast(sitk.Exp(n4.GetLogBiasFieldAsImage(image)), sitk.sitkFloat32))
    np.testing.assert_allclose(new.array_zyx, expected, rtol=1e-4)
    assert facts["mask"] == "otsu"
    assert facts["field_min"] < 0.9 < 1.1 < facts["field_max"]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_matching_equals_simpleitk(tmp_path, dtype):
    volume, reference = smooth_image(dtype), smooth_image(np.int16, (12, 30, 20), seed=5)
    write_volume(volume, tmp_path / "in" / "a.mha")
    write_volume(reference, tmp_path / "my ref.nii.gz")
    for more in ({}, {"match_levels": 1024, "match_points": 7}):
        out = tmp_path / f"out{len(more)}"
        assert (
            itkit.run(
                "itk_enhance", source=tmp_path / "in", dest=out, match=tmp_path / "my ref.nii.gz", **more
            ).exit_code
            == 0
        )
        new = read_volume(out / "a.mha")
        image = volume.to_sitk()
        target = sitk.Cast(reference.to_sitk(), image.GetPixelID())
        numbers = (1024, 7) if more else (256, 1)
        expected = sitk.GetArrayFromImage(sitk.HistogramMatching(image, target, *numbers))
        np.testing.assert_array_equal(new.array_zyx, expected)
        assert new.dtype == np.dtype(dtype)
    before = read_volume(out / "a.mha").array_zyx
    write_volume(smooth_image(np.int16, seed=9), tmp_path / "my ref.nii.gz")
    again = itkit.run("itk_enhance", source=tmp_path / "in", dest=out, match=tmp_path / "my ref.nii.gz", **more)
    assert [record.status for record in again.records] == ["done"]
    assert not np.array_equal(read_volume(out / "a.mha").array_zyx, before)


def test_one_tile_without_a_limit_is_plain_equalization():
    rng = np.random.default_rng(0)
    array = rng.exponential(100, (4, 6, 7)).astype(np.float32)
    new, _ = clahe(array, tiles=1, clip_limit=1.0)
    bins = np.minimum((array - array.min()) / np.ptp(array) * 256, 255).astype(int)
    share = np.cumsum(np.bincount(bins.ravel(), minlength=256)) / array.size
    np.testing.assert_allclose(new, array.min() + share[bins] * np.ptp(array), rtol=1e-4)


def test_local_equalization_raises_contrast_where_there_is_little():
    rng = np.random.default_rng(0)
    array = rng.normal(0, 5, (16, 64, 64)).astype(np.float32)
    array[:, :, 32:] += 400
    array[0, 0, 0], array[0, 0, -1] = -1000, 1000
    new, (facts,) = enhance(Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0))), ["equalize"])
    assert new.array_zyx[4:, 8:-8, 8:24].std() > 2.5 * array[4:, 8:-8, 8:24].std()
    assert (new.array_zyx.min() >= -1000) & (new.array_zyx.max() <= 1000)
    assert facts["tiles"] == [2, 8, 8]
    flipped, _ = clahe(np.ascontiguousarray(array[::-1, ::-1, ::-1]))
    np.testing.assert_allclose(flipped[::-1, ::-1, ::-1], new.array_zyx, atol=1)


def run(tmp_path, source, **values):
    result = itkit.run("itk_enhance", source=source, dest=tmp_path, **values)
    path = tmp_path / "enhance_meta.json"
    return result, json.loads(path.read_text()) if path.is_file() else None


def test_a_dataset_keeps_its_labels_grids_and_order_of_steps(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 4)
    result, meta = run(tmp_path / "out", tmp_path / "raw", clip=(-160, 240), normalize="zscore", workers=2)
    assert result.exit_code == 0
    assert [step["name"] for step in meta["cases"][ids[0]]["steps"]] == ["clip", "zscore"]
    for case in ids:
        image = read_volume(tmp_path / "raw" / "image" / f"{case}.nii.gz")
        new = read_volume(tmp_path / "out" / "image" / f"{case}.mha")
        x = np.clip(image.array_zyx.astype(float), -160, 240)
        assert new.geometry.same_grid(image.geometry)
        np.testing.assert_allclose(new.array_zyx, (x - x.mean()) / x.std(), atol=1e-5)
        label = read_volume(tmp_path / "raw" / "label" / f"{case}.nii.gz", "label")
        copied = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label")
        np.testing.assert_array_equal(copied.array_zyx, label.array_zyx)
        assert copied.dtype == label.dtype
    result, meta = run(tmp_path / "flat", tmp_path / "raw" / "image", normalize="zscore", clip=(-1, 1))
    assert [step["name"] for step in meta["cases"][ids[0]]["steps"]] == ["zscore", "clip"]
    assert (tmp_path / "flat" / f"{ids[0]}.mha").is_file()


def test_channels_have_their_own_numbers(tmp_path):
    ids = phantoms.write_channels(tmp_path / "mr", 2)
    _, meta = run(tmp_path / "out", tmp_path / "mr", normalize="zscore", within="label")
    for channel in ("t1", "t2"):
        image = read_volume(tmp_path / "mr" / "image" / f"{ids[0]}_{channel}.mha").array_zyx
        label = read_volume(tmp_path / "mr" / "label" / f"{ids[0]}.mha").array_zyx
        (step,) = meta["cases"][ids[0]]["steps"][channel]
        assert step["mean"] == pytest.approx(image[label > 0].mean())
    phantoms.write_channels(tmp_path / "vector", 2, layout="vector")
    _, vectors = run(tmp_path / "vout", tmp_path / "vector", normalize="zscore", within="label")
    assert vectors["cases"] == meta["cases"]


def test_where_statistics_come_from(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 2)
    images = {case: read_volume(tmp_path / "raw" / "image" / f"{case}.nii.gz").array_zyx for case in ids}
    labels = {case: read_volume(tmp_path / "raw" / "label" / f"{case}.nii.gz").array_zyx > 0 for case in ids}
    for within, masks in (
        ("label", labels),
        ("nonzero", {case: array != 0 for case, array in images.items()}),
        (str(tmp_path / "raw" / "label"), labels),
    ):
        out = tmp_path / f"out-{within.count('/')}-{within[:3].strip('/')}"
        result, meta = run(out, tmp_path / "raw", normalize="zscore", within=within)
        assert result.exit_code == 0
        for case in ids:
            assert meta["cases"][case]["steps"][0]["mean"] == pytest.approx(images[case][masks[case]].mean())
    (tmp_path / "masks").mkdir()
    write_volume(
        read_volume(tmp_path / "raw" / "label" / f"{ids[1]}.nii.gz", "label"), tmp_path / "masks" / f"{ids[1]}.mha"
    )
    result, _ = run(tmp_path / "m", tmp_path / "raw" / "image", normalize="zscore", within=tmp_path / "masks")
    assert list(result.summary.unpaired) == [ids[0]]
    with pytest.raises(ItkitError, match="has no folder label"):
        run(tmp_path / "x", tmp_path / "raw" / "image", normalize="zscore", within="label")


def test_the_numbers_of_a_body(tmp_path):
    grid = Geometry((20, 60, 60), (3.0, 3.0, 3.0))
    array = np.full(grid.size_zyx, -1000, np.int16)
    array[:, 10:50, 10:50] = np.random.default_rng(0).integers(20, 80, (20, 40, 40))
    write_volume(Volume(array, grid), tmp_path / "in" / "a.mha")
    _, meta = run(tmp_path / "out", tmp_path / "in", normalize="zscore", within="body")
    assert meta["cases"]["a"]["steps"][0]["mean"] == pytest.approx(array[array > -500].mean(), abs=1)


def test_numbers_of_a_dataset(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    numbers = {"mean": 30.5, "std": 210.25, "p0_5": -700.5, "p99_5": 650.0, "median": 1, "min": -900, "max": 900}
    write_json(tmp_path / "stats.json", {"dataset": {"intensity": {"whole": None, "foreground": numbers}}})
    values = {"statistics": tmp_path / "stats.json"}
    result, meta = run(tmp_path / "out", tmp_path / "raw", **values)
    assert result.exit_code == 0
    clip, zscore = meta["cases"]["case_00"]["steps"]
    assert (clip["lo"], clip["hi"], zscore["mean"], zscore["sd"]) == (-700.5, 650, 30.5, 210.25)
    image = read_volume(tmp_path / "raw" / "image" / "case_00.nii.gz").array_zyx
    expected = (np.clip(image, -700.5, 650.0) - 30.5) / 210.25
    np.testing.assert_allclose(read_volume(tmp_path / "out" / "image" / "case_00.mha").array_zyx, expected, atol=1e-5)
    again = run(tmp_path / "again", tmp_path / "raw", **values, normalize="zscore")[1]
    assert again["cases"] == meta["cases"]
    assert {record.status for record in run(tmp_path / "out", tmp_path / "raw", **values)[0].records} == {"skipped"}
    write_json(tmp_path / "stats.json", {"dataset": {"intensity": {"foreground": {**numbers, "mean": 0}}}})
    assert {record.status for record in run(tmp_path / "out", tmp_path / "raw", **values)[0].records} == {"done"}
    write_json(tmp_path / "stats.json", {"dataset": {}})
    with pytest.raises(ParamsError, match=r"expected dataset\.intensity\.foreground"):
        run(tmp_path / "no", tmp_path / "raw", **values)


@pytest.mark.parametrize(("dtype", "written"), [(None, "float32"), ("float64", "float64")])
def test_float_results_are_float32_unless_asked(dtype, written, tmp_path):
    write_volume(image_of("float64"), tmp_path / "in" / "a.mha")
    _, meta = run(tmp_path / "out", tmp_path / "in", clip=(-100, 200), dtype=dtype)
    new = read_volume(tmp_path / "out" / "a.mha")
    assert new.dtype == meta["cases"]["a"]["dtype"] == written
    np.testing.assert_array_equal(new.array_zyx, np.clip(image_of("float64").array_zyx, -100, 200).astype(written))


def test_what_a_type_cannot_hold_is_clamped_counted_and_told(tmp_path):
    write_volume(image_of("int16"), tmp_path / "in" / "a.mha")
    result, meta = run(tmp_path / "out", tmp_path / "in", rescale=(-10, 300), dtype="uint8")
    x = image_of("int16").array_zyx.astype(float)
    scaled = np.rint(-10 + 310 * (x - x.min()) / np.ptp(x))
    new = read_volume(tmp_path / "out" / "a.mha")
    assert new.dtype == np.uint8
    np.testing.assert_array_equal(new.array_zyx, np.clip(scaled, 0, 255))
    count = ((scaled < 0) | (scaled > 255)).sum()
    assert meta["cases"]["a"]["clamped"] == count > 0
    assert meta["cases"]["a"]["dtype"] == "uint8"
    assert f"{count} voxels lie outside uint8" in result.records[0].warnings[0]


@pytest.mark.parametrize(
    ("array", "step", "said"),
    [
        (np.full((2, 3, 4), 7, np.int16), "clip 0 1", "all voxels are 7; a constant image"),
        (np.full((2, 3, 4), 7.5, np.float32), "equalize", "all voxels are 7.5"),
        (np.array([[[np.nan, 1, 2, np.inf]]], np.float32), "clip 0 1", "1 nan voxel and 1 infinite voxel"),
        (np.arange(24, dtype=np.int16).reshape(2, 3, 4), "clip 50 60", "after --clip 50 60, all voxels are 50"),
        (
            np.array([[[0, 0, 0, 0, 9]]], np.int16),
            "normalize robust",
            "--normalize robust: the voxels it counts are all 0",
        ),
    ],
)
def test_constant_images_and_nan_fail_by_name(tmp_path, array, step, said):
    write_volume(Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0))), tmp_path / "in" / "bad.mha")
    write_volume(image_of("int16"), tmp_path / "in" / "good.mha")
    result, meta = run(tmp_path / "out", tmp_path / "in", steps=[step] if "50" not in step else ["clip 50 60"])
    assert result.exit_code == 1
    assert said in result.records[0].message
    assert list(meta["cases"]) == ["good"]
    assert not (tmp_path / "out" / "bad.mha").exists()


def test_the_command_line_keeps_the_order_of_steps(tmp_path):
    argv = (
        "raw out --normalize zscore --clip -3 3 --n4 --denoise gaussian 1.50mm --equalize --clip -1 1 --denoise median"
    )
    params, _ = parse(OPERATION, [*argv.split(), "--match", "my ref.mha", "--within", "body"])
    assert params.steps == (
        "normalize zscore",
        "clip -3 3",
        "n4 4",
        "denoise gaussian 1.5mm",
        "equalize",
        "clip -1 1",
        "denoise median 1vox",
        "match my ref.mha",
    )
    assert parse(OPERATION, to_argv(params))[0] == params
    assert parse(OPERATION, ["--n4", "raw", "out", "--clip=-3", "3"])[0].steps == ("n4 4", "clip -3 3")
    (tmp_path / "run.toml").write_text("normalize = 'zscore'\nclip = [-3, 3]\nn4 = true\nequalize = false\n")
    config = ["--config", str(tmp_path / "run.toml"), "raw", "out"]
    assert parse(OPERATION, config)[0].steps == ("normalize zscore", "clip -3 3", "n4 4")
    assert parse(OPERATION, [*config, "--equalize"])[0].steps == ("equalize",)
    (tmp_path / "run.json").write_text(json.dumps({"steps": ["clip 0 1.0", "n4"]}))
    assert parse(OPERATION, ["--config", str(tmp_path / "run.json"), "a", "b"])[0].steps == ("clip 0 1", "n4 4")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("raw out", "nothing to do: give at least one step"),
        ("raw out --clip 3", "--clip: expected LO HI; got '3'"),
        ("raw out --clip 3 1", "--clip: expected LO < HI"),
        ("raw out --clip a 1", "--clip: expected LO HI; got 'a'"),
        ("raw out --normalize mean", "--normalize: expected {zscore,minmax,percentile,robust}; got 'mean'"),
        ("raw out --denoise", "--denoise: expected {median,gaussian,curvature,nlm}"),
        ("raw out --denoise median 0mm", "expected a strength > 0"),
        ("raw out --window 40 0", "expected a width > 0"),
        ("raw out --rescale 1 1", "--rescale: expected LO < HI"),
        ("raw out --statistics s.json --normalize robust", "drop the other --normalize"),
        ("raw out --normalize percentile --percentiles 90 10", "--percentiles: expected LO < HI"),
        ("raw out --cilp 0 1", "did you mean --clip?"),
    ],
)
def test_unclear_steps_are_refused(argv, said):
    with pytest.raises(ParamsError) as error:
        parse(OPERATION, argv.split())
    assert said in str(error.value)


def test_a_file_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 1)
    for step in ("match", "statistics"):
        with pytest.raises(ParamsError, match=f"--{step}"):
            run(tmp_path / "out", tmp_path / "raw", **{step: tmp_path / "none.json"})
    with pytest.raises(ParamsError, match="no step 'sharpen'"):
        make_params(OPERATION.params, {"source": "a", "dest": "b", "steps": ["sharpen 2"]})
    assert not (tmp_path / "out").exists()


def test_absolute_parameters_keep_their_key():
    params = make_params(OPERATION.params, {"source": "a", "dest": "b", "match": "r.mha", "within": "masks"})
    assert params.absolute().content_key() == params.content_key()
    assert params.absolute().steps[0].startswith("match /")
    assert params.content_key() != params.model_copy(update={"match_points": 7}).content_key()
    assert partial(make_params, OPERATION.params)({**params.absolute_values()}) == params.absolute()
