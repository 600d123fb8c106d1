"""Segmentations of 3D Slicer: names and colours reach the label table, differing numbers and layers are named."""

import json
from pathlib import Path

import numpy as np
import pytest
import slicerio

import itkit
from itkit.cli.main import main
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume

GRID = Geometry((4, 6, 8), (2.0, 1.0, 1.0))
NAMES = {1: "liver", 5: "tumour, left"}
COLOURS = {1: "0.2 0.4 1", 5: "1 0 0.5"}


def segmentation(path, names=NAMES, colours=COLOURS):
    array = np.zeros(GRID.size_zyx, np.uint8)
    array[1:3, 2:4, 2:5] = next(iter(names))
    array[3, 4:, 5:] = list(names)[-1]
    fields = {}
    for number, (value, name) in enumerate(names.items()):
        about = {"ID": f"Segment_{value}", "Name": name, "LabelValue": str(value), "Layer": "0"}
        about |= {"Color": colours[value]} if value in colours else {}
        fields |= {f"Segment{number}_{key}": text for key, text in about.items()}
    write_volume(Volume(array, GRID, "label", fields), path)


@pytest.fixture
def raw(tmp_path):
    for number in range(2):
        image = np.arange(192, dtype=np.int16).reshape(4, 6, 8)
        write_volume(Volume(image, GRID), tmp_path / f"raw/image/c{number}.nrrd")
        segmentation(tmp_path / f"raw/label/c{number}.nrrd")
    return tmp_path / "raw"


def table(folder):
    about = json.loads((folder / "dataset.json").read_text())
    return about["labels"], about.get("colours")


EXPECTED = ({"0": "background", "1": "liver", "5": "tumour, left"}, {"1": [51, 102, 255], "5": [255, 0, 128]})


def test_describe_writes_the_table(raw, capsys):
    assert main("itk_describe", [str(raw)]) == 0
    assert table(raw) == EXPECTED
    assert main("itk_describe", [str(raw), "--modality", "CT"]) == 0
    assert table(raw) == EXPECTED


def test_names_that_are_given_win(raw):
    assert main("itk_describe", [str(raw), "--labels", "1=organ"]) == 0
    assert table(raw) == ({"0": "background", "1": "organ"}, None)
    assert main("itk_describe", [str(raw), "--modality", "CT"]) == 0
    assert table(raw)[0] == {"0": "background", "1": "organ"}


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("itk_orient", {"orient": "RAS"}),
        ("itk_resample", {"mode": "dataset", "spacing": (1, 1, 1)}),
        ("itk_convert", {"mode": "format", "ext": ".nii.gz"}),
        ("itk_patch", {"patch_size": 4, "patch_stride": 2, "layout": "dataset"}),
    ],
)
def test_commands_carry_the_table_on(raw, tmp_path, operation, values):
    assert itkit.run(operation, source=raw, dest=tmp_path / "out", **values).exit_code == 0
    assert table(tmp_path / "out") == EXPECTED


@pytest.mark.parametrize("link", [False, True])
def test_collected_segmentations_keep_their_table(raw, tmp_path, link):
    for number in range(2):
        (tmp_path / f"any/c{number}").mkdir(parents=True)
        (raw / f"image/c{number}.nrrd").rename(tmp_path / f"any/c{number}/ct.nrrd")
        (raw / f"label/c{number}.nrrd").rename(tmp_path / f"any/c{number}/Segmentation.seg.nrrd")
    values = {"image": "{case}/ct.nrrd", "label": "{case}/Segmentation.seg.nrrd", "link": link}
    assert itkit.run("itk_collect", source=tmp_path / "any", dest=tmp_path / "out", **values).exit_code == 0
    assert table(tmp_path / "out") == EXPECTED
    named = itkit.run("itk_collect", source=tmp_path / "any", dest=tmp_path / "b", **values, labels=("1=organ",))
    assert named.exit_code == 0
    assert table(tmp_path / "b") == ({"0": "background", "1": "organ"}, None)


def test_extraction_renumbers_names_and_colours(raw, tmp_path):
    itkit.run("itk_extract", source=raw / "label", dest=tmp_path / "out", mappings=("5:1",))
    assert table(tmp_path / "out") == ({"0": "background", "1": "tumour, left"}, {"1": [255, 0, 128]})


def test_a_flat_folder_of_segmentations_has_the_table(raw, tmp_path):
    (tmp_path / "flat").mkdir()
    for path in (raw / "label").iterdir():
        path.rename(tmp_path / "flat" / f"{path.stem}.seg.nrrd")
    values = {"mode": "label", "source": tmp_path / "flat", "spacing": (1, 1, 1)}
    assert itkit.run("itk_resample", dest=tmp_path / "out", **values).exit_code == 0
    assert table(tmp_path / "out") == EXPECTED
    assert itkit.run("itk_orient", source=tmp_path / "flat", dest=tmp_path / "lps", orient="LPS").exit_code == 0
    assert table(tmp_path / "lps") == EXPECTED


def test_numbers_that_differ_between_cases_are_named_and_left_out(raw, tmp_path, command):
    segmentation(raw / "label/c1.nrrd", {5: "tumour, left", 1: "spleen", 7: "cyst"})
    code, _, stderr = command("itk_orient", raw, tmp_path / "out", "RAS")
    assert code == 0
    assert "segments are not numbered alike: 1 is liver in c0, 1 is spleen in c1" in stderr
    assert table(tmp_path / "out")[0] == {"0": "background", "5": "tumour, left", "7": "cyst"}


def test_a_description_of_ones_own_wins(raw, tmp_path):
    (raw / "dataset.json").write_text('{"labels": {"0": "background", "1": "organ"}}')
    itkit.run("itk_orient", source=raw, dest=tmp_path / "out", orient="RAS")
    assert table(tmp_path / "out") == ({"0": "background", "1": "organ"}, None)


def test_layers_are_named_with_their_segments(raw, command):
    head = (
        "NRRD0004\ntype: unsigned char\ndimension: 4\nspace: left-posterior-superior\nsizes: 2 8 6 4\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,2)\nkinds: list domain domain domain\nencoding: raw\n"
        "space origin: (0,0,0)\n"
        "Segment0_ID:=a\nSegment0_Name:=lobe\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
        "Segment1_ID:=b\nSegment1_Name:=lesion\nSegment1_LabelValue:=1\nSegment1_Layer:=1\n\n"
    )
    (raw / "label/c1.nrrd").write_bytes(head.encode() + bytes(2 * 8 * 6 * 4))
    code, _, stderr = command("itk_orient", raw, raw.parent / "out", "RAS")
    assert code == 1
    assert "c1.nrrd: a segmentation of several layers" in stderr
    assert "layer 0: lobe; layer 1: lesion" in stderr
    assert table(raw.parent / "out") == EXPECTED


def test_a_real_segmentation_keeps_its_names(tmp_path):
    label = Path(slicerio.__file__).parent / "data" / "Segmentation.seg.nrrd"
    names = {segment["labelValue"]: segment["name"] for segment in slicerio.read_segmentation(str(label))["segments"]}
    (tmp_path / "raw/label").mkdir(parents=True)
    (tmp_path / "raw/label/chest.nrrd").write_bytes(label.read_bytes())
    assert main("itk_describe", [str(tmp_path / "raw")]) == 0
    assert {int(value): name for value, name in table(tmp_path / "raw")[0].items() if value != "0"} == names
    assert read_volume(label, "label").array_zyx.max() <= max(names)
