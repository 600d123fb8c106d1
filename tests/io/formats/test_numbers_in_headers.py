"""Numbers in headers mean what they mean to other readers; what only Python takes for a number is refused."""

import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from itkit.core.errors import ReadError
from itkit.io.sitk_toolkit import read_volume

META = (
    "ObjectType = Image\nNDims = {dims}\nBinaryData = {binary}\nOffset = {offset}\nElementSpacing = 1 1 1\n"
    "DimSize = {size}\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
)
NRRD = (
    "NRRD0004\ntype: uchar\ndimension: 3\nsizes: {size}\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: ({origin})\nencoding: {encoding}\n\n"
)
GOOD = {"dims": "3", "binary": "True", "offset": "10 8 7", "size": "2 2 2", "origin": "10,8,7", "encoding": "raw"}


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        (META, {"offset": "1_0 8 7"}),
        (META, {"offset": "\u0661 8 7"}),
        (META, {"size": "2 2 0_2"}),
        (META, {"dims": "0_3"}),
        (NRRD, {"origin": "1_0,8,7"}),
        (NRRD, {"size": "2 2 0_2"}),
    ],
)
def test_what_only_python_takes_for_a_number_is_refused(tmp_path, form, wrong):
    path = tmp_path / ("a.mha" if form is META else "a.nrrd")
    path.write_bytes(form.format(**GOOD).encode() + bytes(range(8)))
    assert read_volume(path).geometry.origin_xyz == (10, 8, 7)
    path.write_bytes(form.format(**{**GOOD, **wrong}).encode() + bytes(range(8)))
    with pytest.raises(ReadError):
        read_volume(path)


def test_voxels_in_text_are_plain_numbers(tmp_path):
    path = tmp_path / "a.nrrd"
    header = NRRD.format(**{**GOOD, "encoding": "ascii"})
    path.write_text(header + "1 2 3 4 5 6 7 10 beside_the_voxels")
    assert read_volume(path).array_zyx.ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 10]
    path.write_text(header + "1 2 3 4 5 6 7 1_0")
    with pytest.raises(ReadError, match="not all uint8 numbers"):
        read_volume(path)


@pytest.mark.parametrize(("qform", "sform", "taken"), [(1, 16384, "q"), (1, -1, "q"), (16384, 1, "s"), (1, 5, "s")])
def test_codes_of_nifti_that_nobody_knows_say_nothing(tmp_path, qform, sform, taken):
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), None)
    image.header.set_sform(np.array([[1, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]]), 1)
    image.header.set_qform(np.array([[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]]), 1)
    nibabel.save(image, path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<2h", data, 252, qform, sform)
    path.write_bytes(data)
    expected = (-1, -2, 3) if taken == "q" else (-5, -6, 7)
    assert read_volume(path).geometry.origin_xyz == expected
    np.testing.assert_allclose(nibabel.load(path).affine[:3, 3] * [-1, -1, 1], expected)
    if taken == "q":
        assert sitk.ReadImage(str(path)).GetOrigin() == expected


@pytest.mark.parametrize("damage", ["none", "bits", "cut", "HeaderSize", "short", "no size"])
def test_a_damaged_stream_that_simpleitk_reads_is_refused(tmp_path, damage):
    """MetaIO returns memory as it found it where it can't inflate a stream."""
    path = tmp_path / "a.mha"
    image = sitk.GetImageFromArray(np.arange(4000, dtype=np.int16).reshape(10, 20, 20))
    sitk.WriteImage(image, str(path), useCompression=True)
    data = path.read_bytes()
    at = data.index(b"ElementDataFile")
    more = b"ElementToIntensityFunctionSlope = 2\n" + (b"HeaderSize = 7\n" if damage == "HeaderSize" else b"")
    head = data[:at]
    if damage in ("short", "no size"):
        line = next(line for line in head.split(b"\n") if line.startswith(b"CompressedDataSize"))
        head = head.replace(line + b"\n", b"CompressedDataSize = 2\n" if damage == "short" else b"")
    stream = bytearray(data[at:])
    if damage == "bits":
        stream[len(stream) // 2] ^= 0x55
    path.write_bytes(head + more + stream[: -200 if damage == "cut" else None])
    if damage == "none":
        np.testing.assert_array_equal(read_volume(path).array_zyx, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    else:
        with pytest.raises(ReadError):
            read_volume(path)


def test_two_origins_that_differ_are_refused(tmp_path):
    path = tmp_path / "a.mha"
    header = META.format(**GOOD)
    path.write_bytes(header.replace("DimSize", "Position = 10 8 7\nDimSize").encode() + bytes(range(8)))
    assert read_volume(path).geometry.origin_xyz == (10, 8, 7)
    path.write_bytes(header.replace("DimSize", "Position = 9 8\nDimSize").encode() + bytes(range(8)))
    with pytest.raises(ReadError, match="Offset and Position differ"):
        read_volume(path)
