"""Series found, ordered, refused, split and read."""

from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
import SimpleITK as sitk
from dicom_factory import AXIAL, MR, OBLIQUE, enhanced, image, normal_of, save, save_all, slices
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from itkit.core.errors import LayoutError, MissingExtraError, ParamsError, ReadError
from itkit.io import child
from itkit.io.dcm_toolkit import (
    IrregularSeriesError,
    UndecodableError,
    case_name,
    find_series,
    pseudonym,
    read_series,
    series_geometry,
    series_note,
    series_of,
    split_series,
)
from itkit.io.dicom import pixels as dicom_pixels

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
CT_SMALL, MR_SMALL = SAMPLES / "CT_small.dcm", SAMPLES / "MR_small.dcm"
DICOMDIR_TREE = SAMPLES / "dicomdirtests"
GREY_WITH_PLACE = (
    "CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small.dcm", "MR_small_RLE.dcm",
    "MR_small_expb.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm", "examples_overlay.dcm",
)  # fmt: skip


def only(folder, **options):
    series, _ = find_series(folder, **options)
    assert len(series) == 1
    return series[0]


def refused(folder):
    with pytest.raises(IrregularSeriesError) as caught:
        read_series(only(folder))
    assert str(folder) in str(caught.value)
    return caught.value.reasons


def volume_or_message(series):
    """Whether reading gives a volume, or a named error that says where."""
    try:
        return read_series(series).array_zyx.ndim == 3
    except ReadError as error:
        return str(series.files[0].parent.parent) in str(error)


# --- finding --------------------------------------------------------------------------------------


def test_find_series_takes_any_file_name_and_names_every_refusal(tmp_path):
    first = list(slices([0, 2, 4], series="1.2.3.1"))
    second = list(slices([0, 2], series="1.2.3.2", SeriesNumber=8))
    save(first[0], tmp_path / "a/00001")
    save(first[1], tmp_path / "b/x.IMA")
    save(first[2], tmp_path / "b/y.dcm")
    save(second[0], tmp_path / "deep/er/z")
    save(second[1], tmp_path / "z.1.2.3.weird name")
    save(first[0], tmp_path / ".hidden")
    save(first[0], tmp_path / ".folder/shown")
    (tmp_path / "notes.txt").write_text("a text that is longer than a preamble " * 9)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "DICOMDIR").write_bytes((DICOMDIR_TREE / "DICOMDIR").read_bytes())
    (tmp_path / "b/copy").write_bytes((tmp_path / "a/00001").read_bytes())
    seen = []
    series, refusals = find_series(tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert [(one.uid, [path.name for path in one.files]) for one in series] == [
        ("1.2.3.1", ["00001", "x.IMA", "y.dcm"]),
        ("1.2.3.2", ["z", "z.1.2.3.weird name"]),
    ]
    assert {refusal.path.name: refusal.reason.split(str(tmp_path))[0] for refusal in refusals} == {
        "notes.txt": "not a DICOM file",
        "empty.dcm": "the file is empty",
        "DICOMDIR": "an index of files (DICOMDIR), not an image",
        "copy": "a copy of ",
    }
    assert seen == [(done, 9) for done in range(1, 10)]
    assert [one.number for one in find_series(tmp_path, recursive=False)[0]] == [8]


def test_find_series_describes_a_series(tmp_path):
    series = only(save_all(slices([0, 2]), tmp_path))
    assert (series.modality, series.description, series.number, series.kind) == ("CT", "thin", 7, "image")
    assert (series.patient_id, series.study_uid, series.frame_of_reference_uid) == ("SECRET-4711", "1.2.3", "1.2.3.9")
    assert "SECRET" not in repr(series)
    assert "Doe" not in repr(series)


def test_find_series_wants_a_folder(tmp_path):
    with pytest.raises(LayoutError, match="not a folder"):
        find_series(tmp_path / "none")


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"itkit\[dicom\]"):
        find_series(tmp_path)


