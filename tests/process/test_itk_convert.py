"""``itk_convert``: DICOM trees to datasets, volumes to other formats."""

import csv
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from itkit import run
from itkit.core.errors import LayoutError, ParamsError
from itkit.core.geometry import Geometry
from itkit.core.volume import Volume
from itkit.io.sitk_toolkit import read_volume, write_volume

sys.path.insert(0, str(Path(__file__).parents[1] / "dataset" / "fakes"))

import make_fake

SERIES, PATIENT, DIRECTION = "1.2.3.4.5.6.7.8", "DOE^JOHN", make_fake.rotation(0, 10.0)
GRID = make_fake.Geo((12, 10, 8), (0.75, 0.5, 2.5), (-20.0, 12.5, 80.0), DIRECTION)
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def values():
    return (np.arange(np.prod(GRID.shape)).reshape(GRID.shape) % 900 - 200).astype(np.int16)


def write(folder, series=SERIES, number=3, patient=PATIENT, **options):
    context = {"patient": patient, "study": "1.2.3.4", "series": series, "number": number, "desc": "Abd"}
    context |= {"date": "20200101", "study_desc": "CT", "frame": "1.2.3.9"}
    options = {"img": values(), "geo": GRID, **options}
    sops = make_fake.write_ct_series(
        folder, options.pop("img"), options.pop("geo"), np.random.default_rng(1), context, **options
    )
    return context, sops


@pytest.fixture
def dicom(tmp_path):
    write(tmp_path / "in" / "DOE_JOHN" / "scan", order=range(7, -1, -1), ext="")
    return tmp_path / "in"


def convert(source, dest, mode="dicom", **options):
    return run("itk_convert", mode=mode, source=source, dest=dest, **options)


