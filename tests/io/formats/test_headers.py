from __future__ import annotations

import gzip
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import slicerio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from volume_cases import (
    DTYPES,
    OBLIQUE,
    SUFFIXES,
    assert_same_geometry,
    dtypes,
    geometries,
    rotation,
    sitk_says,
    to_image,
    voxels,
)

from itkit.core.errors import ReadError
from itkit.core.files import volume_suffix
from itkit.core.geometry import Geometry
from itkit.io.formats.codecs import write_volume_file
from itkit.io.formats.headers import Header, UnsupportedHeader, headers_of, read_header, unit_files
from itkit.io.nii_toolkit import affine_ras

REAL_FILES = sorted(
    path
    for package in (nibabel, slicerio)
    for path in Path(package.__file__).parent.rglob("*")
    if volume_suffix(path) is not None
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{fields}"
    "DimSize = 2 3 4\nElementType = MET_SHORT\nElementDataFile = {data}\n"
)
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nencoding: raw\nendian: little\n{fields}\n"


def mha(path: Path, fields: str = "", *, data: str = "LOCAL", tail: bytes = bytes(48)) -> Path:
    path.write_bytes(MHA.format(fields=fields, data=data).encode() + tail)
    return path


def nrrd(path: Path, fields: str = "", *, tail: bytes = bytes(48)) -> Path:
    path.write_bytes(NRRD.format(fields=fields).encode() + tail)
    return path


def nifti(path: Path, affine: np.ndarray | None = None, shape: tuple[int, ...] = (4, 3, 2)) -> bytearray:
    nibabel.Nifti1Image(np.zeros(shape, np.int16), affine).to_filename(path)
    return bytearray(path.read_bytes())