def test_every_file_of_pydicom_is_in_a_series_or_refused():
    series, refusals = find_series(SAMPLES)
    found = [path for one in series for path in one.files] + [refusal.path for refusal in refusals]
    assert sorted(found) == sorted(
        path for path in SAMPLES.rglob("*") if path.is_file() and not path.name.startswith(".")
    )
    kinds = {path.name: one.kind for one in series for path in one.files}
    expected = {
        "CT_small.dcm": "image", "rtstruct.dcm": "RTSTRUCT", "liver_1frame.dcm": "SEG", "rtdose.dcm": "other",
        "rtplan.dcm": "other", "reportsi.dcm": "other", "waveform_ecg.dcm": "other", "image_dfl.dcm": "image",
    }  # fmt: skip
    assert {name: kinds[name] for name in expected} == expected
    for one in series:  # whatever is an image is a volume or a named refusal
        if one.kind == "image":
            assert volume_or_message(one)


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GREY_WITH_PLACE)
def test_real_file_has_the_pixels_and_the_place_of_its_tags(name):
    tags = pydicom.dcmread(SAMPLES / name)
    tags.PixelData = tags.PixelData[:8192] if name == "MR_small_padded.dcm" else tags.PixelData
    volume = read_series(series_of(SAMPLES / name))
    slope, intercept = float(tags.get("RescaleSlope", 1)), float(tags.get("RescaleIntercept", 0))
    mask = 0x0FFF if name == "examples_overlay.dcm" else -1  # an overlay above bit 12
    pixels = tags.pixel_array.astype(int) & mask
    np.testing.assert_array_equal(volume.array_zyx[0], pixels * slope + intercept)
    assert volume.dtype == np.int16
    geometry = volume.geometry
    assert geometry.spacing_zyx == (float(tags.SliceThickness), *map(float, tags.PixelSpacing))
    assert geometry.origin_xyz == tuple(map(float, tags.ImagePositionPatient))
    column, row = np.array(tags.ImageOrientationPatient, float).reshape(2, 3)
    point = (
        np.array(tags.ImagePositionPatient, float) + 3 * row * tags.PixelSpacing[0] + 5 * column * tags.PixelSpacing[1]
    )
    np.testing.assert_allclose(geometry.point_xyz((0, 3, 5)), point, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in GREY_WITH_PLACE if name != "examples_overlay.dcm"])