def report(dest):
    with (dest / "dicom_report.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(dest):
    return "\n".join(
        path.read_text(errors="replace") + str(path.relative_to(dest)) for path in dest.rglob("*") if path.is_file()
    )


def test_a_series_keeps_values_and_points(dicom, tmp_path):
    result = convert(dicom, tmp_path / "out", name="scan{SeriesNumber}")
    assert result.exit_code == 0
    image = sitk.ReadImage(str(tmp_path / "out" / "image" / "scan3.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values())
    for index in ((0, 0, 0), (11, 0, 7), (3, 9, 5)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), GRID.point(index), atol=1e-4)


def test_nothing_written_identifies_the_patient(dicom, tmp_path):
    write(dicom / "DOE_JOHN" / "gap", series=f"{SERIES}.1", number=4, skip_slices=(4,))
    write(dicom / "DOE_JOHN" / "scout", series=f"{SERIES}.2", number=5, skip_slices=range(2, 8))
    (dicom / "DOE_JOHN" / "DOE JOHN.txt").write_text("notes")
    assert convert(dicom, tmp_path / "out").exit_code == 1
    text = everything(tmp_path / "out")
    for word in ("DOE", "JOHN", SERIES):
        assert word not in text
    assert len(report(tmp_path / "out")) == 4


def test_pseudonyms_depend_on_the_key_alone(dicom, tmp_path):
    names = [
        next((tmp_path / folder / "image").iterdir()).name
        for folder, key in (("a", "k1"), ("b", "k1"), ("c", "k2"))
        if convert(dicom, tmp_path / folder, key=key).exit_code == 0
    ]
    assert names[0] == names[1] != names[2]


def test_identifiers_are_kept_on_request(dicom, tmp_path):
    convert(dicom, tmp_path / "out", keep_ids=True)
    assert [path.name for path in (tmp_path / "out" / "image").iterdir()] == ["DOE-JOHN_3.mha"]


def test_the_table_names_what_was_found_and_refused(dicom, tmp_path):
    write(dicom / "scout", series=f"{SERIES}.2", number=5, skip_slices=range(2, 8))
    write(dicom / "gap", series=f"{SERIES}.1", number=4, skip_slices=(4,))
    write(dicom / "mr", series=f"{SERIES}.3", number=6, modality="MR")
    (dicom / "readme.txt").write_text("hello")
    result = convert(dicom, tmp_path / "out", modality=("CT",), keep_ids=True, name="s{SeriesNumber}")
    assert result.exit_code == 1
    rows = {(row["case"], row["status"]): row for row in report(tmp_path / "out") if row["case"]}
    assert rows["s3", "done"]["size_zyx"] == "8 10 12"
    assert rows["s3", "done"]["spacing_zyx"] == "2.5 0.5 0.75"
    assert "missing" in rows["s4", "failed"]["reason"]
    refused = " ".join(row["reason"] for row in report(tmp_path / "out") if row["status"] == "refused")
    assert "2 slices" in refused
    assert "modality MR was not asked for" in refused
    assert {row["path"]: row["reason"] for row in report(tmp_path / "out")}["readme.txt"] == "not a DICOM file"
    assert rows["s3", "done"]["path"] == "DOE_JOHN/scan"


@pytest.mark.parametrize(("rule", "sizes"), [("error", []), ("largest", [5]), ("split", [5, 2])])
def test_irregular_series(rule, sizes, tmp_path):
    write(tmp_path / "in", skip_slices=(2,))
    result = convert(tmp_path / "in", tmp_path / "out", on_irregular=rule, least_slices=2, name="s")
    assert result.exit_code == (0 if sizes else 1)
    found = [read_volume(path).geometry.size_zyx[0] for path in sorted((tmp_path / "out").rglob("*.mha"))]
    assert sorted(found, reverse=True) == sizes


def test_labels_come_with_their_names(tmp_path):
    context, sops = write(tmp_path / "in" / "ct")
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2:6, 3:7, 2:9] = 1
    other = np.roll(mask, 3, axis=2)
    seg = {**context, "series": f"{SERIES}.9", "number": 300}
    make_fake.write_seg(tmp_path / "in" / "seg" / "1.dcm", [mask, other], ["Liver", "Mass"], GRID, sops,
                        np.random.default_rng(0), seg, SERIES)  # fmt: skip
    result = convert(tmp_path / "in", tmp_path / "out", name="s", orient="RAS")
    label = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "out" / "label" / "s.mha")), "LPS")
    expected = np.where(other > 0, 2, mask)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), expected)
    assert json.loads((tmp_path / "out" / "label_names.json").read_text()) == {"s": {"1": "Liver", "2": "Mass"}}
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert described["labels"] == {"0": "background", "1": "Liver", "2": "Mass"}
    assert described["modality"] == ["CT"]
    assert f"{int((mask & other).sum())} voxels are in several regions" in result.records[0].warnings[0]
    assert convert(tmp_path / "in", tmp_path / "strict", name="s", overlap="error").exit_code == 1
    assert not list((tmp_path / "strict").rglob("*.mha"))
    convert(tmp_path / "in", tmp_path / "without", no_labels=True)
    assert not (tmp_path / "without" / "label").exists()


def test_a_description_is_that_of_the_cases_there_and_edits_stay(tmp_path):
    def add(number, names):
        uid = f"{SERIES}.{number}"
        context, sops = write(tmp_path / "in" / f"ct{number}", series=uid, number=number)
        mask = np.zeros(GRID.shape, np.uint8)
        mask[2:6, 3:7, 2:9] = 1
        seg = {**context, "series": f"{uid}.9", "number": 300 + number}
        make_fake.write_seg(tmp_path / "in" / f"seg{number}" / "1.dcm", [mask], names, GRID, sops,
                            np.random.default_rng(0), seg, uid)  # fmt: skip

    path = tmp_path / "out" / "dataset.json"
    add(1, ["Liver"])
    convert(tmp_path / "in", tmp_path / "out", name="s{SeriesNumber}")
    assert json.loads(path.read_text())["labels"] == {"0": "background", "1": "Liver"}
    add(2, ["Mass"])
    result = convert(tmp_path / "in", tmp_path / "out", name="s{SeriesNumber}")
    assert "labels" not in json.loads(path.read_text())
    assert any("values mean other classes in other cases" in line for line in result.summary.lines)
    edited = path.read_text().replace("{", '{"licence": "CC0-1.0",', 1)
    path.write_text(edited)
    result = convert(tmp_path / "in", tmp_path / "out", name="s{SeriesNumber}")
    assert path.read_text() == edited
    assert any("was edited since this command wrote it; left alone" in line for line in result.summary.lines)
    convert(tmp_path / "in", tmp_path / "out", name="s{SeriesNumber}", existing="redo")
    assert "licence" not in json.loads(path.read_text())


