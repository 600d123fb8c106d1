import numpy as np
import pytest
import torch
from monai import transforms
from pydantic import ValidationError
from scipy import ndimage
from scipy.stats import kstest
from torch.nn import functional

from itkit.training.augmenting import Augmentation, AugmentSettings, SpatialMap, draw_map
from itkit.training.augmenting.intensity import blurred, coarser, contrast, gamma
from itkit.training.augmenting.spatial import _by_torch, rotation

NOTHING = AugmentSettings(
    mirror="", rotation=0, scale=0, noise=0, blur=0, brightness=0, contrast=0, low_resolution=0, gamma=0,
    gamma_inverted=0,
)  # fmt: skip


def only(**kinds):
    return NOTHING.model_copy(update=kinds)


def ball(size=(24, 30, 36), centre=(8, 14, 25), radius=4.0):
    places = np.indices(size).transpose(1, 2, 3, 0) - np.array(centre)
    return (np.linalg.norm(places, axis=-1) <= radius).astype(np.uint8)


def smooth(seed=0, size=(24, 30, 36)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 2).astype(np.float32)


def tensors(image, label):
    return torch.from_numpy(image[None]), torch.from_numpy(label)


def test_without_any_kind_nothing_changes():
    image, label = tensors(smooth(), ball())
    found = Augmentation(NOTHING)(image, label, np.random.default_rng(0))
    assert torch.equal(found[0], image)
    assert torch.equal(found[1], label)
    off = Augmentation(AugmentSettings(enabled=False))(image, label, np.random.default_rng(0))
    assert torch.equal(off[0], image)


@pytest.mark.parametrize("axis", range(3))
def test_a_mirror_turns_the_named_axis_alone(axis):
    image, label = tensors(smooth(), ball())
    settings = only(mirror="ZYX"[axis])
    seen = set()
    for seed in range(12):
        found, mask = Augmentation(settings)(image, label, np.random.default_rng(seed))
        mirrored = torch.equal(found, image.flip(axis + 1)) and torch.equal(mask, label.flip(axis))
        assert mirrored or torch.equal(found, image)
        seen.add(mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("angles", "moved"), [((90, 0, 0), (0, 1, 0)), ((0, 90, 0), (-1, 0, 0)), ((0, 0, 90), (0, 0, 1))]
)
def test_a_rotation_turns_x_as_a_right_handed_turn_about_z_y_x_does(angles, moved):
    assert np.allclose(rotation(np.radians(angles)) @ (0, 0, 1), moved)


def test_a_turned_patch_equals_scipys_in_millimetres():
    image, label, spacing = smooth(), ball(), np.array((3.0, 1.0, 0.5))
    turn = rotation(np.radians((20, -15, 30)))
    matrix = turn * spacing / spacing[:, None]
    spatial = SpatialMap(image.shape, matrix)
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ centre
    found, mask = spatial.apply(*tensors(image, label), fill=-9.0, label_fill=7)
    places = np.einsum("ij,jzyx->izyx", matrix, np.indices(image.shape)) + offset[:, None, None, None]
    inside = ((places >= -0.5) & (places < np.array(image.shape)[:, None, None, None] - 0.5)).all(axis=0)
    expected = ndimage.map_coordinates(image, places, order=1, mode="nearest")
    np.testing.assert_allclose(found[0].numpy()[inside], expected[inside], atol=1e-5)
    assert (found[0].numpy()[~inside] == -9).all()
    nearest = ndimage.map_coordinates(label, np.floor(places + 0.5), order=0, mode="nearest")
    assert np.array_equal(mask.numpy()[inside], nearest[inside])
    assert (mask.numpy()[~inside] == 7).all()


def test_a_ball_in_space_stays_a_ball_whatever_the_spacing():
    spacing = np.array((4.0, 1.0, 1.0))
    places = (np.indices((15, 60, 60)).transpose(1, 2, 3, 0) - (7, 29.5, 29.5)) * spacing
    label = torch.from_numpy((np.linalg.norm(places, axis=-1) <= 20).astype(np.uint8))
    settings = only(rotation=1.0, rotation_degrees=90)
    for seed in range(5):
        _, turned = Augmentation(settings)(torch.zeros(1, 15, 60, 60), label, np.random.default_rng(seed), spacing)
        assert (turned != label).float().mean() < 0.02


