"""What the network sees: SimpleITK's resampling of intensities normalised as nnU-Net does, at the same places."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes

from itkit.core.errors import CaseError, GeometryMismatchError, ResourceError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.inference.model_folder import Intensity
from itkit.inference.preparing import Preparation, foreground, normalized, prepare_image, prepare_label

CT = Intensity(scheme="ct", low=-100, high=200, mean=30, sd=60)
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
GRIDS = {
    "plain": Geometry((9, 14, 11), (3.0, 0.9, 0.8)),
    "flipped": Geometry((9, 14, 11), (3.0, 0.9, 0.8), (5.0, -7.0, 11.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "turned": Geometry((9, 14, 11), (1.2, 0.9, 0.8), (5.0, -7.0, 11.0), (0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)),
    "oblique": Geometry((9, 14, 11), (3.0, 0.9, 0.8), (1.0, 2.0, 3.0), OBLIQUE),
}


def ct_image(grid, seed=0):
    values = np.random.default_rng(seed).integers(-1024, 1500, grid.size_zyx).astype(np.int16)
    return Volume(values, grid)


@pytest.mark.parametrize("name", GRIDS)
def test_ct_is_clipped_scaled_turned_and_resampled_at_its_physical_place(name):
    image = ct_image(GRIDS[name])
    found = prepare_image([image], Preparation(("CT",), (2.0, 1.1, 1.3), "LPS", CT))
    assert found.array_czyx.dtype == np.float32
    assert found.geometry.orientation == "LPS"
    assert found.source == image.geometry
    np.testing.assert_allclose(found.geometry.spacing_zyx, (2.0, 1.1, 1.3))
    scaled = (np.clip(image.array_zyx.astype(np.float64), -100, 200) - 30) / 60
    source = Volume(scaled, image.geometry).to_sitk()
    target = Volume(np.zeros(found.geometry.size_zyx), found.geometry).to_sitk()
    theirs = sitk.GetArrayFromImage(sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, -99.0))
    inside = theirs != -99.0
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found.array_czyx[0][inside], theirs[inside], atol=1e-4)


def test_a_label_lies_on_the_images_grid():
    grid = GRIDS["flipped"]
    image, label = ct_image(grid), Volume((ct_image(grid).array_zyx > 0).astype(np.uint8), grid, "label")
    preparation = Preparation(("CT",), (2.0, 1.1, 1.3), "RAS", CT)
    found = prepare_image([image], preparation)
    grid = preparation.grid(label.geometry)
    assert grid == found.geometry
    on_grid = prepare_label(label, grid)
    assert on_grid.shape_zyx == found.array_czyx.shape[1:]
    assert on_grid.dtype == label.dtype


def test_the_voxels_own_grid_is_left_alone():
    image = ct_image(GRIDS["oblique"])
    found = prepare_image([image], Preparation(("CT",), (-1, -1, -1), image.geometry.orientation, CT))
    assert found.geometry == image.geometry
    np.testing.assert_allclose(found.array_czyx[0], (np.clip(image.array_zyx, -100, 200) - 30.0) / 60, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64])
def test_zscore_takes_a_volumes_own_numbers(dtype):
    values = np.random.default_rng(1).integers(1, 200, (5, 6, 7)).astype(dtype)
    found = normalized(values, Intensity())
    np.testing.assert_allclose(found, (values - values.mean(dtype=float)) / values.std(dtype=float), atol=1e-5)


@pytest.mark.parametrize("spacing", [(1e-6, 1e-6, 1e-6), (-1, -1, 1e-6), (0.001, 0.001, 0.001)])
def test_a_spacing_that_makes_more_voxels_than_any_machine_can_take_is_refused_with_the_sizes(spacing):
    image = Volume(np.full((40, 60, 50), np.nan, np.float32), Geometry((40, 60, 50), (2.0, 1.0, 1.0)))
    size = [round(n * mm / new) if new > 0 else n for n, mm, new in zip((40, 60, 50), (2, 1, 1), spacing, strict=True)]
    says = f"makes {' x '.join(map(str, size))} voxels of .* mm ZYX of 40 x 60 x 50 voxels of 2 x 1 x 1 mm, which takes"
    with pytest.raises(ResourceError, match=says):  # before its intensities are looked at
        prepare_image([image], Preparation(("CT",), spacing, "LPS", CT))


def test_zscore_within_what_is_not_zero_is_nnunets():
    rng = np.random.default_rng(2)
    arrays = [np.zeros((8, 9, 10), np.float32) for _ in range(2)]
    arrays[0][2:6, 2:7, 2:8] = rng.uniform(1, 5, (4, 5, 6))
    arrays[1][3:7, 2:7, 2:8] = rng.uniform(50, 90, (4, 5, 6))
    arrays[0][4, 4, 4] = arrays[1][4, 4, 4] = 0  # a hole in the middle belongs to it
    channels = [Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0))) for array in arrays]
    mask = binary_fill_holes((arrays[0] != 0) | (arrays[1] != 0))
    np.testing.assert_array_equal(foreground(channels), mask)
    rule = Intensity(within="nonzero")
    found = prepare_image(channels, Preparation(("T1", "T2"), (-1, -1, -1), "LPS", rule)).array_czyx
    for array, one in zip(arrays, found, strict=True):
        expected = array.copy()
        expected[mask] = (array[mask] - array[mask].mean()) / array[mask].std()
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_channels_have_their_own_rules_and_may_lie_in_one_file():
    grid = GRIDS["plain"]
    one, two = ct_image(grid, 1), ct_image(grid, 2)
    rule = Intensity(scheme="zscore", channels={"CT": CT})
    preparation = Preparation(("CT", "PET"), (-1, 1.5, 1.5), "LPS", rule)
    found = prepare_image([one, two], preparation)
    vectors = Volume(np.stack([one.array_zyx, two.array_zyx], axis=-1), grid)
    np.testing.assert_array_equal(prepare_image([vectors], preparation).array_czyx, found.array_czyx)
    alone = prepare_image([one], Preparation(("CT",), (-1, 1.5, 1.5), "LPS", CT))
    np.testing.assert_array_equal(found.array_czyx[0], alone.array_czyx[0])
    assert abs(found.array_czyx[1].mean()) < 0.1


@pytest.mark.parametrize(
    ("values", "rule", "message"),
    [
        (np.full((3, 3, 3), np.nan, np.float32), Intensity(), "nan"),
        (np.full((3, 3, 3), np.inf, np.float32), Intensity(scheme="none"), "infinite"),
        (np.full((3, 3, 3), 7, np.int16), Intensity(), "MR: all voxels are 7"),
        (np.zeros((3, 3, 3), np.float32), Intensity(within="nonzero"), "no voxel differs from 0"),
        (np.pad(np.full((2, 2, 2), 3.0), 1), Intensity(within="nonzero"), "that count are 3"),
    ],
)
def test_voxels_without_intensities_are_a_failure_by_name(values, rule, message):
    image = Volume(values, Geometry(values.shape, (1.0, 1.0, 1.0)))
    with pytest.raises(CaseError, match=message):
        prepare_image([image], Preparation(("MR",), (-1, -1, -1), "LPS", rule))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_fixed_numbers_need_no_voxels_that_differ(dtype):
    rule = Intensity(scheme="ct", low=0, high=200, mean=100, sd=50)
    image = Volume(np.full((2, 3, 4), 240, dtype), Geometry((2, 3, 4), (1.0, 1.0, 1.0)))
    found = prepare_image([image], Preparation(("CT",), (-1, -1, -1), "LPS", rule))
    np.testing.assert_array_equal(found.array_czyx, np.full((1, 2, 3, 4), 2, np.float32))


def test_missing_channels_and_other_grids_are_named():
    preparation = Preparation(("T1", "T2"), (-1, -1, -1), "LPS", CT)
    with pytest.raises(CaseError, match=r"2 channels \(T1, T2\).*has 1"):
        prepare_image([ct_image(GRIDS["plain"])], preparation)
    with pytest.raises(GeometryMismatchError, match="T1 and T2 differ"):
        prepare_image([ct_image(GRIDS["plain"]), ct_image(GRIDS["oblique"])], preparation)