@settings(max_examples=40, deadline=None)
@given(geometry=geometries, dtype=dtypes, compressed=st.booleans(), suffix=st.sampled_from(SUFFIXES))
def test_files_of_simpleitk_are_read_as_simpleitk_reads_them(
    geometry: Geometry, dtype: str, compressed: bool, suffix: str
) -> None:
    array = voxels(geometry.size_zyx, dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"case{suffix}"
        sitk.WriteImage(to_image(array, geometry), str(path), compressed)
        header = read_header(path)
        reference, reference_dtype, components, ndim = sitk_says(path)
        assert_same_geometry(header.geometry, reference)
        assert (header.dtype, header.components, header.ndim) == (reference_dtype, components, ndim)
        assert header.size_bytes == array.nbytes
        assert header.warnings == ()


@settings(max_examples=40, deadline=None)
@given(geometry=geometries, big=st.booleans(), version=st.sampled_from([1, 2]), form=st.sampled_from("sqb"))
@example(
    geometry=Geometry((1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), rotation(0.0, 0.0, 4.2e-5, (-1, 1, -1))),
    big=False,
    version=2,
    form="q",
)
def test_files_of_nibabel_are_read_with_their_affine(geometry: Geometry, big: bool, version: int, form: str) -> None:
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    x, y, z = reversed(geometry.size_zyx)
    affine = np.array(affine_ras(geometry))
    header = kind.header_class(endianness=">" if big else "<")
    header.set_data_dtype(np.int16)
    image = kind(np.zeros((x, y, z), np.int16), affine, header)
    image.set_sform(affine if form in "sb" else None, 1 if form in "sb" else 0)
    image.set_qform(affine if form in "qb" else None, 1 if form in "qb" else 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.nii.gz"
        image.to_filename(path)
        ours = read_header(path)
        np.testing.assert_allclose(affine_ras(ours.geometry), nibabel.load(path).affine, rtol=2e-6, atol=2e-6)
        assert ours.byte_order == ("big" if big else "little")
        assert ours.file_format == f"NIfTI-{version}"
        assert ours.warnings == ()
        if version == 1 and form != "q":
            assert_same_geometry(ours.geometry, sitk_says(path)[0], tolerance=2e-6)


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: path.name)
def test_real_files_are_read_as_simpleitk_reads_them_or_left_to_it(path: Path) -> None:
    try:
        header = read_header(path)
    except (UnsupportedHeader, ReadError) as error:
        pytest.fail(f"none of these is beyond the parser: {error}")
    if path.name == "row_major.dconn.nii":  # CIFTI: a matrix in a NIfTI-2 file
        assert header.ndim == 6
        return
    if header.file_format == "NIfTI-2":  # ITK reads none
        np.testing.assert_allclose(affine_ras(header.geometry), nibabel.load(path).affine, atol=1e-5)
        return
    try:
        geometry, dtype, components, ndim = sitk_says(path)
    except RuntimeError:
        pytest.fail(f"read {path}, which ITK refuses")
    assert (header.value_dtype, header.components, header.ndim) == (dtype, components, ndim)
    assert_same_geometry(header.geometry, geometry, tolerance=2e-5)


def test_there_are_real_files() -> None:
    assert len(REAL_FILES) >= 10


def test_dtype_and_encoding_are_what_is_stored(tmp_path: Path) -> None:
    for dtype in DTYPES:
        for suffix, encoding in ((".mha", "zlib"), (".nrrd", "gzip"), (".nii.gz", "gzip"), (".nii", "raw")):
            path = tmp_path / f"a{suffix}"
            sitk.WriteImage(to_image(voxels((3, 4, 5), dtype), Geometry((3, 4, 5), (1, 1, 1))), str(path), True)
            assert (read_header(path).dtype, read_header(path).encoding) == (dtype, encoding)


@pytest.mark.parametrize(
    ("shape", "ndim", "volumes"), [((4, 3), 2, 1), ((4, 3, 2, 1), 3, 1), ((4, 3, 2, 5), 4, 5), ((4, 3, 1), 3, 1)]
)
def test_dimensions_can_be_told(tmp_path: Path, shape: tuple[int, ...], ndim: int, volumes: int) -> None:
    for suffix in (".nii", ".mha", ".nrrd"):
        path = tmp_path / f"a{suffix}"
        if suffix == ".nii":
            nifti(path, np.eye(4), shape)
        elif suffix == ".mha":
            sizes = " ".join(map(str, shape))
            text = MHA.format(fields="", data="LOCAL").replace("NDims = 3", f"NDims = {len(shape)}")
            path.write_bytes(text.replace("2 3 4", sizes).encode() + bytes(240))
        else:
            text = NRRD.format(fields="").replace("dimension: 3", f"dimension: {len(shape)}")
            path.write_bytes(text.replace("2 3 4", " ".join(map(str, shape))).encode() + bytes(240))
        header = read_header(path)
        assert (header.ndim, header.volumes) == (ndim, volumes)
        assert header.geometry.size_zyx == ((1, 3, 4) if len(shape) == 2 else (shape[2], 3, 4))


def test_components_can_be_told(tmp_path: Path) -> None:
    array = voxels((4, 5, 6, 3), "uint8")
    for suffix in (".mha", ".nrrd"):
        path = tmp_path / f"rgb{suffix}"
        sitk.WriteImage(to_image(array, Geometry((4, 5, 6), (1, 1, 1))), str(path))
        header = read_header(path)
        assert (header.components, header.size_bytes, header.geometry.size_zyx) == (3, array.nbytes, (4, 5, 6))
    rgb = np.zeros((6, 5, 4), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.Nifti1Image(rgb, np.eye(4)).to_filename(tmp_path / "rgb.nii")
    assert read_header(tmp_path / "rgb.nii").components == 3


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "ElementSize = 1 2 3\n",
        "ElementSize = 1 2 3\nElementSpacing = 3 2 1\n",
        "Position = 1 2 3\n",
        "Origin = 1 2 3\nCenterOfRotation = 5 5 5\nTransformMatrix = 0 1 0 0 0 1 1 0 0\n",
        "Rotation = 0 1 0 -1 0 0 0 0 1\nAnatomicalOrientation = RAS\n",
        "Modality = MET_MOD_CT\nComment = two words\nfoo = a=b\nDistanceUnits = um\nElementSpacing = 3 2 1\n",
    ],
)
def test_metaimage_fields_mean_what_they_mean_to_itk(tmp_path: Path, fields: str) -> None:
    path = mha(tmp_path / "a.mha", fields)
    assert_same_geometry(read_header(path).geometry, sitk_says(path)[0])


