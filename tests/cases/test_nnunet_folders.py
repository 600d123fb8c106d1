"""Folders of nnU-Net as users have them, through ``itkit convert-dataset nnunet``."""

import json

import numpy as np
import pytest

import itkit
from itkit.core.errors import LayoutError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume

GRID = Geometry((4, 6, 8), (2.0, 1.0, 1.0))
ABOUT = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}, "file_ending": ".nii.gz"}


def write(root, images, labelled, dtype=np.uint8, values=(0, 1, 2), **about):
    rng = np.random.default_rng(len(images))
    for name in images:
        array = rng.integers(-900, 900, GRID.size_zyx).astype(np.int16)
        write_volume(Volume(array, GRID), root / "imagesTr" / f"{name}.nii.gz")
    for name in labelled:
        array = rng.choice(values, GRID.size_zyx).astype(dtype)
        (root / "labelsTr").mkdir(exist_ok=True)
        write_volume(Volume(array, GRID), root / "labelsTr" / f"{name}.nii.gz")
    (root / "dataset.json").write_text(json.dumps({**ABOUT, "numTraining": len(labelled), **about}))


def convert(root, events=None, **values):
    said = [] if events is None else events
    return itkit.run("convert_nnunet", source=root, dest=root.parent / "out", on_event=said.append, **values)


def written(root, kind):
    return sorted(path.name.removesuffix(".mha") for path in (root.parent / "out" / kind).glob("*.mha"))


def test_names_keep_their_dots_and_underscores(tmp_path):
    cases = ["xx.001", "1.3.6.1.4.1.9328.50.4.0175", "a_0000", "image", "label", "pat_01_seg"]
    write(tmp_path / "in", [f"{case}_0000" for case in cases], cases)
    assert convert(tmp_path / "in").exit_code == 0
    assert written(tmp_path / "in", "image") == written(tmp_path / "in", "label") == sorted(cases)


def test_labels_with_a_suffix_are_named_and_not_dropped_unsaid(tmp_path):
    write(tmp_path / "in", ["c1_0000", "c2_0000", "c3_0000"], ["c1_0000", "c2", "c3_seg"])
    events = []
    result = convert(tmp_path / "in", events)
    assert set(result.summary.unpaired) == {"c1_0000", "c3_seg"}
    notes = "\n".join(events[0]["notes"])
    assert "c1 and c1_0000, c3 and c3_seg" in notes
    assert "counts 3 training cases; 1 with image and label" in notes


def test_a_missing_channel_fails_its_case(tmp_path):
    channels = {"channel_names": {"0": "T1", "1": "T2"}}
    write(tmp_path / "in", ["c1_0000", "c1_0001", "c2_0000"], ["c1", "c2"], **channels)
    result = convert(tmp_path / "in")
    assert result.exit_code == 1
    assert {record.case_id: record.status for record in result.records} == {"c1": "done", "c2": "failed"}
    assert written(tmp_path / "in", "image") == ["c1_T1", "c1_T2"]


def test_values_without_a_name_are_named(tmp_path):
    write(tmp_path / "in", ["c1_0000"], ["c1"], values=(0, 1, 2, 3))
    result = convert(tmp_path / "in")
    assert any("without a name" in text and "3 (" in text for text in result.records[0].warnings)


def test_float_labels_and_the_json_of_version_1(tmp_path):
    first = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}
    write(tmp_path / "in", ["c1_0000"], ["c1"], dtype=np.float32, **first)
    assert convert(tmp_path / "in").exit_code == 0
    assert read_volume(tmp_path / "out/label/c1.mha", "label").dtype == np.uint8
    assert json.loads((tmp_path / "out/dataset.json").read_text())["labels"]["2"] == "tumour"


def test_a_folder_that_is_none_says_what_was_looked_for(tmp_path):
    write(tmp_path / "a", ["c1"], ["c1"])  # no channel number
    with pytest.raises(LayoutError, match="imagesTr/hippocampus_001_0000"):
        convert(tmp_path / "a")
    write(tmp_path / "b", ["c1_0000"], ["c1"])
    (tmp_path / "b/dataset.json").unlink()
    with pytest.raises(LayoutError, match=r"no dataset\.json"):
        convert(tmp_path / "b")
