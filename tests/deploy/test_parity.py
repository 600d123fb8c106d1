"""The numbers of the comparison, against their definitions."""

import numpy as np
import pytest
import scipy.special

from itkit.deploy.parity import compare, summarise

SHAPE = (2, 3, 4, 5, 6)


def test_the_numbers_are_those_of_scipy():
    random = np.random.default_rng(1)
    logits = random.normal(size=SHAPE) * 4
    other = logits + random.normal(size=SHAPE) * 0.5
    parity = summarise([compare(logits, other)], "onnx", tolerance=0.5)
    difference = np.abs(scipy.special.softmax(logits, 1) - scipy.special.softmax(other, 1))
    assert parity.max_abs == pytest.approx(difference.max(), rel=1e-6)
    assert parity.max_rel == pytest.approx(np.abs(logits - other).max() / np.ptp(logits))
    first, second = logits.argmax(1), other.argmax(1)
    assert parity.changed_voxels == (first != second).sum() > 0
    assert parity.voxels == first.size
    dice = [2 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum()) for k in range(3)]
    assert parity.min_dice == pytest.approx(min(dice))
    assert parity.sizes == ((4, 5, 6),)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_numbers_that_are_none_never_pass(fault):
    logits = np.random.default_rng(2).normal(size=SHAPE)
    other = logits.copy()
    other[0, 1, 2, 3, 4] = fault
    with np.errstate(invalid="ignore"):
        parity = summarise([compare(logits, other), compare(logits, logits)], "onnx")
    assert not parity.ok
    assert parity.to_json()["max_rel"] is None


def test_another_shape_never_passes():
    logits = np.zeros(SHAPE)
    assert not summarise([compare(logits, logits[:, :2])], "onnx").ok


def test_a_single_class_is_judged_by_its_sign():
    logits = np.array([[-1.0, 2.0]]).reshape(1, 1, 1, 1, 2)
    difference = compare(logits, -logits)
    assert (difference.expected != difference.found).sum() == 2
    assert difference.probability.max() == pytest.approx(scipy.special.expit(2) - scipy.special.expit(-2), rel=1e-6)
