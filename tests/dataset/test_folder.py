"""Converted folders as samples."""

import json
import pickle

import numpy as np
import pytest
from synthetic import convert, release

from itkit.core.errors import LayoutError, ParamsError
from itkit.dataset.folder import DatasetFolder


@pytest.fixture(scope="module")
def flare(tmp_path_factory):
    dest = tmp_path_factory.mktemp("flare22")
    convert("flare22", release("flare22").source, dest)
    return dest


@pytest.fixture(scope="module")
def brats(tmp_path_factory):
    dest = tmp_path_factory.mktemp("brats")
    convert("brats2024", release("brats2024").source, dest, compression="none")
    return dest


def truth(name, case_id):
    return next(case for case in release(name).truth["cases"] if case["case"] == case_id)


def check_probes(sample, case):
    """Every probe that lies in the sample has the image values and label of the release."""
    met = 0
    for probe in case["probes"]:
        at = [round(value) for value in sample.geometry.index_zyx(tuple(probe["point"]))]
        if all(0 <= i < n for i, n in zip(at, sample.image.shape[1:], strict=True)):
            z, y, x = at
            np.testing.assert_allclose(sample.image[:, z, y, x], probe["image"], atol=1e-3)
            assert sample.label is None or sample.label[z, y, x] == probe["label"]
            met += 1
    return met


@pytest.mark.parametrize(("fixture", "name"), [("flare", "flare22"), ("brats", "brats2024")])
def test_volumes_hold_channels_and_labels_at_their_points(fixture, name, request):
    folder = DatasetFolder(request.getfixturevalue(fixture))
    volumes = folder.volumes()
    assert len(volumes) == len(release(name).truth["cases"])
    for sample in volumes:
        case = truth(name, sample.case_id)
        assert len(sample.image) == case["n_channels"]
        assert (sample.label is not None) == case["has_label"]
        assert check_probes(sample, case) == len(case["probes"])


def test_vector_files_give_the_same_samples(brats, tmp_path):
    convert("brats2024", release("brats2024").source, tmp_path, channels="vector")
    for a, b in zip(DatasetFolder(brats).volumes(), DatasetFolder(tmp_path).volumes(), strict=True):
        assert a.case_id == b.case_id
        np.testing.assert_array_equal(a.image, b.image)


def test_splits_of_the_release_and_of_a_file(flare, tmp_path):
    expected = sorted(case["case"] for case in release("flare22").truth["cases"] if case["split"] == "train")
    assert [case.case_id for case in DatasetFolder(flare, split="train").cases] == expected
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps([{"train": expected[:1], "val": expected[1:]}, {"train": expected[1:]}]))
    chosen = DatasetFolder(flare, split="train", split_file=folds, fold=1)
    assert [case.case_id for case in chosen.cases] == expected[1:]
    with pytest.raises(LayoutError, match="no split 'test'"):
        _ = DatasetFolder(flare, split="test").cases
    folds.write_text(json.dumps({"train": ["nobody"]}))
    with pytest.raises(LayoutError, match="nobody"):
        _ = DatasetFolder(flare, split="train", split_file=folds).cases


def test_classes_by_name(flare):
    folder = DatasetFolder(flare, classes=("left kidney", "liver"), labelled_only=True)
    for sample in folder.volumes():
        counts = truth("flare22", sample.case_id)["label_counts"]
        assert [(sample.label == value).sum() for value in (1, 2)] == [counts["13"], counts["1"]]
        assert sample.label.max() == 2
    assert folder.class_names == ("left kidney", "liver")
    with pytest.raises(ParamsError, match="no class 'heart'"):
        _ = DatasetFolder(flare, classes=("heart",)).mapping


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_across_each_axis(axis, flare):
    folder = DatasetFolder(flare, split="train")
    slices = folder.slices(axis=axis)
    volumes = list(folder.volumes())
    assert len(slices) == sum(sample.image.shape[axis + 1] for sample in volumes)
    place = 5
    np.testing.assert_array_equal(slices[place].image, np.take(volumes[0].image, place, axis + 1))
    np.testing.assert_array_equal(slices[place].label, np.take(volumes[0].label, place, axis))
    assert slices[place].start_zyx[axis] == place
    again = pickle.loads(pickle.dumps(slices))[place]
    np.testing.assert_array_equal(again.image, slices[place].image)


def test_slices_with_foreground_alone(flare):
    slices = DatasetFolder(flare, split="train", classes=("spleen",)).slices(foreground_only=True)
    assert all(sample.label.any() for sample in slices)
    whole = DatasetFolder(flare, split="train", classes=("spleen",)).volumes()
    assert len(slices) == sum(int((sample.label != 0).any(axis=(1, 2)).sum()) for sample in whole)


def test_patches_lie_where_they_say(brats):
    folder = DatasetFolder(brats, labelled_only=True)
    patches = folder.patches((6, 10, 12), per_case=4, foreground=1.0, seed=3)
    assert len(patches) == 4 * len(folder.cases)
    met = 0
    for number, patch in enumerate(patches):
        assert patch.image.shape == (4, 6, 10, 12)
        assert patch.label.any()
        met += check_probes(patch, truth("brats2024", patch.case_id))
        np.testing.assert_array_equal(
            patch.image, folder.patches((6, 10, 12), per_case=4, foreground=1.0, seed=3)[number].image
        )
    assert met > 10
    other = folder.patches((6, 10, 12), per_case=4, foreground=1.0, seed=4)
    assert any(a.start_zyx != b.start_zyx for a, b in zip(patches, other, strict=True))


def test_small_volumes_are_padded(flare):
    sample = DatasetFolder(flare, split="train").patches((40, 8, 8))[0]
    assert sample.image.shape == (1, 40, 8, 8)
    assert sample.label.shape == (40, 8, 8)
    assert not sample.label[20:].any()
    least = DatasetFolder(flare, split="train").volumes()[0].image.min()
    assert (sample.image[:, 20:] == least).all()


def test_an_index_outside_is_an_error(flare):
    volumes = DatasetFolder(flare).volumes()
    with pytest.raises(IndexError):
        volumes[len(volumes)]
    assert volumes[-1].case_id == DatasetFolder(flare).cases[-1].case_id


def test_a_plain_folder_needs_no_description(flare, tmp_path):
    (tmp_path / "image").mkdir()
    source = next((flare / "image").iterdir())
    (tmp_path / "image" / source.name).write_bytes(source.read_bytes())
    sample = DatasetFolder(tmp_path).volumes()[0]
    assert sample.label is None
    assert sample.image.ndim == 4


def test_no_training_framework_is_imported():
    import subprocess
    import sys

    code = "import sys, itkit.dataset.folder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
