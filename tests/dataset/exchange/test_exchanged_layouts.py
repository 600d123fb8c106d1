"""`itk_convert` to the layouts of other tools and back; read with these tools' own readers where CI has them.

TorchIO, nnU-Net and the validator of BIDS are not installed in CI. By hand: `torchio.SubjectsDataset` (1.2.1) loaded
the table; `verify_dataset_integrity` of nnunetv2 (2.8.1) and `bids-validator-deno` (3.0.2) found no error.
"""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest

import itkit
from itkit.catalogue import load
from itkit.cli.operation import main
from itkit.core.errors import LayoutError, ParamsError
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.testing import phantoms
from itkit.testing.contracts import OperationContract

LAYOUTS = ("nnunet", "msd", "monai", "torchio", "bids")
NAMES = {"0": "background", "1": "arm", "2": "leg", "3": "foot"}


def convert(mode, source, dest, **more):
    return itkit.run("itk_convert", mode=mode, source=source, dest=dest, **more)


def describe(root, **about):
    path = root / "dataset.json"
    known = json.loads(path.read_text()) if path.exists() else {"labels": NAMES}
    path.write_text(json.dumps({**known, **about}))
    return root


def described(root):
    return json.loads((root / "dataset.json").read_text())


def flat(name):
    """A path without what the layouts change of it: folders, channel endings, marks."""
    return "".join(letter for letter in name.rsplit("/", 1)[-1] if letter.isalnum())


class LayoutContract(OperationContract):
    operation = load("itk_convert")
    changed = {"dtype": "float32"}
    mode = ""

    def values(self, source, dest):
        return {"mode": self.mode, "source": source, "dest": dest}

    def run(self, source, dest, **more):
        if not (source / "dataset.json").exists():
            describe(source)
        return super().run(source, dest, **more)

    def test_the_source_is_untouched(self, tmp_path):
        phantoms.write_channels(tmp_path / "raw", 2)
        before = {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}
        self.run(tmp_path / "raw", tmp_path / "out")
        assert before == {path: path.read_bytes() for path in (tmp_path / "raw").rglob("*") if path.is_file()}

    def test_several_channels_are_one_case(self, tmp_path):
        phantoms.write_channels(tmp_path / "raw", 2, channels=("t1", "t1c", "flair"))
        assert self.run(tmp_path / "raw", tmp_path / "out").exit_code == 0
        assert len(self.volumes(tmp_path / "out")) == (4 if self.mode == "msd" else 8)

    def test_a_vector_file_is_its_channels(self, tmp_path):
        for layout in ("vector", "files"):
            phantoms.write_channels(tmp_path / layout, 2, layout=layout)
            assert self.run(tmp_path / layout, tmp_path / f"of_{layout}").exit_code == 0
        assert self.volumes(tmp_path / "of_vector") == self.volumes(tmp_path / "of_files")

    def test_a_missing_channel_or_another_grid_fails_that_case_by_name(self, tmp_path, monkeypatch):
        if self.mode == "bids":
            monkeypatch.setattr(
                type(self), "volumes", staticmethod(lambda folder: {"case_02" for _ in folder.rglob("*case02*.gz")})
            )
        super().test_a_missing_channel_or_another_grid_fails_that_case_by_name(tmp_path)

    def test_the_description_goes_on_and_says_what_was_done(self, tmp_path):
        """The layouts have descriptions of their own; a second run writes the same bytes."""
        phantoms.write_channels(tmp_path / "raw", 3)
        self.run(tmp_path / "raw", tmp_path / "out")
        texts = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.json") if ".itkit" not in path.parts}
        self.run(tmp_path / "raw", tmp_path / "out")
        assert texts == {path: path.read_bytes() for path in texts}
        if self.mode == "torchio":
            meta = described(tmp_path / "out")
            assert [entry["operation"] for entry in meta["history"]] == ["itk_convert"]
            assert meta["channels"] == ["t1", "t2"]


class TestNnunet(LayoutContract):
    mode = "nnunet"


class TestMsd(LayoutContract):
    mode = "msd"


class TestMonai(LayoutContract):
    mode = "monai"


class TestTorchio(LayoutContract):
    mode = "torchio"


class TestBids(LayoutContract):
    mode = "bids"


