"""nnU-Net raw data of datasets as they are: values without a name, gaps, negative ones, CT."""

import json

import numpy as np
import pytest

import itkit
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.dataset.folder import DatasetFolder
from itkit.io.sitk_toolkit import read_volume, write_volume

GRID = Geometry((4, 6, 8), (2.0, 1.0, 1.0))


def dataset(root, values, names=None, **about):
    array = np.zeros(GRID.size_zyx, np.int16)
    array.ravel()[:] = np.resize(values, array.size)
    for folder in ("image", "label"):
        (root / folder).mkdir(parents=True)
    write_volume(Volume(np.arange(array.size, dtype=np.int16).reshape(array.shape), GRID), root / "image/p1.mha")
    write_volume(Volume(array, GRID, "label"), root / "label/p1.mha")
    if names is not None:
        (root / "dataset.json").write_text(json.dumps({"labels": names, **about}))
    return array


def export(root):
    events = []
    result = itkit.run("convert_to_nnunet", source=root, dest=root.parent / "Dataset001_X", on_event=events.append)
    return result, "\n".join(events[0]["notes"]), root.parent / "Dataset001_X"


@pytest.mark.parametrize(
    ("names", "new", "says"),
    [
        ({"0": "background", "3": "liver", "300": "cyst"}, {0: 0, 3: 1, 300: 2}, "3 (liver) is 1, 300 (cyst) is 2"),
        ({"-1": "unknown", "0": "background", "1": "liver"}, {-1: 2, 0: 0, 1: 1}, "-1 (unknown) is 2"),
        ({"1": "a", "2": "b"}, {1: 1, 2: 2}, "does not name 0"),
        ({"0": "background", "1": "liver"}, {0: 0, 1: 1}, ""),
    ],
)
def test_no_foreground_becomes_background_and_numbers_agree(tmp_path, names, new, says):
    source = dataset(tmp_path / "raw", sorted(new), names)
    result, notes, out = export(tmp_path / "raw")
    assert result.exit_code == 0
    assert says in notes
    label = read_volume(out / "labelsTr/p1.nii.gz", "label").array_zyx
    assert {(int(old), int(now)) for old, now in zip(source.flat, label.flat, strict=True)} == set(new.items())
    meta = json.loads((out / "dataset.json").read_text())
    assert sorted(meta["labels"].values()) == list(range(len(meta["labels"])))
    assert all(meta["labels"].get(name) == new[int(value)] for value, name in names.items())


@pytest.mark.parametrize("names", [{"0": "background", "1": "liver"}, {"0": "background"}])
def test_a_case_with_values_without_a_name_fails_by_their_names(tmp_path, names):
    dataset(tmp_path / "raw", [0, 1, 2], names)
    result, _, out = export(tmp_path / "raw")
    assert result.exit_code == 1
    assert "would become background" in result.records[0].message
    assert "2 (64 voxels)" in result.records[0].message
    assert not list(out.glob("labelsTr/*"))


def test_an_image_with_nan_fails_by_name(tmp_path):
    dataset(tmp_path / "raw", [0, 1], {"0": "background", "1": "liver"})
    image = np.zeros(GRID.size_zyx, np.float32)
    image[1, 2, 3:5] = np.nan
    write_volume(Volume(image, GRID), tmp_path / "raw/image/p1.mha")
    result, _, out = export(tmp_path / "raw")
    assert result.exit_code == 1
    assert "p1: 2 nan voxels in p1.mha, and nnU-Net accepts none" in result.records[0].message
    assert not list(out.glob("*Tr/*"))


def test_a_dataset_without_names_is_told_what_to_write(tmp_path):
    dataset(tmp_path / "raw", [0, 1])
    with pytest.raises(LayoutError, match=r"itk_describe .* --labels 1=NAME"):
        export(tmp_path / "raw")


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"modality": ["CT"]}, "CT"),
        ({"modality": "ct", "channels": ["image"]}, "CT"),
        ({"modality": ["MR"]}, "MR"),
        ({"modality": ["CT", "MR"]}, "image"),
        ({"channels": ["T1"]}, "T1"),
        ({}, "image"),
    ],
)
def test_a_channel_without_a_name_is_called_by_its_modality(tmp_path, about, name):
    dataset(tmp_path / "raw", [0, 1], {"0": "background", "1": "liver"}, **about)
    _, notes, out = export(tmp_path / "raw")
    assert json.loads((out / "dataset.json").read_text())["channel_names"] == {"0": name}
    assert ("nnU-Net normalises CT" in notes) == (about == {})
    assert DatasetFolder(tmp_path / "raw").labels == {0: "background", 1: "liver"}


def test_a_folder_of_another_layout_is_told_what_helps(tmp_path):
    dataset(tmp_path / "raw", [0, 1])
    (tmp_path / "raw/image").rename(tmp_path / "raw/imagesTr")
    with pytest.raises(LayoutError, match="itkit convert-dataset nnunet"):
        export(tmp_path / "raw")
