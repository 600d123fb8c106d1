"""Label maps by volume: against a brute-force reference, and what becomes of small structures."""

import itertools

import numpy as np
import pytest

from itkit.kernels.separable import sample_nearest
from itkit.kernels.shares import largest_share


def centres(size, step):
    """Continuous source indices of output voxels that cover the same box as the source."""
    count = max(1, round(size / step))
    return (np.arange(count) + 0.5) * step - 0.5 + (size - count * step) / 2


def reference_shares(array, indices, steps):
    """The volume of each class in each output voxel, by intersecting boxes one by one."""
    found = {int(value): np.zeros([len(index) for index in indices]) for value in np.unique(array)}
    for place in itertools.product(*(range(len(index)) for index in indices)):
        low = [index[at] - step / 2 for index, at, step in zip(indices, place, steps, strict=True)]
        for voxel in np.ndindex(array.shape):
            sides = [
                max(0.0, min(start + step, at + 0.5) - max(start, at - 0.5))
                for start, step, at in zip(low, steps, voxel, strict=True)
            ]
            found[int(array[voxel])][place] += np.prod(sides) / np.prod(steps)
    return found


@pytest.mark.parametrize("steps", [(2.0, 1.5, 2.5), (0.5, 3.0, 1.0), (1.7, 1.0, 0.8)])
def test_large_structures_get_the_largest_share(steps):
    rng = np.random.default_rng(3)
    array = np.kron(rng.integers(0, 4, (2, 2, 2)), np.ones((3, 3, 4))).astype(np.int16) * 5
    indices = [centres(size, step) for size, step in zip(array.shape, steps, strict=True)]
    shares = reference_shares(array, indices, steps)
    result = largest_share(array, indices, steps, clamp=False)
    assert result.dtype == array.dtype
    ranked = np.sort(np.stack(list(shares.values())), axis=0)
    clear = ranked[-1] > ranked[-2] + 1e-4
    winner = np.array(list(shares))[np.argmax(np.stack(list(shares.values())), axis=0)]
    made_up = (winner == 0) & (result != 0)  # background in which a class has made up for its volume
    assert clear.any()
    np.testing.assert_array_equal(result[clear & ~made_up], winner[clear & ~made_up])
    for value, share in shares.items():
        if value != 0:
            assert (share[made_up & (result == value)] > 0).all()
            assert (result == value).sum() >= min(1, round(share.sum()))


def test_a_constant_map_stays_constant_where_the_new_box_is_larger():
    array = np.full((5, 5, 5), 4, np.uint8)
    indices = [centres(5, 3)] * 3
    assert (largest_share(array, indices, (3, 3, 3)) == 4).all()
    assert largest_share(array, [index + 50 for index in indices], (3, 3, 3), clamp=False).max() == 0


def lesions(seed, classes):
    """Balls of 1 to 4 mm radius at random places on a 1 mm grid, one class or one class each; and a large organ."""
    rng = np.random.default_rng(seed)
    label = np.zeros((60, 60, 60), np.uint8)
    zyx = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), axis=-1)
    label[((zyx - (30, 30, 12)) ** 2).sum(axis=-1) < 10**2] = 1
    centres_zyx = [(z, y, x) for z in (8, 22, 36, 50) for y in (8, 22, 36, 50) for x in (32, 42, 52)]
    for number, centre in enumerate(centres_zyx):
        ball = ((zyx - (np.array(centre) + rng.uniform(-2, 2, 3))) ** 2).sum(axis=-1) < rng.uniform(1, 4) ** 2
        label[ball] = 2 + (number if classes == "each" else 0)
    return label


def dice(first, second):
    return 2 * (first & second).sum() / max(1, first.sum() + second.sum())


@pytest.mark.parametrize("classes", ["each", "one"])
@pytest.mark.parametrize("seed", range(3))
def test_lesions_from_1_to_3_mm_have_better_dice_and_volumes_than_nearest(seed, classes):
    label = lesions(seed, classes)
    indices = [centres(60, 3)] * 3
    by_share, nearest = largest_share(label, indices, (3, 3, 3)), sample_nearest(label, indices)
    values = [value for value in np.unique(label) if value != 0]
    scores = {}
    for name, small in (("share", by_share), ("nearest", nearest)):
        back = small.repeat(3, 0).repeat(3, 1).repeat(3, 2)
        truth = np.array([(label == value).sum() for value in values])
        found = np.array([(back == value).sum() for value in values])
        scores[name] = (
            np.mean([dice(label == value, back == value) for value in values]),
            np.abs(found - truth).mean(),
            (found > 0).sum(),
        )
    assert scores["share"][2] == len(values)
    assert scores["share"][0] > scores["nearest"][0]
    assert scores["share"][1] < scores["nearest"][1]
    if classes == "each":
        assert scores["nearest"][2] < len(values)
        volumes = np.array([(label == value).sum() for value in values])
        found = np.array([(by_share == value).sum() for value in values])
        assert (found == np.maximum(1, np.round(volumes / 27))).mean() > 0.8


def test_a_class_inside_another_survives_and_does_not_end_it():
    label = np.full((9, 9, 9), 1, np.uint8)
    label[4, 4, 4] = 2
    result = largest_share(label, [centres(9, 3)] * 3, (3, 3, 3))
    assert (result == 2).sum() == 1
    assert result[1, 1, 1] == 2
    tiny = np.array([[[1, 2, 1]]], np.uint8)
    assert largest_share(tiny, [np.zeros(1), np.zeros(1), np.ones(1)], (1, 1, 3)).tolist() == [[[1]]]
