"""Conversion between voxel types, against exact arithmetic with Python's integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from itkit.kernels.arrays import to_dtype

from .support import DTYPES, INTEGERS

FLOATS = ("float16", "float32", "float64")


def exact(value, dtype):
    """Round half to even and clamp, in exact arithmetic."""
    limits = np.iinfo(dtype)
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return limits.max if value > 0 else limits.min
        value = round(Fraction(value))  # half to even
    return min(max(value, int(limits.min)), int(limits.max))


def near_limits(dtype):
    """Integers of a type, most of them close to the limits of some type."""
    limits = np.iinfo(dtype)
    ends = [end for name in INTEGERS for end in (int(np.iinfo(name).min), int(np.iinfo(name).max))]
    close = st.builds(lambda end, off: end + off, st.sampled_from(ends), st.integers(-2, 2))
    return st.one_of(close, st.integers(int(limits.min), int(limits.max))).map(
        lambda value: min(max(value, int(limits.min)), int(limits.max))
    )


@given(st.data(), st.sampled_from(INTEGERS), st.sampled_from(INTEGERS))
def test_integers_are_clamped_exactly(data, source, target):
    values = data.draw(st.lists(near_limits(source), min_size=1, max_size=20))
    new = to_dtype(np.array(values, source), target)
    assert new.dtype == target
    assert new.tolist() == [exact(value, target) for value in values]


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from(INTEGERS))
def test_floats_are_rounded_to_even_and_clamped_exactly(data, source, target):
    width = {"float16": 16, "float32": 32, "float64": 64}[source]
    ends = [float(end) for end in (2**63, 2**64, -(2**63), 2**31, 2**15, 255, 254.5, 0.5, 1.5, -0.5)]
    close = st.sampled_from(ends).flatmap(lambda end: st.sampled_from([end, *np.nextafter(end, [-np.inf, np.inf])]))
    values = data.draw(st.lists(st.one_of(st.floats(width=width), close), min_size=1, max_size=20))
    with np.errstate(over="ignore"):
        array = np.array(values).astype(source)
    new = to_dtype(array, target)
    assert new.dtype == target
    assert new.tolist() == [exact(float(value), target) for value in array]


@example(1e30)
@example(float(2**63))
@given(st.floats(float(2**63), allow_infinity=True))
def test_what_is_above_int64_is_its_maximum(value):
    assert int(to_dtype(np.array([value]), "int64")[0]) == 2**63 - 1


@pytest.mark.parametrize("target", DTYPES)
def test_volumes_of_any_layout_are_converted_slice_by_slice(target):
    values = np.linspace(-300.7, 40000.2, 4 * 5 * 6).reshape(4, 5, 6).astype(np.float32)
    for array in (values, values[::-1, :, ::2], values.transpose(2, 0, 1), values.astype(">f4"), values[..., None]):
        new = to_dtype(array, target)
        assert new.shape == array.shape
        expected = [exact(float(v), target) if target in INTEGERS else np.dtype(target).type(v) for v in array.ravel()]
        assert new.ravel().tolist() == expected


def test_what_has_the_type_is_not_copied_and_the_rest_is_known():
    array = np.arange(3, dtype=np.int16)
    assert to_dtype(array, np.dtype("int16")) is array
    assert to_dtype(np.array([True, False]), "int8").tolist() == [1, 0]
    assert to_dtype(np.array([1e300, -1e300]), "float32").tolist() == [math.inf, -math.inf]
    assert to_dtype(np.zeros((0, 3, 4)), "uint8").shape == (0, 3, 4)
