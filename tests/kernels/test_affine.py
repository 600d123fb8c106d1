from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from itkit.core.geometry import Geometry
from itkit.kernels.affine import Bend, affine_linear, affine_nearest, affine_pair
from itkit.kernels.dispatch import forced_backend
from itkit.kernels.sampling import index_affine

from .support import DTYPES, INTEGERS, both, classes, oblique, same_bits, seeds, simpleitk, sizes, spacings, volume


def random_map(rng, size):
    """A map of indices that turns, scales and shears about the volume's centre, in and out of it."""
    matrix = np.eye(3) + rng.normal(0, 0.3, (3, 3))
    center = (np.array(size) - 1) / 2
    return matrix, center - matrix @ center + rng.normal(0, 2, 3)


@settings(max_examples=100, deadline=None)
@given(sizes, st.sampled_from(DTYPES), st.sampled_from(INTEGERS), seeds)
def test_compiled_and_numpy_results_are_equal_to_the_last_bit(size, dtype, label_dtype, seed):
    rng = np.random.default_rng(seed)
    matrix, offset = random_map(rng, size)
    target = tuple(int(n) for n in rng.integers(1, 80, 3) // (2, 2, 1))
    image, label = volume(seed, size, dtype, special=True), volume(seed + 1, size, label_dtype)
    plan = (target, matrix, offset)
    native, plain = both(affine_pair, image, label, *plan, fill=-3, label_fill=4)
    assert same_bits(native[0], plain[0])
    assert same_bits(native[1], plain[1])
    with forced_backend("native"):
        threaded = affine_pair(image, label, *plan, fill=-3, label_fill=4, threads=3)
        alone = affine_linear(image, *plan, fill=-3), affine_nearest(label, *plan, fill=4)
    for pair in (threaded, alone):
        assert same_bits(native[0], pair[0])
        assert same_bits(native[1], pair[1])


@settings(max_examples=60, deadline=None)
@given(sizes, spacings, st.tuples(*[st.integers(-60, 60)] * 3), st.sampled_from(DTYPES), seeds)
def test_a_turned_pair_equals_simpleitk(size, spacing, degrees, dtype, seed):
    rng = np.random.default_rng(seed)
    grid = Geometry(size, spacing, tuple(rng.uniform(-300, 300, 3)), oblique(rng))
    center = grid.point_xyz(tuple((n - 1) / 2 for n in size))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad(np.array(degrees) + rng.uniform(0.1, 0.4, 3)))
    turn.SetCenter(center)
    turn.SetTranslation(tuple(rng.uniform(-1, 1, 3)))
    matrix, offset = index_affine(grid, grid, turn.GetMatrix(), center, turn.GetTranslation())
    # magnitudes at which the indices' rounding errors stay far below a rounding step of the result
    image = (volume(seed, size, dtype) % np.dtype(dtype).type(100)).astype(dtype)
    label = classes(seed, size)
    fill = 5 if dtype.startswith("u") else -7
    ours, ours_label = affine_pair(image, label, size, matrix, offset, fill=fill, label_fill=9)
    expected = simpleitk(image, grid, grid, transform=turn, fill=fill)
    if dtype in INTEGERS:
        assert np.array_equal(ours.astype(np.float64), np.rint(expected))
    else:
        np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)
    assert np.array_equal(ours_label, simpleitk(label, grid, grid, label=True, transform=turn, fill=9))


def test_index_affine_between_grids_follows_physical_points():
    rng = np.random.default_rng(3)
    source = Geometry((5, 6, 7), (2.0, 1.5, 0.7), (10, -20, 30), oblique(rng))
    target = Geometry((4, 9, 3), (0.5, 1.1, 3.0), (12, -18, 33), oblique(rng))
    matrix, offset = index_affine(source, target)
    index = (3, 5, 2)
    np.testing.assert_allclose(matrix @ index + offset, source.index_zyx(target.point_xyz(index)), rtol=1e-12)


def test_identity_keeps_every_voxel(backend_name):
    image = volume(1, (4, 5, 70), "int16")
    result, label = affine_pair(image, image.astype(np.int32), image.shape, np.eye(3), np.zeros(3))
    assert np.array_equal(result, image)
    assert np.array_equal(label, image)