def test_an_annotation_of_another_series_is_no_label(tmp_path):
    context, sops = write(tmp_path / "in" / "ct")
    sops = [f"{sop}.9" for sop in sops]
    mask = np.ones(GRID.shape, np.uint8)
    seg = {**context, "series": f"{SERIES}.9", "number": 300}
    make_fake.write_seg(
        tmp_path / "in" / "seg.dcm", [mask], ["Liver"], GRID, sops, np.random.default_rng(0), seg, "1.2.99"
    )
    convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "label").exists()
    assert any("the series it refers to is not here" in row["reason"] for row in report(tmp_path / "out"))


def test_series_of_one_name_get_a_counter(dicom, tmp_path):
    write(dicom / "again", series=f"{SERIES}.1", img=values() + 1)
    assert convert(dicom, tmp_path / "out", name="s").exit_code == 0
    first, second = (read_volume(tmp_path / "out" / "image" / f"{name}.mha") for name in ("s", "s_2"))
    np.testing.assert_array_equal(second.array_zyx, first.array_zyx + 1)
    assert convert(dicom, tmp_path / "other", name="{PatientID}_{SeriesInstanceUID}").exit_code == 0
    assert len(list((tmp_path / "other" / "image").iterdir())) == 2


def test_a_changed_slice_makes_the_series_anew(dicom, tmp_path):
    convert(dicom, tmp_path / "out")
    assert [record.status for record in convert(dicom, tmp_path / "out").records] == ["skipped"]
    shutil.rmtree(dicom / "DOE_JOHN")
    write(dicom / "DOE_JOHN" / "scan", img=values() + 1, ext="")
    assert [record.status for record in convert(dicom, tmp_path / "out").records] == ["done"]
    image = read_volume(next((tmp_path / "out" / "image").iterdir()))
    np.testing.assert_array_equal(image.array_zyx, values() + 1)


