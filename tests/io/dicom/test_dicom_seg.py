"""Segmentations written by highdicom, and one that pydicom ships, as label maps."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_factory import AXIAL, OBLIQUE, image, save, save_all, slices
from highdicom.color import CIELabColor
from pydicom.sr.codedict import codes

from itkit.core.errors import GeometryMismatchError, LabelError, ReadError
from itkit.core.geometry import Geometry
from itkit.io.dcm_toolkit import find_series, read_seg, series_geometry, series_of
from itkit.io.dicom.seg import cielab_to_rgb

LIVER = Path(pydicom.data.__file__).parent / "test_files/liver_1frame.dcm"
BIG_ENDIAN = LIVER.with_name("liver_expb_1frame.dcm")
SHAPE = (6, 5, 7)


def source_images(tmp_path, *, orientation=AXIAL):
    folder = save_all(
        slices([2.0 * at for at in range(SHAPE[0])], orientation=orientation, PatientSex="", AccessionNumber="",
               StudyID="", StudyDate="", StudyTime="", ReferringPhysicianName="", PositionReferenceIndicator="",
               PatientPosition="HFS", Manufacturer=""),
        tmp_path / "images",
    )  # fmt: skip
    series = find_series(folder)[0][0]
    datasets = [pydicom.dcmread(frame.path) for frame in sorted(series.frames, key=lambda frame: frame.number)]
    return datasets, series_geometry(series)


def described(number, label):
    return hd.seg.SegmentDescription(
        segment_number=number, segment_label=label, segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver, algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        display_color=CIELabColor(53.24, 80.09, 67.20) if number == 1 else None,
    )  # fmt: skip


def written(path, images, mask, labels, kind, **options):
    seg = hd.seg.Segmentation(
        source_images=images, pixel_array=mask, segmentation_type=kind,
        segment_descriptions=[described(number, label) for number, label in labels.items()],
        series_instance_uid=hd.UID(), series_number=3, sop_instance_uid=hd.UID(), instance_number=1, manufacturer="us",
        manufacturer_model_name="test", software_versions="1", device_serial_number="1", **options,
    )  # fmt: skip
    seg.save_as(path)
    return path


def two_organs():
    """Values 1 and 2, with no symmetry, and empty slices between and around."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 0:2, 1:6] = 1
    labels[1, 3, 2] = 2
    labels[4, 1:4, 0:3] = 1
    labels[4, 4, 6] = 2
    return labels


