"""Label maps on the volume's own grid, from networks whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from threshold_network import closest, write_thresholds

from itkit import inference
from itkit.core.errors import ArgumentError, CaseError, ModelError
from itkit.core.geometry import Geometry
from itkit.core.grids import oriented_grid
from itkit.core.volume import Volume
from itkit.inference.predicting import InferenceSettings, Predictor, Room
from itkit.inference.preparing import Preparation
from itkit.io.sitk_toolkit import write_volume
from itkit.process.geometry import orient

CENTRES = [-1001.0, 0.3, 55.0, 401.5]
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
GRIDS = {
    "plain": Geometry((21, 34, 27), (2.3, 0.9, 0.8)),
    "flipped": Geometry((21, 34, 27), (2.3, 0.9, 0.8), (5.0, -7.0, 11.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
    "turned": Geometry((21, 34, 27), (1.2, 0.9, 2.5), (5.0, -7.0, 11.0), (0, 0, 1.0, -1.0, 0, 0, 0, 1.0, 0)),
    "oblique": Geometry((21, 34, 27), (2.3, 0.9, 0.8), (1.0, 2.0, 3.0), OBLIQUE),
}


def image_on(grid, seed=0):
    return Volume(np.random.default_rng(seed).integers(-1024, 900, grid.size_zyx).astype(np.int16), grid)


@pytest.mark.parametrize("code", ["LPS", "RAS", "SRA"])
@pytest.mark.parametrize("name", GRIDS)
def test_each_voxel_gets_its_class_on_the_volumes_own_grid(tmp_path, name, code):
    values = [2, 7, 300]
    write_thresholds(tmp_path, CENTRES, values=values, orient=code)
    image = image_on(GRIDS[name])
    label = inference.predict(tmp_path, image)
    assert label.geometry == image.geometry
    assert label.kind == "label"
    assert label.dtype == np.uint16
    np.testing.assert_array_equal(label.array_zyx, closest(image.array_zyx, CENTRES, values))


@pytest.mark.parametrize("name", GRIDS)
def test_resampled_logits_come_back_to_their_physical_places(tmp_path, name):
    write_thresholds(tmp_path, [-400.0, 400.0], spacing=(2.1, 1.3, 1.7))
    image = image_on(GRIDS[name], 3)
    label = inference.predict(tmp_path, image)
    source = Volume(image.array_zyx.astype(np.float64), image.geometry).to_sitk()
    model = inference.read_model(tmp_path)
    working = Preparation.of(model.facts).grid(image.geometry)
    there = Volume(np.zeros(working.size_zyx), working).to_sitk()
    coarse = sitk.Resample(source, there, sitk.Transform(), sitk.sitkLinear, np.nan)
    back = sitk.GetArrayFromImage(sitk.Resample(coarse, source, sitk.Transform(), sitk.sitkLinear, np.nan))
    sure = np.abs(back) > 0.1  # nan is not sure, either
    assert sure.mean() > 0.4
    np.testing.assert_array_equal(label.array_zyx[sure], (back > 0)[sure])
    assert label.geometry == image.geometry


def test_a_volume_smaller_than_the_window(tmp_path):
    write_thresholds(tmp_path, CENTRES, patch_size=(64, 64, 64))
    image = image_on(Geometry((5, 6, 7), (1.0, 1.0, 1.0)))
    np.testing.assert_array_equal(inference.predict(tmp_path, image).array_zyx, closest(image.array_zyx, CENTRES))


def test_a_flat_network_sees_slices(tmp_path):
    write_thresholds(tmp_path, CENTRES, dims=2)
    image = image_on(GRIDS["turned"])
    np.testing.assert_array_equal(inference.predict(tmp_path, image).array_zyx, closest(image.array_zyx, CENTRES))


@pytest.mark.parametrize("settings", [{"flips": "ZX"}, {"batch": 5}, {"scheme": "nnunet"}, {"overlap": 0.0}])
def test_settings_do_not_change_a_network_of_single_voxels(tmp_path, settings):
    write_thresholds(tmp_path, CENTRES)
    image = image_on(GRIDS["plain"])
    found = inference.predict(tmp_path, image, **settings)
    np.testing.assert_array_equal(found.array_zyx, closest(image.array_zyx, CENTRES))


def test_probabilities_and_logits_are_those_of_the_network(tmp_path):
    model = write_thresholds(tmp_path, CENTRES, orient="RSA", spacing=(2.0, 1.0, 1.0))
    image = image_on(GRIDS["oblique"])
    predictor = Predictor.load([tmp_path])
    found = predictor.predict([image], probabilities=True, logits=True)
    assert found.probabilities.dtype == np.float16
    assert found.probabilities.geometry == image.geometry
    assert found.probabilities.array_zyx.shape == (*image.shape_zyx, 4)
    np.testing.assert_allclose(found.probabilities.array_zyx.sum(-1, dtype=np.float32), 1, atol=2e-3)
    top = found.probabilities.array_zyx.astype(np.float32)
    clear = np.sort(top, -1)[..., -1] - np.sort(top, -1)[..., -2] > 0.01
    np.testing.assert_array_equal(top.argmax(-1)[clear], found.label.array_zyx[clear])
    (logits,) = found.logits
    assert logits.geometry == Preparation.of(model.facts).grid(image.geometry)
    assert logits.dtype == np.float32
    prepared = logits.array_zyx[..., 2] + 0.55**2 / 2
    np.testing.assert_allclose(logits.array_zyx[..., 3], prepared / 0.55 * 4.015 - 4.015**2 / 2, atol=1e-2)
    plain = predictor.predict([image])
    assert plain.probabilities is None
    assert plain.logits == ()
    np.testing.assert_array_equal(plain.label.array_zyx, found.label.array_zyx)
    assert plain.voxels == {v: int((plain.label.array_zyx == v).sum()) for v in range(4)}
    assert plain.windows == found.windows > 1


def test_what_does_not_fit_into_memory_lies_in_files(tmp_path):
    write_thresholds(tmp_path / "model", CENTRES)
    (tmp_path / "scratch").mkdir()
    image = image_on(GRIDS["turned"])
    predictor = Predictor.load([tmp_path / "model"])
    room = Room(sums=False, probabilities=False, logits=False, scratch=tmp_path / "scratch")
    inside = predictor.predict([image], probabilities=True, logits=True)
    outside = predictor.predict([image], probabilities=True, logits=True, room=room)
    np.testing.assert_array_equal(inside.label.array_zyx, outside.label.array_zyx)
    np.testing.assert_array_equal(inside.probabilities.array_zyx, outside.probabilities.array_zyx)
    np.testing.assert_array_equal(inside.logits[0].array_zyx, outside.logits[0].array_zyx)
    assert not list((tmp_path / "scratch").iterdir())


def test_of_several_models_the_mean_of_the_softmax_counts(tmp_path):
    names = ["a", "b", "c"]
    spacings = [(-1, -1, -1), (2.0, 1.0, 1.0), (4.0, 0.5, 1.5)]
    for number, (name, spacing) in enumerate(zip(names, spacings, strict=True)):
        centres, code = [c + 80.0 * number for c in CENTRES], ("LPS", "RAS", "SRA")[number]
        write_thresholds(tmp_path / name, centres, spacing=spacing, values=[3, 4, 5], orient=code)
    image = image_on(GRIDS["flipped"])
    single = [
        Predictor.load([tmp_path / name]).predict([image], probabilities=True).probabilities.array_zyx for name in names
    ]
    mean = np.mean([one.astype(np.float32) for one in single], axis=0)
    found = Predictor.load([tmp_path / name for name in names]).predict([image], probabilities=True)
    np.testing.assert_allclose(found.probabilities.array_zyx, mean, atol=1e-3)
    ordered = np.sort(mean, -1)
    clear = ordered[..., -1] - ordered[..., -2] > 0.005
    np.testing.assert_array_equal(found.label.array_zyx[clear], np.array([0, 3, 4, 5])[mean.argmax(-1)][clear])
    assert clear.mean() > 0.9


def test_models_that_do_not_know_the_same_classes_are_refused(tmp_path):
    write_thresholds(tmp_path / "a", CENTRES, values=[3, 4, 5])
    write_thresholds(tmp_path / "b", CENTRES, values=[3, 4, 9])
    with pytest.raises(ModelError, match="their classes differ"):
        Predictor.load([tmp_path / "a", tmp_path / "b"])


def test_the_right_channel_is_seen_and_a_missing_one_named(tmp_path):
    write_thresholds(tmp_path / "model", CENTRES, channels=("T1", "T2"), of="T2")
    one, two = image_on(GRIDS["plain"], 1), image_on(GRIDS["plain"], 2)
    expected = closest(two.array_zyx, CENTRES)
    np.testing.assert_array_equal(inference.predict(tmp_path / "model", [one, two]).array_zyx, expected)
    vectors = Volume(np.stack([one.array_zyx, two.array_zyx], -1), one.geometry)
    np.testing.assert_array_equal(inference.predict(tmp_path / "model", vectors).array_zyx, expected)
    for volume, name in ((one, "one"), (two, "two")):
        write_volume(volume, tmp_path / f"{name}.mha")
    paths = [tmp_path / "one.mha", str(tmp_path / "two.mha")]
    np.testing.assert_array_equal(inference.predict(tmp_path / "model", paths).array_zyx, expected)
    with pytest.raises(CaseError, match="2 channels"):
        inference.predict(tmp_path / "model", one)


def test_windows_of_air_are_left_out(tmp_path):
    write_thresholds(tmp_path, [-1000.0, 40.0], patch_size=(16, 16, 16))
    array = np.full((30, 90, 80), -1000, np.int16)
    array[:, 50:80, 40:70] = 40
    image = orient(Volume(array, Geometry(array.shape, (4.0, 3.0, 3.0))), "RAS")
    predictor = Predictor.load([tmp_path])
    every = predictor.predict([image])
    some = replace(predictor, settings=InferenceSettings(skip_air=True)).predict([image])
    np.testing.assert_array_equal(some.label.array_zyx, every.label.array_zyx)
    assert 0 < some.windows < every.windows / 2
    assert not some.notes


def test_what_looks_wrong_is_said(tmp_path):
    write_thresholds(tmp_path, [0.0, 2000.0])
    image = image_on(GRIDS["plain"])
    found = Predictor.load([tmp_path], InferenceSettings(skip_air=True)).predict(
        [image.with_array((image.array_zyx % 50).astype(np.int16))]
    )
    assert any("no voxel of any class" in note for note in found.notes)


def test_nan_of_a_network_is_a_failure_by_name(tmp_path):
    write_thresholds(tmp_path, [0.0, float("inf")])
    with pytest.raises(CaseError, match="nan"):
        inference.predict(tmp_path, image_on(GRIDS["plain"]))


def test_what_is_no_volume_is_named():
    with pytest.raises(ArgumentError, match=r"predict: volume: expected a Volume .*; got ndarray"):
        inference.predict("no_model", np.zeros((4, 4, 4)))


def test_sliding_window_takes_arrays_and_tensors():
    volume = np.random.default_rng(0).normal(size=(2, 9, 10, 11)).astype(np.float32)
    network = torch.nn.Conv3d(2, 3, 1)
    array = inference.sliding_window(network, volume, (4, 4, 4), overlap=0.25, scheme="nnunet", weights="constant")
    tensor = inference.sliding_window(network, torch.from_numpy(volume)[None], (4, 4, 4))
    assert isinstance(array, np.ndarray)
    assert tensor.shape == (1, 3, 9, 10, 11)
    np.testing.assert_allclose(array, tensor[0].numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="volume_czyx"):
        inference.sliding_window(network, volume[0], (4, 4, 4))


def test_grids_are_turned_before_they_are_resampled(tmp_path):
    facts = write_thresholds(tmp_path, CENTRES, orient="SRA", spacing=(-1, 2.0, 3.0)).facts
    grid = Preparation.of(facts).grid(GRIDS["oblique"])
    turned = oriented_grid(GRIDS["oblique"], "SRA")
    assert grid.spacing_zyx == (turned.spacing_zyx[0], 2.0, 3.0)