@pytest.mark.parametrize(
    "fields",
    [
        "space: left-posterior-superior\nspace directions: (0,2,0) (-3,0,0) (0,0,4)\nspace origin: (1,2,3)\n",
        "space: RAS\nspace directions: (0,2,0) (-3,0,0) (0,0,4)\nspace origin: (1,2,3)\n",
        "space: right-anterior-superior\nspace directions: (1.2, 1.6, 0) (-1.6,1.2,0) (0,0,4)\n",
        "spacings: 1 2 3\nkinds: domain domain domain\n",
        "content: x\n# a comment\nkey with blanks:=value: with colon\n",
    ],
)
def test_nrrd_fields_mean_what_they_mean_to_itk(tmp_path: Path, fields: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", fields)
    assert_same_geometry(read_header(path).geometry, sitk_says(path)[0])


@pytest.mark.parametrize(
    "fields",
    [
        "ElementSpacing = 0 2 3\n",
        "TransformMatrix = 1 0.1 0 0 1 0 0 0 1\n",
        "ElementToIntensityFunctionSlope = 2\n",
        "HeaderSize = 4\n",
        "strange line\n",
    ],
)
def test_odd_metaimages_are_left_to_simpleitk(tmp_path: Path, fields: str) -> None:
    with pytest.raises(UnsupportedHeader):
        read_header(mha(tmp_path / "a.mha", fields))


@pytest.mark.parametrize(
    "fields",
    [
        "space: LPS\nspace directions: (1,0.1,0) (0,1,0) (0,0,1)\n",
        "kinds: domain domain vector\n",
        "axis mins: 1 2 3\n",
        "line skip: 1\n",
        "data file: LIST\na.raw\n",
        "data file: a%d.raw 1 4 1\n",
    ],
)
def test_odd_nrrds_are_left_to_simpleitk(tmp_path: Path, fields: str) -> None:
    with pytest.raises(UnsupportedHeader):
        read_header(nrrd(tmp_path / "a.nrrd", fields))


def test_units_of_nifti_become_mm(tmp_path: Path) -> None:
    affine = np.array([[-0.5, 0, 0, 10], [0, -0.6, 0, 20], [0, 0, 0.7, 30], [0, 0, 0, 1]])
    for code in (1, 2, 3):
        path = tmp_path / f"u{code}.nii"
        data = nifti(path, affine)
        data[123] = code
        path.write_bytes(data)
        assert_same_geometry(read_header(path).geometry, sitk_says(path)[0])


def test_negative_spacing_turns_the_axis_as_itk_has_it(tmp_path: Path) -> None:
    path = mha(tmp_path / "a.mha", "TransformMatrix = 0 1 0 -1 0 0 0 0 1\nElementSpacing = -1 2 -3\n")
    image = sitk.ReadImage(str(path))
    grid = read_header(path).geometry
    np.testing.assert_allclose(grid.spacing_zyx, image.GetSpacing()[::-1])
    np.testing.assert_allclose(grid.direction_xyz, image.GetDirection())
    np.testing.assert_allclose(grid.point_xyz((1, 2, 3)), image.TransformIndexToPhysicalPoint((3, 2, 1)))


def test_a_comment_may_name_the_last_field(tmp_path: Path) -> None:
    path = mha(tmp_path / "a.mha", "Comment = the ElementDataFile = elsewhere.raw was here\n")
    assert_same_geometry(read_header(path).geometry, sitk_says(path)[0])
    assert read_header(path).data_path == path


@pytest.mark.parametrize("flip_x", [False, True])
@pytest.mark.parametrize("flip_y", [False, True])
@pytest.mark.parametrize("flip_z", [False, True])
@pytest.mark.parametrize("short", [False, True])
def test_every_space_of_a_nrrd_is_one_place(
    tmp_path: Path, flip_x: bool, flip_y: bool, flip_z: bool, short: bool
) -> None:
    words = ["right" if flip_x else "left", "anterior" if flip_y else "posterior", "inferior" if flip_z else "superior"]
    space = "".join(word[0] for word in words).upper() if short else "-".join(words)
    x, y, z = (-1 if flip else 1 for flip in (flip_x, flip_y, flip_z))
    fields = f"space: {space}\nspace directions: ({x * 0.5},0,0) (0,{y * 2},0) (0,0,{z * 3})\n"
    grid = read_header(nrrd(tmp_path / "a.nrrd", f"{fields}space origin: ({x * 7},{y * 8},{z * 9})\n")).geometry
    assert (grid.origin_xyz, grid.spacing_zyx, grid.orientation) == ((7.0, 8.0, 9.0), (3.0, 2.0, 0.5), "LPS")


def test_space_units_of_a_nrrd_count(tmp_path: Path) -> None:
    fields = "space: LPS\nspace directions: (0,1,0) (-2,0,0) (0,0,3000)\nspace origin: (1,2,3000)\n"
    path = nrrd(tmp_path / "a.nrrd", fields + 'space units: "cm" "mm" "\u00b5m"\n')
    grid = read_header(path).geometry
    assert (grid.spacing_zyx, grid.origin_xyz) == ((3.0, 20.0, 1.0), (10.0, 2.0, 3.0))
    with pytest.raises(ReadError, match="space units"):
        read_header(nrrd(tmp_path / "b.nrrd", fields + 'space units: "parsec" "mm" "mm"\n'))


def test_sform_beats_qform_and_a_disagreement_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    data = nifti(path, np.diag([-1.0, -1.0, 2.0, 1.0]))
    struct.pack_into("<2h", data, 252, 1, 2)
    struct.pack_into("<6f", data, 256, 0, 0, 1, 7, 0, 0)  # half a turn about z, 7 mm aside
    path.write_bytes(data)
    header = read_header(path)
    assert header.geometry.origin_xyz == (0.0, 0.0, 0.0)
    assert "sform and qform differ by up to 7 mm" in header.warnings[0]


def test_pixdim_that_contradicts_the_sform_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    data = nifti(path, np.diag([-0.5, -0.6, 0.7, 1.0]))
    struct.pack_into("<f", data, 80, 0.55)
    path.write_bytes(data)
    header = read_header(path)
    np.testing.assert_allclose(header.geometry.spacing_zyx, (0.7, 0.6, 0.5), rtol=1e-6)
    says = "pixdim 0.7 x 0.6 x 0.55 and the sform's spacing 0.7 x 0.6 x 0.5 mm ZYX differ: sform kept"
    assert header.warnings[0] == says


def test_a_nifti_without_orientation_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), None)
    image.header.set_zooms((0.5, 0.6, 0.7))
    image.header["sform_code"] = image.header["qform_code"] = 0
    image.to_filename(path)
    assert_same_geometry(read_header(path).geometry, sitk_says(path)[0])
    assert "neither sform nor qform" in read_header(path).warnings[0]