KINDS = [
    hd.seg.SegmentationTypeValues.BINARY,
    hd.seg.SegmentationTypeValues.FRACTIONAL,
    hd.seg.SegmentationTypeValues.LABELMAP,
]


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE, (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("kind", KINDS)
def test_segments_of_highdicom_come_back(tmp_path, kind, orientation):
    images, geometry = source_images(tmp_path, orientation=orientation)
    labels = two_organs()
    path = written(tmp_path / "seg.dcm", images, labels, {1: "Liver", 2: "Spleen"}, kind)
    assert series_of(path).kind == "SEG"
    found = read_seg(path, geometry)
    np.testing.assert_array_equal(found.volume.array_zyx, labels)
    assert found.volume.kind == "label"
    assert found.volume.dtype == np.uint8
    assert found.volume.geometry == geometry
    assert dict(found.names) == {1: "Liver", 2: "Spleen"}
    assert dict(found.colours) == {1: (255, 0, 0)}
    assert found.overlaps == 0
    own = read_seg(path)  # sparse: slices 1 to 4 of 6, each frame once
    assert own.volume.geometry.same_grid(geometry.crop((1, 0, 0), (4, 5, 7)))
    np.testing.assert_array_equal(own.volume.array_zyx, labels[1:5])


def test_frames_that_are_padded_to_whole_bytes_are_recognised_by_their_length(tmp_path):
    images, geometry = source_images(tmp_path)
    labels = two_organs()
    path = written(tmp_path / "seg.dcm", images, labels, {1: "Liver", 2: "Spleen"}, KINDS[0])
    one = pydicom.dcmread(path)
    pixels, frames = one.Rows * one.Columns, int(one.NumberOfFrames)
    assert pixels % 8, "frames end with a byte: nothing is shown"
    bits = np.unpackbits(np.frombuffer(one.PixelData, np.uint8), bitorder="little")[: frames * pixels]
    padded = np.packbits(bits.reshape(frames, pixels), axis=1, bitorder="little").tobytes()
    one.PixelData = padded + b"\0" * (len(padded) % 2)
    one.save_as(path)
    np.testing.assert_array_equal(read_seg(path, geometry).volume.array_zyx, labels)


def test_a_reference_with_other_axes_gets_every_voxel_at_its_point(tmp_path):
    images, geometry = source_images(tmp_path)
    labels = two_organs()
    path = written(tmp_path / "seg.dcm", images, labels, {1: "Liver", 2: "Spleen"}, KINDS[0])
    # index axes x, y, z of the reference run along -y, +z, -x of the images
    turned = Geometry((7, 6, 5), (0.75, 2.0, 0.5), geometry.point_xyz((0, 4, 6)), (0, 0, -1, -1, 0, 0, 0, 1, 0))
    found = read_seg(path, turned)
    np.testing.assert_array_equal(found.volume.array_zyx, labels.transpose(2, 0, 1)[::-1, :, ::-1])


def test_a_finer_reference_takes_the_nearest_voxel(tmp_path):
    images, geometry = source_images(tmp_path, orientation=OBLIQUE)
    labels = two_organs()
    path = written(tmp_path / "seg.dcm", images, labels, {1: "Liver", 2: "Spleen"}, KINDS[0])
    fine = Geometry((12, 10, 14), tuple(value / 2 for value in geometry.spacing_zyx),
                    geometry.point_xyz((-0.25, -0.25, -0.25)), geometry.direction_xyz)  # fmt: skip
    found = read_seg(path, fine)
    np.testing.assert_array_equal(found.volume.array_zyx, labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    assert "nearest" in found.facts["grid"]


def test_fractional_threshold(tmp_path):
    images, geometry = source_images(tmp_path)
    mask = np.zeros(SHAPE, np.float32)
    mask[2, 1, 1:5] = (0.2, 0.45, 0.55, 0.9)
    path = written(tmp_path / "seg.dcm", images, mask, {1: "Liver"}, KINDS[1], max_fractional_value=200)
    assert read_seg(path, geometry).volume.array_zyx[2, 1].tolist() == [0, 0, 0, 1, 1, 0, 0]
    assert read_seg(path, geometry, threshold=0.4).volume.array_zyx[2, 1].tolist() == [0, 0, 1, 1, 1, 0, 0]


def overlapping(tmp_path):
    images, geometry = source_images(tmp_path)
    mask = np.zeros((*SHAPE, 2), np.uint8)
    mask[2, 1, 0:4, 0] = 1
    mask[2, 1, 2:6, 1] = 1
    return written(tmp_path / "seg.dcm", images, mask, {1: "Liver", 2: "Tumour"}, KINDS[0]), geometry


def test_overlaps_are_refused_counted_or_kept(tmp_path):
    path, geometry = overlapping(tmp_path)
    with pytest.raises(LabelError, match=r"2 voxels are in more than one region \(Liver and Tumour\)"):
        read_seg(path, geometry)
    first, last, multi = (read_seg(path, geometry, overlap=choice) for choice in ("first", "last", "multi"))
    assert first.volume.array_zyx[2, 1].tolist() == [1, 1, 1, 1, 2, 2, 0]
    assert last.volume.array_zyx[2, 1].tolist() == [1, 1, 2, 2, 2, 2, 0]
    assert multi.volume.array_zyx.shape == (*SHAPE, 2)
    assert multi.volume.array_zyx[2, 1].T.tolist() == [[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 0]]
    assert first.overlaps == last.overlaps == multi.overlaps == 2


def test_equal_names_are_told_apart(tmp_path):
    images, geometry = source_images(tmp_path)
    path = written(tmp_path / "seg.dcm", images, two_organs(), {1: "Nodule", 2: "Nodule"}, KINDS[0])
    assert dict(read_seg(path, geometry).names) == {1: "Nodule_1", 2: "Nodule_2"}


def test_a_reference_elsewhere_is_refused(tmp_path):
    images, geometry = source_images(tmp_path)
    path = written(tmp_path / "seg.dcm", images, two_organs(), {1: "a", 2: "b"}, KINDS[0])
    far = Geometry(SHAPE, geometry.spacing_zyx, (1000.0, 0.0, 0.0), geometry.direction_xyz)
    with pytest.raises(GeometryMismatchError, match="inside the grid"):
        read_seg(path, far)
    part = read_seg(path, geometry.crop((0, 0, 0), (3, 5, 7)))
    assert part.facts["off_grid"].startswith("10 segmented voxels")


def test_real_segmentation_has_the_bits_of_the_file():
    found = read_seg(LIVER)
    tags = pydicom.dcmread(LIVER)
    np.testing.assert_array_equal(found.volume.array_zyx[0], tags.pixel_array)
    assert found.volume.geometry.size_zyx == (1, 512, 512)
    assert dict(found.names) == {1: "Liver"}
    assert found.facts["frames"] == "1, though the file describes 3"
    np.testing.assert_array_equal(read_seg(BIG_ENDIAN).volume.array_zyx, found.volume.array_zyx)
    bits = np.unpackbits(np.frombuffer(tags.PixelData, np.uint8), bitorder="little").reshape(512, 512)
    np.testing.assert_array_equal(found.volume.array_zyx[0], bits)


def test_what_is_no_segmentation_is_named(tmp_path):
    path = save(image(np.zeros((2, 3), np.int16), (0, 0, 0)), tmp_path / "x")
    with pytest.raises(ReadError, match="x: not a segmentation"):
        read_seg(path)
    short = tmp_path / "short.dcm"
    short.write_bytes(LIVER.read_bytes()[:20000])
    with pytest.raises(ReadError, match=r"short\.dcm"):
        read_seg(short)


@pytest.mark.parametrize(
    ("lab", "rgb"), [((100, 0, 0), (255, 255, 255)), ((0, 0, 0), (0, 0, 0)), ((87.735, -86.183, 83.180), (0, 255, 0)),
                     ((32.297, 79.188, -107.860), (0, 0, 255)), ((53.585, 0, 0), (128, 128, 128))],
)  # fmt: skip
def test_colours_follow_known_pairs(lab, rgb):
    assert cielab_to_rgb(lab) == pytest.approx(rgb, abs=1)
