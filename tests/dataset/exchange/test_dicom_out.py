"""`itk_convert dicom-seg`, `rtstruct`, `dicom-series`, read back by highdicom, pydicom and `itk_convert dicom`."""

import json
import sys

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_factory import ENHANCED_CT, ENHANCED_MR, OBLIQUE, enhanced, save

import itkit
from itkit.cli.operation import main
from itkit.core.errors import LayoutError, MissingExtraError, ParamsError
from itkit.core.volume import Volume
from itkit.io.dcm_toolkit import find_series, read_series, write_series
from itkit.io.sitk_toolkit import read_volume, write_volume
from itkit.process.geometry import orient
from itkit.testing import phantoms

NAMES = {"0": "background", "1": "liver", "2": "ligne médiane", "5": "cyst", "7": "tumour"}
GRIDS = ("flipped", "oblique")


def convert(mode, source, dest, **more):
    return itkit.run("itk_convert", mode=mode, source=source, dest=dest, **more)


def label_on(grid):
    """An L of four values, a gap in the numbers, a hole, two parts that touch at a corner."""
    array = phantoms.l_shape(grid).array_zyx.copy()
    array[array == 3] = 7
    array[4, 5:9, 4:8] = 2
    array[4, 6, 5] = 0
    array[0, 0, 0] = array[0, 1, 1] = 1
    return Volume(array, grid, "label")


@pytest.fixture
def scans(tmp_path):
    """A series for each case, and the label on its grid; the second label is stored with other axes."""
    for number, name in enumerate(GRIDS, 1):
        folder = tmp_path / "scans" / name
        write_series(phantoms.noise(phantoms.GRIDS[name]), folder, series_number=number, modality="CT")
        volume = read_series(find_series(folder)[0][0])
        label = label_on(volume.geometry)
        write_volume(orient(label, "RIA") if number == 2 else label, tmp_path / "raw/label" / f"{name}.mha")
        write_volume(volume, tmp_path / "raw/image" / f"{name}.mha")
    (tmp_path / "raw/dataset.json").write_text(json.dumps({"labels": NAMES}))
    return tmp_path / "scans"


def planes_of(folder):
    """Each file of a series with its slice of the label, ordered by position along the normal, as a reader would."""
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    normal = np.cross(files[0].ImageOrientationPatient[:3], files[0].ImageOrientationPatient[3:])
    files.sort(key=lambda file: float(np.dot(file.ImagePositionPatient, normal)))
    return list(zip(files, label_on(read_series(find_series(folder)[0][0]).geometry).array_zyx, strict=True))


def test_highdicom_reads_equal_voxels_and_every_class(scans, tmp_path):
    assert convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=scans).exit_code == 0
    for name in GRIDS:
        found = highdicom.seg.segread(tmp_path / "out" / f"{name}.dcm")
        described = [found.get_segment_description(number) for number in found.segment_numbers]
        assert [segment.segment_label for segment in described] == [
            text for text in NAMES.values() if text != "background"
        ]
        assert len({tuple(segment.RecommendedDisplayCIELabValue) for segment in described}) == 4
        planes = planes_of(scans / name)
        uids = [file.SOPInstanceUID for file, _ in planes]
        pixels = found.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
        for channel, value in enumerate((1, 2, 5, 7)):
            expected = np.stack([plane == value for _, plane in planes])
            np.testing.assert_array_equal(pixels[..., channel], expected)


