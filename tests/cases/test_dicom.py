"""DICOM as archives and exporters leave it, through ``itk_convert dicom``: right, or refused by name."""

import numpy as np
import pytest
from dicom_factory import dataset, image, save, save_all, slices
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

import itkit
from itkit.io.sitk_toolkit import read_volume

HEIGHTS = [0, 2.5, 5, 7.5, 10, 12.5]
SHAPE = (5, 7)


def ramp(dtype=np.int16):
    """Values that differ in every voxel; slice, row and column can be told from them."""
    k, row, column = np.indices((len(HEIGHTS), *SHAPE))
    return (100 * k + 10 * row + column).astype(dtype)


def convert(folder, dest, **values):
    result = itkit.run("itk_convert", mode="dicom", source=folder, dest=dest, **values)
    said = "\n".join(
        [*result.summary.lines, *(text for one in result.records for text in (one.message, *one.warnings))]
    )
    report = dest / "dicom_report.csv"
    return result, said + (report.read_text(encoding="utf-8") if report.exists() else "")


def only(dest, kind="image"):
    (path,) = (dest / kind).glob("*.mha")
    return read_volume(path, kind)


def test_an_empty_rescale_is_none(tmp_path):
    save_all(slices(HEIGHTS, RescaleSlope=None, RescaleIntercept=None), tmp_path / "in")
    result, _ = convert(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, ramp())


def test_unsigned_values_beyond_int16_are_kept(tmp_path):
    save_all(slices(HEIGHTS, values=ramp(dtype=np.uint16) + np.uint16(34_101)), tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, ramp().astype(int) + 34_101)


def test_padding_keeps_its_value_and_is_named(tmp_path):
    values = ramp(dtype=np.uint16) + np.uint16(1024)
    values[:, :2, :2] = 63_536
    one = list(slices(HEIGHTS, values=values, RescaleSlope=1, RescaleIntercept=-1024))
    for part in one:
        part.PixelPaddingValue = 63_536
        part["PixelPaddingValue"].VR = "US"
    save_all(one, tmp_path / "in")
    _, said = convert(tmp_path / "in", tmp_path / "out")
    assert "adding" in said
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, values.astype(int) - 1024)


def test_bits_that_vary_from_slice_to_slice_are_cut_in_each(tmp_path):
    values = ramp(dtype=np.uint16)
    parts = []
    for k, height in enumerate(HEIGHTS):
        bits = int(values[k].max()).bit_length()
        stored = values[k] | np.uint16(0x8000 if k == 2 else 0)  # an overlay above the stored bits
        position = (-10.0, 20.0, 5.0 + height)
        parts.append(image(stored, position, BitsStored=bits, HighBit=bits - 1, InstanceNumber=k + 1))
    save_all(parts, tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, values)


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_float_pixels_are_kept_or_refused_by_name(tmp_path, keyword, dtype):
    parts = list(slices(HEIGHTS))
    for k, one in enumerate(parts):
        for name in ("PixelData", "PixelRepresentation", "BitsStored", "HighBit"):
            delattr(one, name)
        one.BitsAllocated = 8 * np.dtype(dtype).itemsize
        setattr(one, keyword, (ramp()[k] * 0.1).astype(dtype).tobytes())
    save_all(parts, tmp_path / "in")
    result, said = convert(tmp_path / "in", tmp_path / "out")
    if result.exit_code == 0:
        np.testing.assert_allclose(only(tmp_path / "out").array_zyx, ramp() * 0.1, rtol=1e-6)
    else:
        assert keyword in said


@pytest.mark.parametrize("kind", ["big endian", "no header"])
def test_old_encodings_are_read(tmp_path, kind):
    for k, one in enumerate(slices(HEIGHTS)):
        path = tmp_path / "in" / f"{k}"
        if kind == "big endian":
            one.PixelData = np.frombuffer(one.PixelData, "<i2").astype(">i2").tobytes()
            save(one, path, ExplicitVRBigEndian)
        else:
            save(one, path, ImplicitVRLittleEndian)
            one.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
            path.write_bytes(path.read_bytes()[path.read_bytes().index(b"\x08\x00\x16\x00") :])
    result, _ = convert(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, ramp())


def test_two_phases_of_one_series_are_told_apart_by_their_acquisition(tmp_path):
    early, late = ramp(), ramp() + np.int16(5000)
    parts = [*slices(HEIGHTS, values=early, AcquisitionNumber=1), *slices(HEIGHTS, values=late, AcquisitionNumber=2)]
    save_all(parts, tmp_path / "in")
    result, said = convert(tmp_path / "in", tmp_path / "refused")
    assert (result.exit_code, "acquisition" in said, "--on-irregular split" in said) == (1, True, True)
    result, _ = convert(tmp_path / "in", tmp_path / "out", on_irregular="split")
    arrays = [read_volume(path).array_zyx for path in sorted((tmp_path / "out/image").glob("*.mha"))]
    np.testing.assert_array_equal(np.stack(sorted(arrays, key=np.max)), [early, late])


