"""What `evaluate` takes and returns: empty classes, regions, tolerances, volumes, and what it refuses."""

import math

import numpy as np
import pytest

from itkit.core.errors import ArgumentError, GeometryMismatchError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.metrics import DEFINITIONS, DISTANCES, METRICS, VARIANTS, evaluate, metric_names
from itkit.metrics.definitions import COLUMNS, IN_MM, INSTANCES
from itkit.metrics.evaluation import empty_row
from itkit.testing import phantoms

SPACING = (2.5, 0.8, 0.7)


def label():
    return phantoms.l_shape(phantoms.GRIDS["plain"]).array_zyx


def test_a_map_equals_itself():
    for row in evaluate(label(), label(), spacing_zyx=SPACING).values():
        assert [row[name] for name in ("dice", "iou", "precision", "recall", "nsd", "nsd_surfels")] == [1.0] * 6
        assert {row[name] for name in IN_MM} == {0.0}
        assert (row["volume_similarity"], row["fp"], row["fn"], row["flag"]) == (0.0, 0, 0, "")


def test_every_key_is_defined_and_in_order():
    found = evaluate(label(), label(), spacing_zyx=SPACING, instances=True)
    assert list(found) == [1, 2, 3]
    assert tuple(found[1]) == (*COLUMNS, *INSTANCES)
    assert set(found[1]) == set(DEFINITIONS)
    assert {*METRICS} == {*COLUMNS} - {"tp", "fp", "fn", "flag"}


@pytest.mark.parametrize(("flag", "precision", "recall"), [("missed", math.nan, 0.0), ("invented", 0.0, math.nan)])
def test_a_class_that_one_map_lacks(flag, precision, recall):
    there, nothing = label(), np.zeros_like(label())
    pair = (there, nothing) if flag == "missed" else (nothing, there)
    row = evaluate(*pair, spacing_zyx=SPACING)[2]
    assert row["flag"] == flag
    assert (row["dice"], row["iou"], row["nsd"], row["nsd_surfels"]) == (0, 0, 0, 0)
    assert {row[name] for name in IN_MM} == {math.inf}
    assert np.array_equal([row["precision"], row["recall"]], [precision, recall], equal_nan=True)
    assert row["volume_similarity"] == (-2 if flag == "missed" else 2)
    row = evaluate(*pair, spacing_zyx=SPACING, penalty="diagonal")[2]
    diagonal = np.linalg.norm(np.array(there.shape) * SPACING)
    assert [row[name] for name in IN_MM] == pytest.approx([diagonal] * len(IN_MM))
    assert row["flag"] == flag


def test_a_class_that_both_lack():
    row = evaluate(label(), label(), spacing_zyx=SPACING, labels=[9], instances=True)[9]
    assert row["flag"] == "both_empty"
    assert [row[name] for name in ("dice", "iou", "precision", "recall", "nsd", "nsd_surfels", "pq")] == [1.0] * 7
    assert {row[name] for name in IN_MM} == {0.0}
    assert row == empty_row(instances=True)


def test_a_region_is_the_union_of_its_classes():
    gt, pred = label(), np.roll(label(), 1, axis=2)
    found = evaluate(gt, pred, spacing_zyx=SPACING, labels=[1], regions={"limb": (2, 3)}, instances=True)
    assert list(found) == [1, "limb"]
    joined = evaluate(np.isin(gt, (2, 3)), np.isin(pred, (2, 3)), spacing_zyx=SPACING, instances=True)
    assert found["limb"] == joined[1]


def test_a_region_of_many_classes_is_their_union_as_well():
    gt = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6) % 9
    pred = np.roll(gt, 1, axis=2)
    values = (1, 2, 3, 5, 8, 300)
    found = evaluate(gt, pred, spacing_zyx=SPACING, labels=[], regions={"some": values})
    joined = evaluate(np.isin(gt, values), np.isin(pred, values), spacing_zyx=SPACING)
    assert found == {"some": joined[1]}


def test_background_counts_only_if_it_is_listed():
    assert 0 not in evaluate(label(), label(), spacing_zyx=SPACING)
    row = evaluate(label(), np.roll(label(), 1, 0), spacing_zyx=SPACING, labels=[0])[0]
    assert 0 < row["dice"] < 1


def test_each_class_may_have_its_own_tolerance():
    gt = np.zeros((3, 10, 10), np.uint8)
    gt[:, 2:5, 2:5], gt[:, 2:5, 6:9] = 1, 2
    pred = np.roll(gt, 2, axis=1)
    loose = evaluate(gt, pred, spacing_zyx=(1, 1, 1), tolerance_mm=2)
    strict = evaluate(gt, pred, spacing_zyx=(1, 1, 1), tolerance_mm=1.9)
    assert loose[1]["nsd"] == loose[2]["nsd"] == 1 > strict[1]["nsd"]
    for given in ({1: 2, 2: 1.9}, [2, 1.9]):
        mixed = evaluate(gt, pred, spacing_zyx=(1, 1, 1), tolerance_mm=given)
        assert (mixed[1]["nsd"], mixed[2]["nsd"]) == (1, strict[2]["nsd"])