@pytest.fixture
def source(tmp_path):
    """Cases on four grids, two channels; one in the test set, one for validation, one without a label."""
    phantoms.write_channels(tmp_path / "raw", 4)
    (tmp_path / "raw/label/case_03.mha").unlink()
    return describe(tmp_path / "raw", splits={"train": ["case_01"], "val": ["case_02"], "test": ["case_00"]})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back_keeps_voxels_names_and_the_test_set(source, tmp_path, layout):
    assert convert(layout, source, tmp_path / "there").exit_code == 0
    assert convert(f"from-{layout}", tmp_path / "there", tmp_path / "back").exit_code == 0
    meta = described(tmp_path / "back")
    assert meta["labels"] == NAMES
    assert "case_00" in meta["splits"]["test"]
    assert "case_01" in meta["splits"]["train"]
    assert [entry["operation"] for entry in meta["history"]] == ["itk_convert"]
    channels = ("t1", "t2")
    assert meta["channels"] == list(channels)
    for case in ("case_00", "case_01", "case_02", "case_03"):
        for own, new in zip(("_t1", "_t2", ""), (*(f"_{name}" for name in channels), ""), strict=True):
            folder = "image" if own else "label"
            if case == "case_03" and not own:
                assert not list((tmp_path / "back/label").glob("case_03*"))
                continue
            before = read_volume(source / folder / f"{case}{own}.mha")
            after = read_volume(tmp_path / "back" / folder / f"{case}{new}.mha")
            np.testing.assert_array_equal(before.array_zyx, after.array_zyx)
            assert before.geometry.grid_distance_mm(after.geometry) < 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_written_of_a_case_with_one_bad_file(source, tmp_path, layout):
    path = source / "label/case_01.mha"
    path.write_bytes(path.read_bytes()[:-40])
    result = convert(layout, source, tmp_path / "out")
    assert result.exit_code == 1
    assert [record.case_id for record in result.records if record.status == "failed"] == ["case_01"]
    assert not [path for path in (tmp_path / "out").rglob("*.nii.gz") if "case01" in flat(path.name)]
    lists = [path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix in (".json", ".csv", ".tsv")]
    assert not any("case_01" in text for text in lists)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_channels_keep_their_order(tmp_path, layout):
    phantoms.write_channels(tmp_path / "raw", 1)
    describe(tmp_path / "raw", channels=["t2", "t1"])
    convert(layout, tmp_path / "raw", tmp_path / "there")
    convert(f"from-{layout}", tmp_path / "there", tmp_path / "back")
    assert described(tmp_path / "back")["channels"] == ["t2", "t1"]


@pytest.mark.parametrize(("layout", "tool"), [("nnunet", "nnU-Net's raw data"), ("msd", "the Decathlon")])
def test_a_validation_set_that_a_layout_does_not_know_is_told(source, tmp_path, capsys, layout, tool):
    assert main("itk_convert", [layout, str(source), str(tmp_path / "out")]) == 0
    assert f"{tool} has no validation set: training cases are also case_02" in capsys.readouterr().err


def test_channels_of_the_decathlon_are_volumes_of_one_file(source, tmp_path):
    convert("msd", source, tmp_path / "out")
    image = nibabel.load(tmp_path / "out/imagesTr/case_01.nii.gz")
    assert image.shape == (11, 14, 9, 2)
    for number, channel in enumerate(("t1", "t2")):
        expected = read_volume(source / f"image/case_01_{channel}.mha").array_zyx
        np.testing.assert_array_equal(np.asarray(image.dataobj)[..., number].T, expected)
    meta = described(tmp_path / "out")
    assert (meta["tensorImageSize"], meta["modality"]) == ("4D", {"0": "t1", "1": "t2"})
    assert meta["training"][0] == {"image": "./imagesTr/case_01.nii.gz", "label": "./labelsTr/case_01.nii.gz"}
    assert sorted(meta["test"]) == ["./imagesTs/case_00.nii.gz", "./imagesTs/case_03.nii.gz"]
    assert (tmp_path / "out/labelsTs/case_00.nii.gz").exists()


def test_monai_reads_the_list(source, tmp_path):
    datalist = pytest.importorskip("monai.data", exc_type=ImportError).load_decathlon_datalist
    convert("monai", source, tmp_path / "out")
    for name in ("datalist.json", "dataset.json"):
        (case,) = datalist(tmp_path / "out" / name, is_segmentation=True, data_list_key="training")
        images = [nibabel.load(path) for path in case["image"]]
        assert [image.shape for image in images] == [(11, 14, 9)] * 2
        label = np.asarray(nibabel.load(case["label"]).dataobj).T
        np.testing.assert_array_equal(label, read_volume(source / "label/case_01.mha").array_zyx)
        assert len(datalist(tmp_path / "out" / name, data_list_key="validation")) == 1
        assert len(datalist(tmp_path / "out" / name, data_list_key="test")) == 2


