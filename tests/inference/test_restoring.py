"""Logits on another grid: what nnU-Net's resampling gives, plane by plane, and the largest of them.

The files in `references` were computed by nnU-Net v2 (``resample_data_or_seg_to_shape``).
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from itkit import inference
from itkit.core.errors import ArgumentError, CaseError
from itkit.core.geometry import Geometry
from itkit.core.grids import resampled_grid
from itkit.inference.restoring import (
    coarse_axis,
    indices_by_size,
    indices_of_grids,
    labels_of,
    pieces_of,
    restore,
    restore_labels,
)
from itkit.kernels.dispatch import forced_backend

REFERENCES = Path(__file__).parent / "references"
NAMES = sorted(path.stem for path in REFERENCES.glob("restore__*.json"))


def reference(name):
    facts = json.loads((REFERENCES / f"{name}.json").read_text())
    return facts, np.load(REFERENCES / f"{name}.npz")


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_labels_equal_nnunets(name, backend):
    facts, arrays = reference(name)
    case = (arrays["logits"], facts["new_shape"], facts["current_spacing"], facts["new_spacing"])
    with forced_backend(backend):
        np.testing.assert_allclose(inference.restore(*case), arrays["restored"], atol=2e-6)
        np.testing.assert_array_equal(inference.restore_labels(*case), arrays["labels"])


@pytest.mark.parametrize(
    ("current", "new", "axis"),
    [
        ((3, 3, 3), (2.3, 1.8, 2.5), None),
        ((5, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 4, 1), 1),
        ((1, 1, 3.1), (9, 1, 1), 2),  # the grid of the logits comes first
        ((5, 5, 1), (9, 1, 1), None),  # two axes are as coarse
        ((3, 1, 1), (3, 1, 1), None),  # three times is not more than three times
    ],
)
def test_the_coarse_axis_is_nnunets(current, new, axis):
    assert coarse_axis(current, new) == axis


@pytest.mark.parametrize("new_size", [(7, 9, 8), (29, 9, 30), (3, 30, 5), (1, 1, 1), (41, 4, 4), (13, 9, 8)])
@pytest.mark.parametrize("rows", [[9], [1] * 9, [4, 5]])
@pytest.mark.parametrize("planes", [[13], [1] * 13, [4, 1, 3, 5], [12, 1]])
def test_any_blocks_give_the_same_labels(new_size, planes, rows):
    logits = np.random.default_rng(0).normal(size=(5, 13, 9, 8)).astype(np.float32)
    indices = indices_by_size(logits.shape[1:], new_size, (1, 1, 1), (1, 1, 1))

    def blocks():
        for first, end in pairwise(np.cumsum([0, *planes]).tolist()):
            for row, stop in pairwise(np.cumsum([0, *rows]).tolist()):
                part = logits[:, first:end, row:stop].copy()
                yield first, row, part
                part[...] = np.nan  # its memory is used again

    seen = np.zeros(new_size[:2], int)
    for piece in pieces_of(blocks(), indices, logits.shape[1:], chunk_bytes=2000):
        seen[piece.planes, piece.rows] += 1
        assert piece.of_class(0).shape == (*seen[piece.planes, piece.rows].shape, new_size[2])
    assert (seen == 1).all()
    whole = restore(logits, new_size, (1, 1, 1), (1, 1, 1)).argmax(0)
    np.testing.assert_array_equal(labels_of(blocks(), indices, logits.shape[1:]), whole)


def test_indices_of_grids_follow_physical_places():
    grid = Geometry((11, 7, 9), (2.0, 1.5, 0.7), (3.0, -4.0, 5.0), (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    coarse = resampled_grid(grid, spacing_zyx=(3.0, 2.0, 1.0))
    z, y, x = indices_of_grids(coarse, grid)
    for index_zyx in ((0, 0, 0), (10, 6, 8), (3, 2, 5)):
        place = coarse.index_zyx(grid.point_xyz(index_zyx))
        np.testing.assert_allclose((z[index_zyx[0]], y[index_zyx[1]], x[index_zyx[2]]), place, atol=1e-9)
    with pytest.raises(ArgumentError, match="not parallel"):
        indices_of_grids(coarse, Geometry((3, 3, 3), (1.0, 1.0, 1.0)))


def test_labels_have_the_values_of_the_classes_in_the_smallest_type():
    logits = np.full((3, 2, 2, 2), -1, np.float32)
    logits[0], logits[2, 1] = 1, 4
    indices = indices_by_size((2, 2, 2), (4, 2, 2), (1, 1, 1), (1, 1, 1))
    labels = labels_of([(0, 0, logits)], indices, (2, 2, 2), values=(0, 7, 300))
    assert labels.dtype == np.uint16
    assert labels[:, 0, 0].tolist() == [0, 0, 300, 300]
    with pytest.raises(ArgumentError, match="3 classes"):
        labels_of([(0, 0, logits)], indices, (2, 2, 2), values=(0, 1))


def test_of_equal_logits_the_first_class_wins():
    logits = np.ones((4, 3, 3, 3), np.float32)
    logits[0] = 0
    assert np.unique(restore_labels(logits, (5, 5, 5), (1, 1, 1), (1, 1, 1))).tolist() == [1]


def test_many_classes_need_two_bytes():
    logits = np.zeros((300, 1, 1, 2), np.float32)
    logits[299, 0, 0, 1] = 1
    labels = restore_labels(logits, (1, 1, 2), (1, 1, 1), (1, 1, 1))
    assert labels.dtype == np.uint16
    assert labels.tolist() == [[[0, 299]]]


def test_nan_is_a_failure_by_name():
    logits = np.zeros((2, 3, 3, 3), np.float32)
    logits[1, 1, 1, 1] = np.nan
    with pytest.raises(CaseError, match="nan"):
        restore_labels(logits, (5, 5, 5), (1, 1, 1), (1, 1, 1))


@pytest.mark.parametrize("bad", [np.zeros((3, 3, 3), np.float32), np.zeros((0, 3, 3, 3), np.float32), [[1]]])
def test_other_arrays_are_refused(bad):
    with pytest.raises(ArgumentError, match="logits"):
        restore(bad, (5, 5, 5), (1, 1, 1), (1, 1, 1))
    with pytest.raises(ArgumentError, match="three numbers"):
        restore(np.zeros((1, 2, 2, 2), np.float32), (5, 5), (1, 1, 1), (1, 1, 1))