@pytest.mark.parametrize("sop_class", [ENHANCED_CT, ENHANCED_MR])
def test_the_frames_of_one_file_are_a_template(sop_class, tmp_path):
    """An enhanced file whose frames are in no order: highdicom and our own reader find every voxel at its frame."""
    heights = [4.0, 0.0, 8.0, 2.0, 6.0]
    source = enhanced(heights, orientation=OBLIQUE, sop_class=sop_class)
    source.Modality = "CT" if sop_class == ENHANCED_CT else "MR"
    save(source, tmp_path / "scans" / "a" / "x.dcm")
    volume = read_series(find_series(tmp_path / "scans")[0][0])
    array = np.zeros(volume.geometry.size_zyx, np.uint8)
    array[0, 0, :4], array[1, 1:3, 1], array[3, 3, 2:], array[4, :2, 5] = 1, 7, 2, 5
    write_volume(orient(Volume(array, volume.geometry, "label"), "PIR"), tmp_path / "raw/label/a.mha")
    (tmp_path / "raw/dataset.json").write_text(json.dumps({"labels": NAMES}))
    assert convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=tmp_path / "scans").exit_code == 0
    found = highdicom.seg.segread(tmp_path / "out" / "a.dcm")
    numbers = [int(number) for number in np.argsort(heights) + 1]  # frames by height, counted from 1
    pixels = found.get_pixels_by_source_frame(source.SOPInstanceUID, numbers, assert_missing_frames_are_empty=True)
    for channel, value in enumerate((1, 2, 5, 7)):
        np.testing.assert_array_equal(pixels[..., channel], array == value)
    (tmp_path / "out").rename(tmp_path / "scans" / "of_us")
    assert convert("dicom", tmp_path / "scans", tmp_path / "back", name="s{SeriesNumber}").exit_code == 0
    back = read_volume(tmp_path / "back/label/s7.mha", "label").array_zyx
    names = {
        name: int(value) for value, name in json.loads((tmp_path / "back/label_names.json").read_text())["s7"].items()
    }
    for value, name in NAMES.items():
        if value != "0":
            np.testing.assert_array_equal(back == names[name], array == int(value))


