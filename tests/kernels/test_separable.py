from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from itkit.core.errors import ArgumentError
from itkit.core.geometry import Geometry
from itkit.kernels.dispatch import forced_backend
from itkit.kernels.sampling import axis_aligned_indices, near_ties
from itkit.kernels.separable import resample_linear, resample_nearest, sample_linear, sample_nearest

from .support import (
    DTYPES,
    FACTORS,
    INTEGERS,
    both,
    classes,
    oblique,
    resized,
    same_bits,
    seeds,
    signed_axes,
    simpleitk,
    sizes,
    spacings,
    volume,
)  # fmt: skip

fills = st.sampled_from([None, -7.0, 3.0, 1e6])
shifts = st.tuples(*[st.sampled_from([0.0, 0.0, -2.3, 1.5])] * 3)


@settings(max_examples=120, deadline=None)
@given(
    sizes, st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-4, 4)] * 3), st.sampled_from(DTYPES), fills, seeds
)
@example((3, 4, 40), (0, 0, -0.5), (1, 1, 0.25), "int16", None, 1)  # windows of 16 bytes at both ends of a row
@example((3, 4, 40), (0, 0, 39), (1, 1, -1.9), "uint16", None, 1)
@example((2, 2, 16), (0, 0, 0), (1, 1, 7.5), "uint8", 3.0, 1)
def test_compiled_and_numpy_results_are_equal_to_the_last_bit(size, start, step, dtype, fill, seed):
    array = volume(seed, size, dtype, special=True)
    target = tuple(np.random.default_rng(seed).integers(1, 30, 3))
    for function in (resample_linear, resample_nearest):
        native, plain = both(function, array, target, start, step, fill=fill)
        assert same_bits(native, plain)
        assert native.flags.c_contiguous
        with forced_backend("native"):
            assert same_bits(native, function(array, target, start, step, fill=fill, threads=3))


@settings(max_examples=60, deadline=None)
@given(sizes, spacings, spacings, shifts, st.sampled_from(DTYPES), seeds)
def test_patient_aligned_images_equal_simpleitk_rounded(size, spacing, new_spacing, shift, dtype, seed):
    rng = np.random.default_rng(seed)
    source = Geometry(size, spacing, tuple(rng.uniform(-300, 300, 3)), signed_axes(rng, permuted=False))
    target = resized(source, new_spacing, shift)
    indices = axis_aligned_indices(source, target)
    array = volume(seed, size, dtype)
    fill = 5 if dtype.startswith("u") else -7
    expected = simpleitk(array, source, target, fill=fill)
    ours = sample_linear(array, indices, fill=fill)
    if dtype in INTEGERS:
        assert np.array_equal(ours.astype(np.float64), np.rint(expected))
    elif dtype == "float32":
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
    else:
        assert np.array_equal(ours, expected)


@settings(max_examples=60, deadline=None)
@given(sizes, spacings, st.tuples(*[st.sampled_from(FACTORS)] * 3), shifts, st.sampled_from(INTEGERS), seeds)
def test_patient_aligned_labels_equal_simpleitk_even_half_way(size, spacing, factors, shift, dtype, seed):
    rng = np.random.default_rng(seed)
    source = Geometry(size, spacing, tuple(rng.uniform(-300, 300, 3)), signed_axes(rng, permuted=False))
    target = resized(source, tuple(s * f for s, f in zip(spacing, factors, strict=True)), shift)
    label = volume(seed, size, dtype)
    expected = simpleitk(label, source, target, label=True, fill=3)
    assert np.array_equal(sample_nearest(label, axis_aligned_indices(source, target), fill=3), expected)


@settings(max_examples=60, deadline=None)
@given(sizes, spacings, spacings, shifts, st.booleans(), seeds)
def test_other_directions_agree_with_simpleitk_where_nothing_is_half_way(
    size, spacing, new_spacing, shift, permuted, seed
):
    rng = np.random.default_rng(seed)
    direction = signed_axes(rng, permuted=True) if permuted else oblique(rng)
    source = Geometry(size, spacing, tuple(rng.uniform(-300, 300, 3)), direction)
    target = resized(source, new_spacing, shift)
    indices = axis_aligned_indices(source, target)
    image, label = volume(seed, size, "float64"), classes(seed, size)
    if not near_ties(indices):
        assert np.array_equal(
            sample_nearest(label, indices, fill=9), simpleitk(label, source, target, label=True, fill=9)
        )
        ours = sample_linear(image, indices, fill=-7)
        np.testing.assert_allclose(ours, simpleitk(image, source, target, fill=-7), rtol=1e-9, atol=1e-7)