def test_rule_at_the_faces(backend_name):
    array = np.array([[[10, 20]]], dtype=np.int16)
    plan = ((1, 1, 6), np.diag([1, 1, 0.5]), (0, 0, -0.75))
    assert affine_linear(array, *plan, fill=-5).tolist() == [[[-5, 10, 12, 18, 20, -5]]]
    assert affine_nearest(array, *plan, fill=-5).tolist() == [[[-5, 10, 10, 20, 20, -5]]]


def test_a_neighbours_nan_does_not_leak_into_a_voxel_that_is_hit(backend_name):
    array = volume(5, (4, 5, 9), "float32", special=True)
    assert same_bits(affine_linear(array, array.shape, np.eye(3), np.zeros(3)), array)


@pytest.mark.parametrize("dtype", ["bool", "int16", ">f4"])
def test_any_strides_and_byte_order_give_the_same(backend_name, dtype):
    array = (np.arange(7 * 6 * 10).reshape(7, 6, 10) % 5).astype(dtype)
    matrix, offset = random_map(np.random.default_rng(0), (6, 6, 6))
    for view in (array.transpose(2, 0, 1), array[::-1, ::2, ::-3], array[:, 1:4, 2:]):
        dense = np.array(view, dtype=view.dtype.newbyteorder("="), order="C")
        for function in (affine_linear, affine_nearest):
            result = function(view, (6, 6, 6), matrix, offset, fill=1)
            assert same_bits(result, function(dense, (6, 6, 6), matrix, offset, fill=1))
            assert result.dtype == dense.dtype


def test_a_pair_of_two_shapes_is_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        affine_pair(np.zeros((1, 2, 3)), np.zeros((1, 2, 4)), (1, 1, 1), np.eye(3), np.zeros(3))


@settings(max_examples=60, deadline=None)
@given(sizes, st.sampled_from(DTYPES), st.sampled_from(INTEGERS), st.tuples(*[st.integers(2, 6)] * 3), seeds)
def test_bent_results_are_equal_to_the_last_bit(size, dtype, label_dtype, nodes, seed):
    rng = np.random.default_rng(seed)
    matrix, offset = random_map(rng, size)
    target = tuple(int(n) for n in rng.integers(1, 80, 3) // (2, 2, 1))
    image, label = volume(seed, size, dtype, special=True), volume(seed + 1, size, label_dtype)
    plan, bend = (target, matrix, offset), Bend(rng.normal(0, 2, (*nodes, 3)))
    native, plain = both(affine_pair, image, label, *plan, fill=-3, label_fill=4, bend=bend)
    with forced_backend("native"):
        threaded = affine_pair(image, label, *plan, fill=-3, label_fill=4, bend=bend, threads=3)
        alone = affine_linear(image, *plan, fill=-3, bend=bend), affine_nearest(label, *plan, fill=4, bend=bend)
    for pair in (plain, threaded, alone):
        assert same_bits(native[0], pair[0])
        assert same_bits(native[1], pair[1])


@pytest.mark.parametrize("axis", range(3))
def test_a_bend_equals_scipys_map_of_the_same_displacements(axis, backend_name):
    ndimage = pytest.importorskip("scipy.ndimage")
    size, nodes = (9, 14, 20), np.zeros((3, 4, 5, 3))
    nodes[..., axis] = np.random.default_rng(5).uniform(-1.5, 1.5, (3, 4, 5))
    image = ndimage.gaussian_filter(np.random.default_rng(6).normal(size=size), 1.5)
    whole = np.indices(size).astype(float)
    on_nodes = whole * ((np.array((3, 4, 5)) - 1) / (np.array(size) - 1))[:, None, None, None]
    whole[axis] += ndimage.map_coordinates(nodes[..., axis], on_nodes, order=1)
    expected = ndimage.map_coordinates(image, whole, order=1, mode="nearest")
    found = affine_linear(image, size, np.eye(3), np.zeros(3), bend=Bend(nodes), fill=np.nan)
    inside = ((whole >= -0.5) & (whole < np.array(size)[:, None, None, None] - 0.5)).all(axis=0)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-12)
    assert np.isnan(found[~inside]).all()
    assert 0 < (~inside).sum() < inside.sum()


def test_a_bend_of_one_node_or_without_numbers_is_refused():
    with pytest.raises(ValueError, match="each K at least 2"):
        Bend(np.zeros((1, 3, 3, 3)))
    with pytest.raises(ValueError, match="finite"):
        Bend(np.full((2, 2, 2, 3), np.nan))