def crossings(polygon, point):
    """Whether a point lies inside a polygon by the even-odd rule, edge by edge."""
    inside = False
    for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 > point[0]) != (y1 > point[0]) and point[1] < x0 + (point[0] - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def test_outlines_hold_the_voxels_of_every_slice_and_no_other(scans, tmp_path):
    assert convert("rtstruct", tmp_path / "raw", tmp_path / "out", series=scans).exit_code == 0
    for name in GRIDS:
        found = pydicom.dcmread(tmp_path / "out" / f"{name}.dcm")
        assert [(roi.ROINumber, roi.ROIName) for roi in found.StructureSetROISequence] == [
            (int(value), text) for value, text in NAMES.items() if value != "0"
        ]
        assert all(len(roi.ROIDisplayColor) == 3 for roi in found.ROIContourSequence)
        planes = {file.SOPInstanceUID: (file, plane) for file, plane in planes_of(scans / name)}
        referenced = found.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        images = referenced.RTReferencedSeriesSequence[0].ContourImageSequence
        assert {item.ReferencedSOPInstanceUID for item in images} == planes.keys()
        for roi in found.ROIContourSequence:
            masks = {uid: np.zeros(plane.shape, bool) for uid, (_, plane) in planes.items()}
            for contour in roi.get("ContourSequence", ()):
                uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
                file = planes[uid][0]
                rows, columns = np.reshape(np.array(file.ImageOrientationPatient, float), (2, 3))
                offset = np.reshape(np.array(contour.ContourData, float), (-1, 3)) - np.array(
                    file.ImagePositionPatient, float
                )
                assert np.abs(offset @ np.cross(rows, columns)).max() < 1e-3
                polygon = np.stack([offset @ columns, offset @ rows], axis=1) / np.array(file.PixelSpacing, float)
                for at in np.ndindex(masks[uid].shape):
                    masks[uid][at] ^= crossings(polygon, at)
            for uid, mask in masks.items():
                np.testing.assert_array_equal(mask, planes[uid][1] == roi.ReferencedROINumber)


@pytest.mark.parametrize("mode", ["dicom-seg", "rtstruct"])
def test_itk_convert_dicom_reads_names_and_voxels_again(scans, tmp_path, mode):
    convert(mode, tmp_path / "raw/label", tmp_path / "out", series=scans)
    (tmp_path / "out").rename(scans / "of_us")
    assert convert("dicom", scans, tmp_path / "back", name="s{SeriesNumber}").exit_code == 0
    names = json.loads((tmp_path / "back/label_names.json").read_text())
    for number in (1, 2):
        label = read_volume(tmp_path / "back/label" / f"s{number}.mha", "label")
        values = {name: int(value) for value, name in names[f"s{number}"].items()}
        assert values.keys() == set(NAMES.values()) - {"background"}
        expected = label_on(label.geometry).array_zyx
        for value, name in NAMES.items():
            if value != "0":
                np.testing.assert_array_equal(label.array_zyx == values[name], expected == int(value))


@pytest.mark.parametrize("mode", ["dicom-seg", "rtstruct", "dicom-series"])
def test_two_workers_write_the_same_bytes_and_a_second_run_none(scans, tmp_path, mode):
    for dest, workers in (("one", 1), ("two", 2)):
        assert convert(mode, tmp_path / "raw", tmp_path / dest, series=scans, workers=workers).exit_code == 0
    one, two = (
        {path.relative_to(tmp_path / dest): path.read_bytes() for path in sorted((tmp_path / dest).rglob("*.dcm"))}
        for dest in ("one", "two")
    )
    assert one == two
    assert len(one) == (18 if mode == "dicom-series" else 2)
    again = convert(mode, tmp_path / "raw", tmp_path / "one", series=scans)
    assert {record.status for record in again.records} == {"skipped"}
    assert not any(b"DOE" in data for data in one.values())


def test_volumes_come_back_from_their_series(scans, tmp_path):
    convert("dicom-series", tmp_path / "raw", tmp_path / "out", series=scans)
    for name in GRIDS:
        (series,) = find_series(tmp_path / "out" / name)[0]
        (template,) = find_series(scans / name)[0]
        assert (series.study_uid, series.modality) == (template.study_uid, "CT")
        assert series.uid != template.uid
        back, before = read_series(series), read_volume(tmp_path / "raw/image" / f"{name}.mha")
        np.testing.assert_array_equal(back.array_zyx, before.array_zyx)
        assert back.geometry.grid_distance_mm(before.geometry) < 1e-4


def test_channels_are_series_of_one_study_and_rounding_is_told(tmp_path):
    phantoms.write_channels(tmp_path / "raw", 1)
    path = tmp_path / "raw/image/case_00_t2.mha"
    volume = read_volume(path)
    write_volume(volume.with_array(volume.array_zyx / np.float32(7)), path)
    result = convert("dicom-series", tmp_path / "raw", tmp_path / "out")
    series = find_series(tmp_path / "out/case_00")[0]
    assert len(series) == 2
    assert len({one.study_uid for one in series}) == 1
    assert len({one.frame_of_reference_uid for one in series}) == 1
    assert {one.modality for one in series} == {"MR"}
    assert [text.split(":")[0] for text in result.records[0].warnings] == ["image_t2"]
    assert "rounded to 65536 levels" in result.records[0].warnings[0]
    assert (tmp_path / "out/case_00/t2/00009.dcm").is_file()


@pytest.mark.parametrize(
    ("described", "code", "sop_class"),
    [
        ({"modality": ["CT"]}, "CT", "CT Image Storage"),
        ({"channel_names": {"0": "CT"}, "labels": {"background": 0}}, "CT", "CT Image Storage"),
        ({"modality": ["MR"]}, "MR", "MR Image Storage"),
        ({"modality": ["CT", "MR"], "cases": {"a": {"modality": "MR"}}}, "MR", "MR Image Storage"),
        ({}, "OT", "Secondary Capture Image Storage"),
    ],
)
def test_a_series_without_a_template_has_the_modality_of_the_dataset(tmp_path, described, code, sop_class):
    end = "_0000" if "channel_names" in described else ""
    write_volume(phantoms.noise(phantoms.GRIDS["oblique"]), tmp_path / "raw/image" / f"a{end}.mha")
    if described:
        (tmp_path / "raw/dataset.json").write_text(json.dumps(described))
    result = convert("dicom-series", tmp_path / "raw", tmp_path / "out")
    file = pydicom.dcmread(next((tmp_path / "out").rglob("*.dcm")))
    assert (file.Modality, file.SOPClassUID.name) == (code, sop_class)
    said = [text for text in result.records[0].warnings if "does not say the modality" in text]
    assert len(said) == (code == "OT")


def test_files_of_the_series_are_read_and_others_named(scans, tmp_path, capsys):
    (scans / "flipped" / "preview.png").write_bytes(b"")
    arguments = ["rtstruct", str(tmp_path / "raw"), str(tmp_path / "out"), "--series", str(scans)]
    assert main("itk_convert", arguments) == 0
    notes = capsys.readouterr().err
    assert "1 file not read" in notes
    assert "flipped/preview.png" in notes
    assert ".dcm" not in notes


def test_a_full_disk_is_told_in_one_line(scans, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        cause = OSError(28, "No space left on device")
        raise OSError("With tag (0008,0016) got exception\nTraceback (most recent call last):\n") from cause

    monkeypatch.setattr(pydicom, "dcmwrite", fails)
    for record in convert("rtstruct", tmp_path / "raw", tmp_path / "out", series=scans, workers=1).records:
        assert "can't be written (No space left on device)" in record.message
        assert "Traceback" not in record.message


def test_each_label_needs_its_own_series_or_the_only_one(scans, tmp_path):
    (scans / "oblique").rename(tmp_path / "elsewhere")
    result = convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=scans)
    failed = {record.case_id: record.message for record in result.records if record.status == "failed"}
    assert failed.keys() == {"oblique"}
    assert "differ" in failed["oblique"]
    assert "itk_resample --target-folder" in failed["oblique"]
    (tmp_path / "elsewhere").rename(scans / "another")
    result = convert("rtstruct", tmp_path / "raw", tmp_path / "out2", series=scans)
    (message,) = (record.message for record in result.records if record.status == "failed")
    assert "no sub-folder oblique" in message
    assert "2 DICOM image series" in message
    assert [path.name for path in (tmp_path / "out2").glob("*.dcm")] == ["flipped.dcm"]


def test_a_series_without_identifiers_fails_by_name(scans, tmp_path):
    for path in (scans / "flipped").iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)
    result = convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=scans)
    failed = {record.case_id: record.message for record in result.records if record.status == "failed"}
    assert failed.keys() == {"flipped"}
    assert "FrameOfReferenceUID" in failed["flipped"]