def test_no_series_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("x")
    with pytest.raises(LayoutError, match="no series to convert: 1 x not a DICOM file"):
        convert(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("ext", [".nii.gz", ".nrrd", ".mhd"])
def test_formats_keep_tree_values_and_grid(ext, tmp_path):
    grid = Geometry((3, 4, 5), (2.0, 1.5, 1.0), (1.0, -2.0, 3.0), OBLIQUE)
    volume = Volume(np.arange(60, dtype=np.uint16).reshape(3, 4, 5) + 40000, grid)
    write_volume(volume, tmp_path / "in" / "a" / "b.1.mha")
    assert convert(tmp_path / "in", tmp_path / "out", "format", ext=ext).exit_code == 0
    found = read_volume(tmp_path / "out" / "a" / f"b.1{ext}")
    np.testing.assert_array_equal(found.array_zyx, volume.array_zyx)
    assert found.dtype == np.uint16
    assert found.geometry.same_grid(grid)


def test_a_dataset_keeps_its_pairs_together(tmp_path):
    grid = Geometry((3, 4, 5), (2.0, 1.5, 1.0))
    for folder in ("image", "label"):
        write_volume(Volume(np.ones((3, 4, 5), np.uint8), grid), tmp_path / "in" / folder / "a.mha")
    (tmp_path / "in" / "label" / "a.mha").write_bytes(b"broken")
    assert convert(tmp_path / "in", tmp_path / "out", "format", ext=".nrrd").exit_code == 1
    assert not list((tmp_path / "out").rglob("*.nrrd"))


def test_options_of_the_other_mode_are_refused(tmp_path):
    with pytest.raises(ParamsError, match="--keep-ids only matters for dicom"):
        convert(tmp_path, tmp_path / "out", "format", keep_ids=True)


def test_the_table_has_paths_without_what_names_the_patient(dicom, tmp_path):
    write(dicom / "ward 3" / "doe-john 4711", series=f"{SERIES}.2", number=5, skip_slices=range(2, 8))
    convert(dicom, tmp_path / "out")
    paths = {row["status"]: row["path"] for row in report(tmp_path / "out")}
    assert paths == {"done": "***_***/scan", "refused": "ward 3/***-*** 4711"}


def test_the_id_map_leads_names_back_and_stays_outside_the_dataset(dicom, tmp_path):
    convert(dicom, tmp_path / "out", id_map=tmp_path / "safe" / "map.csv")
    case = next((tmp_path / "out" / "image").iterdir()).name.removesuffix(".mha")
    with (tmp_path / "safe" / "map.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["PatientID"], row["SeriesInstanceUID"]) == (case, PATIENT, SERIES)
    assert row["path"] == "DOE_JOHN/scan"
    with pytest.raises(LayoutError, match="inside the dataset"):
        convert(dicom, tmp_path / "other", id_map=tmp_path / "other" / "map.csv")


def test_a_slice_is_not_replaced_by_the_id_map(dicom, tmp_path):
    slice_ = next(path for path in dicom.rglob("*") if path.is_file())
    before = slice_.read_bytes()
    with pytest.raises(LayoutError, match="is an input and would be overwritten"):
        convert(dicom, tmp_path / "out", id_map=slice_)
    assert slice_.read_bytes() == before


def test_shards_tell_of_the_series_of_all(dicom, tmp_path):
    write(dicom / "another", series=f"{SERIES}.1", number=8)
    write(dicom / "third", series=f"{SERIES}.2", number=3)
    short = pydicom.dcmread(next((dicom / "third").rglob("*.dcm")))
    short.PixelData = short.PixelData[: len(short.PixelData) // 2]
    short.save_as(short.filename)
    convert(dicom, tmp_path / "whole", id_map=tmp_path / "whole.csv")
    for shard in ("1/2", "2/2"):
        convert(dicom, tmp_path / "parts", id_map=tmp_path / "parts.csv", shard=shard)
    assert sorted(row["status"] for row in report(tmp_path / "whole") if row["case"]) == ["done", "done", "failed"]
    assert report(tmp_path / "parts") == report(tmp_path / "whole")
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_annotations_of_several_files_are_merged_with_their_names(tmp_path):
    context, sops = write(tmp_path / "in" / "ct")
    masks = [np.zeros(GRID.shape, np.uint8) for _ in range(2)]
    masks[0][2:4, 3:6, 2:7], masks[1][3:6, 4:8, 5:9] = 1, 1
    for at, (mask, name) in enumerate(zip(masks, ["Nodule", "Nodule"], strict=True)):
        seg = {**context, "series": f"{SERIES}.{20 + at}", "number": 300 + at}
        make_fake.write_seg(
            tmp_path / "in" / f"seg{at}.dcm", [mask], [name], GRID, sops, np.random.default_rng(at), seg, SERIES
        )
    result = convert(tmp_path / "in", tmp_path / "out", name="s")
    label = read_volume(tmp_path / "out" / "label" / "s.mha", kind="label")
    np.testing.assert_array_equal(label.array_zyx, np.where(masks[1], 2, masks[0]))
    names = json.loads((tmp_path / "out" / "label_names.json").read_text())["s"]
    assert names == {"1": "Nodule_1", "2": "Nodule_2"}
    overlap = int((masks[0] & masks[1]).sum())
    assert any(f"{overlap} voxels are in several regions" in text for text in result.records[0].warnings)
    convert(tmp_path / "in", tmp_path / "first", name="s", overlap="first")
    label = read_volume(tmp_path / "first" / "label" / "s.mha", kind="label")
    np.testing.assert_array_equal(label.array_zyx, np.where(masks[0], 1, 2 * masks[1]))


def test_two_patients_under_one_series_uid_are_two_volumes(tmp_path):
    for at, patient in enumerate(("A", "B")):
        write(tmp_path / "in" / patient, patient=patient, img=values() + at)
    result = convert(tmp_path / "in", tmp_path / "out", keep_ids=True)
    assert sorted(record.case_id for record in result.records) == ["A_3", "B_3"]
    first, second = (read_volume(tmp_path / "out" / "image" / f"{name}_3.mha").array_zyx for name in "AB")
    np.testing.assert_array_equal(second, first + 1)
    assert all("SeriesInstanceUID" in record.warnings[0] for record in result.records)


def test_an_annotation_that_belongs_to_no_image_fails_by_name(dicom, tmp_path):
    context, sops = write(tmp_path / "else")
    seg = {**context, "series": f"{SERIES}.9", "number": 300, "frame": "1.2.3.99"}
    path = dicom / "seg.dcm"
    mask = np.ones(GRID.shape, np.uint8)
    make_fake.write_seg(path, [mask], ["Liver"], GRID, sops, np.random.default_rng(0), seg, SERIES)
    one = pydicom.dcmread(path)
    del one.ReferencedSeriesSequence, one.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    for group in one.PerFrameFunctionalGroupsSequence:
        group.pop("DerivationImageSequence", None)
    one.FrameOfReferenceUID = "1.2.3.99"
    one.save_as(path)
    result = convert(dicom, tmp_path / "out", name="s{SeriesNumber}")
    assert result.exit_code == 1
    failed = {record.case_id: record.message for record in result.records if record.status == "failed"}
    assert "no image of this tree belongs to it" in failed["s300"]
    one.FrameOfReferenceUID = "1.2.3.9"
    one.save_as(path)
    assert convert(dicom, tmp_path / "found", name="s{SeriesNumber}").exit_code == 0
    assert (tmp_path / "found" / "label" / "s3.mha").exists()


def test_a_spacing_that_no_file_states_is_assumed_on_purpose_alone(tmp_path):
    image = nibabel.Nifti1Image(values().T, None)
    image.header["pixdim"][1:4] = [0.5, 0.75, 0.0]
    (tmp_path / "in").mkdir()
    image.to_filename(tmp_path / "in" / "a.nii.gz")
    refused = convert(tmp_path / "in", tmp_path / "out", "format")
    assert "--assume-spacing" in refused.records[0].message
    result = convert(tmp_path / "in", tmp_path / "out", "format", assume_spacing=(2.5, 0.75, 0.5))
    assert "(2.5, 0.75, 0.5) mm ZYX was assumed" in " ".join(result.records[0].warnings)
    volume = read_volume(tmp_path / "out" / "a.mha")
    assert volume.geometry.spacing_zyx == (2.5, 0.75, 0.5)
    np.testing.assert_array_equal(volume.array_zyx, values())


def test_volume_files_given_to_the_dicom_mode_are_sent_to_format(tmp_path):
    write_volume(Volume(np.zeros((2, 3, 4), np.int16), Geometry((2, 3, 4), (1.0, 1.0, 1.0))), tmp_path / "in/a.mha")
    with pytest.raises(LayoutError, match=r"a\.mha is a volume file: itk_convert format"):
        run("itk_convert", mode="dicom", source=tmp_path / "in", dest=tmp_path / "out")