def test_the_scale_is_the_size_of_structures_and_in_plane_leaves_z_alone():
    label = ball((40, 40, 40), (19.5, 19.5, 19.5), 8)
    for flat, power in ((False, 3), (True, 2)):
        settings = only(scale=1.0, scale_range=(1.3, 1.3), in_plane=flat)
        _, found = Augmentation(settings)(torch.zeros(1, 40, 40, 40), torch.from_numpy(label), np.random.default_rng(0))
        assert found.sum().item() / label.sum() == pytest.approx(1.3**power, rel=0.03)


def test_what_a_patch_shows_is_uniform_and_noise_is_as_weak_as_in_nnunet():
    maps = [draw_map(only(scale=1.0), np.random.default_rng(seed), (8, 8, 8), (1, 1, 1)) for seed in range(2000)]
    shown = np.array([spatial.matrix[0, 0] for spatial in maps])
    assert kstest(shown, "uniform", (1 / 1.4, 1 / 0.7 - 1 / 1.4)).pvalue > 0.01
    image = torch.zeros(1, 16, 16, 16)
    strengths = [Augmentation(only(noise=1.0))(image, None, np.random.default_rng(seed))[0].std() for seed in range(99)]
    assert 0.09 < max(strengths) < 0.105


def test_in_plane_never_mixes_planes():
    settings = only(rotation=1, scale=1, shear=1, elastic=1, in_plane=True)
    image = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 40, 40).contiguous()
    label = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1).expand(6, 40, 40).contiguous()
    for seed in range(4):
        found, mask = Augmentation(settings)(image, label, np.random.default_rng(seed))
        inner = (slice(None), slice(15, 25), slice(15, 25))
        assert torch.equal(found[0][inner], image[0][inner])
        assert torch.equal(mask[inner], label[inner])


@pytest.mark.parametrize(
    "kinds", [{"rotation": 1.0}, {"elastic": 1.0}, {"rotation": 1, "scale": 1, "shear": 1, "elastic": 1}]
)
def test_the_device_path_equals_the_compiled_one(kinds):
    image, label = smooth(), ball()
    for seed in range(4):
        spatial = draw_map(only(**kinds), np.random.default_rng(seed), image.shape, (2.0, 1.0, 0.7))
        centre = (np.array(image.shape) - 1) / 2
        offset = centre - spatial.matrix @ centre
        ours = spatial.apply(*tensors(image, label), fill=-2.0)
        theirs = _by_torch(spatial, offset, *tensors(image, label), [-2.0], 0)
        far = (ours[0] - theirs[0]).abs() > 1e-4  # a voxel at the very border of inside and outside may differ
        assert far.float().mean() < 1e-3
        assert (ours[1] != theirs[1]).float().mean() < 1e-3


def test_elastic_moves_no_voxel_further_than_its_limit_and_never_folds():
    settings = only(elastic=1.0, elastic_strength=0.4, elastic_cells=4)
    spatial = draw_map(settings, np.random.default_rng(1), (41, 41, 41), (1, 1, 1))
    nodes = spatial.bend.nodes
    assert 0.5 < np.abs(nodes).max() <= 0.4 * 10
    step = 40 / (nodes.shape[0] - 1)
    for axis in range(3):
        assert (1 + np.diff(nodes[..., axis], axis=axis) / step > 0).all()