def test_an_empty_label_fails_by_name_and_values_without_a_name_get_one(scans, tmp_path):
    (tmp_path / "raw/dataset.json").unlink()
    path = tmp_path / "raw/label/flipped.mha"
    label = read_volume(path, "label")
    write_volume(label.with_array(label.array_zyx * 0), path)
    result = convert("dicom-seg", tmp_path / "raw/label", tmp_path / "out", series=scans)
    assert [record.case_id for record in result.records if "empty" in record.message] == ["flipped"]
    found = highdicom.seg.segread(tmp_path / "out/oblique.dcm")
    assert [found.get_segment_description(number).segment_label for number in (1, 2, 3)] == [
        "class 1",
        "class 2",
        "class 7",
    ]


def test_what_is_missing_is_told_before_anything_is_written(scans, tmp_path, monkeypatch):
    with pytest.raises(ParamsError, match="dicom-seg needs --series"):
        convert("dicom-seg", tmp_path / "raw", tmp_path / "out")
    with pytest.raises(ParamsError, match="--series only matters for"):
        convert("nnunet", tmp_path / "raw", tmp_path / "out", series=scans)
    with pytest.raises(LayoutError, match="series folder"):
        convert("rtstruct", tmp_path / "raw", tmp_path / "out", series=tmp_path / "none")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"itkit\[dicom\]"):
        convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=scans)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for mode in ("dicom-series", "rtstruct"):
        with pytest.raises(MissingExtraError, match=r"itkit\[dicom\]"):
            convert(mode, tmp_path / "raw", tmp_path / "out", **({"series": scans} if mode == "rtstruct" else {}))
    assert not (tmp_path / "out").exists()


def test_of_several_series_in_a_folder_the_grid_decides(scans, tmp_path):
    write_series(phantoms.noise(phantoms.GRIDS["sagittal"]), scans / "flipped/another", series_number=8, modality="CT")
    write_series(phantoms.noise(phantoms.GRIDS["oblique"], 1), scans / "oblique/same", series_number=9, modality="CT")
    result = convert("dicom-seg", tmp_path / "raw", tmp_path / "out", series=scans)
    failed = {record.case_id: record.message for record in result.records if record.status == "failed"}
    assert failed.keys() == {"oblique"}
    assert "2 series have the grid of the label" in failed["oblique"]
    found = pydicom.dcmread(tmp_path / "out/flipped.dcm")
    (series,) = find_series(scans / "flipped", recursive=False)[0]
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == series.uid