def test_rows_of_torchio_name_files_that_are_there(source, tmp_path):
    convert("torchio", source, tmp_path / "out")
    with (tmp_path / "out/subjects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["subject", "t1", "t2", "label"]
    assert [row["subject"] for row in rows] == ["case_00", "case_01", "case_02", "case_03"]
    assert rows[3]["label"] == ""
    assert all((tmp_path / "out" / path).is_file() for row in rows for path in list(row.values())[1:] if path)
    (tmp_path / "mine").mkdir()
    shutil.copytree(tmp_path / "out/image", tmp_path / "mine/scans")
    (tmp_path / "mine/list.csv").write_text("ID,mri,age\np1,scans/case_00_t1.nii.gz,34\np2,../raw/x.mha,5\n")
    result = convert("from-torchio", tmp_path / "mine", tmp_path / "back")
    assert result.exit_code == 1
    assert {record.case_id: record.status for record in result.records} == {"p1": "done", "p2": "failed"}
    assert "outside" in next(record.message for record in result.records if record.case_id == "p2")
    assert described(tmp_path / "back")["cases"]["p1"]["age"] == "34"


def test_a_channel_called_as_another_column_is_refused(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1, channels=("subject", "t2"))
    with pytest.raises(LayoutError, match="'subject'"):
        convert("torchio", tmp_path / "raw", tmp_path / "out")


def test_names_of_bids_are_those_of_its_specification(source, tmp_path):
    describe(source, licence="CC0")
    convert("bids", source, tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "sub-case01/anat/sub-case01_T1w.nii.gz").is_file()
    assert (out / "derivatives/itkit/sub-case01/anat/sub-case01_desc-itkit_dseg.nii.gz").is_file()
    raw, derived = (
        json.loads((out / folder / "dataset_description.json").read_text()) for folder in ("", "derivatives/itkit")
    )
    assert (raw["DatasetType"], derived["DatasetType"], raw["License"]) == ("raw", "derivative", "CC0")
    assert raw["Name"]
    assert raw["BIDSVersion"]
    assert derived["GeneratedBy"][0]["Name"] == "ITKIT"
    table = (out / "derivatives/itkit/desc-itkit_dseg.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in table] == [["index", "name"], ["1", "arm"], ["2", "leg"], ["3", "foot"]]
    assert (out / "participants.tsv").read_text().splitlines()[1] == "sub-case00\tcase_00\ttest"


def test_subjects_that_bids_can_not_tell_apart_fail_by_name(tmp_path):
    phantoms.write_dataset(tmp_path / "raw", 2)
    for folder in ("image", "label"):
        shutil.copy(tmp_path / f"raw/{folder}/case_00.nii.gz", tmp_path / f"raw/{folder}/case-00.nii.gz")
    result = convert("bids", describe(tmp_path / "raw", modality=["CT"]), tmp_path / "out")
    assert {record.case_id: record.status for record in result.records} == {
        "case-00": "failed",
        "case_00": "failed",
        "case_01": "done",
    }
    assert (tmp_path / "out/sub-case01/ct/sub-case01_ct.nii.gz").is_file()
    assert "**/ct" in (tmp_path / "out/.bidsignore").read_text().splitlines()


def test_two_segmentations_of_a_subject_fail_it_by_name(source, tmp_path):
    convert("bids", source, tmp_path / "out")
    folder = tmp_path / "out/derivatives/other/sub-case01/anat"
    folder.mkdir(parents=True)
    label = next((tmp_path / "out/derivatives/itkit/sub-case01/anat").iterdir())
    shutil.copy(label, folder / "sub-case01_desc-other_dseg.nii.gz")
    result = convert("from-bids", tmp_path / "out", tmp_path / "back")
    assert [record.case_id for record in result.records if record.status == "failed"] == ["case_01"]


@pytest.mark.parametrize("layout", ["msd", "monai"])
def test_a_list_that_leads_out_of_its_folder_fails_the_case(source, tmp_path, layout):
    convert(layout, source, tmp_path / "there")
    for path in (tmp_path / "there").glob("data*.json"):
        raw = json.loads(path.read_text())
        raw["training"][0]["label"] = "../raw/label/case_01.mha"
        path.write_text(json.dumps(raw))
    result = convert(f"from-{layout}", tmp_path / "there", tmp_path / "back")
    failed = [record for record in result.records if record.status == "failed"]
    assert [record.case_id for record in failed] == ["case_01"]
    assert "lies outside the folder" in failed[0].message


def test_a_list_of_any_name_and_of_any_tree_is_read(tmp_path):
    phantoms.write_channels(tmp_path / "in", 2)
    entries = [
        {
            "image": [f"image/case_0{n}_t1.mha", f"image/case_0{n}_t2.mha"],
            "label": f"label/case_0{n}.mha",
            "fold": n,
        }
        for n in range(2)
    ]
    (tmp_path / "in/dataset.json").unlink()
    (tmp_path / "in/folds.json").write_text(json.dumps({"training": entries}))
    assert convert("from-monai", tmp_path / "in", tmp_path / "out").exit_code == 0
    meta = described(tmp_path / "out")
    assert meta["channels"] == ["t1", "t2"]
    assert {case: facts["fold"] for case, facts in meta["cases"].items()} == {"case_00": 0, "case_01": 1}
    (tmp_path / "in/more.json").write_text(json.dumps({"training": entries}))
    with pytest.raises(LayoutError, match="several lists of cases"):
        convert("from-monai", tmp_path / "in", tmp_path / "again")


def test_classes_of_one_name_are_refused(source, tmp_path):
    describe(source, labels={"1": "liver", "2": "liver"})
    with pytest.raises(LayoutError, match="the name 'liver'"):
        convert("nnunet", source, tmp_path / "out")


def test_the_test_set_is_no_training_case(source, tmp_path):
    result = convert("nnunet", source, tmp_path / "Dataset007_X")
    out = tmp_path / "Dataset007_X"
    assert result.exit_code == 0
    assert sorted(path.name for path in (out / "imagesTs").iterdir())[0] == "case_00_0000.nii.gz"
    assert (out / "labelsTs/case_00.nii.gz").exists()
    assert described(out)["numTraining"] == 2
    assert described(out)["channel_names"] == {"0": "t1", "1": "t2"}
    assert described(out)["labels"] == {name: int(value) for value, name in NAMES.items()}


def test_several_channels_in_one_file_need_a_format_of_one_file(source, tmp_path):
    result = convert("msd", source, tmp_path / "out", ext=".mhd")
    assert all("format of one file" in record.message for record in result.records)
    assert not list((tmp_path / "out").rglob("*.mhd"))
    assert convert("msd", source, tmp_path / "mha", ext=".mha").exit_code == 0
    assert read_volume(tmp_path / "mha/imagesTr/case_01.mha", channels=True).array_zyx.shape[3] == 2
    with pytest.raises(ParamsError, match="BIDS knows"):
        convert("bids", source, tmp_path / "bids", ext=".mha")


def test_orientation_and_type_are_as_asked(source, tmp_path):
    write_volume(read_volume(source / "image/case_01_t1.mha"), tmp_path / "expected.nii.gz")
    convert("nnunet", source, tmp_path / "out", orient="RAS", dtype="float32")
    image = nibabel.load(tmp_path / "out/imagesTr/case_01_0000.nii.gz")
    assert image.get_data_dtype() == np.float32
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / "expected.nii.gz"))
    np.testing.assert_array_equal(image.get_fdata(), turned.get_fdata())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_licence_and_channels_come_back(tmp_path, layout):
    phantoms.write_channels(tmp_path / "raw", 1, channels=("t1c", "adc"))
    describe(tmp_path / "raw", labels=NAMES, licence="CC0", citation="Me, 2026", modality="MR")
    convert(layout, tmp_path / "raw", tmp_path / "there")
    assert convert(f"from-{layout}", tmp_path / "there", tmp_path / "back").exit_code == 0
    meta = described(tmp_path / "back")
    assert (meta["channels"], meta["licence"], meta["citation"]) == (["t1c", "adc"], "CC0", "Me, 2026")


@pytest.mark.parametrize(("channel", "modality"), [("flair", "MR"), ("image", "MR"), ("image", "CT"), ("CT", "CT")])
def test_the_name_of_a_lone_channel_comes_back_from_bids(tmp_path, channel, modality):
    phantoms.write_dataset(tmp_path / "raw", 1)
    describe(tmp_path / "raw", labels=NAMES, channels=[channel], modality=modality)
    convert("bids", tmp_path / "raw", tmp_path / "there")
    assert convert("from-bids", tmp_path / "there", tmp_path / "back").exit_code == 0
    meta = described(tmp_path / "back")
    assert (meta["channels"], meta["modality"]) == ([channel], [modality])