def test_the_source_box_holds_every_voxel_that_is_read():
    everything = only(rotation=1, scale=1, shear=1, elastic=1)
    volume = smooth(3, (90, 90, 90)) + 100
    whole = torch.from_numpy(volume[None])
    for seed in range(6):
        spatial = draw_map(everything, np.random.default_rng(seed), (20, 24, 16), (1.5, 1, 1))
        start = [45 - n // 2 for n in spatial.source_zyx]
        box = tuple(slice(first, first + n) for first, n in zip(start, spatial.source_zyx, strict=True))
        cut, _ = spatial.apply(whole[(slice(None), *box)], fill=0.0)
        middle = [45 - 0.5 if n % 2 == 0 else 45 for n in spatial.source_zyx]
        direct, _ = spatial.apply(whole, centre_zyx=middle, fill=0.0)
        assert cut.min() > 50  # nothing comes from outside
        torch.testing.assert_close(cut, direct, rtol=1e-6, atol=1e-5)


def test_the_generator_decides_everything():
    image, label = tensors(smooth(), ball())
    settings = AugmentSettings(
        rotation=1, noise=1, blur=1, gamma=1, low_resolution=1, contrast=1, brightness=1, elastic=1
    )
    first, again, other = (Augmentation(settings)(image, label, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.isfinite(first[0]).all()


def test_a_slice_is_augmented_as_a_patch_of_one_plane():
    settings = AugmentSettings(
        rotation=1, scale=1, shear=1, elastic=1, blur=1, blur_per_channel=1, low_resolution=1,
        low_resolution_per_channel=1, gamma=1, gamma_inverted=1, noise=1, contrast=1, brightness=1,
    )  # fmt: skip
    image, label = torch.from_numpy(smooth(0, (1, 32, 40))[None]), torch.zeros(1, 32, 40, dtype=torch.int16)
    found, mask = Augmentation(settings)(image.repeat(2, 1, 1, 1), label, np.random.default_rng(0))
    assert found.shape == (2, 1, 32, 40)
    assert mask.dtype == torch.int16


def test_blur_contrast_resolution_and_gamma_are_what_their_names_say():
    channel = torch.from_numpy(smooth() * 3 + 1)
    sigma = (0.8, 0.8)
    expected = ndimage.gaussian_filter(channel.numpy(), 0.8, mode="nearest", radius=4)
    np.testing.assert_allclose(blurred(channel, np.random.default_rng(0), sigma), expected, atol=1e-4)
    stronger = contrast(channel, 1.2)
    assert stronger.mean().item() == pytest.approx(channel.mean().item(), abs=1e-2)
    assert (stronger.min() - channel.min()).item() >= -1e-5
    assert stronger.std() > channel.std()
    curved = gamma(channel, 1.4)
    assert curved.mean().item() == pytest.approx(channel.mean().item(), abs=1e-4)
    assert curved.std().item() == pytest.approx(channel.std().item(), rel=1e-3)
    order = channel.flatten().argsort()
    assert (curved.flatten()[order].diff() >= -1e-4).all()
    ramp = torch.linspace(0, 39, 40).expand(40, 40, 40).contiguous()
    torch.testing.assert_close(coarser(ramp, 0.5)[20, 20, 4:-4], ramp[20, 20, 4:-4], atol=1.0, rtol=0)


@pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)])
def test_a_turned_bent_and_mirrored_patch_is_the_mirror_image_of_the_turned_and_bent_one(flips):
    image, label = smooth(), ball()
    spatial = draw_map(only(rotation=1, elastic=1), np.random.default_rng(3), image.shape, (2, 1, 1))
    plain = spatial.apply(*tensors(image, label), fill=-2.0)
    mirror = SpatialMap(spatial.size_zyx, spatial.matrix, spatial.bend, flips)
    mirrored = mirror.apply(*tensors(image, label), fill=-2.0)
    far = (mirrored[0].flip([axis + 1 for axis in flips]) - plain[0]).abs() > 1e-4
    assert far.float().mean() < 1e-3  # a voxel at the very border of inside and outside may differ
    assert (mirrored[1].flip(flips) != plain[1]).float().mean() < 1e-3


@pytest.mark.parametrize("size", [(20, 24, 30), (1, 24, 30)])
def test_contrast_and_gamma_equal_monais_and_resolution_nnunets(size):
    channel = torch.from_numpy(smooth(1, size) * 3 + 1)
    expected = transforms.ScaleIntensityFixedMean(factor=0.2, preserve_range=True)(channel[None])[0]
    torch.testing.assert_close(contrast(channel, 1.2), expected, rtol=1e-5, atol=1e-5)
    for inverted in (False, True):
        curve = transforms.AdjustContrast(0.7, invert_image=inverted, retain_stats=True)
        torch.testing.assert_close(gamma(channel, 0.7, inverted), curve(channel[None])[0], rtol=1e-4, atol=1e-4)
    image = channel[None, None] if size[0] > 1 else channel[None]
    low = functional.interpolate(image, [round(0.61 * n) for n in image.shape[2:]], mode="nearest-exact")
    expected = functional.interpolate(low, image.shape[2:], mode="trilinear" if size[0] > 1 else "bilinear")
    torch.testing.assert_close(coarser(channel, 0.61), expected.reshape(size), rtol=1e-5, atol=1e-5)
    flat = torch.full(size, 3.0)
    assert torch.equal(gamma(flat, 1.3), flat)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rotation", 1.2),
        ("mirror", "ZZ"),
        ("scale_range", (1.4, 0.7)),
        ("elastic_strength", 0.5),
        ("spin", 1),
        ("noise", float("nan")),
    ],
)
def test_an_impossible_setting_is_named(key, value):
    with pytest.raises(ValidationError, match=key):
        AugmentSettings(**{key: value})