def test_frames_without_positions_are_refused(tmp_path):
    one = image(ramp(), (0, 0, 0), NumberOfFrames=len(HEIGHTS), SpacingBetweenSlices=0.3)
    save(one, tmp_path / "in" / "old")
    result, said = convert(tmp_path / "in", tmp_path / "out")
    assert (result.exit_code, "position" in said) == (1, True)
    assert not list((tmp_path / "out").rglob("*.mha"))


def test_a_localizer_beside_a_series_is_named(tmp_path):
    scout = [image(np.full((4, 9), k, np.int16), (0, 0, 10 * k), orientation=(0, 1, 0, 0, 0, -1), series="1.2.3.2",
                   SeriesNumber=1) for k in range(2)]  # fmt: skip
    save_all([*slices(HEIGHTS), *scout], tmp_path / "in")
    result, said = convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, ramp())
    assert "localizer" in said
    assert len(result.records) == 1


@pytest.mark.parametrize(("gap", "fails"), [(1, False), (8, True)])
def test_a_split_that_loses_more_than_a_tenth_of_the_slices_fails(tmp_path, gap, fails):
    """Slices at every step, and some at the end that are too few for a stack of their own."""
    heights = [2.5 * k for k in range(24 - gap)] + [100 + 17.0 * k * k for k in range(gap)]
    values = np.arange(24 * 35, dtype=np.int16).reshape(24, *SHAPE)
    save_all(slices(heights, values=values), tmp_path / "in")
    result, said = convert(tmp_path / "in", tmp_path / "out", on_irregular="split")
    assert result.exit_code == int(fails)
    assert f"{gap} " in said
    assert "regular stack" in said
    assert bool(list((tmp_path / "out").rglob("*.mha"))) != fails


def test_names_in_other_letters(tmp_path):
    parts = list(slices(HEIGHTS, SpecificCharacterSet="ISO_IR 192"))
    for k, one in enumerate(parts):
        one.PatientName, one.PatientID, one.SeriesDescription = "山田^太郎", "患者 1/ü", "Schädel"
        save(one, tmp_path / "Bilder ä 肺" / f"Schicht {k}ß")
    result, _ = convert(tmp_path / "Bilder ä 肺", tmp_path / "out ü")
    assert result.exit_code == 0
    np.testing.assert_array_equal(only(tmp_path / "out ü").array_zyx, ramp())


def box(z, first=1, last=3):
    """A square through the centres' borders of a slice of the series above, as a contour."""
    low, high = first - 0.5, last + 0.5
    corners = [(low, low), (low, high), (high, high), (high, low)]
    return [(-10.0 + 0.75 * x, 20.0 + 0.5 * y, 5.0 + HEIGHTS[z]) for y, x in corners]


def structure_set(regions, series):
    one = dataset(sop_class="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT", series=series)
    one.StructureSetROISequence, one.ROIContourSequence = Sequence(), Sequence()
    for number, (name, contours) in enumerate(regions.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, "1.2.3.9"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, Sequence()
        for kind, points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [float(f"{value:.6f}") for value in np.ravel(points)]
            drawn.ContourSequence.append(item)
        one.StructureSetROISequence.append(roi)
        one.ROIContourSequence.append(drawn)
    return one


def test_a_structure_set_with_the_uid_of_its_series(tmp_path):
    regions = {"organ": [("CLOSED_PLANAR", box(2))]}
    save_all([*slices(HEIGHTS), structure_set(regions, series="1.2.3.1")], tmp_path / "in")
    result, _ = convert(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 0
    np.testing.assert_array_equal(only(tmp_path / "out").array_zyx, ramp())
    expected = np.zeros_like(ramp())
    expected[2, 1:4, 1:4] = 1
    np.testing.assert_array_equal(only(tmp_path / "out", "label").array_zyx, expected)


def test_what_a_structure_set_can_not_draw_is_named(tmp_path):
    outside = [(x, y, 400.0) for x, y, _ in box(2)]
    regions = {
        "lung": [("CLOSED_PLANAR", box(2)), ("CLOSED_PLANAR", box(3))],
        "wire": [("CLOSED_PLANAR", box(4)[:2])],
        "point": [("POINT", box(4)[:1])],
        "catheter": [("OPEN_PLANAR", box(4))],
        "void9": [],
        "far9": [("CLOSED_PLANAR", outside)],
    }
    save_all([*slices(HEIGHTS), structure_set(regions, series="1.2.3.77")], tmp_path / "in")
    _, said = convert(tmp_path / "in", tmp_path / "out")
    label = only(tmp_path / "out", "label").array_zyx
    assert {value: int(np.count_nonzero(label == value)) for value in np.unique(label) if value} == {1: 18}
    for words in ("POINT", "OPEN_PLANAR", "outside", "wire", "void9", "far9"):
        assert words in said, words