def test_a_sheared_nifti_is_refused_with_the_reason(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.01
    nifti(tmp_path / "a.nii", affine)
    with pytest.raises(ReadError, match=r"a\.nii.*sheared: axes x and y .* cosine is .*resample"):
        read_header(tmp_path / "a.nii")


@pytest.mark.parametrize("fault", ["sheared", "zero", "nan"])
def test_a_sound_qform_takes_the_place_of_a_sform_that_is_not_a_grid(tmp_path: Path, fault: str) -> None:
    qform = nibabel.affines.from_matvec(np.diag([2.0, 3.0, 4.0]) @ np.eye(3)[[1, 0, 2]], [5, 6, 7])
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), qform)
    image.set_qform(qform, 1)
    image.set_sform(qform, 2)
    image.to_filename(tmp_path / "a.nii")
    expected = read_header(tmp_path / "a.nii").geometry
    data = bytearray((tmp_path / "a.nii").read_bytes())
    row = {"sheared": (2.0, 2.0, 0.0, 5.0), "zero": (0.0, 0.0, 0.0, 0.0), "nan": (float("nan"),) * 4}[fault]
    struct.pack_into("<4f", data, 280, *row)
    (tmp_path / "b.nii").write_bytes(data)
    header = read_header(tmp_path / "b.nii")
    assert_same_geometry(header.geometry, expected)
    assert "the qform was taken" in header.warnings[0]
    struct.pack_into("<h", data, 252, 0)
    (tmp_path / "c.nii").write_bytes(data)
    with pytest.raises(ReadError, match=r"c\.nii: NIfTI sform"):
        read_header(tmp_path / "c.nii")