def test_target_with_reversed_axis_is_sampled_at_its_points(backend_name):
    source = Geometry((2, 3, 5), (2.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    target = Geometry((2, 3, 5), (2.0, 1.0, 0.5), source.point_xyz((0, 0, 4)), (-1, 0, 0, 0, 1, 0, 0, 0, 1))
    array = np.arange(30, dtype=np.int16).reshape(2, 3, 5)
    assert np.array_equal(sample_linear(array, axis_aligned_indices(source, target)), array[..., ::-1])


def test_turned_and_permuted_targets_are_not_axis_aligned():
    source = Geometry((9, 9, 9), (1, 1, 1))
    angle = 1e-4
    turned = (np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1)
    assert axis_aligned_indices(source, Geometry((9, 9, 9), (1, 1, 1), direction_xyz=turned)) is None
    assert (
        axis_aligned_indices(source, Geometry((9, 9, 9), (1, 1, 1), direction_xyz=(0, 1, 0, 1, 0, 0, 0, 0, 1))) is None
    )


def test_constant_volume_stays_constant_to_the_edge(backend_name):
    array = np.full((3, 4, 5), 77, dtype=np.int16)
    assert (resample_linear(array, (9, 12, 15), (-1 / 3,) * 3, (1 / 3,) * 3, fill=-1) == 77).all()


def test_fill_starts_half_a_voxel_outside(backend_name):
    array = np.array([[[10, 20]]], dtype=np.int16)
    assert resample_linear(array, (1, 1, 5), (0, 0, -0.75), (1, 1, 0.5), fill=-5).tolist() == [[[-5, 10, 12, 18, 20]]]
    assert resample_nearest(array, (1, 1, 4), (0, 0, -0.5), (1, 1, 0.5), fill=-5).tolist() == [[[10, 10, 20, 20]]]
    assert resample_nearest(array, (1, 1, 2), (0, 0, 1.25), (1, 1, 0.25), fill=-5).tolist() == [[[20, -5]]]


def test_without_fill_the_edge_voxel_goes_on(backend_name):
    array = np.array([[[10, 20]]], dtype=np.uint8)
    assert resample_linear(array, (1, 1, 3), (0, 0, -9), (1, 1, 9.5)).tolist() == [[[10, 15, 20]]]
    assert resample_nearest(array, (1, 1, 3), (0, 0, -9), (1, 1, 9.5)).tolist() == [[[10, 20, 20]]]


def test_fill_is_rounded_and_clamped_to_the_type(backend_name):
    array = np.zeros((1, 1, 2), dtype=np.uint8)
    far = {"size_zyx": (1, 1, 1), "start_zyx": (0, 0, 9), "step_zyx": (1, 1, 1)}
    assert [int(resample_linear(array, **far, fill=fill)[0, 0, 0]) for fill in (-3, 300, 2.6)] == [0, 255, 3]
    wide = np.zeros((1, 1, 2), dtype=np.int64)
    assert int(resample_nearest(wide, **far, fill=2**62 + 1)[0, 0, 0]) == 2**62 + 1


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_64_bit_extremes_do_not_wrap(backend_name, dtype):
    info = np.iinfo(dtype)
    array = np.array([[[info.max, info.max, info.min]]], dtype=dtype)
    assert resample_linear(array, (1, 1, 3), (0, 0, 0), (1, 1, 1)).tolist() == array.tolist()
    odd = np.array([[[2**53 + 1]]], dtype=dtype)
    assert int(resample_nearest(odd, (1, 1, 1), (0, 0, 0), (1, 1, 1))[0, 0, 0]) == 2**53 + 1
    assert int(resample_linear(odd, (1, 1, 1), (0, 0, 0), (1, 1, 1))[0, 0, 0]) == 2**53


def test_a_neighbours_nan_does_not_leak_into_a_voxel_that_is_hit(backend_name):
    array = np.array([[[1.0, np.nan, 3.0]], [[np.inf, 5.0, np.inf]]])
    assert same_bits(resample_linear(array, (2, 1, 3), (0, 0, 0), (1, 1, 1)), array)


@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", ">i2"])
def test_any_strides_and_byte_order_give_the_same(backend_name, dtype):
    array = (np.arange(7 * 6 * 10).reshape(7, 6, 10) % 5).astype(dtype)
    plan = {"size_zyx": (4, 5, 6), "start_zyx": (0.2, 0, 0.4), "step_zyx": (0.6, 0.5, 0.3)}
    for view in (
        array.transpose(2, 0, 1),
        array[::-1, ::2, ::-3],
        array[:, 1:4, 2:],
        np.stack([array] * 2, -1)[..., 1],
    ):
        for function in (resample_linear, resample_nearest):
            dense = function(np.array(view, dtype=view.dtype.newbyteorder("="), order="C"), **plan, fill=1)
            result = function(view, **plan, fill=1)
            assert same_bits(result, dense)
            assert result.dtype == np.dtype(dtype).newbyteorder("=")


def test_what_no_kernel_knows_is_refused(backend_name):
    with pytest.raises(ArgumentError, match="float16"):
        resample_linear(np.zeros((1, 1, 1), dtype=np.float16), (1, 1, 1), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="3 axes"):
        resample_linear(np.zeros((1, 1)), (1, 1, 1), (0, 0, 0), (1, 1, 1))
    with pytest.raises(ValueError, match="no voxels"):
        resample_linear(np.zeros((1, 0, 1)), (1, 1, 1), (0, 0, 0), (1, 1, 1))
