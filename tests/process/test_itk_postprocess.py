"""Cleaning label maps: each step against scipy, counts before and after, and what a validation set teaches."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from process.parity.nnunet_postprocessing import PREDICTIONS, write_predictions_of
from scipy import ndimage

import itkit
from itkit.cli.operation import main
from itkit.core.errors import ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.engine.parameters import make_params
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.cleaning import close_gaps, fill_holes, keep_largest, open_up, smooth, without_small
from itkit.process.itk_postprocess import PostprocessParams
from itkit.process.learning import learned_steps, scores
from itkit.process.postprocessing import Steps, counts_of, postprocess
from itkit.testing import phantoms
from tests.kernels.test_balls import offsets

SPACING = (2.5, 0.8, 1.1)
GRID = Geometry((9, 14, 22), SPACING, (3.0, -1.0, 7.0), phantoms.GRIDS["oblique"].direction_xyz)
ALL = np.ones((3, 3, 3))
GOLDEN = json.loads((Path(__file__).parent / "parity" / "nnunet_postprocessing.json").read_text())
seeds = st.integers(0, 2**32 - 1)


def rough(seed, shape=GRID.size_zyx, values=(-2, 7, 300)):
    """A label map of several rough regions of each class."""
    rng = np.random.default_rng(seed)
    smooth_noise = ndimage.gaussian_filter(rng.normal(size=(len(values), *shape)), (0, 1, 1.2, 1.2))
    best = smooth_noise.argmax(axis=0)
    return np.where(smooth_noise.max(axis=0) > 0.12, np.array(values)[best], 0).astype(np.int16)


def by_class(labels, change):
    """The result of a change of each class's mask, classes ascending, into background only."""
    result = labels.copy()
    for value in np.unique(labels[labels != 0]):
        result[change(labels == value) & (result == 0)] = value
    return result


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 3), st.booleans())
def test_largest_equals_scipys_components(seed, count, together):
    labels = rough(seed)
    expected = labels.copy()
    masks = [np.isin(labels, (7, 300))] if together else [labels == 7, labels == 300]
    for mask in masks:
        parts, n = ndimage.label(mask, ALL)
        sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
        firsts = [np.flatnonzero(parts.ravel() == k + 1)[0] for k in range(n)]
        kept = sorted(range(n), key=lambda k: (-sizes[k], firsts[k]))[:count]
        expected[mask & ~np.isin(parts, [k + 1 for k in kept])] = 0
    np.testing.assert_array_equal(keep_largest(labels, count, classes=(7, 300), together=together), expected)


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(0.5, 4))
def test_the_other_steps_equal_scipys(seed, radius):
    labels = rough(seed)
    ball = offsets(SPACING, radius)
    reach = [(n // 2, n // 2) for n in ball.shape]
    inner = tuple(slice(a, a + n) for (a, _), n in zip(reach, labels.shape, strict=True))
    np.testing.assert_array_equal(fill_holes(labels), by_class(labels, ndimage.binary_fill_holes))
    closed = by_class(labels, lambda own: ndimage.binary_closing(np.pad(own, reach), ball)[inner])
    np.testing.assert_array_equal(close_gaps(labels, SPACING, radius), closed)
    opened = np.zeros_like(labels)
    for value in (-2, 7, 300):
        core = ndimage.binary_erosion(labels == value, ball, border_value=1)
        opened[ndimage.binary_dilation(core, ball)] = value
    np.testing.assert_array_equal(open_up(labels, SPACING, radius), opened)
    voxel_ml = np.prod(SPACING) / 1000
    kept = np.zeros_like(labels)
    for value in (-2, 7, 300):
        parts, _ = ndimage.label(labels == value, ALL)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kept[(sizes * voxel_ml >= 0.05)[parts]] = value
    np.testing.assert_array_equal(without_small(labels, SPACING, 0.05), kept)


def test_smoothing_never_eats_a_class():
    labels = np.zeros((5, 9, 9), np.uint8)
    labels[:, 2:7, 2:7] = 1
    labels[2, 4, 4] = 5
    result, eaten = smooth(labels, (1.0, 1.0, 1.0), 2.0)
    assert eaten == [5]
    assert result[2, 4, 4] == 5
    assert result[2, 2, 2] == 0


def test_the_order_matters_and_is_kept():
    labels = np.zeros((1, 5, 9), np.uint8)
    labels[0, :, :4] = labels[0, :, 5:] = 1
    volume = Volume(labels, Geometry((1, 5, 9), (9.0, 1.0, 1.0)), "label")
    first, _ = postprocess(volume, Steps(("largest", "closing"), closing_mm=1.0))
    second, _ = postprocess(volume, Steps(("closing", "largest"), closing_mm=1.0))
    assert first.array_zyx[0, 2].tolist() == [1] * 4 + [0] * 5
    assert second.array_zyx[0, 2].tolist() == [1] * 9


def test_the_order_takes_the_names_of_options(tmp_path):
    common = {"source": tmp_path, "dest": tmp_path / "out", "closing_mm": 1.0, "min_volume_ml": 2.0, "fill_holes": True}
    by_option = make_params(PostprocessParams, {**common, "order": ("min-volume-ml", "fill-holes", "closing-mm")})
    by_step = make_params(PostprocessParams, {**common, "order": ("min-volume", "fill-holes", "closing")})
    assert by_option == by_step
    with pytest.raises(ParamsError, match="largest-foreground"):
        make_params(PostprocessParams, {**common, "order": ("min-volume-ml", "fill-holes", "closing-ml")})


def test_counts_say_what_changed():
    volume = Volume(rough(3), GRID, "label")
    new, notes = postprocess(volume, Steps(("largest", "min-volume"), min_volume_ml=1e6))
    assert notes[0].startswith("label: classes -2")
    assert not new.array_zyx.any()
    for value, counts in counts_of(volume, new).items():
        own = volume.array_zyx == int(value)
        expected = {"voxels_before": own.sum(), "components_before": ndimage.label(own, ALL)[1]}
        assert counts == {**expected, "voxels_after": 0, "components_after": 0}


def test_a_dataset_gives_its_labels_and_their_counts(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 2)
    for path in sorted((tmp_path / "raw" / "label").glob("*.mha")):
        label = read_volume(path, "label")
        label.array_zyx[0, 0, 0] = 3  # a speck
        write_volume(label, path)
    values = {"source": tmp_path / "raw", "dest": tmp_path / "out", "largest": ("Foot",), "fill_holes": True}
    assert itkit.run("itk_postprocess", workers=2, **values).exit_code == 0
    assert [path.name for path in sorted((tmp_path / "out" / "label").iterdir())] == ["case_00.mha", "case_01.mha"]
    meta = json.loads((tmp_path / "out" / "postprocess_meta.json").read_text())
    assert meta["operation"] == "itk_postprocess"
    for case, labels in meta["cases"].items():
        before = read_volume(tmp_path / "raw" / "label" / f"{case}.mha", "label").array_zyx
        after = read_volume(tmp_path / "out" / "label" / f"{case}.mha", "label")
        assert after.array_zyx[0, 0, 0] == 0
        assert labels["3"] == {
            "voxels_before": (before == 3).sum(), "voxels_after": (before == 3).sum() - 1,
            "components_before": 2, "components_after": 1,
        }  # fmt: skip
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"]["3"] == "foot"


def test_inside_a_mask_of_the_same_case(tmp_path):
    ids = phantoms.write_dataset(tmp_path / "raw", 3)
    for case in ids[:2]:
        label = read_volume(tmp_path / "raw" / "label" / f"{case}.nii.gz", "label")
        mask = np.zeros_like(label.array_zyx)
        mask[:, :, 5:] = 9
        write_volume(label.with_array(mask), tmp_path / "masks" / f"{case}.mha")
    label = read_volume(tmp_path / "masks" / f"{ids[1]}.mha", "label")
    moved = label.with_array(label.array_zyx, label.geometry.crop((0, 1, 0), label.geometry.size_zyx))
    write_volume(moved, tmp_path / "masks" / f"{ids[1]}.mha")
    values = {"source": tmp_path / "raw" / "label", "dest": tmp_path / "out", "inside": tmp_path / "masks"}
    result = itkit.run("itk_postprocess", **values)
    assert list(result.summary.unpaired) == [ids[2]]
    assert [record.status for record in result.records] == ["done", "failed"]
    assert "label and mask differ in origin" in result.records[1].message
    before = read_volume(tmp_path / "raw" / "label" / f"{ids[0]}.nii.gz", "label").array_zyx
    after = read_volume(tmp_path / "out" / f"{ids[0]}.mha", "label").array_zyx
    assert not after[:, :, :5].any()
    np.testing.assert_array_equal(after[:, :, 5:], before[:, :, 5:])


def test_scores_are_dice():
    prediction, reference = rough(1), rough(2)
    found = scores(prediction, reference)
    together = keep_largest(prediction, together=True)
    ways = {
        "as_is": prediction,
        "largest": keep_largest(prediction),
        "foreground": together,
        "foreground_largest": keep_largest(together),
    }
    for value in (-2, 7, 300):
        for name, labels in ways.items():
            p, g = labels == value, reference == value
            assert found[str(value)][name] == pytest.approx(2 * (p & g).sum() / (p.sum() + g.sum()))
    assert scores(prediction, np.zeros_like(reference))["7"] == dict.fromkeys(ways, 0.0)
    beside = np.array([[[1, 1, 1, 0, 2]]])
    gone = {"as_is": 0.0, "largest": 0.0, "foreground": None, "foreground_largest": None}
    assert scores(beside, beside % 2)["2"] == gone  # a class that neither has any more


def dices(as_is, largest, foreground, both):
    return {"as_is": as_is, "largest": largest, "foreground": foreground, "foreground_largest": both}


def test_the_rule_is_a_mean_that_rises():
    cases = {
        "a": {"1": dices(0.5, 0.9, 0.4, 0.4), "2": dices(0.9, 0.5, 0.9, 0.9)},
        "b": {"1": dices(0.6, 0.5, 0.6, 0.6), "3": dices(0.7, 0.7, 0.9, 0.9)},
    }
    learned = learned_steps(cases)
    assert {value: means["is_kept"] for value, means in learned.classes.items()} == {1: True, 2: False, 3: False}
    assert learned.classes[1]["largest"] == pytest.approx(0.7)
    means = {"as_is": pytest.approx((0.55 + 0.9 + 0.7) / 3), "largest": pytest.approx((0.5 + 0.9 + 0.9) / 3)}
    assert learned.foreground == {**means, "is_kept": False}  # class 1 falls


@pytest.mark.parametrize(
    ("one", "two", "is_kept"),
    [
        (dices(0.5, 0.5, 0.6, 0.6), dices(0.5, 0.5, 0.5, 0.5), True),
        (dices(0.5, 0.5, 0.9, 0.9), dices(0.5, 0.5, 0.49, 0.49), False),  # a class that falls
        (dices(0.5, 0.5, 0.5, 0.6), dices(0.5, 0.5, 0.5, 0.5), False),  # nothing rises
        (dices(0.5, 0.5, 0.9, 0.9), dices(0.0, 0.0, None, None), False),  # a class without a mean
    ],
)
def test_the_step_of_all_classes_needs_a_gain_and_no_loss(one, two, is_kept):
    learned = learned_steps({"a": {"1": one, "2": two}})
    assert learned.foreground["is_kept"] == is_kept
    assert learned_steps({"a": {"1": one}}).foreground["is_kept"] is False  # the class's own step is the same


@pytest.mark.parametrize("name", PREDICTIONS)
def test_what_is_learned_is_what_nnunet_learns(tmp_path, name):
    labels = write_predictions_of(tmp_path, name)
    values = {"source": tmp_path / "predicted", "learn": tmp_path / "truth", "dest": tmp_path / "learned"}
    assert itkit.run("itk_postprocess", **values).exit_code == 0
    found = json.loads((tmp_path / "learned" / "postprocess.json").read_text())
    golden = GOLDEN[name]
    together = bool(golden["steps"]) and golden["steps"][0] == list(labels) and len(labels) > 1
    assert found["foreground"]["is_kept"] == together
    steps = golden["steps"][1:] if together else np.ravel(golden["steps"]).tolist()
    assert found["params"].get("largest", []) == ([str(step) for step in steps] or ([] if together else ["none"]))
    config = tmp_path / "learned" / "postprocess.json"
    itkit.run("itk_postprocess", source=tmp_path / "predicted", dest=tmp_path / "out", config=config)
    for case, voxels in golden["voxels"].items():
        after = read_volume(tmp_path / "out" / f"{case}.mha", "label").array_zyx
        assert [int((after == value).sum()) for value in labels] == voxels


def write_predictions(root):
    """Class 1 has a false speck in every case, class 2 is truly in two parts."""
    for number, case in enumerate(("a", "b")):
        truth = np.zeros(GRID.size_zyx, np.uint8)
        truth[2:7, 2:6, 2:8] = 1
        truth[2:7, 8:12, 2:8] = truth[2:7, 8:12, 12 : 16 + number] = 2
        prediction = truth.copy()
        prediction[8, 0, 20] = prediction[0, 13, 21] = 1
        write_volume(Volume(truth, GRID, "label"), root / "truth" / "label" / f"{case}.mha")
        write_volume(Volume(truth, GRID), root / "truth" / "image" / f"{case}.mha")
        write_volume(Volume(prediction, GRID, "label"), root / "predicted" / f"{case}.nii.gz")


def test_what_is_learned_is_applied_by_config(tmp_path, capsys):
    write_predictions(tmp_path)
    predicted, learned = tmp_path / "predicted", tmp_path / "learned"
    result = itkit.run("itk_postprocess", source=predicted, dest=learned, learn=tmp_path / "truth", workers=2)
    assert result.exit_code == 0
    assert any("helps 1" in line for line in result.summary.lines)
    found = json.loads((learned / "postprocess.json").read_text())
    assert found["params"] == {"largest": ["1"]}
    assert found["learned"]["1"]["is_kept"]
    assert found["learned"]["2"]["as_is"] == 1.0 > found["learned"]["2"]["largest"]
    assert not list(learned.glob("*.mha"))
    command = [str(predicted), str(tmp_path / "out"), "--config", str(learned / "postprocess.json")]
    assert main("itk_postprocess", command) == 0
    for case in ("a", "b"):
        truth = read_volume(tmp_path / "truth" / "label" / f"{case}.mha", "label").array_zyx
        np.testing.assert_array_equal(read_volume(tmp_path / "out" / f"{case}.mha", "label").array_zyx, truth)
    capsys.readouterr()


def test_where_nothing_helps_nothing_changes(tmp_path):
    write_predictions(tmp_path)
    truth = tmp_path / "truth" / "label"
    itkit.run("itk_postprocess", source=truth, dest=tmp_path / "learned", learn=tmp_path / "truth")
    config = tmp_path / "learned" / "postprocess.json"
    assert json.loads(config.read_text())["params"] == {"largest": ["none"]}
    assert itkit.run("itk_postprocess", source=truth, dest=tmp_path / "out", config=config).exit_code == 0
    for path in truth.iterdir():
        after = read_volume(tmp_path / "out" / path.name, "label").array_zyx
        np.testing.assert_array_equal(after, read_volume(path, "label").array_zyx)


def test_largest_alone_is_every_class(tmp_path, capsys):
    write_predictions(tmp_path)
    arguments = [str(tmp_path / "predicted"), str(tmp_path / "out"), "--largest", "--together"]
    assert main("itk_postprocess", arguments) == 0
    label = read_volume(tmp_path / "out" / "a.mha", "label").array_zyx
    assert ndimage.label(label, ALL)[1] == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to do: give a step"),
        ({"together": True, "fill_holes": True}, "--together only matters with --largest"),
        ({"largest": ("all",), "learn": "x"}, "drop --largest"),
        ({"largest_foreground": True, "learn": "x"}, "drop --largest-foreground"),
        ({"fill_holes": True, "order": ("largest", "fill-holes")}, "--order: expected each given step once"),
        ({"smooth_mm": 0.0}, "--smooth-mm"),
        ({"largest": ()}, "--largest: expected classes"),
        ({"largest": ("liver",)}, "no dataset.json names a class 'liver'"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path, values, message):
    (tmp_path / "raw").mkdir()
    with pytest.raises(ParamsError, match=message):
        itkit.run("itk_postprocess", source=tmp_path / "raw", dest=tmp_path / "out", **values)


def test_an_image_given_as_a_label_is_told(tmp_path, capsys):
    noise = np.random.default_rng(5).integers(-1000, 1000, GRID.size_zyx).astype(np.int16)
    write_volume(Volume(noise, GRID, "label"), tmp_path / "ct" / "a.mha")
    assert main("itk_postprocess", [str(tmp_path / "ct"), str(tmp_path / "out"), "--min-volume-ml", "1e-9"]) == 0
    assert "looks like an image" in capsys.readouterr().err


def test_a_class_that_no_label_map_holds_is_told(tmp_path):
    write_volume(Volume(rough(1), GRID, "label"), tmp_path / "raw" / "a.mha")
    result = itkit.run("itk_postprocess", source=tmp_path / "raw", dest=tmp_path / "out", largest=("7", "77"))
    assert result.summary.lines == ("warning: no label map holds class 77 of --largest",)