@pytest.mark.parametrize("step", [0.0, float("nan")])
def test_a_spacing_that_no_field_states_is_never_made_up(tmp_path: Path, step: float) -> None:
    data = nifti(tmp_path / "a.nii", np.diag([2.0, 3.0, 4.0, 1.0]))
    struct.pack_into("<f", data, 76 + 3 * 4, step)
    (tmp_path / "sform.nii").write_bytes(data)
    assert read_header(tmp_path / "sform.nii").geometry.spacing_zyx == (4.0, 3.0, 2.0)
    struct.pack_into("<2h", data, 252, 0, 0)
    (tmp_path / "none.nii").write_bytes(data)
    with pytest.raises(ReadError, match=r"none\.nii: the spacing along Z is not stated.*--assume-spacing"):
        read_header(tmp_path / "none.nii")
    header = read_header(tmp_path / "none.nii", assume_spacing=(5.0, 3.0, 2.0))
    assert header.geometry.spacing_zyx == (5.0, 3.0, 2.0)
    assert "assumed" in header.warnings[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mha", b"", "empty"),
        ("a.nii.gz", b"", "empty"),
        ("a.nii", b"\x5c\x01\x00\x00" + bytes(100), "truncated"),
        ("a.nii.gz", gzip.compress(b"\x5c\x01\x00\x00" + bytes(100), mtime=0), "truncated"),
        ("a.nii.gz", b"\x1f\x8b\x08\x00" + bytes(60), "corrupt|truncated"),
        ("a.nii", b"not a nifti" * 50, "expected a NIfTI header"),
        ("a.nrrd", b"P5 4 4 255\n\n" + bytes(99), "expected a NRRD header"),
        ("a.mha", b"ObjectType = Image\nNDims = 3\n", "ends too early"),
        ("a.mha", MHA.format(fields="", data="LOCAL").replace("DimSize", "Sizes").encode(), "lacks DimSize"),
        ("a.mha", MHA.format(fields="", data="LOCAL").replace("2 3 4", "2 x 4").encode(), "broken"),
        ("a.mha", MHA.format(fields="", data="LOCAL").replace("2 3 4", "2 0 4").encode(), "DimSize"),
        ("a.mha", MHA.format(fields="", data="LOCAL").encode() + bytes(47), "truncated: expected 48"),
        ("a.mhd", MHA.format(fields="", data="gone.raw").encode(), "gone.raw can't be found"),
        ("a.nrrd", NRRD.format(fields="").encode() + bytes(47), "truncated: expected 48"),
        ("a.nhdr", NRRD.format(fields="data file: gone.raw\n").encode(), "gone.raw can't be found"),
        (
            "a.mha",
            MHA.format(fields="CompressedData = True\nCompressedDataSize = 99\n", data="LOCAL").encode(),
            "truncated",
        ),
        ("a.txt", b"x", "expected a volume file"),
    ],
)
def test_broken_files_are_named_with_the_reason_and_advice(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReadError, match=message) as caught:
        read_header(path)
    assert name in str(caught.value)
    assert any(mark in str(caught.value) for mark in (";", "?"))


def test_raw_nifti_that_is_too_short_is_refused(tmp_path: Path) -> None:
    data = nifti(tmp_path / "a.nii", np.eye(4))
    (tmp_path / "a.nii").write_bytes(data[:-1])
    with pytest.raises(ReadError, match="truncated: expected 48 bytes"):
        read_header(tmp_path / "a.nii")