def test_a_distance_that_equals_the_tolerance_is_met_despite_rounding():
    gt, pred = np.zeros((2, 1, 1, 8), np.uint8)
    gt[..., 0] = pred[..., 3] = 1
    assert 3 * 1.1 > 3.3
    assert evaluate(gt, pred, spacing_zyx=(1, 1, 1.1), tolerance_mm=3.3)[1]["nsd"] == 1


def test_metrics_are_chosen_by_name_with_or_without_unit():
    assert metric_names(["HD95", "dice", "volume_gt_ml"]) == ("dice", "volume_gt_ml", "hd95_mm")
    row = evaluate(label(), label(), spacing_zyx=SPACING, metrics=["nsd", "hd95_surfels"])[1]
    assert list(row) == ["nsd", "tp", "fp", "fn", "flag", "hd95_surfels"]
    with pytest.raises(ArgumentError, match="no metric 'dise'; did you mean 'dice'"):
        metric_names(["dise"])
    assert {*DISTANCES, *VARIANTS} < {*METRICS}


def test_volumes_bring_their_spacing_and_must_lie_on_one_grid():
    grid = phantoms.GRIDS["oblique"]
    volume = phantoms.l_shape(grid)
    moved = volume.with_array(np.roll(volume.array_zyx, 1, axis=1))
    by_volume = evaluate(volume, moved)
    assert by_volume == evaluate(volume.array_zyx, moved.array_zyx, spacing_zyx=grid.spacing_zyx)
    assert by_volume[1]["hd_mm"] == pytest.approx(0.8)
    other = Volume(volume.array_zyx, Geometry(grid.size_zyx, (2.5, 0.8, 0.71)), "label")
    with pytest.raises(GeometryMismatchError, match="different grids"):
        evaluate(volume, other)


def test_lists_and_a_single_class_are_taken():
    rows = [[[0, 1, 1, 2]]], [[[1, 1, 1, 2]]]
    found = evaluate(*rows, spacing_zyx=SPACING, labels=1)
    assert {label: row["dice"] for label, row in found.items()} == {1: 0.8}


def test_types_may_differ_and_large_values_stay():
    gt = (label().astype(np.int64) << 40) - 7
    pred = np.roll(gt, 1, axis=0).astype(np.float64)
    found = evaluate(gt, pred, spacing_zyx=SPACING)
    assert list(found) == [-7, (1 << 40) - 7, (2 << 40) - 7, (3 << 40) - 7]
    plain = evaluate(label(), np.roll(label(), 1, axis=0), spacing_zyx=SPACING)
    assert list(found.values())[1:] == list(plain.values())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "arrays have no spacing"),
        ({"spacing_zyx": (1, 1)}, "three finite distances > 0"),
        ({"spacing_zyx": (1, 0, 1)}, "axis Y has 0 mm"),
        ({"spacing_zyx": SPACING, "tolerance_mm": -1}, "expected a distance >= 0"),
        ({"spacing_zyx": SPACING, "tolerance_mm": [1, 2]}, "one for each of 3 classes; got 2"),
        ({"spacing_zyx": SPACING, "tolerance_mm": {1: 2}}, "no tolerance for 2, 3"),
        ({"spacing_zyx": SPACING, "penalty": "diagonl"}, "did you mean 'diagonal'"),
    ],
)
def test_what_is_refused(values, says):
    with pytest.raises(ArgumentError, match=says):
        evaluate(label(), label(), **values)


def test_lesions_are_found_missed_and_invented():
    gt, pred = np.zeros((2, 8, 20, 20), np.uint8)
    gt[1:4, 1:4, 1:4] = pred[1:4, 1:4, 1:3] = 1  # IoU 2/3
    gt[1:4, 10:14, 1:5] = pred[1:4, 10:14, 3:7] = 1  # IoU 1/3: missed and invented
    gt[6, 6, 6], gt[7, 7, 7] = 1, 1  # touch at a corner: one lesion
    pred[6, 18, 18] = 1
    row = evaluate(gt, pred, spacing_zyx=(10, 10, 10), instances=True)[1]
    assert (row["instances_gt"], row["instances_pred"], row["instances_matched"]) == (3, 3, 1)
    assert row["detection_f1"] == pytest.approx(1 / 3)
    assert row["pq"] == pytest.approx(2 / 3 / 3)
    assert row["missed_ml"] == [48, 2]
    assert row["false_ml"] == [48, 1]