def test_real_file_agrees_with_gdcm(name, tmp_path):
    path = SAMPLES / name
    volume, other = read_series(series_of(path)), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array_zyx, sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(volume.geometry.origin_xyz, other.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(volume.geometry.direction_xyz, other.GetDirection(), atol=1e-4)
    assert volume.geometry.spacing_zyx[1:] == pytest.approx(other.GetSpacing()[1::-1])


def test_real_series_agrees_with_itk_series_reader():
    folder = DICOMDIR_TREE / "98892001/CT5N"
    volume = read_series(only(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = reader.Execute()
    np.testing.assert_array_equal(volume.array_zyx, sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(volume.geometry.origin_xyz, other.GetOrigin())
    np.testing.assert_allclose(volume.geometry.spacing_zyx, other.GetSpacing()[::-1])
    assert volume.metadata["PixelPaddingValue"] == "-2000"


def test_real_series_with_a_gap_is_refused_and_split():
    series = only(DICOMDIR_TREE / "77654033/CT2")
    with pytest.raises(IrregularSeriesError, match="161 slices missing in 1 places"):
        read_series(series)
    assert [len(part.files) for part in split_series(series)] == [1, 3]
    volume = read_series(series, on_irregular="largest")
    assert volume.geometry.spacing_zyx[0] == pytest.approx(1.25)
    assert "3 of 4 slices" in volume.metadata["selection"]


def test_real_scouts_in_other_planes_are_refused():
    with pytest.raises(IrregularSeriesError) as caught:
        read_series(only(DICOMDIR_TREE / "98892001/CT2N"))
    assert caught.value.reasons == ("orientation",)


def test_truncated_and_colour_files_are_named():
    with pytest.raises(UndecodableError, match=r"MR_truncated\.dcm: truncated: 8130 of 8192 bytes"):
        read_series(series_of(SAMPLES / "MR_truncated.dcm"))
    with pytest.raises(ReadError, match="holds no image"):
        read_series(series_of(SAMPLES / "rtplan.dcm"))


# --- geometry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("step", [2.0, -2.0])
def test_a_ramp_in_space_keeps_its_values_at_their_points(tmp_path, orientation, step):
    gradient, origin = np.array([3.0, -7.0, 11.0]), np.array([-10.0, 20.0, 5.0])
    rows, columns = np.indices((5, 7))
    right, down = np.array(orientation[:3]), np.array(orientation[3:])

    def ramp(height):
        points = (
            origin + columns[..., None] * 0.75 * right + rows[..., None] * 0.5 * down + height * normal_of(orientation)
        )
        return np.rint((points @ gradient) * 10).astype(np.int16)

    heights = [at * step for at in range(6)]
    values = [ramp(height) for height in heights]
    folder = save_all(
        slices(heights, orientation=orientation, values=values, RescaleSlope=0.1, RescaleIntercept=0), tmp_path
    )
    series = only(folder)
    volume = read_series(series)
    assert volume.dtype == np.float32
    assert volume.geometry == series_geometry(series)
    for index in [(0, 0, 0), (5, 4, 6), (2, 3, 1), (4, 0, 5)]:
        assert volume.array_zyx[index] == pytest.approx(gradient @ volume.geometry.point_xyz(index), abs=0.06)


def test_stack_agrees_with_itk_for_shuffled_oblique_files(tmp_path):
    folder = save_all(slices([3.0 * at for at in range(5)], orientation=OBLIQUE), tmp_path)
    volume = read_series(only(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    other = reader.Execute()
    np.testing.assert_array_equal(volume.array_zyx, sitk.GetArrayFromImage(other))
    np.testing.assert_allclose(volume.geometry.origin_xyz, other.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.direction_xyz, other.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(volume.geometry.spacing_zyx, other.GetSpacing()[::-1], atol=1e-5)


def test_spacing_comes_from_positions_alone(tmp_path):
    folder = save_all(slices([0, 2, 4], thickness=9.0, SpacingBetweenSlices=5.0), tmp_path)
    assert series_geometry(only(folder)).spacing_zyx == (2.0, 0.5, 0.75)


def test_one_slice_takes_its_thickness_and_none_is_refused(tmp_path):
    save_all(slices([0], thickness=3.5), tmp_path / "thick")
    assert series_geometry(only(tmp_path / "thick")).spacing_zyx == (3.5, 0.5, 0.75)
    save_all(slices([0], thickness=None), tmp_path / "unknown")
    with pytest.raises(ReadError, match="without SliceThickness"):
        read_series(only(tmp_path / "unknown"))


def test_positions_within_one_percent_are_even(tmp_path):
    folder = save_all(slices([0, 2.01, 4.0, 5.99, 8.0]), tmp_path)
    assert series_geometry(only(folder)).spacing_zyx[0] == pytest.approx(2.0)
    with pytest.raises(IrregularSeriesError):
        series_geometry(only(folder), spacing_tolerance=0.001)


# --- refusals -------------------------------------------------------------------------------------


def test_missing_slices_are_counted_and_the_longest_part_is_read(tmp_path):
    folder = save_all(slices([0, 2, 4, 10, 12, 14, 16]), tmp_path)
    assert refused(folder) == ("missing",)
    with pytest.raises(IrregularSeriesError, match=r"2 slices missing in 1 places"):
        read_series(only(folder))
    volume = read_series(only(folder), on_irregular="largest")
    assert volume.array_zyx[:, 0, 0].tolist() == [300, 400, 500, 600]
    assert volume.geometry.origin_xyz == (-10.0, 20.0, 15.0)
    assert [len(part.frames) for part in split_series(only(folder))] == [3, 4]


def test_uneven_slices_are_refused_and_split_where_the_distance_changes(tmp_path):
    folder = save_all(slices([0, 1, 4, 5, 6, 8.5, 11, 13.5, 16]), tmp_path)
    assert refused(folder) == ("uneven",)
    parts = [series_geometry(part) for part in split_series(only(folder)) if len(part.frames) > 1]
    assert [(part.size_zyx[0], part.spacing_zyx[0]) for part in parts] == [(2, 1.0), (2, 1.0), (5, 2.5)]


def test_copies_at_one_position_that_nothing_tells_apart_are_never_mixed(tmp_path):
    again = list(slices([2], values=[np.full((5, 7), 999, np.int16)]))
    again[0].InstanceNumber = 9
    folder = save_all([*slices([0, 2, 4]), *again], tmp_path)
    assert refused(folder) == ("duplicate",)
    assert split_series(only(folder)) == []
    with pytest.raises(IrregularSeriesError, match="no attribute tells the copies apart"):
        read_series(only(folder), on_irregular="largest")


@pytest.mark.parametrize(
    ("code", "keyword", "values"),
    [
        ("echo", "EchoTime", (10.0, 80.0)),
        ("echo", "EchoNumbers", (1, 2)),
        ("time-point", "TemporalPositionIdentifier", (1, 2)),
        ("acquisition", "AcquisitionNumber", (3, 4)),
        ("b-value", "DiffusionBValue", (0.0, 1000.0)),
        ("image-type", "ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
        ("trigger-time", "TriggerTime", (0.0, 40.0)),
    ],
)
def test_several_contrasts_or_times_are_refused_and_split(tmp_path, code, keyword, values):
    first = slices([0, 2, 4], sop_class=MR, **{keyword: values[0]})
    second = slices([0, 2, 4, 6], sop_class=MR, **{keyword: values[1]})
    folder = save_all([*first, *second], tmp_path)
    assert refused(folder) == (code,)
    parts = split_series(only(folder))
    assert sorted(len(part.files) for part in parts) == [3, 4]
    assert read_series(only(folder), on_irregular="largest").geometry.size_zyx == (4, 5, 7)


def test_one_volume_may_come_from_several_acquisitions(tmp_path):
    parts = [*slices([0, 2, 4], AcquisitionNumber=1), *slices([6, 8], AcquisitionNumber=2)]
    assert series_geometry(only(save_all(parts, tmp_path))).size_zyx == (5, 5, 7)


def test_mixed_orientation_is_refused(tmp_path):
    folder = save_all([*slices([0, 2, 4]), *slices([0], orientation=(0, 1, 0, 0, 0, -1))], tmp_path)
    assert refused(folder) == ("orientation",)
    assert read_series(only(folder), on_irregular="largest").geometry.size_zyx == (3, 5, 7)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("size", {"shape": (5, 8)}),
        ("spacing", {"spacing_yx": (0.6, 0.75)}),
        ("rescale", {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}),
        ("pixel-format", {"values": [np.ones((5, 7), np.uint16)]}),
    ],
)
def test_mixed_storage_is_refused(tmp_path, code, change):
    folder = save_all([*slices([0, 2, 4]), *slices([6], **change)], tmp_path)
    assert code in refused(folder)
    assert read_series(only(folder), on_irregular="largest").geometry.size_zyx == (3, 5, 7)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_tilted_gantry_is_refused_with_its_angle(tmp_path, orientation):
    shift = np.tan(np.radians(12.5)) * 2.0
    tilted = list(slices([0, 2, 4, 6], orientation=orientation))
    for at, one in enumerate(tilted):
        one.ImagePositionPatient = list(
            np.round(np.array(one.ImagePositionPatient) + at * shift * np.array(orientation[3:]), 6)
        )
    folder = save_all(tilted, tmp_path)
    assert refused(folder) == ("tilt",)
    for on_irregular in ("error", "largest"):
        with pytest.raises(IrregularSeriesError, match=r"12\.50 degrees"):
            read_series(only(folder), on_irregular=on_irregular)
    assert split_series(only(folder)) == []


def test_a_slice_shifted_sideways_is_refused(tmp_path):
    shifted = list(slices([0, 2, 4, 6, 8]))
    shifted[4].ImagePositionPatient = [-8.0, 20.0, 13.0]
    folder = save_all(shifted, tmp_path)
    assert refused(folder) == ("shift",)
    assert read_series(only(folder), on_irregular="largest").geometry.size_zyx == (4, 5, 7)


def test_mosaics_of_slices_are_refused(tmp_path):
    folder = save_all(slices([0, 2], sop_class=MR, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), tmp_path)
    assert refused(folder) == ("mosaic",)


def test_images_without_position_are_refused(tmp_path):
    folder = save_all([*slices([0, 2, 4]), image(np.zeros((5, 7), np.int16), None)], tmp_path)
    assert refused(folder) == ("geometry",)


# --- values ---------------------------------------------------------------------------------------


def test_every_slice_has_its_own_rescale(tmp_path):
    values = [np.full((2, 3), 10, np.uint16)] * 3
    parts = list(slices([0, 2, 4], values=values, shape=(2, 3)))
    for part, (slope, intercept) in zip(parts, [(1, 0), (2.5, 1), (4, -7)], strict=True):
        part.RescaleSlope, part.RescaleIntercept, part.RescaleType = slope, intercept, "US"
    volume = read_series(only(save_all(parts, tmp_path)))
    assert volume.dtype == np.float32
    assert volume.array_zyx[:, 1, 2].tolist() == [10.0, 26.0, 33.0]


@pytest.mark.parametrize(
    ("stored", "rescale", "dtype", "expected"),
    [
        (np.array([[0, 4095]], np.uint16), (1, -1024), np.int16, [[-1024, 3071]]),
        (np.array([[0, 40000]], np.uint16), (1, 0), np.uint16, [[0, 40000]]),
        (np.array([[0, 65535]], np.uint16), (1, -1024), np.int32, [[-1024, 64511]]),
        (np.array([[-32768, 32767]], np.int16), (1, 0), np.int16, [[-32768, 32767]]),
        (np.array([[0, 255]], np.uint8), (1, 0), np.int16, [[0, 255]]),
        (np.array([[0, 3]], np.uint16), (0.5, 0), np.float32, [[0, 1.5]]),
    ],
)
def test_result_type_holds_the_rescaled_values(tmp_path, stored, rescale, dtype, expected):
    one = image(stored, (0, 0, 0), RescaleSlope=rescale[0], RescaleIntercept=rescale[1])
    volume = read_series(series_of(save(one, tmp_path / "x")))
    assert volume.dtype == dtype
    assert volume.array_zyx[0].tolist() == expected


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize(("high_bit", "overlay"), [(11, (0x1000, 0xF000, 0x7000, 0x2000, 0)), (15, (1, 15, 7, 2, 0))])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_stored_bits_are_cut_out_and_their_sign_extended(tmp_path, is_signed, high_bit, overlay, syntax):
    wanted = np.array([[-2048, -1, 0, 5, 2047, 7]] if is_signed else [[0, 1, 7, 2048, 4095, 9]])
    stored = (((wanted & 0xFFF) << (high_bit - 11)) | np.array([[*overlay, 0]])).astype(np.uint16)
    one = image(stored, (0, 0, 0), BitsStored=12, HighBit=high_bit)
    one.PixelRepresentation = int(is_signed)
    one.PixelData = stored.astype("<u2" if syntax.is_little_endian else ">u2").tobytes()
    path = save(one, tmp_path / "x", syntax)
    assert read_series(series_of(path)).array_zyx[0].tolist() == wanted.tolist()


def test_metadata_says_how_but_not_whom(tmp_path):
    folder = save_all(
        slices([0, 2], KVP=120, PixelPaddingValue=-3000, PhotometricInterpretation="MONOCHROME1"), tmp_path
    )
    metadata = read_series(only(folder)).metadata
    assert (metadata["KVP"], metadata["PixelPaddingValue"]) == ("120.0", "-3000")
    assert metadata["PhotometricInterpretation"].startswith("MONOCHROME1")
    text = str(metadata)
    assert not [secret for secret in ("SECRET", "Doe", "1970", "1.2.3", "thin") if secret in text]


def test_warnings_become_facts_without_the_value(tmp_path, caplog):
    one = image(np.zeros((2, 3), np.int16), (0, 0, 0))
    path = save(one, tmp_path / "x")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.9\0", b"Doe^Jan\0"))
    series = series_of(path)
    volume = read_series(series)
    assert "Invalid value for VR UI" in volume.metadata["warnings"]
    assert "Doe" not in str(volume.metadata)
    assert "Doe" not in str(series.facts)
    assert not caplog.records


def test_rgb_is_refused(tmp_path):
    one = image(np.zeros((3, 4, 9), np.uint8)[0], (0, 0, 0), PhotometricInterpretation="RGB")
    one.SamplesPerPixel, one.PlanarConfiguration, one.Columns = 3, 0, 3
    with pytest.raises(UndecodableError, match="RGB image"):
        read_series(series_of(save(one, tmp_path / "x")))


# --- compressed and damaged -----------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("is_signed", [True, False])
def test_compressed_slices_equal_uncompressed_ones(tmp_path, syntax, is_signed):
    rng = np.random.default_rng(5)
    values = [rng.integers(-1000, 3000, (67, 73)).astype(np.int16) for _ in range(3)]
    if not is_signed:
        values = [(array + 1000).astype(np.uint16) for array in values]
    parts = list(slices([0, 2, 4], values=values, RescaleSlope=1, RescaleIntercept=-10))
    expected = np.stack(values).astype(int) - 10
    for at, part in enumerate(parts):
        path = save(part, tmp_path / f"{at}")
        if syntax.is_encapsulated:
            compressed = pydicom.dcmread(path)
            compressed.compress(syntax, generate_instance_uid=False)
            compressed.save_as(path)
        else:
            save(part, path, syntax)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_series(only(tmp_path)).array_zyx, expected)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"])
def test_gdcm_steps_in_where_pydicom_has_no_decoder(name, monkeypatch):
    expected = read_series(series_of(SAMPLES / name)).array_zyx

    ask = child.ask

    def no_decoder(path, task, *arguments, **options):
        if task == dicom_pixels._TASK:
            return {"failed": "all plugins are missing dependencies", "lacks_decoder": True, "notes": []}, []
        return ask(path, task, *arguments, **options)

    monkeypatch.setattr(child, "ask", no_decoder)
    np.testing.assert_array_equal(read_series(series_of(SAMPLES / name)).array_zyx, expected)
    monkeypatch.setattr(dicom_pixels, "_decode_with_gdcm", lambda *_: None)
    with pytest.raises(UndecodableError, match=r"needs the package pylibjpeg-(libjpeg|openjpeg); .*itkit\[dicom\]"):
        read_series(series_of(SAMPLES / name))


def test_unknown_transfer_syntax_is_named(tmp_path):
    one = image(np.zeros((4, 4), np.uint8), (0, 0, 0))
    one.PixelData = pydicom.encaps.encapsulate([b"\0" * 16])
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True
    path = save(one, tmp_path / "x", pydicom.uid.MPEG2MPML)
    with pytest.raises(UndecodableError, match=r"x: no decoder for MPEG2 .*convert the file"):
        read_series(series_of(path))


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "CT_small.dcm"]
)
@pytest.mark.parametrize("part", [0.05, 0.4, 0.9])
def test_truncated_file_is_named_whatever_its_compression(name, part, tmp_path):
    data = (SAMPLES / name).read_bytes()
    path = tmp_path / "short.dcm"
    path.write_bytes(data[: int(len(data) * part)])
    series, refusals = find_series(tmp_path)
    if series:
        with pytest.raises(ReadError, match=r"short\.dcm"):
            read_series(series[0])
    else:
        assert [refusal.path for refusal in refusals] == [path]


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(11)
    data = np.frombuffer(MR_SMALL.read_bytes(), np.uint8)
    for _ in range(60):
        damaged = data.copy()
        damaged[rng.integers(132, 1500, 12)] = rng.integers(0, 256, 12)
        (tmp_path / "x").write_bytes(damaged.tobytes())
        for series in find_series(tmp_path)[0]:
            if series.kind == "image":
                assert volume_or_message(series)


# --- enhanced multi-frame -------------------------------------------------------------------------


def test_enhanced_frames_are_ordered_by_position(tmp_path):
    path = save(enhanced([4.0, 0.0, 8.0, 2.0, 6.0], orientation=OBLIQUE), tmp_path / "x")
    volume = read_series(series_of(path))
    assert volume.geometry.spacing_zyx == pytest.approx((2.0, 0.5, 0.75), abs=1e-5)
    assert volume.geometry.origin_xyz == pytest.approx((1.0, 2.0, 3.0))
    assert volume.array_zyx[:, 0, 1].tolist() == [2 * (10 * frame + 1) - 5 for frame in (1, 3, 0, 4, 2)]


def test_enhanced_echoes_are_split(tmp_path):
    series = series_of(save(enhanced([0, 0, 2, 2, 4, 4], echo_times=[5.0, 50.0] * 3), tmp_path / "x"))
    with pytest.raises(IrregularSeriesError) as caught:
        read_series(series)
    assert caught.value.reasons == ("echo",)
    early, late = (read_series(part).array_zyx[:, 0, 0].tolist() for part in split_series(series))
    assert (early, late) == ([-5, 35, 75], [15, 55, 95])


def test_enhanced_with_too_few_groups_is_refused(tmp_path):
    one = enhanced([0, 2, 4])
    del one.PerFrameFunctionalGroupsSequence[-1]
    save(one, tmp_path / "x")
    series, refusals = find_series(tmp_path)
    assert not series
    assert refusals[0].reason == "3 frames, but functional groups for 2"


# --- names ----------------------------------------------------------------------------------------


def test_case_name_hides_the_patient_and_stays_the_same(tmp_path):
    series = only(save_all(slices([0, 2]), tmp_path))
    name = case_name(series)
    assert name == case_name(series)
    assert name == f"{pseudonym('SECRET-4711')}_7"
    assert "SECRET" not in name
    assert case_name(series, key="mine") != name
    assert case_name(series, keep_ids=True) == "SECRET-4711_7"
    assert case_name(series, "{Modality}/{SeriesDescription} ../x") == "CT-thin-..-x"


def test_case_name_without_ids_uses_study_and_series(tmp_path):
    one = image(np.zeros((2, 3), np.int16), (0, 0, 0), PatientID="", SeriesNumber=None)
    series = series_of(save(one, tmp_path / "x"))
    assert case_name(series) == f"{pseudonym('1.2.3')}_{pseudonym('1.2.3.1')}"


@pytest.mark.parametrize("template", ["{PatientName}", "{PatientID", "", "...", "{0}"])
def test_case_name_refuses_a_bad_template(template):
    with pytest.raises(ParamsError, match="case name template"):
        case_name(series_of(MR_SMALL), template)


def test_series_without_uid_are_grouped_by_folder_and_plane(tmp_path):
    for folder, orientation in (("a", AXIAL), ("b", AXIAL), ("b", OBLIQUE)):
        for at, one in enumerate(slices([0, 2, 4], orientation=orientation)):
            del one.SeriesInstanceUID
            save(one, tmp_path / folder / f"{orientation[0]}_{at}.dcm")
    found, refused_files = find_series(tmp_path)
    assert (len(found), refused_files) == (3, [])
    assert all(one.uid.startswith("no-uid-") for one in found)
    assert len({one.uid for one in found}) == 3
    assert all("no SeriesInstanceUID: 3 files" in one.facts["grouping"] for one in found)
    assert {read_series(one).array_zyx.shape for one in found} == {(3, 5, 7)}


def test_patients_and_studies_never_share_a_series(tmp_path):
    for at, (patient, study) in enumerate([("A", "1.2.3"), ("B", "1.2.3"), ("A", "1.2.4")]):
        save_all(slices([0, 2, 4], PatientID=patient, study=study), tmp_path / str(at))
    found, _ = find_series(tmp_path)
    assert [len(one.files) for one in found] == [3, 3, 3]
    assert all("same SeriesInstanceUID" in one.facts["grouping"] for one in found)


@pytest.mark.parametrize(
    ("code", "keyword", "values"),
    [("convolution-kernel", "ConvolutionKernel", ("B30f", "B70f")), ("acquisition-time", "AcquisitionTime", None)],
)
def test_kernels_and_times_tell_copies_at_one_position_apart(code, keyword, values, tmp_path):
    parts = []
    for at in range(2):
        for number, one in enumerate(slices([0, 2, 4], values=np.full((3, 5, 7), at, np.int16))):
            setattr(one, keyword, values[at] if values else f"1200{10 * at + number:02d}")
            one.AcquisitionDate = "20200101"
            parts.append(one)
    series = only(save_all(parts, tmp_path))
    assert refused(tmp_path) == (code,)
    assert sorted(np.unique(read_series(part).array_zyx).tolist() for part in split_series(series)) == [[0], [1]]


def test_jitter_within_a_tenth_of_the_step_is_even_and_is_named(tmp_path):
    jitter = [0.0, 0.19, -0.19, 0.1, -0.15, 0.0]
    series = only(save_all(slices([2 * at + more for at, more in enumerate(jitter)]), tmp_path / "even"))
    volume = read_series(series)
    assert volume.geometry.spacing_zyx[0] == pytest.approx(2.0)
    assert series_note(series) == "slices lie up to 0.190 mm off an even grid; 2 mm is the mean distance"
    jitter[2] = -0.22
    assert refused(save_all(slices([2 * at + more for at, more in enumerate(jitter)]), tmp_path / "odd")) == ("uneven",)


def test_two_slice_distances_are_named_as_such_and_every_slice_is_in_a_part(tmp_path):
    heights = [2.5 * at for at in range(6)] + [12.5 + 7.5 * at for at in range(1, 6)]
    series = only(save_all(slices(heights), tmp_path))
    with pytest.raises(IrregularSeriesError, match=r"2\.500 mm apart, then .* 7\.500 mm apart.*--on-irregular split"):
        read_series(series)
    assert sum(len(part.frames) for part in split_series(series)) == 11


@pytest.mark.parametrize("degrees", [13.5, -20.0])
def test_a_tilted_gantry_is_untilted_onto_the_closed_form(degrees, tmp_path):
    shear = np.tan(np.radians(degrees))
    rows, columns = np.indices((24, 20))
    ball = np.array([-3.0, 25.0, 12.0])  # mm, XYZ
    parts = []
    for at, one in enumerate(slices([2.0 * at for at in range(10)], shape=(24, 20))):
        x, y, z = -10.0 + 0.75 * columns, 20.0 + 0.5 * rows + 2.0 * at * shear, 5.0 + 2.0 * at
        distance = np.sqrt((x - ball[0]) ** 2 + (y - ball[1]) ** 2 + (z - ball[2]) ** 2)
        one.PixelData = np.where(distance < 4.0, 1000, -1000).astype(np.int16).tobytes()
        one.ImagePositionPatient = [-10.0, float(f"{20.0 + 2.0 * at * shear:.6f}"), z]
        parts.append(one)
    series = only(save_all(parts, tmp_path))
    with pytest.raises(IrregularSeriesError, match="--untilt"):
        read_series(series)
    volume = read_series(series, untilt=True)
    assert f"{abs(degrees):.2f} degrees" in series_note(series, untilt=True)
    index = np.argwhere(volume.array_zyx > 0)
    centre = np.mean([volume.geometry.point_xyz(tuple(place)) for place in index], axis=0)
    assert np.abs(centre - ball).max() < 0.25  # half a voxel of the finest axis
    assert series_geometry(series, untilt=True) == volume.geometry
    assert {int(volume.array_zyx.min()), int(volume.array_zyx.max())} == {-1000, 1000}


def test_values_above_two_to_the_31_are_kept(tmp_path):
    parts = list(slices([0, 2], values=np.full((2, 5, 7), 3_000_000_001, np.uint32)))
    volume = read_series(only(save_all(parts, tmp_path)))
    assert (volume.dtype, int(volume.array_zyx[0, 0, 0])) == (np.uint32, 3_000_000_001)


def test_a_rescale_slope_of_zero_is_refused(tmp_path):
    with pytest.raises(ReadError, match="RescaleSlope is 0"):
        read_series(only(save_all(slices([0, 2], RescaleSlope=0, RescaleIntercept=5), tmp_path)))