def test_a_compressed_stream_that_cannot_hold_the_voxels_is_refused(tmp_path: Path) -> None:
    data = nifti(tmp_path / "a.nii", np.eye(4))
    struct.pack_into("<8h", data, 40, 3, 5000, 5000, 5000, 1, 1, 1, 1)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data))
    with pytest.raises(ReadError, match="truncated"):
        read_header(tmp_path / "b.nii.gz")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), suffix=st.sampled_from(SUFFIXES), compressed=st.booleans())
def test_damaged_headers_raise_nothing_unexpected(seed: int, suffix: str, compressed: bool) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        sitk.WriteImage(to_image(voxels((3, 4, 5), "int16"), Geometry((3, 4, 5), (1, 2, 3))), str(path), compressed)
        whole = path.read_bytes()
        for _ in range(20):
            damaged = bytearray(whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.5 else whole)
            for _ in range(rng.randrange(4) if damaged else 0):
                damaged[rng.randrange(min(len(damaged), 400))] = rng.choice(b"0123456789 -.=:\n\xff\x00naeE(),%")
            path.write_bytes(damaged)
            with suppress(ReadError, UnsupportedHeader):
                assert isinstance(read_header(path), Header)


def test_small_gzip_members_are_read_on(tmp_path: Path) -> None:
    data = bytes(nifti(tmp_path / "a.nii", np.diag([-1.0, -2.0, 3.0, 1.0])))
    parts = [data[at : at + 100] for at in range(0, len(data), 100)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    assert read_header(tmp_path / "b.nii.gz").geometry == read_header(tmp_path / "a.nii").geometry


def test_long_text_headers_are_read_to_their_end(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd", "".join(f"key{i}:={'x' * 90}\n" for i in range(300)))
    assert len(read_header(path).metadata) == 300
    assert read_header(path).data_offset == path.stat().st_size - 48


def test_letter_case_of_extensions_does_not_matter(tmp_path: Path) -> None:
    assert read_header(mha(tmp_path / "a.MHA")).geometry.size_zyx == (4, 3, 2)
    assert volume_suffix("scan.nii.v2.mha") == ".mha"
    assert volume_suffix("case.1.NII.gz") == ".nii.gz"


def test_metadata_are_the_fields_that_the_format_does_not_use(tmp_path: Path) -> None:
    for suffix in (".mha", ".nrrd"):
        image = to_image(voxels((5, 7, 9), "int16"), OBLIQUE)
        image.SetMetaData("0008|0060", "CT scan")
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(image, str(path))
        assert dict(read_header(path).metadata) == {"0008|0060": "CT scan"}


def test_unit_files_name_header_and_data(tmp_path: Path) -> None:
    image = to_image(voxels((5, 7, 9), "int16"), OBLIQUE)
    for name, compressed, data in (
        ("a.mhd", False, "a.raw"),
        ("b.mhd", True, "b.zraw"),
        ("c.1.nhdr", False, "c.1.raw"),
        ("d.nhdr", True, "d.raw.gz"),
    ):
        sitk.WriteImage(image, str(tmp_path / name), compressed)
        assert unit_files(tmp_path / name) == (tmp_path / name, tmp_path / data)
    assert unit_files(tmp_path / "x.nii.gz") == (tmp_path / "x.nii.gz",)


def test_unit_files_are_found_of_damaged_volumes_too(tmp_path: Path) -> None:
    for name, data in (("a.MHD", "a.zraw"), ("b.nhdr", "b.raw.gz")):
        sitk.WriteImage(to_image(voxels((5, 7, 9), "int16"), OBLIQUE), str(tmp_path / name.lower()), True)
        (tmp_path / name.lower()).rename(tmp_path / name)
        (tmp_path / data).write_bytes(b"")
        with pytest.raises(ReadError):
            read_header(tmp_path / name)
        assert unit_files(tmp_path / name) == (tmp_path / name, tmp_path / data)
        (tmp_path / data).unlink()
        assert unit_files(tmp_path / name) == (tmp_path / name,)
    assert unit_files(mha(tmp_path / "local.mhd")) == (tmp_path / "local.mhd",)


def test_unit_files_refuse_several_data_files(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="several files"):
        unit_files(nrrd(tmp_path / "a.nhdr", "data file: LIST\na.raw\nb.raw\n"))


def test_unit_files_refuse_data_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.raw").write_bytes(bytes(48))
    header = mha(tmp_path / "a.mhd", data="other/a.raw", tail=b"")
    assert read_header(header).data_path == tmp_path / "other" / "a.raw"
    with pytest.raises(ReadError, match="another folder"):
        unit_files(header)


def test_metaimage_data_at_the_end_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"abc" + voxels((4, 3, 2), "int16").tobytes())
    assert read_header(mha(tmp_path / "a.mhd", "HeaderSize = -1\n", data="a.raw", tail=b"")).data_offset == 3
    assert read_header(mha(tmp_path / "b.mhd", "HeaderSize = 3\n", data="a.raw", tail=b"")).data_offset == 3


def test_headers_need_neither_numpy_nor_simpleitk() -> None:
    code = "import sys, itkit.io.formats.headers; print({'numpy', 'SimpleITK', '_SimpleITK'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_compressed_metaimage_offsets_point_at_the_stream(tmp_path: Path) -> None:
    array = voxels((5, 7, 9), "int16")
    sitk.WriteImage(to_image(array, OBLIQUE), str(tmp_path / "a.mha"), True)
    header = read_header(tmp_path / "a.mha")
    assert zlib.decompress((tmp_path / "a.mha").read_bytes()[header.stream_offset :]) == array.tobytes()


def test_a_data_file_belongs_to_the_headers_that_name_it(tmp_path):
    (tmp_path / "scan.mhd").write_text("ObjectType = Image\nElementDataFile = scan.raw\n")
    (tmp_path / "other.mhd").write_text("ObjectType = Image\nElementDataFile = scan.raw\n")
    (tmp_path / "away.mhd").write_text("ObjectType = Image\nElementDataFile = ../scan.raw\n")
    (tmp_path / "scan.nhdr").write_text("NRRD0004\ndata file: own.raw\n")
    (tmp_path / "scan.raw").touch()
    assert [path.name for path in headers_of(tmp_path / "scan.raw")] == ["other.mhd", "scan.mhd"]
    assert headers_of(tmp_path / "own.raw") == []


@pytest.mark.parametrize(
    ("suffix", "old", "new", "reason"),
    [
        (".mha", b"NDims = 3", b"NDims = 2147483648\nodd line", "axes"),
        (".mha", b"NDims = 3", b"NDims = 3\n\0\0\0", "zero bytes"),
        (".nrrd", b"dimension: 3", b"dimension: 2147483648\nodd line", "axes"),
        (".nrrd", b"dimension: 3", b"dimension: 3\n\0\0\0", "zero bytes"),
    ],
)
def test_what_would_crash_simpleitk_is_not_left_to_it(
    tmp_path: Path, suffix: str, old: bytes, new: bytes, reason: str
) -> None:
    path = tmp_path / f"a{suffix}"
    write_volume_file(path, voxels((5, 7, 9), "int16"), OBLIQUE)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ReadError, match=rf"a\{suffix}.*{reason}"):
        read_header(path)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e38])
def test_a_vector_nifti_with_an_orientation_that_would_hang_simpleitk_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.nii"
    write_volume_file(path, voxels((5, 7, 9, 2), "float32"), OBLIQUE)
    with pytest.raises(UnsupportedHeader):
        read_header(path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 304, value)
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"a\.nii.*orientation"):
        read_header(path)


def test_a_vector_of_colours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_volume_file(path, voxels((5, 7, 9, 2), "float32"), OBLIQUE)
    data = bytearray(path.read_bytes())
    struct.pack_into("<h", data, 70, 2304)
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"a\.nii.*colours"):
        read_header(path)


def test_a_data_file_with_a_zero_byte_in_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    path.write_bytes(b"ElementDataFile = a\0.raw\n")
    with pytest.raises(ReadError, match=r"a\.mhd.*zero byte"):
        unit_files(path)
